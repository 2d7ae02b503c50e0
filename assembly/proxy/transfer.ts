// Bytes between EXCHANGE and a socket, by imports that never wait; the waiting is here.

import {
  errno,
  eventtype,
  fd,
  iovec,
  riflags,
  sock_recv,
  sock_send,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { sock_send_fds } from "../bindings/socket_shim_v1";
import { EXCHANGE } from "./memory";
import { waitFor } from "./wait";

const IOVEC = memory.data(8, 4);
const COUNT = memory.data(4, 4);
const FLAGS = memory.data(2, 2);

/** How many bytes the last call has moved. */
export function count(): u32 {
  return load<u32>(COUNT);
}

/**
 * Sends what stands in EXCHANGE in one call that takes it or not.
 *
 * @param passed where the number of a descriptor stands that goes with it; 0 for none
 * @returns SUCCESS; TIMEDOUT where nothing could be sent until the deadline; the call's errno
 */
export function transmit(to: fd, length: u32, passed: usize, deadline: u64): u32 {
  describe(length);
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

/** Takes up to `length` bytes into EXCHANGE, or with PEEK looks at them; AGAIN if none are there. */
export function fetch(socket: fd, length: u32, flags: riflags): u32 {
  describe(length);
  return sock_recv(socket, IOVEC, 1, flags, COUNT, FLAGS);
}

function describe(length: u32): void {
  const data = changetype<iovec>(IOVEC);
  data.buf = EXCHANGE;
  data.buf_len = length;
}
