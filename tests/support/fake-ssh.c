// Runs a ProxyCommand as OpenSSH's client does: gives COMMAND one end of a unix socketpair as fd 0
// and 1, waits for the descriptor, and then for COMMAND's exit. ssh would be satisfied or give up;
// this program measures and counts, and prints one line of JSON.
//
//     fake-ssh [OPTIONS] -- COMMAND [ARG...]
//
//     --result FILE     for the JSON (default: fd 3)
//     --deadline-ms MS  COMMAND is killed after this time (default: 30000)
//     --drop-caps       takes root's exemption from file permissions away; the user stays root
//     --hex             COMMAND and its ARGs are in hexadecimal: any byte but NUL can be passed
//     --stdout KIND     kind of fd 1: unix (default), dgram, seqpacket, tcp, pipe, tty, file, closed
//     --stdin KIND      kind of fd 0: as-ssh (default), null, closed
//     --stderr KIND     kind of fd 2: inherit (default), closed
//     --gone            closes ssh's end before COMMAND starts; with --hold, after the hold
//     --hold UNTIL      fills the queue towards ssh, so that passing the descriptor blocks, and
//                       empties it when COMMAND is blocked, after listing its descriptors, or exits
//                       (UNTIL: blocked, exit)
//     --write HEX       writes these bytes to the passed descriptor
//     --read N          then reads up to N bytes from it,
//     --read-ms MS      for at most this time (default: 1000)
//
// Rules
// 1. COMMAND starts as under ssh: no descriptor but 0, 1 and 2, no signal ignored.
// 2. The queue is read to its end, with room for more than one byte and one descriptor, so that an
//    excess is seen.
// 3. COMMAND ends with this program.
// 4. Exit status 0: the JSON is complete, however COMMAND ended. 1: this program failed.

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake-ssh-report.h"
#include "proxy-command.h"

#define NS_PER_MS INT64_C(1000000)

/** COMMAND is blocked if it has slept for this time, with and without a connection. */
enum { CONNECTED_BLOCKED_MS = 100, BLOCKED_MS = 400, BLOCKED_CHECK_MS = 5 };

/** After SIGKILL. */
enum { EXIT_TIMEOUT_MS = 30000 };

struct options {
    const char *result;
    long deadline_ms;
    bool drop_caps;
    bool hex;
    const char *stdout_kind;
    const char *stdin_kind;
    const char *stderr_kind;
    bool gone;
    const char *hold;
    uint8_t *write_bytes;
    size_t write_len;
    long read_max;
    long read_ms;
    char **command;
};

// COMMAND's descriptors, and the other end of its fd 1; -1: closed.
struct stdio {
    int in;
    int out;
    int ours;
    bool is_socket;
    bool is_datagram;
};

static struct options o;
static int64_t deadline_ns;

static _Noreturn void usage(const char *what) {
    errno = 0;
    fail("%s; usage: fake-ssh [OPTIONS] -- COMMAND [ARG...]", what);
}

static void *allocate(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) fail("malloc");
    return memory;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

// poll(2) until an absolute time, 0 when it has passed; a signal does not end it.
static int poll_until(struct pollfd *fds, nfds_t count, int64_t until_ns) {
    for (;;) {
        int64_t left_ms = (until_ns - now_ns() + NS_PER_MS - 1) / NS_PER_MS;
        int ready =
            poll(fds, count, left_ms < 0 ? 0 : (int)(left_ms > INT_MAX ? INT_MAX : left_ms));
        if (ready >= 0) return ready;
        if (errno != EINTR) fail("poll");
    }
}

// ---- the command line

