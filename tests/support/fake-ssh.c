// Plays OpenSSH's client towards a ProxyCommand, for the tests and the benchmark: one end of a unix
// socketpair on fd 0 and 1 of COMMAND, then the wait for the descriptor, then the wait for its end.
// Where ssh would be satisfied or give up, this program measures and counts, and answers with one
// line of JSON.
//
//     fake-ssh [OPTIONS] -- COMMAND [ARG...]
//
//     --result FILE     where the JSON goes (default: fd 3)
//     --deadline-ms MS  COMMAND is killed when it takes longer (default: 30000)
//     --uid N, --gid N  who COMMAND runs as, without supplementary groups
//     --drop-caps       takes root's exemption from file permissions away, uid 0 staying
//     --hex             COMMAND and its ARGs are in hexadecimal: any byte but NUL can be told
//     --stdout KIND     what fd 1 is: unix (default), dgram, seqpacket, tcp, pipe, tty, file or
//                       closed
//     --stdin KIND      what fd 0 is: as-ssh (default), null, closed
//     --stderr KIND     what fd 2 is: inherit (default), closed
//     --gone            ssh's end is closed before COMMAND starts; with --hold, after the hold
//     --hold MS         fills the queue towards ssh, so that the hand-over blocks; lists the
//                       descriptors of COMMAND after MS, empties the queue and goes on
//     --write HEX       is written to the descriptor that was passed
//     --read N          up to N bytes are then read from it,
//     --read-ms MS      until so much time has passed (default: 1000)
//
// Rules
// 1. COMMAND starts as under ssh: no descriptor but 0, 1 and 2, no signal ignored.
// 2. The queue is read with room for more than one byte and one descriptor, up to its end, so that
//    whatever is too much is seen.
// 3. COMMAND does not outlive this program.
// 4. Exit status 0 says that the JSON is complete, whatever became of COMMAND; 125 that this
//    program failed.
//
// Source: sshconnect.c of openssh-portable (ssh_proxy_fdpass_connect), monitor_fdpass.c
// (mm_receive_fd).

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OWN_FAILURE = 125, NO_ID = -1, MANY_FDS = 64, MANY_BYTES = 4096 };

struct options {
    const char *result;
    long deadline_ms;
    long uid;
    long gid;
    bool drop_caps;
    bool hex;
    const char *stdout_kind;
    const char *stdin_kind;
    const char *stderr_kind;
    bool gone;
    long hold_ms;  // 0: no hold
    uint8_t *write_bytes;
    size_t write_len;
    long read_max;
    long read_ms;
    char **command;
};

// What COMMAND gets, and the end of fd 1 that stays here; -1 is a closed descriptor.
struct stdio {
    int in;
    int out;
    int ours;
    bool is_socket;
    bool is_datagram;
};

struct outcome {
    int64_t handoff_ns;  // -1: nothing was handed over
    int64_t exit_ns;
    bool timed_out;
    int status;
    struct rusage usage;
    uint64_t bytes;
    int first_byte;
    uint64_t fds;
    bool truncated;  // more control data than MANY_FDS descriptors
    int passed;      // the first descriptor, -1: none
    char *open_fds;  // JSON
    uint8_t *read_bytes;
    size_t read_len;
    bool read_eof;
};

static int64_t deadline_ns;

static _Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void fail(const char *format, ...) {
    int error = errno;
    va_list args;
    fputs("fake-ssh: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
    exit(OWN_FAILURE);
}

static _Noreturn void usage(const char *what) {
    errno = 0;
    fail("%s; usage: fake-ssh [OPTIONS] -- COMMAND [ARG...]", what);
}

static int64_t now_ns(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) fail("clock_gettime");
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
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

// poll() up to an absolute time, whatever signals arrive; 0 once that time has passed.
static int poll_until(struct pollfd *fds, nfds_t count, int64_t until_ns) {
    for (;;) {
        int64_t left_ms = (until_ns - now_ns() + 999999) / 1000000;
        int ready =
            poll(fds, count, left_ms < 0 ? 0 : (int)(left_ms > INT_MAX ? INT_MAX : left_ms));
        if (ready >= 0) return ready;
        if (errno != EINTR) fail("poll");
    }
}

// ---- the command line

static long number(const char *text, const char *option) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < 0) usage(option);
    return value;
}

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

