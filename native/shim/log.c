// log_open: opens a file for appending, and returns the process ID, which tells the process's lines
// from those of others that write to the same file.
//
// Rules
// 1. In a sticky directory that all may write to, such as /tmp, nothing that another user has put
//    there is followed or written to. That is what fs.protected_symlinks, protected_fifos and
//    protected_regular (proc(5)) do where they are set, and what the file's second name would get
//    round (protected_hardlinks). It holds for the last part of the path and, if that is a symbolic
//    link, for the last part of where it leads.
// 2. The checks are on the open descriptor, so the file cannot be exchanged between check and use.
// 3. The file is neither descriptor 0 nor 1, under whatever name: these have the peer's bytes.

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

/** As many symbolic links as the kernel follows (path_resolution(7)). */
#define LINKS_MAX 40

static int open_at(int directory, const char *name, int flags) {
    int fd;
    do {
        fd = openat(directory, name, flags | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd_move_above_stdio(fd);
}

/** Closes a descriptor, and keeps errno. */
static void close_quietly(int fd) {
    const int error = errno;
    if (fd >= 0) close(fd);
    errno = error;
}

/** Whether rule 1 allows what was opened in a directory; if not, with errno. */
static bool is_trusted(int directory, int fd) {
    struct stat around;
    struct stat file;
    if (fstat(directory, &around) != 0 || fstat(fd, &file) != 0) return false;
    const mode_t shared = S_ISVTX | S_IWOTH;
    if ((around.st_mode & shared) != shared) return true;
    const bool is_ours = file.st_uid == geteuid() || file.st_uid == around.st_uid;
    if (is_ours && (!S_ISREG(file.st_mode) || file.st_nlink <= 1)) return true;
    errno = EACCES;
    return false;
}

/** The descriptor, if rule 1 allows it; otherwise -1 with errno. */
static int trusted(int directory, int fd) {
    if (fd < 0 || is_trusted(directory, fd)) return fd;
    close_quietly(fd);
    return -1;
}

/**
 * Reads a symbolic link into `path`; its size, -1 with errno. 0 for one of /proc, which leads to an
 * open file and whose text is not a path.
 */
static ssize_t read_link(int directory, const char *name, char *path) {
    const int link = trusted(directory, open_at(directory, name, O_PATH | O_NOFOLLOW));
    struct statfs system;
    ssize_t size = -1;
    if (link >= 0 && fstatfs(link, &system) == 0) {
        size = system.f_type == PROC_SUPER_MAGIC ? 0 : readlinkat(link, "", path, SHIM_PATH_MAX);
    }
    close_quietly(link);
    return size;
}

/** Opens the file at `path`, which is overwritten. @return the descriptor; -1 with errno */
static int open_log(char *path) {
    // Not blocking: a FIFO without a reader or a stopped terminal would keep ssh waiting.
    const int flags = O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK;
    int directory = AT_FDCWD;
    for (int links = 0; links <= LINKS_MAX; links++) {
        char *slash = strrchr(path, '/');
        const char *name = slash != NULL ? slash + 1 : path;
        const char *above = slash == NULL ? "." : slash == path ? "/" : path;
        if (slash != NULL) *slash = 0;
        const int start = directory;
        directory = open_at(start, above, O_PATH | O_DIRECTORY);
        close_quietly(start);
        if (directory < 0) return -1;

        if (*name == 0) name = ".";
        int fd = trusted(directory, open_at(directory, name, flags | O_NOFOLLOW));
        if (fd < 0 && errno == ELOOP) {
            const ssize_t size = read_link(directory, name, path);
            if (size > 0) {
                path[size] = 0;
                continue;
            }
            if (size == 0) fd = open_at(directory, name, flags);
        }
        close_quietly(directory);
        return fd;
    }
    close(directory);
    errno = ELOOP;
    return -1;
}

/** The number of a device: of a terminal its own, though /dev/tty has another (ioctl_tty(2)). */
static uint64_t device_of(int fd, const struct stat *status) {
    unsigned terminal;
    return ioctl(fd, TIOCGDEV, &terminal) == 0 ? terminal : status->st_rdev;
}

/**
 * Whether rule 3 forbids a file. A terminal may be descriptor 0: what is written to it is not read
 * from it. /dev/null keeps nothing, and may be both.
 */
static bool is_stdio(int fd, const struct stat *log) {
    const bool is_device = S_ISCHR(log->st_mode);
    if (is_device && log->st_rdev == NULL_DEVICE) return false;
    for (int stdio = is_device ? 1 : 0; stdio <= 1; stdio++) {
        struct stat other;
        if (fstat(stdio, &other) != 0) continue;
        if (log->st_dev == other.st_dev && log->st_ino == other.st_ino) return true;
        if (is_device && device_of(fd, log) == device_of(stdio, &other)) return true;
    }
    return false;
}

// noinline: keeps the 4 KiB frame off the common path.
__attribute__((noinline)) uint32_t shim_log_open(struct shim *shim, uint32_t path,
                                                 uint32_t path_len, uint32_t ret_log) {
    uint8_t *result = shim_range(shim, ret_log, LOG_SIZE);
    const uint8_t *bytes = shim_range(shim, path, path_len);
    if (result == NULL || bytes == NULL) return SHIM_FAULT;
    char name[SHIM_PATH_MAX + 1];
    if (path_len > SHIM_PATH_MAX) return SHIM_NAMETOOLONG;
    if (path_len == 0) return SHIM_NOENT;
    if (memchr(bytes, 0, path_len) != NULL) return SHIM_INVAL;
    memcpy(name, bytes, path_len);
    name[path_len] = 0;
    const int fd = open_log(name);
    struct stat status;
    if (fd >= 0 && fstat(fd, &status) == 0 && is_stdio(fd, &status)) {
        close(fd);
        return SHIM_NOTCAPABLE;
    }
    uint32_t error = fd_table_insert(shim, fd, result + LOG_FD);
    if (error == SHIM_SUCCESS) store_u32(result + LOG_PROCESS, (uint32_t)getpid());
    return error;
}
