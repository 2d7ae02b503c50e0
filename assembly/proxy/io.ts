// Waits and transfers with a deadline on the monotonic clock.

import {
  clock_time_get,
  clockid,
  errno,
  event_fd_readwrite,
  eventrwflags,
  eventtype,
  fd,
  fd_write,
  iovec,
  poll_oneoff,
  riflags,
  sock_recv,
  sock_send,
  subclockflags,
  subscription_clock,
  subscription_fd_readwrite,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { sock_send_fds } from "../bindings/socket_shim_v1";

const SUBSCRIPTION_SIZE: u32 = 48;
const EVENT_SIZE: u32 = 32;

const SUBSCRIPTIONS = memory.data(96, 8);
const EVENTS = memory.data(64, 8);
const TIME = memory.data(8, 8);
const COUNT = memory.data(4, 4);
const IOVEC = memory.data(8, 4);
const FLAGS = memory.data(2, 2);

/** A time that never comes. */
export const NEVER: u64 = u64.MAX_VALUE;

/** Whether the descriptor of the last wait was ready, possibly together with the deadline. */
export let becameReady: bool = false;

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
 * @returns SUCCESS; TIMEDOUT if the deadline has passed, even if the descriptor became ready at the
 *   same time: try once more; otherwise the errno of poll_oneoff
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

/** Whether the last wait, which has succeeded, did so because the peer has closed. */
export function hungUp(): bool {
  // Without an event, EVENTS has those of an earlier wait.
  return becameReady && (changetype<event_fd_readwrite>(EVENTS).flags & eventrwflags.HANGUP) != 0;
}

/**
 * Waits until `time`.
 *
 * @returns the errno of poll_oneoff
 */
export function waitUntil(time: u64): u32 {
  setClock(SUBSCRIPTIONS, time);
  return poll_oneoff(SUBSCRIPTIONS, EVENTS, 1, COUNT);
}

/** Waits until `descriptor` takes bytes; false if it does not before the deadline. */
export function waitToWrite(descriptor: fd, deadline: u64): bool {
  const error = waitFor(descriptor, eventtype.FD_WRITE, deadline);
  return error != errno.TIMEDOUT || becameReady;
}

function setClock(subscription: usize, time: u64): void {
  const clock = changetype<subscription_clock>(subscription);
  clock.type = eventtype.CLOCK;
  clock.clock_id = clockid.MONOTONIC;
  clock.timeout = time;
  clock.flags = subclockflags.ABSTIME;
}

/** How many bytes the last `send`, `receive` or `write` has transferred. */
export function transferred(): u32 {
  return load<u32>(COUNT);
}

/**
 * Sends bytes in one call.
 *
 * @param passed the address of a descriptor that is passed with them (SCM_RIGHTS); 0 for none
 * @returns SUCCESS; TIMEDOUT if nothing could be sent before the deadline; otherwise the errno
 */
export function send(to: fd, at: usize, length: usize, passed: usize, deadline: u64): u32 {
  setBuffer(at, length);
  let expired = false;
  while (true) {
    const error: u32 =
      passed == 0
        ? sock_send(to, IOVEC, 1, 0, COUNT)
        : sock_send_fds(to, IOVEC, 1, passed, 1, COUNT);
    if (error != errno.AGAIN) return error;
    if (expired) return errno.TIMEDOUT;
    const waited = waitFor(to, eventtype.FD_WRITE, deadline);
    expired = waited == errno.TIMEDOUT;
    if (waited != errno.SUCCESS && !expired) return waited;
  }
}

/** Receives up to `length` bytes; with PEEK they stay in the socket. AGAIN if none. */
export function receive(socket: fd, at: usize, length: usize, flags: riflags): u32 {
  setBuffer(at, length);
  return sock_recv(socket, IOVEC, 1, flags, COUNT, FLAGS);
}

export function write(to: fd, at: usize, length: usize): u32 {
  setBuffer(at, length);
  return fd_write(to, IOVEC, 1, COUNT);
}

function setBuffer(at: usize, length: usize): void {
  const buffer = changetype<iovec>(IOVEC);
  buffer.buf = at;
  buffer.buf_len = length;
}
