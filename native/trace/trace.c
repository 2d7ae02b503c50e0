// The debug build's trace: every import that the program calls, one line each, in the file that the
// environment variable SHIM_TRACE names. Without it there is no trace.
//
//     sock_open family=3 type=6 ret_fd=4240 -> 0 *ret_fd=3
//     NAME ARGUMENT=VALUE... -> ERRNO RESULT=VALUE...
//
// Numbers are decimal, bytes hexadecimal. After the arguments comes the memory that the call is given,
// after the errno the memory that a successful call has written: fields by their names in witx
// (`in[0].fd`), bytes (`iovs[0].bytes`), what a pointer leads to (`*ret_fd`).
//
// SHIM_HOLD names a FIFO from which each call reads a byte before it begins, so that a test can hold
// the program between two calls. Without it no call waits.
//
// Rules
// 1. The shim is that of the release build: the linker puts these functions in front of it (ld(1),
//    --wrap), and each calls the original. An import without a function here does not link.
// 2. Nothing that the program or its peer could notice is changed: no argument, no result, not
//    errno, and no descriptor is open while a call runs. A line is written after its call;
//    proc_exit's before, because nothing comes after it.
// 3. The memory is read by shim_range: a pointer may be anything. Memory outside is left out.
// 4. No function of the C library is called that native/standalone/nolibc.c does not have.

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../shim/internal.h"

// The linker's names.
// NOLINTBEGIN(bugprone-reserved-identifier)
#define REAL(name) __real_shim_##name
#define WRAP(name) __wrap_shim_##name
#define DECLARE(module, result, name, ...)      \
    __typeof__(shim_##name) __real_shim_##name; \
    __typeof__(shim_##name) __wrap_shim_##name;
SHIM_IMPORTS(DECLARE)
// NOLINTEND(bugprone-reserved-identifier)

// ---- lines

/** A line, and the shim that the call is made to. */
struct line {
    const struct shim *shim;
    /** The part that is not written yet: all of it, unless it is longer than `text`. */
    size_t length;
    char text[4096];
};

/** The value of a variable, whose name ends in `=`; NULL if it is not set. */
static const char *value_of(const struct shim *shim, const char *name) {
    const char *const *variable = shim->environment;
    const char *value = NULL;
    for (; variable != NULL && *variable != NULL && value == NULL; variable++)
        value = skip_prefix(*variable, name);
    return value;
}

static void write_out(struct line *line) {
    int error = errno;
    const char *file = value_of(line->shim, "SHIM_TRACE=");
    if (file != NULL) {
        int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0) {
            (void)!write(fd, line->text, line->length);
            close(fd);
        }
    }
    line->length = 0;
    errno = error;
}

static void put_char(struct line *line, char c) {
    if (line->length == sizeof line->text) write_out(line);
    line->text[line->length++] = c;
}

static void put_text(struct line *line, const char *text) {
    for (; *text != 0; text++)
        put_char(line, *text);
}

static void put_decimal(struct line *line, uint64_t number) {
    uint64_t scale = 1;
    while (number / scale > 9)
        scale *= 10;
    for (; scale > 0; scale /= 10)
        put_char(line, (char)('0' + number / scale % 10));
}

static void put_hex(struct line *line, const uint8_t *bytes, size_t size) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        put_char(line, digits[bytes[i] >> 4]);
        put_char(line, digits[bytes[i] & 15]);
    }
}

/** ` NAME=` */
static void put_name(struct line *line, const char *name) {
    put_char(line, ' ');
    put_text(line, name);
    put_char(line, '=');
}

/** ` LIST[I]FIELD=`; a field begins with a dot, or is empty. */
static void put_entry(struct line *line, const char *list, uint32_t i, const char *field) {
    put_char(line, ' ');
    put_text(line, list);
    put_char(line, '[');
    put_decimal(line, i);
    put_char(line, ']');
    put_text(line, field);
    put_char(line, '=');
}

static void put_field(struct line *line, const char *list, uint32_t i, const char *field,
                      uint64_t number) {
    put_entry(line, list, i, field);
    put_decimal(line, number);
}

