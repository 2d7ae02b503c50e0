// proxy.wasm: the whole ProxyCommand. Arguments → address → socket → handshake → hand-over, each
// step a function below, in that order; `fail` ends the process from any of them.
//
// Rules
// 1. stdout belongs to ssh: nothing but the hand-over's one byte is ever sent there. Every word goes
//    to stderr.
// 2. One deadline covers the attempt, from the first system call to the hand-over.
// 3. Whoever connects to a multiplexer sends CONNECT: Cloud Hypervisor has crashed on clients that
//    came and left without one (its issues 6621 and 6798). So everything that can be refused
//    without a connection is refused before it, and nothing is said between the two, because
//    whoever reads it may keep the process waiting.

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
  sock_addr_local,
  sock_connect,
  sock_open,
  sock_send_fds,
  socktype,
} from "./bindings/socket_shim_v1";
import { Argument, CODES_PER_EXIT, Code, Exit, Family, Scheme } from "./code";
import { connectFailure, handOverFailure, handshakeFailure, systemFailure } from "./failure";
import {
  begin,
  codeOf,
  deadline as deadlinePassed,
  endOfFile,
  numberOf,
  receive,
  sent,
  wantedBy,
} from "./handshake";
import { EXCHANGE, SLOT, record } from "./layout";
import { flush, foreign, say, sayMeaning, sayMilliseconds, sayNumber, writeOut } from "./line";
import {
  Wish,
  address,
  culprit,
  culpritValue,
  hostSocket,
  name,
  parseArguments,
  port,
  timeout,
  verbose,
  wish,
} from "./options";
import { HELP, VERSION } from "./texts";
import { now, waitFor } from "./wait";

const STDOUT: fd = 1;

const IOVEC = memory.data(8, 4);
const COUNT = memory.data(4, 4);
const SOCKET = memory.data(4, 4);
const FAMILY = memory.data(2, 2);
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
  if (schemeOf(record) == Scheme.VsockMux) handshake(socket);
  else explain(Code.Connected);
  handOver();
  proc_exit(Exit.Ok);
}

function tell(): void {
  say(wish == Wish.Help ? HELP : VERSION);
  writeOut();
  proc_exit(Exit.Ok);
}

function understand(): void {
  let code = parseAddress(
    record,
    address.at,
    address.length,
    port.at,
    port.length,
    name.at,
    name.length,
  );
  if (argumentOf(record) == Argument.Name) address.at = name.at;
  if (code == Code.Done && schemeOf(record) == Scheme.Host && hostSocket.at != 0) {
    code = setHostPath(record, hostSocket.at, hostSocket.length);
  }
  if (code != Code.Done) fail(code);
}

/** ssh waits for a descriptor on descriptor 1, a unix stream socket, if ProxyUseFdpass is set. */
function requireFdPassing(): void {
  const stat = changetype<fdstat>(STAT);
  const error = fd_fdstat_get(STDOUT, stat);
  if (error == errno.BADF) fail(Code.NoStdout);
  if (
    error != errno.SUCCESS ||
    stat.filetype != filetype.SOCKET_STREAM ||
    sock_addr_local(STDOUT, FAMILY, 2, COUNT) != errno.SUCCESS ||
    load<u16>(FAMILY) != <u16>Family.Unix
  ) {
    fail(Code.NoFdPassing);
  }
}

function connect(): fd {
  explain(Code.Connecting);
  deadline = now() + timeout;
  let error = sock_open(familyOf(record), socktype.STREAM, SOCKET);
  if (error != errno.SUCCESS) fail(connectFailure(error, schemeOf(record)), error, "sock_open");
  const socket = load<u32>(SOCKET);
  error = sock_connect(socket, socketAddressOf(record), socketAddressLengthOf(record), deadline);
  if (error != errno.SUCCESS) fail(connectFailure(error, schemeOf(record)), error, "sock_connect");
  return socket;
}

