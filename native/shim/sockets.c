// socket_shim_v1: sockets that the program opens and connects, and descriptors that it passes on.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

// Behind <sys/socket.h>, which it uses and does not include (kernel headers of 6.1).
#include <linux/vm_sockets.h>

#include "internal.h"

// Linux's own numbers differ: AF_UNIX is 1 there.
enum { FAMILY_UNIX = 3, FAMILY_VSOCK = 40 };
enum { SOCKTYPE_STREAM = 6 };

#define VSOCK_ADDRESS_SIZE 12

uint32_t shim_sock_open(struct shim *shim, uint32_t family, uint32_t type, uint32_t ret_fd) {
    uint8_t *result = shim_range(shim, ret_fd, 4);
    if (result == NULL) return SHIM_FAULT;
    if (family != FAMILY_UNIX && family != FAMILY_VSOCK) return SHIM_AFNOSUPPORT;
    if (type != SOCKTYPE_STREAM) return SHIM_PROTOTYPE;
    // Not blocking, so that connecting can be waited for; sock_connect undoes it.
    int domain = family == FAMILY_UNIX ? AF_UNIX : AF_VSOCK;
    int host = shim_above_stdio(socket(domain, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return shim_add(shim, host, result);
}

/** The longest time that every kernel takes for a socket's option: 11 days. */
#define TIMEOUT_MAX UINT64_C(1000000000000)

/**
 * What is left until `deadline`, as a socket's option takes it: at least a microsecond, because 0
 * means for ever there, and at most TIMEOUT_MAX.
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
 * Connects a unix socket whose listener's queue is full. There is nothing to poll for: the kernel
 * wakes those who sleep in connect(2), as long as SO_SNDTIMEO says (unix_stream_connect).
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
    // As sock_open made it, for whoever calls again.
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
 * A connection that was refused may mean that there is no socket at all: the kernel says
 * ECONNREFUSED of every other kind of file. A look at it costs nothing where all goes well.
 */
static uint32_t unix_errno(int error, int looked, const struct stat *status) {
    if (error != ECONNREFUSED || looked != 0 || S_ISSOCK(status->st_mode)) return shim_errno(error);
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
 * A path that is too long for sun_path: /proc/self/fd names the same file in a few bytes. Not to be
 * inlined, because its large frame would then be everybody's.
 */
__attribute__((noinline)) static uint32_t connect_long_path(int fd, const uint8_t *bytes,
                                                            size_t length, uint64_t deadline) {
    char path[SHIM_PATH_MAX + 1];
    if (length > SHIM_PATH_MAX) return SHIM_NAMETOOLONG;
    memcpy(path, bytes, length);
    path[length] = 0;

    int file = shim_open(path, O_PATH | O_CLOEXEC);
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
    // Of the longest path there is no room for the NUL in sun_path, which connect(2) does not need.
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

/** Waits for a connection in the making, and gives the errno that it ended with. */
static int connect_result(int fd, uint64_t deadline) {
    struct pollfd entry = {.fd = fd, .events = POLLOUT};
    int ready = shim_poll(&entry, 1, deadline);
    if (ready < 0) return errno;
    if (ready == 0) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

/** The kernel's SO_VM_SOCKETS_CONNECT_TIMEOUT, where nobody has set it: 2 s (vsock(7)). */
static const struct timeval usual_limit = {.tv_sec = 2};

/**
 * The kernel gives up connecting after SO_VM_SOCKETS_CONNECT_TIMEOUT. It is moved out of the way, so
 * that the deadline decides, and put back for whoever gets the socket.
 */
static uint32_t connect_vsock(int fd, uint32_t port, uint32_t cid, uint64_t deadline) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
    struct timeval limit = {.tv_sec = TIMEOUT_MAX / 1000000};
    struct timeval left;
    if (!time_left(deadline, &left)) return SHIM_TIMEDOUT;
    bool moved = setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit) == 0;

    int error = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) error = errno;
    // An earlier call has met its deadline, and this one goes on; or it was connected in between.
    if (error == EISCONN) error = 0;
    if (error == EINPROGRESS || error == EALREADY || error == EINTR) {
        error = connect_result(fd, deadline);
    }
    if (error != 0) return shim_errno(error);

    if (moved) {
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &usual_limit, sizeof usual_limit);
    }
    return fcntl(fd, F_SETFL, 0) == 0 ? (uint32_t)SHIM_SUCCESS : shim_errno(errno);
}

uint32_t shim_sock_connect(struct shim *shim, uint32_t fd, uint32_t address, uint32_t address_len,
                           uint64_t deadline) {
    const uint8_t *bytes = shim_range(shim, address, address_len);
    if (bytes == NULL) return SHIM_FAULT;
    int host = shim_opened(shim, fd);
    if (host < 0) return SHIM_BADF;
    if (address_len < 2) return SHIM_INVAL;
    if (deadline == 0) deadline = SHIM_NEVER;
    switch (load_u16(bytes)) {
        case FAMILY_UNIX:
            if (address_len == 2) return SHIM_INVAL;
            return bytes[2] == 0 ? connect_abstract(host, bytes + 2, address_len - 2, deadline)
                                 : connect_path(host, bytes + 2, address_len - 2, deadline);
        case FAMILY_VSOCK:
            if (address_len != VSOCK_ADDRESS_SIZE || load_u16(bytes + 2) != 0) return SHIM_INVAL;
            return connect_vsock(host, load_u32(bytes + 4), load_u32(bytes + 8), deadline);
        default:
            return SHIM_AFNOSUPPORT;
    }
}

/** Puts a kernel's address into the shim's form; 0 for a family that has none. */
static size_t put_address(uint8_t *bytes, const struct sockaddr_storage *storage, socklen_t size) {
    if (storage->ss_family == AF_UNIX) {
        const struct sockaddr_un *address = (const struct sockaddr_un *)storage;
        size_t length = size - offsetof(struct sockaddr_un, sun_path);
        if (length > 0 && address->sun_path[0] != 0) length = strnlen(address->sun_path, length);
        store_u16(bytes, FAMILY_UNIX);
        memcpy(bytes + 2, address->sun_path, length);
        return 2 + length;
    }
    if (storage->ss_family == AF_VSOCK) {
        const struct sockaddr_vm *address = (const struct sockaddr_vm *)storage;
        store_u16(bytes, FAMILY_VSOCK);
        store_u16(bytes + 2, 0);
        store_u32(bytes + 4, address->svm_port);
        store_u32(bytes + 8, address->svm_cid);
        return VSOCK_ADDRESS_SIZE;
    }
    return 0;
}

uint32_t shim_sock_addr_local(struct shim *shim, uint32_t fd, uint32_t address, uint32_t capacity,
                              uint32_t ret_len) {
    uint8_t *bytes = shim_range(shim, address, capacity);
    uint8_t *result = shim_range(shim, ret_len, 4);
    if (bytes == NULL || result == NULL) return SHIM_FAULT;
    int host = shim_descriptor(shim, fd);
    if (host < 0) return SHIM_BADF;
    struct sockaddr_storage storage = {0};
    socklen_t size = sizeof storage;
    if (getsockname(host, (struct sockaddr *)&storage, &size) != 0) return shim_errno(errno);
    uint8_t whole[2 + sizeof storage];
    size_t length = put_address(whole, &storage, size);
    if (length == 0) return SHIM_AFNOSUPPORT;
    memcpy(bytes, whole, length < capacity ? length : capacity);
    store_u32(result, (uint32_t)length);
    return SHIM_SUCCESS;
}

/** Whether descriptors can be passed over a socket: others take the bytes and drop the rest. */
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
    struct shim_transfer transfer;
    uint32_t error = shim_transfer(shim, fd, iovs, iovs_len, &transfer);
    if (error != SHIM_SUCCESS) return error;
    // A stream carries no descriptor without a byte to carry it with (unix(7)).
    size_t total = 0;
    for (uint32_t i = 0; i < iovs_len; i++) {
        total += transfer.buffers[i].iov_len;
    }
    if (total == 0 || !is_unix(transfer.host)) return SHIM_INVAL;

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
        int passed = shim_descriptor(shim, load_u32(list + (size_t)i * 4));
        if (passed < 0) return SHIM_BADF;
        memcpy(CMSG_DATA(header) + i * sizeof passed, &passed, sizeof passed);
    }
    return shim_send(&transfer, result);
}