static uint8_t *from_hex(const char *text, size_t *len) {
    size_t digits = strlen(text);
    uint8_t *bytes = allocate(digits / 2 + 1);
    if (digits % 2) usage("an odd number of hexadecimal digits");
    for (size_t i = 0; i < digits / 2; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        if (!isxdigit((unsigned char)pair[0]) || !isxdigit((unsigned char)pair[1]))
            usage("not hexadecimal");
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    bytes[digits / 2] = 0;
    *len = digits / 2;
    return bytes;
}

static void parse(int argc, char **argv) {
    o = (struct options){
        .deadline_ms = 30000,
        .stdout_kind = "unix",
        .stdin_kind = "as-ssh",
        .stderr_kind = "inherit",
        .hold = "",
        .read_ms = 1000,
    };
    const char *write_hex = "";
    const struct option known[] = {
        {"--result", .text = &o.result},       {"--deadline-ms", .number = &o.deadline_ms},
        {"--drop-caps", .flag = &o.drop_caps}, {"--hex", .flag = &o.hex},
        {"--stdout", .text = &o.stdout_kind},  {"--stdin", .text = &o.stdin_kind},
        {"--stderr", .text = &o.stderr_kind},  {"--gone", .flag = &o.gone},
        {"--hold", .text = &o.hold},           {"--write", .text = &write_hex},
        {"--read", .number = &o.read_max},     {"--read-ms", .number = &o.read_ms},
    };
    int at = parse_options(argc, argv, known, sizeof known / sizeof *known);
    if (at + 1 >= argc) usage("COMMAND is missing");
    o.write_bytes = from_hex(write_hex, &o.write_len);
    o.command = argv + at + 1;
    for (char **word = o.command; o.hex && *word; word++) {
        size_t len;
        char *bytes = (char *)from_hex(*word, &len);
        if (strlen(bytes) != len) usage("a NUL in an argument");
        *word = bytes;
    }
    if (*o.hold && strcmp(o.hold, "blocked") != 0 && strcmp(o.hold, "exit") != 0) usage("--hold");
    if (*o.hold && strcmp(o.stdout_kind, "unix") != 0) usage("--hold needs --stdout unix");
}

// ---- COMMAND's descriptors

static int open_null(void) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) fail("/dev/null");
    return fd;
}

// socketpair(2) for AF_INET.
static void tcp_pair(int pair[2]) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pair[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || pair[1] < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, size) != 0) fail("bind");
    if (getsockname(listener, (struct sockaddr *)&address, &size) != 0) fail("getsockname");
    if (listen(listener, 1) != 0) fail("listen");
    if (connect(pair[1], (struct sockaddr *)&address, size) != 0) fail("connect");
    pair[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (pair[0] < 0) fail("accept4");
    close(listener);
}

static struct stdio make_stdio(void) {
    const char *kind = o.stdout_kind;
    struct stdio s = {.in = -1, .out = -1, .ours = -1};
    int type = !strcmp(kind, "unix")        ? SOCK_STREAM
               : !strcmp(kind, "dgram")     ? SOCK_DGRAM
               : !strcmp(kind, "seqpacket") ? SOCK_SEQPACKET
                                            : -1;
    int pair[2];
    if (type >= 0) {
        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) != 0) fail("socketpair");
        s = (struct stdio){.in = pair[1], .out = pair[1], .ours = pair[0]};
        s.is_socket = true;
        s.is_datagram = type == SOCK_DGRAM;
    } else if (!strcmp(kind, "tcp")) {
        tcp_pair(pair);
        s = (struct stdio){.in = pair[1], .out = pair[1], .ours = pair[0], .is_socket = true};
    } else if (!strcmp(kind, "pipe")) {
        if (pipe2(pair, O_CLOEXEC) != 0) fail("pipe2");
        s = (struct stdio){.in = open_null(), .out = pair[1], .ours = pair[0]};
    } else if (!strcmp(kind, "tty")) {
        s.ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (s.ours < 0 || grantpt(s.ours) != 0 || unlockpt(s.ours) != 0) fail("posix_openpt");
        s.out = open(ptsname(s.ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (s.out < 0) fail("%s", ptsname(s.ours));
        s.in = s.out;
    } else if (!strcmp(kind, "file")) {
        s.out = memfd_create("stdout", MFD_CLOEXEC);
        if (s.out < 0) fail("memfd_create");
        s.in = open_null();
    } else if (!strcmp(kind, "closed")) {
        s.in = open_null();
    } else {
        usage("--stdout");
    }
    if (!strcmp(o.stdin_kind, "null")) {
        s.in = open_null();
    } else if (!strcmp(o.stdin_kind, "closed")) {
        s.in = -1;
    } else if (strcmp(o.stdin_kind, "as-ssh") != 0) {
        usage("--stdin");
    }
    return s;
}

// Runs in the child: system calls only.
static bool prepare_command(void) {
    // exec gives root the capabilities of the bounding set (capabilities(7)).
    if (o.drop_caps && (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0 ||
                        prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) != 0))
        return false;
    if (strcmp(o.stderr_kind, "closed") == 0) close(STDERR_FILENO);
    return true;
}

