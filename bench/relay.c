// Runs commands as relays between a pair of pipes, which OpenSSH's client gives to a ProxyCommand
// without fd passing, and a server at a unix socket, in turns, and measures the transfer.
//
//     relay OPTIONS <COMMANDS >RUNS
//
//     --folder PATH       for the server's sockets: PATH/unix, and PATH/multiplexer, which answers
//                         CONNECT with OK first
//     --bytes N           size of each transfer
//     --rounds N          measured runs of each command
//     --warm-up N         rounds before these, which do not count
//     --processor N       the processor of the commands; -1: any
//     --ends N            the processor of the writer and of the reader; by default the commands'
//     --idle N            transfers nothing, and measures the commands for N milliseconds each
//
// A line of COMMANDS is a KIND, a NAME and an argument vector, separated by tabs. KIND is the
// direction, and the type of the command's descriptors 0 and 1:
//     up, down            two pipes; up: from descriptor 0 to the socket, down: from the socket to 1
//     up-pair, down-pair  one unix socket for both, as programs on libuv give their children
// A line of RUNS is the number of the command, then
//     - nanoseconds between the first bytes that arrived and the last
//     - nanoseconds of the command's processor time, user and system, between the same two
//     - kilobytes of its resident memory at a quarter of the bytes and at the last, and the peak
// With --idle it is the number and nanoseconds of processor time while
//     - it is connected, after one byte each way, and nothing moves
//     - its output is not read, and is full
//     - the server does not read either, and that direction is full
//
// Rules
// 1. The start of the command and its exit are in no figure: they are latency.c's.
// 2. The writer and the reader are processes of their own, as ssh and sshd are. They do nothing else,
//    in pieces of 64 KiB, the size of a pipe.
// 3. The commands take turns, in another order each round, so that other work of the machine falls on
//    all of them alike.
// 4. Processor time is the process's own clock, the scheduler's exact count, and not ticks.
// 5. A run in which a byte is missing ends this program with status 1. Whether the bytes are right,
//    is for the tests.

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
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

enum { DEADLINE_SECONDS = 120, PIECE = 65536, NANOSECONDS_IN_MS = 1000000 };

/** If nothing moves for this time, the buffers are full. */
enum { SETTLED_MS = 50 };

struct kind {
    bool up;
    bool pair;
};

struct placement {
    long processor;
    long ends;
};

/** The descriptors at which the server listens. */
struct server {
    int unix_socket;
    int multiplexer;
};

/** A connected command, and this program's ends of its descriptors. */
struct connection {
    pid_t pid;
    clockid_t clock;
    /** The other ends of its descriptors 0 and 1. */
    int input;
    int output;
    int socket;
};

struct run {
    size_t command;
    int64_t wall_ns;
    int64_t processor_ns;
    long quarter_kb;
    long last_kb;
    long most_kb;
};

struct idle_run {
    size_t command;
    int64_t connected_ns;
    int64_t unread_ns;
    int64_t blocked_ns;
};

static char piece[PIECE];

// ---- a relay and its ends

/** Accepts the command's connection; its descriptor 1 hangs up if it exits instead. */
static int accept_one(const struct server *at, int output, const char *name) {
    struct pollfd entries[] = {{.fd = at->unix_socket, .events = POLLIN},
                               {.fd = at->multiplexer, .events = POLLIN},
                               {.fd = output}};
    if (poll(entries, 3, -1) < 0) fail("poll");
    errno = 0;
    if (entries[2].revents != 0) fail("%s: it exits without a connection", name);
    bool asked = entries[1].revents != 0;
    int fd = accept4(entries[asked].fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) fail("accept4");
    if (asked && !is_asked(fd)) fail("the multiplexer: no CONNECT");
    ssize_t length = (ssize_t)strlen(confirmation);
    if (asked && write(fd, confirmation, (size_t)length) != length) fail("the multiplexer");
    return fd;
}

/** Makes descriptors 0 and 1: this program's ends in `connection`, and the command's. */
static void make_ends(struct connection *connection, bool pair, int theirs[2]) {
    int in[2];
    int out[2];
    if (pair) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0) fail("socketpair");
        theirs[0] = theirs[1] = in[0];
        connection->input = connection->output = in[1];
    } else {
        if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) fail("pipe2");
        theirs[0] = in[0];
        theirs[1] = out[1];
        connection->input = in[1];
        connection->output = out[0];
    }
}

static struct connection open_connection(const struct command *command, bool pair,
                                         const struct server *at, const struct placement *where) {
    struct connection connection;
    int theirs[2];
    set_deadline(DEADLINE_SECONDS, command->name);
    make_ends(&connection, pair, theirs);
    // A command inherits the processor.
    pin(where->processor);
    connection.pid = spawn(command->argv, theirs[0], theirs[1], NULL);
    pin(where->ends);
    close(theirs[0]);
    if (!pair) close(theirs[1]);
    connection.socket = accept_one(at, connection.output, command->name);
    errno = clock_getcpuclockid(connection.pid, &connection.clock);
    if (errno != 0) fail("clock_getcpuclockid");
    return connection;
}

/** Closes both directions and waits for the exit, with any status. */
static void close_connection(const struct connection *connection) {
    int status;
    close(connection->socket);
    close(connection->input);
    if (connection->output != connection->input) close(connection->output);
    if (waitpid(connection->pid, &status, 0) != connection->pid) fail("waitpid");
}

