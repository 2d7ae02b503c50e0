// Fuzzes the whole command, proxy.wasm, over a simulated peer: the imports of native/shim/shim.h once
// more, without a system call. Command line, environment, the multiplexer's answer and every
// import's outcome come from the input. For each:
//
// 1. The Wasm does not trap, and passes no pointer, length or descriptor that docs/abi.md forbids.
// 2. It ends, by proc_exit, after a bounded number of calls, with a status of the table in
//    docs/addresses.md, and never with 70.
// 3. A failure is one clean line on stderr, the last one: UTF-8 without a control character. With
//    neither -v nor --wait it is the only one; a success then says nothing.
// 4. It ends with 0 exactly if the connection was handed over, by one byte and one descriptor, or
//    relayed; or if help or version were asked for. Nothing else ever goes to descriptor 1.
// 5. A socket is closed before the next one is opened, and before the end, unless it came to the
//    hand-over or the relay; none is used after it was closed, or after its connect failed.
// 6. A multiplexer is asked once, by `CONNECT <port>\n` in one write, and no byte behind the first
//    newline is taken from its socket; before the hand-over exactly an OK line was. The port, or the
//    port and CID, stand on the command line, or are the default.
// 7. Every wait has a deadline, and the whole takes no longer than --timeout, or --wait, says, and
//    a second for a stderr that takes nothing: in simulated time, less by how much the world was late.
// 8. The same input has the same trace twice: looked at for one trace in eight, because it takes time.
//
// An input (tests/fuzz/inputs.ts writes it, too):
//
//    0  u8    flags: bits of Flag below
//    1  u8    number of arguments in bits 0 to 3, of variables in bits 4 and 5; the rest of Extent below
//    2  u8    TIMEOUT and WAIT: indices of `spans`, as the two halves; the options come first then
//    3  u8    length of the answer
//    4  texts each argument and variable with a NUL behind it, the answer, and
//       u8[]  what becomes of each import, one byte after the other; 0 once they are used up. 0 is
//             peace, 128 and more the errno that is so much more than 128; below 128 it depends on
//             the import: see there

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/shim/shim.h"
#include "proxy.h"
#include "sandbox.h"

enum Flag {
    /** Behind the answer comes the end of the file, not silence. */
    END_OF_FILE = 1,
    TIMEOUT = 2,
    WAIT = 4,
    /** Descriptor 1 is no unix stream socket, but with NOT_UNIX another, and else a pipe. */
    NOT_FOR_PASSING = 8,
    NOT_UNIX = 16,
    TERMINAL = 32,
    SHORT_MEMORY = 64,
    /** The clocks begin at 0, not in their midst. */
    CLOCK_AT_ZERO = 128,
};

enum Extent {
    /** The host gives no argument, not even the program's name. */
    NO_ARGUMENT = 64,
    /** The last variable is repeated until it takes more memory than there is to begin with. */
    LARGE_VARIABLE = 128,
};

enum { HEADER = 4, SIZE_MAX_BYTES = 8192, TEXTS_MAX = 20, LARGE = 30000 };

enum Errno {
    SUCCESS = 0,
    AGAIN = 6,
    IO = 29,
    TIMEDOUT = 73,
    ERRNO_LAST = 76,
};

enum { FILE_UNKNOWN = 0, CHARACTER_DEVICE = 2, SOCKET_STREAM = 6 };
enum { AF_UNIX_OF_SHIM = 3, AF_VSOCK_OF_SHIM = 40 };
enum { CLOCK = 0, FD_READ = 1, FD_WRITE = 2, ABSOLUTE = 1, HANGUP = 1, PEEK = 1 };
enum { REALTIME = 0, MONOTONIC = 1 };
enum { FIRST_SOCKET = 3, DEFAULT_PORT = 22, PIPE_BUF_BYTES = 4096, LINE_MAX_BYTES = 14 };

#define MILLISECOND UINT64_C(1000000)
#define SECOND (1000 * MILLISECOND)
#define HOUR (3600 * SECOND)

/** What --timeout and --wait can be. The program's own default is 5 s. */
static const struct {
    const char *text;
    uint64_t span;
} spans[] = {
    {"5", 5 * SECOND},
    {"1ms", MILLISECOND},
    {"49ms", 49 * MILLISECOND},
    {"50ms", 50 * MILLISECOND},
    {"51ms", 51 * MILLISECOND},
    {"999ms", 999 * MILLISECOND},
    {"1s", SECOND},
    {"2", 2 * SECOND},
    {"3s", 3 * SECOND},
    {"10s", 10 * SECOND},
    {"11", 11 * SECOND},
    {"30s", 30 * SECOND},
    {"60", 60 * SECOND},
    {"2m", 120 * SECOND},
    {"60m", HOUR},
    {"1440m", 24 * HOUR},
};

/** Past so many calls the world oversleeps, so that a day of waiting ends soon. */
enum { CALLS_AWAKE = 400, CALLS_MAX = 4000 };

struct texts {
    const char *at[TEXTS_MAX];
    uint32_t count;
};

