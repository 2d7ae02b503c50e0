// socket_shim_v1: sockets that the program opens and connects, and descriptors that it passes.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// After <sys/socket.h>, which it uses and does not include (kernel headers of 6.1).
#include <linux/vm_sockets.h>

#include "internal.h"

uint32_t shim_sock_open(struct shim *shim, uint32_t family, uint32_t type, uint32_t ret_fd) {
    uint8_t *result = shim_range(shim, ret_fd, 4);
    if (result == NULL) return SHIM_FAULT;
    if (family != FAMILY_UNIX && family != FAMILY_VSOCK) return SHIM_AFNOSUPPORT;
    if (type != SOCKTYPE_STREAM) return SHIM_PROTOTYPE;
    // Not blocking, so that connecting has a deadline; sock_connect undoes it.
    int domain = family == FAMILY_UNIX ? AF_UNIX : AF_VSOCK;
    int host_fd =
        fd_move_above_stdio(socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return fd_table_insert(shim, host_fd, result);
}

/** The longest time that every kernel takes for a socket's option, in microseconds: 11 days. */
#define TIMEOUT_MAX UINT64_C(1000000000000)

/**
 * The time until `deadline` as a socket option: at least a microsecond, because 0 means no limit,
 * and at most TIMEOUT_MAX.
 *
 * @return false if the deadline has passed
 */
static bool time_left(uint64_t deadline, struct timeval *left) {
    uint64_t now = shim_now();
    if (now >= deadline) return false;
    uint64_t microseconds = (deadline - now - 1) / 1000 + 1;
    if (microseconds > TIMEOUT_MAX) microseconds = TIMEOUT_MAX;
    left->tv_sec = (time_t)(microseconds / 1000000);
    left->tv_usec = (suseconds_t)(microseconds % 1000000);
    return true;
}

/**
 * Connects a unix socket whose listener's queue is full. poll(2) does not tell when there is room;
 * connect(2) sleeps until then, for at most SO_SNDTIMEO (unix_stream_connect in the kernel).
 */
static int connect_queued(int fd, const struct sockaddr *address, socklen_t size,
                          uint64_t deadline) {
    struct timeval left = {0};
    int result = -1;
    do {
        if (!time_left(deadline, &left)) {
            errno = ETIMEDOUT;
            break;
        }
        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof left) != 0) return -1;
        result = connect(fd, address, size);
    } while (result != 0 && (errno == EINTR || errno == EAGAIN));
    int error = errno;
    struct timeval none = {0};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none) != 0) return -1;
    // As sock_open made it, for the next call.
    if (result != 0 && fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return -1;
    errno = error;
    return result;
}

static int connect_unix(int fd, const struct sockaddr *address, socklen_t size, uint64_t deadline) {
    int result;
    do {
        result = connect(fd, address, size);
    } while (result != 0 && errno == EINTR);
    bool queued = result != 0 && errno == EAGAIN;
    if (result != 0 && !queued) return -1;
    if (fcntl(fd, F_SETFL, 0) != 0) return -1;
    return queued ? connect_queued(fd, address, size, deadline) : 0;
}

/**
 * ECONNREFUSED is also the kernel's error for a file that is not a socket: stat(2) tells the two
 * apart, after a failure only.
 */
static uint32_t unix_errno(int error, int stat_result, const struct stat *status) {
    if (error != ECONNREFUSED || stat_result != 0 || S_ISSOCK(status->st_mode))
        return shim_errno(error);
    return S_ISDIR(status->st_mode) ? SHIM_ISDIR : SHIM_NOTSOCK;
}

/** Writes a number and a NUL. */
static void put_decimal(char *at, unsigned number) {
    unsigned scale = 1;
    while (number / scale > 9)
        scale *= 10;
    for (; scale > 0; scale /= 10)
        *at++ = (char)('0' + number / scale % 10);
    *at = 0;
}

/**
 * A path that is too long for sun_path: /proc/self/fd names the same file in a few bytes.
 *
 * noinline: keeps the 4 KiB frame off the common path.
 */
