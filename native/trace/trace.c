// The debug build's trace: every import that the program calls, one line each, in the file that the
// environment variable SHIM_TRACE names. No variable, no trace.
//
//     sock_open family=3 type=6 ret_fd=4240 -> 0 *ret_fd=3
//     NAME ARGUMENT=VALUE... -> ERRNO RESULT=VALUE...
//
// Numbers are decimal, bytes hexadecimal. Behind the arguments stands what they lead to as the call
// finds it, behind the errno what a call that succeeds has written: fields by their names in witx
// (`in[0].fd`), bytes (`iovs[0].bytes`), what a pointer leads to (`*ret_fd`).
//
// SHIM_HOLD names a FIFO from which each call takes a byte before it begins: so whoever puts the bytes
// there has the program stand still between two calls. No variable, no waiting.
//
// Rules
// 1. The shim is that of the release build: the linker puts these functions before it (ld(1),
//    --wrap), and each calls the one that it stands before. An import without a function here does
//    not link.
// 2. Nothing that the program or its peer could notice is changed: no argument, no result, not
//    errno, and no descriptor is open while a call runs. A line is written after its call;
//    proc_exit's before, because nothing comes after it.
// 3. The memory is read by shim_range: a pointer may be anything. What is outside leaves no trace.
// 4. No C library is needed but what the standalone host has of one (native/standalone/nolibc.c).

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../shim/internal.h"