/** The socket that is open; there is never more than one. */
struct socket {
    bool open;
    uint32_t fd;
    uint16_t family;
    bool connected;
    bool dead;
    bool asked;
    /** The answer: how many bytes of it have arrived, and were taken. */
    uint32_t arrived;
    uint32_t taken;
};

static struct world {
    uint8_t flags;
    struct texts arguments;
    struct texts variables;
    const uint8_t *answer;
    uint32_t answer_length;
    const uint8_t *decisions;
    size_t decisions_left;

    uint64_t start;
    uint64_t clock;
    /** How much later than asked the world has let the program go on. */
    uint64_t late;
    /** UINT64_MAX where the command line may say something else than the world knows. */
    uint64_t limit;
    uint32_t calls;
    uint32_t log;
    struct socket socket;
    bool stderr_ready;
    bool stderr_failed;
    /** Whether the socket came to the hand-over or the relay, to the relay, and what succeeded. */
    bool leads_on;
    bool relays;
    bool handed_over;
    bool relayed;
    uint32_t status;
    uint64_t trace;
    size_t said_length;
} world;

/** What stderr has got, and a NUL. */
static char said[1 << 16];

static struct shim shim;
static w2c_proxy fresh;
static w2c_proxy instance;
static uint8_t fresh_memory[PAGE];
static jmp_buf end_of_run;

/** Takes note of a number: what two runs of one input have in common. */
static void note(uint64_t number) {
    // FNV-1a, a word at a time.
    world.trace = (world.trace ^ number) * 0x100000001b3U;
}

static void note_bytes(const uint8_t *bytes, size_t length) {
    note(length);
    for (size_t i = 0; i < length; i++)
        note(bytes[i]);
}

static uint8_t decide(void) {
    if (world.decisions_left == 0) return 0;
    world.decisions_left--;
    return *world.decisions++;
}

/** Begins an import: what becomes of it. */
static uint8_t call(const char *name) {
    world.calls++;
    REQUIRE(world.calls <= CALLS_MAX, "%u calls, the last to %s", world.calls, name);
    note_bytes((const uint8_t *)name, strlen(name));
    const uint8_t decision = decide();
    EXPLAIN("%6" PRIu64 " ms  %s [%u]", (world.clock - world.start) / MILLISECOND, name, decision);
    return decision;
}

/** Ends an import. */
static uint32_t answer_with(uint32_t error) {
    EXPLAIN(" -> %u\n", error);
    note(error);
    return error;
}

static bool fails(uint8_t decision) {
    return decision > 128;
}

static uint32_t errno_of(uint8_t decision) {
    return (decision - 129U) % ERRNO_LAST + 1;
}

static uint8_t *at(uint32_t pointer, uint32_t length) {
    REQUIRE((uint64_t)pointer + length <= instance.w2c_memory.size,
            "a pointer outside of the memory, %#x, and length %u", pointer, length);
    return memory + pointer;
}

static void put_u32(uint32_t pointer, uint32_t value) {
    memcpy(at(pointer, 4), &value, 4);
    note(value);
}

static uint32_t get_u32(uint32_t pointer) {
    uint32_t value;
    memcpy(&value, at(pointer, 4), 4);
    return value;
}

static uint64_t get_u64(uint32_t pointer) {
    uint64_t value;
    memcpy(&value, at(pointer, 8), 8);
    return value;
}

/** The one buffer of a list, which is all that the program ever passes. */
static uint8_t *only_buffer(uint32_t iovs, uint32_t count, uint32_t *length) {
    REQUIRE(count == 1, "a list of %u buffers", count);
    *length = get_u32(iovs + 4);
    return at(get_u32(iovs), *length);
}

static uint32_t lowest_free(void) {
    uint32_t fd = FIRST_SOCKET;
    while ((world.socket.open && world.socket.fd == fd) || world.log == fd)
        fd++;
    return fd;
}

static struct socket *usable(uint32_t fd, const char *call) {
    REQUIRE(world.socket.open && world.socket.fd == fd, "%s of descriptor %u, which is not open",
            call, fd);
    REQUIRE(!world.socket.dead, "%s of a socket that failed to connect", call);
    return &world.socket;
}

/** Time passes until `to`; it may have got later. */
static void sleep_until(uint64_t to) {
    if (to > world.clock) world.clock = to;
}

static void be_late(uint64_t by) {
    world.clock += by;
    world.late += by;
}

/** Whether a text names what is asked for, anywhere. */
static bool is_mentioned(const char *words) {
    for (uint32_t i = 0; i < world.arguments.count; i++)
        if (strstr(world.arguments.at[i], words) != NULL) return true;
    for (uint32_t i = 0; i < world.variables.count; i++)
        if (strstr(world.variables.at[i], words) != NULL) return true;
    return false;
}

/** Whether a number of the program's stands on the command line, to be found by whoever looks. */
static bool is_argument(uint32_t number) {
    char digits[11];
    const int length = snprintf(digits, sizeof digits, "%u", number);
    for (uint32_t i = 0; i < world.arguments.count; i++) {
        const char *argument = world.arguments.at[i];
        const size_t size = strlen(argument);
        if (size < (size_t)length || strcmp(argument + size - length, digits) != 0) continue;
        // A port is an argument; a CID the end of one.
        if (size == (size_t)length || strchr("/%", argument[size - length - 1]) != NULL)
            return true;
    }
    return false;
}