__attribute__((noinline)) static uint32_t connect_long_path(int fd, const uint8_t *bytes,
                                                            size_t length, uint64_t deadline) {
    char path[SHIM_PATH_MAX + 1];
    if (length > SHIM_PATH_MAX) return SHIM_NAMETOOLONG;
    memcpy(path, bytes, length);
    path[length] = 0;

    int file = fd_open(path, O_PATH | O_CLOEXEC);
    if (file < 0) return shim_errno(errno);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/proc/self/fd/"};
    put_decimal(address.sun_path + strlen(address.sun_path), (unsigned)file);
    uint32_t result = SHIM_SUCCESS;
    if (connect_unix(fd, (struct sockaddr *)&address, sizeof address, deadline) != 0) {
        int error = errno;
        struct stat status;
        // The file is open, so what is missing is /proc.
        result = error == ENOENT ? (uint32_t)SHIM_NOTSUP
                                 : unix_errno(error, fstat(file, &status), &status);
    }
    close(file);
    return result;
}

static uint32_t connect_path(int fd, const uint8_t *bytes, size_t length, uint64_t deadline) {
    if (memchr(bytes, 0, length) != NULL) return SHIM_INVAL;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (length > sizeof address.sun_path) return connect_long_path(fd, bytes, length, deadline);
    memcpy(address.sun_path, bytes, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    if (connect_unix(fd, (struct sockaddr *)&address, size, deadline) == 0) return SHIM_SUCCESS;
    int error = errno;
    // connect(2) needs no NUL, and the longest path leaves no room for one in sun_path.
    char path[sizeof address.sun_path + 1] = "";
    memcpy(path, bytes, length);
    struct stat status;
    return unix_errno(error, error == ECONNREFUSED ? stat(path, &status) : -1, &status);
}

static uint32_t connect_abstract(int fd, const uint8_t *bytes, size_t length, uint64_t deadline) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (length > sizeof address.sun_path) return SHIM_NAMETOOLONG;
    memcpy(address.sun_path, bytes, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    bool connected = connect_unix(fd, (struct sockaddr *)&address, size, deadline) == 0;
    return connected ? (uint32_t)SHIM_SUCCESS : shim_errno(errno);
}

/** Waits for a connection in progress. @return its errno, 0 if it is connected */
static int connect_result(int fd, uint64_t deadline) {
    struct pollfd entry = {.fd = fd, .events = POLLOUT};
    int ready = shim_poll(&entry, 1, deadline);
    if (ready < 0) return errno;
    if (ready == 0) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

/** The default of SO_VM_SOCKETS_CONNECT_TIMEOUT: 2 s (vsock(7)). */
static const struct timeval default_limit = {.tv_sec = 2};

/**
 * The kernel gives up connecting after SO_VM_SOCKETS_CONNECT_TIMEOUT. It is raised so that the
 * deadline decides, and reset for the socket's next owner.
 */
static uint32_t connect_vsock(int fd, uint32_t port, uint32_t cid, uint64_t deadline) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
    struct timeval limit = {.tv_sec = TIMEOUT_MAX / 1000000};
    struct timeval left;
    if (!time_left(deadline, &left)) return SHIM_TIMEDOUT;
    bool raised =
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit) == 0;

    int error = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) error = errno;
    // An earlier call reached its deadline, and this one continues; meanwhile it may have connected.
    if (error == EISCONN) error = 0;
    if (error == EINPROGRESS || error == EALREADY || error == EINTR) {
        error = connect_result(fd, deadline);
    }
    if (error != 0) return shim_errno(error);

    if (raised) {
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &default_limit,
                   sizeof default_limit);
    }
    return fcntl(fd, F_SETFL, 0) == 0 ? (uint32_t)SHIM_SUCCESS : shim_errno(errno);
}

uint32_t shim_sock_connect(struct shim *shim, uint32_t fd, uint32_t address, uint32_t address_len,
                           uint64_t deadline) {
    const uint8_t *bytes = shim_range(shim, address, address_len);
    if (bytes == NULL) return SHIM_FAULT;
    int host_fd = fd_table_get_opened(shim, fd);
    if (host_fd < 0) return SHIM_BADF;
    if (address_len < ADDRESS_REST) return SHIM_INVAL;
    if (deadline == 0) deadline = SHIM_NEVER;
    const uint8_t *rest = bytes + ADDRESS_REST;
    const size_t rest_len = address_len - ADDRESS_REST;
    switch (load_u16(bytes)) {
        case FAMILY_UNIX:
            if (rest_len == 0) return SHIM_INVAL;
            return rest[0] == 0 ? connect_abstract(host_fd, rest, rest_len, deadline)
                                : connect_path(host_fd, rest, rest_len, deadline);
        case FAMILY_VSOCK:
            if (address_len != VSOCK_ADDRESS_SIZE || load_u16(rest) != 0) return SHIM_INVAL;
            return connect_vsock(host_fd, load_u32(bytes + VSOCK_ADDRESS_PORT),
                                 load_u32(bytes + VSOCK_ADDRESS_CID), deadline);
        default:
            return SHIM_AFNOSUPPORT;
    }
}