// ---- the hold

// Sends until a further byte would block, as passing the descriptor then does. MSG_DONTWAIT, since
// COMMAND shares the description's O_NONBLOCK.
static size_t fill(int theirs) {
    static const uint8_t filler[MESSAGE_BYTES];
    size_t filled = 0;
    for (size_t chunk = sizeof filler;;) {
        ssize_t sent = send(theirs, filler, chunk, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            filled += (size_t)sent;
        } else if (errno == EAGAIN && chunk > 1) {
            chunk = 1;
        } else if (errno == EAGAIN) {
            return filled;
        } else if (errno != EINTR) {
            fail("filling the queue");
        }
    }
}

// Reads only the filler, so that COMMAND's message stays in the queue.
static void drain(int ours, size_t filled) {
    uint8_t buffer[MESSAGE_BYTES];
    while (filled > 0) {
        ssize_t got = recv(ours, buffer, filled < sizeof buffer ? filled : sizeof buffer, 0);
        if (got > 0) {
            filled -= (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            fail("emptying the queue");
        }
    }
}

// Whether the process sleeps (field 3 of its stat, proc(5)).
static bool is_asleep(pid_t pid) {
    char file[64];
    char text[256] = "";
    snprintf(file, sizeof file, "/proc/%d/stat", (int)pid);
    FILE *stream = fopen(file, "re");
    if (!stream) return false;
    size_t length = fread(text, 1, sizeof text - 1, stream);
    fclose(stream);
    text[length] = 0;
    const char *name_end = strrchr(text, ')');
    return name_end && name_end[1] && name_end[2] == 'S';
}

// Holds the queue full until COMMAND is blocked, or exits; gives its descriptors as JSON.
static char *hold(pid_t pid, int pidfd) {
    struct pollfd exit = {.fd = pidfd, .events = POLLIN};
    bool until_exit = strcmp(o.hold, "exit") == 0;
    for (int asleep_ms = 0, limit_ms = BLOCKED_MS; asleep_ms < limit_ms;) {
        int64_t until_ns = until_exit ? deadline_ns : now_ns() + BLOCKED_CHECK_MS * NS_PER_MS;
        if (poll_until(&exit, 1, until_ns) != 0 || now_ns() >= deadline_ns) return NULL;
        asleep_ms = is_asleep(pid) ? asleep_ms + BLOCKED_CHECK_MS : 0;
        // fd 0 and 1 are one socket; the connection is the other.
        limit_ms = count_sockets(pid) > 2 ? CONNECTED_BLOCKED_MS : BLOCKED_MS;
    }
    return list_fds(pid);
}

// ---- the result

// Takes one message, or what a pipe, a terminal or a file holds; false at the end of file.
static bool receive(int ours, bool is_socket, int64_t started_ns, struct outcome *r) {
    static struct message message;
    bool more;
    if (is_socket) {
        more = receive_message(ours, &message);
    } else {
        ssize_t got;
        do {
            errno = 0;
            got = read(ours, message.bytes, sizeof message.bytes);
        } while (got < 0 && errno == EINTR);
        more = got > 0;
        message.byte_count = more ? (size_t)got : 0;
        message.fd_count = 0;
    }
    // A pseudo-terminal's master answers EIO when the other side is closed, a socket ECONNRESET
    // when its peer closed with unread data.
    if (errno != 0 && errno != EIO && errno != ECONNRESET) fail("receiving");
    if (more) put_message(r, &message);
    for (size_t i = 0; i < message.fd_count; i++) {
        if (r->passed >= 0) {
            close(message.fds[i]);
        } else {
            r->passed = message.fds[i];
            r->handoff_ns = now_ns() - started_ns;
        }
    }
    return more;
}

// Waits for COMMAND's exit and for the end of its output; the deadline kills COMMAND.
static void wait_for_command(pid_t pid, int pidfd, struct stdio *s, int64_t started_ns,
                             struct outcome *r) {
    bool exited = false;
    while (!exited || s->ours >= 0) {
        struct pollfd fds[2] = {
            {.fd = s->ours, .events = POLLIN},
            {.fd = exited ? -1 : pidfd, .events = POLLIN},
        };
        // A datagram socket has no end of file: after COMMAND's exit, an empty queue is the end.
        if (exited && s->is_datagram && poll_until(fds, 1, 0) == 0) {
            close_fd(&s->ours);
            break;
        }
        if (poll_until(fds, 2, deadline_ns) == 0) {
            // The second time: another process holds the socketpair open.
            if (exited || r->timed_out) break;
            r->timed_out = true;
            deadline_ns = now_ns() + EXIT_TIMEOUT_MS * NS_PER_MS;
            if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0 && errno != ESRCH)
                fail("pidfd_send_signal");
            continue;
        }
        // The queue first: its content was sent before the exit.
        if (fds[0].revents && !receive(s->ours, s->is_socket, started_ns, r)) close_fd(&s->ours);
        if (fds[1].revents) {
            pid_t reaped;
            do {
                reaped = waitpid(pid, &r->status, 0);
            } while (reaped < 0 && errno == EINTR);
            if (reaped != pid) fail("waitpid");
            r->exit_ns = now_ns() - started_ns;
            exited = true;
        }
    }
    if (!exited) fail("COMMAND outlives SIGKILL");
}