// The imports, in the order of shim.h.

static uint32_t put_sizes(const struct texts *texts, uint32_t ret_count, uint32_t ret_size) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < texts->count; i++)
        size += (uint32_t)strlen(texts->at[i]) + 1;
    put_u32(ret_count, texts->count);
    put_u32(ret_size, size);
    return answer_with(SUCCESS);
}

static uint32_t put_texts(const struct texts *texts, uint32_t pointers, uint32_t buffer) {
    for (uint32_t i = 0; i < texts->count; i++) {
        const uint32_t size = (uint32_t)strlen(texts->at[i]) + 1;
        put_u32(pointers + 4 * i, buffer);
        memcpy(at(buffer, size), texts->at[i], size);
        buffer += size;
    }
    return answer_with(SUCCESS);
}

uint32_t shim_args_get(struct shim *of, uint32_t argv, uint32_t argv_buf) {
    (void)of;
    const uint8_t decision = call("args_get");
    if (fails(decision)) return answer_with(errno_of(decision));
    return put_texts(&world.arguments, argv, argv_buf);
}

uint32_t shim_args_sizes_get(struct shim *of, uint32_t ret_argc, uint32_t ret_argv_buf_size) {
    (void)of;
    const uint8_t decision = call("args_sizes_get");
    if (fails(decision)) return answer_with(errno_of(decision));
    return put_sizes(&world.arguments, ret_argc, ret_argv_buf_size);
}

/** It cannot fail; below 128, so many milliseconds have passed. */
uint32_t shim_clock_time_get(struct shim *of, uint32_t clock, uint64_t precision,
                             uint32_t ret_time) {
    (void)of;
    (void)precision;
    const uint8_t decision = call("clock_time_get");
    REQUIRE(clock == MONOTONIC || clock == REALTIME, "clock %u", clock);
    if (!fails(decision)) be_late(decision * MILLISECOND);
    uint64_t time = world.clock;
    // From 1970 to 2554, where 64 bits end.
    if (clock == REALTIME) time += fails(decision) ? (uint64_t)decision << 56 : 1795421739 * SECOND;
    memcpy(at(ret_time, 8), &time, 8);
    note(time);
    return answer_with(SUCCESS);
}

uint32_t shim_environ_get(struct shim *of, uint32_t environ, uint32_t environ_buf) {
    (void)of;
    const uint8_t decision = call("environ_get");
    if (fails(decision)) return answer_with(errno_of(decision));
    return put_texts(&world.variables, environ, environ_buf);
}

uint32_t shim_environ_sizes_get(struct shim *of, uint32_t ret_count, uint32_t ret_buf_size) {
    (void)of;
    const uint8_t decision = call("environ_sizes_get");
    if (fails(decision)) return answer_with(errno_of(decision));
    return put_sizes(&world.variables, ret_count, ret_buf_size);
}

/** It may fail, and closes nevertheless. */
uint32_t shim_fd_close(struct shim *of, uint32_t fd) {
    (void)of;
    const uint8_t decision = call("fd_close");
    REQUIRE(world.socket.open && world.socket.fd == fd, "fd_close of descriptor %u", fd);
    REQUIRE(!world.leads_on, "fd_close of what was to be handed over");
    world.socket.open = false;
    return answer_with(fails(decision) ? errno_of(decision) : SUCCESS);
}

uint32_t shim_fd_fdstat_get(struct shim *of, uint32_t fd, uint32_t ret_stat) {
    (void)of;
    const uint8_t decision = call("fd_fdstat_get");
    REQUIRE(fd == 1 || fd == 2, "fd_fdstat_get of descriptor %u", fd);
    uint8_t *stat = at(ret_stat, 24);
    if (fails(decision)) return answer_with(errno_of(decision));
    memset(stat, 0, 24);
    if (fd == 2)
        stat[0] = world.flags & TERMINAL ? CHARACTER_DEVICE : FILE_UNKNOWN;
    else if (!(world.flags & NOT_FOR_PASSING) || world.flags & NOT_UNIX)
        stat[0] = SOCKET_STREAM;
    return answer_with(SUCCESS);
}

/** Whether bytes are UTF-8 without control characters; a newline is one. */
static bool is_clean(const char *bytes, size_t length) {
    for (size_t i = 0; i < length;) {
        const uint8_t first = (uint8_t)bytes[i];
        const size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
        if (first < 0x20 || first == 0x7f || (first >= 0x80 && first < 0xc2) || first > 0xf4)
            return false;
        if (i + size > length) return false;
        for (size_t k = 1; k < size; k++)
            if (((uint8_t)bytes[i + k] & 0xc0) != 0x80) return false;
        // C1 controls, and what is longer than need be, a surrogate or beyond Unicode.
        const uint8_t second = size > 1 ? (uint8_t)bytes[i + 1] : 0;
        if ((first == 0xc2 && second < 0xa0) || (first == 0xe0 && second < 0xa0) ||
            (first == 0xed && second >= 0xa0) || (first == 0xf0 && second < 0x90) ||
            (first == 0xf4 && second >= 0x90))
            return false;
        i += size;
    }
    return true;
}

