// Runs commands as OpenSSH's client runs a ProxyCommand, in turns, and tells what each run took.
//
//     race OPTIONS <COMMANDS >RUNS
//
//     --folder PATH       where the peers' sockets are made: PATH/unix, which greets whoever
//                         connects, and PATH/multiplexer, which answers CONNECT with OK first
//     --rounds N          measured runs of each command
//     --warm-up N         rounds before these, which do not count
//     --processor N       the processor of this program and of the commands; -1: any
//     --peers N           the processor of the peers; -1: any
//     --memory            measures, under ptrace(2), the most memory that a command ever held,
//                         and not its time
//
// A line of COMMANDS is a KIND, a NAME and an argument vector, separated by tabs. KIND says what ssh
// would see of it:
//     plain   nothing: it ends with status 0
//     pass    a descriptor, then its end with status 0, then the greeting on the descriptor
//     relay   the greeting; it ends once both directions are closed, in whatever manner
// A line of RUNS is the number of the command, then nanoseconds from the spawn: until the descriptor
// was there (0 where there is none), the process had ended, the greeting was read (0: none); and its
// processor time, user and system, in microseconds. With --memory it is the number and kilobytes.
//
// Rules
// 1. The clock runs from before vfork(2); what ssh would do meanwhile, a shell's start above all, is
//    no part of it.
// 2. They take turns, in another order each round, so that whatever else the machine does falls on
//    all alike. Each turn is two runs, of which the second counts: it finds the processor's caches as
//    the command itself left them, and not as its neighbour did, be that /bin/true or a Node. So a
//    figure does not depend on what else is in the table.
// 3. Between two runs nothing is left to do: the peer has closed its end and waits again, and
//    nothing is printed before the last run, which would wake the reader.
// 4. --peers is best the processor of the commands. Then what the peers do is in the times; but to
//    wake them on another one, idle until then, takes a virtual machine 50 to 200 us, whoever waits.
// 5. A run that does not do what its kind says ends this program with 1: it would count for nothing.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

enum { DEADLINE_SECONDS = 30 };

enum kind { PLAIN, PASS, RELAY };

struct run {
    size_t command;
    int64_t handed_over_ns;
    int64_t ended_ns;
    int64_t greeted_ns;
    int64_t processor_us;
    long memory_kb;
};

// ---- the peers

// One connection after the other, each until its other end is closed: so they come.
static _Noreturn void serve(int plain, int multiplexer, int idle) {
    struct pollfd listeners[] = {{.fd = plain, .events = POLLIN},
                                 {.fd = multiplexer, .events = POLLIN}};
    char answer[64];
    char rest[64];
    for (;;) {
        if (poll(listeners, 2, -1) < 0) fail("poll");
        bool asked = listeners[1].revents != 0;
        int fd = accept4(asked ? multiplexer : plain, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) fail("accept4");
        errno = 0;
        if (asked && !is_asked(fd)) fail("the multiplexer: no CONNECT");
        snprintf(answer, sizeof answer, "%s%s", asked ? confirmation : "", greeting);
        // Where this fails, the run misses the greeting.
        send(fd, answer, strlen(answer), MSG_NOSIGNAL);
        while (read(fd, rest, sizeof rest) > 0)
            continue;
        close(fd);
        if (write(idle, "", 1) != 1) fail("idle");
    }
}

/** Gives the descriptor from which one byte comes after each connection. */
static int start_peers(const char *folder, long processor) {
    int plain = listen_at(folder, "unix");
    int multiplexer = listen_at(folder, "multiplexer");
    int idle[2];
    pid_t parent = getpid();
    if (pipe2(idle, O_CLOEXEC) != 0) fail("pipe2");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
        close(idle[0]);
        pin(processor);
        serve(plain, multiplexer, idle[1]);
    }
    close(plain);
    close(multiplexer);
    close(idle[1]);
    return idle[0];
}

// ---- one run

static void continue_to_exit(const struct command *command, pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) fail("%s: no exec", command->name);
    // Where another exec follows, as that of a script, it is an event and not a signal.
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_TRACEEXEC) != 0)
        fail("PTRACE_SETOPTIONS");
    if (ptrace(PTRACE_CONT, pid, NULL, 0) != 0) fail("PTRACE_CONT");
}

