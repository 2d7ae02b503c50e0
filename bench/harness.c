#define _GNU_SOURCE
#include "harness.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

const char greeting[] = "SSH-2.0-bench\r\n";
const char confirmation[] = "OK 1073741824\n";

// ---- time and memory

/** For the handler, which may only write (signal-safety(7)). */
static char late[256];

static void on_deadline(int signal) {
    (void)signal;
    if (write(STDERR_FILENO, late, strlen(late)) < 0) _exit(2);
    // The commands end with this program.
    _exit(1);
}

void set_deadline(unsigned seconds, const char *name) {
    struct sigaction action = {.sa_handler = on_deadline};
    alarm(0);
    snprintf(late, sizeof late, "%s: %s: timeout after %u s\n", program_invocation_short_name, name,
             seconds);
    if (sigaction(SIGALRM, &action, NULL) != 0) fail("sigaction");
    alarm(seconds);
}

int64_t processor_us(const struct rusage *usage) {
    const struct timeval *user = &usage->ru_utime;
    const struct timeval *system = &usage->ru_stime;
    return ((int64_t)user->tv_sec + system->tv_sec) * 1000000 + user->tv_usec + system->tv_usec;
}

long memory_kb(pid_t pid, const char *file, const char *name) {
    char path[64];
    char line[256];
    size_t length = strlen(name);
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *lines = fopen(path, "re");
    if (lines == NULL) return -1;
    while (value < 0 && fgets(line, sizeof line, lines) != NULL) {
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            value = strtol(line + length + 1, NULL, 10);
    }
    fclose(lines);
    return value;
}

// ---- the peers' side

void pin(long processor) {
    cpu_set_t set;
    if (processor < 0) return;
    CPU_ZERO(&set);
    errno = EINVAL;
    if (processor < CPU_SETSIZE) CPU_SET((size_t)processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) fail("processor %ld", processor);
}

int listen_at(const char *folder, const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    errno = ENAMETOOLONG;
    if (length >= (int)sizeof address.sun_path) fail("%s", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(address.sun_path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, SOMAXCONN) != 0)
        fail("%s", address.sun_path);
    return fd;
}

bool is_asked(int fd) {
    static const char connect[] = "CONNECT ";
    char request[64];
    // A ProxyCommand sends it in one write, so it comes in one read.
    ssize_t length = read(fd, request, sizeof request);
    return length > (ssize_t)strlen(connect) && memcmp(request, connect, strlen(connect)) == 0;
}

// ---- ssh's side

int receive_descriptor(int fd) {
    static struct message message;
    if (!receive_message(fd, &message)) return -1;
    return message.byte_count == 1 && message.fd_count == 1 ? message.fds[0] : -1;
}

bool is_greeted(int fd) {
    char text[256];
    size_t length = 0;
    while (length < sizeof text - 1) {
        ssize_t more = recv(fd, text + length, sizeof text - 1 - length, 0);
        if (more <= 0) return false;
        length += (size_t)more;
        text[length] = 0;
        const char *found = strstr(text, greeting);
        if (found != NULL) return found == text || found[-1] == '\n';
    }
    return false;
}

bool succeeded(int status) {
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// ---- the input

size_t read_commands(struct command *commands) {
    size_t count = 0;
    for (;;) {
        char *line = NULL;
        char *rest;
        size_t room = 0;
        errno = 0;
        if (getline(&line, &room, stdin) <= 0) {
            free(line);
            break;
        }
        if (count == MANY_COMMANDS) fail("more than %d commands", MANY_COMMANDS);
        struct command *command = &commands[count++];
        size_t words = 0;
        line[strcspn(line, "\n")] = 0;
        // `line` stays in use.
        command->word = strtok_r(line, "\t", &rest);
        command->name = strtok_r(NULL, "\t", &rest);
        for (char *word = strtok_r(NULL, "\t", &rest); word != NULL;
             word = strtok_r(NULL, "\t", &rest)) {
            if (words == MANY_ARGUMENTS) fail("more than %d arguments", MANY_ARGUMENTS);
            command->argv[words++] = word;
        }
        if (words == 0) fail("a line without a command");
    }
    if (errno != 0) fail("the commands");
    if (count == 0) fail("no commands");
    return count;
}

static void shuffle(size_t *order, size_t count) {
    // xorshift32 (Marsaglia 2003): rand(3) differs between libraries.
    static uint32_t state = 2463534242;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        size_t other = state % (i + 1);
        order[i] = i;
        order[i] = order[other];
        order[other] = i;
    }
}

void take_turns(size_t count, long warm_up, long rounds, void (*turn)(size_t index, bool counts)) {
    size_t order[MANY_COMMANDS];
    for (long round = -warm_up; round < rounds; round++) {
        shuffle(order, count);
        for (size_t i = 0; i < count; i++)
            turn(order[i], round >= 0);
    }
}
