// The steps of one attempt to connect: open a socket, connect it, and with a multiplexer exchange the
// request and the reply. index.ts calls one after the other, and prints the progress in between.
//
// Rule: after connecting to a multiplexer, CONNECT is sent at once. Cloud Hypervisor has crashed on
// clients that came and left without one (its issues 6621 and 6798). So everything that can be
// refused without a connection is refused before, and nothing is printed between the two, because
// the reader of stderr may block the process.

import {
  errno,
  eventtype,
  fd_close,
  riflags,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { sock_connect, sock_open, socktype } from "../bindings/socket_shim_v1";
import { Code } from "../codes";
import {
  familyOf,
  portOf,
  schemeOf,
  socketAddressLengthOf,
  socketAddressOf,
} from "../core/address";
import {
  begin,
  deadline as deadlinePassed,
  endOfFile,
  receive as parseReply,
  sent,
  wantedBy,
} from "../core/handshake";
import { DONE, Result, connectFailure, failed, handshakeFailure, waitFailure } from "./errors";
import { becameReady, receive, send, transferred, waitFor } from "./io";
import { target } from "./lookup";
import { handshakeSlot, ioBuffer } from "./memory";

/** The address of the socket's descriptor. */
export const SOCKET = memory.data(4, 4);

const RECEIVE = "sock_recv";

export function openSocket(): Result {
  const error = sock_open(familyOf(target()), socktype.STREAM, SOCKET);
  return error == errno.SUCCESS ? DONE : connectFailure(error, schemeOf(target()), "sock_open");
}

export function closeSocket(): void {
  fd_close(load<u32>(SOCKET));
}

/**
 * Connects the socket.
 *
 * @param until when to return a failure by TIMEDOUT, after which another call goes on connecting;
 *   monotonic clock, nanoseconds
 */
export function connect(until: u64): Result {
  const socketAddress = socketAddressOf(target());
  const length = socketAddressLengthOf(target());
  const error = sock_connect(load<u32>(SOCKET), socketAddress, length, until);
  return error == errno.SUCCESS ? DONE : connectFailure(error, schemeOf(target()), "sock_connect");
}

/** Sends the request to the multiplexer, and begins the handshake in handshakeSlot. */
export function sendRequest(deadline: u64): Result {
  const length = begin(handshakeSlot, portOf(target()), ioBuffer);
  const error = send(load<u32>(SOCKET), ioBuffer, length, 0, deadline);
  if (error != errno.SUCCESS) return handshakeFailure(error, "sock_send");
  sent(handshakeSlot, transferred());
  return DONE;
}

/**
 * Waits for the reply, and takes from the socket the bytes that belong to the handshake.
 *
 * @param until when to return at the latest, though nothing may have come: the deadline or earlier
 * @param deadline when the handshake fails
 * @returns a call that failed; or Done, and handshakeSlot has the state of the handshake
 */
export function readReply(until: u64, deadline: u64): Result {
  const socket = load<u32>(SOCKET);
  let error = waitFor(socket, eventtype.FD_READ, until);
  const expired = error == errno.TIMEDOUT;
  if (error != errno.SUCCESS && !expired) return waitFailure(error);
  error = receive(socket, ioBuffer, wantedBy(handshakeSlot), riflags.PEEK);
  let taken: u32 = 0;
  if (becameReady && (error == errno.AGAIN || (error == errno.SUCCESS && transferred() == 0))) {
    // Ready, and nothing to see: an end, or an out-of-band byte (MSG_OOB), which PEEK passes over, and
    // which keeps the socket ready until a read passes over it. A byte that has come in between is
    // the handshake's, which wants one at least.
    error = receive(socket, ioBuffer, 1, 0);
    taken = error == errno.SUCCESS ? transferred() : 0;
  }
  if (error == errno.AGAIN) {
    if (expired && until == deadline) deadlinePassed(handshakeSlot);
    return DONE;
  }
  if (error != errno.SUCCESS) return handshakeFailure(error, RECEIVE);
  const seen = transferred();
  if (seen == 0) {
    endOfFile(handshakeSlot);
    return DONE;
  }

  const own = parseReply(handshakeSlot, ioBuffer, seen);
  while (taken < own) {
    error = receive(socket, ioBuffer, own - taken, 0);
    if (error != errno.SUCCESS) return handshakeFailure(error, RECEIVE);
    if (transferred() == 0) return failed(Code.EndWithinLine);
    taken += transferred();
  }
  return DONE;
}