static struct options parse(int argc, char **argv) {
    struct options o = {
        .deadline_ms = 30000,
        .uid = NO_ID,
        .gid = NO_ID,
        .stdout_kind = "unix",
        .stdin_kind = "as-ssh",
        .stderr_kind = "inherit",
        .read_ms = 1000,
    };
    const char *write_hex = "";
    const struct {
        const char *name;
        bool *flag;
        long *number;
        const char **text;
    } known[] = {
        {"--result", .text = &o.result},       {"--deadline-ms", .number = &o.deadline_ms},
        {"--uid", .number = &o.uid},           {"--gid", .number = &o.gid},
        {"--drop-caps", .flag = &o.drop_caps}, {"--hex", .flag = &o.hex},
        {"--stdout", .text = &o.stdout_kind},  {"--stdin", .text = &o.stdin_kind},
        {"--stderr", .text = &o.stderr_kind},  {"--gone", .flag = &o.gone},
        {"--hold", .number = &o.hold_ms},      {"--write", .text = &write_hex},
        {"--read", .number = &o.read_max},     {"--read-ms", .number = &o.read_ms},
    };
    const size_t count = sizeof known / sizeof *known;
    int at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        const char *name = argv[at];
        size_t k = 0;
        while (k < count && strcmp(name, known[k].name) != 0)
            k++;
        if (k == count) usage(name);
        if (known[k].flag) {
            *known[k].flag = true;
            continue;
        }
        if (++at == argc) usage(name);
        if (known[k].number) *known[k].number = number(argv[at], name);
        if (known[k].text) *known[k].text = argv[at];
    }
    if (at + 1 >= argc) usage("COMMAND is missing");
    o.write_bytes = from_hex(write_hex, &o.write_len);
    o.command = argv + at + 1;
    for (char **word = o.command; o.hex && *word; word++) {
        size_t len;
        char *bytes = (char *)from_hex(*word, &len);
        if (strlen(bytes) != len) usage("a NUL in an argument");
        *word = bytes;
    }
    return o;
}

// ---- what COMMAND finds on its descriptors

static int open_null(void) {
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) fail("/dev/null");
    return fd;
}

// As socketpair() would, if it knew AF_INET.
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

static struct stdio make_stdio(const struct options *o) {
    const char *kind = o->stdout_kind;
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
    if (!strcmp(o->stdin_kind, "null")) {
        s.in = open_null();
    } else if (!strcmp(o->stdin_kind, "closed")) {
        s.in = -1;
    } else if (strcmp(o->stdin_kind, "as-ssh") != 0) {
        usage("--stdin");
    }
    return s;
}

// Takes the place of whatever stood at `target`; a negative `fd` leaves it closed.
static bool place(int fd, int target) {
    if (fd >= 0) return dup2(fd, target) == target;
    close(target);
    return true;
}

static bool drop_privileges(const struct options *o) {
    // What exec gives to root is limited by the bounding set (capabilities(7)).
    if (o->drop_caps && (prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) != 0 ||
                         prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0) != 0))
        return false;
    if (o->uid == NO_ID && o->gid == NO_ID) return true;
    uid_t uid = o->uid == NO_ID ? getuid() : (uid_t)o->uid;
    gid_t gid = o->gid == NO_ID ? getgid() : (gid_t)o->gid;
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 &&
           setresuid(uid, uid, uid) == 0;
}

