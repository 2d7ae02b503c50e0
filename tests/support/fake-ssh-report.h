#ifndef TESTS_SUPPORT_FAKE_SSH_REPORT_H_
#define TESTS_SUPPORT_FAKE_SSH_REPORT_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "proxy-command.h"

struct outcome {
    int64_t handoff_ns;  // -1: no descriptor was passed
    int64_t exit_ns;
    bool timed_out;
    int status;      // of wait(2)
    FILE *messages;  // JSON
    char *messages_text;
    size_t messages_size;
    int passed;      // the first descriptor, -1: none
    char *open_fds;  // JSON
    bool has_read;
    uint8_t *read_bytes;
    size_t read_len;
    bool read_eof;
};

/** The targets of a process's descriptors as JSON; NULL if the process is gone. */
char *list_fds(pid_t pid);

/** How many of a process's descriptors are sockets. */
int count_sockets(pid_t pid);

/** Adds what came on fd 1 to the outcome's messages. */
void put_message(struct outcome *outcome, const struct message *message);

/** Prints the outcome as one line of JSON, with the state of the passed socket. */
void put_outcome(FILE *out, struct outcome *outcome);

#endif
