// Runs commands as OpenSSH's client runs a ProxyCommand, in turns, and measures each run.
//
//     latency OPTIONS <COMMANDS >RUNS
//
//     --folder PATH       for the peers' sockets: PATH/unix, which greets each connection;
//                         PATH/multiplexer, which answers CONNECT with OK first; and, as in a runtime
//                         directory, the socket of a machined that knows a container named machine, the
//                         container's, which greets, and the socket of a libvirtd that knows a domain.
//                         Without this option there are no peers
//     --rounds N          measured runs of each command
//     --warm-up N         rounds before these, which do not count
//     --processor N       the processor of this program and of the commands; -1: any
//     --peers N           the processor of the peers; -1: any
//     --memory            measures, under ptrace(2), a command's peak memory instead of its time
//
// A line of COMMANDS is a KIND, a NAME and an argument vector, separated by tabs. KIND is what ssh
// sees:
//     plain   nothing: it exits with status 0
//     pass    a descriptor, then the exit with status 0, then the greeting on the descriptor
//     named   the same; it asks machined before
//     failed  nothing: it asks libvirtd, and exits with a status that is not 0. Its messages go to
//             /dev/null
//     relay   the greeting; it exits after both directions are closed, with any status
// or, instead of a command, what this program does itself:
//     ask     connects to the socket of the first argument, sends the second and a zero byte, and reads
//             up to a zero byte
// A line of RUNS is the number of the command, then nanoseconds from the spawn until the descriptor
// was received (0: none), the process had exited, and the greeting was read (0: none); then its
// processor time, user and system, in microseconds. With --memory it is the number and kilobytes. Of
// `ask`, the whole time is in place of the exit's, and the others are 0.
//
// Rules
// 1. The clock starts before vfork(2). The time of a shell, which ssh starts first, is not in it.
// 2. The commands take turns, in another order each round, so that other work of the machine falls on
//    all of them alike. Each turn is two runs, of which the second counts: it finds the processor's
//    caches as the command itself left them. So a figure does not depend on the other commands.
// 3. No work is left between two runs: the peer has closed its end and waits again, and nothing is
//    printed before the last run, which would wake the reader.
// 4. --peers is best the processor of the commands. Then the peers' work is in the times; but waking
//    them on another processor, idle until then, takes a virtual machine 50 to 200 us.
// 5. A run that does not do what its kind says ends this program with status 1.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "services.h"

enum { DEADLINE_SECONDS = 30 };

enum kind { PLAIN, PASS, NAMED, FAILED, RELAY, ASK, KINDS };

static const char *const words[KINDS] = {"plain", "pass", "named", "failed", "relay", "ask"};
/** The peers' connections of a run. */
static const int connections[KINDS] = {
    [PASS] = 1, [NAMED] = 2, [FAILED] = 1, [RELAY] = 1, [ASK] = 1};

struct run {
    size_t command;
    int64_t passed_ns;
    int64_t ended_ns;
    int64_t greeted_ns;
    int64_t processor_us;
    long memory_kb;
};

// ---- the peers

enum peer { UNIX, MULTIPLEXER, CONTAINER, MACHINED, LIBVIRT, PEERS };

/** Their sockets, below the folder. */
static const char *const sockets[PEERS] = {
    [UNIX] = "unix",
    [MULTIPLEXER] = "multiplexer",
    [CONTAINER] = "systemd/nspawn/machine/unix-export/ssh",
    [MACHINED] = "systemd/machine/io.systemd.Machine",
    [LIBVIRT] = "libvirt/libvirt-sock-ro",
};

static void greet(int fd, bool asked) {
    char answer[64];
    char rest[64];
    errno = 0;
    if (asked && !is_asked(fd)) fail("the multiplexer: no CONNECT");
    snprintf(answer, sizeof answer, "%s%s", asked ? confirmation : "", greeting);
    // Where this fails, the run misses the greeting.
    send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    while (read(fd, rest, sizeof rest) > 0)
        continue;
}