// `report` is close-on-exec: what arrives on it is the errno of a COMMAND that could not start.
static _Noreturn void be_command(const struct options *o, struct stdio s, int report) {
    // PR_SET_PDEATHSIG behind the change of user, which would clear it.
    if (drop_privileges(o) && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && place(s.in, STDIN_FILENO) &&
        place(s.out, STDOUT_FILENO)) {
        if (!strcmp(o->stderr_kind, "closed")) close(STDERR_FILENO);
        execvp(o->command[0], o->command);
    }
    int error = errno;
    while (write(report, &error, sizeof error) < 0 && errno == EINTR)
        continue;
    _exit(OWN_FAILURE);
}

// ---- the hold

// Fills what `theirs` may send until a further byte would block, as the hand-over then does.
// MSG_DONTWAIT leaves the description's O_NONBLOCK, which COMMAND shares, as it is.
static size_t fill(int theirs) {
    static const uint8_t filler[MANY_BYTES];
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

// Reads no further than the filler, so that what COMMAND has sent stays in the queue.
static void drain(int ours, size_t filled) {
    uint8_t buffer[MANY_BYTES];
    while (filled > 0) {
        ssize_t got = recv(ours, buffer, filled < sizeof buffer ? filled : sizeof buffer, 0);
        if (got > 0) {
            filled -= (size_t)got;
        } else if (got == 0 || errno != EINTR) {
            fail("emptying the queue");
        }
    }
}

static void put_json_string(FILE *out, const char *text, size_t len) {
    fputc('"', out);
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            fputc(byte, out);
        } else {
            fprintf(out, "\\u%04x", byte);
        }
    }
    fputc('"', out);
}

// {"0":"socket:[123]",…}; NULL where the process is gone.
static char *list_fds(pid_t pid) {
    char folder[64];
    char *json = NULL;
    size_t size;
    snprintf(folder, sizeof folder, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(folder);
    if (!dir) return NULL;
    FILE *out = open_memstream(&json, &size);
    if (!out) fail("open_memstream");
    const char *comma = "";
    fputc('{', out);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char target[PATH_MAX];
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof target);
        if (len < 0) continue;
        fprintf(out, "%s\"%s\":", comma, entry->d_name);
        put_json_string(out, target, (size_t)len);
        comma = ",";
    }
    fputc('}', out);
    if (fclose(out) != 0) fail("open_memstream");
    closedir(dir);
    return json;
}

// ---- what comes back

// One message, or whatever fd 1's kind holds; false at the end of file.
static bool receive(int ours, bool is_socket, int64_t started, struct outcome *r) {
    uint8_t bytes[MANY_BYTES];
    union {
        char space[CMSG_SPACE(MANY_FDS * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.space,
        .msg_controllen = sizeof control.space,
    };
    ssize_t got;
    do {
        got =
            is_socket ? recvmsg(ours, &message, MSG_CMSG_CLOEXEC) : read(ours, bytes, sizeof bytes);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        // A pseudo-terminal's master answers EIO once the other side is closed; a socket whose
        // peer left unread data behind answers ECONNRESET.
        if (errno == EIO || errno == ECONNRESET) return false;
        fail("receiving");
    }
    if (got > 0 && r->bytes == 0) r->first_byte = bytes[0];
    r->bytes += (uint64_t)got;
    if (!is_socket) return got > 0;
    if (message.msg_flags & MSG_CTRUNC) r->truncated = true;
    bool any_fd = false;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            any_fd = true;
            r->fds++;
            if (r->passed >= 0) {
                close(fd);
            } else {
                r->passed = fd;
                r->handoff_ns = now_ns() - started;
            }
        }
    }
    return got > 0 || any_fd;
}

