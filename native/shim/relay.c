// sock_relay: bytes both ways between a connected socket and two descriptors, until both ways have
// ended.
//
// Rules
// 1. Bytes go by splice(2), so that none is copied into this process, where the kernel can do that
//    without ever waiting: from anything into the program's socket, which does not block, and from
//    that into a pipe. Where neither side is a pipe, a pipe of our own stands between. What is left
//    (towards a file, a terminal or somebody's socket, or where splice says EINVAL) goes through
//    a buffer of this process.
// 2. The descriptors are not ours: other processes may share them. So their O_NONBLOCK is left as it
//    is, and what they would block on is not done: a read or write comes after poll(2) has said that
//    it is possible, and a write of no more than PIPE_BUF then. (A terminal promises less: one that
//    is stopped by Ctrl-S may hold both ways up.)
// 3. Neither way waits for the other. A way that cannot go on waits for bytes, or for room.
// 4. A way's memory is a pipe and a buffer at most, whatever passes.

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "internal.h"

enum { RELAY_HALF_CLOSE = 1 };

/** What a pipe is asked to hold; with the usual 64 KiB the same bytes take twice the CPU time. */
#define PIPE_SIZE 262144
/** What is read at once where a buffer is needed. */
#define BUFFER_SIZE 65536U
/** How often a way goes on before the other is looked at. */
#define TURNS 16

/** Whoever leaves closes stdin's other end and stdout's one after the other, within this time. */
#define LEAVING UINT64_C(100000000)
/** What is still in stdin then has this time to be taken. */
#define LINGER UINT64_C(1000000000)
/** So often a peer that has ended its sending is asked whether it still receives. */
#define LOOK UINT64_C(1000000000)

struct end {
    int fd;
    mode_t type;
};

/** One way, from one end to the other. */
struct way {
    struct end from;
    struct end to;
    /** Between them, where neither is a pipe but bytes can be spliced: ours; else -1. */
    int pipe[2];
    /** Where they cannot: of BUFFER_SIZE bytes; else NULL. */
    uint8_t *buffer;
    /** How many bytes are in the pipe or the buffer, and where in the latter they begin. */
    size_t held;
    size_t start;
    /**
     * Whether what comes next is to put bytes into `to`, and not to take some out of `from`. Where
     * both are one call: whether it is `to` that poll(2) is asked about.
     */
    bool full;
    bool ended;
};

/** What a way has come to. */
enum progress { MOVED, WAITS, AT_END, FAILED };

static bool is_socket(const struct end *end) {
    return S_ISSOCK(end->type);
}

/** Whether the descriptor itself may wait, so that poll(2) has to allow each read or write of it. */
static bool may_wait(const struct end *end) {
    return !is_socket(end) && !S_ISREG(end->type);
}

/** Whether bytes go from one end right into the other, one of which is a pipe. */
static bool is_direct(const struct way *way) {
    return way->buffer == NULL && way->pipe[0] < 0;
}

static ssize_t splice_some(int from, int to, size_t most) {
    ssize_t count;
    do {
        count = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (count < 0 && errno == EINTR);
    return count;
}

static ssize_t read_some(const struct end *end, uint8_t *bytes, size_t size) {
    struct iovec buffer = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &buffer, .msg_iovlen = 1};
    ssize_t count;
    do {
        count =
            is_socket(end) ? recvmsg(end->fd, &message, MSG_DONTWAIT) : readv(end->fd, &buffer, 1);
    } while (count < 0 && errno == EINTR);
    return count;
}

static ssize_t write_some(const struct end *end, uint8_t *bytes, size_t size) {
    if (may_wait(end) && size > PIPE_BUF) size = PIPE_BUF;
    struct iovec buffer = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &buffer, .msg_iovlen = 1};
    ssize_t count;
    do {
        count = is_socket(end) ? sendmsg(end->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                               : writev(end->fd, &buffer, 1);
    } while (count < 0 && errno == EINTR);
    return count;
}

/** The way goes by a buffer from here on; false, with errno, where there is no memory for it. */
static bool use_buffer(struct way *way) {
    void *buffer =
        mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) return false;
    way->buffer = buffer;
    way->full = false;
    return true;
}

