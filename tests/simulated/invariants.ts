// What has to hold after every world, whatever happened in it. It is read from docs/abi.md,
// docs/options.md and the texts of assembly/messages.ts, and knows nothing of how the program does it.
//
//  1. It ends by proc_exit, without a trap, and uses no import in a way that docs/abi.md rules out
//     (simulation.ts throws), after a bounded number of calls.
//  2. It ends with 0 where the connection was handed over or relayed whole, or a text was asked for,
//     and nowhere else; and with a failure only for the reason of its last step.
//  3. The failure is one line on stderr, which says that reason, and the errno and the call where it
//     has no words. What else is said are steps with -v, or progress with --wait. No byte of it acts
//     on a terminal but those that renew a line.
//  4. Each socket of an attempt that failed is closed, once, before there is another. What gets the
//     connection gets a connected socket, and nothing else; descriptor 1 gets nothing else.
//  5. A multiplexer is asked once, with the right port, and at once; of what it sends not a byte
//     behind the OK line is taken.
//  6. No wait is longer than --timeout for an attempt and --wait for all allow, but for the second
//     that stderr is given; nothing is given up before.
//  7. Another attempt follows what may pass, and nothing else.

import { CODES_PER_EXIT, Code } from "../../assembly/codes";
import { HELP } from "../../assembly/messages";
import { VERSION, meanings } from "../support/meanings";
import { CLOCK_MAX, errno } from "./world";
import type { Call, Opened, Outcome } from "./world";
import { Screen } from "../support/vt";
import type { Scenario } from "./cases";
import { errnoName, isPeace } from "./injections";
import type { Deviation } from "./injections";

const MS = 1_000_000;
const SECOND = 1000 * MS;
/** The time that simulation.ts lets pass where a descriptor is ready. */
const MOMENT = 10 * MS;
/** What stderr is given to take a line, once. */
const PATIENCE = SECOND;
/** The pause between two attempts at first, and what the last one has. */
const PAUSE = 50 * MS;
const PAUSE_LAST = SECOND;
const FD_READ = 1;
const PEEK = 1;
const SOCKET_STREAM = 6;
const AF_UNIX = 3;
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;

export class Broken extends Error {}

function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Broken(what);
}

// ---- what an errno means, by docs/abi.md and docs/options.md

type Meanings = Partial<Record<keyof typeof errno, Code>>;

const ofAll: Meanings = {
  MFILE: Code.DescriptorLimit,
  NFILE: Code.DescriptorLimit,
  NOMEM: Code.MemoryLimit,
  NOBUFS: Code.MemoryLimit,
};
const ofPath: Meanings = {
  NOENT: Code.NoSocket,
  NOTDIR: Code.NotDirectory,
  LOOP: Code.SymlinkLoop,
  NOTSOCK: Code.NotSocket,
  ISDIR: Code.IsDirectory,
  NAMETOOLONG: Code.PathTooLong,
  NOTSUP: Code.NoProc,
  PROTOTYPE: Code.WrongSocketType,
  CONNREFUSED: Code.Refused,
  TIMEDOUT: Code.QueueFull,
  ACCES: Code.PermissionDenied,
  PERM: Code.PermissionDenied,
};
const ofScheme: Record<string, Meanings> = {
  unix: ofPath,
  "vsock-mux": ofPath,
  ".host": ofPath,
  "unix-abstract": {
    CONNREFUSED: Code.NoSuchName,
    PROTOTYPE: Code.WrongSocketType,
    TIMEDOUT: Code.QueueFull,
    ACCES: Code.Forbidden,
    PERM: Code.Forbidden,
  },
  vsock: {
    CONNRESET: Code.NotListening,
    CONNREFUSED: Code.NotListening,
    NODEV: Code.NoMachine,
    HOSTUNREACH: Code.NoMachine,
    NETUNREACH: Code.NoMachine,
    AFNOSUPPORT: Code.NoVsock,
    TIMEDOUT: Code.NoAnswer,
    ACCES: Code.Forbidden,
    PERM: Code.Forbidden,
  },
};
const ofHandshake: Meanings = {
  CONNRESET: Code.ResetInHandshake,
  PIPE: Code.ResetInHandshake,
  TIMEDOUT: Code.ReplyTimeout,
};
const ofHandOver: Meanings = {
  CONNRESET: Code.ClientGone,
  PIPE: Code.ClientGone,
  NOTCONN: Code.ClientGone,
  TIMEDOUT: Code.FdPassTimeout,
};
const ofPeer: Meanings = {
  CONNRESET: Code.PeerClosed,
  PIPE: Code.PeerClosed,
  NOTCONN: Code.PeerClosed,
};
const ofReader: Meanings = { CONNRESET: Code.StdoutClosed, PIPE: Code.StdoutClosed };