// Waits for COMMAND's end and for the end of what it sends; the deadline kills COMMAND.
static void attend(pid_t pid, int pidfd, struct stdio *s, int64_t started, struct outcome *r) {
    bool exited = false;
    while (!exited || s->ours >= 0) {
        struct pollfd fds[2] = {
            {.fd = s->ours, .events = POLLIN},
            {.fd = exited ? -1 : pidfd, .events = POLLIN},
        };
        // A datagram socket knows no end of file: with COMMAND gone, an empty queue is the end.
        if (exited && s->is_datagram && poll_until(fds, 1, 0) == 0) {
            close_fd(&s->ours);
            break;
        }
        if (poll_until(fds, 2, deadline_ns) == 0) {
            // A second pass means that something else than COMMAND holds the socketpair open.
            if (exited || r->timed_out) break;
            r->timed_out = true;
            deadline_ns = now_ns() + 30000000000;
            if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0 && errno != ESRCH)
                fail("pidfd_send_signal");
            continue;
        }
        // The queue first: what is in it was sent before the exit.
        if (fds[0].revents && !receive(s->ours, s->is_socket, started, r)) close_fd(&s->ours);
        if (fds[1].revents) {
            pid_t reaped;
            do {
                reaped = wait4(pid, &r->status, 0, &r->usage);
            } while (reaped < 0 && errno == EINTR);
            if (reaped != pid) fail("wait4");
            r->exit_ns = now_ns() - started;
            exited = true;
        }
    }
    if (!exited) fail("COMMAND outlives SIGKILL");
}

// What ssh would do next with the descriptor: write to it, read from it.
static void converse(const struct options *o, struct outcome *r) {
    int fd = r->passed;
    int64_t until = now_ns() + (int64_t)o->read_ms * 1000000;
    struct pollfd wait = {.fd = fd};
    for (size_t written = 0; written < o->write_len;) {
        wait.events = POLLOUT;
        if (poll_until(&wait, 1, until) == 0) break;
        ssize_t n =
            send(fd, o->write_bytes + written, o->write_len - written, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN) fail("writing to the passed socket");
        if (n > 0) written += (size_t)n;
    }
    r->read_bytes = allocate((size_t)o->read_max);
    while (r->read_len < (size_t)o->read_max) {
        wait.events = POLLIN;
        if (poll_until(&wait, 1, until) == 0) break;
        ssize_t n =
            recv(fd, r->read_bytes + r->read_len, (size_t)o->read_max - r->read_len, MSG_DONTWAIT);
        if (n > 0) r->read_len += (size_t)n;
        if (n == 0) r->read_eof = true;
        if (n < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNRESET)
            fail("reading from the passed socket");
        if (n == 0 || (n < 0 && errno == ECONNRESET)) break;
    }
}

// ---- the answer

