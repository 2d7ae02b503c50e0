// Runs commands as relays between a pair of pipes, as OpenSSH's client gives them to a ProxyCommand
// without descriptor passing, and a server at a unix socket, in turns, and tells how fast bytes went
// through each and what that took.
//
//     relay OPTIONS <COMMANDS >RUNS
//
//     --folder PATH       where the server's sockets are made: PATH/unix, and PATH/multiplexer, which
//                         answers CONNECT with OK first
//     --bytes N           how many pass in each run
//     --rounds N          measured runs of each command
//     --warm-up N         rounds before these, which do not count
//     --processor N       the processor of the commands; -1: any
//     --ends N            the processor of what writes the bytes and of what reads them; where it is
//                         not given that of the commands
//     --idle N            transfers nothing and measures what the commands do meanwhile, for N
//                         milliseconds each
//
// A line of COMMANDS is a KIND, a NAME and an argument vector, separated by tabs. KIND is the
// direction, and what the descriptors 0 and 1 of the command are:
//     up, down            two pipes; up: from descriptor 0 to the socket, down: from the socket to 1
//     up-pair, down-pair  both one unix socket, as programs give that start others through libuv
// A line of RUNS is the number of the command, then
//     - nanoseconds between the first bytes that arrived and the last
//     - nanoseconds of the command's processor time, user and system, between the same two
//     - kilobytes of its resident memory at a quarter of the bytes and at the last, and the most
// With --idle it is the number and nanoseconds of processor time while
//     - it is connected, one byte has passed each way, and nothing else does
//     - its output is not read, and as much is waiting for that as will
//     - the server does not read either, and as much is waiting
//
// Rules
// 1. Neither the start of the command nor its end is in a figure: they are race.c's.
// 2. What writes and what reads are processes of their own, for so they are between ssh and sshd, and
//    do nothing but that, in pieces of 64 KiB: as much as a pipe holds.
// 3. They take turns, in another order each round, so that whatever else the machine does falls on
//    all alike.
// 4. Processor time is the process's own clock, which counts what the scheduler has counted, and not
//    the ticks that fell on it.
// 5. A run in which a byte is missing ends this program with 1: it would count for nothing. Whether
//    they are the right ones is for the tests to say.

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

/** How long nothing may have moved for what is waiting to be as much as will. */
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

/** A command that is connected, and this program's ends of all that it is connected with. */
struct connection {
    pid_t pid;
    clockid_t clock;
    /** What it reads as descriptor 0, and what comes of its descriptor 1. */
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

/** The connection of the command, whose descriptor 1 hangs up where it ends instead. */
static int accept_one(const struct server *server, int output, const char *name) {
    struct pollfd entries[] = {{.fd = server->unix_socket, .events = POLLIN},
                               {.fd = server->multiplexer, .events = POLLIN},
                               {.fd = output}};
    if (poll(entries, 3, -1) < 0) fail("poll");
    errno = 0;
    if (entries[2].revents != 0) fail("%s: it has ended before it was connected", name);
    bool asked = entries[1].revents != 0;
    int fd = accept4(entries[asked].fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) fail("accept4");
    if (asked && !is_asked(fd)) fail("the multiplexer: no CONNECT");
    ssize_t length = (ssize_t)strlen(confirmation);
    if (asked && write(fd, confirmation, (size_t)length) != length) fail("the multiplexer");
    return fd;
}

/** Gives this program's ends of descriptors 0 and 1 in `connection`, and the command's. */
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
                                         const struct server *server,
                                         const struct placement *placement) {
    struct connection connection;
    int theirs[2];
    set_deadline(DEADLINE_SECONDS, command->name);
    make_ends(&connection, pair, theirs);
    // A command inherits the processor.
    pin(placement->processor);
    connection.pid = spawn(command->argv, theirs[0], theirs[1], false);
    pin(placement->ends);
    close(theirs[0]);
    if (!pair) close(theirs[1]);
    connection.socket = accept_one(server, connection.output, command->name);
    errno = clock_getcpuclockid(connection.pid, &connection.clock);
    if (errno != 0) fail("clock_getcpuclockid");
    return connection;
}

/** Both directions end, and so does the command, in whatever manner. */
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