/** Reasons that may pass while a machine boots: docs/options.md, "Waiting for a machine". */
const passing: readonly Code[] = [
  ...[Code.NoSocket, Code.Refused, Code.QueueFull, Code.NoSuchName],
  ...[Code.NotListening, Code.NoMachine, Code.NoAnswer],
  ...[Code.EndOfFile, Code.EndWithinLine, Code.ResetInHandshake],
  ...[Code.ReplyTimeout, Code.ReplyTimeoutWithinLine],
];

/** Why something failed: the code, and the errno and the call that it came from, if it did. */
interface Reason {
  code: Code;
  errno?: number;
  call?: string;
}

function reasonOf(error: number, call: string, meanings: Meanings, otherwise: Code): Reason {
  const name = errnoName(error) as keyof typeof errno;
  const known = meanings[name] ?? ofAll[name];
  return { code: known ?? otherwise, errno: error, call };
}

// ---- the steps of the command

const reads = ["args_sizes_get", "environ_sizes_get", "args_get", "environ_get"];

/** What the command does for its own sake; not what it tells, nor the time that it looks up. */
function isStep({ name, fd }: Call): boolean {
  if (name === "poll_oneoff" || name === "fd_fdstat_get") return fd !== STDERR;
  return !["clock_time_get", "fd_close", "fd_write", "proc_exit"].includes(name);
}

function isPause({ name, fd, type }: Call): boolean {
  return name === "poll_oneoff" && (fd === undefined || (fd === STDOUT && type === FD_READ));
}

const taken = ({ taken }: Opened): string => Buffer.concat(taken).toString("latin1");

/** Why the steps up to `last` failed, by what the last one came to. */
function reasonFor(scenario: Scenario, outcome: Outcome, steps: Call[], socket?: Opened): Reason {
  const last = steps.at(-1);
  const own = ownReason(scenario);
  if (last === undefined) return own;
  const { name, errno: error, count } = last;
  const failed = error !== errno.SUCCESS;
  const hasBegun = socket !== undefined && taken(socket) !== "";
  switch (name) {
    case "log_open":
      return failed ? reasonOf(error, name, {}, Code.NoLogFile) : own;
    case "fd_fdstat_get":
      return { code: error === errno.BADF ? Code.NoStdout : Code.NoFdPassing };
    case "sock_addr_local":
      return { code: Code.NoFdPassing };
    case "sock_open":
    case "sock_connect":
      return reasonOf(error, name, ofScheme[scenario.scheme?.name ?? ""] ?? {}, Code.SystemError);
    case "sock_send":
      if (error === errno.AGAIN) return { code: Code.ReplyTimeout };
      if (failed) return reasonOf(error, name, ofHandshake, Code.SystemError);
      return { code: Code.ShortWrite };
    case "sock_recv":
      if (error === errno.AGAIN && last.parameters[3] === PEEK) {
        return { code: hasBegun ? Code.ReplyTimeoutWithinLine : Code.ReplyTimeout };
      }
      if (failed) return reasonOf(error, name, ofHandshake, Code.SystemError);
      if (count !== 0) return own;
      return {
        code: hasBegun || last.parameters[3] !== PEEK ? Code.EndWithinLine : Code.EndOfFile,
      };
    case "poll_oneoff":
      return reasonForWait(scenario, outcome, steps, socket);
    case "sock_send_fds":
      if (error === errno.AGAIN) return { code: Code.FdPassTimeout };
      return reasonOf(error, name, ofHandOver, Code.SystemError);
    case "sock_relay": {
      const { fd, error: ended } = last.end ?? { fd: socket?.fd ?? 0, error };
      if (failed || fd > STDERR) {
        return reasonOf(failed ? error : ended, name, ofPeer, Code.SystemError);
      }
      return fd === STDIN
        ? reasonOf(ended, name, {}, Code.StdinFailed)
        : reasonOf(ended, name, ofReader, Code.StdoutFailed);
    }
    default:
      return own;
  }
}

/** What comes of it in peace. */
function ownReason({ code }: Scenario): Reason {
  return { code: typeof code === "string" ? Code.Done : code };
}

