// The monotonic clock, and waiting by it.

#include <errno.h>
#include <poll.h>
#include <time.h>

#include "internal.h"

uint64_t shim_now(void) {
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time) != 0) return SHIM_NEVER;
    return shim_nanoseconds(&time);
}

int shim_poll(struct pollfd *entries, unsigned count, uint64_t deadline) {
    for (;;) {
        const uint64_t now = deadline == SHIM_NEVER ? 0 : shim_now();
        const uint64_t left = deadline > now ? deadline - now : 0;
        // After a process was stopped and continued (SIGSTOP), ppoll(2) still waits for what was
        // left of its time, however late it is: so it gets a second at most.
        const uint64_t part = left < SHIM_SECOND ? left : SHIM_SECOND;
        const struct timespec rest = {
            .tv_sec = (time_t)(part / SHIM_SECOND),
            .tv_nsec = (long)(part % SHIM_SECOND),
        };
        const int ready = ppoll(entries, count, deadline != SHIM_NEVER ? &rest : NULL, NULL);
        if (ready > 0 || (ready == 0 && part == left)) return ready;
        if (ready < 0 && errno != EINTR) return ready;
    }
}
