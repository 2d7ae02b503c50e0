// What race.c, crowd.c and relay.c share: playing OpenSSH's client, which starts a ProxyCommand, waits
// for a descriptor and for the end; and the server's side.

#ifndef BENCH_HARNESS_H_
#define BENCH_HARNESS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { MANY_COMMANDS = 64, MANY_ARGUMENTS = 32 };

/** A line of the standard input: a word that says what to do, a name for messages, what to run. */
struct command {
    char *word;
    char *name;
    char *argv[MANY_ARGUMENTS + 1];
};

/** What the peers say, as a server would that ssh talks to; and the multiplexer before that. */
extern const char greeting[];
extern const char confirmation[];

/** Ends the program with 1: a message, and what errno means unless it is 0. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** Ends the program with 1, too, unless it is called anew within so many seconds. */
void set_deadline(unsigned seconds, const char *name);

int64_t now_ns(void);
/** User and system. The kernel scales both so that their sum is what its scheduler has counted. */
int64_t processor_us(const struct rusage *usage);
/** A line "NAME: VALUE kB" of /proc/PID/FILE; -1 where there is none, for the process has ended. */
long memory_kb(pid_t pid, const char *file, const char *name);

/** Keeps this process and those that it starts on one processor; -1: on any. */
void pin(long processor);
/** Listens at FOLDER/NAME, in the place of whatever is there. */
int listen_at(const char *folder, const char *name);
/** Whether what a multiplexer is asked is CONNECT. */
bool is_asked(int fd);

/** Starts the command with these as its descriptors 0 and 1; traced: it stops after its exec. */
pid_t spawn(char *const *argv, int in, int out, bool traced);
/** The descriptor that comes with one byte; -1 where something else comes, or the end. */
int receive_descriptor(int fd);
/** Whether the greeting comes, perhaps after other lines: ssh skips those (RFC 4253, 4.2). */
bool is_greeted(int fd);
bool succeeded(int status);

long parse_number(const char *text);
size_t read_commands(struct command *commands);
/** Brings 0 to count - 1 into an order that is the same in every run of the program. */
void shuffle(size_t *order, size_t count);

#endif