// Serves one connection at a time, each until its other end is closed. What a command left open when it
// connected again is closed at its exit.
static _Noreturn void serve(struct pollfd *listeners, int done_fd) {
    for (;;) {
        size_t peer = 0;
        if (poll(listeners, PEERS, -1) < 0) fail("poll");
        while (listeners[peer].revents == 0)
            peer++;
        int fd = accept4(listeners[peer].fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) fail("accept4");
        if (peer == MACHINED) {
            serve_machined(fd);
        } else if (peer == LIBVIRT) {
            serve_libvirt(fd);
        } else {
            greet(fd, peer == MULTIPLEXER);
        }
        close(fd);
        if (write(done_fd, "", 1) != 1) fail("the pipe");
    }
}

static void make_folders(const char *folder, const char *name) {
    char path[PATH_MAX];
    size_t start = (size_t)snprintf(path, sizeof path, "%s/", folder);
    snprintf(path + start, sizeof path - start, "%s", name);
    for (char *at = path + start; (at = strchr(at, '/')) != NULL; *at++ = '/') {
        *at = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST) fail("%s", path);
    }
}

/** Returns a descriptor that gives one byte after each connection. */
static int start_peers(const char *folder, long processor) {
    struct pollfd listeners[PEERS];
    int ends[2];
    pid_t parent = getpid();
    for (size_t i = 0; i < PEERS; i++) {
        make_folders(folder, sockets[i]);
        listeners[i] = (struct pollfd){.fd = listen_at(folder, sockets[i]), .events = POLLIN};
    }
    if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
        close(ends[0]);
        pin(processor);
        serve(listeners, ends[1]);
    }
    for (size_t i = 0; i < PEERS; i++)
        close(listeners[i].fd);
    close(ends[1]);
    return ends[0];
}

// ---- one run

static bool trace_me(void) {
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
}

static int null_fd;

static bool be_silent(void) {
    return dup2(null_fd, STDERR_FILENO) >= 0;
}

static bool be_silent_and_trace_me(void) {
    return be_silent() && trace_me();
}

static void continue_to_exit(const struct command *command, pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) fail("%s: no exec", command->name);
    // A further exec, as of a script, is then an event and not a signal.
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC) != 0)
        fail("PTRACE_SETOPTIONS");
    if (ptrace(PTRACE_CONT, pid, NULL, 0) != 0) fail("PTRACE_CONT");
}

/**
 * Waits until the process is about to exit and still has its memory. ru_maxrss includes the memory
 * before the exec, which is this program's.
 */
static long most_memory_kb(const struct command *command, pid_t pid) {
    int status;
    for (;;) {
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            fail("%s: no exit to be seen", command->name);
        int event = status >> 16;
        if (event == PTRACE_EVENT_EXIT) break;
        ptrace(PTRACE_CONT, pid, NULL, event == 0 ? WSTOPSIG(status) : 0);
    }
    // Since Linux 6.2 the counters of the high-water mark are inexact, and may miss all of a small
    // process; the pages at the exit are counted exactly.
    long highest = memory_kb(pid, "status", "VmHWM");
    long last = memory_kb(pid, "smaps_rollup", "Rss");
    if (highest < 0 || last < 0) fail("%s: its memory cannot be read", command->name);
    ptrace(PTRACE_CONT, pid, NULL, 0);
    return highest > last ? highest : last;
}

/** Waits until the peers have closed their ends, and wait again. */
static void await_peers(enum kind kind, int idle_fd) {
    char byte;
    for (int i = 0; idle_fd >= 0 && i < connections[kind]; i++) {
        if (read(idle_fd, &byte, 1) != 1) fail("the peers have ended");
    }
}

static struct run ask(const struct command *command, int idle_fd) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct run run = {0};
    char reply[4096];
    const char *request = command->argv[1];
    set_deadline(DEADLINE_SECONDS, command->name);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", command->argv[0]);

    int64_t start = now_ns();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("%s", address.sun_path);
    ssize_t length = (ssize_t)strlen(request) + 1;
    if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) fail("%s", address.sun_path);
    do {
        length = read(fd, reply, sizeof reply);
        if (length <= 0) fail("%s: no reply", address.sun_path);
    } while (reply[length - 1] != 0);
    close(fd);
    run.ended_ns = now_ns() - start;
    await_peers(ASK, idle_fd);
    return run;
}

