// Runs commands as OpenSSH's client runs a ProxyCommand, in turns, and tells what each run took.
//
//     race OPTIONS <COMMANDS >RUNS
//
//     --folder PATH       where the peers' sockets are made: PATH/unix, which greets whoever
//                         connects, and PATH/multiplexer, which answers CONNECT with OK first
//     --rounds N          measured runs of each command
//     --warm-up N         rounds before these
//     --processor N       the processor of this program and of the commands; -1: any
//     --peers N           the processor of the peers; -1: any
//     --peak              one run of each, under ptrace, for the most memory that it ever held
//
// A line of COMMANDS is a KIND and an argument vector, separated by tabs. KIND says what ssh would
// see of it:
//     plain   nothing: it ends with status 0
//     pass    a descriptor, then its end with status 0, then the greeting on the descriptor
//     relay   the greeting; it ends once both directions are closed
// A line of RUNS is the number of the command, then nanoseconds from the spawn: until the descriptor
// was there (0 where there is none), the process had ended, the first byte of the greeting was read
// (0: none); and its processor time, user and system, in microseconds. With --peak it is the number
// and VmHWM in kilobytes (proc_pid_status(5)).
//
// Rules
// 1. The clock runs from before vfork(2), which costs the same however large this program is, and so
//    adds least of what is not the command's own. posix_spawn(3) would add 60 calls for the signals.
// 2. Each round starts with another command, so that none always follows the same one.
// 3. A run that does not do what its kind says ends this program with 1: it would count for nothing.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MANY_COMMANDS = 64, MANY_ARGUMENTS = 32 };

enum kind { PLAIN, PASS, RELAY };

struct command {
    enum kind kind;
    char *argv[MANY_ARGUMENTS + 1];
};

struct run {
    int64_t handed_over_ns;
    int64_t ended_ns;
    int64_t greeted_ns;
    int64_t processor_us;
};

static const char greeting[] = "SSH-2.0-race\r\n";

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void fail(const char *format, ...) {
    int error = errno;
    va_list args;
    fputs("race: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pin(long processor) {
    cpu_set_t set;
    if (processor < 0) return;
    CPU_ZERO(&set);
    CPU_SET((size_t)processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) fail("processor %ld", processor);
}

// ---- the peers

static int listener(const char *folder, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    if (length >= (int)sizeof address.sun_path) fail("%s is too long", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        fail("%s", address.sun_path);
    return fd;
}

// One connection after the other, each until its other end is closed: so they come.
static _Noreturn void serve(int plain, int multiplexer) {
    struct pollfd listeners[] = {{.fd = plain, .events = POLLIN},
                                 {.fd = multiplexer, .events = POLLIN}};
    for (;;) {
        if (poll(listeners, 2, -1) < 0) fail("poll");
        bool asks = listeners[1].revents != 0;
        int fd = accept4(asks ? multiplexer : plain, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) fail("accept4");
        char bytes[256] = "";
        char answer[64];
        if (asks) {
            // A ProxyCommand sends CONNECT in one write, so it comes in one read.
            if (read(fd, bytes, sizeof bytes - 1) <= 0) fail("a connection without CONNECT");
            if (strncmp(bytes, "CONNECT ", 8) != 0) fail("no CONNECT but %s", bytes);
        }
        snprintf(answer, sizeof answer, "%s%s", asks ? "OK 1073741824\n" : "", greeting);
        // Whoever has gone already needs no answer.
        if (send(fd, answer, strlen(answer), MSG_NOSIGNAL) > 0) {
            while (read(fd, bytes, sizeof bytes) > 0)
                continue;
        }
        close(fd);
    }
}

static void start_peers(const char *folder, long processor) {
    int plain = listener(folder, "unix");
    int multiplexer = listener(folder, "multiplexer");
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        // They do not outlive this program.
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
        pin(processor);
        serve(plain, multiplexer);
    }
    close(plain);
    close(multiplexer);
}

// ---- what ssh does

static pid_t spawn(const struct command *command, int theirs) {
    pid_t pid = vfork();
    if (pid < 0) fail("vfork");
    if (pid == 0) {
        if (dup2(theirs, STDIN_FILENO) >= 0 && dup2(theirs, STDOUT_FILENO) >= 0)
            execv(command->argv[0], command->argv);
        _exit(127);
    }
    return pid;
}

/** The descriptor that comes with one byte; -1 where the end comes instead. */
static int receive_descriptor(int fd) {
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
    if (header == NULL || header->cmsg_type != SCM_RIGHTS) return -1;
    memcpy(&passed, CMSG_DATA(header), sizeof passed);
    return passed;
}

static void expect_greeting(const struct command *command, int fd) {
    char byte;
    if (recv(fd, &byte, 1, 0) != 1 || byte != greeting[0]) fail("no greeting: %s", *command->argv);
}

static struct run measure(const struct command *command) {
    int pair[2];
    struct run run = {0};
    struct rusage usage;
    int status;
    int passed = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");

    int64_t start = now_ns();
    pid_t pid = spawn(command, pair[1]);
    close(pair[1]);
    if (command->kind == PASS) {
        passed = receive_descriptor(pair[0]);
        run.handed_over_ns = now_ns() - start;
    } else if (command->kind == RELAY) {
        expect_greeting(command, pair[0]);
        run.greeted_ns = now_ns() - start;
        close(pair[0]);
    }
    if (wait4(pid, &status, 0, &usage) != pid) fail("wait4");
    run.ended_ns = now_ns() - start;
    if (command->kind == PASS && passed >= 0) {
        expect_greeting(command, passed);
        run.greeted_ns = now_ns() - start;
        close(passed);
    }
    if (command->kind != RELAY) close(pair[0]);

    errno = 0;
    if (command->kind != RELAY && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        fail("%s ended with %#x", *command->argv, (unsigned)status);
    if (command->kind == PASS && passed < 0) fail("%s passed nothing", *command->argv);
    run.processor_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    return run;
}

// ---- the most memory

static long high_water_mark_kb(pid_t pid) {
    char path[64];
    char line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) fail("%s", path);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &value) == 1) break;
    }
    fclose(file);
    return value;
}

