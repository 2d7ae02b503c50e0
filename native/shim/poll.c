// poll_oneoff: preview1's only way to wait.
//
// A subscription has 48 bytes: u64 userdata, u8 tag at 8, and for a clock u32 id at 16, u64 timeout
// at 24, u64 precision at 32, u16 flags at 40; for a descriptor u32 fd at 16. An event has 32: u64
// userdata, u16 error at 8, u8 type at 10, and for a descriptor u64 nbytes at 16, u16 flags at 24.

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "internal.h"

enum { EVENTTYPE_CLOCK = 0, EVENTTYPE_FD_READ = 1, EVENTTYPE_FD_WRITE = 2 };
enum { CLOCKID_REALTIME = 0, CLOCKID_MONOTONIC = 1 };
enum { SUBCLOCKFLAGS_ABSTIME = 1 };
enum { EVENTRWFLAGS_HANGUP = 1 };

#define SUBSCRIPTION_SIZE 48
#define EVENT_SIZE 32

/** When, on the monotonic clock, a clock's subscription is due; SHIM_NEVER if beyond it. */
static uint64_t due(const uint8_t *subscription, uint64_t now) {
    uint64_t timeout = load_u64(subscription + 24);
    bool absolute = load_u16(subscription + 40) & SUBCLOCKFLAGS_ABSTIME;
    if (absolute && load_u32(subscription + 16) == CLOCKID_MONOTONIC) return timeout;
    if (absolute) {
        struct timespec time = {0};
        clock_gettime(CLOCK_REALTIME, &time);
        uint64_t wall = shim_nanoseconds(&time);
        timeout = timeout > wall ? timeout - wall : 0;
    }
    return timeout < SHIM_NEVER - now ? now + timeout : SHIM_NEVER;
}

/** Writes the event for a subscription; what of `event` is not said here is 0. */
static void put_event(uint8_t *event, const uint8_t *subscription, uint32_t error, uint16_t flags) {
    uint64_t userdata = load_u64(subscription);
    uint8_t type = subscription[8];
    memset(event, 0, EVENT_SIZE);
    store_u64(event, userdata);
    store_u16(event + 8, (uint16_t)error);
    event[10] = type;
    store_u16(event + 24, flags);
}

uint32_t shim_poll_oneoff(struct shim *shim, uint32_t in, uint32_t out, uint32_t subscriptions,
                          uint32_t ret_events) {
    if (subscriptions == 0 || subscriptions > SHIM_LIST_MAX) return SHIM_INVAL;
    const uint8_t *list = shim_range(shim, in, (uint64_t)subscriptions * SUBSCRIPTION_SIZE);
    uint8_t *events = shim_range(shim, out, (uint64_t)subscriptions * EVENT_SIZE);
    uint8_t *result = shim_range(shim, ret_events, 4);
    if (list == NULL || events == NULL || result == NULL) return SHIM_FAULT;

    // A copy, so that events may be written over the subscriptions.
    uint8_t copy[SHIM_LIST_MAX * SUBSCRIPTION_SIZE];
    memcpy(copy, list, (size_t)subscriptions * SUBSCRIPTION_SIZE);

    struct pollfd entries[SHIM_LIST_MAX];
    uint64_t times[SHIM_LIST_MAX];
    uint64_t earliest = SHIM_NEVER;
    uint64_t start = shim_now();
    for (uint32_t i = 0; i < subscriptions; i++) {
        const uint8_t *subscription = copy + (size_t)i * SUBSCRIPTION_SIZE;
        entries[i] = (struct pollfd){.fd = -1};
        times[i] = SHIM_NEVER;
        switch (subscription[8]) {
            case EVENTTYPE_CLOCK:
                if (load_u32(subscription + 16) > CLOCKID_MONOTONIC) return SHIM_INVAL;
                times[i] = due(subscription, start);
                if (times[i] < earliest) earliest = times[i];
                break;
            case EVENTTYPE_FD_READ:
            case EVENTTYPE_FD_WRITE:
                entries[i].events = subscription[8] == EVENTTYPE_FD_READ ? POLLIN : POLLOUT;
                entries[i].fd = shim_descriptor(shim, load_u32(subscription + 16));
                if (entries[i].fd < 0) earliest = 0;  // An event already: there is no waiting.
                break;
            default:
                return SHIM_INVAL;
        }
    }

    if (shim_poll(entries, subscriptions, earliest) < 0) return shim_errno(errno);

    uint64_t end = shim_now();
    uint32_t count = 0;
    for (uint32_t i = 0; i < subscriptions; i++) {
        const uint8_t *subscription = copy + (size_t)i * SUBSCRIPTION_SIZE;
        if (subscription[8] == EVENTTYPE_CLOCK) {
            if (times[i] > end) continue;
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_SUCCESS, 0);
        } else if (entries[i].fd < 0 || entries[i].revents & POLLNVAL) {
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_BADF, 0);
        } else if (entries[i].revents != 0) {
            // A pipe that nobody reads shows POLLERR to whoever could write.
            bool hung_up = entries[i].revents & (POLLHUP | POLLERR);
            uint16_t flags = hung_up ? EVENTRWFLAGS_HANGUP : 0;
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_SUCCESS, flags);
        }
    }
    store_u32(result, count);
    return SHIM_SUCCESS;
}
