// poll_oneoff: preview1's only way to wait.

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "internal.h"

/** When, by the monotonic clock, a clock's subscription ends; SHIM_NEVER for a later time. */
static uint64_t clock_deadline(const uint8_t *subscription, uint64_t now) {
    uint64_t timeout = load_u64(subscription + SUBSCRIPTION_CLOCK_TIMEOUT);
    bool absolute = load_u16(subscription + SUBSCRIPTION_CLOCK_FLAGS) & SUBCLOCKFLAGS_ABSTIME;
    if (absolute && load_u32(subscription + SUBSCRIPTION_CLOCK_ID) == CLOCKID_MONOTONIC)
        return timeout;
    if (absolute) {
        struct timespec time = {0};
        clock_gettime(CLOCK_REALTIME, &time);
        uint64_t wall = shim_nanoseconds(&time);
        timeout = timeout > wall ? timeout - wall : 0;
    }
    return timeout < SHIM_NEVER - now ? now + timeout : SHIM_NEVER;
}

/** Writes the event for a subscription; its other fields are 0. */
static void put_event(uint8_t *event, const uint8_t *subscription, uint32_t error, uint16_t flags) {
    uint64_t userdata = load_u64(subscription + SUBSCRIPTION_USERDATA);
    uint8_t type = subscription[SUBSCRIPTION_TYPE];
    memset(event, 0, EVENT_SIZE);
    store_u64(event + EVENT_USERDATA, userdata);
    store_u16(event + EVENT_ERROR, (uint16_t)error);
    event[EVENT_TYPE] = type;
    store_u16(event + EVENT_FLAGS, flags);
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
        switch (subscription[SUBSCRIPTION_TYPE]) {
            case EVENTTYPE_CLOCK:
                if (load_u32(subscription + SUBSCRIPTION_CLOCK_ID) > CLOCKID_MONOTONIC)
                    return SHIM_INVAL;
                times[i] = clock_deadline(subscription, start);
                if (times[i] < earliest) earliest = times[i];
                break;
            case EVENTTYPE_FD_READ:
            case EVENTTYPE_FD_WRITE:
                entries[i].events =
                    subscription[SUBSCRIPTION_TYPE] == EVENTTYPE_FD_READ ? POLLIN : POLLOUT;
                entries[i].fd = fd_table_get(shim, load_u32(subscription + SUBSCRIPTION_FD));
                if (entries[i].fd < 0) earliest = 0;  // BADF is an event.
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
        if (subscription[SUBSCRIPTION_TYPE] == EVENTTYPE_CLOCK) {
            if (times[i] > end) continue;
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_SUCCESS, 0);
        } else if (entries[i].fd < 0 || entries[i].revents & POLLNVAL) {
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_BADF, 0);
        } else if (entries[i].revents != 0) {
            // A pipe without a reader shows POLLERR at its writing end.
            bool hung_up = entries[i].revents & (POLLHUP | POLLERR);
            uint16_t flags = hung_up ? EVENTRWFLAGS_HANGUP : 0;
            put_event(events + (size_t)count++ * EVENT_SIZE, subscription, SHIM_SUCCESS, flags);
        }
    }
    store_u32(result, count);
    return SHIM_SUCCESS;
}
