// The ground that the imports stand on: descriptors, memory ranges, errors, time.

#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define FIRST_OPENED 3

void shim_init(struct shim *shim, const char *const *argv, uint32_t argc,
               const char *const *environment) {
    shim->memory = NULL;
    shim->memory_size = 0;
    shim->argv = argv;
    shim->argc = argc;
    shim->environment = environment;
    for (int i = 0; i < SHIM_OPENED; i++)
        shim->opened[i] = -1;
}

void shim_close(struct shim *shim) {
    for (int i = 0; i < SHIM_OPENED; i++) {
        if (shim->opened[i] >= 0) close(shim->opened[i]);
        shim->opened[i] = -1;
    }
}

int shim_opened(const struct shim *shim, uint32_t fd) {
    if (fd < FIRST_OPENED || fd - FIRST_OPENED >= SHIM_OPENED) return -1;
    return shim->opened[fd - FIRST_OPENED];
}

int shim_descriptor(const struct shim *shim, uint32_t fd) {
    return fd < FIRST_OPENED ? (int)fd : shim_opened(shim, fd);
}

int shim_above_stdio(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    close(fd);
    errno = error;
    return moved;
}

int shim_open(const char *path, int flags) {
    int fd;
    do {
        fd = open(path, flags, 0600);
    } while (fd < 0 && errno == EINTR);
    return shim_above_stdio(fd);
}

uint32_t shim_add(struct shim *shim, int fd, uint8_t *result) {
    if (fd < 0) return shim_errno(errno);
    uint32_t i = 0;
    while (i < SHIM_OPENED && shim->opened[i] >= 0)
        i++;
    if (i == SHIM_OPENED) {
        close(fd);
        return SHIM_MFILE;
    }
    shim->opened[i] = fd;
    store_u32(result, FIRST_OPENED + i);
    return SHIM_SUCCESS;
}

uint32_t shim_fd_close(struct shim *shim, uint32_t fd) {
    int host = shim_opened(shim, fd);
    if (host < 0) return SHIM_BADF;
    shim->opened[fd - FIRST_OPENED] = -1;
    // Whatever it answers, Linux has closed it (close(2)).
    close(host);
    return SHIM_SUCCESS;
}

uint32_t shim_buffers(const struct shim *shim, uint32_t iovs, uint32_t iovs_len,
                      struct iovec *buffers) {
    if (iovs_len > SHIM_LIST_MAX) return SHIM_INVAL;
    const uint8_t *list = shim_range(shim, iovs, (uint64_t)iovs_len * 8);
    if (list == NULL) return SHIM_FAULT;
    for (uint32_t i = 0; i < iovs_len; i++) {
        buffers[i].iov_len = load_u32(list + (size_t)i * 8 + 4);
        buffers[i].iov_base = shim_range(shim, load_u32(list + (size_t)i * 8), buffers[i].iov_len);
        if (buffers[i].iov_base == NULL) return SHIM_FAULT;
    }
    return SHIM_SUCCESS;
}

const char *shim_behind(const char *text, const char *prefix) {
    for (; *prefix != 0; text++, prefix++) {
        if (*text != *prefix) return NULL;
    }
    return text;
}

uint32_t shim_errno(int error) {
    switch (error) {
        case 0:
            return SHIM_SUCCESS;
#define CASE(name, number, linux) \
    case linux:                   \
        return number;
            ERRNOS(CASE)
#undef CASE
        case ESOCKTNOSUPPORT:
            return SHIM_PROTOTYPE;
        case EHOSTDOWN:
            return SHIM_HOSTUNREACH;
        default:
            return SHIM_IO;
    }
}

uint32_t shim_transfer(const struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       struct shim_transfer *transfer) {
    transfer->host = shim_descriptor(shim, fd);
    if (transfer->host < 0) return SHIM_BADF;
    transfer->message = (struct msghdr){.msg_iov = transfer->buffers, .msg_iovlen = iovs_len};
    return shim_buffers(shim, iovs, iovs_len, transfer->buffers);
}

uint32_t shim_send(const struct shim_transfer *transfer, uint8_t *result) {
    ssize_t count;
    do {
        count = sendmsg(transfer->host, &transfer->message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return shim_errno(errno);
    store_u32(result, (uint32_t)count);
    return SHIM_SUCCESS;
}

uint64_t shim_now(void) {
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0) return SHIM_NEVER;
    return shim_nanoseconds(&time);
}

int shim_poll(struct pollfd *entries, unsigned count, uint64_t deadline) {
    for (;;) {
        const uint64_t now = deadline == SHIM_NEVER ? 0 : shim_now();
        const uint64_t left = deadline > now ? deadline - now : 0;
        // A process that was stopped goes on with what ppoll(2) had left, however late it is: so
        // that is never much.
        const uint64_t part = left < SHIM_SECOND ? left : SHIM_SECOND;
        const struct timespec rest = {
            .tv_sec = (time_t)(part / SHIM_SECOND),
            .tv_nsec = (long)(part % SHIM_SECOND),
        };
        const int ready = ppoll(entries, count, deadline != SHIM_NEVER ? &rest : NULL, NULL);
        if (ready > 0 || (ready == 0 && part == left)) return ready;
        if (ready < 0 && errno != EINTR) return ready;
    }
}
