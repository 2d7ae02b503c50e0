// sock_relay: copies bytes between a connected socket and two descriptors, up to the socket and down
// from it, until both directions have ended.
//
// Rules
// 1. Bytes go by splice(2), without a copy into this process, where the kernel never blocks: from
//    anything into the program's socket, which is non-blocking, and from that into a pipe. If neither
//    side is a pipe, a pipe of our own lies between. The rest (towards a file, a terminal or another
//    process's socket, or where splice fails with EINVAL) goes through a buffer of this process.
// 2. Other processes may share the descriptors, so their O_NONBLOCK stays as it is. Instead each read
//    or write follows a poll(2) that allows it, and writes PIPE_BUF bytes at most. (A terminal that
//    Ctrl-S has stopped may block both directions all the same.)
// 3. Neither direction waits for the other; each waits for bytes or for room.
// 4. The memory of a direction is bounded: a pipe and a buffer.
// 5. A splice(2) of a socket that returns 0 or EAGAIN is not believed: only a read tells its end, or
//    that it is empty. At TCP's urgent mark splice(2) returns that for ever (tcp_splice_read).

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

/** The size of a pipe in bytes, while many flow; the default of 64 KiB takes twice the CPU time. */
#define PIPE_SIZE 262144
/** A pipe is enlarged when this many bytes have moved in one step: half of what the default holds. */
#define FLOW_MIN 32768
/** The size of a buffer in bytes. */
#define BUFFER_SIZE 65536U
/** How many steps one direction takes before the other gets its turn. */
#define STEPS_MAX 16

/** A client that exits closes stdout and stdin one after the other, within this time. */
#define CLIENT_EXIT_GRACE (100 * SHIM_MILLISECOND)
/** How long the peer may then take to read what is left in stdin. */
#define DRAIN_TIMEOUT SHIM_SECOND
/** How often to check that a half-closed peer still receives. */
#define HALF_CLOSED_POLL SHIM_SECOND

struct endpoint {
    int fd;
    mode_t type;
    /** Whether the other direction uses the same descriptor, so that it must stay open. */
    bool shared;
    /** Whether /dev/null has taken its place. */
    bool closed;
};

struct direction {
    struct endpoint from;
    struct endpoint to;
    /** Our own pipe, if bytes are spliced and neither end is a pipe; else -1. */
    int pipe[2];
    /** The buffer of BUFFER_SIZE bytes, if bytes cannot be spliced; else NULL. */
    uint8_t *buffer;
    /** How many bytes the pipe or the buffer holds, and where in the buffer they begin. */
    size_t held;
    size_t start;
    /**
     * What the next step waits for: bytes in `from` or room in `to`. A splice right from one to the
     * other needs both, and poll(2) is asked about one at a time.
     */
    enum { WANT_READ, WANT_WRITE } next;
    bool ended;
    /** Whether the pipe that the bytes go through was enlarged, as far as that is possible. */
    bool enlarged;
    /** Whether bytes have moved since this was last false. */
    bool moved;
};

/** The result of a step. */
enum outcome { PROGRESS, BLOCKED, AT_END, FAILED };

static bool is_socket(const struct endpoint *endpoint) {
    return S_ISSOCK(endpoint->type);
}

/** Whether reads and writes may block, and so need a poll(2) before each. */
static bool may_block(const struct endpoint *endpoint) {
    return !is_socket(endpoint) && !S_ISREG(endpoint->type);
}

/** Whether bytes are spliced right from one end to the other, one of which is a pipe. */
static bool is_direct(const struct direction *direction) {
    return direction->buffer == NULL && direction->pipe[0] < 0;
}

static ssize_t splice_some(int from, int to, size_t most) {
    ssize_t count;
    do {
        count = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (count < 0 && errno == EINTR);
    return count;
}

static ssize_t read_some(const struct endpoint *endpoint, uint8_t *bytes, size_t size) {
    struct iovec buffer = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &buffer, .msg_iovlen = 1};
    ssize_t count;
    do {
        count = is_socket(endpoint) ? recvmsg(endpoint->fd, &message, MSG_DONTWAIT)
                                    : readv(endpoint->fd, &buffer, 1);
    } while (count < 0 && errno == EINTR);
    return count;
}

static ssize_t write_some(const struct endpoint *endpoint, uint8_t *bytes, size_t size) {
    if (may_block(endpoint) && size > PIPE_BUF) size = PIPE_BUF;
    struct iovec buffer = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &buffer, .msg_iovlen = 1};
    ssize_t count;
    do {
        count = is_socket(endpoint) ? sendmsg(endpoint->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                                    : writev(endpoint->fd, &buffer, 1);
    } while (count < 0 && errno == EINTR);
    return count;
}

