// What the command prints: each step with -v, the progress with --wait, and the message of a failure.
// It goes to stderr, and all but the progress to the log.

import {
  errno,
  fd_filestat_get,
  filestat,
  filetype,
  proc_exit,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import {
  argumentOf,
  familyOf,
  isName,
  portOf,
  schemeOf,
  textLengthOf,
  textOf,
} from "../core/address";
import { numberOf } from "../core/handshake";
import { PERCENT, SLASH, isLetter, lowerCase } from "../core/bytes";
import { Argument, CODES_PER_EXIT, Code, Exit, Family, Scheme } from "../codes";
import { CAPITALS, HELP, VERSION } from "../messages";
import * as lookup from "../names/lookup";
import { NO_TEXT, Result, isMissing, needsErrno } from "./errors";
import { NEVER, now, transferred, waitToWrite, write } from "./io";
import { appendStamp, log, writeLog } from "./log";
import { ROWS_MAX, outcomeOf, rankOf, setService, targetLength } from "./lookup";
import {
  Text,
  addressRecord,
  handshakeSlot,
  line,
  lookupSlot,
  targetRecord,
  targetText,
} from "./memory";
import { VARIABLE, address, cursorMoves, port, verbose, wait } from "./options";
import {
  append,
  appendEscaped,
  appendMessage,
  appendMilliseconds,
  appendNumber,
  appendSeconds,
  beginLine,
  endLine,
  endStamp,
  length,
  stampLength,
} from "./output";

const PROGRAM = "ssh-vsock-proxy: ";

const STDERR: u32 = 2;
/** How many bytes a pipe that is ready for writing takes without blocking (pipe(7)). */
const PIPE_BUF: usize = 4096;
const STDERR_TIMEOUT: u64 = 1_000_000_000;

const STAT = memory.data(64, 8);

/** Interval between redraws on a terminal, in nanoseconds. */
const REDRAW_INTERVAL: u64 = 1_000_000_000;
/** Interval between progress lines on other outputs, in nanoseconds. */
const LINE_INTERVAL: u64 = 10 * REDRAW_INTERVAL;

// Control sequences (ECMA-48; DECAWM of DEC's VT100). Progress is a whole line with the cursor below
// it, so that the screen is in order however the program ends.
const UP_AND_ERASE = "\x1b[A\r\x1b[K";
const WRAP_OFF = "\x1b[?7l";
const WRAP_ON = "\x1b[?7h";

/** When the program started, on the monotonic clock. */
let start: u64 = 0;
/** When `showProgress` is to be called next, though nothing may have happened. */
export let progressDue: u64 = NEVER;
/** Whether stderr is a terminal, on which a line can be redrawn. */
let redraws: bool = false;
/** Whether the line above the cursor is one of progress. */
let drawn: bool = false;
/** Whether stderr is writable. After the first timeout nothing more is written. */
let writable: bool = true;

/** Starts to measure the time. */
export function startClock(): void {
  start = now();
}

/** Makes progress due with --wait, unless -v prints each attempt. */
export function startProgress(): void {
  if (wait == 0 || verbose) return;
  const stat = changetype<filestat>(STAT);
  redraws =
    cursorMoves &&
    fd_filestat_get(STDERR, stat) == errno.SUCCESS &&
    stat.filetype == filetype.CHARACTER_DEVICE;
  progressDue = start + (redraws ? REDRAW_INTERVAL : LINE_INTERVAL);
}

/** Prints the help or the version, to stderr only, and ends the process. */
export function printText(help: bool): void {
  beginLine();
  append(help ? HELP : VERSION);
  writeStderr();
  proc_exit(Exit.Ok);
}

/**
 * With -v, and for the log: prints a step that was done, or a failure after which `--wait` retries,
 * and the time since the start.
 *
 * @param duration in nanoseconds: the limit for connecting; or after a failure, until the next
 *   attempt
 */
export function explain(step: Code, duration: u64 = 0): void {
  if (!verbose && log == 0) return;
  const time = now() - start;
  startMessage();
  appendAddress();
  append(": ");
  appendMilliseconds(time);
  append(": ");
  appendMessage(step);
  if (duration != 0) {
    append(step == Code.Connecting ? ", for at most " : "; again in ");
    appendMilliseconds(duration);
  }
  if (step == Code.ReplyReceived) {
    append(" ");
    appendNumber(numberOf(handshakeSlot));
  }
  finishMessage(verbose);
}

/** Prints what the command waits for: on a terminal at each call, elsewhere if it is due. */
export function showProgress(cause: Code): void {
  const time = now();
  if (progressDue == NEVER || (!redraws && time < progressDue)) return;
  progressDue = time + (redraws ? REDRAW_INTERVAL : LINE_INTERVAL);
  beginLine();
  if (drawn) append(UP_AND_ERASE);
  if (redraws) append(WRAP_OFF);
  append(PROGRAM);
  append("waiting for ");
  appendAddress();
  append(", ");
  appendSeconds(time - start);
  append(" of ");
  appendSeconds(wait);
  append(": ");
  appendMessage(cause);
  if (redraws) append(WRAP_ON);
  endLine();
  writeStderr();
  drawn = redraws;
}

/** Ends the progress, and erases it from a terminal. */
export function endProgress(): void {
  progressDue = NEVER;
  if (!drawn) return;
  drawn = false;
  beginLine();
  append(UP_AND_ERASE);
  writeStderr();
}

/**
 * Prints a failure and ends the process. All failures end here.
 *
 * @param retried whether --wait has begun to retry: then the message has the time since the start
 */
export function fail(failure: Result, retried: bool = false): void {
  const code = failure.code;
  endProgress();
  const time = now() - start;
  startMessage();
  if (appendSubject(failure)) append(": ");
  if (retried) {
    append("gave up after ");
    appendSeconds(time);
    append(": ");
  }
  appendMessage(code);
  if (needsErrno(code)) {
    append(": WASI errno ");
    appendNumber(failure.errno);
    append(", from ");
    append(failure.call);
  }
  appendDetail(code);
  if (code >= Code.NoAddress && code <= Code.NotForVariable) append(" (see --help)");
  if (mayLackCapitals(code)) {
    append(CAPITALS);
    append(exampleOf(schemeOf(addressRecord)));
  }
  finishMessage(true);
  proc_exit(code / CODES_PER_EXIT);
}

/** Begins a line with the log's stamp and the program's name. */
function startMessage(): void {
  beginLine();
  if (log != 0) {
    appendStamp();
    endStamp();
  }
  append(PROGRAM);
}

function finishMessage(toStderr: bool): void {
  endLine();
  if (log != 0) writeLog();
  if (toStderr) writeStderr();
}

/** Appends the subject of a failure as the user wrote it; false if there is none yet. */
function appendSubject(failure: Result): bool {
  const subject = failure.subject;
  if (subject == NO_TEXT) {
    if (address.at == 0) return false;
    appendAddress();
    return true;
  }
  if (subject.inVariable) {
    append(VARIABLE);
    if (subject.at == 0) return true;
    append(": ");
  }
  appendEscaped(subject.at, subject.length);
  const value = failure.value;
  if (value != NO_TEXT) {
    append(" ");
    appendEscaped(value.at, value.length);
  }
  return true;
}

/** Appends the address as the user wrote it, and the port, path or target that are not in it. */
function appendAddress(): void {
  const portIsWrong = argumentOf(addressRecord) == Argument.Port;
  appendEscaped(address.at, address.length);
  if (isName(addressRecord) && !portIsWrong) return appendTarget();
  appendPort(addressRecord);
  if (portIsWrong || familyOf(addressRecord) != <u16>Family.Unix) return;
  const isAbstract = schemeOf(addressRecord) == Scheme.UnixAbstract;
  const at = textOf(addressRecord) + (isAbstract ? 1 : 0);
  const size = textLengthOf(addressRecord) - (isAbstract ? 1 : 0);
  if (endsIn(address, at, size)) return;
  append(" at ");
  appendEscaped(at, size);
}

/** Appends what the name of a machine has led to so far: the socket of a service, or an address. */
function appendTarget(): void {
  if (targetLength == 0) return;
  append(" at ");
  if (schemeOf(targetRecord) == Scheme.Unix) {
    appendEscaped(textOf(targetRecord), textLengthOf(targetRecord));
  } else {
    appendEscaped(targetText, targetLength);
    appendPort(targetRecord);
  }
}

/** Appends the port of an address that has one. */
function appendPort(record: usize): void {
  const scheme = schemeOf(record);
  if (scheme != Scheme.Vsock && scheme != Scheme.VsockMux && !isName(record)) return;
  append(" port ");
  if (port.at != 0) appendEscaped(port.at, port.length);
  else appendNumber(portOf(record));
}

function endsIn(text: Text, at: usize, size: usize): bool {
  if (text.length < size) return false;
  return memory.compare(text.at + text.length - size, at, size) == 0;
}

/** Appends what the message of a code leaves open. */
function appendDetail(code: Code): void {
  if (code == Code.BadReply) {
    append(" ");
    appendNumber(lookup.offsetOf(lookupSlot));
  } else if (code == Code.ServiceError || code == Code.OtherAddress || code == Code.UnknownClass) {
    append(" ");
    appendEscaped(lookup.textOf(lookupSlot), lookup.textLengthOf(lookupSlot));
  } else if (rankOf(code) > 0) {
    appendOutcomes();
  }
}

/** Appends which services were asked, and why each could not help. */
function appendOutcomes(): void {
  let separator = "; asked ";
  for (let row: usize = 0; row < ROWS_MAX; row++) {
    const outcome = outcomeOf(row);
    if (outcome == Code.Done) continue;
    setService(row);
    append(separator);
    appendEscaped(textOf(targetRecord), textLengthOf(targetRecord));
    append(
      outcome == Code.NoService
        ? " (missing)"
        : outcome == Code.ServiceRefused
          ? " (not listening)"
          : outcome == Code.LookupDenied
            ? " (permission denied)"
            : " (not known there)",
    );
    separator = ", ";
  }
}

/**
 * Whether a path or name was not found that may have had capitals: ssh converts %h to lower case,
 * unless it has a `%`.
 */
function mayLackCapitals(code: Code): bool {
  const scheme = schemeOf(addressRecord);
  const notFound = isName(addressRecord)
    ? code == Code.NoSuchMachine || (code == Code.NoSuchDomain && scheme == Scheme.Qemu)
    : scheme != Scheme.Host && (isMissing(code) || code == Code.NoSuchName);
  if (!notFound) return false;
  if (argumentOf(addressRecord) == Argument.Name) return false;
  let hasLetter = false;
  let inPath = false;
  for (let at = address.at; at < address.at + address.length; at++) {
    const byte = load<u8>(at);
    if (byte == PERCENT || byte != lowerCase(byte)) return false;
    if (inPath && isLetter(byte)) hasLetter = true;
    if (byte == SLASH) inPath = true;
  }
  return hasLetter;
}

/** An address with capitals that ssh keeps. */
function exampleOf(scheme: Scheme): string {
  switch (scheme) {
    case Scheme.UnixAbstract:
      return "unix-abstract%VM";
    case Scheme.Unix:
      return "unix%/run/VM.sock";
    case Scheme.VsockMux:
      return "vsock-mux%/run/VM.sock";
    case Scheme.Machine:
      return "machine%VM";
  }
  return "qemu%VM";
}

/**
 * Writes the line to stderr, without its stamp: in one write if a pipe can take that, so that the
 * output of other programs does not split it. Bytes that stderr does not take within STDERR_TIMEOUT
 * are lost, because ssh waits.
 */
function writeStderr(): void {
  let at = stampLength;
  while (at < length && writable) {
    writable = waitToWrite(STDERR, now() + STDERR_TIMEOUT);
    if (!writable) break;
    const error = write(STDERR, line + at, min(length - at, PIPE_BUF));
    if (error == errno.SUCCESS && transferred() > 0) at += transferred();
    else writable = error == errno.AGAIN;
  }
}