/**
 * Waits until the process is about to exit and still has its memory. ru_maxrss would not do: it
 * counts what the process held before its exec, which is this program.
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
    // Since Linux 6.2 the high-water mark is kept by inexact counters, which may lack what small
    // processes have in all; what is mapped in the end is counted page by page.
    long highest = memory_kb(pid, "status", "VmHWM");
    long last = memory_kb(pid, "smaps_rollup", "Rss");
    if (highest < 0 || last < 0) fail("%s: its memory cannot be read", command->name);
    ptrace(PTRACE_CONT, pid, NULL, 0);
    return highest > last ? highest : last;
}

static struct run measure(const struct command *command, enum kind kind, int idle, bool memory) {
    int pair[2];
    int status;
    int passed = -1;
    bool greeted = false;
    struct run run = {0};
    struct rusage usage;
    char byte;
    set_deadline(DEADLINE_SECONDS, command->name);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");

    int64_t start = now_ns();
    pid_t pid = spawn(command->argv, pair[1], pair[1], memory);
    close(pair[1]);
    if (memory) continue_to_exit(command, pid);
    // A relay ends only after the greeting; what others have sent is there after their end, too.
    if (memory && kind != RELAY) run.memory_kb = most_memory_kb(command, pid);
    if (kind == PASS) {
        passed = receive_descriptor(pair[0]);
        run.handed_over_ns = now_ns() - start;
    } else if (kind == RELAY) {
        greeted = is_greeted(pair[0]);
        run.greeted_ns = now_ns() - start;
    }
    // ssh, too, closes its end first and then waits (sshconnect.c, ssh_proxy_fdpass_connect).
    close(pair[0]);
    if (memory && kind == RELAY) run.memory_kb = most_memory_kb(command, pid);
    if (wait4(pid, &status, 0, &usage) != pid) fail("wait4");
    run.ended_ns = now_ns() - start;
    run.processor_us = processor_us(&usage);
    if (passed >= 0) {
        greeted = is_greeted(passed);
        run.greeted_ns = now_ns() - start;
        close(passed);
    }

    errno = 0;
    if (kind != RELAY && !succeeded(status))
        fail("%s: it ended with wait status %#x", command->name, (unsigned)status);
    if (kind == PASS && passed < 0) fail("%s: it handed nothing over", command->name);
    if (kind != PLAIN && !greeted) fail("%s: no greeting", command->name);
    if (kind != PLAIN && read(idle, &byte, 1) != 1) fail("the peers have ended");
    return run;
}

// ---- the command line

static enum kind parse_kind(const char *word) {
    if (strcmp(word, "plain") == 0) return PLAIN;
    if (strcmp(word, "pass") == 0) return PASS;
    if (strcmp(word, "relay") != 0) fail("unknown kind %s", word);
    return RELAY;
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    long rounds = 200;
    long warm_up = 20;
    long processor = -1;
    long peers = -1;
    bool memory = false;
    errno = 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--memory") == 0) {
            memory = true;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "--folder") == 0)
            folder = value;
        else if (strcmp(name, "--rounds") == 0)
            rounds = parse_number(value);
        else if (strcmp(name, "--warm-up") == 0)
            warm_up = parse_number(value);
        else if (strcmp(name, "--processor") == 0)
            processor = parse_number(value);
        else if (strcmp(name, "--peers") == 0)
            peers = parse_number(value);
        else
            fail("unknown option %s", name);
    }
    if (folder == NULL) fail("--folder is missing");
    if (rounds < 1 || warm_up < 0) fail("nothing to do");

    static struct command commands[MANY_COMMANDS];
    enum kind kinds[MANY_COMMANDS];
    size_t order[MANY_COMMANDS];
    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++)
        kinds[i] = parse_kind(commands[i].word);
    struct run *runs = calloc((size_t)rounds * MANY_COMMANDS, sizeof *runs);
    if (runs == NULL) fail("%ld rounds", rounds);

    int idle = start_peers(folder, peers);
    pin(processor);
    size_t done = 0;
    for (long round = -warm_up; round < rounds; round++) {
        shuffle(order, count);
        for (size_t turn = 0; turn < count; turn++) {
            size_t i = order[turn];
            measure(&commands[i], kinds[i], idle, memory);
            struct run run = measure(&commands[i], kinds[i], idle, memory);
            run.command = i;
            if (round >= 0) runs[done++] = run;
        }
    }
    for (size_t i = 0; i < done; i++) {
        const struct run *run = &runs[i];
        if (memory) {
            printf("%zu %ld\n", run->command, run->memory_kb);
        } else {
            printf("%zu %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 "\n", run->command,
                   run->handed_over_ns, run->ended_ns, run->greeted_ns, run->processor_us);
        }
    }
    free(runs);
    return fflush(stdout) == 0 ? 0 : 1;
}