// The linker's names.
// NOLINTBEGIN(bugprone-reserved-identifier)
#define REAL(name) __real_shim_##name
#define WRAP(name) __wrap_shim_##name
#define DECLARE(module, name)                   \
    __typeof__(shim_##name) __real_shim_##name; \
    __typeof__(shim_##name) __wrap_shim_##name;
SHIM_IMPORTS(DECLARE)
// NOLINTEND(bugprone-reserved-identifier)

// ---- lines

/** A line, and the shim that the call is made to. */
struct line {
    const struct shim *shim;
    /** What is not written yet: all of it, where there is room. */
    size_t length;
    char text[4096];
};

/** The value of a variable, by its name with the `=`; NULL where it is not set. */
static const char *value_of(const struct shim *shim, const char *name) {
    const char *const *variable = shim->environment;
    const char *value = NULL;
    for (; variable != NULL && *variable != NULL && value == NULL; variable++)
        value = shim_behind(*variable, name);
    return value;
}

static void write_out(struct line *line) {
    int error = errno;
    const char *file = value_of(line->shim, "SHIM_TRACE=");
    if (file != NULL) {
        int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (fd >= 0) {
            // Whoever reads it misses what is lost.
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

/** ` LIST[I]FIELD=`; a field begins with a dot, or there is none. */
static void put_entry(struct line *line, const char *list, uint32_t i, const char *field) {
    put_char(line, ' ');
    put_text(line, list);
    put_char(line, '[');
    put_decimal(line, i);
    put_char(line, ']');
    put_text(line, field);
    put_char(line, '=');
}

/** Waits until the call may begin. */
static void hold(const struct shim *shim) {
    int error = errno;
    const char *file = value_of(shim, "SHIM_HOLD=");
    int fd = file != NULL ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        char byte;
        struct iovec buffer = {.iov_base = &byte, .iov_len = 1};
        // Where nobody has the FIFO open any more, nobody holds the program.
        (void)!readv(fd, &buffer, 1);
        close(fd);
    }
    errno = error;
}

static void begin(struct line *line, const struct shim *shim, const char *import) {
    hold(shim);
    line->shim = shim;
    line->length = 0;
    put_text(line, import);
}

static void put_number(struct line *line, const char *name, uint64_t number) {
    put_name(line, name);
    put_decimal(line, number);
}

#define ARGUMENT(name) put_number(&line, #name, name)

static void put_errno(struct line *line, uint32_t error) {
    put_text(line, " -> ");
    put_decimal(line, error);
}

static void end(struct line *line) {
    put_char(line, '\n');
    write_out(line);
}

// ---- the memory

static void put_u16(struct line *line, const char *name, uint32_t at) {
    const uint8_t *bytes = shim_range(line->shim, at, 2);
    if (bytes != NULL) put_number(line, name, load_u16(bytes));
}

static void put_u32(struct line *line, const char *name, uint32_t at) {
    const uint8_t *bytes = shim_range(line->shim, at, 4);
    if (bytes != NULL) put_number(line, name, load_u32(bytes));
}

static void put_u64(struct line *line, const char *name, uint32_t at) {
    const uint8_t *bytes = shim_range(line->shim, at, 8);
    if (bytes != NULL) put_number(line, name, load_u64(bytes));
}

static void put_bytes(struct line *line, const char *name, uint32_t at, uint32_t size) {
    const uint8_t *bytes = shim_range(line->shim, at, size);
    if (bytes == NULL) return;
    put_name(line, name);
    put_hex(line, bytes, size);
}

/** The entries of a list of buffers, and with `bytes` what is in them. */
static void put_buffers(struct line *line, uint32_t iovs, uint32_t iovs_len, bool bytes) {
    struct iovec buffers[SHIM_LIST_MAX];
    if (shim_buffers(line->shim, iovs, iovs_len, buffers) != SHIM_SUCCESS) return;
    for (uint32_t i = 0; i < iovs_len; i++) {
        const uint8_t *base = buffers[i].iov_base;
        put_entry(line, "iovs", i, ".buf");
        put_decimal(line, (uint64_t)(base - line->shim->memory));
        put_entry(line, "iovs", i, ".buf_len");
        put_decimal(line, buffers[i].iov_len);
        if (!bytes) continue;
        put_entry(line, "iovs", i, ".bytes");
        put_hex(line, base, buffers[i].iov_len);
    }
}

// ---- wasi_snapshot_preview1

/** A list of pointers to texts, and the texts. */
static void put_texts(struct line *line, const char *name, uint32_t list, uint32_t count) {
    const struct shim *shim = line->shim;
    const uint8_t *pointers = shim_range(shim, list, (uint64_t)count * 4);
    for (uint32_t i = 0; pointers != NULL && i < count; i++) {
        uint32_t at = load_u32(pointers + (size_t)i * 4);
        const uint8_t *text = shim_range(shim, at, 0);
        if (text == NULL) continue;
        put_entry(line, name, i, "");
        put_decimal(line, at);
        put_entry(line, name, i, ".bytes");
        put_hex(line, text, strnlen((const char *)text, shim->memory_size - at));
    }
}

uint32_t WRAP(args_get)(struct shim *shim, uint32_t argv, uint32_t argv_buf) {
    struct line line;
    begin(&line, shim, "args_get");
    ARGUMENT(argv);
    ARGUMENT(argv_buf);
    uint32_t error = REAL(args_get)(shim, argv, argv_buf);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_texts(&line, "argv", argv, shim->argc);
    end(&line);
    return error;
}

uint32_t WRAP(args_sizes_get)(struct shim *shim, uint32_t ret_argc, uint32_t ret_argv_buf_size) {
    struct line line;
    begin(&line, shim, "args_sizes_get");
    ARGUMENT(ret_argc);
    ARGUMENT(ret_argv_buf_size);
    uint32_t error = REAL(args_sizes_get)(shim, ret_argc, ret_argv_buf_size);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) {
        put_u32(&line, "*ret_argc", ret_argc);
        put_u32(&line, "*ret_argv_buf_size", ret_argv_buf_size);
    }
    end(&line);
    return error;
}

uint32_t WRAP(clock_time_get)(struct shim *shim, uint32_t clock, uint64_t precision,
                              uint32_t ret_time) {
    struct line line;
    begin(&line, shim, "clock_time_get");
    ARGUMENT(clock);
    ARGUMENT(precision);
    ARGUMENT(ret_time);
    uint32_t error = REAL(clock_time_get)(shim, clock, precision, ret_time);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_u64(&line, "*ret_time", ret_time);
    end(&line);
    return error;
}

uint32_t WRAP(environ_get)(struct shim *shim, uint32_t environ, uint32_t environ_buf) {
    struct line line;
    begin(&line, shim, "environ_get");
    ARGUMENT(environ);
    ARGUMENT(environ_buf);
    uint32_t error = REAL(environ_get)(shim, environ, environ_buf);
    put_errno(&line, error);
    // The module puts the texts where the pointers end.
    uint32_t count = environ_buf >= environ ? (environ_buf - environ) / 4 : 0;
    if (error == SHIM_SUCCESS) put_texts(&line, "environ", environ, count);
    end(&line);
    return error;
}

uint32_t WRAP(environ_sizes_get)(struct shim *shim, uint32_t ret_count, uint32_t ret_buf_size) {
    struct line line;
    begin(&line, shim, "environ_sizes_get");
    ARGUMENT(ret_count);
    ARGUMENT(ret_buf_size);
    uint32_t error = REAL(environ_sizes_get)(shim, ret_count, ret_buf_size);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) {
        put_u32(&line, "*ret_count", ret_count);
        put_u32(&line, "*ret_buf_size", ret_buf_size);
    }
    end(&line);
    return error;
}

uint32_t WRAP(fd_close)(struct shim *shim, uint32_t fd) {
    struct line line;
    begin(&line, shim, "fd_close");
    ARGUMENT(fd);
    uint32_t error = REAL(fd_close)(shim, fd);
    put_errno(&line, error);
    end(&line);
    return error;
}

uint32_t WRAP(fd_fdstat_get)(struct shim *shim, uint32_t fd, uint32_t ret_stat) {
    struct line line;
    begin(&line, shim, "fd_fdstat_get");
    ARGUMENT(fd);
    ARGUMENT(ret_stat);
    uint32_t error = REAL(fd_fdstat_get)(shim, fd, ret_stat);
    put_errno(&line, error);
    const uint8_t *status = shim_range(shim, ret_stat, 24);
    if (error == SHIM_SUCCESS && status != NULL) {
        put_number(&line, "filetype", status[0]);
        put_number(&line, "flags", load_u16(status + 2));
        put_number(&line, "rights_base", load_u64(status + 8));
        put_number(&line, "rights_inheriting", load_u64(status + 16));
    }
    end(&line);
    return error;
}

uint32_t WRAP(fd_write)(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                        uint32_t ret_written) {
    struct line line;
    begin(&line, shim, "fd_write");
    ARGUMENT(fd);
    ARGUMENT(iovs);
    ARGUMENT(iovs_len);
    ARGUMENT(ret_written);
    put_buffers(&line, iovs, iovs_len, true);
    uint32_t error = REAL(fd_write)(shim, fd, iovs, iovs_len, ret_written);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_u32(&line, "*ret_written", ret_written);
    end(&line);
    return error;
}

/** The fields of each subscription by its type; poll.c's head has where they are. */
static void put_subscriptions(struct line *line, uint32_t in, uint32_t subscriptions) {
    if (subscriptions > SHIM_LIST_MAX) return;
    const uint8_t *at = shim_range(line->shim, in, (uint64_t)subscriptions * 48);
    for (uint32_t i = 0; at != NULL && i < subscriptions; i++, at += 48) {
        put_entry(line, "in", i, ".userdata");
        put_decimal(line, load_u64(at));
        put_entry(line, "in", i, ".type");
        put_decimal(line, at[8]);
        put_entry(line, "in", i, at[8] == 0 ? ".id" : ".fd");
        put_decimal(line, load_u32(at + 16));
        if (at[8] != 0) continue;
        put_entry(line, "in", i, ".timeout");
        put_decimal(line, load_u64(at + 24));
        put_entry(line, "in", i, ".precision");
        put_decimal(line, load_u64(at + 32));
        put_entry(line, "in", i, ".flags");
        put_decimal(line, load_u16(at + 40));
    }
}

static void put_events(struct line *line, uint32_t out, uint32_t count) {
    const uint8_t *at = shim_range(line->shim, out, (uint64_t)count * 32);
    for (uint32_t i = 0; at != NULL && i < count; i++, at += 32) {
        put_entry(line, "out", i, ".userdata");
        put_decimal(line, load_u64(at));
        put_entry(line, "out", i, ".error");
        put_decimal(line, load_u16(at + 8));
        put_entry(line, "out", i, ".type");
        put_decimal(line, at[10]);
        put_entry(line, "out", i, ".nbytes");
        put_decimal(line, load_u64(at + 16));
        put_entry(line, "out", i, ".flags");
        put_decimal(line, load_u16(at + 24));
    }
}

uint32_t WRAP(poll_oneoff)(struct shim *shim, uint32_t in, uint32_t out, uint32_t subscriptions,
                           uint32_t ret_events) {
    struct line line;
    begin(&line, shim, "poll_oneoff");
    ARGUMENT(in);
    ARGUMENT(out);
    ARGUMENT(subscriptions);
    ARGUMENT(ret_events);
    put_subscriptions(&line, in, subscriptions);
    uint32_t error = REAL(poll_oneoff)(shim, in, out, subscriptions, ret_events);
    put_errno(&line, error);
    const uint8_t *count = shim_range(shim, ret_events, 4);
    if (error == SHIM_SUCCESS && count != NULL) {
        put_u32(&line, "*ret_events", ret_events);
        put_events(&line, out, load_u32(count));
    }
    end(&line);
    return error;
}

void WRAP(proc_exit)(struct shim *shim, uint32_t status) {
    struct line line;
    begin(&line, shim, "proc_exit");
    ARGUMENT(status);
    end(&line);
    REAL(proc_exit)(shim, status);
}

uint32_t WRAP(sock_recv)(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                         uint32_t flags, uint32_t ret_len, uint32_t ret_flags) {
    struct line line;
    begin(&line, shim, "sock_recv");
    ARGUMENT(fd);
    ARGUMENT(iovs);
    ARGUMENT(iovs_len);
    ARGUMENT(flags);
    ARGUMENT(ret_len);
    ARGUMENT(ret_flags);
    put_buffers(&line, iovs, iovs_len, false);
    // Before the call, which may put something else where the list stands.
    struct iovec buffers[SHIM_LIST_MAX];
    bool listed = shim_buffers(shim, iovs, iovs_len, buffers) == SHIM_SUCCESS;
    uint32_t error = REAL(sock_recv)(shim, fd, iovs, iovs_len, flags, ret_len, ret_flags);
    put_errno(&line, error);
    const uint8_t *received = shim_range(shim, ret_len, 4);
    if (error == SHIM_SUCCESS && listed && received != NULL) {
        put_u32(&line, "*ret_len", ret_len);
        put_u16(&line, "*ret_flags", ret_flags);
        size_t left = load_u32(received);
        put_name(&line, "received");
        for (uint32_t i = 0; i < iovs_len; i++) {
            size_t part = left < buffers[i].iov_len ? left : buffers[i].iov_len;
            put_hex(&line, buffers[i].iov_base, part);
            left -= part;
        }
    }
    end(&line);
    return error;
}

uint32_t WRAP(sock_send)(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                         uint32_t flags, uint32_t ret_len) {
    struct line line;
    begin(&line, shim, "sock_send");
    ARGUMENT(fd);
    ARGUMENT(iovs);
    ARGUMENT(iovs_len);
    ARGUMENT(flags);
    ARGUMENT(ret_len);
    put_buffers(&line, iovs, iovs_len, true);
    uint32_t error = REAL(sock_send)(shim, fd, iovs, iovs_len, flags, ret_len);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_u32(&line, "*ret_len", ret_len);
    end(&line);
    return error;
}

// ---- socket_shim_v1

uint32_t WRAP(log_open)(struct shim *shim, uint32_t path, uint32_t path_len, uint32_t ret_log) {
    struct line line;
    begin(&line, shim, "log_open");
    ARGUMENT(path);
    ARGUMENT(path_len);
    ARGUMENT(ret_log);
    put_bytes(&line, "*path", path, path_len);
    uint32_t error = REAL(log_open)(shim, path, path_len, ret_log);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) {
        put_u32(&line, "*ret_log.fd", ret_log);
        put_u32(&line, "*ret_log.process", ret_log + 4);
    }
    end(&line);
    return error;
}

uint32_t WRAP(sock_addr_local)(struct shim *shim, uint32_t fd, uint32_t address, uint32_t capacity,
                               uint32_t ret_len) {
    struct line line;
    begin(&line, shim, "sock_addr_local");
    ARGUMENT(fd);
    ARGUMENT(address);
    ARGUMENT(capacity);
    ARGUMENT(ret_len);
    uint32_t error = REAL(sock_addr_local)(shim, fd, address, capacity, ret_len);
    put_errno(&line, error);
    const uint8_t *length = shim_range(shim, ret_len, 4);
    if (error == SHIM_SUCCESS && length != NULL) {
        uint32_t whole = load_u32(length);
        put_u32(&line, "*ret_len", ret_len);
        put_bytes(&line, "*address", address, whole < capacity ? whole : capacity);
    }
    end(&line);
    return error;
}

uint32_t WRAP(sock_connect)(struct shim *shim, uint32_t fd, uint32_t address, uint32_t address_len,
                            uint64_t deadline) {
    struct line line;
    begin(&line, shim, "sock_connect");
    ARGUMENT(fd);
    ARGUMENT(address);
    ARGUMENT(address_len);
    ARGUMENT(deadline);
    put_bytes(&line, "*address", address, address_len);
    uint32_t error = REAL(sock_connect)(shim, fd, address, address_len, deadline);
    put_errno(&line, error);
    end(&line);
    return error;
}

uint32_t WRAP(sock_open)(struct shim *shim, uint32_t family, uint32_t type, uint32_t ret_fd) {
    struct line line;
    begin(&line, shim, "sock_open");
    ARGUMENT(family);
    ARGUMENT(type);
    ARGUMENT(ret_fd);
    uint32_t error = REAL(sock_open)(shim, family, type, ret_fd);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_u32(&line, "*ret_fd", ret_fd);
    end(&line);
    return error;
}

uint32_t WRAP(sock_relay)(struct shim *shim, uint32_t fd, uint32_t in, uint32_t out, uint32_t flags,
                          uint32_t ret_end) {
    struct line line;
    begin(&line, shim, "sock_relay");
    ARGUMENT(fd);
    ARGUMENT(in);
    ARGUMENT(out);
    ARGUMENT(flags);
    ARGUMENT(ret_end);
    uint32_t error = REAL(sock_relay)(shim, fd, in, out, flags, ret_end);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) {
        put_u32(&line, "*ret_end.fd", ret_end);
        put_u32(&line, "*ret_end.error", ret_end + 4);
    }
    end(&line);
    return error;
}

uint32_t WRAP(sock_send_fds)(struct shim *shim, uint32_t fd, uint32_t iovs, uint32_t iovs_len,
                             uint32_t fds, uint32_t fds_len, uint32_t ret_len) {
    struct line line;
    begin(&line, shim, "sock_send_fds");
    ARGUMENT(fd);
    ARGUMENT(iovs);
    ARGUMENT(iovs_len);
    ARGUMENT(fds);
    ARGUMENT(fds_len);
    ARGUMENT(ret_len);
    put_buffers(&line, iovs, iovs_len, true);
    const uint8_t *list = shim_range(shim, fds, (uint64_t)fds_len * 4);
    for (uint32_t i = 0; list != NULL && i < fds_len && i < SHIM_LIST_MAX; i++) {
        put_entry(&line, "fds", i, "");
        put_decimal(&line, load_u32(list + (size_t)i * 4));
    }
    uint32_t error = REAL(sock_send_fds)(shim, fd, iovs, iovs_len, fds, fds_len, ret_len);
    put_errno(&line, error);
    if (error == SHIM_SUCCESS) put_u32(&line, "*ret_len", ret_len);
    end(&line);
    return error;
}