/** Below 128 and not 0, so many bytes are taken. */
uint32_t shim_fd_write(struct shim *of, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                       uint32_t ret_written) {
    (void)of;
    const uint8_t decision = call("fd_write");
    uint32_t length = 0;
    const uint8_t *bytes = only_buffer(iovs, iovs_len, &length);
    (void)at(ret_written, 4);
    note_bytes(bytes, length);
    EXPLAIN(" %u ", fd);
    EXPLAIN_BYTES(bytes, length);
    if (fd != 2) {
        REQUIRE(world.log != 0 && fd == world.log, "fd_write to descriptor %u", fd);
        REQUIRE(
            length > 0 && bytes[length - 1] == '\n' && is_clean((const char *)bytes, length - 1),
            "the log gets what is no clean line");
        if (fails(decision)) return answer_with(errno_of(decision));
        put_u32(ret_written, decision != 0 && decision < length ? decision : length);
        return answer_with(SUCCESS);
    }
    REQUIRE(world.stderr_ready, "fd_write to a descriptor 2 that was not called ready");
    REQUIRE(length > 0 && length <= PIPE_BUF_BYTES, "fd_write of %u bytes at once", length);
    world.stderr_ready = false;
    if (fails(decision)) {
        if (errno_of(decision) != AGAIN) world.stderr_failed = true;
        return answer_with(errno_of(decision));
    }
    if (decision != 0 && decision < length) length = decision;
    if (world.said_length + length < sizeof said) {
        memcpy(said + world.said_length, bytes, length);
        world.said_length += length;
    } else {
        world.stderr_failed = true;
    }
    put_u32(ret_written, length);
    return answer_with(SUCCESS);
}

/** What more of the answer has arrived: all of it, or up to 3 bytes as the decision says. */
static void let_arrive(uint8_t decision) {
    struct socket *socket = &world.socket;
    const uint32_t left = world.answer_length - socket->arrived;
    const uint32_t some = decision >> 5 & 3;
    socket->arrived += some != 0 && some < left ? some : left;
}

static bool is_ready(uint32_t type, uint32_t fd, uint8_t decision) {
    if (type == FD_WRITE) {
        REQUIRE(fd == 1 || fd == 2 || (world.socket.open && world.socket.fd == fd),
                "a wait to write to descriptor %u", fd);
        return true;
    }
    if (fd == 1) return false;
    const struct socket *socket = usable(fd, "a wait to read");
    if (socket->arrived == socket->taken) let_arrive(decision);
    return socket->arrived > socket->taken || world.flags & END_OF_FILE;
}

/**
 * Below 128 its bits say: 1, the descriptor is called ready though it is not; 2, it is not though it
 * is; both, it ends without an event; 4, the world is 2 s late; 8, the clock's event comes as well; 16,
 * the descriptor's event says that the peer has hung up; 96, how many bytes have arrived.
 */
uint32_t shim_poll_oneoff(struct shim *of, uint32_t in, uint32_t out, uint32_t subscriptions,
                          uint32_t ret_events) {
    (void)of;
    const uint8_t decision = call("poll_oneoff");
    REQUIRE(subscriptions == 1 || subscriptions == 2, "poll_oneoff of %u", subscriptions);
    const uint8_t *clock = at(in, 48 * subscriptions) + 48 * (size_t)(subscriptions - 1);
    uint8_t *events = at(out, 32 * subscriptions);
    (void)at(ret_events, 4);
    uint64_t due;
    memcpy(&due, clock + 24, 8);
    REQUIRE(clock[8] == CLOCK && clock[16] == MONOTONIC && clock[40] == ABSOLUTE,
            "poll_oneoff without a time");
    note(due);
    EXPLAIN(" until %" PRIu64 " ms", (due - world.start) / MILLISECOND);
    REQUIRE(world.limit == UINT64_MAX || due <= world.start + world.limit + world.late + 2 * SECOND,
            "a wait for longer than the command line allows");
    bool ready = false;
    const uint8_t type = at(in, 48)[8];
    const uint32_t fd = get_u32(in + 16);
    const uint64_t user_data = get_u64(in);
    const uint64_t clock_data = get_u64(in + 48 * (subscriptions - 1));
    if (subscriptions == 2) {
        REQUIRE(type == FD_READ || type == FD_WRITE, "poll_oneoff of type %u", type);
        EXPLAIN(" or %s %u", type == FD_READ ? "read" : "write", fd);
        ready = is_ready(type, fd, fails(decision) ? 0 : decision);
    }
    const bool asks_stderr = type == FD_WRITE && fd == 2;
    if (fails(decision)) {
        // Where it cannot be asked, it is tried.
        world.stderr_ready = asks_stderr;
        // A time that has passed is an event.
        return answer_with(errno_of(decision) == TIMEDOUT ? IO : errno_of(decision));
    }
    if ((decision & 3) == 3) {
        world.stderr_ready = asks_stderr;
        put_u32(ret_events, 0);
        return answer_with(SUCCESS);
    }
    if (subscriptions == 2 && decision & 1) ready = true;
    if (decision & 2) ready = false;
    if (asks_stderr) world.stderr_ready = ready;
    if (asks_stderr && !ready) world.stderr_failed = true;
    const uint64_t before = world.clock;
    const uint64_t late = world.late;
    const uint64_t moment = before + 10 * MILLISECOND;
    sleep_until(ready && moment < due ? moment : due);
    if (decision & 4) be_late(2 * SECOND);
    if (world.calls > CALLS_AWAKE) be_late(HOUR);
    const bool passed = world.clock >= due || decision & 8;
    // Whoever is told that the time has come may rely on it.
    if (passed) sleep_until(due);
    // The second of rule 7 is for a stderr that takes nothing; one that is slow is the world's.
    if (asks_stderr && ready) world.late = late + world.clock - before;
    memset(events, 0, 32 * (size_t)subscriptions);
    uint32_t count = 0;
    if (ready) {
        memcpy(events, &user_data, 8);
        events[10] = type;
        if (decision & 16) events[24] = HANGUP;
        count++;
    }
    if (passed) {
        memcpy(events + 32 * (size_t)count, &clock_data, 8);
        events[32 * count + 10] = CLOCK;
        count++;
    }
    put_u32(ret_events, count);
    EXPLAIN("%s%s", ready ? " ready" : "", passed ? " time" : "");
    return answer_with(SUCCESS);
}