/** Switches to a buffer. @return false, with errno, if there is no memory for it */
static bool use_buffer(struct direction *direction) {
    void *buffer =
        mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buffer == MAP_FAILED) return false;
    direction->buffer = buffer;
    direction->next = WANT_READ;
    return true;
}

/**
 * Enlarges the pipe that bytes are spliced through, the client's or our own. Not before many flow: the
 * pages of all of a user's pipes are limited (/proc/sys/fs/pipe-user-pages-soft). Above the limit new
 * pipes are smaller, and F_SETPIPE_SZ fails.
 */
static void enlarge(struct direction *direction) {
    direction->enlarged = true;
    int pipe = direction->pipe[0];
    if (is_direct(direction)) {
        pipe = S_ISFIFO(direction->from.type) ? direction->from.fd : direction->to.fd;
    }
    if (fcntl(pipe, F_GETPIPE_SZ) < PIPE_SIZE) (void)fcntl(pipe, F_SETPIPE_SZ, PIPE_SIZE);
}

static bool use_pipe(struct direction *direction) {
    if (pipe2(direction->pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        direction->pipe[0] = direction->pipe[1] = -1;
        return false;
    }
    for (int i = 0; i < 2; i++) {
        direction->pipe[i] = fd_move_above_stdio(direction->pipe[i]);
    }
    return direction->pipe[0] >= 0 && direction->pipe[1] >= 0;
}

/**
 * Reads from a socket of which splice(2) moved no bytes. A read goes past the urgent mark; what the
 * mark is on, it leaves out (tcp(7)). From then on a buffer is used.
 */
static ssize_t read_past_mark(struct direction *direction) {
    if (use_buffer(direction)) {
        return read_some(&direction->from, direction->buffer, BUFFER_SIZE);
    }
    // Not the EAGAIN of mmap(2), which would mean that no bytes are there.
    errno = ENOMEM;
    return -1;
}

/** Moves bytes out of `from`: into the buffer, our own pipe, or right into `to`. */
static ssize_t read_bytes(struct direction *direction) {
    if (direction->buffer != NULL) {
        return read_some(&direction->from, direction->buffer, BUFFER_SIZE);
    }
    const bool direct = is_direct(direction);
    const int to = direct ? direction->to.fd : direction->pipe[1];
    const ssize_t count = splice_some(direction->from.fd, to, PIPE_SIZE);
    if (count >= FLOW_MIN && !direction->enlarged) enlarge(direction);
    // A direct splice returns EAGAIN for a full pipe too. The program's own socket is no TCP socket.
    const bool empty = count == 0 || (count < 0 && errno == EAGAIN && !direct);
    return empty && is_socket(&direction->from) ? read_past_mark(direction) : count;
}

/**
 * One step, which is one system call, and a second one where the first is not believed: moves bytes
 * out of `from`, into `to`, or both.
 */
static enum outcome move_bytes(struct direction *direction) {
    ssize_t count;
    if (is_direct(direction) || direction->next == WANT_READ) {
        count = read_bytes(direction);
        if (count > 0) {
            if (is_direct(direction)) return PROGRESS;
            direction->held = (size_t)count;
            direction->start = 0;
            direction->next = WANT_WRITE;
            return PROGRESS;
        }
    } else {
        count =
            direction->buffer != NULL
                ? write_some(&direction->to, direction->buffer + direction->start, direction->held)
                : splice_some(direction->pipe[0], direction->to.fd, direction->held);
        if (count >= 0) {
            direction->held -= (size_t)count;
            direction->start += (size_t)count;
            direction->next = direction->held > 0 ? WANT_WRITE : WANT_READ;
            return PROGRESS;
        }
    }
    if (count == 0) return AT_END;
    if (errno == EAGAIN) {
        // splice(2) does not say which end is not ready. The one polled last was, so it is the other.
        if (is_direct(direction)) {
            direction->next = direction->next == WANT_READ ? WANT_WRITE : WANT_READ;
        }
        return BLOCKED;
    }
    bool unsupported = errno == EINVAL && direction->buffer == NULL && direction->held == 0;
    return unsupported && use_buffer(direction) ? PROGRESS : FAILED;
}

/** Whether the next step needs a poll(2) first, even after progress. */
static bool needs_poll(const struct direction *direction) {
    if (is_direct(direction)) return false;
    if (direction->next == WANT_WRITE) {
        return direction->buffer != NULL && may_block(&direction->to);
    }
    // SPLICE_F_NONBLOCK concerns the pipe only: a TCP socket blocks all the same.
    return may_block(&direction->from) ||
           (direction->buffer == NULL && is_socket(&direction->from));
}

static enum outcome run_direction(struct direction *direction) {
    enum outcome outcome;
    int steps = 0;
    do {
        outcome = move_bytes(direction);
        direction->moved |= outcome == PROGRESS;
    } while (outcome == PROGRESS && !needs_poll(direction) && ++steps < STEPS_MAX);
    return outcome;
}

struct relay {
    /** To the socket. */
    struct direction up;
    /** From the socket. */
    struct direction down;
    bool half_close;
    /** When to give up draining stdin after the client has exited; SHIM_NEVER before. */
    uint64_t deadline;
    /** How long to wait for the peer's next byte after the end of `in`; SHIM_NEVER for ever. */
    uint64_t linger;
    /** When that wait ends; SHIM_NEVER while there is none. */
    uint64_t linger_end;
    /** The descriptor that failed, and its errno; 0 if none did. */
    int error_fd;
    int error;
};

/**
 * Ends one direction of an endpoint, so that the other side notices. Until the relay returns, nothing
 * else of the process may get the number.
 */
static void close_half(const struct relay *relay, struct endpoint *endpoint, int how) {
    if (is_socket(endpoint)) {
        shutdown(endpoint->fd, how);
    } else if (!endpoint->shared) {
        endpoint->closed = fd_replace(endpoint->fd, relay->up.to.fd);
    }
}

static void set_error(struct relay *relay, int fd, int error) {
    relay->error_fd = fd;
    relay->error = error;
}

/** Ends both directions. */
static void stop(struct relay *relay) {
    relay->up.ended = relay->down.ended = true;
}

static bool is_ready(int fd, short events, uint64_t deadline) {
    struct pollfd entry = {.fd = fd, .events = events};
    return shim_poll(&entry, 1, deadline) > 0;
}

/**
 * The client has closed `out`. If it closes `in` too, it has exited, which is no failure, and what it
 * sent before is still relayed.
 */
static void client_closed_output(struct relay *relay, int error) {
    relay->down.ended = true;
    if (relay->up.ended) return;
    const int in = relay->up.from.fd;
    if (is_ready(in, 0, shim_now() + CLIENT_EXIT_GRACE)) {
        relay->deadline = shim_now() + DRAIN_TIMEOUT;
    } else {
        set_error(relay, relay->down.to.fd, error);
        relay->up.ended = true;
    }
}

/** `in` is at its end. A failure to tell the peer is an error: the peer might wait for ever. */
static void end_up(struct relay *relay) {
    const int socket = relay->up.to.fd;
    relay->up.ended = true;
    if (relay->half_close && shutdown(socket, SHUT_WR) != 0 && errno != ENOTCONN) {
        set_error(relay, socket, errno);
        stop(relay);
    }
}

/** Whether an errno of sending means that the peer has closed its socket. */
static bool is_disconnect(int error) {
    return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

static void run_up(struct relay *relay) {
    struct direction *up = &relay->up;
    switch (run_direction(up)) {
        case AT_END:
            end_up(relay);
            break;
        case FAILED:
            if (!is_direct(up) && up->next == WANT_READ) {
                // The client exited with bytes unread (unix(7)): the same as the end of its input.
                if (errno == ECONNRESET) return end_up(relay);
                set_error(relay, up->from.fd, errno);
                return stop(relay);
            }
            set_error(relay, up->to.fd, errno);
            if (!is_disconnect(errno)) return stop(relay);
            // What the peer has sent before can still be read.
            up->ended = true;
            close_half(relay, &up->from, SHUT_RD);
            break;
        case PROGRESS:
        case BLOCKED:
            break;
    }
}

/** The socket's pending error, which no call has returned yet (SO_ERROR); 0 if there is none. */
static int pending_error(int socket) {
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : 0;
}

/**
 * The peer has closed its socket. That is a failure if there are bytes to send, which the attempt to
 * send them shows; or if it closed with unread data (unix) or was killed (vsock): both leave SO_ERROR.
 * It is none if the client has exited too.
 */
static void peer_closed(struct relay *relay) {
    struct direction *up = &relay->up;
    if (!up->ended && (up->held > 0 || is_ready(up->from.fd, POLLIN, 0))) run_up(relay);
    up->ended = true;
    const int error = pending_error(up->to.fd);
    if (error != 0 && relay->error == 0 && relay->deadline == SHIM_NEVER) {
        set_error(relay, up->to.fd, error);
    }
}

/** Whether the socket is closed for sending: then even an empty message fails. */
static bool cannot_send(int fd) {
    struct msghdr nothing = {0};
    return sendmsg(fd, &nothing, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static void run_down(struct relay *relay) {
    struct direction *down = &relay->down;
    switch (run_direction(down)) {
        case AT_END:
            down->ended = true;
            close_half(relay, &down->to, SHUT_WR);
            if (cannot_send(down->from.fd)) peer_closed(relay);
            break;
        case FAILED: {
            const int error = errno;
            const bool writing = is_direct(down) ? error == EPIPE : down->next == WANT_WRITE;
            if (writing && (error == EPIPE || error == ECONNRESET)) {
                return client_closed_output(relay, error);
            }
            set_error(relay, writing ? down->to.fd : down->from.fd, error);
            stop(relay);
            break;
        }
        case PROGRESS:
        case BLOCKED:
            break;
    }
}

enum { IN, SOCKET, OUT, ENTRIES };

/**
 * Fills in what to poll for. poll(2) reports a hang-up whether it is asked for or not, and again each
 * time, so a descriptor that does not matter now is left out.
 */
static void prepare_poll(const struct relay *relay, struct pollfd entries[ENTRIES]) {
    const struct direction *up = &relay->up;
    const struct direction *down = &relay->down;
    for (int i = 0; i < ENTRIES; i++) {
        entries[i] = (struct pollfd){.fd = -1};
    }
    if (!up->ended && up->next == WANT_READ) {
        entries[IN] = (struct pollfd){.fd = up->from.fd, .events = POLLIN};
    }
    if (!up->ended && up->next == WANT_WRITE) entries[SOCKET].events |= POLLOUT;
    if (!down->ended && down->next == WANT_READ) entries[SOCKET].events |= POLLIN;
    // After the peer has ended its sending, a hang-up means that it does not receive either.
    if (entries[SOCKET].events != 0 || down->ended) entries[SOCKET].fd = up->to.fd;
    if (!down->ended) {
        entries[OUT] =
            (struct pollfd){.fd = down->to.fd, .events = down->next == WANT_WRITE ? POLLOUT : 0};
    }
}

/** Begins to wait for the peer's next byte, or begins anew. */
static void start_linger(struct relay *relay) {
    const uint64_t now = shim_now();
    relay->linger_end = relay->linger < SHIM_NEVER - now ? now + relay->linger : SHIM_NEVER;
}

/**
 * The peer was silent for as long as it may be; unless its bytes still wait for a slow reader, this
 * is taken for its end.
 */
static void end_linger(struct relay *relay) {
    struct direction *down = &relay->down;
    relay->linger_end = SHIM_NEVER;
    if (down->held > 0 || is_ready(down->from.fd, POLLIN, 0)) return;
    down->ended = true;
    close_half(relay, &down->to, SHUT_WR);
}

/** Relays until both directions have ended; an error is left in `relay`. */
static void relay_loop(struct relay *relay) {
    const struct direction *up = &relay->up;
    struct direction *down = &relay->down;
    while (!up->ended || !down->ended) {
        struct pollfd entries[ENTRIES];
        prepare_poll(relay, entries);
        // AF_VSOCK reports no hang-up of a half-closed peer (vsock_poll), so it is checked for.
        const uint64_t check = down->ended ? shim_now() + HALF_CLOSED_POLL : SHIM_NEVER;
        const bool checks = check < relay->deadline;
        uint64_t end = down->ended ? relay->deadline : relay->linger_end;
        if (checks) end = check;
        int ready = shim_poll(entries, ENTRIES, end);
        if (ready == 0 && !down->ended) {
            end_linger(relay);
            continue;
        }
        if (ready == 0 && checks) {
            if (cannot_send(up->to.fd)) peer_closed(relay);
            continue;
        }
        if (ready <= 0) {
            set_error(relay, ready < 0 ? up->to.fd : down->to.fd, ready < 0 ? errno : EPIPE);
            return;
        }
        const short socket = entries[SOCKET].revents;
        const short out = entries[OUT].revents;
        const bool broken = socket & (POLLERR | POLLHUP);
        const bool lingered = up->ended;
        down->moved = false;
        if (!down->ended) {
            if (down->next == WANT_WRITE ? out != 0 : broken || socket & POLLIN) {
                run_down(relay);
            } else if (out != 0) {
                client_closed_output(relay, EPIPE);
            }
        }
        if (!up->ended &&
            (up->next == WANT_WRITE ? broken || socket & POLLOUT : entries[IN].revents != 0)) {
            run_up(relay);
        } else if (down->ended && broken) {
            peer_closed(relay);
        }
        if (relay->linger != SHIM_NEVER && up->ended && (down->moved || !lingered)) {
            start_linger(relay);
        }
    }
}

static uint32_t prepare(struct direction *direction, int from, int to) {
    *direction = (struct direction){.from = {.fd = from}, .to = {.fd = to}, .pipe = {-1, -1}};
    struct stat status;
    if (fstat(from, &status) != 0) return shim_errno(errno);
    direction->from.type = status.st_mode;
    if (fstat(to, &status) != 0) return shim_errno(errno);
    direction->to.type = status.st_mode;
    return SHIM_SUCCESS;
}

/**
 * The errno for a descriptor that was not opened for this access, O_RDONLY or O_WRONLY; else 0. Of
 * such a one poll(2) may wait for ever, and splice(2) does not say which of its two it means.
 */
static int access_error(int fd, int access) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return errno;
    const int mode = flags & O_ACCMODE;
    return !(flags & O_PATH) && (mode == access || mode == O_RDWR) ? 0 : EBADF;
}

/** Chooses what the bytes go through: the pipe that one end is, a pipe of our own, or a buffer. */
static bool prepare_memory(struct direction *direction, bool towards_socket) {
    if (S_ISFIFO(direction->from.type) || S_ISFIFO(direction->to.type)) return true;
    return (towards_socket && use_pipe(direction)) || use_buffer(direction);
}

static void release(struct direction *direction) {
    for (int i = 0; i < 2; i++) {
        if (direction->pipe[i] >= 0) close(direction->pipe[i]);
    }
    if (direction->buffer != NULL) munmap(direction->buffer, BUFFER_SIZE);
}

/** Writes the descriptor that failed and its errno. */
static uint32_t put_end(uint8_t *result, uint32_t fd, int error) {
    store_u32(result + RELAY_END_FD, fd);
    store_u32(result + RELAY_END_ERROR, shim_errno(error));
    return SHIM_SUCCESS;
}

uint32_t shim_sock_relay(struct shim *shim, uint32_t fd, uint32_t in, uint32_t out, uint32_t flags,
                         uint64_t linger, uint32_t ret_end) {
    uint8_t *result = shim_range(shim, ret_end, RELAY_END_SIZE);
    if (result == NULL) return SHIM_FAULT;
    if (flags & ~(uint32_t)RELAY_HALF_CLOSE) return SHIM_NOTSUP;
    const int socket = fd_table_get_opened(shim, fd);
    const int from = fd_table_get(shim, in);
    const int to = fd_table_get(shim, out);
    if (socket < 0 || from < 0 || to < 0) return SHIM_BADF;
    const int in_error = access_error(from, O_RDONLY);
    if (in_error != 0) return put_end(result, in, in_error);
    const int out_error = access_error(to, O_WRONLY);
    if (out_error != 0) return put_end(result, out, out_error);

    struct relay relay = {
        .half_close = flags & RELAY_HALF_CLOSE,
        .deadline = SHIM_NEVER,
        .linger = linger,
        .linger_end = SHIM_NEVER,
    };
    uint32_t error = prepare(&relay.up, from, socket);
    if (error == SHIM_SUCCESS) error = prepare(&relay.down, socket, to);
    if (error != SHIM_SUCCESS) return error;
    if (!is_socket(&relay.up.to)) return SHIM_NOTSOCK;
    relay.up.from.shared = relay.down.to.shared = from == to;
    if (fcntl(socket, F_SETFL, O_NONBLOCK) != 0) return shim_errno(errno);
    if (prepare_memory(&relay.up, true) && prepare_memory(&relay.down, false)) {
        relay_loop(&relay);
    } else {
        error = shim_errno(errno);
    }
    release(&relay.up);
    release(&relay.down);
    // Only what the program has opened is closed; 0 to 2 stay, as /dev/null.
    if (relay.up.from.closed) fd_table_close(shim, in);
    if (relay.down.to.closed) fd_table_close(shim, out);
    if (error != SHIM_SUCCESS) return error;

    const uint32_t fds[] = {fd, in, out};
    const int host_fds[] = {socket, from, to};
    uint32_t failed = 0;
    for (int i = 0; i < 3; i++) {
        if (relay.error != 0 && relay.error_fd == host_fds[i]) failed = fds[i];
    }
    return put_end(result, failed, relay.error);
}
