#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char greeting[] = "SSH-2.0-bench\r\n";
const char confirmation[] = "OK 1073741824\n";

void fail(const char *format, ...) {
    int error = errno;
    va_list args;
    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
    exit(1);
}

// ---- time and memory

/** What the handler writes: nothing else may be done there (signal-safety(7)). */
static char late[256];

static void on_deadline(int signal) {
    (void)signal;
    if (write(STDERR_FILENO, late, strlen(late)) < 0) _exit(2);
    // The commands end with this program.
    _exit(1);
}

void set_deadline(unsigned seconds, const char *name) {
    struct sigaction action = {.sa_handler = on_deadline};
    alarm(0);
    snprintf(late, sizeof late, "%s: %s: it has taken %u s\n", program_invocation_short_name, name,
             seconds);
    if (sigaction(SIGALRM, &action, NULL) != 0) fail("sigaction");
    alarm(seconds);
}

int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t processor_us(const struct rusage *usage) {
    const struct timeval *user = &usage->ru_utime;
    const struct timeval *system = &usage->ru_stime;
    return ((int64_t)user->tv_sec + system->tv_sec) * 1000000 + user->tv_usec + system->tv_usec;
}

long memory_kb(pid_t pid, const char *file, const char *name) {
    char path[64];
    char line[256];
    size_t length = strlen(name);
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *lines = fopen(path, "re");
    if (lines == NULL) return -1;
    while (value < 0 && fgets(line, sizeof line, lines) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            value = strtol(line + length + 1, NULL, 10);
    }
    fclose(lines);
    return value;
}

// ---- the peers' side

void pin(long processor) {
    cpu_set_t set;
    if (processor < 0) return;
    CPU_ZERO(&set);
    errno = EINVAL;
    if (processor < CPU_SETSIZE) CPU_SET((size_t)processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) fail("processor %ld", processor);
}

int listen_at(const char *folder, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    errno = ENAMETOOLONG;
    if (length >= (int)sizeof address.sun_path) fail("%s", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, SOMAXCONN) != 0)
        fail("%s", address.sun_path);
    return fd;
}

bool is_asked(int fd) {
    static const char connect[] = "CONNECT ";
    char request[64];
    // A ProxyCommand sends it in one write, so it comes in one read.
    ssize_t length = read(fd, request, sizeof request);
    return length > (ssize_t)strlen(connect) && memcmp(request, connect, strlen(connect)) == 0;
}

// ---- ssh's side

pid_t spawn(char *const *argv, int in, int out, bool traced) {
    // What vfork(2) costs does not depend on the size of this program, so it adds least of what is
    // not the command's own. posix_spawn(3) would add 60 calls, for the signals: 50 us.
    // What runs before the exec is nothing but system calls, which POSIX leaves undefined and
    // vfork(2) of Linux allows.
    // NOLINTBEGIN(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    pid_t pid = vfork();
    if (pid < 0) fail("vfork");
    if (pid == 0) {
        if (traced) ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        // However this program ends, nothing outlives it.
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && dup2(in, STDIN_FILENO) >= 0 &&
            dup2(out, STDOUT_FILENO) >= 0)
            execv(argv[0], argv);
        _exit(127);
    }
    // NOLINTEND(clang-analyzer-security.insecureAPI.vfork,clang-analyzer-unix.Vfork)
    return pid;
}

int receive_descriptor(int fd) {
    char byte;
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    int passed;
    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header == NULL || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return -1;
    memcpy(&passed, CMSG_DATA(header), sizeof passed);
    return passed;
}

bool is_greeted(int fd) {
    char text[256];
    size_t length = 0;
    while (length < sizeof text - 1) {
        ssize_t more = recv(fd, text + length, sizeof text - 1 - length, 0);
        if (more <= 0) return false;
        length += (size_t)more;
        text[length] = 0;
        const char *found = strstr(text, greeting);
        if (found != NULL) return found == text || found[-1] == '\n';
    }
    return false;
}

bool succeeded(int status) {
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// ---- the input

long parse_number(const char *text) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != 0) fail("not a number: '%s'", text);
    return value;
}

size_t read_commands(struct command *commands) {
    size_t count = 0;
    for (;;) {
        char *line = NULL;
        char *rest;
        size_t room = 0;
        errno = 0;
        if (getline(&line, &room, stdin) <= 0) {
            free(line);
            break;
        }
        if (count == MANY_COMMANDS) fail("more than %d commands", MANY_COMMANDS);
        struct command *command = &commands[count++];
        size_t words = 0;
        line[strcspn(line, "\n")] = 0;
        // What `line` holds is in use to the end of the program.
        command->word = strtok_r(line, "\t", &rest);
        command->name = strtok_r(NULL, "\t", &rest);
        for (char *word = strtok_r(NULL, "\t", &rest); word != NULL;
             word = strtok_r(NULL, "\t", &rest)) {
            if (words == MANY_ARGUMENTS) fail("more than %d arguments", MANY_ARGUMENTS);
            command->argv[words++] = word;
        }
        if (words == 0) fail("a line without a command");
    }
    if (errno != 0) fail("the commands");
    if (count == 0) fail("no commands");
    return count;
}

void shuffle(size_t *order, size_t count) {
    // xorshift32 (Marsaglia 2003): nobody needs better here, and rand(3) differs between libraries.
    static uint32_t state = 2463534242;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        size_t other = state % (i + 1);
        order[i] = i;
        order[i] = order[other];
        order[other] = i;
    }
}