/**
 * Stops the process when it has finished and still has its memory. ru_maxrss would not do: it
 * counts what the process held before exec, which is this program.
 */
static long peak_kb(const struct command *command) {
    int pair[2];
    int status;
    long result = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        if (dup2(pair[1], STDIN_FILENO) >= 0 && dup2(pair[1], STDOUT_FILENO) >= 0)
            execv(command->argv[0], command->argv);
        _exit(127);
    }
    close(pair[1]);
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) fail("exec of %s", *command->argv);
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) != 0)
        fail("PTRACE_SETOPTIONS");
    ptrace(PTRACE_CONT, pid, NULL, NULL);
    if (command->kind == RELAY) {
        expect_greeting(command, pair[0]);
        close(pair[0]);
    }
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        bool ends = status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8);
        if (ends) result = high_water_mark_kb(pid);
        ptrace(PTRACE_CONT, pid, NULL, ends ? 0 : WSTOPSIG(status));
    }
    if (command->kind != RELAY) close(pair[0]);
    return result;
}

// ---- the command line

static size_t read_commands(struct command *commands) {
    static const char *const kinds[] = {"plain", "pass", "relay"};
    char *line = NULL;
    size_t room = 0;
    size_t count = 0;
    while (getline(&line, &room, stdin) > 0) {
        if (count == MANY_COMMANDS) fail("more than %d commands", MANY_COMMANDS);
        struct command *command = &commands[count++];
        size_t words = 0;
        int kind = -1;
        line[strcspn(line, "\n")] = 0;
        for (char *word = strtok(line, "\t"); word != NULL; word = strtok(NULL, "\t"), words++) {
            for (int i = 0; words == 0 && i < 3; i++)
                if (strcmp(word, kinds[i]) == 0) kind = i;
            if (words > MANY_ARGUMENTS) fail("more than %d arguments", MANY_ARGUMENTS);
            if (words > 0) command->argv[words - 1] = word;
        }
        if (kind < 0 || words < 2) fail("not a command: %s", line);
        command->kind = (enum kind)kind;
        line = NULL;  // Its words are in use from now on.
    }
    if (count == 0) fail("no commands");
    return count;
}

static long number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != 0) fail("not a number: %s", text);
    return value;
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    long rounds = 200;
    long warm_up = 20;
    long processor = -1;
    long peers = -1;
    bool peak = false;
    errno = 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--peak") == 0) {
            peak = true;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "--folder") == 0)
            folder = value;
        else if (strcmp(name, "--rounds") == 0)
            rounds = number(value);
        else if (strcmp(name, "--warm-up") == 0)
            warm_up = number(value);
        else if (strcmp(name, "--processor") == 0)
            processor = number(value);
        else if (strcmp(name, "--peers") == 0)
            peers = number(value);
        else
            fail("unknown option %s", name);
    }
    if (folder == NULL) fail("--folder is missing");

    static struct command commands[MANY_COMMANDS];
    size_t count = read_commands(commands);
    // A relay that writes after its end is closed is no reason to end.
    signal(SIGPIPE, SIG_DFL);
    start_peers(folder, peers);
    pin(processor);
    if (peak) {
        for (size_t i = 0; i < count; i++)
            printf("%zu %ld\n", i, peak_kb(&commands[i]));
        return 0;
    }
    for (long round = -warm_up; round < rounds; round++) {
        for (size_t turn = 0; turn < count; turn++) {
            size_t i = (turn + (size_t)(round + warm_up)) % count;
            struct run run = measure(&commands[i]);
            if (round < 0) continue;
            printf("%zu %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", i, run.handed_over_ns,
                   run.ended_ns, run.greeted_ns, run.processor_us);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
