// Plays ssh and whoever is at the other end of the socket, both towards the proxy, so that an answer
// arrives cut into exactly the segments that are asked for. One process does run after run.
//
//     fake-peer COMMAND [ARG...]     COMMAND starts the proxy
//
// It makes the sockets and files of tests/transcripts/README.md in its working directory. On stdin it
// gets a run a line, words with a space between two, and answers each by a line of JSON on stdout:
//
//     STDOUT END ASKS SEGMENTS ANSWER COUNT WORD...
//
//     STDOUT    unix, pipe, closed or gone
//     END       eof or silence: what follows the answer
//     ASKS      1 where the peer waits for a request, a line, before it answers; or 0
//     SEGMENTS  the lengths that the answer is cut into, with a comma between two; - for no answer
//     ANSWER    x and the bytes in hexadecimal, and so are all WORDs
//     COUNT     how many of the WORDs are the environment; the others are the proxy's arguments
//
// The JSON: exit or signal; stderr; connections to the peer; sent, what the peer has received; taken,
// the bytes of segments that were taken from the socket as a whole; unread, whether the proxy closed the
// socket with bytes in it; early, whether it said anything before it had closed the socket of an attempt
// that failed; bytes and fds, that came out of its stdout; output, these bytes; passed, what could be read
// from the descriptor; ns, how long it took.
//
// Rules
// 1. Lock-step: a segment is sent once the kernel says that nothing is left of the one before (SIOCOUTQ),
//    so that no two become one. From the hand-over on there is nobody who takes them, nor need there be.
// 2. Nothing is judged here, and nothing depends on how fast anybody is.
// 3. Exit status 125: this program has failed, and says so on stderr.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    OWN_FAILURE = 125,
    MANY = 65536,
    WORDS_MAX = 64,
    FDS_MAX = 16,
    /** So often another process is let run in a wait for it, before time is. */
    YIELDS = 200,
    NAP_NS = 50000,
};

static const int64_t PATIENCE_NS = 120000000000;

struct bytes {
    uint8_t at[MANY];
    size_t length;
};

struct request {
    const char *stdout_kind;
    bool eof;
    bool asks;
    const char *segments;
    struct bytes answer;
    char *environment[WORDS_MAX + 1];
    char *arguments[WORDS_MAX + 1];
};

/** One run: descriptors, -1 where there is none; and what has come of it. */
struct run {
    pid_t pid;
    int pidfd;
    int output;
    int errors;
    int peer;
    bool ended;
    bool half_closed;
    bool closed;
    bool unread;
    bool early;
    int status;
    int connections;
    int fds;
    int passed;
    size_t taken;
    struct bytes sent;
    struct bytes told;
    struct bytes came;
    struct bytes rest;
};

static char **command;
static int listener;
static int64_t deadline;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "fake-peer: %s: %s\n", what, strerror(errno));
    exit(OWN_FAILURE);
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

// ---- the folder

static struct sockaddr_un address_of(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path));
    return address;
}

static int bound(const char *path, int type) {
    const struct sockaddr_un address = address_of(path);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) fail(path);
    return fd;
}

static int listening(const char *path, int queue) {
    int fd = bound(path, SOCK_STREAM);
    if (listen(fd, queue) != 0) fail(path);
    return fd;
}

/** Connects until a further connection would have to wait. */
static void fill(const char *path) {
    const struct sockaddr_un address = address_of(path);
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) fail("socket");
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) continue;
        if (errno != EAGAIN) fail(path);
        close(fd);
        return;
    }
}

static void furnish(void) {
    listener = listening("peer.sock", 8);
    close(bound("dead.sock", SOCK_STREAM));
    listening("full.sock", 0);
    fill("full.sock");
    bound("datagram.sock", SOCK_DGRAM);
    listening("forbidden.sock", 8);
    if (chmod("forbidden.sock", 0) != 0) fail("forbidden.sock");
    int file = open("file", O_CREAT | O_CLOEXEC | O_WRONLY, 0600);
    if (file < 0) fail("file");
    close(file);
    if (mkdir("folder", 0700) != 0) fail("folder");
    if (symlink("loop", "loop") != 0) fail("loop");
}

// ---- a run's line

static void from_hex(const char *text, struct bytes *bytes) {
    if (*text++ != 'x' || strlen(text) / 2 >= MANY) fail("bytes");
    bytes->length = 0;
    for (; *text; text += 2) {
        const char pair[3] = {text[0], text[1], 0};
        bytes->at[bytes->length++] = (uint8_t)strtoul(pair, NULL, 16);
    }
    bytes->at[bytes->length] = 0;
}

static char *word(void) {
    char *text = strtok(NULL, " \n");
    if (!text) fail("a line that is too short");
    return text;
}