void shim_proc_exit(struct shim *of, uint32_t status) {
    (void)of;
    (void)call("proc_exit");
    EXPLAIN(" %u\n", status);
    note(status);
    world.status = status;
    longjmp(end_of_run, 1);
}

/** How many bytes of the answer an OK line has at its front; 0 where there is none. */
static uint32_t ok_line(void) {
    const uint8_t *answer = world.answer;
    if (world.answer_length < 5 || memcmp(answer, "OK ", 3) != 0) return 0;
    uint64_t number = 0;
    uint32_t i = 3;
    for (; i < world.answer_length && i < LINE_MAX_BYTES - 1U; i++) {
        if (answer[i] < '0' || answer[i] > '9') break;
        number = number * 10 + answer[i] - '0';
    }
    if (i == 3 || number > UINT32_MAX || i == world.answer_length || answer[i] != '\n') return 0;
    return i + 1;
}

/** Below 127 and not 0, so many bytes are given; 127, none, whatever a look has shown. */
uint32_t shim_sock_recv(struct shim *of, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len, uint32_t ret_flags) {
    (void)of;
    const uint8_t decision = call("sock_recv");
    struct socket *socket = usable(fd, "sock_recv");
    REQUIRE(socket->connected && socket->asked, "sock_recv before CONNECT");
    REQUIRE(flags == 0 || flags == PEEK, "sock_recv with flags %u", flags);
    uint32_t capacity = 0;
    uint8_t *buffer = only_buffer(iovs, iovs_len, &capacity);
    (void)at(ret_len, 4);
    memset(at(ret_flags, 2), 0, 2);
    REQUIRE(capacity > 0, "sock_recv of no byte");
    EXPLAIN(" %u %s of %u", fd, flags == PEEK ? "a look" : "", capacity);
    if (fails(decision)) return answer_with(errno_of(decision));
    uint32_t length = socket->arrived - socket->taken;
    if (length == 0 && (socket->arrived < world.answer_length || !(world.flags & END_OF_FILE)))
        return answer_with(AGAIN);
    if (length > capacity) length = capacity;
    if (decision != 0 && decision < length) length = decision;
    if (decision == 127) length = 0;
    memcpy(buffer, world.answer + socket->taken, length);
    if (flags != PEEK) {
        socket->taken += length;
        const uint8_t *newline = memchr(world.answer, '\n', world.answer_length);
        REQUIRE(newline == NULL || socket->taken <= newline - world.answer + 1,
                "%u bytes are taken, and the first newline is byte %u", socket->taken,
                (unsigned)(newline - world.answer + 1));
    }
    put_u32(ret_len, length);
    EXPLAIN(", %u come", length);
    return answer_with(SUCCESS);
}

/** Below 128 and not 0, so many bytes are taken. */
uint32_t shim_sock_send(struct shim *of, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t flags, uint32_t ret_len) {
    (void)of;
    const uint8_t decision = call("sock_send");
    struct socket *socket = usable(fd, "sock_send");
    uint32_t length = 0;
    const uint8_t *bytes = only_buffer(iovs, iovs_len, &length);
    (void)at(ret_len, 4);
    EXPLAIN(" ");
    EXPLAIN_BYTES(bytes, length);
    REQUIRE(flags == 0, "sock_send with flags %u", flags);
    REQUIRE(socket->connected && socket->family == AF_UNIX_OF_SHIM, "sock_send to no multiplexer");
    REQUIRE(!socket->asked, "a second sock_send");
    char text[24] = {0};
    char expected[24];
    memcpy(text, bytes, length < sizeof text ? length : sizeof text - 1);
    const uint32_t port = length > 8 ? (uint32_t)strtoul(text + 8, NULL, 10) : 0;
    (void)snprintf(expected, sizeof expected, "CONNECT %u\n", port);
    REQUIRE(length == strlen(expected) && memcmp(bytes, expected, length) == 0, "the request is %s",
            text);
    REQUIRE(port == DEFAULT_PORT || is_argument(port),
            "the request asks for port %u, which nobody has named", port);
    if (fails(decision)) return answer_with(errno_of(decision));
    if (decision != 0 && decision < length) length = decision;
    socket->asked = true;
    put_u32(ret_len, length);
    return answer_with(SUCCESS);
}

