// Lists of buffers, and the calls that move bytes from or into them.

#include <errno.h>
#include <sys/socket.h>

#include "internal.h"

uint32_t iovec_load(const struct shim *shim, uint32_t iovs, uint32_t iovs_len,
                    struct iovec *buffers) {
    if (iovs_len > SHIM_LIST_MAX) return SHIM_INVAL;
    const uint8_t *list = shim_range(shim, iovs, (uint64_t)iovs_len * IOVEC_SIZE);
    if (list == NULL) return SHIM_FAULT;
    for (uint32_t i = 0; i < iovs_len; i++) {
        const uint8_t *entry = list + (size_t)i * IOVEC_SIZE;
        buffers[i].iov_len = load_u32(entry + IOVEC_BUF_LEN);
        buffers[i].iov_base = shim_range(shim, load_u32(entry + IOVEC_BUF), buffers[i].iov_len);
        if (buffers[i].iov_base == NULL) return SHIM_FAULT;
    }
    return SHIM_SUCCESS;
}

uint32_t transfer_load(const struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       struct transfer *transfer) {
    transfer->host_fd = fd_table_get(shim, fd);
    if (transfer->host_fd < 0) return SHIM_BADF;
    transfer->message = (struct msghdr){.msg_iov = transfer->buffers, .msg_iovlen = iovs_len};
    return iovec_load(shim, iovs, iovs_len, transfer->buffers);
}

uint32_t transfer_send(const struct transfer *transfer, uint8_t *result) {
    ssize_t count;
    do {
        count = sendmsg(transfer->host_fd, &transfer->message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return shim_errno(errno);
    store_u32(result, (uint32_t)count);
    return SHIM_SUCCESS;
}