static void parse(char *line, struct request *request) {
    static struct bytes text;
    request->stdout_kind = strtok(line, " \n");
    request->eof = strcmp(word(), "eof") == 0;
    request->asks = strcmp(word(), "1") == 0;
    request->segments = word();
    from_hex(word(), &request->answer);
    long count = strtol(word(), NULL, 10);
    char **to = request->environment;
    char **argument = request->arguments;
    for (char **start = command; *start; start++)
        *argument++ = *start;
    for (char *next; (next = strtok(NULL, " \n"));) {
        if (count-- == 0) {
            *to = NULL;
            to = argument;
        }
        if (to - request->arguments == WORDS_MAX || to - request->environment == WORDS_MAX)
            fail("too many words");
        from_hex(next, &text);
        *to = strdup((char *)text.at);
        if (!*to++) fail("strdup");
    }
    if (count >= 0) {
        *to = NULL;
        to = argument;
    }
    *to = NULL;
}

static void forget(struct request *request) {
    for (char **text = request->environment; *text; text++)
        free(*text);
    char **own = request->arguments;
    for (char **start = command; *start; start++)
        own++;
    for (; *own; own++)
        free(*own);
}

// ---- the proxy

static _Noreturn void be_proxy(const struct request *request, int in, int out, int errors) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (in < 0) in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (dup2(in, 0) < 0 || dup2(errors, 2) < 0) _exit(OWN_FAILURE);
    if (out < 0) {
        close(1);
    } else if (dup2(out, 1) < 0) {
        _exit(OWN_FAILURE);
    }
    execve(command[0], request->arguments, request->environment);
    _exit(OWN_FAILURE);
}

static void start(const struct request *request, struct run *run) {
    int pair[2] = {-1, -1};
    int errors[2];
    const char *kind = request->stdout_kind;
    const bool is_socket = strcmp(kind, "unix") == 0 || strcmp(kind, "gone") == 0;
    if (is_socket && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        fail("socketpair");
    if (strcmp(kind, "pipe") == 0 && pipe2(pair, O_CLOEXEC) != 0) fail("pipe2");
    if (strcmp(kind, "gone") == 0) close_fd(&pair[0]);
    if (pipe2(errors, O_CLOEXEC) != 0) fail("pipe2");
    run->pid = fork();
    if (run->pid < 0) fail("fork");
    if (run->pid == 0) be_proxy(request, is_socket ? pair[1] : -1, pair[1], errors[1]);
    close_fd(&pair[1]);
    close_fd(&errors[1]);
    run->output = pair[0];
    run->errors = errors[0];
    run->pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);
    if (run->pidfd < 0) fail("pidfd_open");
}

// ---- what comes

static void keep(struct bytes *to, const uint8_t *from, size_t length) {
    if (length > MANY - to->length) {
        errno = EOVERFLOW;
        fail("too much has come");
    }
    memcpy(to->at + to->length, from, length);
    to->length += length;
}

/** Reads what is there; false at the end. */
static bool collect(int fd, struct bytes *to) {
    uint8_t buffer[4096];
    ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return true;
    if (got < 0) fail("read");
    keep(to, buffer, (size_t)got);
    return got > 0;
}

/** The same of the proxy's stdout, with descriptors. */
static void collect_output(struct run *run) {
    uint8_t buffer[4096];
    union {
        char space[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {buffer, sizeof buffer};
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    ssize_t got = recvmsg(run->output, &message, MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == ENOTSOCK) {
        if (!collect(run->output, &run->came)) close_fd(&run->output);
        return;
    }
    if (got < 0) fail("recvmsg");
    if (got == 0) {
        close_fd(&run->output);
        return;
    }
    keep(&run->came, buffer, (size_t)got);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (run->passed < 0)
                run->passed = fd;
            else
                close(fd);
            run->fds++;
        }
    }
}

/** Whether nobody has closed the other end: a relay only ends its sending (POLLRDHUP). */
static bool is_open(int fd) {
    struct pollfd one = {.fd = fd};
    return fd >= 0 && poll(&one, 1, 0) == 0;
}

/** What the peer receives; an error tells that the proxy has closed with bytes unread. */
static void collect_sent(struct run *run) {
    uint8_t buffer[4096];
    ssize_t got = recv(run->peer, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got > 0) {
        keep(&run->sent, buffer, (size_t)got);
    } else if (got == 0 || errno == ECONNRESET) {
        run->half_closed = true;
        run->closed = !is_open(run->peer);
        run->unread = got < 0;
    } else if (errno != EAGAIN) {
        fail("recv");
    }
}

/** Waits for at most so long, and takes what has come by then. */
static void attend(struct run *run, int64_t nanoseconds) {
    if (now() > deadline && syscall(SYS_pidfd_send_signal, run->pidfd, SIGKILL, NULL, 0) != 0 &&
        errno != ESRCH)
        fail("pidfd_send_signal");
    struct pollfd fds[] = {
        {.fd = run->errors, .events = POLLIN},
        {.fd = listener, .events = POLLIN},
        {.fd = run->closed ? -1 : run->peer, .events = run->half_closed ? 0 : POLLIN},
        {.fd = run->output, .events = POLLIN},
        {.fd = run->ended ? -1 : run->pidfd, .events = POLLIN},
    };
    const struct timespec time = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    if (ppoll(fds, 5, &time, NULL) < 0) fail("ppoll");
    if (fds[1].revents) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) fail("accept4");
        if (run->connections++ == 0)
            run->peer = fd;
        else
            close(fd);
    }
    if (fds[0].revents) {
        const size_t before = run->told.length;
        const bool more = collect(run->errors, &run->told);
        // If the socket is open now, it was so when that was said.
        if (run->told.length > before && is_open(run->peer)) run->early = true;
        if (!more) close_fd(&run->errors);
    }
    if (fds[2].revents) collect_sent(run);
    if (fds[3].revents) collect_output(run);
    if (fds[4].revents) {
        if (waitpid(run->pid, &run->status, 0) != run->pid) fail("waitpid");
        run->ended = true;
    }
}