/** The same where the last step was a wait. */
function reasonForWait(
  scenario: Scenario,
  outcome: Outcome,
  steps: Call[],
  socket?: Opened,
): Reason {
  const last = steps.at(-1) as Call;
  const failed = last.errno !== errno.SUCCESS && last.errno !== errno.TIMEDOUT;
  if (isPause(last)) {
    if (failed) return reasonOf(last.errno, last.name, {}, Code.SystemError);
    // Together with the end of the pause it may be overlooked until the next one.
    if (last.hungUp === true && last.due !== true) return { code: Code.ClientGone };
    // The pause is over, and so is the time: what had failed before it is told.
    const before = steps.findLastIndex((step) => !isPause(step));
    return reasonFor(scenario, outcome, steps.slice(0, before + 1), socket);
  }
  if (last.type === FD_READ) return reasonOf(last.errno, last.name, {}, Code.SystemError);
  // A wait to send is a part of sending, and told as that.
  const sending = steps.at(-2)?.name ?? "";
  const meanings = sending === "sock_send" ? ofHandshake : ofHandOver;
  return reasonOf(last.errno, sending, meanings, Code.SystemError);
}

/** The steps of each attempt, and the socket that it had. */
function attemptsOf(outcome: Outcome): { steps: Call[]; socket?: Opened }[] {
  const attempts: { steps: Call[]; socket?: Opened }[] = [{ steps: [] }];
  let opened = 0;
  for (const call of outcome.trace) {
    if (!isStep(call)) continue;
    if (call.name === "sock_open") {
      const socket = call.errno === errno.SUCCESS ? outcome.sockets[opened++] : undefined;
      attempts.push(socket === undefined ? { steps: [] } : { steps: [], socket });
    }
    attempts.at(-1)?.steps.push(call);
  }
  return attempts;
}

// ---- the invariants

/** Throws Broken, with what does not hold in words. */
export function checkInvariants(scenario: Scenario, world: Deviation, outcome: Outcome): void {
  check(outcome.exit >= 0, "it returns without proc_exit");
  if (isPeace(world)) checkStatus(outcome.exit, ownReason(scenario));
  checkCount(scenario, outcome);
  const attempts = attemptsOf(outcome);
  const last = attempts.at(-1) as { steps: Call[]; socket?: Opened };
  const failed = outcome.exit !== 0;
  const reason: Reason = outcome.trace.some((call) => reads.includes(call.name) && call.errno !== 0)
    ? { code: Code.MemoryLimit }
    : reasonFor(scenario, outcome, last.steps, last.socket);
  if (failed) checkStatus(outcome.exit, reason);
  else checkSuccess(scenario, outcome, last.socket);
  checkWords(scenario, outcome, failed ? reason : undefined, attempts);
  checkSockets(scenario, outcome, attempts.slice(1), failed);
  const isClockTrue = !outcome.trace.some(
    ({ name, errno: error }) => name === "clock_time_get" && error !== errno.SUCCESS,
  );
  if (isClockTrue && !overflows(scenario, world, outcome)) {
    checkTime(scenario, outcome, failed ? reason : undefined, last.steps);
  }
  attempts.slice(1, -1).forEach(({ steps, socket }) => {
    const { code } = reasonFor(scenario, outcome, steps, socket);
    check(scenario.wait > 0 && passing.includes(code), `another attempt follows ${Code[code]}`);
  });
}

function checkCount(scenario: Scenario, outcome: Outcome): void {
  // A pause takes PAUSE_LAST in the end, and doubles before.
  const attempts = 8 + scenario.wait / PAUSE_LAST;
  const moments = outcome.waited < 1000 * SECOND ? outcome.waited / MOMENT : 0;
  const lines = scenario.world.writeTakes === undefined ? 0 : outcome.stderr.length;
  const most = 100 + (scenario.wait > 0 ? 60 * attempts : 0) + 4 * moments + 3 * lines;
  check(outcome.calls.length <= most, `it makes ${outcome.calls.length} calls`);
}

function checkStatus(exit: number, { code }: Reason): void {
  const expected = Math.floor(code / CODES_PER_EXIT);
  check(exit === expected, `exit ${exit} instead of ${expected} for ${Code[code]}`);
}

