// Runs a ProxyCommand many times at once, as that many ssh at the same time, and measures all of them
// together: a batch.
//
//     concurrency OPTIONS <COMMANDS >BATCHES
//
//     --folder PATH       for the multiplexer's socket: PATH/multiplexer
//     --rounds N          batches of each kind
//     --processor N       the processor of this program and of the commands; -1: any
//
// A line of COMMANDS is the SIZE of a batch, a NAME and an argument vector, separated by tabs.
// A line of BATCHES is the number of the command, then
//     - the failures: commands that exited before the answer, passed no descriptor or another
//       connection's, or had a status that was not 0
//     - microseconds of processor time, user and system, of all together
//     - nanoseconds from the first spawn until all waited, and from the answer until all had exited
//     - kilobytes while all waited, for all together: Pss, which divides a shared page among its
//       processes; private memory; and page tables
//
// Rules
// 1. All of a batch wait at once: this program is the multiplexer, and answers none before each has
//    sent CONNECT.
// 2. The batches take turns, in another order each round.
// 3. The reading of their memory, while all wait, is in no figure.

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

enum { DEADLINE_SECONDS = 120, MOST_AT_ONCE = 1000 };

/** The numbers of epoll's events: a proxy's are below these. */
enum { LISTENER = MOST_AT_ONCE, CONNECTIONS };

struct batch {
    size_t command;
    long failed;
    int64_t processor_us;
    int64_t start_ns;
    int64_t answer_ns;
    long pss_kb;
    long private_kb;
    long tables_kb;
};

struct proxy {
    pid_t pid;
    int fd;
};

static const char *folder;
static struct proxy proxies[MOST_AT_ONCE];
static int connections[MOST_AT_ONCE];

static void watch(int epoll, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = number}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

static void start_proxies(const struct command *command, long size, int epoll) {
    for (long i = 0; i < size; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");
        proxies[i] =
            (struct proxy){.pid = spawn(command->argv, pair[1], pair[1], NULL), .fd = pair[0]};
        close(pair[1]);
        watch(epoll, pair[0], (uint32_t)i);
    }
}

static void answer(int fd) {
    char text[64];
    snprintf(text, sizeof text, "%s%s", confirmation, greeting);
    // If this fails, the proxy fails.
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/** Receives the proxy's descriptor, and waits for its exit. */
static void take(struct batch *batch, const struct proxy *proxy, bool answered) {
    int status;
    struct rusage usage;
    int passed = receive_descriptor(proxy->fd);
    // A descriptor before the answer is a failure.
    bool well = answered && passed >= 0 && is_greeted(passed);
    if (passed >= 0) close(passed);
    close(proxy->fd);
    if (wait4(proxy->pid, &status, 0, &usage) != proxy->pid) fail("wait4");
    if (!well || !succeeded(status)) batch->failed++;
    batch->processor_us += processor_us(&usage);
}

/** Only if none of the batch has exited. */
static void read_memory(struct batch *batch, long size) {
    for (long i = 0; i < size; i++) {
        pid_t pid = proxies[i].pid;
        batch->pss_kb += memory_kb(pid, "smaps_rollup", "Pss");
        batch->private_kb += memory_kb(pid, "smaps_rollup", "Private_Clean");
        batch->private_kb += memory_kb(pid, "smaps_rollup", "Private_Dirty");
        batch->tables_kb += memory_kb(pid, "status", "VmPTE");
    }
}

static struct batch measure(const struct command *command, long size) {
    struct batch batch = {0};
    struct epoll_event events[64];
    long connected = 0;
    long waiting = 0;
    long ended = 0;
    bool answered = false;
    set_deadline(DEADLINE_SECONDS, command->name);
    // New for each batch, so that failures leave nothing in a queue.
    int listener = listen_at(folder, "multiplexer");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1");
    watch(epoll, listener, LISTENER);

    int64_t start = now_ns();
    start_proxies(command, size, epoll);
    while (ended < size) {
        int count = epoll_wait(epoll, events, sizeof events / sizeof *events, -1);
        if (count < 0) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            uint32_t number = events[i].data.u32;
            if (number < LISTENER) {
                take(&batch, &proxies[number], answered);
                ended++;
            } else if (number == LISTENER) {
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0) fail("accept4");
                if (connected == size) fail("%s: a second connection", command->name);
                watch(epoll, fd, CONNECTIONS + (uint32_t)connected);
                connections[connected++] = fd;
            } else {
                int fd = connections[number - CONNECTIONS];
                if (epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL) != 0) fail("epoll_ctl");
                if (is_asked(fd)) waiting++;
                if (answered) answer(fd);
            }
        }
        // One that fails after its CONNECT counts twice, so that this comes early.
        if (!answered && waiting + ended >= size) {
            batch.start_ns = now_ns() - start;
            if (ended == 0) read_memory(&batch, size);
            start = now_ns();
            for (long i = 0; i < connected; i++)
                answer(connections[i]);
            answered = true;
        }
    }
    batch.answer_ns = now_ns() - start;

    for (long i = 0; i < connected; i++)
        close(connections[i]);
    close(listener);
    close(epoll);
    return batch;
}

static struct command commands[MANY_COMMANDS];
static long sizes[MANY_COMMANDS];
static struct batch *batches;
static size_t done;

static void turn(size_t index, bool counts) {
    (void)counts;
    batches[done] = measure(&commands[index], sizes[index]);
    batches[done++].command = index;
}

int main(int argc, char **argv) {
    long rounds = 10;
    long processor = -1;
    const struct option options[] = {
        {"--folder", .text = &folder},
        {"--rounds", .number = &rounds},
        {"--processor", .number = &processor},
    };
    parse_options(argc, argv, options, sizeof options / sizeof *options);
    if (folder == NULL) fail("--folder is missing");
    if (rounds < 1) fail("no rounds");

    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = parse_number(commands[i].word, commands[i].name);
        if (sizes[i] < 1 || sizes[i] > MOST_AT_ONCE) fail("a batch is 1 to %d", MOST_AT_ONCE);
    }
    batches = calloc((size_t)rounds * MANY_COMMANDS, sizeof *batches);
    if (batches == NULL) fail("%ld rounds", rounds);

    // Each proxy takes two of this program's descriptors, and a third for a moment.
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");

    pin(processor);
    take_turns(count, 0, rounds, turn);
    for (size_t i = 0; i < done; i++) {
        const struct batch *batch = &batches[i];
        printf("%zu %ld %" PRId64 " %" PRId64 " %" PRId64 " %ld %ld %ld\n", batch->command,
               batch->failed, batch->processor_us, batch->start_ns, batch->answer_ns, batch->pss_kb,
               batch->private_kb, batch->tables_kb);
    }
    free(batches);
    return fflush(stdout) == 0 ? 0 : 1;
}