// ---- the peer

static bool wants_more(const struct run *run) {
    return !run->ended && !run->closed && run->fds == 0;
}

static size_t unsent(const struct run *run) {
    int bytes;
    if (ioctl(run->peer, SIOCOUTQ, &bytes) != 0) fail("SIOCOUTQ");
    return (size_t)bytes;
}

/** Waits until the segment is taken, or nobody will; whether it was. */
static bool taken(struct run *run) {
    for (int turn = 0;; turn++) {
        if (unsent(run) == 0) break;
        if (!wants_more(run)) return unsent(run) == 0 && !run->unread;
        if (turn < YIELDS) sched_yield();
        attend(run, turn < YIELDS ? 0 : NAP_NS);
    }
    // Closing empties the queue as well.
    attend(run, 0);
    return !run->unread;
}

static void answer(const struct request *request, struct run *run) {
    const uint8_t *at = request->answer.at;
    const char *lengths = request->segments;
    while (*lengths != '-' && *lengths != 0) {
        size_t length = strtoul(lengths, (char **)&lengths, 10);
        if (*lengths == ',') lengths++;
        if (run->closed || (run->ended && run->fds == 0)) return;
        if (send(run->peer, at, length, MSG_NOSIGNAL) < 0) {
            if (errno != EPIPE) fail("send");
            return;
        }
        at += length;
        if (run->fds == 0 && taken(run))
            run->taken += length;
        else if (run->fds == 0)
            return;
    }
    if (request->eof && shutdown(run->peer, SHUT_WR) != 0 && errno != ENOTCONN) fail("shutdown");
}

static void serve(const struct request *request, struct run *run) {
    bool answered = false;
    while (!run->ended || run->errors >= 0 || run->output >= 0) {
        bool asked = !request->asks || memchr(run->sent.at, '\n', run->sent.length);
        if (run->peer >= 0 && asked && !answered) {
            answered = true;
            answer(request, run);
        } else {
            attend(run, PATIENCE_NS);
        }
    }
    // What was said last, and how it closed.
    while (run->peer >= 0 && !run->closed && run->fds == 0)
        attend(run, PATIENCE_NS);
    if (run->passed < 0) return;
    if (fcntl(run->passed, F_SETFL, O_NONBLOCK) != 0) fail("F_SETFL");
    uint8_t buffer[4096];
    for (ssize_t got; (got = recv(run->passed, buffer, sizeof buffer, 0)) > 0;)
        keep(&run->rest, buffer, (size_t)got);
    if (run->peer >= 0) collect_sent(run);
}

// ---- the answer

static void put(const char *name, const struct bytes *bytes) {
    printf(",\"%s\":\"", name);
    for (size_t i = 0; i < bytes->length; i++)
        printf("%02x", bytes->at[i]);
    putchar('"');
}

static void report(const struct run *run, int64_t nanoseconds) {
    const char *how = WIFEXITED(run->status) ? "exit" : "signal";
    const int value = WIFEXITED(run->status) ? WEXITSTATUS(run->status) : WTERMSIG(run->status);
    printf("{\"%s\":%d,\"connections\":%d,\"taken\":%zu,\"fds\":%d", how, value, run->connections,
           run->taken, run->fds);
    printf(",\"unread\":%s", run->unread ? "true" : "false");
    printf(",\"early\":%s", run->early ? "true" : "false");
    put("stderr", &run->told);
    put("sent", &run->sent);
    put("output", &run->came);
    put("passed", &run->rest);
    printf(",\"ns\":%" PRId64 "}\n", nanoseconds);
    if (fflush(stdout) != 0) fail("stdout");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs("usage: fake-peer COMMAND [ARG...]\n", stderr);
        return OWN_FAILURE;
    }
    command = argv + 1;
    // Modes of files mean nothing to root otherwise; what exec gives is limited by this set.
    if (geteuid() == 0 && (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0 ||
                           prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) != 0))
        fail("PR_CAPBSET_DROP");
    furnish();
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, stdin) > 0) {
        static struct request request;
        static struct run run;
        run = (struct run){.output = -1, .errors = -1, .peer = -1, .passed = -1};
        parse(line, &request);
        const int64_t started = now();
        deadline = started + PATIENCE_NS;
        start(&request, &run);
        serve(&request, &run);
        report(&run, now() - started);
        close_fd(&run.peer);
        close_fd(&run.passed);
        close_fd(&run.pidfd);
        forget(&request);
    }
    free(line);
    return 0;
}
