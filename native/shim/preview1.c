// The imports from wasi_snapshot_preview1, except fd_close (fd-table.c) and poll_oneoff (poll.c).

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/** The bytes of a list of texts, each with its NUL. */
static uint64_t total_size(const char *const *texts, uint32_t count) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += strlen(texts[i]) + 1;
    }
    return total;
}

/** args_sizes_get and environ_sizes_get. */
static uint32_t put_sizes(struct shim *shim, const char *const *texts, uint32_t count,
                          uint32_t ret_count, uint32_t ret_size) {
    uint8_t *number = shim_range(shim, ret_count, 4);
    uint8_t *size = shim_range(shim, ret_size, 4);
    if (number == NULL || size == NULL) return SHIM_FAULT;
    uint64_t total = total_size(texts, count);
    if (total > UINT32_MAX) return SHIM_OVERFLOW;
    store_u32(number, count);
    store_u32(size, (uint32_t)total);
    return SHIM_SUCCESS;
}

/** args_get and environ_get: the texts, one after the other, and a pointer to each. */
static uint32_t put_texts(struct shim *shim, const char *const *texts, uint32_t count, uint32_t at,
                          uint32_t buf) {
    uint8_t *pointers = shim_range(shim, at, (uint64_t)count * 4);
    uint8_t *bytes = shim_range(shim, buf, total_size(texts, count));
    if (pointers == NULL || bytes == NULL) return SHIM_FAULT;
    uint32_t offset = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t size = strlen(texts[i]) + 1;
        memcpy(bytes + offset, texts[i], size);
        store_u32(pointers + (size_t)i * 4, buf + offset);
        offset += (uint32_t)size;
    }
    return SHIM_SUCCESS;
}

uint32_t shim_args_sizes_get(struct shim *shim, uint32_t ret_argc, uint32_t ret_argv_buf_size) {
    return put_sizes(shim, shim->argv, shim->argc, ret_argc, ret_argv_buf_size);
}

uint32_t shim_args_get(struct shim *shim, uint32_t argv, uint32_t argv_buf) {
    return put_texts(shim, shim->argv, shim->argc, argv, argv_buf);
}

/**
 * The variables that the program may see: the command's own, the terminal's type, and the folder of
 * the sockets of the user's services. An environment can hold secrets, and any bytes. Where the
 * executable has more privileges than who started it, it sees none (secure_getenv(3)).
 */
static const char allowed_env[][32] = {"SSH_VSOCK_PROXY_OPTIONS=", "TERM=", "XDG_RUNTIME_DIR="};
#define ALLOWED_ENV (sizeof allowed_env / sizeof *allowed_env)

/** Finds the allowed variables, the first of each name. @return how many there are */
static uint32_t find_variables(const struct shim *shim, const char *variables[ALLOWED_ENV]) {
    uint32_t count = 0;
    if (getauxval(AT_SECURE) != 0) return 0;
    for (size_t i = 0; i < ALLOWED_ENV; i++) {
        const char *const *at = shim->environment;
        while (at != NULL && *at != NULL && skip_prefix(*at, allowed_env[i]) == NULL)
            at++;
        if (at != NULL && *at != NULL) variables[count++] = *at;
    }
    return count;
}

uint32_t shim_environ_sizes_get(struct shim *shim, uint32_t ret_count, uint32_t ret_buf_size) {
    const char *variables[ALLOWED_ENV];
    uint32_t count = find_variables(shim, variables);
    return put_sizes(shim, variables, count, ret_count, ret_buf_size);
}

uint32_t shim_environ_get(struct shim *shim, uint32_t environ, uint32_t environ_buf) {
    const char *variables[ALLOWED_ENV];
    uint32_t count = find_variables(shim, variables);
    return put_texts(shim, variables, count, environ, environ_buf);
}

uint32_t shim_clock_time_get(struct shim *shim, uint32_t clock, uint64_t precision,
                             uint32_t ret_time) {
    (void)precision;  // A hint: the clocks are read at their full precision.
    static const clockid_t clocks[] = {
        [CLOCKID_REALTIME] = CLOCK_REALTIME,
        [CLOCKID_MONOTONIC] = CLOCK_MONOTONIC,
    };
    uint8_t *result = shim_range(shim, ret_time, 8);
    if (result == NULL) return SHIM_FAULT;
    if (clock >= sizeof clocks / sizeof *clocks) return SHIM_INVAL;
    struct timespec time;
    if (clock_gettime(clocks[clock], &time) != 0) return shim_errno(errno);
    store_u64(result, shim_nanoseconds(&time));
    return SHIM_SUCCESS;
}

