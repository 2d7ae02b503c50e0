// What has to hold of a run under strace (run.ts):
//
// 1. checkOutcome's rules, with the failure, if any, that the rules below expect of the injection.
// 2. A failure's line names the errno that was injected.
// 3. The passed descriptor leads to the peer, blocks, and has no option changed.
// 4. An attempt that fails leaves no descriptor open.
// 5. The injection happened. Only a relay may end before: how many calls it makes depends on the
//    pieces in which bytes come.
// 6. A wait that is interrupted again and again ends at its deadline.

import { Code } from "../../assembly/codes";
import { errno, linuxErrnos } from "../support/errno";
import {
  connectCodes,
  exitOf,
  fdPassingCodes,
  handshakeCodes,
  logReason,
  lookupCodes,
  outcomes,
  reasonOf,
  retryable,
  serviceCodes,
} from "../support/oracle";
import { checkOutcome, failureIn } from "../support/outcome";
import type { Expectation } from "../support/outcome";
import {
  ABSENT_AT_FIRST,
  DEADLINE_MS,
  GONE,
  RUN_TIMEOUT_MS,
  isPassedRight,
  saysGone,
} from "./scenarios";
import type { Injection, Run, Scenario } from "./scenarios";

/** The calls of a trace, in order, each with how many of its name there were by then. */
export function callsOf(trace: readonly string[]): { call: string; when: number; line: string }[] {
  const counts = new Map<string, number>();
  return trace.flatMap((line) => {
    const call = /^(\w+)\(/.exec(line)?.[1];
    if (call === undefined || call === "execve") return [];
    const when = (counts.get(call) ?? 0) + 1;
    counts.set(call, when);
    return [{ call, when, line }];
  });
}

/** The line of the call that was injected into; undefined if that did not happen. */
export function injectedLine(trace: readonly string[], injection: Injection): string | undefined {
  const found = callsOf(trace).find(
    ({ call, when }) => call === injection.call && when === injection.when,
  )?.line;
  const [kind, value] = injection.what.split("=");
  // After exit_group no signal arrives.
  const signalled =
    injection.call === "exit_group" || trace.some((line) => line.startsWith(`--- ${value} `));
  return (kind === "signal" ? signalled : found?.endsWith("(INJECTED)")) ? found : undefined;
}

/** preview1's number of Linux's errno; IO for what it has no number for. */
const numberOf = (error: string): number =>
  error === "ESOCKTNOSUPPORT"
    ? errno("PROTOTYPE")
    : errno(linuxErrnos.includes(error) ? error : "IO");

/** What a call's failure leads to: nothing else than usual, a code, an exit status, or anything. */
type Verdict = "usual" | "any" | { code: Code } | { exit: number };

/** A rule for calls whose line matches. The first that returns a verdict holds. */
type Rule = [RegExp, (error: string, scenario: Scenario, line: string) => Verdict | undefined];

const usual = (): Verdict => "usual";

const rules: readonly Rule[] = [
  // Whether 0 to 2 are closed, and opening /dev/null for them then.
  [/^ppoll\(\[\{fd=0, events=0\}|^openat\(AT_FDCWD, "\/dev\/null"/, usual],
  // Ignoring signals; closing what is not used again, or putting /dev/null in its place.
  [/^(rt_sigaction|close|dup3|munmap)\(/, usual],
  // A line that stderr or the log does not take is lost.
  [/^ppoll\(\[\{fd=2, |^writev\([24], /, usual],
  // Whether to draw progress; the size of a pipe; a pipe, in whose place there is a buffer.
  [/^(fcntl|fstat|getsockopt)\(2, |^fcntl\(\d+, F_[GS]ETPIPE_SZ|^pipe2\(/, usual],
  // The log: its directory and links; whether it is descriptor 0 or 1.
  [
    /^(openat|fstatfs|readlinkat|fstat|ioctl)\(/,
    (error, { options = [] }, line) => {
      if (!options.some((word) => word.startsWith("--log"))) return undefined;
      if (line.startsWith("ioctl(")) return "usual";
      // ELOOP is taken for a link, which is not there.
      if (line.startsWith("fstat(") || error === "ELOOP") return "any";
      return error === "EINTR" && line.startsWith("openat(")
        ? "usual"
        : { code: logReason(numberOf(error)).code };
    },
  ],
  // What is at a path where nothing listens.
  [/^newfstatat\(/, usual],
  // Whether a peer that has ended its sending is gone, and with which errno.
  [/^sendmsg\(.*msg_iov=NULL|^getsockopt\(\d+, SOL_SOCKET, SO_ERROR, /, usual],
  // A clock that cannot be read is past every deadline, or does not move.
  [/^clock_gettime\(/, () => "any"],
  [
    /^(connect|openat|ppoll|readv|recvmsg|sendmsg|splice|writev)\(/,
    (error) => (error === "EINTR" ? "usual" : undefined),
  ],
  [
    /^(connect|readv|recvmsg|sendmsg|splice|writev)\(/,
    (error, { relay, scheme }, line) => {
      // What was seen with MSG_PEEK cannot be missing afterwards.
      const looks = scheme === "machine" || line.includes("MSG_PEEK");
      const isSeen = relay === undefined && line.startsWith("recvmsg(") && !looks;
      return error === "EAGAIN" && !isSeen ? "usual" : undefined;
    },
  ],
  // What is at a long path.
  [/^fstat\(4, /, (_, { relay }) => (relay === undefined ? "usual" : undefined)],
  // With --fdpass, descriptor 1 has to be a unix stream socket.
  [
    /^(fcntl|fstat)\(1, /,
    (error, { relay }) => {
      if (relay !== undefined) return error === "EBADF" ? { exit: 71 } : "any";
      return { code: error === "EBADF" ? Code.NoStdout : Code.NoFdPassing };
    },
  ],
  [/^getsockopt\(1, SOL_SOCKET, SO_TYPE|^getsockname\(1, /, () => ({ code: Code.NoFdPassing })],
  // More memory, or a relay's buffer.
  [/^mmap\(/, (_, { relay }) => (relay === undefined ? { code: Code.MemoryLimit } : { exit: 71 })],
  [
    /^connect\(.*"\/proc\/self\/fd/,
    (error) => (error === "ENOENT" ? { code: Code.NoProc } : undefined),
  ],
  [
    /^(connect|socket|setsockopt)\(|^openat\(.*O_PATH|^fcntl\(\d, F_SETFL/,
    (error, { scheme = "unix", relay, always }, line) => {
      if (relay !== undefined && line.includes("O_NONBLOCK)")) return undefined;
      if (scheme === "machine") {
        // The next service is asked, or the target fails.
        const { code } = reasonOf(numberOf(error), "", serviceCodes);
        return outcomes.has(code) ? "any" : { exit: exitOf(code) };
      }
      const { code } = reasonOf(numberOf(error), "", connectCodes[scheme]);
      return always?.includes(ABSENT_AT_FIRST) && retryable.includes(code) ? "usual" : { code };
    },
  ],
  [
    /^(readv|recvmsg|sendmsg|shutdown|splice|writev)\(/,
    (error, { relay, scheme }, line) => {
      if (relay !== undefined) {
        return GONE.includes(error) || /^splice.* EINVAL /.test(line) ? "any" : { exit: 71 };
      }
      const exchangeCodes = scheme === "machine" ? lookupCodes : handshakeCodes;
      const table = line.startsWith("sendmsg(1,") ? fdPassingCodes : exchangeCodes;
      return { code: reasonOf(numberOf(error), "", table).code };
    },
  ],
];

/** What comes of the call in `line` if it fails. */
function verdict(scenario: Scenario, line: string, error: string): Verdict {
  for (const [pattern, rule] of rules) {
    const found = pattern.test(line) ? rule(error, scenario, line) : undefined;
    if (found !== undefined) return found;
  }
  return { exit: 71 };
}

const asksForPort = (line: string): boolean => line.includes('iov_base="CONNECT');

/** What comes of the call in `line` if it moves this many bytes. */
function shortVerdict(scenario: Scenario, line: string, bytes: number): Verdict {
  if (line.startsWith("writev(2, ")) return "usual";
  if (asksForPort(line)) return bytes < "CONNECT 22\n".length ? { code: Code.ShortWrite } : "any";
  if (scenario.relay !== undefined || !line.startsWith("recvmsg(") || bytes > 0) return "any";
  // An end of file that only a look shows is none.
  return line.includes("MSG_PEEK") ? "usual" : { code: Code.EndWithinLine };
}

function expectationOf(scenario: Scenario, injection?: Injection, line?: string): Expectation {
  const [kind, value = ""] = injection?.what.split("=") ?? [];
  if (injection === undefined || line === undefined) return {};
  if (kind === "signal") {
    return value === "SIGTERM" && injection.call !== "exit_group" ? { signal: value } : {};
  }
  // The call that fails may be the one that writes to stderr.
  const isStderrs = /^(ppoll\(\[\{fd=2, |writev\(2, |openat\(.*"\/dev\/null")/.test(line);
  const isLost = isStderrs && kind === "error" && !["EINTR", "EAGAIN"].includes(value);
  const lost = isLost ? { stderrIsLost: true } : {};
  const expected =
    kind === "error" ? verdict(scenario, line, value) : shortVerdict(scenario, line, Number(value));
  if (expected === "any") return { codes: "any", ...lost };
  if (expected !== "usual") {
    return "code" in expected
      ? { codes: [expected.code], ...lost }
      : { exits: [expected.exit], ...lost };
  }
  // The peer leaves all the same, whether the relay is over or not.
  return saysGone(scenario, injection) ? { codes: [Code.Done, Code.PeerClosed], ...lost } : lost;
}

/** What is wrong with a run; nothing if every rule holds. */
export function judge(scenario: Scenario, run: Run, injection?: Injection): string[] {
  const { case: one, exit, signal, hung, trace } = run;
  if (hung) {
    return [`it hangs: killed after ${RUN_TIMEOUT_MS} ms, in ${callsOf(trace).at(-1)?.line}`];
  }
  const wrong: string[] = [];
  const check = (holds: boolean, complaint: string): void => {
    if (!holds) wrong.push(complaint);
  };
  const line = injection && injectedLine(trace, injection);
  check(line !== undefined || scenario.relay !== undefined || !injection, "nothing was injected");
  for (const text of scenario.always ?? []) {
    wrong.push(...overdue(text, trace));
    if (injection === undefined) wrong.push(...missed(text, trace));
  }

  // A relay that loses its peer, or bytes, relays only the beginning, which checkOutcome does not know.
  const isShort = injection?.what.startsWith("retval=") === true && scenario.relay !== undefined;
  const isPart = isShort || saysGone(scenario, injection);
  const { relayed } = run;
  const others = { ...run };
  delete others.relayed;
  delete others.passed;
  const { first = "", last = "" } = one.world.relay ?? {};
  const whole = Buffer.concat([first, last].map((bytes) => Buffer.from(bytes)));
  check(whole.subarray(0, relayed?.length).equals(relayed ?? whole), "bytes that were not sent");
  try {
    checkOutcome(one, isPart ? others : run, expectationOf(scenario, injection, line));
  } catch (error) {
    wrong.push(String(error));
  }
  if (signal !== null) return wrong;

  if (exit === 0 && scenario.relay === undefined) {
    check(isPassedRight(run), "the passed descriptor is not the connected socket as it was");
  }
  const failure = failureIn(one, run.stderr.toString().split("\n").at(-2) ?? "");
  if (failure?.errno !== undefined && injection?.what.startsWith("error=") === true) {
    // sock_send_fds returns INVAL where it cannot tell that descriptors can be passed.
    const isInval = line?.startsWith("getsockopt(1, ") === true;
    const number = isInval ? errno("INVAL") : numberOf(injection.what.slice("error=".length));
    check(failure.errno === number, `WASI errno ${failure.errno} is named and not ${number}`);
  }
  const open = leftOpen(trace);
  check(open.length <= (trace.some(delivers) ? 1 : 0), `descriptors are left open: ${open.join()}`);
  return wrong;
}

/** An errno that is part of the scenario, and was never injected. */
function missed(text: string, trace: readonly string[]): string[] {
  const injected = new RegExp(`^${text.split(":")[0]}\\(.*\\(INJECTED\\)`);
  const isMissed = text.includes(":error=") && !trace.some((line) => injected.test(line));
  return isMissed ? [`${text} did not happen`] : [];
}

/**
 * Where each of many waits lasts a while and is interrupted then: whether there were more of them
 * than the deadline has room for, however slow the machine is.
 */
function overdue(text: string, trace: readonly string[]): string[] {
  const [, name, delay] = /^(\w+):error=EINTR:delay_exit=(\d+):/.exec(text) ?? [];
  if (name === undefined) return [];
  const ms = Number(delay) / 1000;
  // Once the time is over it looks once more, for as long as there are signals.
  const count = callsOf(trace).filter(
    ({ call, line }) =>
      call === name && /EINTR.*INJECTED/.test(line) && !line.includes("{tv_sec=0, tv_nsec=0}"),
  ).length;
  return count > 0 && count <= DEADLINE_MS / ms + 1 ? [] : [`${count} waits of ${ms} ms`];
}

/** Whether this call begins to pass the descriptor, or to relay: what fails then is not closed. */
function delivers(line: string): boolean {
  return (
    line.startsWith("getsockopt(1, SOL_SOCKET, SO_DOMAIN") || line.startsWith("fcntl(0, F_GETFL)")
  );
}

/** What was opened and not closed, but the log and what replaces 0 to 2. */
function leftOpen(trace: readonly string[]): string[] {
  const opened = new Set<string>();
  for (const line of trace) {
    const [, one, pipe, other] =
      /^(?:socket\(|openat\(.*O_PATH|fcntl\(\d, F_DUPFD_).*\) += (\d+)$|^pipe2\(\[(\d+), (\d+)\]/.exec(
        line,
      ) ?? [];
    for (const fd of [one, pipe, other]) if (fd !== undefined) opened.add(fd);
    opened.delete(/^close\((\d+)\)/.exec(line)?.[1] ?? "");
  }
  return [...opened];
}