uint32_t shim_log_open(struct shim *of, uint32_t path, uint32_t path_len, uint32_t ret_log) {
    (void)of;
    const uint8_t decision = call("log_open");
    REQUIRE(path_len > 0 && path_len <= 4095 && memchr(at(path, path_len), 0, path_len) == NULL,
            "log_open of %u bytes", path_len);
    REQUIRE(world.log == 0, "a second log");
    (void)at(ret_log, 8);
    if (fails(decision)) return answer_with(errno_of(decision));
    const uint32_t fd = lowest_free();
    world.log = fd;
    put_u32(ret_log, fd);
    put_u32(ret_log + 4, 4711);
    return answer_with(SUCCESS);
}

uint32_t shim_sock_open(struct shim *of, uint32_t family, uint32_t type, uint32_t ret_fd) {
    (void)of;
    const uint8_t decision = call("sock_open");
    REQUIRE(family == AF_UNIX_OF_SHIM || family == AF_VSOCK_OF_SHIM, "sock_open of family %u",
            family);
    REQUIRE(type == SOCKET_STREAM, "sock_open of type %u", type);
    REQUIRE(!world.socket.open, "a second socket, and the first is open");
    (void)at(ret_fd, 4);
    if (fails(decision)) return answer_with(errno_of(decision));
    world.socket = (struct socket){.open = true, .fd = lowest_free(), .family = (uint16_t)family};
    put_u32(ret_fd, world.socket.fd);
    return answer_with(SUCCESS);
}

static void check_address(const uint8_t *address, uint32_t length) {
    const struct socket *socket = &world.socket;
    uint16_t family;
    memcpy(&family, address, 2);
    REQUIRE(family == socket->family, "an address of family %u for a socket of %u", family,
            socket->family);
    if (family == AF_UNIX_OF_SHIM) {
        REQUIRE(length > 2 && length <= 2 + 4095, "an address of %u bytes", length);
        const bool is_abstract = address[2] == 0;
        REQUIRE(memchr(address + 2 + is_abstract, 0, length - 2 - is_abstract) == NULL,
                "a NUL in a path or name");
        REQUIRE(!is_abstract || length <= 2 + 108, "an abstract name of %u bytes", length - 3);
        return;
    }
    uint32_t port;
    uint32_t cid;
    REQUIRE(length == 12, "an address of %u bytes", length);
    memcpy(&port, address + 4, 4);
    memcpy(&cid, address + 8, 4);
    REQUIRE(port == DEFAULT_PORT || is_argument(port),
            "the address has port %u, which nobody has named", port);
    REQUIRE(cid <= 2 || is_argument(cid), "the address has CID %u, which nobody has named", cid);
}

/** Below 128 and not 0, it waits in vain: to the deadline with an even number, then 2 s more. */
uint32_t shim_sock_connect(struct shim *of, uint32_t fd, uint32_t addr, uint32_t addr_len,
                           uint64_t deadline) {
    (void)of;
    const uint8_t decision = call("sock_connect");
    struct socket *socket = usable(fd, "sock_connect");
    REQUIRE(!socket->connected, "a second sock_connect");
    REQUIRE(addr_len >= 2, "an address of %u bytes", addr_len);
    check_address(at(addr, addr_len), addr_len);
    note_bytes(at(addr, addr_len), addr_len);
    note(deadline);
    EXPLAIN(" ");
    EXPLAIN_BYTES(at(addr, addr_len), addr_len);
    EXPLAIN(" until %" PRIu64 " ms", (deadline - world.start) / MILLISECOND);
    REQUIRE(deadline != 0 && deadline != UINT64_MAX, "sock_connect without a deadline");
    REQUIRE(
        world.limit == UINT64_MAX || deadline <= world.start + world.limit + world.late + SECOND,
        "sock_connect for longer than the command line allows");
    if (fails(decision)) {
        socket->dead = errno_of(decision) != TIMEDOUT;
        return answer_with(errno_of(decision));
    }
    if (decision != 0) {
        sleep_until(deadline);
        if (decision % 2 == 0) be_late(2 * SECOND);
        if (world.calls > CALLS_AWAKE) be_late(HOUR);
        return answer_with(TIMEDOUT);
    }
    socket->connected = true;
    return answer_with(SUCCESS);
}

uint32_t shim_sock_addr_local(struct shim *of, uint32_t fd, uint32_t addr, uint32_t addr_cap,
                              uint32_t ret_len) {
    (void)of;
    const uint8_t decision = call("sock_addr_local");
    REQUIRE(fd == 1 && addr_cap >= 2, "sock_addr_local of descriptor %u", fd);
    (void)at(ret_len, 4);
    if (fails(decision)) return answer_with(errno_of(decision));
    const uint16_t family = world.flags & NOT_FOR_PASSING ? AF_VSOCK_OF_SHIM : AF_UNIX_OF_SHIM;
    memcpy(at(addr, addr_cap), &family, 2);
    put_u32(ret_len, 2);
    return answer_with(SUCCESS);
}