function checkSuccess(scenario: Scenario, outcome: Outcome, socket?: Opened): void {
  const { handedOver, relays, trace } = outcome;
  if (typeof scenario.code === "string") {
    check(outcome.sockets.length === 0, "a text was asked for, and a socket opened");
    return;
  }
  check(socket !== undefined, "exit 0 without a socket");
  const stat = trace.find(({ name, fd }) => name === "fd_fdstat_get" && fd === STDOUT);
  const local = trace.find(({ name }) => name === "sock_addr_local");
  const stdout = scenario.world.stdout ?? { filetype: SOCKET_STREAM, family: AF_UNIX };
  const passes =
    scenario.mode !== "stdio" &&
    stat?.errno === errno.SUCCESS &&
    stdout.filetype === SOCKET_STREAM &&
    local?.errno === errno.SUCCESS &&
    stdout.family === AF_UNIX;
  check(passes || scenario.mode !== "fdpass", "exit 0 though nothing can be handed over");
  check(handedOver.length === (passes ? 1 : 0), `exit 0, and ${handedOver.length} hand-overs`);
  check(relays.length === (passes ? 0 : 1), `exit 0, and ${relays.length} relays`);
  for (const { bytes, fds } of handedOver) {
    check(bytes.length === 1, `the hand-over has ${bytes.length} bytes`);
    check(fds.join() === `${socket.fd}`, `descriptors ${fds.join()} are handed over`);
  }
  for (const relay of relays) {
    check(relay.socket === socket.fd, `descriptor ${relay.socket} is relayed`);
    check(relay.in === STDIN && relay.out === STDOUT, "not stdin and stdout are relayed");
    check(relay.flags === (scenario.halfClose ? 1 : 0), `the relay's flags are ${relay.flags}`);
    const end = trace.find(({ name }) => name === "sock_relay");
    check(end?.errno === 0 && end.end?.error === 0, "exit 0 though the relay failed");
  }
}

// ---- words

const withErrno = [Code.SystemError, Code.StdinFailed, Code.StdoutFailed, Code.NoLogFile];
const withHelp = (code: Code): boolean => code >= Code.NoAddress && code <= Code.NotForVariable;

/** The codes that a line can be about, beside why it failed in the end. */
const escape = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
const anyMeaning = [...meanings.values()].map(escape).join("|");
const STEP = new RegExp(
  `^\\d+\\.\\d{3} ms: (${anyMeaning})( to [^\\p{C}]+)?( \\d+|, for at most \\d+\\.\\d{3} ms|; again in \\d+\\.\\d{3} ms)?$`,
  "u",
);
const PROGRESS = new RegExp(`, \\d+\\.\\d s of \\d+\\.\\d s: (${anyMeaning})$`);
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[4711\] /;

/** Whether there was something that stderr did not take, so that all later words are lost. */
function isLost({ trace }: Outcome): boolean {
  return trace.some(({ name, fd, errno: error, due, ready }) => {
    if (fd !== STDERR) return false;
    if (name === "fd_write") return error !== errno.SUCCESS && error !== errno.AGAIN;
    return name === "poll_oneoff" && (error === errno.TIMEDOUT || (due === true && ready !== true));
  });
}

