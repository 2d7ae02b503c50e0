// The outcome of a run of the command, and the rules for it, which are the same for every runner. They
// follow docs/options.md, docs/addresses.md and docs/abi.md, and not how the program works.
//
//  1. The exit status is 0 if and only if one descriptor was passed with one byte, the relay is
//     whole, or a text was asked for. A failure passes nothing.
//  2. A failure is one line on stderr, the last one, with the message of a code of that exit status.
//     All other lines are steps, with -v, or progress, with --wait. No byte of it acts on a terminal,
//     but those that redraw progress.
//  3. A multiplexer is sent `CONNECT <port>\n` once for each connection. Not a byte behind the
//     newline of its reply is taken.
//  4. The log has the same lines, each with a time and the process.
//
// Where a runner sees the imports' calls, calls.ts checks those as well.

import { Code, Exit } from "../../assembly/codes";
import { HELP } from "../../assembly/messages";
import type { Call } from "./calls";
import { checkCalls, isStderrLost, reasonOfCalls, triedAgain } from "./calls";
import type { Case, World } from "./case";
import { passesDescriptor, redrawsProgress } from "./case";
import { VERSION, messages } from "./messages";
import { capitalsHint, check, exitOf, exitStatuses, isOkLine, replyLine } from "./oracle";
import { subjectsOf } from "./oracle";
import type { Reason } from "./oracle";
import { Screen } from "./vt";

/** What is undefined was not seen by the runner. */
export interface Outcome {
  exit: number | null;
  /** The signal that ended it. */
  signal?: string | null;
  stderr: Buffer;
  /** Of each connection that the peer accepted, in their order. */
  connections?: readonly Connection[];
  /** What was passed over descriptor 1. */
  passed?: readonly Passed[];
  /** What a relay wrote to descriptor 1. */
  relayed?: Buffer;
  /** What was written to the log. */
  log?: Buffer;
  /** The calls of imports, in their order. */
  calls?: readonly Call[];
}

export interface Connection {
  /** All that the peer received. */
  sent: Buffer;
  /** What the peer sent before the descriptor was passed or the relay began. */
  reply?: Buffer;
  /** How many bytes of that the command took for itself. */
  taken?: number;
}

/** One message: its bytes, and how many descriptors came with it. */
export interface Passed {
  bytes: Buffer;
  descriptors: number;
}

/** What a runner that injects failures expects; by default, what the case says. */
export interface Expectation {
  /** The codes that it may end with; "any": each that the rules allow. */
  codes?: readonly Code[] | "any";
  /** The same by exit status. */
  exits?: readonly number[];
  /** The signal that ends it. */
  signal?: string;
  /** Whether stderr may lack lines, or parts of them: it is closed, or its writes fail. */
  stderrIsLost?: boolean;
}

/** @throws Error, with what does not hold */
export function checkOutcome(one: Case, outcome: Outcome, expectation: Expectation = {}): void {
  const codes = expectation.codes ?? (expectation.exits ? "any" : expectedCodes(one));
  checkDelivery(one, outcome, codes === "any");
  if (outcome.signal !== undefined && outcome.signal !== null) {
    check(outcome.signal === expectation.signal, `it is ended by ${outcome.signal}`);
    return;
  }
  check(expectation.signal === undefined, `it exits, and is not ended by ${expectation.signal}`);
  const { exit, calls } = outcome;
  check(exit !== null && exitStatuses.includes(exit), `exit status ${exit} is none of the table`);
  const reason = calls === undefined || exit === 0 ? undefined : reasonOfCalls(one, calls);
  checkExit(exit, codes === "any" ? expectation.exits : codes.map(exitOf));
  if (reason !== undefined) checkExit(exit, [exitOf(reason.code)]);
  checkConnections(one, outcome);
  const failure = checkStderr(one, outcome, expectation, reason, codes);
  if (outcome.log !== undefined && one.log !== undefined) checkLog(outcome, failure);
  if (calls !== undefined) checkCalls(one, calls, exit);
}

/** Whether something happens in the world beyond what the case's result is about. */
function isInjected({ simulation = {} }: World): boolean {
  const { faults = [], clockNs, wallNs } = simulation;
  return faults.length > 0 || clockNs !== undefined || wallNs !== undefined;
}

