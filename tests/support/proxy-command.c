#define _GNU_SOURCE
#include "proxy-command.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...) {
    int error = errno;
    va_list args;
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
    exit(EXIT_FAILURE);
}

int64_t now_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) fail("clock_gettime");
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

long parse_number(const char *text, const char *name) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < -1) {
        errno = 0;
        fail("%s: '%s' is not a number", name, text);
    }
    return value;
}

int parse_options(int argc, char **argv, const struct option *options, size_t count) {
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        const struct option *option = options;
        while (option < options + count && strcmp(argv[at], option->name) != 0)
            option++;
        errno = 0;
        if (option == options + count) fail("unknown option %s", argv[at]);
        if (option->flag) {
            *option->flag = true;
            continue;
        }
        if (++at == argc) fail("%s needs a value", option->name);
        if (option->number) *option->number = parse_number(argv[at], option->name);
        if (option->text) *option->text = argv[at];
    }
    return at;
}

static bool place(int fd, int target) {
    if (fd >= 0) return dup2(fd, target) == target;
    close(target);
    return true;
}

pid_t spawn(char *const *argv, int in, int out, bool (*prepare)(void)) {
    // The cost of vfork(2) does not depend on the size of this program, so it adds least to what
    // the benchmark measures; posix_spawn(3) would add 60 calls, for the signals: 50 us. POSIX
    // leaves system calls before the exec undefined, Linux allows them. The memory is shared, so
    // the child's errno needs no pipe.
    volatile int error = 0;
    // NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    pid_t pid = vfork();
    if (pid < 0) fail("vfork");
    if (pid == 0) {
        if ((!prepare || prepare()) && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
            place(in, STDIN_FILENO) && place(out, STDOUT_FILENO))
            execvp(argv[0], argv);
        error = errno;
        _exit(EXIT_FAILURE);
    }
    // NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    if (error) {
        errno = error;
        fail("cannot start %s", argv[0]);
    }
    return pid;
}

bool receive_message(int fd, struct message *message) {
    union {
        char space[CMSG_SPACE(MESSAGE_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {message->bytes, sizeof message->bytes};
    struct msghdr header = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    ssize_t length;
    message->byte_count = 0;
    message->fd_count = 0;
    do {
        errno = 0;
        length = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0) return false;
    message->byte_count = (size_t)length;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t size = c->cmsg_len - CMSG_LEN(0);
        memcpy(message->fds + message->fd_count, CMSG_DATA(c), size);
        message->fd_count += size / sizeof(int);
    }
    if (header.msg_flags & MSG_CTRUNC) fail("more than %d descriptors", MESSAGE_FDS);
    return length > 0 || message->fd_count > 0;
}