static int64_t microseconds(struct timeval time) {
    return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static int64_t timeout_us(int fd, int level, int option) {
    struct timeval value = {0};
    socklen_t len = sizeof value;
    if (getsockopt(fd, level, option, &value, &len) != 0) return -1;
    return microseconds(value);
}

// Options that a proxy might set and forget; the passed socket is compared with a fresh one.
static const struct {
    int level;
    int option;
    const char *name;
} watched[] = {
    {SOL_SOCKET, SO_DEBUG, "SO_DEBUG"},
    {SOL_SOCKET, SO_REUSEADDR, "SO_REUSEADDR"},
    {SOL_SOCKET, SO_DONTROUTE, "SO_DONTROUTE"},
    {SOL_SOCKET, SO_BROADCAST, "SO_BROADCAST"},
    {SOL_SOCKET, SO_SNDBUF, "SO_SNDBUF"},
    {SOL_SOCKET, SO_RCVBUF, "SO_RCVBUF"},
    {SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE"},
    {SOL_SOCKET, SO_OOBINLINE, "SO_OOBINLINE"},
    {SOL_SOCKET, SO_PRIORITY, "SO_PRIORITY"},
    {SOL_SOCKET, SO_LINGER, "SO_LINGER"},
    {SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT"},
    {SOL_SOCKET, SO_PASSCRED, "SO_PASSCRED"},
    {SOL_SOCKET, SO_RCVLOWAT, "SO_RCVLOWAT"},
    {SOL_SOCKET, SO_RCVTIMEO, "SO_RCVTIMEO"},
    {SOL_SOCKET, SO_SNDTIMEO, "SO_SNDTIMEO"},
    {SOL_SOCKET, SO_TIMESTAMP, "SO_TIMESTAMP"},
    {SOL_SOCKET, SO_PASSSEC, "SO_PASSSEC"},
    {SOL_SOCKET, SO_MARK, "SO_MARK"},
    {SOL_SOCKET, SO_PEEK_OFF, "SO_PEEK_OFF"},
    {SOL_SOCKET, SO_BUSY_POLL, "SO_BUSY_POLL"},
    {AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, "SO_VM_SOCKETS_BUFFER_SIZE"},
    {AF_VSOCK, SO_VM_SOCKETS_BUFFER_MIN_SIZE, "SO_VM_SOCKETS_BUFFER_MIN_SIZE"},
    {AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, "SO_VM_SOCKETS_BUFFER_MAX_SIZE"},
    {AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, "SO_VM_SOCKETS_CONNECT_TIMEOUT"},
};

static void put_changed_options(FILE *out, int fd, int family, int type) {
    const char *comma = "";
    int fresh = socket(family, type | SOCK_CLOEXEC, 0);
    if (fresh < 0) fail("a fresh socket");
    fputc('[', out);
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
        uint8_t theirs[64] = {0};
        uint8_t default_value[64] = {0};
        socklen_t len = sizeof theirs;
        socklen_t default_len = sizeof default_value;
        if (watched[i].level != SOL_SOCKET && watched[i].level != family) continue;
        if (getsockopt(fresh, watched[i].level, watched[i].option, default_value, &default_len))
            continue;
        if (getsockopt(fd, watched[i].level, watched[i].option, theirs, &len))
            fail("%s", watched[i].name);
        if (len == default_len && !memcmp(theirs, default_value, len)) continue;
        fprintf(out, "%s\"%s\"", comma, watched[i].name);
        comma = ",";
    }
    fputc(']', out);
    close(fresh);
}

static void put_hex(FILE *out, const void *bytes, size_t len) {
    fputc('"', out);
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%02x", ((const uint8_t *)bytes)[i]);
    fputc('"', out);
}

static void put_socket(FILE *out, int fd) {
    int family = 0;
    int type = 0;
    socklen_t len = sizeof family;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0) {
        fputs("null", out);
        return;
    }
    len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) fail("SO_TYPE");
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0) fail("F_GETFL");
    fprintf(out, "{\"family\":%d,\"type\":%d,\"nonblock\":%s", family, type,
            flags & O_NONBLOCK ? "true" : "false");
    fprintf(out, ",\"rcvtimeo_us\":%" PRId64, timeout_us(fd, SOL_SOCKET, SO_RCVTIMEO));
    fprintf(out, ",\"sndtimeo_us\":%" PRId64, timeout_us(fd, SOL_SOCKET, SO_SNDTIMEO));
    fputs(",\"changed\":", out);
    put_changed_options(out, fd, family, type);
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_vm vm;
    } peer = {0};
    len = sizeof peer;
    if (getpeername(fd, &peer.any, &len) != 0) {
        fputs(",\"connected\":false", out);
    } else {
        fputs(",\"connected\":true", out);
        if (family == AF_UNIX) {
            fputs(",\"peer_hex\":", out);
            put_hex(out, peer.un.sun_path, len - offsetof(struct sockaddr_un, sun_path));
        } else if (family == AF_VSOCK) {
            fprintf(out, ",\"peer_cid\":%u,\"peer_port\":%u", peer.vm.svm_cid, peer.vm.svm_port);
        }
    }
    if (family == AF_VSOCK) {
        fprintf(out, ",\"connect_timeout_us\":%" PRId64,
                timeout_us(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT));
    }
    fputc('}', out);
}

