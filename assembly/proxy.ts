// proxy.wasm: the whole ProxyCommand. Arguments → address → socket → handshake → hand-over, each
// step a function below, in that order; `fail` ends the process from any of them.
//
// Rules
// 1. stdout belongs to ssh: nothing but the hand-over's one byte is ever sent there. Every word goes
//    to stderr.
// 2. One deadline covers the attempt, from the first system call to the hand-over.
// 3. Whoever connects to a multiplexer sends CONNECT: Cloud Hypervisor has crashed on clients that
//    came and left without one (its issues 6621 and 6798). So everything that can be refused
//    without a connection is refused before it.

import {
  errno,
  eventtype,
  fd,
  fd_fdstat_get,
  fdstat,
  filetype,
  iovec,
  proc_exit,
  riflags,
  sock_recv,
  sock_send,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import {
  ADDRESS_SIZE,
  argumentOf,
  familyOf,
  parseAddress,
  portOf,
  schemeOf,
  setHostPath,
  socketAddressLengthOf,
  socketAddressOf,
} from "./address";
import {
  af,
  sock_addr_local,
  sock_connect,
  sock_open,
  sock_send_fds,
  socktype,
} from "./bindings/socket_shim_v1";
import { Argument, CODES_PER_EXIT, Code, Exit, Scheme } from "./code";
import { connectFailure, handOverFailure, handshakeFailure, systemFailure } from "./failure";
import {
  HANDSHAKE_SIZE,
  REQUEST_MAX,
  begin,
  codeOf,
  deadline as deadlinePassed,
  endOfFile,
  numberOf,
  receive,
  sent,
  wantedBy,
} from "./handshake";
import { flush, foreign, say, sayMilliseconds, sayNumber, writeOut } from "./line";
import {
  Wish,
  address,
  culprit,
  hostSocket,
  name,
  parseArguments,
  port,
  timeout,
  verbose,
  wish,
} from "./options";
import { Step, help, meaning, step, version } from "./texts";
import { now, waitFor } from "./wait";

const STDOUT: fd = 1;

const RECORD = memory.data(<i32>ADDRESS_SIZE, 4);
const SLOT = memory.data(<i32>HANDSHAKE_SIZE, 4);
const BUFFER = memory.data(<i32>REQUEST_MAX, 4);
const IOVEC = memory.data(8, 4);
const RESULT = memory.data(4, 4);
const FLAGS = memory.data(2, 2);
const STAT = memory.data(24, 8);

let start: u64 = 0;
let deadline: u64 = 0;

main();

function main(): void {
  start = now();
  const code = parseArguments();
  if (code != Code.Done) fail(code);
  if (wish != Wish.Connect) tell();
  understand();
  requireFdPassing();
  const socket = connect();
  if (schemeOf(RECORD) == Scheme.VsockMux) handshake(socket);
  handOver(socket);
  proc_exit(Exit.Ok);
}

function tell(): void {
  say(wish == Wish.Help ? help() : version());
  writeOut();
  proc_exit(Exit.Ok);
}

function understand(): void {
  let code = parseAddress(
    RECORD,
    address.at,
    address.length,
    port.at,
    port.length,
    name.at,
    name.length,
  );
  if (argumentOf(RECORD) == Argument.Name) address.at = name.at;
  if (code == Code.Done && schemeOf(RECORD) == Scheme.Host && hostSocket.at != 0) {
    code = setHostPath(RECORD, hostSocket.at, hostSocket.length);
  }
  if (code != Code.Done) fail(code);
}

/** ssh waits for a descriptor on descriptor 1, a unix stream socket, if ProxyUseFdpass is set. */
function requireFdPassing(): void {
  const stat = changetype<fdstat>(STAT);
  if (
    fd_fdstat_get(STDOUT, stat) != errno.SUCCESS ||
    stat.filetype != filetype.SOCKET_STREAM ||
    sock_addr_local(STDOUT, RESULT, 2, BUFFER) != errno.SUCCESS ||
    load<u16>(RESULT) != <u16>af.UNIX
  ) {
    fail(Code.NoFdPassing);
  }
}

function connect(): fd {
  deadline = now() + timeout;
  explain(Step.Connecting);
  let error = sock_open(familyOf(RECORD), socktype.STREAM, RESULT);
  const socket = load<u32>(RESULT);
  if (error == errno.SUCCESS) {
    error = sock_connect(socket, socketAddressOf(RECORD), socketAddressLengthOf(RECORD), deadline);
  }
  if (error != errno.SUCCESS) fail(connectFailure(error, schemeOf(RECORD)), error);
  explain(Step.Connected);
  return socket;
}

function handshake(socket: fd): void {
  request(socket);
  explain(Step.Asked);
  while (codeOf(SLOT) == Code.NeedMore) answer(socket);
  if (codeOf(SLOT) != Code.Done) fail(codeOf(SLOT));
  explain(Step.Answered);
}

function request(socket: fd): void {
  const data = changetype<iovec>(IOVEC);
  data.buf = BUFFER;
  data.buf_len = begin(SLOT, portOf(RECORD), BUFFER);
  let expired = false;
  let error = sock_send(socket, IOVEC, 1, 0, RESULT);
  while (error == errno.AGAIN && !expired) {
    expired = awaits(socket, eventtype.FD_WRITE);
    error = sock_send(socket, IOVEC, 1, 0, RESULT);
  }
  if (error == errno.AGAIN) fail(Code.Silence);
  if (error != errno.SUCCESS) fail(handshakeFailure(error), error);
  sent(SLOT, load<u32>(RESULT));
}

/** Looks at what has come, and takes from the socket what of it is the handshake's. */
function answer(socket: fd): void {
  let expired: bool;
  let error: errno;
  do {
    expired = awaits(socket, eventtype.FD_READ);
    error = fetch(socket, wantedBy(SLOT), riflags.PEEK);
  } while (error == errno.AGAIN && !expired);
  if (error == errno.AGAIN) return deadlinePassed(SLOT);
  if (error != errno.SUCCESS) fail(handshakeFailure(error), error);
  const seen = load<u32>(RESULT);
  if (seen == 0) return endOfFile(SLOT);

  let mine = receive(SLOT, BUFFER, seen);
  while (mine > 0) {
    error = fetch(socket, mine, 0);
    if (error != errno.SUCCESS) fail(handshakeFailure(error), error);
    if (load<u32>(RESULT) == 0) fail(Code.EndWithinLine);
    mine -= load<u32>(RESULT);
  }
}

function fetch(socket: fd, length: u32, flags: riflags): errno {
  const data = changetype<iovec>(IOVEC);
  data.buf = BUFFER;
  data.buf_len = length;
  return sock_recv(socket, IOVEC, 1, flags, RESULT, FLAGS);
}

/** Waits for `socket`; true where the deadline has passed: one last try is in order then. */
function awaits(socket: fd, type: u8): bool {
  const error = waitFor(socket, type, deadline);
  if (error == errno.SUCCESS) return false;
  if (error != errno.TIMEDOUT) fail(systemFailure(error), error);
  return true;
}

/** Exactly one byte and one descriptor are what ssh waits for; the byte's value means nothing. */
function handOver(socket: fd): void {
  const data = changetype<iovec>(IOVEC);
  data.buf = BUFFER;
  data.buf_len = 1;
  store<u8>(BUFFER, 0);
  store<u32>(STAT, socket);
  let expired = false;
  let error = sock_send_fds(STDOUT, IOVEC, 1, STAT, 1, RESULT);
  while (error == errno.AGAIN && !expired) {
    expired = awaits(STDOUT, eventtype.FD_WRITE);
    error = sock_send_fds(STDOUT, IOVEC, 1, STAT, 1, RESULT);
  }
  if (error == errno.AGAIN) error = errno.TIMEDOUT;
  if (error != errno.SUCCESS) fail(handOverFailure(error), error);
  explain(Step.HandedOver);
}

/** With -v, what has been done, and how long after the start. */
function explain(what: Step): void {
  if (!verbose) return;
  const time = now() - start;
  saySubject();
  sayMilliseconds(time);
  say(step(Step.Colon));
  say(step(what));
  if (what == Step.Connecting) sayMilliseconds(timeout);
  if (what == Step.Answered) sayNumber(numberOf(SLOT));
  flush();
}

/** The one place where a failure is told, and the end of the process. */
function fail(code: Code, error: errno = errno.SUCCESS): void {
  saySubject();
  say(meaning(code));
  if (code == Code.SystemError) sayNumber(error);
  if (culprit.at != 0) say(step(Step.SeeHelp));
  flush();
  proc_exit(code / CODES_PER_EXIT);
}

/** Begins a line with what it is about, as the user wrote it. */
function saySubject(): void {
  say(step(Step.Program));
  if (culprit.at != 0) {
    foreign(culprit.at, culprit.length);
  } else if (address.at != 0) {
    foreign(address.at, address.length);
    const scheme = schemeOf(RECORD);
    if (scheme == Scheme.Vsock || scheme == Scheme.VsockMux) {
      say(step(Step.Port));
      if (port.at != 0) foreign(port.at, port.length);
      else sayNumber(portOf(RECORD));
    }
  } else {
    return;
  }
  say(step(Step.Colon));
}