/** Not by statm: its counters may lack what small processes have in all, since Linux 6.2. */
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

static struct run measure(const struct command *command, struct kind kind, int64_t bytes,
                          const struct server *server, const struct placement *placement) {
    struct run run = {0};
    struct connection connection = open_connection(command, kind.pair, server, placement);
    int to = kind.up ? connection.socket : connection.output;
    pid_t source = start_source(kind.up ? connection.input : connection.socket, bytes);
    int64_t start = 0;
    int64_t consumed = 0;
    for (int64_t done = 0; done < bytes;) {
        ssize_t count = read(to, piece, sizeof piece);
        if (count <= 0) fail("%s: %" PRId64 " bytes and no more", command->name, done);
        if (done == 0) {
            start = now_ns();
            consumed = consumed_ns(&connection);
        }
        done += count;
        if (run.quarter_kb == 0 && done >= bytes / 4) run.quarter_kb = resident_kb(&connection);
    }
    run.wall_ns = now_ns() - start;
    run.processor_ns = consumed_ns(&connection) - consumed;
    run.last_kb = resident_kb(&connection);
    long highest = memory_kb(connection.pid, "status", "VmHWM");
    run.most_kb = highest > run.last_kb ? highest : run.last_kb;
    if (run.quarter_kb > run.most_kb) run.most_kb = run.quarter_kb;
    int status;
    if (waitpid(source, &status, 0) != source || !succeeded(status)) fail("what writes");
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
    if (write(from, &byte, 1) != 1 || read(to, &byte, 1) != 1) fail("nothing passes");
}

/** Writes until nothing has gone for a while. */
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
                                    const struct server *server,
                                    const struct placement *placement) {
    struct idle_run run = {0};
    struct connection connection = open_connection(command, kind.pair, server, placement);
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

int main(int argc, char **argv) {
    const char *folder = NULL;
    int64_t bytes = INT64_C(1) << 30;
    long rounds = 11;
    long warm_up = 1;
    long idle_ms = 0;
    struct placement placement = {-1, -1};
    errno = 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "--folder") == 0)
            folder = value;
        else if (strcmp(name, "--bytes") == 0)
            bytes = parse_number(value);
        else if (strcmp(name, "--rounds") == 0)
            rounds = parse_number(value);
        else if (strcmp(name, "--warm-up") == 0)
            warm_up = parse_number(value);
        else if (strcmp(name, "--processor") == 0)
            placement.processor = parse_number(value);
        else if (strcmp(name, "--ends") == 0)
            placement.ends = parse_number(value);
        else if (strcmp(name, "--idle") == 0)
            idle_ms = parse_number(value);
        else
            fail("unknown option %s", name);
    }
    if (folder == NULL) fail("--folder is missing");
    if (rounds < 1 || warm_up < 0 || bytes < 4 || idle_ms < 0) fail("nothing to do");
    if (placement.ends < 0) placement.ends = placement.processor;
    if (placement.processor < 0 && placement.ends >= 0) fail("--ends without --processor");

    static struct command commands[MANY_COMMANDS];
    struct kind kinds[MANY_COMMANDS];
    size_t order[MANY_COMMANDS];
    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++)
        kinds[i] = parse_kind(commands[i].word);
    struct server server = {listen_at(folder, "unix"), listen_at(folder, "multiplexer")};
    for (long round = -warm_up; round < rounds; round++) {
        shuffle(order, count);
        for (size_t turn = 0; turn < count; turn++) {
            size_t i = order[turn];
            if (idle_ms > 0) {
                struct idle_run run =
                    measure_idle(&commands[i], kinds[i], idle_ms, &server, &placement);
                if (round < 0) continue;
                printf("%zu %" PRId64 " %" PRId64 " %" PRId64 "\n", i, run.connected_ns,
                       run.unread_ns, run.blocked_ns);
            } else {
                struct run run = measure(&commands[i], kinds[i], bytes, &server, &placement);
                if (round < 0) continue;
                printf("%zu %" PRId64 " %" PRId64 " %ld %ld %ld\n", i, run.wall_ns,
                       run.processor_ns, run.quarter_kb, run.last_kb, run.most_kb);
            }
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
