// What fake-ssh and the benchmark share: they run a ProxyCommand as OpenSSH's client does.
//
// Source: sshconnect.c of openssh-portable (ssh_proxy_fdpass_connect), monitor_fdpass.c
// (mm_receive_fd).

#ifndef TESTS_SUPPORT_PROXY_COMMAND_H_
#define TESTS_SUPPORT_PROXY_COMMAND_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** Room for more than the one byte and the one descriptor of ssh, so that a test sees an excess. */
enum { MESSAGE_BYTES = 4096, MESSAGE_FDS = 64 };

struct message {
    uint8_t bytes[MESSAGE_BYTES];
    size_t byte_count;
    int fds[MESSAGE_FDS];
    size_t fd_count;
};

/** An option of a command line, with the one place of the three that its value goes to. */
struct option {
    const char *name;
    bool *flag;
    long *number;
    const char **text;
};

/** Parses options up to `--` or the end, and returns the index of that. Numbers are not negative,
    except -1. */
int parse_options(int argc, char **argv, const struct option *options, size_t count);
long parse_number(const char *text, const char *name);

/** Ends the program with status 1: a message, and the text of errno unless it is 0. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

int64_t now_ns(void);

/**
 * Starts a command with `in` and `out` as its descriptors 0 and 1; a negative one is closed. The
 * child runs `prepare`, unless it is NULL, before the exec: only system calls, as it shares this
 * program's memory. The command ends with this program.
 */
pid_t spawn(char *const *argv, int in, int out, bool (*prepare)(void));

/** Receives one message from a unix socket. False at the end of file or on an error: see errno. */
bool receive_message(int fd, struct message *message);

#endif
