// Waiting with a deadline: the monotonic clock, and poll_oneoff with the clock beside a descriptor.

import {
  clock_time_get,
  clockid,
  errno,
  event_fd_readwrite,
  eventrwflags,
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

/** A time that does not come. */
export const NEVER: u64 = u64.MAX_VALUE;

/** Nobody waits longer than this for stderr to take a line. */
const PATIENCE: u64 = 1_000_000_000;

/** Whether the last wait saw its descriptor ready, be it together with the deadline. */
let becameReady: bool = false;

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
export function waitFor(descriptor: fd, type: eventtype, deadline: u64): u32 {
  const ready = changetype<subscription_fd_readwrite>(SUBSCRIPTIONS);
  ready.type = type;
  ready.file_descriptor = descriptor;
  setClock(SUBSCRIPTIONS + SUBSCRIPTION_SIZE, deadline);
  becameReady = false;
  const error = poll_oneoff(SUBSCRIPTIONS, EVENTS, 2, COUNT);
  if (error != errno.SUCCESS) return error;
  let passed = false;
  for (let i: u32 = 0; i < load<u32>(COUNT); i++) {
    const event = changetype<event_fd_readwrite>(EVENTS + i * EVENT_SIZE);
    if (event.type == eventtype.CLOCK) passed = true;
    else becameReady = true;
  }
  return passed ? errno.TIMEDOUT : errno.SUCCESS;
}

/** Whether a wait that has succeeded did so because whoever is at the other end is gone. */
export function hungUp(): bool {
  // Without an event there stands what an earlier wait has been told.
  return becameReady && (changetype<event_fd_readwrite>(EVENTS).flags & eventrwflags.HANGUP) != 0;
}

/** Waits until the time has come, whatever happens meanwhile; what poll_oneoff answers. */
export function waitUntil(time: u64): u32 {
  setClock(SUBSCRIPTIONS, time);
  return poll_oneoff(SUBSCRIPTIONS, EVENTS, 1, COUNT);
}

function setClock(subscription: usize, time: u64): void {
  const clock = changetype<subscription_clock>(subscription);
  clock.type = eventtype.CLOCK;
  clock.clock_id = clockid.MONOTONIC;
  clock.timeout = time;
  clock.flags = subclockflags.ABSTIME;
}

/** Waits a moment until `descriptor` takes bytes; false where it does not even then. */
export function waitToWrite(descriptor: fd): bool {
  const error = waitFor(descriptor, eventtype.FD_WRITE, now() + PATIENCE);
  return error != errno.TIMEDOUT || becameReady;
}
