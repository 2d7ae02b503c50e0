// What the shim's files share: the memory of the program, its descriptors, errors and the clock.

#ifndef SHIM_INTERNAL_H
#define SHIM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "errnos.h"
#include "shim.h"

/** The longest path: Linux's PATH_MAX without the NUL. */
#define SHIM_PATH_MAX 4095

/** In nanoseconds. */
#define SHIM_SECOND UINT64_C(1000000000)

/** The longest list of buffers or descriptors that a call takes; a longer one is INVAL. */
#define SHIM_LIST_MAX 16

/** [at, at + length) of the program's memory, NULL where a byte of it lies outside. */
static inline uint8_t *shim_range(const struct shim *shim, uint32_t at, uint64_t length) {
    if (at > shim->memory_size || length > shim->memory_size - at) return NULL;
    return shim->memory + at;
}

// Wasm memory is little-endian, whatever the host is.

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

/** The process's descriptor for the program's `fd`; -1 where the program has no such one. */
int shim_descriptor(const struct shim *shim, uint32_t fd);

/** The same for what the program has opened; -1 for 0 to 2 too. */
int shim_opened(const struct shim *shim, uint32_t fd);

/**
 * Moves a new descriptor above 0 to 2, where it lands in a process that was started with one of
 * them closed: what the program writes to its stderr must not reach a peer.
 *
 * @return the descriptor, -1 with errno where `fd` is -1 or cannot be moved
 */
int shim_above_stdio(int fd);

/** open(2) through signals, with the mode 0600 for what it makes, and above 0 to 2. */
int shim_open(const char *path, int flags);

/**
 * Takes a descriptor of the process into the program's table, and writes its number there.
 *
 * @return 0; MFILE where the table is full, and `fd` is closed; the errno that `fd` of -1 stands for
 */
uint32_t shim_add(struct shim *shim, int fd, uint8_t *result);

/**
 * Reads a list of iovec or ciovec, {u32 pointer, u32 length} each.
 *
 * @return 0; INVAL for more than SHIM_LIST_MAX; FAULT for a list or buffer outside the memory
 */
uint32_t shim_buffers(const struct shim *shim, uint32_t iovs, uint32_t iovs_len,
                      struct iovec *buffers);

/** What every call that moves bytes begins with: the process's descriptor, and the buffers. */
struct shim_transfer {
    int host;
    struct iovec buffers[SHIM_LIST_MAX];
    struct msghdr message;
};

/** @return 0; BADF for an unknown `fd`; as shim_buffers */
uint32_t shim_transfer(const struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       struct shim_transfer *transfer);

/** What stands behind `prefix` in `text`; NULL where it does not begin with it. */
const char *shim_behind(const char *text, const char *prefix);

/** preview1's number for a Linux errno; IO where there is none. */
uint32_t shim_errno(int error);

/** A time in nanoseconds. */
static inline uint64_t shim_nanoseconds(const struct timespec *time) {
    return (uint64_t)time->tv_sec * SHIM_SECOND + (uint64_t)time->tv_nsec;
}

/** CLOCK_MONOTONIC in nanoseconds; SHIM_NEVER, past every deadline, where it cannot be read. */
uint64_t shim_now(void);

/**
 * sendmsg(2) that neither waits nor raises SIGPIPE; writes the count of bytes to `result`.
 *
 * @return 0 or an errno
 */
uint32_t shim_send(const struct shim_transfer *transfer, uint8_t *result);

struct pollfd;

/** A time that does not come. */
#define SHIM_NEVER UINT64_MAX

/**
 * poll(2) until something is ready or the monotonic clock shows `deadline`, through signals.
 *
 * @return as poll(2): the number of ready entries, 0 at the deadline, -1 with errno
 */
int shim_poll(struct pollfd *entries, unsigned count, uint64_t deadline);

#endif