static void put_outcome(FILE *out, const struct options *o, const struct outcome *r) {
    if (WIFEXITED(r->status)) {
        fprintf(out, "{\"exit\":%d,\"signal\":null", WEXITSTATUS(r->status));
    } else {
        fprintf(out, "{\"exit\":null,\"signal\":%d", WTERMSIG(r->status));
    }
    fprintf(out, ",\"timed_out\":%s", r->timed_out ? "true" : "false");
    fprintf(out, ",\"bytes\":%" PRIu64, r->bytes);
    if (r->bytes > 0) fprintf(out, ",\"first_byte\":%d", r->first_byte);
    fprintf(out, ",\"fds\":%" PRIu64 ",\"truncated\":%s", r->fds, r->truncated ? "true" : "false");
    if (r->handoff_ns >= 0) fprintf(out, ",\"handoff_ns\":%" PRId64, r->handoff_ns);
    fprintf(out, ",\"exit_ns\":%" PRId64 ",\"maxrss_kb\":%ld", r->exit_ns, r->usage.ru_maxrss);
    fprintf(out, ",\"user_us\":%" PRId64 ",\"system_us\":%" PRId64, microseconds(r->usage.ru_utime),
            microseconds(r->usage.ru_stime));
    fputs(",\"socket\":", out);
    put_socket(out, r->passed);
    if (r->open_fds) fprintf(out, ",\"open_fds\":%s", r->open_fds);
    if (r->read_bytes && o->read_max > 0) {
        fputs(",\"read_hex\":", out);
        put_hex(out, r->read_bytes, r->read_len);
        fprintf(out, ",\"read_eof\":%s", r->read_eof ? "true" : "false");
    }
    fputs("}\n", out);
}

// ssh closes what it has inherited (closefrom); here fd 3 is still needed.
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
    struct options o = parse(argc, argv);
    struct outcome r = {.handoff_ns = -1, .first_byte = -1, .passed = -1};
    // COMMAND inherits both; before the clock starts, since it is no part of what is measured.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    FILE *result = o.result ? fopen(o.result, "we") : fdopen(3, "w");
    if (!result) fail("%s", o.result ? o.result : "fd 3");
    close_on_exec();

    struct stdio s = make_stdio(&o);
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) fail("pipe2");
    size_t filled = 0;
    if (o.hold_ms > 0) {
        if (strcmp(o.stdout_kind, "unix") != 0) usage("--hold needs --stdout unix");
        filled = fill(s.out);
    } else if (o.gone) {
        close_fd(&s.ours);
    }

    int64_t started = now_ns();
    deadline_ns = started + (int64_t)o.deadline_ms * 1000000;
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) be_command(&o, s, report[1]);
    int file = !strcmp(o.stdout_kind, "file") ? s.out : -1;
    if (s.in != s.out) close_fd(&s.in);
    if (file < 0) close_fd(&s.out);
    close(report[1]);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) fail("pidfd_open");

    if (o.hold_ms > 0) {
        struct pollfd wait = {.fd = pidfd, .events = POLLIN};
        if (poll_until(&wait, 1, started + (int64_t)o.hold_ms * 1000000) == 0)
            r.open_fds = list_fds(pid);
        if (o.gone) {
            close_fd(&s.ours);
        } else {
            drain(s.ours, filled);
        }
    }
    attend(pid, pidfd, &s, started, &r);

    int error;
    if (read(report[0], &error, sizeof error) == (ssize_t)sizeof error) {
        errno = error;
        fail("cannot start %s", o.command[0]);
    }
    if (file >= 0) {
        struct stat status;
        if (fstat(file, &status) != 0) fail("fstat");
        r.bytes = (uint64_t)status.st_size;
        uint8_t first;
        if (pread(file, &first, 1, 0) == 1) r.first_byte = first;
    }
    if (r.passed >= 0) converse(&o, &r);
    put_outcome(result, &o, &r);
    if (fclose(result) != 0) fail("writing the result");
    return 0;
}
