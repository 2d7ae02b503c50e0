// Waiting with a deadline: the monotonic clock, and poll_oneoff with the clock beside a descriptor.

import {
  clock_time_get,
  clockid,
  errno,
  event_fd_readwrite,
  eventtype,
  fd,
  poll_oneoff,
  subclockflags,
  subscription_clock,
  subscription_fd_readwrite,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

const SUBSCRIPTION_SIZE: u32 = 48;
const EVENT_SIZE: u32 = 32;

const SUBSCRIPTIONS = memory.data(96, 8);
const EVENTS = memory.data(64, 8);
const TIME = memory.data(8, 8);
const COUNT = memory.data(4, 4);

/** Nobody waits longer than this for stderr to take a line. */
const PATIENCE: u64 = 1_000_000_000;

/** The monotonic clock in nanoseconds. */
export function now(): u64 {
  clock_time_get(clockid.MONOTONIC, 0, TIME);
  return load<u64>(TIME);
}

/**
 * Waits until `descriptor` can be read from or written to.
 *
 * @param type eventtype.FD_READ or eventtype.FD_WRITE
 * @param deadline monotonic clock, nanoseconds
 * @returns SUCCESS; TIMEDOUT where the deadline has passed, though the descriptor may have become
 *   ready at the same time: try once more; what poll_oneoff answers otherwise
 */
export function waitFor(descriptor: fd, type: eventtype, deadline: u64): errno {
  const ready = changetype<subscription_fd_readwrite>(SUBSCRIPTIONS);
  ready.type = type;
  ready.file_descriptor = descriptor;
  const passed = changetype<subscription_clock>(SUBSCRIPTIONS + SUBSCRIPTION_SIZE);
  passed.type = eventtype.CLOCK;
  passed.clock_id = clockid.MONOTONIC;
  passed.timeout = deadline;
  passed.flags = subclockflags.ABSTIME;
  const error = poll_oneoff(SUBSCRIPTIONS, EVENTS, 2, COUNT);
  if (error != errno.SUCCESS) return error;
  for (let i: u32 = 0; i < load<u32>(COUNT); i++) {
    const event = changetype<event_fd_readwrite>(EVENTS + i * EVENT_SIZE);
    if (event.type == eventtype.CLOCK) return errno.TIMEDOUT;
  }
  return errno.SUCCESS;
}

/** Waits a moment until `descriptor` takes bytes; false where that moment has passed. */
export function waitToWrite(descriptor: fd): bool {
  return waitFor(descriptor, eventtype.FD_WRITE, now() + PATIENCE) != errno.TIMEDOUT;
}
