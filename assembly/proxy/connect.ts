// One attempt to reach the machine: connect, and over a multiplexer the handshake.
//
// Rule: whoever connects to a multiplexer sends CONNECT: Cloud Hypervisor has crashed on clients
// that came and left without one (its issues 6621 and 6798). So everything that can be refused
// without a connection is refused before it, and nothing is said between the two, because whoever
// reads it may keep the process waiting.

import {
  errno,
  eventtype,
  fd,
  fd_close,
  riflags,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import {
  familyOf,
  portOf,
  schemeOf,
  socketAddressLengthOf,
  socketAddressOf,
} from "../core/address";
import { sock_connect, sock_open, socktype } from "../bindings/socket_shim_v1";
import { Code, Scheme } from "../codes";
import { connectFailure, handshakeFailure, waitFailure } from "./errors";
import {
  begin,
  codeOf,
  deadline as deadlinePassed,
  endOfFile,
  receive,
  sent,
  wantedBy,
} from "../core/handshake";
import { EXCHANGE, SLOT, record } from "./memory";
import { timeout, wait } from "./options";
import { due, explain, progress } from "./report";
import { count, fetch, transmit } from "./transfer";
import { now, waitFor } from "./wait";

/** What a failure is told by. */
const RECEIVE = "sock_recv";

/** Where the socket's number stands, to be passed on. */
export const SOCKET = memory.data(4, 4);

/** When the last attempt was to be given up. */
export let deadline: u64 = 0;

/**
 * Opens and connects a socket, and has a multiplexer lead it on.
 *
 * @param end when all attempts end; monotonic clock, nanoseconds
 * @returns Done, and the number of the socket is at SOCKET; or what failed, and there is no socket
 */
export function attempt(end: u64): Code {
  explain(Code.Connecting, wait == 0 ? timeout : min(timeout, end - now()));
  deadline = min(now() + timeout, end);
  const scheme = schemeOf(record);
  let error = sock_open(familyOf(record), socktype.STREAM, SOCKET);
  if (error != errno.SUCCESS) return connectFailure(error, scheme, "sock_open");
  const socket = load<u32>(SOCKET);
  error = connect(socket);
  let code: Code;
  if (error != errno.SUCCESS) {
    code = connectFailure(error, scheme, "sock_connect");
  } else if (scheme == Scheme.VsockMux) {
    code = handshake(socket);
  } else {
    explain(Code.Connected);
    return Code.Done;
  }
  if (code != Code.Done) fd_close(socket);
  return code;
}

/** Connects, in as many calls as there is progress to be told. */
function connect(socket: fd): u32 {
  while (true) {
    const until = min(deadline, due);
    const length = socketAddressLengthOf(record);
    const error = sock_connect(socket, socketAddressOf(record), length, until);
    // The kernel may have a limit of its own.
    if (error != errno.TIMEDOUT || until == deadline || now() < until) return error;
    progress(Code.Connecting);
  }
}

function handshake(socket: fd): Code {
  const error = transmit(socket, begin(SLOT, portOf(record), EXCHANGE), 0, deadline);
  if (error != errno.SUCCESS) return handshakeFailure(error, "sock_send");
  sent(SLOT, count());
  if (codeOf(SLOT) == Code.NeedMore) explain(Code.RequestSent);
  while (codeOf(SLOT) == Code.NeedMore) {
    const code = answer(socket);
    if (code != Code.Done) return code;
  }
  if (codeOf(SLOT) == Code.Done) explain(Code.ReplyReceived);
  return codeOf(SLOT);
}

/** Looks at what has come, and takes from the socket what of it is the handshake's. */
function answer(socket: fd): Code {
  let expired: bool;
  let error: u32;
  do {
    const until = min(deadline, due);
    error = waitFor(socket, eventtype.FD_READ, until);
    expired = error == errno.TIMEDOUT;
    if (error != errno.SUCCESS && !expired) return waitFailure(error);
    error = fetch(socket, wantedBy(SLOT), riflags.PEEK);
    if (expired && until < deadline) {
      progress(Code.RequestSent);
      expired = false;
    }
  } while (error == errno.AGAIN && !expired);
  if (error == errno.AGAIN) {
    deadlinePassed(SLOT);
    return Code.Done;
  }
  if (error != errno.SUCCESS) return handshakeFailure(error, RECEIVE);
  const seen = count();
  if (seen == 0) {
    endOfFile(SLOT);
    return Code.Done;
  }

  let mine = receive(SLOT, EXCHANGE, seen);
  while (mine > 0) {
    error = fetch(socket, mine, 0);
    if (error != errno.SUCCESS) return handshakeFailure(error, RECEIVE);
    if (count() == 0) return Code.EndWithinLine;
    mine -= count();
  }
  return Code.Done;
}