/** The connection that is to be handed over or relayed. */
static void check_connection(uint32_t fd, const char *call) {
    const struct socket *socket = usable(fd, call);
    REQUIRE(socket->connected, "%s of a socket that is not connected", call);
    REQUIRE(!world.handed_over && !world.relays, "a second %s", call);
    world.leads_on = true;
    if (!socket->asked) return;
    REQUIRE(ok_line() != 0 && socket->taken == ok_line(),
            "%s with %u bytes of the answer taken, the OK line has %u", call, socket->taken,
            ok_line());
}

/** Below 128 and not 0: something went wrong with descriptor 0, 1 or the socket; errno comes next. */
uint32_t shim_sock_relay(struct shim *of, uint32_t fd, uint32_t in, uint32_t out, uint32_t flags,
                         uint32_t ret_end) {
    (void)of;
    const uint8_t decision = call("sock_relay");
    check_connection(fd, "sock_relay");
    REQUIRE(in == 0 && out == 1 && flags <= 1, "sock_relay from %u to %u with flags %u", in, out,
            flags);
    (void)at(ret_end, 8);
    note(flags);
    world.relays = true;
    if (fails(decision)) return answer_with(errno_of(decision));
    be_late(HOUR);
    const uint32_t culprits[] = {0, 1, fd};
    const uint32_t error = decision == 0 ? SUCCESS : decide() % (ERRNO_LAST + 1U);
    world.relayed = error == SUCCESS;
    put_u32(ret_end, error == SUCCESS ? 0 : culprits[decision % 3]);
    put_u32(ret_end + 4, error);
    return answer_with(SUCCESS);
}

uint32_t shim_sock_send_fds(struct shim *of, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                            uint32_t fds, uint32_t fds_len, uint32_t ret_len) {
    (void)of;
    const uint8_t decision = call("sock_send_fds");
    uint32_t length = 0;
    (void)only_buffer(iovs, iovs_len, &length);
    (void)at(ret_len, 4);
    REQUIRE(fd == 1 && length == 1 && fds_len == 1,
            "%u bytes and %u descriptors are handed over by descriptor %u", length, fds_len, fd);
    REQUIRE(!(world.flags & NOT_FOR_PASSING), "a hand-over by what is no unix stream socket");
    check_connection(get_u32(fds), "hand-over");
    if (fails(decision)) return answer_with(errno_of(decision));
    world.handed_over = true;
    put_u32(ret_len, 1);
    return answer_with(SUCCESS);
}

/** Takes what a terminal is told away from the front of a line. */
static void skip_sequences(const char **line, const char *end) {
    static const char *const sequences[] = {"\x1b[A\r\x1b[K", "\x1b[?7l"};
    for (size_t i = 0; i < 2; i++) {
        const size_t length = strlen(sequences[i]);
        if ((size_t)(end - *line) >= length && memcmp(*line, sequences[i], length) == 0)
            *line += length;
    }
}

static uint32_t check_lines(void) {
    static const char name[] = "ssh-vsock-proxy: ";
    static const char wrap_again[] = "\x1b[?7h";
    const char *at_line = said;
    const char *end = said + world.said_length;
    uint32_t lines = 0;
    while (at_line < end) {
        const char *newline = memchr(at_line, '\n', (size_t)(end - at_line));
        const char *stop = newline == NULL ? end : newline;
        const bool redraws = world.flags & TERMINAL;
        if (redraws) skip_sequences(&at_line, stop);
        size_t length = (size_t)(stop - at_line);
        // A line of progress may be taken away, and nothing follows.
        if (newline == NULL && length == 0) break;
        REQUIRE(newline != NULL, "stderr ends within a line");
        if (redraws && length > 5 && memcmp(stop - 5, wrap_again, 5) == 0) length -= 5;
        REQUIRE(is_clean(at_line, length), "a line on stderr that is not clean");
        REQUIRE(length > sizeof name && memcmp(at_line, name, sizeof name - 1) == 0,
                "a line on stderr that does not begin with the program's name");
        lines++;
        at_line = newline + 1;
    }
    return lines;
}

