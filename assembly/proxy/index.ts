// proxy.wasm: the whole ProxyCommand. Arguments → address → look-up → socket → handshake → fd passing
// or relay, each step a function below, in that order. A step returns a Result; `fail` prints a
// failure and ends the process.
//
// Rules
// 1. stdout belongs to ssh: the one byte of fd passing, or the relayed bytes. Messages go to stderr.
// 2. One deadline covers an attempt, from its first system call to fd passing; another one covers
//    all attempts.
// 3. The schedule is here: when an attempt begins and ends, and when progress is shown during it. The
//    other modules only get the time at which to return.

import {
  errno,
  eventtype,
  fd,
  fd_filestat_get,
  filestat,
  filetype,
  proc_exit,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { relay_end, relayflags, sock_addr_local, sock_relay } from "../bindings/socket_shim_v1";
import { Argument, Code, Exit, Family, Scheme } from "../codes";
import { argumentOf, isName, parseAddress, schemeOf, setHostPath } from "../core/address";
import { codeOf } from "../core/handshake";
import { lookup_code } from "../names/index";
import { SOCKET, closeSocket, connect, openSocket, readReply, sendRequest } from "./connect";
import {
  DONE,
  Result,
  failed,
  fdPassingFailure,
  isMissing,
  isRetryable,
  logFailure,
  relayFailure,
  serviceFailure,
  waitFailure,
} from "./errors";
import { NEVER, hungUp, now, send, waitFor, waitUntil } from "./io";
import { openLog } from "./log";
import {
  beginExchange,
  beginLookUp,
  exchange,
  isContainer,
  keepOutcome,
  nextService,
  notFound,
  setContainerSocket,
  takeAnswer,
  target,
} from "./lookup";
import { addressRecord, handshakeSlot, ioBuffer, lookupSlot } from "./memory";
import {
  Action,
  HalfClose,
  Mode,
  action,
  address,
  halfClose,
  hostSocket,
  linger,
  logFile,
  mode,
  name,
  parseArguments,
  port,
  timeout,
  wait,
} from "./options";
import {
  endProgress,
  explain,
  fail,
  printText,
  progressDue,
  showProgress,
  startClock,
  startProgress,
} from "./report";

const STDIN: fd = 0;
const STDOUT: fd = 1;

/** The pause between attempts, in nanoseconds: it doubles from the first to the longest. */
const PAUSE_FIRST: u64 = 50_000_000;
const PAUSE_MAX: u64 = 1_000_000_000;
/** An end of file after this time is unlikely to be the answer of a machine that is up. */
const LONG_WAIT: u64 = 1_000_000_000;

const COUNT = memory.data(4, 4);
const FAMILY = memory.data(2, 2);
const STDIN_STAT = memory.data(64, 8);
const STDOUT_STAT = memory.data(64, 8);
const END = memory.data(8, 4);

main();

function main(): void {
  startClock();
  const result = parseArguments();
  if (action != Action.Connect && result.code == Code.Done) printText(action == Action.Help);
  if (logFile.at != 0) openLogFile();
  if (result.code != Code.Done) fail(result);
  parseTarget();
  const relays = selectMode() == Mode.Relay;
  const deadline = connectWithRetry();
  if (relays) relay(load<u32>(SOCKET));
  else passSocket(deadline);
  proc_exit(Exit.Ok);
}

function openLogFile(): void {
  const error = openLog(logFile);
  if (error != errno.SUCCESS) fail(logFailure(error, logFile));
}

/** Parses ADDRESS, PORT and NAME into addressRecord. Messages name NAME if that was taken. */
function parseTarget(): void {
  const code = parseAddress(
    addressRecord,
    address.at,
    address.length,
    port.at,
    port.length,
    name.at,
    name.length,
  );
  if (argumentOf(addressRecord) == Argument.Name) address.at = name.at;
  if (code != Code.Done) fail(failed(code));
  if (schemeOf(addressRecord) == Scheme.Host && hostSocket.at != 0) {
    setHostPath(addressRecord, hostSocket.at, hostSocket.length);
  }
}

/**
 * With ProxyUseFdpass, ssh waits for a descriptor on a unix stream socket, which it has put on 0 and 1
 * (sshconnect.c, ssh_proxy_fdpass_connect). Clients that give a command two sockets, such as Node,
 * wait for bytes.
 */
function selectMode(): Mode {
  if (mode == Mode.Relay) return Mode.Relay;
  const error = fd_filestat_get(STDOUT, changetype<filestat>(STDOUT_STAT));
  if (error == errno.BADF) fail(failed(Code.NoStdout));
  const passes = error == errno.SUCCESS && isUnixStream();
  if (mode == Mode.FdPass && !passes) fail(failed(Code.NoFdPassing));
  return passes && (mode == Mode.FdPass || isStdinStdout()) ? Mode.FdPass : Mode.Relay;
}

/** Whether descriptor 1, whose attributes are in STDOUT_STAT, is a unix stream socket. */
function isUnixStream(): bool {
  return (
    changetype<filestat>(STDOUT_STAT).filetype == filetype.SOCKET_STREAM &&
    sock_addr_local(STDOUT, FAMILY, 2, COUNT) == errno.SUCCESS &&
    load<u16>(FAMILY) == <u16>Family.Unix
  );
}

/** Whether descriptor 0 is the same file as 1, whose attributes are in STDOUT_STAT. */
function isStdinStdout(): bool {
  const stdin = changetype<filestat>(STDIN_STAT);
  const stdout = changetype<filestat>(STDOUT_STAT);
  if (fd_filestat_get(STDIN, stdin) != errno.SUCCESS) return false;
  return stdin.dev == stdout.dev && stdin.ino == stdout.ino;
}

/**
 * Attempts to connect until one succeeds, fails for good, or the time of --wait is over. None begins
 * at the very end of that time: the last one has at least PAUSE_FIRST of it.
 *
 * @returns the deadline of the attempt that has succeeded
 */
function connectWithRetry(): u64 {
  startProgress();
  const end = wait == 0 ? NEVER : now() + wait;
  const last = max(end, PAUSE_FIRST) - PAUSE_FIRST;
  let pause = PAUSE_FIRST;
  let retried = false;
  while (true) {
    beginLookUp();
    explain(Code.Connecting, wait == 0 ? timeout : min(timeout, end - now()));
    const begun = now();
    const deadline = min(begun + timeout, end);
    const result = attempt(begun, deadline);
    if (result.code == Code.Done) {
      endProgress();
      return deadline;
    }
    if (wait == 0 || !isRetryable(result.code)) fail(result, retried);
    const time = now();
    if (time >= last) fail(result, retried);
    pause = min(pause, last - time);
    retried = true;
    explain(result.code, pause);
    showProgress(result.code);
    const interruption = sleepUntil(time + pause);
    if (interruption.code != Code.Done) fail(interruption, retried);
    if (now() >= end) fail(result, retried);
    pause = min(pause << 1, PAUSE_MAX);
  }
}

/** Connects a socket to the address, with a multiplexer to the port. If that fails, there is no socket. */
function attempt(begun: u64, deadline: u64): Result {
  let result = DONE;
  if (isName(addressRecord)) {
    result = lookUp(deadline);
    // LONG_WAIT is the multiplexer's.
    begun = now();
  }
  if (result.code == Code.Done) result = isContainer() ? reachContainer(deadline) : reach(deadline);
  if (result.code != Code.Done) return result;
  if (schemeOf(target()) != Scheme.VsockMux) {
    explain(Code.Connected);
    return result;
  }
  result = shakeHands(begun, deadline);
  if (result.code != Code.Done) closeSocket();
  return result;
}

/** Asks the services for the address that the name leads to, and makes it the target. */
function lookUp(deadline: u64): Result {
  while (nextService()) {
    let result = askService(deadline);
    if (result.code == Code.Done) {
      result = takeAnswer();
      if (result.code == Code.Done) explain(Code.Answered);
      return result;
    }
    if (!keepOutcome(result.code)) return result;
    explain(result.code);
  }
  return notFound();
}

function askService(deadline: u64): Result {
  let result = reach(deadline);
  if (result.code != Code.Done) return serviceFailure(result);
  result = beginExchange(load<u32>(SOCKET), deadline);
  if (result.code == Code.Done) explain(Code.Asked);
  while (result.code == Code.Done && lookup_code(lookupSlot) == Code.NeedMore) {
    const until = min(deadline, progressDue);
    result = exchange(load<u32>(SOCKET), until, deadline);
    if (until < deadline && now() >= until) showProgress(Code.Asked);
  }
  closeSocket();
  if (result.code != Code.Done) return result;
  const code = lookup_code(lookupSlot);
  return code == Code.Done ? DONE : failed(code);
}

/** systemd-nspawn has had two places for the socket of a container. */
function reachContainer(deadline: u64): Result {
  let result = reach(deadline);
  if (!isMissing(result.code)) return result;
  setContainerSocket(true);
  result = reach(deadline);
  if (!isMissing(result.code)) return result;
  setContainerSocket(false);
  return failed(Code.NoContainerSocket);
}

/** Connects a socket to the target. If that fails, there is no socket. */
function reach(deadline: u64): Result {
  let result = openSocket();
  if (result.code != Code.Done) return result;
  result = connectSocket(deadline);
  if (result.code != Code.Done) closeSocket();
  return result;
}

function connectSocket(deadline: u64): Result {
  while (true) {
    const until = min(deadline, progressDue);
    const result = connect(until);
    if (result.code == Code.Done || result.errno != errno.TIMEDOUT) return result;
    // The kernel may have a limit of its own, before `until`.
    if (until == deadline || now() < until) return result;
    showProgress(Code.Connecting);
  }
}

function shakeHands(begun: u64, deadline: u64): Result {
  let result = sendRequest(deadline);
  if (result.code != Code.Done) return result;
  if (codeOf(handshakeSlot) == Code.NeedMore) explain(Code.RequestSent);
  while (codeOf(handshakeSlot) == Code.NeedMore) {
    const until = min(deadline, progressDue);
    result = readReply(until, deadline);
    if (result.code != Code.Done) return result;
    if (until < deadline && now() >= until) showProgress(Code.RequestSent);
  }
  const code = codeOf(handshakeSlot);
  if (code == Code.EndOfFile && now() - begun >= LONG_WAIT) return failed(Code.EndOfFileAfterWait);
  if (code != Code.Done) return failed(code);
  explain(Code.ReplyReceived);
  return DONE;
}

/** Waits for the next attempt; fails early if ssh has ended. */
function sleepUntil(time: u64): Result {
  let error = waitFor(STDOUT, eventtype.FD_READ, time);
  if (error == errno.SUCCESS) {
    if (hungUp()) return failed(Code.ClientGone);
    error = waitUntil(time);
  }
  return error == errno.SUCCESS || error == errno.TIMEDOUT ? DONE : waitFailure(error);
}

/** Passes the socket to ssh, with the one byte that carries it. ssh ignores its value. */
function passSocket(deadline: u64): void {
  store<u8>(ioBuffer, 0);
  const error = send(STDOUT, ioBuffer, 1, SOCKET, deadline);
  if (error != errno.SUCCESS) fail(fdPassingFailure(error));
  explain(Code.FdPassed);
}

function relay(socket: fd): void {
  explain(Code.Relaying);
  let flags: relayflags = relayflags.HALF_CLOSE;
  if (halfClose == HalfClose.Never) flags = 0;
  if (halfClose == HalfClose.Auto && schemeOf(target()) == Scheme.VsockMux) flags = 0;
  const error = sock_relay(socket, STDIN, STDOUT, flags, linger, END);
  const end = changetype<relay_end>(END);
  if (error != errno.SUCCESS) fail(relayFailure(error, socket));
  if (end.error != errno.SUCCESS) fail(relayFailure(end.error, end.fd));
  explain(Code.Relayed);
}