function expectedCodes({ code, world }: Case): readonly Code[] | "any" {
  if (code === undefined || isInjected(world)) return "any";
  return [typeof code === "string" ? Code.Done : code];
}

function checkExit(exit: number, expected: readonly number[] | undefined): void {
  if (expected === undefined) return;
  check(expected.includes(exit), `exit ${exit} instead of ${expected.join(" or ")}`);
}

// ---- the descriptor, and the relay

/** @param injected whether a descriptor may be relayed that would be passed otherwise */
function checkDelivery(one: Case, outcome: Outcome, injected: boolean): void {
  const { exit, passed, relayed, connections } = outcome;
  for (const { bytes, descriptors } of passed ?? []) {
    check(bytes.length === 1, `${bytes.length} bytes are passed`);
    check(descriptors === 1, `${descriptors} descriptors are passed`);
  }
  if (typeof one.code === "string") {
    check(!passed?.length && !relayed?.length, "a text was asked for, and descriptor 1 gets bytes");
    check(!connections?.length, "a text was asked for, and a connection made");
    return;
  }
  const passes = passed === undefined ? passesDescriptor(one) : passed.length > 0;
  const whole = wholeRelay(one);
  check((passed?.length ?? 0) <= 1, `${passed?.length} descriptors are passed`);
  if (exit !== 0) {
    check(exit === null || !passed?.length, "it fails, and a descriptor is passed");
    const isPart = relayed === undefined || whole?.subarray(0, relayed.length).equals(relayed);
    check(isPart !== false, "descriptor 1 gets what was not sent");
    return;
  }
  check(!passes || passesDescriptor(one), "a descriptor is passed to what takes none");
  const mayRelay = injected && one.mode !== "fdpass";
  check(passes || !passesDescriptor(one) || mayRelay, "exit 0, and no descriptor is passed");
  if (passes) check(!relayed?.length, "a descriptor is passed, and descriptor 1 gets bytes");
  else if (passed !== undefined) {
    check(relayed !== undefined, "exit 0, and neither a descriptor is passed nor anything relayed");
    const isWhole = whole === undefined || relayed.equals(whole);
    check(isWhole, `${relayed.length} of ${whole?.length} bytes are relayed`);
  }
}

/** What a whole relay writes to descriptor 1; undefined where the case does not say it. */
function wholeRelay({ world: { relay } }: Case): Buffer | undefined {
  return relay && Buffer.concat([relay.first, relay.last].map((bytes) => Buffer.from(bytes)));
}

// ---- what the peer sees

function checkConnections(one: Case, { connections, exit, passed }: Outcome): void {
  if (connections === undefined) return;
  const { target, waitMs, world } = one;
  check(target !== undefined || connections.length === 0, "a connection without an address");
  check(connections.length <= 1 || waitMs > 0, `${connections.length} connections without --wait`);
  const asks = target?.scheme === "vsock-mux";
  const request = asks ? `CONNECT ${target.port}\n` : "";
  const relays = (passed?.length ?? 0) === 0;
  const input = Buffer.from(relays ? (world.stdin?.content ?? "") : "");
  connections.forEach(({ sent, reply, taken }, i) => {
    const delivers = exit === 0 && i === connections.length - 1;
    const all = Buffer.concat([Buffer.from(request), input]);
    check(
      all.subarray(0, sent.length).equals(sent),
      `the peer is sent ${JSON.stringify(String(sent))}`,
    );
    check(
      !delivers || sent.length >= request.length,
      `the multiplexer is asked only ${String(sent)}`,
    );
    if (taken === undefined) return;
    check(asks || taken === 0, `${taken} bytes are taken that are the peer's`);
    if (!asks || reply === undefined) return;
    const line = replyLine(reply.toString("latin1"));
    check(taken <= line.length, "a byte behind the newline is taken");
    check(!delivers || taken === line.length, `only ${taken} bytes of the OK line are taken`);
    check(!delivers || isOkLine(line), `${JSON.stringify(line)} is taken for an OK line`);
  });
}

// ---- stderr and the log

const withErrno = [Code.SystemError, Code.StdinFailed, Code.StdoutFailed, Code.NoLogFile];
const withHelp = (code: Code): boolean => code >= Code.NoAddress && code <= Code.NotForVariable;

