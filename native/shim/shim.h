// The imports of proxy.wasm, each implemented once; a host of the module links this. docs/abi.md
// specifies what they do.
//
// Rules
// 1. A Wasm program sees the descriptors 0 to 2 and those that it has opened, by small numbers of
//    the table here. No other descriptor of the process can be named by it.
// 2. Every pointer and length from Wasm is checked against the memory before use, and is read once:
//    what is outside is FAULT, and nothing was done then.
// 3. Every descriptor is opened close-on-exec, and above 2. No sending call raises SIGPIPE;
//    fd_write and sock_relay would, so a host ignores that signal, as Node does. A call that a signal
//    interrupts goes on, and its deadline stays what it was.
// 4. One `struct shim` belongs to one instance of a module, and to one thread at a time.

#ifndef SHIM_SHIM_H
#define SHIM_SHIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How many descriptors one program can have opened at once. */
#define SHIM_OPENED 8

struct shim {
    /** The program's memory. The host sets both before each call, because memory.grow moves it. */
    uint8_t *memory;
    uint64_t memory_size;
    /** The program's arguments, its own name first. They outlive the shim. */
    const char *const *argv;
    uint32_t argc;
    /** The process's environment, ended by NULL, of which the program is shown what it may ask for. */
    const char *const *environment;
    /** Descriptor 3 + i of the program is opened[i] of the process; -1 where it is free. */
    int opened[SHIM_OPENED];
};

/** Prepares a shim without memory: until the host sets it, every pointer is out of bounds. */
void shim_init(struct shim *shim, const char *const *argv, uint32_t argc,
               const char *const *environment);

/** Closes what the program has opened and not handed over. */
void shim_close(struct shim *shim);

// The imports, by the names of their modules. Each answers a preview1 errno.

uint32_t shim_args_get(struct shim *, uint32_t argv, uint32_t argv_buf);
uint32_t shim_args_sizes_get(struct shim *, uint32_t ret_argc, uint32_t ret_argv_buf_size);
uint32_t shim_clock_time_get(struct shim *, uint32_t clock, uint64_t precision, uint32_t ret_time);
uint32_t shim_environ_get(struct shim *, uint32_t environ, uint32_t environ_buf);
uint32_t shim_environ_sizes_get(struct shim *, uint32_t ret_count, uint32_t ret_buf_size);
uint32_t shim_fd_close(struct shim *, uint32_t fd);
uint32_t shim_fd_fdstat_get(struct shim *, uint32_t fd, uint32_t ret_stat);
uint32_t shim_fd_write(struct shim *, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       uint32_t ret_written);
uint32_t shim_poll_oneoff(struct shim *, uint32_t in, uint32_t out, uint32_t subscriptions,
                          uint32_t ret_events);
void shim_proc_exit(struct shim *, uint32_t status);
uint32_t shim_sock_recv(struct shim *, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len, uint32_t ret_flags);
uint32_t shim_sock_send(struct shim *, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len);

uint32_t shim_log_open(struct shim *, uint32_t path, uint32_t path_len, uint32_t ret_log);
uint32_t shim_sock_addr_local(struct shim *, uint32_t fd, uint32_t address, uint32_t capacity,
                              uint32_t ret_len);
uint32_t shim_sock_connect(struct shim *, uint32_t fd, uint32_t address, uint32_t address_len,
                           uint64_t deadline);
uint32_t shim_sock_open(struct shim *, uint32_t family, uint32_t type, uint32_t ret_fd);
uint32_t shim_sock_relay(struct shim *, uint32_t fd, uint32_t in, uint32_t out, uint32_t flags,
                         uint32_t ret_end);
uint32_t shim_sock_send_fds(struct shim *, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                            uint32_t fds, uint32_t fds_len, uint32_t ret_len);

/** Every import: X(module, name). The C function for it is shim_<name>. */
#define SHIM_IMPORTS(X)                          \
    X(wasi_snapshot_preview1, args_get)          \
    X(wasi_snapshot_preview1, args_sizes_get)    \
    X(wasi_snapshot_preview1, clock_time_get)    \
    X(wasi_snapshot_preview1, environ_get)       \
    X(wasi_snapshot_preview1, environ_sizes_get) \
    X(wasi_snapshot_preview1, fd_close)          \
    X(wasi_snapshot_preview1, fd_fdstat_get)     \
    X(wasi_snapshot_preview1, fd_write)          \
    X(wasi_snapshot_preview1, poll_oneoff)       \
    X(wasi_snapshot_preview1, proc_exit)         \
    X(wasi_snapshot_preview1, sock_recv)         \
    X(wasi_snapshot_preview1, sock_send)         \
    X(socket_shim_v1, log_open)                  \
    X(socket_shim_v1, sock_addr_local)           \
    X(socket_shim_v1, sock_connect)              \
    X(socket_shim_v1, sock_open)                 \
    X(socket_shim_v1, sock_relay)                \
    X(socket_shim_v1, sock_send_fds)

#ifdef __cplusplus
}
#endif

#endif
