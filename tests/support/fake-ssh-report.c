// The line of JSON that fake-ssh prints.

#define _GNU_SOURCE
#include "fake-ssh-report.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void put_hex(FILE *out, const void *bytes, size_t len) {
    fputc('"', out);
    for (size_t i = 0; i < len; i++)
        fprintf(out, "%02x", ((const uint8_t *)bytes)[i]);
    fputc('"', out);
}

void put_message(struct outcome *r, const struct message *message) {
    if (!r->messages) {
        r->messages = open_memstream(&r->messages_text, &r->messages_size);
        if (!r->messages) fail("open_memstream");
    } else {
        fputc(',', r->messages);
    }
    fputs("{\"hex\":", r->messages);
    put_hex(r->messages, message->bytes, message->byte_count);
    fprintf(r->messages, ",\"fds\":%zu}", message->fd_count);
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

// {"0":"socket:[123]",…}; NULL if the process is gone. Counts the descriptors of sockets.
static char *read_fds(pid_t pid, int *sockets) {
    char folder[64];
    char *json = NULL;
    size_t size;
    *sockets = 0;
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
        if (len > 7 && memcmp(target, "socket:", 7) == 0) ++*sockets;
    }
    fputc('}', out);
    if (fclose(out) != 0) fail("open_memstream");
    closedir(dir);
    return json;
}

char *list_fds(pid_t pid) {
    int sockets;
    return read_fds(pid, &sockets);
}

int count_sockets(pid_t pid) {
    int sockets;
    free(read_fds(pid, &sockets));
    return sockets;
}

static int64_t timeout_us(int fd, int level, int option) {
    struct timeval value = {0};
    socklen_t len = sizeof value;
    if (getsockopt(fd, level, option, &value, &len) != 0) return -1;
    return (int64_t)value.tv_sec * 1000000 + value.tv_usec;
}

// Options that a proxy could leave set; the passed socket is compared with a new one.
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

void put_outcome(FILE *out, struct outcome *r) {
    if (r->messages && fclose(r->messages) != 0) fail("open_memstream");
    if (WIFEXITED(r->status)) {
        fprintf(out, "{\"exit\":%d,\"signal\":null", WEXITSTATUS(r->status));
    } else {
        fprintf(out, "{\"exit\":null,\"signal\":%d", WTERMSIG(r->status));
    }
    fprintf(out, ",\"timed_out\":%s", r->timed_out ? "true" : "false");
    fprintf(out, ",\"messages\":[%s]", r->messages ? r->messages_text : "");
    if (r->handoff_ns >= 0) fprintf(out, ",\"handoff_ns\":%" PRId64, r->handoff_ns);
    fprintf(out, ",\"exit_ns\":%" PRId64, r->exit_ns);
    fputs(",\"socket\":", out);
    put_socket(out, r->passed);
    if (r->open_fds) fprintf(out, ",\"open_fds\":%s", r->open_fds);
    if (r->has_read) {
        fputs(",\"read_hex\":", out);
        put_hex(out, r->read_bytes, r->read_len);
        fprintf(out, ",\"read_eof\":%s", r->read_eof ? "true" : "false");
    }
    fputs("}\n", out);
}
