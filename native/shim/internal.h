// What the shim's files share: the program's memory, its descriptors, errors and the clock.

#ifndef SHIM_INTERNAL_H
#define SHIM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "errnos.h"
#include "shim.h"
#include "wasi.h"

/** The longest path: Linux's PATH_MAX without the NUL. */
#define SHIM_PATH_MAX 4095

/** The longest list of buffers or descriptors that a call takes; a longer one is INVAL. */
#define SHIM_LIST_MAX 16

/** st_rdev of /dev/null: makedev(1, 3), which would be a call (Linux's admin-guide/devices.txt). */
#define NULL_DEVICE 0x103

// Times are in nanoseconds.
#define SHIM_MILLISECOND UINT64_C(1000000)
#define SHIM_SECOND (1000 * SHIM_MILLISECOND)

/** A deadline that never comes. */
#define SHIM_NEVER UINT64_MAX

/** preview1's number for a Linux errno; IO if it has none. */
uint32_t shim_errno(int error);

// ---- memory

/** [at, at + length) of the program's memory, NULL if a byte of it lies outside. */
static inline uint8_t *shim_range(const struct shim *shim, uint32_t at, uint64_t length) {
    if (at > shim->memory_size || length > shim->memory_size - at) return NULL;
    return shim->memory + at;
}

// Wasm memory is little-endian on every host.

static inline uint16_t load_u16(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t load_u32(const uint8_t *at) {
    return load_u16(at) | (uint32_t)load_u16(at + 2) << 16;
}

static inline uint64_t load_u64(const uint8_t *at) {
    return load_u32(at) | (uint64_t)load_u32(at + 4) << 32;
}

static inline void store_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void store_u32(uint8_t *at, uint32_t value) {
    store_u16(at, (uint16_t)value);
    store_u16(at + 2, (uint16_t)(value >> 16));
}

static inline void store_u64(uint8_t *at, uint64_t value) {
    store_u32(at, (uint32_t)value);
    store_u32(at + 4, (uint32_t)(value >> 32));
}

/** The part of `text` after `prefix`; NULL if it does not begin with it. */
static inline const char *skip_prefix(const char *text, const char *prefix) {
    for (; *prefix != 0; text++, prefix++) {
        if (*text != *prefix) return NULL;
    }
    return text;
}

// ---- fd-table.c

/** The process's descriptor for the program's `fd`; -1 if the program has none of that number. */
int fd_table_get(const struct shim *shim, uint32_t fd);

/** The same, but only for what the program has opened: -1 for 0 to 2 too. */
int fd_table_get_opened(const struct shim *shim, uint32_t fd);

/**
 * Takes a descriptor of the process into the program's table, and writes its number to `result`.
 *
 * @return 0; MFILE if the table is full, and `host_fd` is closed; the errno if `host_fd` is -1
 */
uint32_t fd_table_insert(struct shim *shim, int host_fd, uint8_t *result);

/** Closes what the program has opened; false, and no effect, if there is none of that number. */
bool fd_table_close(struct shim *shim, uint32_t fd);

/**
 * Moves a new descriptor above 0 to 2. It is one of these if the process was started with one of
 * them closed, and what the program writes to its stderr must not reach a peer.
 *
 * @return the descriptor; -1 with errno if `fd` is -1 or cannot be moved
 */
int fd_move_above_stdio(int fd);

/**
 * Closes a descriptor but keeps its number: puts /dev/null in its place, or `other` if that cannot be
 * opened. A free number is the next one that the process gets, for a file of its own.
 *
 * @return false if the descriptor is as it was
 */
bool fd_replace(int fd, int other);

/** open(2), resumed after signals, with the mode 0600 for a new file; the result is above 0 to 2. */
int fd_open(const char *path, int flags);

// ---- iovec.c

/**
 * Reads a list of iovec or ciovec.
 *
 * @return 0; INVAL for more than SHIM_LIST_MAX; FAULT for a list or buffer outside the memory
 */
uint32_t iovec_load(const struct shim *shim, uint32_t iovs, uint32_t iovs_len,
                    struct iovec *buffers);

/** The arguments of a call that moves bytes: the process's descriptor and the buffers. */
struct transfer {
    int host_fd;
    struct iovec buffers[SHIM_LIST_MAX];
    struct msghdr message;
};

/** @return 0; BADF for an unknown `fd`; as iovec_load */
uint32_t transfer_load(const struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       struct transfer *transfer);

/**
 * sendmsg(2) that neither waits nor raises SIGPIPE; writes the number of bytes to `result`.
 *
 * @return 0 or an errno
 */
uint32_t transfer_send(const struct transfer *transfer, uint8_t *result);

// ---- clock.c

/** A time in nanoseconds. */
static inline uint64_t shim_nanoseconds(const struct timespec *time) {
    return (uint64_t)time->tv_sec * SHIM_SECOND + (uint64_t)time->tv_nsec;
}

/** CLOCK_MONOTONIC in nanoseconds; SHIM_NEVER, past every deadline, if it cannot be read. */
uint64_t shim_now(void);

struct pollfd;

/**
 * poll(2) until something is ready or the monotonic clock shows `deadline`, resumed after signals.
 *
 * @return as poll(2): the number of ready entries, 0 at the deadline, -1 with errno
 */
int shim_poll(struct pollfd *entries, unsigned count, uint64_t deadline);

#endif
