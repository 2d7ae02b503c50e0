// The table of descriptors that a program has opened.

#include <errno.h>
#include <fcntl.h>
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

int fd_table_get_opened(const struct shim *shim, uint32_t fd) {
    if (fd < FIRST_OPENED || fd - FIRST_OPENED >= SHIM_OPENED) return -1;
    return shim->opened[fd - FIRST_OPENED];
}

int fd_table_get(const struct shim *shim, uint32_t fd) {
    return fd < FIRST_OPENED ? (int)fd : fd_table_get_opened(shim, fd);
}

int fd_move_above_stdio(int fd) {
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int error = errno;
    close(fd);
    errno = error;
    return moved;
}

int fd_open(const char *path, int flags) {
    int fd;
    do {
        fd = open(path, flags, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd_move_above_stdio(fd);
}

bool fd_replace(int fd, int other) {
    const int null = fd_open("/dev/null", O_RDWR | O_CLOEXEC);
    int result;
    do {
        result = dup3(null < 0 ? other : null, fd, fd > STDERR_FILENO ? O_CLOEXEC : 0);
    } while (result < 0 && errno == EINTR);
    if (null >= 0) close(null);
    return result >= 0;
}

uint32_t fd_table_insert(struct shim *shim, int host_fd, uint8_t *result) {
    if (host_fd < 0) return shim_errno(errno);
    uint32_t i = 0;
    while (i < SHIM_OPENED && shim->opened[i] >= 0)
        i++;
    if (i == SHIM_OPENED) {
        close(host_fd);
        return SHIM_MFILE;
    }
    shim->opened[i] = host_fd;
    store_u32(result, FIRST_OPENED + i);
    return SHIM_SUCCESS;
}

bool fd_table_close(struct shim *shim, uint32_t fd) {
    int host_fd = fd_table_get_opened(shim, fd);
    if (host_fd < 0) return false;
    shim->opened[fd - FIRST_OPENED] = -1;
    // Linux closes it even if it returns an error (close(2)).
    close(host_fd);
    return true;
}

uint32_t shim_fd_close(struct shim *shim, uint32_t fd) {
    return fd_table_close(shim, fd) ? SHIM_SUCCESS : SHIM_BADF;
}