static void check_end(void) {
    static const uint32_t statuses[] = {0, 64, 68, 69, 71, 75, 76, 77};
    bool known = false;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        known = known || statuses[i] == world.status;
    REQUIRE(known, "exit status %u", world.status);
    REQUIRE(!world.socket.open || world.leads_on, "the end, and a socket is open");
    REQUIRE(!(world.handed_over || world.relayed) || world.status == 0,
            "a hand-over or relay, and exit status %u", world.status);
    said[world.said_length] = 0;
    const bool tells =
        strncmp(said, "Usage: ", 7) == 0 || strncmp(said, "ssh-vsock-proxy ", 16) == 0;
    const bool speaks = is_mentioned("-v") || is_mentioned("--w") || world.variables.count > 0 ||
                        world.flags & WAIT || is_mentioned("--verb");
    if (world.status == 0 && !world.handed_over && !world.relayed) {
        REQUIRE(tells || world.stderr_failed, "exit status 0, and nothing was done");
        REQUIRE(world.socket.fd == 0 && world.log == 0, "help, and something was done");
        return;
    }
    const uint64_t took = world.clock - world.start;
    REQUIRE(world.limit == UINT64_MAX || took <= world.limit + world.late + SECOND,
            "it took %" PRIu64 " ms, of which the world was late by %" PRIu64, took / MILLISECOND,
            world.late / MILLISECOND);
    if (world.stderr_failed) return;
    const uint32_t lines = check_lines();
    if (world.status != 0) REQUIRE(lines > 0, "exit status %u, and not a word", world.status);
    if (!speaks)
        REQUIRE(lines == (world.status == 0 ? 0 : 1), "exit status %u, and %u lines on stderr",
                world.status, lines);
}

static void run(const struct world *beginning) {
    world = *beginning;
    memcpy(memory, fresh_memory, PAGE);
    instance = fresh;
    wasm_rt_call_stack_depth = 0;
    if (setjmp(end_of_run) == 0) {
        w2c_proxy_0x5Fstart(&instance);
        finding("it returns without proc_exit");
    }
}

/** Reads a text that ends with a NUL, or with the input. */
static const char *read_text(const uint8_t **data, size_t *left, char **room) {
    const char *text = *room;
    while (*left > 0) {
        const uint8_t byte = *(*data)++;
        (*left)--;
        if (byte == 0) break;
        *(*room)++ = (char)byte;
    }
    *(*room)++ = 0;
    return text;
}

/** A text again and again, LARGE bytes of it. */
static const char *enlarge(const char *text) {
    static char large[LARGE + 1];
    const size_t length = strlen(text);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = text[i % length];
    return large;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    wasm2c_proxy_instantiate(&fresh, &shim, &shim AND_COUNTER);
    memcpy(fresh_memory, memory, PAGE);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char texts[SIZE_MAX_BYTES + 256];
    static char timeout[32];
    static char wait[32];
    static struct world beginning;
    if (size < HEADER || size > SIZE_MAX_BYTES) return 0;
    beginning = (struct world){.flags = data[0]};
    const uint32_t arguments = data[1] & 15;
    const uint32_t variables = data[1] >> 4 & 3;
    const uint8_t extent = data[1];
    const uint8_t spans_named = data[2];
    const size_t answer_length = data[3];
    const uint8_t *rest = data + HEADER;
    size_t left = size - HEADER;
    char *room = texts;
    struct texts *argv = &beginning.arguments;
    argv->at[argv->count++] = "ssh-vsock-proxy";
    uint64_t limit = 5 * SECOND;
    if (beginning.flags & TIMEOUT) {
        (void)snprintf(timeout, sizeof timeout, "--timeout=%s", spans[spans_named & 15].text);
        argv->at[argv->count++] = timeout;
        limit = spans[spans_named & 15].span;
    }
    if (beginning.flags & WAIT) {
        (void)snprintf(wait, sizeof wait, "--wait=%s", spans[spans_named >> 4].text);
        argv->at[argv->count++] = wait;
        limit = spans[spans_named >> 4].span;
    }
    for (uint32_t i = 0; i < arguments; i++) {
        const char *text = read_text(&rest, &left, &room);
        argv->at[argv->count++] = text;
        if (strstr(text, "--") != NULL) limit = UINT64_MAX;
    }
    for (uint32_t i = 0; i < variables; i++) {
        // A host gives no variable without a name.
        const char *text = read_text(&rest, &left, &room);
        if (strchr(text, '=') == NULL) continue;
        beginning.variables.at[beginning.variables.count++] = text;
        limit = UINT64_MAX;
    }
    if (extent & LARGE_VARIABLE && beginning.variables.count > 0)
        beginning.variables.at[beginning.variables.count - 1] =
            enlarge(beginning.variables.at[beginning.variables.count - 1]);
    if (extent & NO_ARGUMENT) argv->count = 0;
    beginning.limit = limit;
    beginning.answer = rest;
    beginning.answer_length = (uint32_t)(answer_length < left ? answer_length : left);
    beginning.decisions = rest + beginning.answer_length;
    beginning.decisions_left = left - beginning.answer_length;
    beginning.start = beginning.flags & CLOCK_AT_ZERO ? 0 : 1000 * HOUR;
    beginning.clock = beginning.start;
    memory_is_short = beginning.flags & SHORT_MEMORY;
    if (explaining) {
        print("command line:");
        for (uint32_t i = 0; i < argv->count; i++) {
            print(" ");
            print_bytes((const uint8_t *)argv->at[i], strlen(argv->at[i]));
        }
        print("\nanswer: ");
        print_bytes(beginning.answer, beginning.answer_length);
        print("\n");
    }

    run(&beginning);
    check_end();
    const uint64_t trace = world.trace;
    if (trace % 8 != 0) return 0;
    const bool explained = explaining;
    explaining = false;
    run(&beginning);
    explaining = explained;
    REQUIRE(world.trace == trace, "another trace the second time");
    return 0;
}
