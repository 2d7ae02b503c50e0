// proxy.wasm: the whole ProxyCommand. Arguments → address → socket → handshake → hand-over or relay,
// each step a function below, in that order; `fail` ends the process from any of them.
//
// Rules
// 1. stdout belongs to ssh: the hand-over's one byte, or what is relayed. Every word goes to stderr.
// 2. One deadline covers an attempt, from its first system call to the hand-over; another all of
//    them.

import {
  errno,
  eventtype,
  fd,
  fd_fdstat_get,
  fdstat,
  filetype,
  proc_exit,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { argumentOf, parseAddress, schemeOf, setHostPath } from "../core/address";
import { SOCKET, attempt, deadline } from "./connect";
import { relay_end, relayflags, sock_addr_local, sock_relay } from "../bindings/socket_shim_v1";
import { Argument, Code, Exit, Family, Scheme } from "../codes";
import { handOverFailure, logFailure, passes, relayFailure, waitFailure } from "./errors";
import { EXCHANGE, record } from "./memory";
import { openLog } from "./log";
import {
  HalfClose,
  Mode,
  Wish,
  address,
  blameLog,
  halfClose,
  hostSocket,
  logFile,
  mode,
  name,
  parseArguments,
  port,
  wait,
  wish,
} from "./options";
import { endProgress, explain, fail, startClock, startProgress, tell, tellRetry } from "./report";
import { transmit } from "./transfer";
import { NEVER, hungUp, now, waitFor, waitUntil } from "./wait";

const STDIN: fd = 0;
const STDOUT: fd = 1;

/** The first pause between attempts doubles until it is the last. */
const PAUSE_FIRST: u64 = 50_000_000;
const PAUSE_LAST: u64 = 1_000_000_000;

const COUNT = memory.data(4, 4);
const FAMILY = memory.data(2, 2);
const STAT = memory.data(24, 8);
const END = memory.data(8, 4);

main();

function main(): void {
  startClock();
  const code = parseArguments();
  if (wish != Wish.Connect && code == Code.Done) tell(wish == Wish.Help);
  if (logFile.at != 0) keepLog();
  if (code != Code.Done) fail(code);
  understand();
  const relays = choose() == Mode.Relay;
  reach();
  if (relays) relay(load<u32>(SOCKET));
  else handOver();
  proc_exit(Exit.Ok);
}

function keepLog(): void {
  const error = openLog(logFile.at, logFile.length);
  if (error == errno.SUCCESS) return;
  blameLog();
  fail(logFailure(error));
}

function understand(): void {
  const code = parseAddress(
    record,
    address.at,
    address.length,
    port.at,
    port.length,
    name.at,
    name.length,
  );
  if (argumentOf(record) == Argument.Name) address.at = name.at;
  if (code != Code.Done) fail(code);
  if (schemeOf(record) == Scheme.Host && hostSocket.at != 0) {
    setHostPath(record, hostSocket.at, hostSocket.length);
  }
}

/** ssh waits for a descriptor on descriptor 1, a unix stream socket, if ProxyUseFdpass is set. */
function choose(): Mode {
  if (mode == Mode.Relay) return Mode.Relay;
  const stat = changetype<fdstat>(STAT);
  const error = fd_fdstat_get(STDOUT, stat);
  if (error == errno.BADF) fail(Code.NoStdout);
  if (
    error == errno.SUCCESS &&
    stat.filetype == filetype.SOCKET_STREAM &&
    sock_addr_local(STDOUT, FAMILY, 2, COUNT) == errno.SUCCESS &&
    load<u16>(FAMILY) == <u16>Family.Unix
  ) {
    return Mode.FdPass;
  }
  if (mode == Mode.FdPass) fail(Code.NoFdPassing);
  return Mode.Relay;
}

/**
 * Attempts, as long as --wait says and what fails may pass. None begins at the very end of that
 * time: the last one has as much of it as the first pause.
 */
function reach(): void {
  startProgress();
  const end = wait == 0 ? NEVER : now() + wait;
  const last = end - PAUSE_FIRST;
  let pause = PAUSE_FIRST;
  while (true) {
    const code = attempt(end);
    if (code == Code.Done) break;
    if (wait == 0 || !passes(code)) fail(code);
    const time = now();
    if (time >= last) fail(code);
    pause = min(pause, last - time);
    tellRetry(code, pause);
    rest(time + pause);
    if (now() >= end) fail(code);
    pause = min(pause << 1, PAUSE_LAST);
  }
  endProgress();
}

/** Waits for the next attempt, unless nobody is there any more for whom it would be. */
function rest(until: u64): void {
  let error = waitFor(STDOUT, eventtype.FD_READ, until);
  if (error == errno.SUCCESS) {
    if (hungUp()) fail(Code.ClientGone);
    error = waitUntil(until);
  }
  if (error != errno.SUCCESS && error != errno.TIMEDOUT) fail(waitFailure(error));
}

/** Exactly one byte and one descriptor are what ssh waits for; the byte's value means nothing. */
function handOver(): void {
  store<u8>(EXCHANGE, 0);
  const error = transmit(STDOUT, 1, SOCKET, deadline);
  if (error != errno.SUCCESS) fail(handOverFailure(error));
  explain(Code.FdPassed);
}

function relay(socket: fd): void {
  explain(Code.Relaying);
  let flags: relayflags = relayflags.HALF_CLOSE;
  if (halfClose == HalfClose.Never) flags = 0;
  if (halfClose == HalfClose.Auto && schemeOf(record) == Scheme.VsockMux) flags = 0;
  const error = sock_relay(socket, STDIN, STDOUT, flags, END);
  const end = changetype<relay_end>(END);
  if (error != errno.SUCCESS) fail(relayFailure(error, socket));
  if (end.error != errno.SUCCESS) fail(relayFailure(end.error, end.fd));
  explain(Code.Relayed);
}
