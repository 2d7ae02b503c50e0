// Runs a ProxyCommand many times at once, as that many ssh would at the same time, and tells what
// all of them together took.
//
//     crowd OPTIONS <COMMANDS >CROWDS
//
//     --folder PATH       where the multiplexer's socket is made: PATH/multiplexer
//     --rounds N          crowds of each kind
//     --processor N       the processor of this program and of the commands; -1: any
//
// A line of COMMANDS is the SIZE of a crowd, a NAME and an argument vector, separated by tabs.
// A line of CROWDS is the number of the command, then
//     - how many failed: they ended before they were answered, or handed nothing over, or what they
//       handed over is not the connection, or their status was not 0
//     - microseconds of processor time, user and system, of all together
//     - nanoseconds from the first spawn until all waited, and from the answer until all had ended
//     - kilobytes while all waited, for all together: Pss, where what several share counts once;
//       what is private to each; and the page tables
//
// Rules
// 1. All of a crowd are there at once: this program is the multiplexer, and answers nobody before
//    everybody has sent CONNECT.
// 2. The crowds take turns, in another order each round.
// 3. What this program does while all wait, reading their memory, is in no figure.

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

/** The numbers that epoll gives back: below these, a proxy's. */
enum { LISTENER = MOST_AT_ONCE, CONNECTIONS };

struct crowd {
    size_t command;
    long failed;
    int64_t processor_us;
    int64_t gathering_ns;
    int64_t parting_ns;
    long pss_kb;
    long private_kb;
    long tables_kb;
};

struct proxy {
    pid_t pid;
    int fd;
};

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
            (struct proxy){.pid = spawn(command->argv, pair[1], pair[1], false), .fd = pair[0]};
        close(pair[1]);
        watch(epoll, pair[0], (uint32_t)i);
    }
}

static void answer(int fd) {
    char text[64];
    snprintf(text, sizeof text, "%s%s", confirmation, greeting);
    // Where this fails, the proxy does.
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/** Takes what the proxy hands over, and waits for its end. */
static void take(struct crowd *crowd, const struct proxy *proxy, bool answered) {
    int status;
    struct rusage usage;
    int passed = receive_descriptor(proxy->fd);
    // What comes before the answer cannot be what it is about.
    bool well = answered && passed >= 0 && is_greeted(passed);
    if (passed >= 0) close(passed);
    close(proxy->fd);
    if (wait4(proxy->pid, &status, 0, &usage) != proxy->pid) fail("wait4");
    if (!well || !succeeded(status)) crowd->failed++;
    crowd->processor_us += processor_us(&usage);
}

/** Only of a crowd that is complete: of another one there are no figures. */
static void read_memory(struct crowd *crowd, long size) {
    for (long i = 0; i < size; i++) {
        pid_t pid = proxies[i].pid;
        crowd->pss_kb += memory_kb(pid, "smaps_rollup", "Pss");
        crowd->private_kb += memory_kb(pid, "smaps_rollup", "Private_Clean");
        crowd->private_kb += memory_kb(pid, "smaps_rollup", "Private_Dirty");
        crowd->tables_kb += memory_kb(pid, "status", "VmPTE");
    }
}

static struct crowd measure(const struct command *command, long size, const char *folder) {
    struct crowd crowd = {0};
    struct epoll_event events[64];
    long connected = 0;
    long waiting = 0;
    long ended = 0;
    bool answered = false;
    set_deadline(DEADLINE_SECONDS, command->name);
    // Both are new each time: what failures have left in a queue is nothing of the next crowd's.
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
                take(&crowd, &proxies[number], answered);
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
        // Where one has failed after its CONNECT, it counts twice, and this comes early.
        if (!answered && waiting + ended >= size) {
            crowd.gathering_ns = now_ns() - start;
            if (ended == 0) read_memory(&crowd, size);
            start = now_ns();
            for (long i = 0; i < connected; i++)
                answer(connections[i]);
            answered = true;
        }
    }
    crowd.parting_ns = now_ns() - start;

    for (long i = 0; i < connected; i++)
        close(connections[i]);
    close(listener);
    close(epoll);
    return crowd;
}

int main(int argc, char **argv) {
    const char *folder = NULL;
    long rounds = 10;
    long processor = -1;
    errno = 0;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(name, "--folder") == 0)
            folder = value;
        else if (strcmp(name, "--rounds") == 0)
            rounds = parse_number(value);
        else if (strcmp(name, "--processor") == 0)
            processor = parse_number(value);
        else
            fail("unknown option %s", name);
    }
    if (folder == NULL) fail("--folder is missing");
    if (rounds < 1) fail("nothing to do");

    static struct command commands[MANY_COMMANDS];
    size_t order[MANY_COMMANDS];
    long sizes[MANY_COMMANDS];
    size_t count = read_commands(commands);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = parse_number(commands[i].word);
        if (sizes[i] < 1 || sizes[i] > MOST_AT_ONCE) fail("a crowd is 1 to %d", MOST_AT_ONCE);
    }

    struct crowd *crowds = calloc((size_t)rounds * MANY_COMMANDS, sizeof *crowds);
    if (crowds == NULL) fail("%ld rounds", rounds);

    // Each proxy costs this program two descriptors, and a third for a moment.
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("RLIMIT_NOFILE");

    pin(processor);
    size_t done = 0;
    for (long round = 0; round < rounds; round++) {
        shuffle(order, count);
        for (size_t turn = 0; turn < count; turn++) {
            size_t i = order[turn];
            struct crowd crowd = measure(&commands[i], sizes[i], folder);
            crowd.command = i;
            crowds[done++] = crowd;
        }
    }
    for (size_t i = 0; i < done; i++) {
        const struct crowd *crowd = &crowds[i];
        printf("%zu %ld %" PRId64 " %" PRId64 " %" PRId64 " %ld %ld %ld\n", crowd->command,
               crowd->failed, crowd->processor_us, crowd->gathering_ns, crowd->parting_ns,
               crowd->pss_kb, crowd->private_kb, crowd->tables_kb);
    }
    free(crowds);
    return fflush(stdout) == 0 ? 0 : 1;
}
