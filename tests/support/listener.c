// A unix socket at any path. Node can bind neither a path of more than 107 bytes nor one that is not
// UTF-8, nor a datagram socket, and it cannot leave connections in the queue.
//
//     listener TYPE MODE PATH
//
//     TYPE  stream, dgram or seqpacket
//     MODE  serve  each connection is greeted with GREETING, and then gets back what it sends
//           full   the queue is filled first; connections are accepted after `o` on stdin
//           dead   the socket's file is left behind, and this program exits
//     PATH  in hexadecimal; its folder exists and its last part is at most 107 bytes long
//
// stdout: "ready" when it listens. stdin: `o` opens the queue, `?` is answered with the number of
// connections accepted so far, without those that filled the queue, and at end of file this program
// removes the socket and exits. `?` counts all connections that were made before it.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING "hello\n"

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static char *from_hex(const char *text) {
    size_t size = strlen(text) / 2;
    char *bytes = calloc(size + 1, 1);
    if (!bytes) fail("calloc");
    for (size_t i = 0; i < size; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], 0};
        bytes[i] = (char)strtol(pair, NULL, 16);
    }
    return bytes;
}

// Changes to the path's folder and returns the name in it, as sun_path is shorter than PATH_MAX.
static struct sockaddr_un enter(char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *slash = strrchr(path, '/');
    char *name = slash ? slash + 1 : path;
    if (strlen(name) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail(name);
    }
    memcpy(address.sun_path, name, strlen(name));
    if (slash) {
        *slash = 0;
        if (chdir(*path ? path : "/") != 0) fail(path);
    }
    return address;
}

// Connects until a further connection would block. Returns how many there are.
static int fill(const struct sockaddr_un *address) {
    for (int count = 0;; count++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) fail("socket");
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) == 0) continue;
        if (errno != EAGAIN) fail("connect");
        close(fd);
        return count;
    }
}

static _Noreturn void serve(int fd) {
    char buffer[4096];
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) _exit(1);
    if (send(fd, GREETING, strlen(GREETING), MSG_NOSIGNAL) < 0) _exit(0);
    for (ssize_t got; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
        for (ssize_t sent = 0; sent < got;) {
            ssize_t part = send(fd, buffer + sent, (size_t)(got - sent), MSG_NOSIGNAL);
            if (part < 0) _exit(0);
            sent += part;
        }
    }
    _exit(0);
}

// Whether it counts.
static bool accept_one(int listener, int *fillers) {
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EINTR || errno == ECONNABORTED) return false;
        fail("accept");
    }
    bool counts = *fillers == 0;
    if (counts) {
        pid_t pid = fork();
        if (pid < 0) fail("fork");
        if (pid == 0) serve(fd);
    } else {
        --*fillers;
    }
    close(fd);
    return counts;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fputs("usage: listener TYPE MODE PATH\n", stderr);
        return 2;
    }
    bool stream = strcmp(argv[1], "stream") == 0;
    bool full = strcmp(argv[2], "full") == 0;
    int type = stream ? SOCK_STREAM : strcmp(argv[1], "dgram") == 0 ? SOCK_DGRAM : SOCK_SEQPACKET;
    char *path = from_hex(argv[3]);
    struct sockaddr_un address = enter(path);
    free(path);
    signal(SIGCHLD, SIG_IGN);

    int listener = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (strcmp(argv[2], "dead") == 0) return 0;
    if (type != SOCK_DGRAM && listen(listener, full ? 0 : 16) != 0) fail("listen");
    int fillers = full ? fill(&address) : 0;
    puts("ready");

    bool open = type != SOCK_DGRAM && !full;
    for (int accepted = 0;;) {
        if (fflush(stdout) != 0) fail("stdout");
        struct pollfd fds[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = open ? listener : -1, .events = POLLIN},
        };
        if (poll(fds, 2, -1) < 0) {
            if (errno != EINTR) fail("poll");
        } else if (fds[1].revents) {
            accepted += accept_one(listener, &fillers);
        } else if (fds[0].revents) {
            char byte;
            if (read(STDIN_FILENO, &byte, 1) <= 0) break;
            if (byte == 'o') open = true;
            if (byte == '?') printf("%d\n", accepted);
        }
    }
    unlink(address.sun_path);
    return 0;
}