/** Waits until the call may begin. */
static void hold(const struct shim *shim) {
    int error = errno;
    const char *file = value_of(shim, "SHIM_HOLD=");
    int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        char byte;
        struct iovec buffer = {.iov_base = &byte, .iov_len = 1};
        // At the end of the FIFO nothing holds the program any more.
        (void)!readv(fd, &buffer, 1);
        close(fd);
    }
    errno = error;
}

static void put_number(struct line *line, const char *name, uint64_t number) {
    put_name(line, name);
    put_decimal(line, number);
}

/** Begins a line with the arguments, whose names are in `names`: "(fd, iovs)". */
static void begin(struct line *line, const struct shim *shim, const char *import, const char *names,
                  const uint64_t *values) {
    hold(shim);
    line->shim = shim;
    line->length = 0;
    put_text(line, import);
    while (*names != ')') {
        put_char(line, ' ');
        for (names++; *names != ',' && *names != ')'; names++) {
            if (*names != ' ') put_char(line, *names);
        }
        put_char(line, '=');
        put_decimal(line, *values++);
    }
}

static void end(struct line *line) {
    put_char(line, '\n');
    write_out(line);
}

// ---- the memory

/** The integer of 1, 2, 4 or 8 bytes at a pointer. */
static void put_integer(struct line *line, const char *name, uint32_t at, unsigned size) {
    const uint8_t *bytes = shim_range(line->shim, at, size);
    if (bytes == NULL) return;
    uint64_t number = 0;
    for (unsigned i = size; i-- > 0;)
        number = number << 8 | bytes[i];
    put_number(line, name, number);
}

static void put_u32(struct line *line, const char *name, uint32_t at) {
    put_integer(line, name, at, 4);
}

static void put_bytes(struct line *line, const char *name, uint32_t at, uint32_t size) {
    const uint8_t *bytes = shim_range(line->shim, at, size);
    if (bytes == NULL) return;
    put_name(line, name);
    put_hex(line, bytes, size);
}

/** The entries of a list of buffers, and with `bytes` their contents. */
static void put_buffers(struct line *line, uint32_t iovs, uint32_t iovs_len, bool bytes) {
    struct iovec buffers[SHIM_LIST_MAX];
    if (iovec_load(line->shim, iovs, iovs_len, buffers) != SHIM_SUCCESS) return;
    for (uint32_t i = 0; i < iovs_len; i++) {
        const uint8_t *base = buffers[i].iov_base;
        put_field(line, "iovs", i, ".buf", (uint64_t)(base - line->shim->memory));
        put_field(line, "iovs", i, ".buf_len", buffers[i].iov_len);
        if (!bytes) continue;
        put_entry(line, "iovs", i, ".bytes");
        put_hex(line, base, buffers[i].iov_len);
    }
}

/** A list of pointers to texts, which end where the texts begin, and the texts. */
static void put_texts(struct line *line, const char *name, uint32_t list, uint32_t texts) {
    const struct shim *shim = line->shim;
    uint32_t count = texts >= list ? (texts - list) / 4 : 0;
    const uint8_t *pointers = shim_range(shim, list, (uint64_t)count * 4);
    for (uint32_t i = 0; pointers != NULL && i < count; i++) {
        uint32_t at = load_u32(pointers + (size_t)i * 4);
        const uint8_t *text = shim_range(shim, at, 0);
        if (text == NULL) continue;
        put_field(line, name, i, "", at);
        put_entry(line, name, i, ".bytes");
        put_hex(line, text, strnlen((const char *)text, shim->memory_size - at));
    }
}

static void put_fds(struct line *line, uint32_t fds, uint32_t fds_len) {
    const uint8_t *list = shim_range(line->shim, fds, (uint64_t)fds_len * 4);
    for (uint32_t i = 0; list != NULL && i < fds_len && i < SHIM_LIST_MAX; i++) {
        put_field(line, "fds", i, "", load_u32(list + (size_t)i * 4));
    }
}

static void put_filestat(struct line *line, uint32_t at) {
    put_integer(line, "dev", at + FILESTAT_DEV, 8);
    put_integer(line, "ino", at + FILESTAT_INO, 8);
    put_integer(line, "filetype", at + FILESTAT_FILETYPE, 1);
    put_integer(line, "nlink", at + FILESTAT_NLINK, 8);
    put_integer(line, "size", at + FILESTAT_SIZE_OF_FILE, 8);
    put_integer(line, "atim", at + FILESTAT_ATIM, 8);
    put_integer(line, "mtim", at + FILESTAT_MTIM, 8);
    put_integer(line, "ctim", at + FILESTAT_CTIM, 8);
}

