// The functions of the C library that the shim and wasm2c's output call, as plain system calls and
// loops, so that the executable has nothing of a library's start-up. The system's headers declare
// them; on 64-bit Linux their structures are the kernel's.
//
// docs/standalone.md lists the system calls, and says why not musl. The kernel's own nolibc
// (tools/include/nolibc) has no sockets, and brings types of its own.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#ifdef __GLIBC__
#if !__GLIBC_PREREQ(2, 33)
#error "glibc before 2.33 has no function stat: build with --libc"
#endif
#endif

// ---- system calls

// A system call without a wrapper: it returns -4095 to -1 for an errno.

#if defined(__x86_64__)

static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#elif defined(__aarch64__)

static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}

#else
#error "scripts/build-standalone.mjs builds for this processor with the system's C library"
#endif

static int last_error;

int *__errno_location(void) {
    return &last_error;
}

static long checked(long result) {
    if (result > -4096 && result < 0) {
        last_error = (int)-result;
        return -1;
    }
    return result;
}

// By the number of arguments.
#define CALL0(name) CALL6(name, 0, 0, 0, 0, 0, 0)
#define CALL1(name, a) CALL6(name, a, 0, 0, 0, 0, 0)
#define CALL2(name, a, b) CALL6(name, a, b, 0, 0, 0, 0)
#define CALL3(name, a, b, c) CALL6(name, a, b, c, 0, 0, 0)
#define CALL4(name, a, b, c, d) CALL6(name, a, b, c, d, 0, 0)
#define CALL5(name, a, b, c, d, e) CALL6(name, a, b, c, d, e, 0)
#define CALL6(name, a, b, c, d, e, f) \
    checked(                          \
        raw_syscall(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))

// ---- processes and time

void _exit(int status) {
    for (;;)
        (void)CALL1(exit_group, status);
}

/** Only for SIG_IGN and SIG_DFL: a handler would need a restorer. Does not return the old handler. */
sighandler_t signal(int number, sighandler_t handler) {
    // The kernel's struct sigaction: handler, flags, restorer, mask; each 8 bytes.
    const uintptr_t action[4] = {(uintptr_t)handler};
    return CALL4(rt_sigaction, number, action, NULL, 8) == 0 ? SIG_DFL : SIG_ERR;
}

uid_t geteuid(void) {
    return (uid_t)CALL0(geteuid);
}

pid_t getpid(void) {
    return (pid_t)CALL0(getpid);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    return (int)CALL2(clock_gettime, clock, time);
}

// ---- files and memory

int openat(int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return (int)CALL4(openat, directory, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}

ssize_t readlinkat(int directory, const char *restrict path, char *restrict text, size_t size) {
    return CALL4(readlinkat, directory, path, text, size);
}

int close(int fd) {
    return (int)CALL1(close, fd);
}

int dup3(int from, int to, int flags) {
    return (int)CALL3(dup3, from, to, flags);
}

int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    // Every command that the shim uses takes an int, or nothing, and then the kernel ignores it.
    int argument = va_arg(rest, int);
    va_end(rest);
    return (int)CALL3(fcntl, fd, command, argument);
}

/** Only for requests with a pointer. */
int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return (int)CALL3(ioctl, fd, request, argument);
}

int fstatfs(int fd, struct statfs *status) {
    return (int)CALL2(fstatfs, fd, status);
}

int fstat(int fd, struct stat *status) {
    return (int)CALL2(fstat, fd, status);
}

int stat(const char *restrict path, struct stat *restrict status) {
    return (int)CALL4(newfstatat, AT_FDCWD, path, status, 0);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    return CALL3(write, fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *buffers, int count) {
    return CALL3(writev, fd, buffers, count);
}

ssize_t readv(int fd, const struct iovec *buffers, int count) {
    return CALL3(readv, fd, buffers, count);
}

int pipe2(int fds[2], int flags) {
    return (int)CALL2(pipe2, fds, flags);
}

ssize_t splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t size,
               unsigned flags) {
    return CALL6(splice, from, from_offset, to, to_offset, size, flags);
}

int ppoll(struct pollfd *entries, nfds_t count, const struct timespec *timeout,
          const sigset_t *mask) {
    // The kernel writes the time left into its argument, which the caller does not expect.
    struct timespec left;
    if (timeout != NULL) left = *timeout;
    return (int)CALL5(ppoll, entries, count, timeout != NULL ? &left : NULL, mask, 8);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel returns an integer.
    return (void *)CALL6(mmap, address, size, protection, flags, fd, offset);
}

int munmap(void *address, size_t size) {
    return (int)CALL2(munmap, address, size);
}

// ---- sockets

int socket(int family, int type, int protocol) {
    return (int)CALL3(socket, family, type, protocol);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
    return (int)CALL3(connect, fd, address, size);
}

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict size) {
    return (int)CALL3(getsockname, fd, address, size);
}

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict size) {
    return (int)CALL5(getsockopt, fd, level, option, value, size);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
    return (int)CALL5(setsockopt, fd, level, option, value, size);
}

int shutdown(int fd, int how) {
    return (int)CALL2(shutdown, fd, how);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    return CALL3(sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    return CALL3(recvmsg, fd, message, flags);
}

// ---- bytes

// Keeps gcc from turning a loop into a call of the function around it; for clang -ffreestanding does.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    uint8_t *out = to;
    const uint8_t *in = from;
    for (; size >= sizeof(word); size -= sizeof(word)) {
        *(word *)out = *(const word *)in;
        out += sizeof(word);
        in += sizeof(word);
    }
    while (size-- > 0)
        *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if (out <= in) {
        for (size_t i = 0; i < size; i++)
            out[i] = in[i];
    } else {
        while (size-- > 0)
            out[size] = in[size];
    }
    return to;
}

void *memset(void *to, int byte, size_t size) {
    uint8_t *out = to;
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)byte;
    return to;
}

int memcmp(const void *one, const void *other, size_t size) {
    const uint8_t *a = one;
    const uint8_t *b = other;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i]) return a[i] - b[i];
    }
    return 0;
}

void *memchr(const void *bytes, int byte, size_t size) {
    const uint8_t *at = bytes;
    for (; size > 0; at++, size--) {
        if (*at == (uint8_t)byte) return (void *)at;
    }
    return NULL;
}

char *strrchr(const char *text, int byte) {
    const char *last = NULL;
    for (; *text != 0; text++) {
        if (*text == (char)byte) last = text;
    }
    return (char *)last;
}

size_t strlen(const char *text) {
    size_t length = 0;
    while (text[length] != 0)
        length++;
    return length;
}

size_t strnlen(const char *text, size_t most) {
    size_t length = 0;
    while (length < most && text[length] != 0)
        length++;
    return length;
}