function handshake(socket: fd): void {
  const error = transmit(socket, begin(SLOT, portOf(record), EXCHANGE), 0);
  if (error != errno.SUCCESS) fail(handshakeFailure(error), error, "sock_send");
  sent(SLOT, load<u32>(COUNT));
  if (codeOf(SLOT) == Code.NeedMore) explain(Code.Asked);
  while (codeOf(SLOT) == Code.NeedMore) answer(socket);
  if (codeOf(SLOT) != Code.Done) fail(codeOf(SLOT));
  explain(Code.Answered);
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
  if (error != errno.SUCCESS) fail(handshakeFailure(error), error, "sock_recv");
  const seen = load<u32>(COUNT);
  if (seen == 0) return endOfFile(SLOT);

  let mine = receive(SLOT, EXCHANGE, seen);
  while (mine > 0) {
    error = fetch(socket, mine, 0);
    if (error != errno.SUCCESS) fail(handshakeFailure(error), error, "sock_recv");
    if (load<u32>(COUNT) == 0) fail(Code.EndWithinLine);
    mine -= load<u32>(COUNT);
  }
}

/** Exactly one byte and one descriptor are what ssh waits for; the byte's value means nothing. */
function handOver(): void {
  store<u8>(EXCHANGE, 0);
  const error = transmit(STDOUT, 1, 1);
  if (error != errno.SUCCESS) fail(handOverFailure(error), error, "sock_send_fds");
  explain(Code.HandedOver);
}

/**
 * Sends what stands in EXCHANGE, with the socket if `fds` is 1, in one call that takes it or not;
 * COUNT has how many bytes it took.
 *
 * @returns SUCCESS; TIMEDOUT where nothing could be sent until the deadline; the call's errno
 */
function transmit(to: fd, length: u32, fds: u32): errno {
  const data = changetype<iovec>(IOVEC);
  data.buf = EXCHANGE;
  data.buf_len = length;
  let expired = false;
  while (true) {
    const error =
      fds == 0
        ? sock_send(to, IOVEC, 1, 0, COUNT)
        : sock_send_fds(to, IOVEC, 1, SOCKET, fds, COUNT);
    if (error != errno.AGAIN) return error;
    if (expired) return errno.TIMEDOUT;
    expired = awaits(to, eventtype.FD_WRITE);
  }
}

function fetch(socket: fd, length: u32, flags: riflags): errno {
  const data = changetype<iovec>(IOVEC);
  data.buf = EXCHANGE;
  data.buf_len = length;
  return sock_recv(socket, IOVEC, 1, flags, COUNT, FLAGS);
}

/** Waits for `socket`; true where the deadline has passed: one last try is in order then. */
function awaits(socket: fd, type: u8): bool {
  const error = waitFor(socket, type, deadline);
  if (error == errno.SUCCESS) return false;
  if (error != errno.TIMEDOUT) fail(systemFailure(error), error, "poll_oneoff");
  return true;
}

/** With -v, what has been done, and how long after the start. */
function explain(what: Code): void {
  if (!verbose) return;
  const time = now() - start;
  saySubject();
  sayMilliseconds(time);
  say(": ");
  sayMeaning(what);
  if (what == Code.Connecting) {
    if (familyOf(record) == <u16>Family.Unix) {
      say(" to ");
      sayPath();
    }
    say(", for at most ");
    sayMilliseconds(timeout);
  }
  if (what == Code.Answered) {
    say(" ");
    sayNumber(numberOf(SLOT));
  }
  flush();
}

/** The one place where a failure is told, and the end of the process. */
function fail(code: Code, error: errno = errno.SUCCESS, call: string = ""): void {
  saySubject();
  sayMeaning(code);
  if (code == Code.SystemError) {
    say(": errno ");
    sayNumber(error);
    say(" of WASI preview1, from ");
    say(call);
  }
  if (code >= Code.NoAddress && code <= Code.BadHostSocket) say(" (see --help)");
  flush();
  proc_exit(code / CODES_PER_EXIT);
}

/** Begins a line with what it is about, as the user wrote it. */
function saySubject(): void {
  say("ssh-vsock-proxy: ");
  if (culprit.at != 0) {
    foreign(culprit.at, culprit.length);
    if (culpritValue.at != 0) {
      say(" ");
      foreign(culpritValue.at, culpritValue.length);
    }
  } else if (address.at != 0) {
    foreign(address.at, address.length);
    const scheme = schemeOf(record);
    if (scheme == Scheme.Vsock || scheme == Scheme.VsockMux) {
      say(" port ");
      if (port.at != 0) foreign(port.at, port.length);
      else sayNumber(portOf(record));
    } else if (scheme == Scheme.Host) {
      say(" at ");
      sayPath();
    }
  } else {
    return;
  }
  say(": ");
}

/** The path of a unix socket; an abstract name begins with the NUL that it has, shown as \x00. */
function sayPath(): void {
  foreign(socketAddressOf(record) + 2, socketAddressLengthOf(record) - 2);
}