static void put_address(struct line *line, uint32_t address, uint32_t capacity, uint32_t ret_len) {
    const uint8_t *length = shim_range(line->shim, ret_len, 4);
    put_u32(line, "*ret_len", ret_len);
    if (length == NULL) return;
    put_bytes(line, "*address", address, load_u32(length) < capacity ? load_u32(length) : capacity);
}

/** The fields of each subscription, by its type. */
static void put_subscriptions(struct line *line, uint32_t in, uint32_t count) {
    if (count > SHIM_LIST_MAX) return;
    const uint8_t *at = shim_range(line->shim, in, (uint64_t)count * SUBSCRIPTION_SIZE);
    for (uint32_t i = 0; at != NULL && i < count; i++, at += SUBSCRIPTION_SIZE) {
        const bool clock = at[SUBSCRIPTION_TYPE] == EVENTTYPE_CLOCK;
        put_field(line, "in", i, ".userdata", load_u64(at + SUBSCRIPTION_USERDATA));
        put_field(line, "in", i, ".type", at[SUBSCRIPTION_TYPE]);
        put_field(line, "in", i, clock ? ".id" : ".fd", load_u32(at + SUBSCRIPTION_FD));
        if (!clock) continue;
        put_field(line, "in", i, ".timeout", load_u64(at + SUBSCRIPTION_CLOCK_TIMEOUT));
        put_field(line, "in", i, ".precision", load_u64(at + SUBSCRIPTION_CLOCK_PRECISION));
        put_field(line, "in", i, ".flags", load_u16(at + SUBSCRIPTION_CLOCK_FLAGS));
    }
}

static void put_events(struct line *line, uint32_t out, uint32_t ret_events) {
    const uint8_t *count = shim_range(line->shim, ret_events, 4);
    if (count == NULL) return;
    put_u32(line, "*ret_events", ret_events);
    const uint8_t *at = shim_range(line->shim, out, (uint64_t)load_u32(count) * EVENT_SIZE);
    for (uint32_t i = 0; at != NULL && i < load_u32(count); i++, at += EVENT_SIZE) {
        put_field(line, "out", i, ".userdata", load_u64(at + EVENT_USERDATA));
        put_field(line, "out", i, ".error", load_u16(at + EVENT_ERROR));
        put_field(line, "out", i, ".type", at[EVENT_TYPE]);
        put_field(line, "out", i, ".nbytes", load_u64(at + EVENT_NBYTES));
        put_field(line, "out", i, ".flags", load_u16(at + EVENT_FLAGS));
    }
}

/** What sock_recv has put into the buffers. */
static void put_received(struct line *line, const struct iovec *buffers, uint32_t iovs_len,
                         uint32_t ret_len) {
    const uint8_t *length = shim_range(line->shim, ret_len, 4);
    size_t left = length != NULL ? load_u32(length) : 0;
    put_name(line, "received");
    for (uint32_t i = 0; i < iovs_len; i++) {
        size_t part = left < buffers[i].iov_len ? left : buffers[i].iov_len;
        put_hex(line, buffers[i].iov_base, part);
        left -= part;
    }
}

// ---- the imports