// Writes to the passed descriptor and reads from it, as ssh does next.
static void use_socket(struct outcome *r) {
    int fd = r->passed;
    int64_t until_ns = now_ns() + o.read_ms * NS_PER_MS;
    struct pollfd wait = {.fd = fd};
    for (size_t written = 0; written < o.write_len;) {
        wait.events = POLLOUT;
        if (poll_until(&wait, 1, until_ns) == 0) break;
        ssize_t n =
            send(fd, o.write_bytes + written, o.write_len - written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN) fail("writing to the passed socket");
        if (n > 0) written += (size_t)n;
    }
    r->has_read = o.read_max > 0;
    r->read_bytes = allocate((size_t)o.read_max);
    while (r->read_len < (size_t)o.read_max) {
        wait.events = POLLIN;
        if (poll_until(&wait, 1, until_ns) == 0) break;
        ssize_t n =
            recv(fd, r->read_bytes + r->read_len, (size_t)o.read_max - r->read_len, MSG_DONTWAIT);
        if (n > 0) r->read_len += (size_t)n;
        if (n == 0) r->read_eof = true;
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNRESET)
            fail("reading from the passed socket");
        if (n == 0 || (n < 0 && errno == ECONNRESET)) break;
    }
}

// ssh closes inherited descriptors (closefrom); this program still needs fd 3.
static void close_on_exec(void) {
    DIR *dir = opendir("/proc/self/fd");
    if (!dir) fail("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) fail("FD_CLOEXEC");
    }
    closedir(dir);
}

int main(int argc, char **argv) {
    struct outcome r = {.handoff_ns = -1, .passed = -1};
    parse(argc, argv);
    // COMMAND inherits both. Before the clock starts, as it is no part of the time.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    FILE *result = o.result ? fopen(o.result, "we") : fdopen(3, "w");
    if (!result) fail("%s", o.result ? o.result : "fd 3");
    close_on_exec();

    struct stdio s = make_stdio();
    size_t filled = 0;
    if (*o.hold) {
        filled = fill(s.out);
    } else if (o.gone) {
        close_fd(&s.ours);
    }

    int64_t started_ns = now_ns();
    deadline_ns = started_ns + o.deadline_ms * NS_PER_MS;
    pid_t pid = spawn(o.command, s.in, s.out, prepare_command);
    int file = strcmp(o.stdout_kind, "file") == 0 ? s.out : -1;
    if (s.in != s.out) close_fd(&s.in);
    if (file < 0) close_fd(&s.out);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) fail("pidfd_open");

    if (*o.hold) {
        r.open_fds = hold(pid, pidfd);
        if (o.gone) {
            close_fd(&s.ours);
        } else {
            drain(s.ours, filled);
        }
    }
    wait_for_command(pid, pidfd, &s, started_ns, &r);

    static struct message written;
    ssize_t length = file < 0 ? 0 : pread(file, written.bytes, sizeof written.bytes, 0);
    if (length < 0) fail("pread");
    written.byte_count = (size_t)length;
    if (length > 0) put_message(&r, &written);
    if (r.passed >= 0) use_socket(&r);
    put_outcome(result, &r);
    if (fclose(result) != 0) fail("writing the result");
    return 0;
}
