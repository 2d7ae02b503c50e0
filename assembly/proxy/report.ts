// What the command says: each step with -v, what it waits for with --wait, and the one line of a
// failure. It goes to stderr, and all but the progress to the log.

import {
  errno,
  fd_fdstat_get,
  fdstat,
  filetype,
  proc_exit,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import {
  familyOf,
  portOf,
  schemeOf,
  socketAddressLengthOf,
  socketAddressOf,
} from "../core/address";
import { CODES_PER_EXIT, Code, Exit, Family, Scheme } from "../codes";
import { failedCall, failedErrno } from "./errors";
import { numberOf } from "../core/handshake";
import { SLOT, record } from "./memory";
import {
  STDERR,
  begin,
  end,
  endStamp,
  foreign,
  say,
  sayMeaning,
  sayMilliseconds,
  sayNumber,
  saySeconds,
  writeLog,
  writeOut,
} from "./output";
import { log, sayStamp } from "./log";
import {
  VARIABLE,
  address,
  culprit,
  culpritValue,
  cursorMoves,
  inVariable,
  port,
  verbose,
  wait,
} from "./options";
import { HELP, VERSION } from "../messages";
import { NEVER, now } from "./wait";

const NAME = "ssh-vsock-proxy: ";

const STAT = memory.data(24, 8);

/** A terminal's line of progress is renewed so often, at least. */
const REDRAW: u64 = 1_000_000_000;
/** Elsewhere there is a line so often. */
const REPEAT: u64 = 10 * REDRAW;

// What a terminal is told (ECMA-48; DECAWM of DEC's VT100). A line is drawn as a whole line, with
// the cursor below it, so that whatever ends the program leaves a screen in order.
const UP_AND_ERASE = "\x1b[A\r\x1b[K";
const CLIP = "\x1b[?7l";
const WRAP_AGAIN = "\x1b[?7h";

let start: u64 = 0;
/** When `progress` wants to be called again, though nothing may have happened. */
export let due: u64 = NEVER;
/** Whether stderr is a terminal, on which a line can be renewed. */
let redraws: bool = false;
/** Whether the line above the cursor is one of progress. */
let drawn: bool = false;
/** Whether one attempt has failed, and there is another: a failure says how long it was tried then. */
let triesAgain: bool = false;

/** Begins to measure the time. */
export function startClock(): void {
  start = now();
}

/** Prepares for progress to be told, where there may be more than one attempt. */
export function startProgress(): void {
  if (wait == 0 || verbose) return;
  const stat = changetype<fdstat>(STAT);
  redraws =
    cursorMoves &&
    fd_fdstat_get(STDERR, stat) == errno.SUCCESS &&
    stat.filetype == filetype.CHARACTER_DEVICE;
  due = start + (redraws ? REDRAW : REPEAT);
}

/** Help or the version, which are no lines: they go to stderr alone. */
export function tell(help: bool): void {
  begin();
  say(help ? HELP : VERSION);
  writeOut();
  proc_exit(Exit.Ok);
}

/**
 * With -v, and for the log: what has been done, or has failed, and how long after the start.
 *
 * @param span in nanoseconds: how long connecting may take; or, of an attempt that failed, what
 *   passes until the next
 */
export function explain(what: Code, span: u64 = 0): void {
  if (!verbose && log == 0) return;
  const time = now() - start;
  beginLine();
  sayMilliseconds(time);
  say(": ");
  sayMeaning(what);
  if (what == Code.Connecting && familyOf(record) == <u16>Family.Unix) {
    say(" to ");
    sayPath();
  }
  if (span != 0) {
    say(what == Code.Connecting ? ", for at most " : "; again in ");
    sayMilliseconds(span);
  }
  if (what == Code.ReplyReceived) {
    say(" ");
    sayNumber(numberOf(SLOT));
  }
  endLine(verbose);
}

/** Tells what is waited for: on a terminal at each call, elsewhere where it is due. */
export function progress(cause: Code): void {
  const time = now();
  if (due == NEVER || (!redraws && time < due)) return;
  due = time + (redraws ? REDRAW : REPEAT);
  begin();
  if (drawn) say(UP_AND_ERASE);
  if (redraws) say(CLIP);
  say(NAME);
  say("waiting for ");
  saySubject();
  say(", ");
  saySeconds(time - start);
  say(" of ");
  saySeconds(wait);
  say(": ");
  sayMeaning(cause);
  if (redraws) say(WRAP_AGAIN);
  end();
  writeOut();
  drawn = redraws;
}

/** An attempt has failed, and in `pause` nanoseconds there is another. */
export function tellRetry(cause: Code, pause: u64): void {
  triesAgain = true;
  explain(cause, pause);
  progress(cause);
}

/** There are no more attempts: takes the progress away, because what comes now says more. */
export function endProgress(): void {
  triesAgain = false;
  due = NEVER;
  if (!drawn) return;
  drawn = false;
  begin();
  say(UP_AND_ERASE);
  writeOut();
}

/** The one place where a failure is told, and the end of the process. */
export function fail(code: Code): void {
  const tellsHowLong = triesAgain;
  endProgress();
  const time = now() - start;
  beginLine();
  if (tellsHowLong) {
    say("gave up after ");
    saySeconds(time);
    say(": ");
  }
  sayMeaning(code);
  if (code == Code.SystemError || (code >= Code.StdinFailed && code <= Code.NoLogFile)) {
    say(": WASI errno ");
    sayNumber(failedErrno);
    say(", from ");
    say(failedCall);
  }
  if (code >= Code.NoAddress && code <= Code.NotForVariable) say(" (see --help)");
  endLine(true);
  proc_exit(code / CODES_PER_EXIT);
}

function beginLine(): void {
  begin();
  if (log != 0) {
    sayStamp();
    endStamp();
  }
  say(NAME);
  if (saySubject()) say(": ");
}

function endLine(loud: bool): void {
  end();
  if (log != 0) writeLog(log);
  if (loud) writeOut();
}

/** What a line is about, as the user wrote it; false where there is nothing yet. */
function saySubject(): bool {
  if (inVariable) {
    say(VARIABLE);
    if (culprit.at == 0) return true;
    say(": ");
  }
  if (culprit.at != 0) {
    foreign(culprit.at, culprit.length);
    if (culpritValue.at != 0) {
      say(" ");
      foreign(culpritValue.at, culpritValue.length);
    }
    return true;
  }
  if (address.at == 0) return false;
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
  return true;
}

/** The path of a unix socket; an abstract name begins with the NUL that it has, shown as \x00. */
function sayPath(): void {
  foreign(socketAddressOf(record) + 2, socketAddressLengthOf(record) - 2);
}