static struct run measure(const struct command *command, enum kind kind, int idle_fd, bool peak) {
    if (kind == ASK) return ask(command, idle_fd);
    int pair[2];
    int status;
    int passed = -1;
    bool greeted = false;
    struct run run = {0};
    struct rusage usage;
    set_deadline(DEADLINE_SECONDS, command->name);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");

    int64_t start = now_ns();
    pid_t pid = kind == FAILED ? spawn(command->argv, pair[1], pair[1],
                                       peak ? be_silent_and_trace_me : be_silent)
                               : spawn(command->argv, pair[1], pair[1], peak ? trace_me : NULL);
    close(pair[1]);
    if (peak) continue_to_exit(command, pid);
    // A relay exits only after the greeting; what others have sent can be read after their exit.
    if (peak && kind != RELAY) run.memory_kb = most_memory_kb(command, pid);
    if (kind == PASS || kind == NAMED) {
        passed = receive_descriptor(pair[0]);
        run.passed_ns = now_ns() - start;
    } else if (kind == RELAY) {
        greeted = is_greeted(pair[0]);
        run.greeted_ns = now_ns() - start;
    }
    // As ssh closes its end first, and then waits (sshconnect.c, ssh_proxy_fdpass_connect).
    close(pair[0]);
    if (peak && kind == RELAY) run.memory_kb = most_memory_kb(command, pid);
    if (wait4(pid, &status, 0, &usage) != pid) fail("wait4");
    run.ended_ns = now_ns() - start;
    run.processor_us = processor_us(&usage);
    if (passed >= 0) {
        greeted = is_greeted(passed);
        run.greeted_ns = now_ns() - start;
        close(passed);
    }

    errno = 0;
    if (kind != RELAY && succeeded(status) == (kind == FAILED))
        fail("%s: wait status %#x", command->name, (unsigned)status);
    if ((kind == PASS || kind == NAMED) && passed < 0) fail("%s: no descriptor", command->name);
    if (kind != PLAIN && kind != FAILED && !greeted) fail("%s: no greeting", command->name);
    await_peers(kind, idle_fd);
    return run;
}

// ---- the command line

static enum kind parse_kind(const char *word) {
    for (int kind = 0; kind < KINDS; kind++) {
        if (strcmp(word, words[kind]) == 0) return kind;
    }
    errno = 0;
    fail("unknown kind %s", word);
}

static struct command commands[MANY_COMMANDS];
static enum kind kinds[MANY_COMMANDS];
static bool memory;
static int idle = -1;
static struct run *runs;
static size_t done;

static void turn(size_t index, bool counts) {
    measure(&commands[index], kinds[index], idle, memory);
    struct run run = measure(&commands[index], kinds[index], idle, memory);
    run.command = index;
    if (counts) runs[done++] = run;
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    long rounds = 200;
    long warm_up = 20;
    long processor = -1;
    long peers = -1;
    const struct option options[] = {
        {"--folder", .text = &folder},     {"--rounds", .number = &rounds},
        {"--warm-up", .number = &warm_up}, {"--processor", .number = &processor},
        {"--peers", .number = &peers},     {"--memory", .flag = &memory},
    };
    parse_options(argc, argv, options, sizeof options / sizeof *options);
    if (rounds < 1) fail("no rounds");

    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++)
        kinds[i] = parse_kind(commands[i].word);
    runs = calloc((size_t)rounds * MANY_COMMANDS, sizeof *runs);
    if (runs == NULL) fail("%ld rounds", rounds);

    null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null_fd < 0) fail("/dev/null");
    if (folder != NULL) idle = start_peers(folder, peers);
    pin(processor);
    take_turns(count, warm_up, rounds, turn);
    for (size_t i = 0; i < done; i++) {
        const struct run *run = &runs[i];
        if (memory) {
            printf("%zu %ld\n", run->command, run->memory_kb);
        } else {
            printf("%zu %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", run->command,
                   run->passed_ns, run->ended_ns, run->greeted_ns, run->processor_us);
        }
    }
    free(runs);
    return fflush(stdout) == 0 ? 0 : 1;
}