#define UNWRAP(...) __VA_ARGS__
#define TRACE_EXPANDED(name, parameters, arguments, before, after) \
    uint32_t WRAP(name)(struct shim * shim, UNWRAP parameters) {   \
        const uint64_t values[] = {UNWRAP arguments};              \
        struct line line;                                          \
        begin(&line, shim, #name, #arguments, values);             \
        before;                                                    \
        uint32_t error = REAL(name)(shim, UNWRAP arguments);       \
        put_text(&line, " -> ");                                   \
        put_decimal(&line, error);                                 \
        if (error == SHIM_SUCCESS) {                               \
            after;                                                 \
        }                                                          \
        end(&line);                                                \
        return error;                                              \
    }
/** TRACE(name, U32...(arguments), what to write before the call, what after its success) */
#define TRACE(...) TRACE_EXPANDED(__VA_ARGS__)
#define U32(a) (uint32_t a), (a)
#define U32_2(a, b) (uint32_t a, uint32_t b), (a, b)
#define U32_3(a, b, c) (uint32_t a, uint32_t b, uint32_t c), (a, b, c)
#define U32_4(a, b, c, d) (uint32_t a, uint32_t b, uint32_t c, uint32_t d), (a, b, c, d)
#define U32_5(a, b, c, d, e) \
    (uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e), (a, b, c, d, e)
#define U32_6(a, b, c, d, e, f) \
    (uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e, uint32_t f), (a, b, c, d, e, f)
#define RESULT(pointer) put_u32(&line, "*" #pointer, pointer)
#define BUFFERS() put_buffers(&line, iovs, iovs_len, true)

// clang-format off
TRACE(args_get, U32_2(argv, argv_buf), , put_texts(&line, "argv", argv, argv_buf))
TRACE(args_sizes_get, U32_2(ret_argc, ret_argv_buf_size), , RESULT(ret_argc); RESULT(ret_argv_buf_size))
TRACE(clock_time_get, (uint32_t clock, uint64_t precision, uint32_t ret_time), (clock, precision, ret_time),
      , put_integer(&line, "*ret_time", ret_time, 8))
TRACE(environ_get, U32_2(environ, environ_buf), , put_texts(&line, "environ", environ, environ_buf))
TRACE(environ_sizes_get, U32_2(ret_count, ret_buf_size), , RESULT(ret_count); RESULT(ret_buf_size))
TRACE(fd_close, U32(fd), , )
TRACE(fd_filestat_get, U32_2(fd, ret_stat), , put_filestat(&line, ret_stat))
TRACE(fd_write, U32_4(fd, iovs, iovs_len, ret_written), BUFFERS(), RESULT(ret_written))
TRACE(poll_oneoff, U32_4(in, out, subscriptions, ret_events),
      put_subscriptions(&line, in, subscriptions), put_events(&line, out, ret_events))
TRACE(sock_recv, U32_6(fd, iovs, iovs_len, flags, ret_len, ret_flags),
      put_buffers(&line, iovs, iovs_len, false);
      // Loaded before the call, which may overwrite the list.
      struct iovec buffers[SHIM_LIST_MAX];
      bool loaded = iovec_load(shim, iovs, iovs_len, buffers) == SHIM_SUCCESS,
      RESULT(ret_len);
      put_integer(&line, "*ret_flags", ret_flags, 2);
      if (loaded) put_received(&line, buffers, iovs_len, ret_len))
TRACE(sock_send, U32_5(fd, iovs, iovs_len, flags, ret_len), BUFFERS(), RESULT(ret_len))

TRACE(log_open, U32_3(path, path_len, ret_log), put_bytes(&line, "*path", path, path_len),
      put_u32(&line, "*ret_log.fd", ret_log + LOG_FD);
      put_u32(&line, "*ret_log.process", ret_log + LOG_PROCESS))
TRACE(sock_addr_local, U32_4(fd, address, capacity, ret_len), ,
      put_address(&line, address, capacity, ret_len))
TRACE(sock_connect, (uint32_t fd, uint32_t address, uint32_t address_len, uint64_t deadline),
      (fd, address, address_len, deadline), put_bytes(&line, "*address", address, address_len), )
TRACE(sock_open, U32_3(family, type, ret_fd), , RESULT(ret_fd))
TRACE(sock_relay,
      (uint32_t fd, uint32_t in, uint32_t out, uint32_t flags, uint64_t linger, uint32_t ret_end),
      (fd, in, out, flags, linger, ret_end), ,
      put_u32(&line, "*ret_end.fd", ret_end + RELAY_END_FD);
      put_u32(&line, "*ret_end.error", ret_end + RELAY_END_ERROR))
TRACE(sock_send_fds, U32_6(fd, iovs, iovs_len, fds, fds_len, ret_len),
      BUFFERS(); put_fds(&line, fds, fds_len), RESULT(ret_len))
// clang-format on

void WRAP(proc_exit)(struct shim *shim, uint32_t status) {
    const uint64_t values[] = {status};
    struct line line;
    begin(&line, shim, "proc_exit", "(status)", values);
    end(&line);
    REAL(proc_exit)(shim, status);
}
