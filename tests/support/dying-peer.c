// A peer that is killed: listens on a unix socket, plays one connection up to STEP, and dies of
// SIGKILL there, its socket's file left behind.
//
//     dying-peer PATH STEP
//
//     STEP  before-accept   a connection waits in the queue
//           after-accept    nothing of it was read
//           after-request   something was read, nothing was said
//           within-line     half of a multiplexer's OK line was said
//           after-line      all of it
//           relaying        it was greeted, and a part of what it sends was read
//
// stdout: "ready" once the socket is there.

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static void read_some(int fd, size_t size) {
    char buffer[4096];
    for (ssize_t got; size > 0; size -= (size_t)got) {
        got = recv(fd, buffer, size < sizeof buffer ? size : sizeof buffer, 0);
        if (got <= 0) fail("recv");
    }
}

static void say(int fd, const char *text) {
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) fail("send");
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        fputs("usage: dying-peer PATH STEP\n", stderr);
        return 2;
    }
    const char *step = argv[2];
    memcpy(address.sun_path, argv[1], strlen(argv[1]));
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (listener < 0) fail("socket");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, 1) != 0) fail("listen");
    puts("ready");
    fflush(stdout);

    struct pollfd entry = {.fd = listener, .events = POLLIN};
    if (poll(&entry, 1, -1) != 1) fail("poll");
    if (strcmp(step, "before-accept") == 0) raise(SIGKILL);
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("accept");
    if (strcmp(step, "after-accept") == 0) raise(SIGKILL);
    if (strcmp(step, "relaying") == 0) {
        say(fd, "hello\n");
        read_some(fd, 1000);
        raise(SIGKILL);
    }
    read_some(fd, 1);
    // The rest of the request, so that its end is no reset.
    recv(fd, (char[64]){0}, 64, MSG_DONTWAIT);
    if (strcmp(step, "after-request") == 0) raise(SIGKILL);
    say(fd, strcmp(step, "within-line") == 0 ? "OK 10" : "OK 1073741824\n");
    raise(SIGKILL);
}
