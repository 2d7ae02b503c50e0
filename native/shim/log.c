// log_open: opens a file for appending, and returns the process ID, which tells the process's lines
// from those of others that write to the same file.

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

// noinline: keeps the 4 KiB frame off the common path.
__attribute__((noinline)) uint32_t shim_log_open(struct shim *shim, uint32_t path,
                                                 uint32_t path_len, uint32_t ret_log) {
    uint8_t *result = shim_range(shim, ret_log, LOG_SIZE);
    const uint8_t *bytes = shim_range(shim, path, path_len);
    if (result == NULL || bytes == NULL) return SHIM_FAULT;
    char name[SHIM_PATH_MAX + 1];
    if (path_len > SHIM_PATH_MAX) return SHIM_NAMETOOLONG;
    if (memchr(bytes, 0, path_len) != NULL) return SHIM_INVAL;
    memcpy(name, bytes, path_len);
    name[path_len] = 0;
    // Not blocking: a FIFO without a reader or a stopped terminal would keep ssh waiting.
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    uint32_t error = fd_table_insert(shim, fd_open(name, flags), result + LOG_FD);
    if (error == SHIM_SUCCESS) store_u32(result + LOG_PROCESS, (uint32_t)getpid());
    return error;
}