static int64_t consumed_ns(const struct connection *connection) {
    struct timespec time;
    if (clock_gettime(connection->clock, &time) != 0) fail("clock_gettime");
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/** Since Linux 6.2 the counters of statm are inexact, and may miss all of a small process. */
static long resident_kb(const struct connection *connection) {
    long value = memory_kb(connection->pid, "smaps_rollup", "Rss");
    if (value < 0) fail("its memory cannot be read");
    return value;
}

// ---- a transfer

static pid_t start_source(int fd, int64_t bytes) {
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid > 0) return pid;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) _exit(1);
    while (bytes > 0) {
        ssize_t count = write(fd, piece, bytes < PIECE ? (size_t)bytes : PIECE);
        if (count < 0) _exit(1);
        bytes -= count;
    }
    _exit(0);
}

static struct run measure(const struct command *command, struct kind kind, int64_t total,
                          const struct server *at, const struct placement *where) {
    struct run run = {0};
    struct connection connection = open_connection(command, kind.pair, at, where);
    int to = kind.up ? connection.socket : connection.output;
    pid_t source = start_source(kind.up ? connection.input : connection.socket, total);
    int64_t start = 0;
    int64_t consumed = 0;
    for (int64_t done = 0; done < total;) {
        ssize_t count = read(to, piece, sizeof piece);
        if (count <= 0) fail("%s: only %" PRId64 " bytes", command->name, done);
        if (done == 0) {
            start = now_ns();
            consumed = consumed_ns(&connection);
        }
        done += count;
        if (run.quarter_kb == 0 && done >= total / 4) run.quarter_kb = resident_kb(&connection);
    }
    run.wall_ns = now_ns() - start;
    run.processor_ns = consumed_ns(&connection) - consumed;
    run.last_kb = resident_kb(&connection);
    long highest = memory_kb(connection.pid, "status", "VmHWM");
    run.most_kb = highest > run.last_kb ? highest : run.last_kb;
    if (run.quarter_kb > run.most_kb) run.most_kb = run.quarter_kb;
    int status;
    if (waitpid(source, &status, 0) != source || !succeeded(status)) fail("the writer");
    close_connection(&connection);
    return run;
}

// ---- no transfer

static void wait_ms(long ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NANOSECONDS_IN_MS};
    while (nanosleep(&time, &time) != 0)
        continue;
}

static void pass_one(int from, int to) {
    char byte = 0;
    errno = 0;
    if (write(from, &byte, 1) != 1 || read(to, &byte, 1) != 1) fail("no byte arrives");
}

/** Writes until nothing moves for a while. */
static void fill(int fd) {
    int flags = fcntl(fd, F_GETFL);
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) fail("fcntl");
    bool moved = true;
    while (moved) {
        moved = false;
        while (write(fd, piece, sizeof piece) > 0)
            moved = true;
        if (errno != EAGAIN) fail("fill");
        wait_ms(SETTLED_MS);
    }
}

static int64_t consumed_in(const struct connection *connection, long ms) {
    wait_ms(SETTLED_MS);
    int64_t start = consumed_ns(connection);
    wait_ms(ms);
    return consumed_ns(connection) - start;
}

static struct idle_run measure_idle(const struct command *command, struct kind kind, long ms,
                                    const struct server *at, const struct placement *where) {
    struct idle_run run = {0};
    struct connection connection = open_connection(command, kind.pair, at, where);
    pass_one(connection.input, connection.socket);
    pass_one(connection.socket, connection.output);
    run.connected_ns = consumed_in(&connection, ms);
    fill(connection.socket);
    run.unread_ns = consumed_in(&connection, ms);
    fill(connection.input);
    run.blocked_ns = consumed_in(&connection, ms);
    close_connection(&connection);
    return run;
}

// ---- the command line

static struct kind parse_kind(const char *word) {
    static const char *const words[] = {"down", "up", "down-pair", "up-pair"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(word, words[i]) == 0) return (struct kind){.up = i & 1, .pair = i & 2};
    }
    fail("unknown kind %s", word);
}

static struct command commands[MANY_COMMANDS];
static struct kind kinds[MANY_COMMANDS];
static struct server server;
static struct placement placement = {-1, -1};
static long bytes = INT64_C(1) << 30;
static long idle_ms;

static void turn(size_t index, bool counts) {
    const struct command *command = &commands[index];
    if (idle_ms > 0) {
        struct idle_run run = measure_idle(command, kinds[index], idle_ms, &server, &placement);
        if (!counts) return;
        printf("%zu %" PRId64 " %" PRId64 " %" PRId64 "\n", index, run.connected_ns, run.unread_ns,
               run.blocked_ns);
    } else {
        struct run run = measure(command, kinds[index], bytes, &server, &placement);
        if (!counts) return;
        printf("%zu %" PRId64 " %" PRId64 " %ld %ld %ld\n", index, run.wall_ns, run.processor_ns,
               run.quarter_kb, run.last_kb, run.most_kb);
    }
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    long rounds = 11;
    long warm_up = 1;
    const struct option options[] = {
        {"--folder", .text = &folder},
        {"--bytes", .number = &bytes},
        {"--rounds", .number = &rounds},
        {"--warm-up", .number = &warm_up},
        {"--processor", .number = &placement.processor},
        {"--ends", .number = &placement.ends},
        {"--idle", .number = &idle_ms},
    };
    parse_options(argc, argv, options, sizeof options / sizeof *options);
    if (folder == NULL) fail("--folder is missing");
    if (rounds < 1 || bytes < 4) fail("no rounds, or less than 4 bytes");
    if (placement.ends < 0) placement.ends = placement.processor;
    if (placement.processor < 0 && placement.ends >= 0) fail("--ends without --processor");

    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++)
        kinds[i] = parse_kind(commands[i].word);
    server = (struct server){listen_at(folder, "unix"), listen_at(folder, "multiplexer")};
    take_turns(count, warm_up, rounds, turn);
    return fflush(stdout) == 0 ? 0 : 1;
}