static uint8_t socket_filetype(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return FILETYPE_UNKNOWN;
    if (type == SOCK_STREAM) return FILETYPE_SOCKET_STREAM;
    if (type == SOCK_DGRAM) return FILETYPE_SOCKET_DGRAM;
    return FILETYPE_UNKNOWN;
}

static uint8_t filetype(int fd, mode_t mode) {
    switch (mode & S_IFMT) {
        case S_IFBLK:
            return FILETYPE_BLOCK_DEVICE;
        case S_IFCHR:
            return FILETYPE_CHARACTER_DEVICE;
        case S_IFDIR:
            return FILETYPE_DIRECTORY;
        case S_IFREG:
            return FILETYPE_REGULAR_FILE;
        case S_IFSOCK:
            return socket_filetype(fd);
        default:
            return FILETYPE_UNKNOWN;
    }
}

uint32_t shim_fd_filestat_get(struct shim *shim, uint32_t fd, uint32_t ret_stat) {
    uint8_t *result = shim_range(shim, ret_stat, FILESTAT_SIZE);
    if (result == NULL) return SHIM_FAULT;
    int host_fd = fd_table_get(shim, fd);
    if (host_fd < 0) return SHIM_BADF;
    struct stat status;
    if (fstat(host_fd, &status) != 0) return shim_errno(errno);
    // Node opens /dev/null for those of 0 to 2 that are closed. A host cannot tell the two apart, so
    // both are closed.
    if (S_ISCHR(status.st_mode) && status.st_rdev == NULL_DEVICE) return SHIM_BADF;
    memset(result, 0, FILESTAT_SIZE);
    store_u64(result + FILESTAT_DEV, status.st_dev);
    store_u64(result + FILESTAT_INO, status.st_ino);
    result[FILESTAT_FILETYPE] = filetype(host_fd, status.st_mode);
    store_u64(result + FILESTAT_NLINK, status.st_nlink);
    store_u64(result + FILESTAT_SIZE_OF_FILE, (uint64_t)status.st_size);
    store_u64(result + FILESTAT_ATIM, shim_nanoseconds(&status.st_atim));
    store_u64(result + FILESTAT_MTIM, shim_nanoseconds(&status.st_mtim));
    store_u64(result + FILESTAT_CTIM, shim_nanoseconds(&status.st_ctim));
    return SHIM_SUCCESS;
}

uint32_t shim_fd_write(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       uint32_t ret_written) {
    uint8_t *result = shim_range(shim, ret_written, 4);
    if (result == NULL) return SHIM_FAULT;
    struct transfer transfer;
    uint32_t error = transfer_load(shim, fd, iovs, iovs_len, &transfer);
    if (error != SHIM_SUCCESS) return error;
    ssize_t count;
    do {
        count = writev(transfer.host_fd, transfer.buffers, (int)iovs_len);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return shim_errno(errno);
    store_u32(result, (uint32_t)count);
    return SHIM_SUCCESS;
}

void shim_proc_exit(struct shim *shim, uint32_t status) {
    (void)shim;
    // Not exit(3): ssh would wait while the host cleans up.
    _exit((int)(status & 0xff));
}

uint32_t shim_sock_recv(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len, uint32_t ret_flags) {
    uint8_t *result = shim_range(shim, ret_len, 4);
    uint8_t *roflags = shim_range(shim, ret_flags, 2);
    if (result == NULL || roflags == NULL) return SHIM_FAULT;
    if (flags & ~(uint32_t)RIFLAGS_RECV_PEEK) return SHIM_NOTSUP;
    struct transfer transfer;
    uint32_t error = transfer_load(shim, fd, iovs, iovs_len, &transfer);
    if (error != SHIM_SUCCESS) return error;
    int how = MSG_DONTWAIT | (flags & RIFLAGS_RECV_PEEK ? MSG_PEEK : 0);
    ssize_t count;
    do {
        count = recvmsg(transfer.host_fd, &transfer.message, how);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return shim_errno(errno);
    store_u32(result, (uint32_t)count);
    store_u16(roflags, transfer.message.msg_flags & MSG_TRUNC ? ROFLAGS_RECV_DATA_TRUNCATED : 0);
    return SHIM_SUCCESS;
}

uint32_t shim_sock_send(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len) {
    uint8_t *result = shim_range(shim, ret_len, 4);
    if (result == NULL) return SHIM_FAULT;
    if (flags != 0) return SHIM_NOTSUP;
    struct transfer transfer;
    uint32_t error = transfer_load(shim, fd, iovs, iovs_len, &transfer);
    if (error != SHIM_SUCCESS) return error;
    return transfer_send(&transfer, result);
}