/** Writes a kernel's address in the shim's form. @return its length, 0 for another family */
static size_t put_address(uint8_t *bytes, const struct sockaddr_storage *storage, socklen_t size) {
    if (storage->ss_family == AF_UNIX) {
        const struct sockaddr_un *address = (const struct sockaddr_un *)storage;
        size_t length = size - offsetof(struct sockaddr_un, sun_path);
        if (length > 0 && address->sun_path[0] != 0) length = strnlen(address->sun_path, length);
        store_u16(bytes, FAMILY_UNIX);
        memcpy(bytes + ADDRESS_REST, address->sun_path, length);
        return ADDRESS_REST + length;
    }
    if (storage->ss_family == AF_VSOCK) {
        const struct sockaddr_vm *address = (const struct sockaddr_vm *)storage;
        store_u16(bytes, FAMILY_VSOCK);
        store_u16(bytes + ADDRESS_REST, 0);
        store_u32(bytes + VSOCK_ADDRESS_PORT, address->svm_port);
        store_u32(bytes + VSOCK_ADDRESS_CID, address->svm_cid);
        return VSOCK_ADDRESS_SIZE;
    }
    return 0;
}

uint32_t shim_sock_addr_local(struct shim *shim, uint32_t fd, uint32_t address, uint32_t capacity,
                              uint32_t ret_len) {
    uint8_t *bytes = shim_range(shim, address, capacity);
    uint8_t *result = shim_range(shim, ret_len, 4);
    if (bytes == NULL || result == NULL) return SHIM_FAULT;
    int host_fd = fd_table_get(shim, fd);
    if (host_fd < 0) return SHIM_BADF;
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    if (getsockname(host_fd, (struct sockaddr *)&storage, &size) != 0) return shim_errno(errno);
    uint8_t whole[ADDRESS_REST + sizeof storage];
    size_t length = put_address(whole, &storage, size);
    if (length == 0) return SHIM_AFNOSUPPORT;
    memcpy(bytes, whole, length < capacity ? length : capacity);
    store_u32(result, (uint32_t)length);
    return SHIM_SUCCESS;
}

/** Whether a socket passes descriptors: other families send the bytes and drop the descriptors. */
static bool is_unix(int fd) {
    int domain = 0;
    socklen_t size = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_UNIX;
}

uint32_t shim_sock_send_fds(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                            uint32_t fds, uint32_t fds_len, uint32_t ret_len) {
    if (fds_len == 0 || fds_len > SHIM_LIST_MAX) return SHIM_INVAL;
    uint8_t *result = shim_range(shim, ret_len, 4);
    const uint8_t *list = shim_range(shim, fds, (uint64_t)fds_len * 4);
    if (result == NULL || list == NULL) return SHIM_FAULT;
    struct transfer transfer;
    uint32_t error = transfer_load(shim, fd, iovs, iovs_len, &transfer);
    if (error != SHIM_SUCCESS) return error;
    // A stream passes descriptors only together with at least one byte (unix(7)).
    size_t total = 0;
    for (uint32_t i = 0; i < iovs_len; i++) {
        total += transfer.buffers[i].iov_len;
    }
    if (total == 0 || !is_unix(transfer.host_fd)) return SHIM_INVAL;

    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(SHIM_LIST_MAX * sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    transfer.message.msg_control = control.bytes;
    transfer.message.msg_controllen = CMSG_SPACE(fds_len * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&transfer.message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds_len * sizeof(int));
    for (uint32_t i = 0; i < fds_len; i++) {
        int passed = fd_table_get(shim, load_u32(list + (size_t)i * 4));
        if (passed < 0) return SHIM_BADF;
        memcpy(CMSG_DATA(header) + i * sizeof passed, &passed, sizeof passed);
    }
    return transfer_send(&transfer, result);
}