const escape = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
const anyMessage = [...messages.values()].map(escape).join("|");
const STEP = new RegExp(
  `^\\d+\\.\\d{3} ms: (${anyMessage})( \\d+|, for at most \\d+\\.\\d{3} ms|; again in \\d+\\.\\d{3} ms)?$`,
  "u",
);
const PROGRESS = new RegExp(`, \\d+\\.\\d s of \\d+\\.\\d s: (${anyMessage})$`);
const STAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] /;

/** Checks all lines, and returns that of the failure, if there is one. */
function checkStderr(
  one: Case,
  { exit, stderr, calls }: Outcome,
  expectation: Expectation,
  reason: Reason | undefined,
  codes: readonly Code[] | "any",
): string | undefined {
  const text = stderr.toString();
  check(Buffer.from(text).equals(stderr), "stderr is not UTF-8");
  const isLost =
    expectation.stderrIsLost === true ||
    ["null", "closed", "pipe without reader", "full pipe"].includes(one.world.stderr ?? "pipe") ||
    (calls !== undefined && isStderrLost(calls));
  if (typeof one.code === "string" && exit === 0) {
    const whole = one.code === "help" ? HELP : VERSION;
    check(isLost || text === whole, "another text than the one that was asked for");
    return undefined;
  }
  const isTerminal = calls?.every(
    ({ name, fd, errno }) => name !== "fd_filestat_get" || fd !== 2 || errno === 0,
  );
  const redraws = redrawsProgress(one) && isTerminal !== false;
  let plain = redraws ? text.replaceAll(/\x1b\[A\r\x1b\[K|\x1b\[\?7[lh]/g, "") : text;
  // A control sequence may be cut short with its line.
  if (redraws && isLost) plain = plain.replace(/\x1b(\[(A(\r(\x1b\[?)?)?|\?7?)?)?$/, "");
  check(/^(\P{C}|\n)*$/u.test(plain), `stderr has a control character: ${JSON.stringify(text)}`);
  const lines = plain.split("\n");
  const rest = lines.pop() ?? "";
  check(isLost || rest === "", `stderr ends within a line: ${JSON.stringify(rest)}`);
  const failure = exit === 0 || isLost ? undefined : lines.pop();
  for (const line of lines) checkLine(one, line, isLost ? exit : undefined);
  check(isLost || exit === 0 || failure !== undefined, "the failure is not on stderr");
  if (failure !== undefined) checkFailure(one, failure, exit as number, reason, codes, calls);
  if (redraws && !isLost) {
    const screen = new Screen(100_000);
    screen.write(text);
    const shown = failure === undefined ? [] : [failure];
    check(screen.shown.join("\n") === shown.join("\n"), "there is still progress on the terminal");
    check(screen.column === 0 && screen.autowrap, "the terminal is left in disorder");
  }
  return failure;
}

/** A line before the failure's; where lines were lost, it may be the failure's, if `exit` is given. */
function checkLine(one: Case, line: string, exit?: number | null): void {
  for (const subject of subjectsOf(one)) {
    const step = `ssh-vsock-proxy: ${subject}: `;
    const progress = `ssh-vsock-proxy: waiting for ${subject}`;
    if (one.verbose && line.startsWith(step) && STEP.test(line.slice(step.length))) return;
    const mayWait = one.waitMs > 0 && !one.verbose;
    if (mayWait && line.startsWith(progress) && PROGRESS.test(line.slice(progress.length))) return;
  }
  check(Boolean(exit) && failureIn(one, line) !== undefined, `neither step nor progress: ${line}`);
}

/** The line of a failure, in its parts. */
export interface Failure extends Reason {
  /** What it names: the case's subject, the log, or nothing. */
  subject: string;
  /** How long it was tried, with --wait, where an attempt was to follow. */
  gaveUpAfter?: string;
}

/** Takes a failure's line apart; undefined where it is none. */
export function failureIn(one: Case, line: string): Failure | undefined {
  for (const about of new Set([...subjectsOf(one), one.log?.subject ?? "", ""])) {
    const head = `ssh-vsock-proxy: ${about === "" ? "" : `${about}: `}`;
    if (!line.startsWith(head)) continue;
    const [, after, said = ""] =
      /^(?:gave up after (\d+\.\d) s: )?(.*)$/.exec(line.slice(head.length)) ?? [];
    for (const [code, message] of messages) {
      if (exitOf(code) < (Exit.Usage as number) || !said.startsWith(message)) continue;
      const behind = said.slice(message.length);
      const [, number, call] = /^: WASI errno (\d+), from (\w+)$/.exec(behind) ?? [];
      const failure = { code, subject: about, ...(after && { gaveUpAfter: after }) };
      if (withErrno.includes(code)) {
        if (call !== undefined) return { ...failure, errno: Number(number), call };
      } else if (behind === (withHelp(code) ? " (see --help)" : capitalsHint(code, one))) {
        return failure;
      } else if (one.lookup !== undefined && behind.endsWith(capitalsHint(code, one))) {
        const detail = behind.slice(0, behind.length - capitalsHint(code, one).length);
        return { ...failure, detail: detail.trimStart() };
      }
    }
  }
  return undefined;
}

function checkFailure(
  one: Case,
  line: string,
  exit: number,
  reason: Reason | undefined,
  codes: readonly Code[] | "any",
  calls: readonly Call[] | undefined,
): void {
  const failure = failureIn(one, line);
  check(failure !== undefined, `the line of a failure is "${line}"`);
  const { code, errno, call, subject, gaveUpAfter } = failure;
  checkExit(exit, [exitOf(code)]);
  // Only the simulation knows how long a multiplexer took to close.
  const ends = [Code.EndOfFile, Code.EndOfFileAfterWait];
  const isEnd = (expected: Code): boolean => ends.includes(expected) && ends.includes(code);
  const isExpected = (expected: Code): boolean =>
    expected === code || (calls === undefined && isEnd(expected));
  check(codes === "any" || codes.some(isExpected), `it fails with ${Code[code]}: ${line}`);
  const ofLog = call === "log_open" || Code[code].startsWith("Log");
  // Reading the arguments, or opening the log, may have failed before there was a subject.
  const early = [Code.MemoryLimit, Code.DescriptorLimit].includes(code);
  const named = ofLog ? subject === one.log?.subject : subjectsOf(one).has(subject);
  check(named || early, `the line names ${subject}: ${line}`);
  check(gaveUpAfter === undefined || one.waitMs > 0, `without --wait: ${line}`);
  if (reason === undefined || calls === undefined) return;
  const isClockTrue = calls.every(
    ({ name, errno, fault }) => name !== "clock_time_get" || (errno === 0 && !fault),
  );
  check(
    code === reason.code || (!isClockTrue && isEnd(reason.code)),
    `it says ${Code[code]} and not ${Code[reason.code]}: ${line}`,
  );
  if (call !== undefined) {
    check(errno === reason.errno && call === reason.call, `another errno or call: ${line}`);
  }
  const isSame = (failure.detail ?? "") === (reason.detail ?? "");
  check(isSame || reason.at === undefined, `it adds ${failure.detail}: ${line}`);
  if (reason.call === "log_open") check(subject === one.log?.subject, `another log: ${line}`);
  else if (reason.call?.includes("_get") === true) check(subject === "", `a subject: ${line}`);
  else if (reason.at !== undefined || one.lookup === undefined) {
    const at = reason.at ? ` at ${reason.at}` : "";
    check(subject === one.subject + at, `the line names ${subject}: ${line}`);
  }
  check((gaveUpAfter !== undefined) === triedAgain(calls), `how long it was tried: ${line}`);
}

function checkLog({ log = Buffer.of(), exit, calls }: Outcome, failure?: string): void {
  if (calls !== undefined) {
    const opened = calls.find(({ name }) => name === "log_open");
    if (opened?.errno !== 0) return;
    const writes = calls.filter(({ name, fd }) => name === "fd_write" && fd === opened.fd);
    if (writes.some(({ fault }) => fault !== undefined && fault.takes === undefined)) return;
  }
  const lines = log.toString().split("\n");
  check(lines.pop() === "", "the log ends within a line");
  for (const line of lines) check(STAMP.test(line), `a line of the log has no time: ${line}`);
  const last = lines.at(-1)?.replace(STAMP, "");
  if (exit !== 0 && failure !== undefined) {
    check(last === failure, "the log does not end with the failure");
  }
}
