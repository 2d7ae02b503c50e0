// The imports of proxy.wasm, each implemented once; a host of the module links this. docs/abi.md
// specifies what they do.
//
// Rules
// 1. A Wasm program can name the descriptors 0 to 2 and those that it has opened, by the numbers of
//    the table here, and no other descriptor of the process.
// 2. Every pointer and length from Wasm is checked against the memory before use, and is read once.
//    A call with one outside does nothing and returns FAULT.
// 3. Every descriptor is opened close-on-exec, and above 2. No sending call raises SIGPIPE, except
//    fd_write and sock_relay, so a host ignores that signal, as Node does. A call that a signal
//    interrupts is resumed, with the same deadline.
// 4. One `struct shim` belongs to one instance of a module, and to one thread at a time.

#ifndef SHIM_SHIM_H
#define SHIM_SHIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How many descriptors a program can have open at once, besides 0 to 2. */
#define SHIM_OPENED 8

struct shim {
    /** The program's memory. The host sets both before each call, because memory.grow moves it. */
    uint8_t *memory;
    uint64_t memory_size;
    /** The program's arguments, its own name first. They outlive the shim. */
    const char *const *argv;
    uint32_t argc;
    /** The process's environment, ended by NULL; the program sees the variables of preview1.c. */
    const char *const *environment;
    /** Descriptor 3 + i of the program is opened[i] of the process; -1 if it is free. */
    int opened[SHIM_OPENED];
};

/** Prepares a shim without memory: until the host sets it, every pointer is out of bounds. */
void shim_init(struct shim *shim, const char *const *argv, uint32_t argc,
               const char *const *environment);

/** Closes every descriptor that the program has open. */
void shim_close(struct shim *shim);

/**
 * Every import: X(module, result, name, parameters...). The C function for it is shim_<name>; its
 * result is a preview1 errno. The scripts that build the hosts read this list too.
 */
#define SHIM_IMPORTS(X)                                                                            \
    X(wasi_snapshot_preview1, uint32_t, args_get, uint32_t argv, uint32_t argv_buf)                \
    X(wasi_snapshot_preview1, uint32_t, args_sizes_get, uint32_t ret_argc,                         \
      uint32_t ret_argv_buf_size)                                                                  \
    X(wasi_snapshot_preview1, uint32_t, clock_time_get, uint32_t clock, uint64_t precision,        \
      uint32_t ret_time)                                                                           \
    X(wasi_snapshot_preview1, uint32_t, environ_get, uint32_t environ, uint32_t environ_buf)       \
    X(wasi_snapshot_preview1, uint32_t, environ_sizes_get, uint32_t ret_count,                     \
      uint32_t ret_buf_size)                                                                       \
    X(wasi_snapshot_preview1, uint32_t, fd_close, uint32_t fd)                                     \
    X(wasi_snapshot_preview1, uint32_t, fd_filestat_get, uint32_t fd, uint32_t ret_stat)           \
    X(wasi_snapshot_preview1, uint32_t, fd_write, uint32_t fd, uint32_t iovs, uint32_t iovs_len,   \
      uint32_t ret_written)                                                                        \
    X(wasi_snapshot_preview1, uint32_t, poll_oneoff, uint32_t in, uint32_t out,                    \
      uint32_t subscriptions, uint32_t ret_events)                                                 \
    X(wasi_snapshot_preview1, void, proc_exit, uint32_t status)                                    \
    X(wasi_snapshot_preview1, uint32_t, sock_recv, uint32_t fd, uint32_t iovs, uint32_t iovs_len,  \
      uint32_t flags, uint32_t ret_len, uint32_t ret_flags)                                        \
    X(wasi_snapshot_preview1, uint32_t, sock_send, uint32_t fd, uint32_t iovs, uint32_t iovs_len,  \
      uint32_t flags, uint32_t ret_len)                                                            \
    X(socket_shim_v1, uint32_t, log_open, uint32_t path, uint32_t path_len, uint32_t ret_log)      \
    X(socket_shim_v1, uint32_t, sock_addr_local, uint32_t fd, uint32_t address, uint32_t capacity, \
      uint32_t ret_len)                                                                            \
    X(socket_shim_v1, uint32_t, sock_connect, uint32_t fd, uint32_t address, uint32_t address_len, \
      uint64_t deadline)                                                                           \
    X(socket_shim_v1, uint32_t, sock_open, uint32_t family, uint32_t type, uint32_t ret_fd)        \
    X(socket_shim_v1, uint32_t, sock_relay, uint32_t fd, uint32_t in, uint32_t out,                \
      uint32_t flags, uint64_t linger, uint32_t ret_end)                                           \
    X(socket_shim_v1, uint32_t, sock_send_fds, uint32_t fd, uint32_t iovs, uint32_t iovs_len,      \
      uint32_t fds, uint32_t fds_len, uint32_t ret_len)

#define SHIM_DECLARE(module, result, name, ...) result shim_##name(struct shim *, __VA_ARGS__);
SHIM_IMPORTS(SHIM_DECLARE)
#undef SHIM_DECLARE

#ifdef __cplusplus
}
#endif

#endif
