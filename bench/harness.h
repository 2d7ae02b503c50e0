// What latency.c, concurrency.c and relay.c share: the peers of the commands, the measures, and the
// input. tests/support/proxy-command.h has ssh's side.

#ifndef BENCH_HARNESS_H_
#define BENCH_HARNESS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "../tests/support/proxy-command.h"

enum { MANY_COMMANDS = 64, MANY_ARGUMENTS = 32 };

/** A line of stdin: a word for the program, a name for messages, and an argument vector. */
struct command {
    char *word;
    char *name;
    char *argv[MANY_ARGUMENTS + 1];
};

/** The first bytes of the peers, an SSH server's; and the multiplexer's before them. */
extern const char greeting[];
extern const char confirmation[];

/** Ends the program with status 1, unless it is called again within so many seconds. */
void set_deadline(unsigned seconds, const char *name);

/** User and system time, whose sum is the scheduler's exact count. */
int64_t processor_us(const struct rusage *usage);
/** The value of a line "NAME: VALUE kB" of /proc/PID/FILE; -1 if the process has ended. */
long memory_kb(pid_t pid, const char *file, const char *name);

/** Pins this process and its children to one processor; -1: any. */
void pin(long processor);
/** Listens at FOLDER/NAME, and replaces a file there. */
int listen_at(const char *folder, const char *name);
/** Whether a multiplexer is sent CONNECT. */
bool is_asked(int fd);

/** The descriptor that comes with one byte; -1 if anything else comes, or the end. */
int receive_descriptor(int fd);
/** Whether the greeting comes, possibly after other lines, as in RFC 4253, 4.2. */
bool is_greeted(int fd);
bool succeeded(int status);

size_t read_commands(struct command *commands);
/**
 * Calls `turn` for each of `count` commands in each round, in an order that is another one in each
 * round and the same in each run of the program. The rounds of the warm-up do not count.
 */
void take_turns(size_t count, long warm_up, long rounds, void (*turn)(size_t index, bool counts));

#endif