function checkWords(
  scenario: Scenario,
  outcome: Outcome,
  reason: Reason | undefined,
  attempts: { steps: Call[] }[],
): void {
  const text = outcome.stderr.toString();
  check(Buffer.from(text).equals(outcome.stderr), "stderr is not UTF-8");
  if (typeof scenario.code === "string") {
    const whole = scenario.code === "help" ? HELP : VERSION;
    const lost = isLost(outcome) || outcome.exit !== 0;
    if (!lost) check(text === whole, "what was asked for is not what is said");
    if (outcome.exit === 0) return;
  }
  const plain = scenario.redraws ? text.replaceAll(/\x1b\[A\r\x1b\[K|\x1b\[\?7[lh]/g, "") : text;
  check(/^(\P{C}|\n)*$/u.test(plain), `stderr has a control character: ${JSON.stringify(text)}`);

  const lines = plain.split("\n");
  const rest = lines.pop() ?? "";
  const lost = isLost(outcome) || scenario.world.stderrIsStuck === true;
  check(lost || rest === "", `stderr ends within a line: ${JSON.stringify(rest)}`);
  const failure = lost || reason === undefined ? undefined : lines.pop();
  for (const line of lines) checkLine(scenario, line, lost ? reason : undefined);
  if (failure !== undefined && reason !== undefined) {
    checkFailure(scenario, failure, reason, attempts);
  } else {
    check(lost || reason === undefined, "the failure is not said");
  }
  if (scenario.redraws && !lost) {
    const screen = new Screen(100_000);
    screen.write(text);
    const shown = failure === undefined ? [] : [failure];
    check(screen.shown.join("\n") === shown.join("\n"), "there is still progress on the terminal");
    check(screen.column === 0 && screen.autowrap, "the terminal is left in disorder");
  }
  if (scenario.logPath !== undefined) checkLog(scenario, outcome, failure);
}

/** A line that tells no failure; but where words were lost, the failure's may be the last. */
function checkLine(scenario: Scenario, line: string, reason: Reason | undefined): void {
  const step = `ssh-vsock-proxy: ${scenario.subject}: `;
  const waits = `ssh-vsock-proxy: waiting for ${scenario.subject}`;
  if (scenario.verbose) {
    if (line.startsWith(step) && STEP.test(line.slice(step.length))) return;
  } else if (scenario.wait > 0) {
    if (line.startsWith(waits) && PROGRESS.test(line.slice(waits.length))) return;
  }
  const meaning = reason === undefined ? undefined : meanings.get(reason.code);
  check(meaning !== undefined && line.includes(meaning), `a line that is none: ${line}`);
}

function checkFailure(
  scenario: Scenario,
  line: string,
  reason: Reason,
  attempts: { steps: Call[] }[],
): void {
  const { code } = reason;
  const usage = code >= Code.NoAddress && code <= Code.NotForVariable && code !== Code.NoFdPassing;
  const isEarly = attempts.length === 1 && attempts[0]?.steps.at(-1)?.name === "log_open";
  const readsArguments = code === Code.MemoryLimit && attempts.length === 1 && !isEarly;
  const isLogs = isEarly && reason.call === "log_open";
  const own = readsArguments ? "" : scenario.subject;
  const subject = isLogs ? (scenario.logPath ?? "") : own;
  const head = `ssh-vsock-proxy: ${subject === "" ? "" : `${subject}: `}`;
  check(line.startsWith(head), `the line is not about ${subject}: ${line}`);
  const [, howLong, said] =
    /^(gave up after \d+\.\d s: )?(.*)$/.exec(line.slice(head.length)) ?? [];
  let expected = meanings.get(code) ?? "";
  if (withErrno.includes(code)) {
    expected += `: WASI errno ${reason.errno ?? ""}, from ${reason.call ?? ""}`;
  }
  if (withHelp(code)) expected += " (see --help)";
  check(said === expected, `it says "${line}" instead of "${expected}"`);
  check(!usage || howLong === undefined, "it has tried for a while what is wrong at once");
  check((howLong !== undefined) === hasTriedAgain(attempts), `how long it was tried: ${line}`);
}

/** Whether a pause has begun, so that an attempt was to follow, and none has succeeded. */
function hasTriedAgain(attempts: { steps: Call[] }[]): boolean {
  const last = attempts.at(-1)?.steps ?? [];
  if (last.some(({ name }) => name === "sock_send_fds" || name === "sock_relay")) return false;
  return attempts.length > 2 || last.some(isPause);
}

function checkLog(scenario: Scenario, outcome: Outcome, failure: string | undefined): void {
  const opened = outcome.trace.find(({ name }) => name === "log_open");
  if (opened?.errno !== errno.SUCCESS) return;
  const writes = outcome.trace.filter(({ name, fd }) => name === "fd_write" && fd === opened.fd);
  if (writes.some(({ fault }) => fault !== undefined && fault.takes === undefined)) return;
  check(outcome.logPath?.toString() === scenario.logPath, "another log was opened");
  const lines = outcome.log.toString().split("\n");
  check(lines.pop() === "", "the log ends within a line");
  for (const line of lines) check(STAMP.test(line), `a line of the log that is none: ${line}`);
  const last = lines.at(-1)?.replace(STAMP, "");
  check(failure === undefined || last === failure, "the log does not end with the failure");
}

// ---- sockets

function checkSockets(
  scenario: Scenario,
  outcome: Outcome,
  attempts: { steps: Call[]; socket?: Opened }[],
  failed: boolean,
): void {
  const { scheme } = scenario;
  for (const { steps, socket } of attempts) {
    check(scheme !== undefined, "a socket without an address");
    if (socket === undefined) continue;
    const names = steps.map(({ name }) => name);
    const stood = names.includes("sock_send_fds") || names.includes("sock_relay");
    // proc_exit closes what is left.
    const expected = stood ? 0 : 1;
    check(socket.closed === expected, `descriptor ${socket.fd} was closed ${socket.closed} times`);
    check(!stood || socket.connected, "what is handed over or relayed is not connected");
    const request = socket.sent.map(String).join();
    if (scheme.request === undefined) {
      check(request === "" && taken(socket) === "", "a byte is sent or taken that is the peer's");
      continue;
    }
    check(scheme.request.startsWith(request), `the multiplexer is asked ${request}`);
    check(socket.sent.length <= 1, "the multiplexer is asked twice");
    check(!stood || request === scheme.request, `the multiplexer is asked only ${request}`);
    if (socket.connected) checkAsked(outcome, socket);
    const line = /^[^\n]*\n/.exec(taken(socket))?.[0] ?? taken(socket);
    check(taken(socket) === line, "a byte behind the newline is taken");
    check(
      !stood || /^OK \d{1,10}\n$/.test(line),
      `${JSON.stringify(line)} is taken for an OK line`,
    );
  }
  if (outcome.address !== undefined) {
    check(outcome.address.equals(scheme?.address ?? Buffer.of()), "another address");
  }
  if (outcome.family !== undefined)
    check(outcome.family === Number(scheme?.family), "another family");
  check(!failed || outcome.handedOver.length === 0, "it fails though it has handed over");
}

/** Whoever has connected to a multiplexer asks at once: nothing comes in between. */
function checkAsked({ trace, sockets }: Outcome, socket: Opened): void {
  const opens = trace.filter(({ name, errno: error }) => name === "sock_open" && error === 0);
  const open = opens[sockets.indexOf(socket)];
  const connect = trace.findIndex(
    ({ name, errno: error }, i) =>
      name === "sock_connect" && error === 0 && i > trace.indexOf(open as Call),
  );
  check(trace[connect + 1]?.name === "sock_send", "the multiplexer is not asked at once");
}

// ---- time

/** Whether the clock has shown, or may be asked for, a time that it cannot show. */
function overflows(scenario: Scenario, { clock = 0n }: Deviation, outcome: Outcome): boolean {
  const span = outcome.waited + scenario.timeout + scenario.wait + 20 * SECOND;
  return clock + BigInt(Math.ceil(span)) >= CLOCK_MAX;
}

function checkTime(
  scenario: Scenario,
  outcome: Outcome,
  reason: Reason | undefined,
  steps: Call[],
): void {
  const { trace } = outcome;
  const { timeout, wait } = scenario;
  const first = trace.find(({ name }) => name === "sock_open")?.at ?? 0;
  const end = wait > 0 ? first + wait : Infinity;
  let limit = Infinity;
  const stalled = trace.reduce((sum, { fault }) => sum + Number(fault?.takes ?? 0n), 0);
  for (const call of trace) {
    if (call.name === "sock_open") limit = Math.min(call.at + timeout, end);
    if (call.until === undefined) continue;
    let until = limit;
    if (call.fd === STDERR) until = call.at + PATIENCE;
    else if (isPause(call)) until = Math.min(call.at + PAUSE_LAST, end);
    const over = Math.round((call.until - until) / MS);
    check(call.until <= until, `${call.name} waits ${over} ms longer than it may`);
  }
  const connects = trace.filter(({ name }) => name === "sock_connect");
  if (wait === 0 && stalled === 0 && connects[0] !== undefined) {
    check(connects[0].until === first + timeout, "sock_connect has another deadline");
  }
  const stalls = scenario.world.stalls === true ? trace.length * 2 * SECOND : 0;
  const most = (wait > 0 ? wait : timeout) + PATIENCE + MOMENT + stalled + stalls;
  check(outcome.waited <= most, `it runs for ${Math.round(outcome.waited / MS)} ms`);

  if (reason === undefined) return;
  checkPatience(scenario, outcome, reason, steps);
}

/** Nothing is given up before its time. */
function checkPatience(
  { wait }: Scenario,
  outcome: Outcome,
  { code }: Reason,
  steps: Call[],
): void {
  const waits = steps.filter((step) => step.name === "poll_oneoff" && !isPause(step));
  const last = waits.at(-1);
  const silent = [Code.ReplyTimeout, Code.ReplyTimeoutWithinLine, Code.FdPassTimeout].includes(
    code,
  );
  const again = steps.filter((step) => !isPause(step)).at(-1)?.errno === errno.AGAIN;
  if (silent && again) {
    const passed = last?.due === true || last?.errno === errno.TIMEDOUT;
    check(passed, `${Code[code]} before the deadline`);
  }
  if (wait > 0 && passing.includes(code)) {
    check(outcome.waited >= wait - PAUSE, "it gives up before the end of --wait");
  }
}
