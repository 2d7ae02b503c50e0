// The shim linked into a program of its own, where signals do what the kernel does by default: Node
// ignores SIGPIPE, and so hides who would raise it. Prints a line for each call, `name errno ms`.

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../native/shim/shim.h"

enum { IOVS = 64, FDS = 96, RESULT = 128, FLAGS = 136, DATA = 256, IN = 1024, OUT = 2048 };

static uint8_t memory[65536];
static struct shim shim;

static void put_u32(unsigned at, uint32_t value) {
    memcpy(memory + at, &value, sizeof value);
}

static void put_u64(unsigned at, uint64_t value) {
    memcpy(memory + at, &value, sizeof value);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static void tell(const char *name, uint32_t error, uint64_t start) {
    printf("%s %u %u\n", name, error, (unsigned)((now() - start) / 1000000));
}

static void ignore(int signal) {
    (void)signal;
}

/** A signal every millisecond that ends system calls (no SA_RESTART). */
static void storm(void) {
    struct sigaction action = {.sa_handler = ignore};
    struct itimerval every = {.it_interval = {0, 1000}, .it_value = {0, 1000}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
}

/** Puts a connected socket whose peer is gone into descriptor 0. */
static void orphan(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) _exit(1);
    dup2(pair[0], 0);
    close(pair[0]);
    close(pair[1]);
}

static void poll_until(uint64_t deadline) {
    memset(memory + IN, 0, 48);
    put_u32(IN + 16, 1);
    put_u64(IN + 24, deadline);
    memory[IN + 40] = 1;
}

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    shim_init(&shim, NULL, 0, NULL);
    shim.memory = memory;
    shim.memory_size = sizeof memory;
    put_u32(IOVS, DATA);
    put_u32(IOVS + 4, 1);

    orphan();
    uint64_t start = now();
    tell("sock_send", shim_sock_send(&shim, 0, IOVS, 1, 0, RESULT), start);
    put_u32(FDS, 2);
    tell("sock_send_fds", shim_sock_send_fds(&shim, 0, IOVS, 1, FDS, 1, RESULT), start);

    // A listener with room for one connection, and that one is there.
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(argv[1]);
    if (length >= sizeof address.sun_path) return 1;
    memcpy(address.sun_path, argv[1], length + 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int first = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) return 1;
    if (listen(listener, 0) != 0) return 1;
    if (connect(first, (struct sockaddr *)&address, sizeof address) != 0) return 1;

    storm();
    start = now();
    poll_until(start + 300000000);
    tell("poll_oneoff", shim_poll_oneoff(&shim, IN, OUT, 1, RESULT), start);

    if (shim_sock_open(&shim, 3, 6, RESULT) != 0) return 1;
    memory[DATA] = 3;
    memory[DATA + 1] = 0;
    memcpy(memory + DATA + 2, argv[1], length);
    start = now();
    tell("sock_connect", shim_sock_connect(&shim, 3, DATA, (uint32_t)length + 2, start + 300000000),
         start);
    return 0;
}