/** More room, unless the user's pipes have enough of it (/proc/sys/fs/pipe-user-pages-soft). */
static void enlarge(int pipe) {
    if (fcntl(pipe, F_GETPIPE_SZ) < PIPE_SIZE) (void)fcntl(pipe, F_SETPIPE_SZ, PIPE_SIZE);
}

static bool use_pipe(struct way *way) {
    if (pipe2(way->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        way->pipe[0] = way->pipe[1] = -1;
        return false;
    }
    for (int i = 0; i < 2; i++)
        way->pipe[i] = shim_above_stdio(way->pipe[i]);
    enlarge(way->pipe[0]);
    return way->pipe[0] >= 0 && way->pipe[1] >= 0;
}

/** Takes bytes out of `from`, or puts some into `to`: one system call. */
static enum progress step(struct way *way) {
    ssize_t count;
    if (is_direct(way)) {
        count = splice_some(way->from.fd, way->to.fd, PIPE_SIZE);
        if (count > 0) return MOVED;
    } else if (!way->full) {
        count = way->buffer != NULL ? read_some(&way->from, way->buffer, BUFFER_SIZE)
                                    : splice_some(way->from.fd, way->pipe[1], PIPE_SIZE);
        if (count > 0) {
            way->held = (size_t)count;
            way->start = 0;
            way->full = true;
            return MOVED;
        }
    } else {
        count = way->buffer != NULL ? write_some(&way->to, way->buffer + way->start, way->held)
                                    : splice_some(way->pipe[0], way->to.fd, way->held);
        if (count >= 0) {
            way->held -= (size_t)count;
            way->start += (size_t)count;
            way->full = way->held > 0;
            return MOVED;
        }
    }
    if (count == 0) return AT_END;
    if (errno == EAGAIN) {
        // Of both at once it does not say which it lacks. What poll(2) was asked for last is there.
        if (is_direct(way)) way->full = !way->full;
        return WAITS;
    }
    bool unfit = errno == EINVAL && way->buffer == NULL && way->held == 0;
    return unfit && use_buffer(way) ? MOVED : FAILED;
}

/** Whether the next step has to wait for poll(2), however the last one went. */
static bool needs_poll(const struct way *way) {
    if (is_direct(way)) return false;
    if (way->full) return way->buffer != NULL && may_wait(&way->to);
    // SPLICE_F_NONBLOCK means the pipe: a TCP socket waits all the same (tcp_splice_read).
    return may_wait(&way->from) || (way->buffer == NULL && is_socket(&way->from));
}

static enum progress run(struct way *way) {
    enum progress progress;
    int turns = 0;
    do {
        progress = step(way);
    } while (progress == MOVED && !needs_poll(way) && ++turns < TURNS);
    return progress;
}

/** Nothing more goes in this direction, which those at the other end are to see. */
static void shut(const struct end *end, int how) {
    if (is_socket(end)) {
        shutdown(end->fd, how);
    } else {
        close(end->fd);
    }
}

/** The relay as a whole: `up` to the socket, `down` from it. */
struct relay {
    struct way up;
    struct way down;
    bool half_close;
    /** When to give up, because nobody is there any more whom it could matter to. */
    uint64_t deadline;
    /** The descriptor that something went wrong with, and what; 0 where nothing did. */
    int culprit;
    int error;
};

static void blame(struct relay *relay, int fd, int error) {
    relay->culprit = fd;
    relay->error = error;
}

/** Both ways are over. */
static void stop(struct relay *relay) {
    relay->up.ended = relay->down.ended = true;
}

static bool is_ready(int fd, short events, uint64_t deadline) {
    struct pollfd entry = {.fd = fd, .events = events};
    return shim_poll(&entry, 1, deadline) > 0;
}

/**
 * Nobody reads what comes from the socket. Whoever did may be gone as a whole: that is no failure,
 * and what he sent before he went is still passed on.
 */
static void reader_left(struct relay *relay, int error) {
    relay->down.ended = true;
    if (relay->up.ended) return;
    const int in = relay->up.from.fd;
    if (is_ready(in, 0, shim_now() + LEAVING)) {
        relay->deadline = shim_now() + LINGER;
    } else {
        blame(relay, relay->down.to.fd, error);
        relay->up.ended = true;
    }
}

/** Nothing more comes from `in`. A peer that cannot be told so might wait for it for ever. */
static void end_up(struct relay *relay) {
    const int socket = relay->up.to.fd;
    relay->up.ended = true;
    if (relay->half_close && shutdown(socket, SHUT_WR) != 0 && errno != ENOTCONN) {
        blame(relay, socket, errno);
        stop(relay);
    }
}

/** Whether an errno of sending says that the peer is gone; otherwise it may be there, and wait. */
static bool means_gone(int error) {
    return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

static void run_up(struct relay *relay) {
    struct way *up = &relay->up;
    switch (run(up)) {
        case AT_END:
            end_up(relay);
            break;
        case FAILED:
            if (!is_direct(up) && !up->full) {
                // A client that has left with something unread (unix(7)): an end like any other.
                if (errno == ECONNRESET) return end_up(relay);
                blame(relay, up->from.fd, errno);
                return stop(relay);
            }
            blame(relay, up->to.fd, errno);
            if (!means_gone(errno)) return stop(relay);
            // What it has sent can still be had.
            up->ended = true;
            shut(&up->from, SHUT_RD);
            break;
        case MOVED:
        case WAITS:
            break;
    }
}

/** What has happened to the connection without a call of ours failing: an errno, or 0. */
static int pending_error(int socket) {
    int error = 0;
    socklen_t size = sizeof error;
    // Nothing can be told if even this fails.
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : 0;
}

/**
 * The peer is gone, and nothing can be sent to it any more. That is a failure if something is there
 * to be sent, which the attempt tells; or if it went without what it had got (unix), or without a
 * farewell (vsock), which the socket remembers. Where nobody is left here either, it is none.
 */
static void peer_left(struct relay *relay) {
    struct way *up = &relay->up;
    if (!up->ended && (up->held > 0 || is_ready(up->from.fd, POLLIN, 0))) run_up(relay);
    up->ended = true;
    const int error = pending_error(up->to.fd);
    if (error != 0 && relay->error == 0 && relay->deadline == SHIM_NEVER) {
        blame(relay, up->to.fd, error);
    }
}

/** Whether the socket is closed for sending: a message of no bytes is refused then, too. */
static bool cannot_send(int fd) {
    struct msghdr nothing = {0};
    return sendmsg(fd, &nothing, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static void run_down(struct relay *relay) {
    struct way *down = &relay->down;
    switch (run(down)) {
        case AT_END:
            down->ended = true;
            shut(&down->to, SHUT_WR);
            if (cannot_send(down->from.fd)) peer_left(relay);
            break;
        case FAILED: {
            const int error = errno;
            const bool writing = is_direct(down) ? error == EPIPE : down->full;
            if (writing && (error == EPIPE || error == ECONNRESET)) {
                return reader_left(relay, error);
            }
            blame(relay, writing ? down->to.fd : down->from.fd, error);
            stop(relay);
            break;
        }
        case MOVED:
        case WAITS:
            break;
    }
}

enum { IN, SOCKET, OUT, ENTRIES };

/**
 * What to wait for. A hang-up shows whether it is asked for or not, and for ever: so whatever does
 * not matter at the moment is left out.
 */
static void await(const struct relay *relay, struct pollfd entries[ENTRIES]) {
    const struct way *up = &relay->up;
    const struct way *down = &relay->down;
    for (int i = 0; i < ENTRIES; i++)
        entries[i] = (struct pollfd){.fd = -1};
    if (!up->ended && !up->full) {
        entries[IN] = (struct pollfd){.fd = up->from.fd, .events = POLLIN};
    }
    if (!up->ended && up->full) entries[SOCKET].events |= POLLOUT;
    if (!down->ended && !down->full) entries[SOCKET].events |= POLLIN;
    // Of a peer that has ended its sending, the hang-up tells that it does not receive either; where
    // there is one (carry).
    if (entries[SOCKET].events != 0 || down->ended) entries[SOCKET].fd = up->to.fd;
    if (!down->ended) {
        entries[OUT] = (struct pollfd){.fd = down->to.fd, .events = down->full ? POLLOUT : 0};
    }
}

/** Goes on until both ways have ended; what went wrong, if something did, is in `relay`. */
static void carry(struct relay *relay) {
    const struct way *up = &relay->up;
    const struct way *down = &relay->down;
    while (!up->ended || !down->ended) {
        struct pollfd entries[ENTRIES];
        await(relay, entries);
        // Behind the end of the peer's sending AF_VSOCK shows no hang-up (vsock_poll): it is asked.
        const uint64_t look = down->ended ? shim_now() + LOOK : SHIM_NEVER;
        const bool asks = look < relay->deadline;
        int ready = shim_poll(entries, ENTRIES, asks ? look : relay->deadline);
        if (ready == 0 && asks) {
            if (cannot_send(up->to.fd)) peer_left(relay);
            continue;
        }
        if (ready <= 0) {
            blame(relay, ready < 0 ? up->to.fd : down->to.fd, ready < 0 ? errno : EPIPE);
            return;
        }
        const short socket = entries[SOCKET].revents;
        const short out = entries[OUT].revents;
        const bool broken = socket & (POLLERR | POLLHUP);
        if (!down->ended && (down->full ? out != 0 : broken || socket & POLLIN))
            run_down(relay);
        else if (!down->ended && out != 0)
            reader_left(relay, EPIPE);
        if (!up->ended && (up->full ? broken || socket & POLLOUT : entries[IN].revents != 0)) {
            run_up(relay);
        } else if (down->ended && broken) {
            peer_left(relay);
        }
    }
}

static uint32_t prepare(struct way *way, int from, int to) {
    *way = (struct way){.from = {.fd = from}, .to = {.fd = to}, .pipe = {-1, -1}};
    struct stat status;
    if (fstat(from, &status) != 0) return shim_errno(errno);
    way->from.type = status.st_mode;
    if (fstat(to, &status) != 0) return shim_errno(errno);
    way->to.type = status.st_mode;
    return SHIM_SUCCESS;
}

/** What the bytes go through: the pipe that one end is, one of our own towards the socket, a buffer. */
static bool prepare_memory(struct way *way, bool towards_socket) {
    const bool from_pipe = S_ISFIFO(way->from.type);
    if (from_pipe || S_ISFIFO(way->to.type)) {
        enlarge(from_pipe ? way->from.fd : way->to.fd);
        return true;
    }
    return (towards_socket && use_pipe(way)) || use_buffer(way);
}

static void release(struct way *way) {
    for (int i = 0; i < 2; i++) {
        if (way->pipe[i] >= 0) close(way->pipe[i]);
    }
    if (way->buffer != NULL) munmap(way->buffer, BUFFER_SIZE);
}

uint32_t shim_sock_relay(struct shim *shim, uint32_t fd, uint32_t in, uint32_t out, uint32_t flags,
                         uint32_t ret_end) {
    uint8_t *result = shim_range(shim, ret_end, 8);
    if (result == NULL) return SHIM_FAULT;
    if (flags & ~(uint32_t)RELAY_HALF_CLOSE) return SHIM_NOTSUP;
    const int socket = shim_opened(shim, fd);
    const int from = shim_descriptor(shim, in);
    const int to = shim_descriptor(shim, out);
    if (socket < 0 || from < 0 || to < 0) return SHIM_BADF;

    struct relay relay = {.half_close = flags & RELAY_HALF_CLOSE, .deadline = SHIM_NEVER};
    uint32_t error = prepare(&relay.up, from, socket);
    if (error == SHIM_SUCCESS) error = prepare(&relay.down, socket, to);
    if (error != SHIM_SUCCESS) return error;
    if (!is_socket(&relay.up.to)) return SHIM_NOTSOCK;
    if (fcntl(socket, F_SETFL, O_NONBLOCK) != 0) return shim_errno(errno);
    if (prepare_memory(&relay.up, true) && prepare_memory(&relay.down, false)) {
        carry(&relay);
    } else {
        error = shim_errno(errno);
    }
    release(&relay.up);
    release(&relay.down);
    if (error != SHIM_SUCCESS) return error;

    const uint32_t numbers[] = {fd, in, out};
    const int hosts[] = {socket, from, to};
    store_u32(result, 0);
    for (int i = 0; i < 3; i++) {
        if (relay.error != 0 && relay.culprit == hosts[i]) store_u32(result, numbers[i]);
    }
    store_u32(result + 4, shim_errno(relay.error));
    return SHIM_SUCCESS;
}
