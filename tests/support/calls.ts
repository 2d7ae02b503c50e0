// The calls of imports that a run made, and what has to hold of them (docs/abi.md, docs/options.md):
//
//  1. The last step is the reason of a failure: its errno says what stderr has to say.
//  2. The socket of an attempt that failed is closed, once, before the next is opened. What is passed
//     or relayed is the connected socket of the last attempt.
//  3. A multiplexer is sent CONNECT in one write, at once after connecting.
//  4. No wait is longer than --timeout for an attempt, and --wait for all of them, allow, but for the
//     second that stderr has. Nothing is given up earlier.
//  5. Another attempt follows a retryable failure, and no other.
//  6. The services that know a name are asked anew in each attempt, in their order, and sent nothing but
//     the requests. Without a name there is no service.

import { Code, Family } from "../../assembly/codes";
import type { Case, Fault, Lookup, RelayEnd, Service } from "./case";
import { passesDescriptor, serviceAt } from "./case";
import { errno } from "./errno";
import * as oracle from "./oracle";
import { check, reasonOf, retryable } from "./oracle";
import type { Reason } from "./oracle";
import { socketsOf } from "./services";

/** A call of an import. Times are in nanoseconds after the start. */
export interface Call {
  name: string;
  parameters: readonly (number | bigint)[];
  at: number;
  errno: number;
  /** The descriptor that it is about; of poll_oneoff the first one that it waits for. */
  fd?: number;
  /** How many bytes it moved, or how many events there were. */
  count?: number;
  /** The bytes that it moved; the address or path that it was given. */
  bytes?: Buffer;
  /** sock_send_fds: the descriptors. */
  fds?: readonly number[];
  /** poll_oneoff: the type of the descriptor's subscription. */
  type?: number;
  /** When its wait ends: of poll_oneoff the clock's time, of sock_connect the deadline. */
  until?: number;
  /** poll_oneoff: whether the descriptor is ready, has hung up, and whether the time has come. */
  ready?: boolean;
  hungUp?: boolean;
  due?: boolean;
  /** sock_relay: how it ended. */
  end?: RelayEnd;
  /** What was made to happen to it. */
  fault?: Fault;
}

/** A socket that was opened. */
interface Opened {
  fd: number;
  /** How often it was closed. */
  closed: number;
  connected: boolean;
  /** What was sent over it, a buffer for each call. */
  sent: Buffer[];
  /** What was taken from it, without what was only looked at. */
  taken: Buffer;
}

/** The steps of an attempt that are about one socket. */
interface Steps {
  steps: Call[];
  socket?: Opened;
  /** Where a service is to be asked: its socket's path, and what it does. */
  service?: Service & { path: string };
}

/** Several, where services are asked before the target is tried, and two for a container. */
type Attempt = Steps[];

const MS = 1_000_000;
const SECOND = 1000 * MS;
/** What the simulation lets pass where a descriptor is ready. */
const MOMENT = 10 * MS;
/** How long the command waits for stderr to take a line, once. */
const STDERR_TIMEOUT = SECOND;
/** The pause between two attempts at first, and at most. */
const PAUSE_FIRST = 50 * MS;
const PAUSE_MAX = SECOND;
const FD_READ = 1;
const PEEK = 1;
const [STDIN, STDOUT, STDERR] = [0, 1, 2];
const SUCCESS = 0;
const AGAIN = errno("AGAIN");
const TIMEDOUT = errno("TIMEDOUT");

const readers = ["args_sizes_get", "environ_sizes_get", "args_get", "environ_get"];

/** What the command does towards the connection; not what it reports, nor the clock. */
function isStep({ name, fd }: Call): boolean {
  if (name === "poll_oneoff") return fd !== STDERR;
  if (name === "fd_filestat_get") return fd === STDOUT;
  return !["clock_time_get", "fd_close", "fd_write", "proc_exit"].includes(name);
}

function isPause({ name, fd, type }: Call): boolean {
  return name === "poll_oneoff" && (fd === undefined || (fd === STDOUT && type === FD_READ));
}

const hasDelivered = (steps: readonly Call[]): boolean =>
  steps.some(({ name }) => name === "sock_send_fds" || name === "sock_relay");

/** The sockets, in the order in which they were opened. */
function openedIn(calls: readonly Call[]): Opened[] {
  const sockets: Opened[] = [];
  for (const call of calls) {
    if (call.name === "fd_close") {
      const socket = sockets.findLast(({ fd }) => fd === call.fd);
      if (socket !== undefined) socket.closed++;
    }
    if (call.errno !== SUCCESS) continue;
    const socket = sockets.at(-1);
    if (call.name === "sock_open") {
      const fd = call.fd ?? 0;
      sockets.push({ fd, closed: 0, connected: false, sent: [], taken: Buffer.of() });
    } else if (socket === undefined || call.fd !== socket.fd) continue;
    else if (call.name === "sock_connect") socket.connected = true;
    else if (call.name === "sock_send") socket.sent.push(call.bytes ?? Buffer.of());
    else if (call.name === "sock_recv" && call.parameters[3] !== PEEK) {
      socket.taken = Buffer.concat([socket.taken, call.bytes ?? Buffer.of()]);
    }
  }
  return sockets;
}

/** The first entry is what comes before all attempts. */
function attemptsOf(one: Case, calls: readonly Call[]): Attempt[] {
  const attempts: Attempt[] = [[{ steps: [] }]];
  const sockets = openedIn(calls);
  for (const call of calls) {
    if (!isStep(call)) continue;
    if (call.name === "sock_open") {
      const socket = call.errno === SUCCESS ? sockets.shift() : undefined;
      const steps: Steps = socket === undefined ? { steps: [] } : { steps: [], socket };
      const last = attempts.at(-1)?.at(-1)?.steps.at(-1);
      // There is a pause between two attempts.
      const goesOn = one.lookup !== undefined && attempts.length > 1 && last && !isPause(last);
      if (goesOn === true) attempts.at(-1)?.push(steps);
      else attempts.push([steps]);
    }
    attempts.at(-1)?.at(-1)?.steps.push(call);
  }
  markServices(one, attempts.slice(1));
  return attempts;
}

/** Marks the steps that have to be about services. */
function markServices({ lookup, world }: Case, attempts: readonly Attempt[]): void {
  if (lookup === undefined) return;
  const counts = new Map<string, number>();
  for (const attempt of attempts) {
    const asked = new Map<string, Code | undefined>();
    for (const steps of attempt) {
      const path = oracle.nextSocket(lookup, asked);
      if (path === undefined) break;
      const count = counts.get(path) ?? 0;
      steps.service = { ...serviceAt(world, path, count), path };
      if (steps.steps.some(({ name }) => name === "sock_connect")) counts.set(path, count + 1);
      const code = reasonForService(withoutPause(steps))?.code;
      asked.set(path, code);
      if (code === undefined || !oracle.outcomes.has(code)) break;
    }
  }
}

/** What each service of an attempt came to, by its path; undefined for a target. */
function askedIn(attempt: Attempt): Map<string, Code | undefined> {
  const asked = new Map<string, Code | undefined>();
  for (const steps of attempt) {
    if (steps.service) asked.set(steps.service.path, reasonForService(withoutPause(steps))?.code);
  }
  return asked;
}

function withoutPause(steps: Steps): Steps {
  const end = steps.steps.findLastIndex((step) => !isPause(step)) + 1;
  return { ...steps, steps: steps.steps.slice(0, end) };
}

/** Whether stderr did not take something, so that all later lines are lost. */
export function isStderrLost(calls: readonly Call[]): boolean {
  return calls.some(({ name, fd, errno: error, count, due, ready }) => {
    if (fd !== STDERR) return false;
    if (name === "fd_write") return error === SUCCESS ? count === 0 : error !== AGAIN;
    return name === "poll_oneoff" && (error === TIMEDOUT || (due === true && ready !== true));
  });
}

/** Whether a pause has begun, so that an attempt was to follow, and none has succeeded. */
export function triedAgain(calls: readonly Call[]): boolean {
  return !hasDelivered(calls) && calls.some(isPause);
}

// ---- why it failed

/** Why a run failed, by its calls; undefined where neither they nor the case say it. */
export function reasonOfCalls(one: Case, calls: readonly Call[]): Reason | undefined {
  const reader = calls.find(({ name, errno: error }) => readers.includes(name) && error !== 0);
  if (reader !== undefined) return { code: Code.MemoryLimit, call: reader.name };
  const attempt = attemptsOf(one, calls).at(-1) as Attempt;
  const reason = reasonForAttempt(one, attempt);
  const isLate = reason?.code === Code.EndOfFile && lastWait(calls, attempt) >= SECOND;
  return isLate ? { ...reason, code: Code.EndOfFileAfterWait } : reason;
}

/** From the beginning of the last attempt, without its look-up, to the look at the clock after its reply. */
function lastWait(calls: readonly Call[], attempt: Attempt): number {
  const isClock = ({ name }: Call): boolean => name === "clock_time_get";
  const opened = calls.indexOf(attempt.at(-1)?.steps[0] as Call);
  const ended = calls.findLastIndex(({ name }) => name === "sock_recv");
  const begun = calls.slice(0, opened).findLast(isClock)?.at ?? 0;
  return (calls.slice(ended).find(isClock)?.at ?? begun) - begun;
}

/** Why an attempt failed. */
function reasonForAttempt(one: Case, attempt: Attempt): Reason | undefined {
  const last = attempt.at(-1) as Steps;
  const reason = reasonFor(one, last);
  if (one.lookup === undefined || reason === undefined) return reason;
  if (last.steps[0]?.name !== "sock_open") {
    const isReady = reason.code !== Code.NoStdout && last.steps.at(-1)?.name !== "log_open";
    const hasNone = oracle.nextSocket(one.lookup, new Map()) === undefined;
    return isReady && hasNone ? oracle.notFound(new Map()) : reason;
  }
  if (oracle.outcomes.has(reason.code)) return oracle.notFound(askedIn(attempt));
  // During a pause it is not said what is waited for.
  if (last.steps.some(isPause) && reason.code !== reasonFor(one, withoutPause(last))?.code) {
    return reason;
  }
  if (last.service !== undefined) {
    const { path, detail } = last.service;
    const isOther = reason.code === Code.OtherAddress;
    const has = reason.code === last.service.code && detail !== undefined;
    return { ...reason, at: isOther ? null : path, ...(has && { detail }) };
  }
  const [first, older] = one.target ? oracle.targetTexts(one.target) : [];
  const places = attempt.filter(({ service }) => service === undefined).length;
  const isMissing = reason.code === Code.NoSocket || reason.code === Code.NotDirectory;
  if (older !== undefined && places === 2 && isMissing) {
    return { code: Code.NoContainerSocket, ...(first !== undefined && { at: first }) };
  }
  const at = places === 2 ? older : first;
  return { ...reason, ...(at !== undefined && { at }) };
}

/** What asking a service came to; undefined where it has answered. */
function reasonForService({ steps, socket, service }: Steps): Reason | undefined {
  const last = steps.at(-1);
  if (last === undefined) return undefined;
  const { name, errno: error, type } = last;
  const timeout = { code: Code.LookupTimeout };
  if (name === "sock_open" || name === "sock_connect") {
    return reasonOf(error, name, oracle.serviceCodes);
  }
  if (name === "poll_oneoff" && type === FD_READ) return reasonOf(error, name);
  if (error !== SUCCESS && error !== AGAIN) {
    const call = name === "poll_oneoff" ? "sock_send" : name;
    return reasonOf(error, call, oracle.lookupCodes);
  }
  if (name === "sock_send" && last.count === 0) return { code: Code.EndWithinReply };
  if (name !== "sock_recv" || error === AGAIN) return timeout;
  if (last.count === 0) return { code: Code.EndWithinReply };
  // What has come by the deadline may be all of it.
  const replies = (service?.exchange ?? []).flatMap(([, reply]) => reply);
  const all = replies.reduce((sum, part) => sum + Buffer.byteLength(part), 0);
  const { enough = all } = service ?? {};
  const wait = steps.at(-2);
  const isLate = wait?.due === true || wait?.errno === TIMEDOUT;
  if (isLate && (socket?.taken.length ?? 0) < enough) return timeout;
  return service?.code === undefined ? undefined : { code: service.code };
}

/** Why the steps at a socket failed, by what the last of them came to. */
function reasonFor(one: Case, all: Steps): Reason | undefined {
  const { steps, socket } = all;
  const last = steps.at(-1);
  const own = typeof one.code === "number" ? { code: one.code } : undefined;
  if (last === undefined) return own;
  const { name, errno: error, count, end } = last;
  const failed = error !== SUCCESS;
  if (all.service !== undefined && !isPause(last)) return reasonForService(all);
  // A read that follows a look at nothing looks, too.
  const looks = last.parameters[3] === PEEK || sawNothing(steps.at(-2));
  const reply = socket?.taken.toString("latin1") ?? "";
  switch (name) {
    case "log_open":
      return failed ? oracle.logReason(error) : own;
    case "fd_filestat_get":
      return { code: error === errno("BADF") ? Code.NoStdout : Code.NoFdPassing };
    case "sock_addr_local":
      return { code: Code.NoFdPassing };
    case "sock_open":
    case "sock_connect":
      return reasonOf(error, name, oracle.connectCodes[one.target?.scheme ?? "unix"]);
    case "sock_send":
      if (error === AGAIN) return { code: Code.ReplyTimeout };
      return failed ? reasonOf(error, name, oracle.handshakeCodes) : { code: Code.ShortWrite };
    case "sock_recv":
      if (error === AGAIN && looks) return { code: oracle.handshakeCode(reply, "silence") };
      if (failed) return reasonOf(error, name, oracle.handshakeCodes);
      if (count === 0) {
        return { code: looks ? oracle.handshakeCode(reply, "eof") : Code.EndWithinLine };
      }
      return { code: oracle.handshakeCode(seenReply(steps), "silence") };
    case "poll_oneoff":
      return reasonForWait(one, all);
    case "sock_send_fds":
      if (error === AGAIN) return { code: Code.FdPassTimeout };
      return reasonOf(error, name, oracle.fdPassingCodes);
    case "sock_relay":
      if (failed) return oracle.relayReason(error, socket?.fd ?? STDERR + 1);
      return oracle.relayReason(end?.error ?? SUCCESS, end?.fd ?? STDIN);
    default:
      return own;
  }
}

/** Whether a step looked at a reply, and there was nothing. */
function sawNothing(step?: Call): boolean {
  const peeks = step?.name === "sock_recv" && step.parameters[3] === PEEK;
  return peeks && (step.errno === AGAIN || (step.errno === SUCCESS && step.count === 0));
}

/** What the command has seen of a reply: what it took, and what it looked at last. */
function seenReply(steps: readonly Call[]): string {
  let [taken, seen] = ["", ""];
  for (const { name, errno: error, bytes, parameters } of steps) {
    if (name !== "sock_recv" || error !== SUCCESS) continue;
    const text = bytes?.toString("latin1") ?? "";
    if (parameters[3] === PEEK) seen = taken + text;
    else taken += text;
    if (taken.length > seen.length) seen = taken;
  }
  return seen;
}

/** The same where the last step was a wait. */
function reasonForWait(one: Case, all: Steps): Reason | undefined {
  const { steps } = all;
  const last = steps.at(-1) as Call;
  const failed = last.errno !== SUCCESS && last.errno !== TIMEDOUT;
  if (isPause(last)) {
    if (failed) return reasonOf(last.errno, last.name);
    // Together with the end of the pause it may be noticed one attempt later.
    if (last.hungUp === true && last.due !== true) return { code: Code.ClientGone };
    // The pause is over, and so is --wait: the failure before it counts.
    return reasonFor(one, withoutPause(all));
  }
  if (last.type === FD_READ) return reasonOf(last.errno, last.name);
  // A wait to send is a part of sending, and reported as that.
  const sending = steps.at(-2)?.name ?? "";
  const table = sending === "sock_send" ? oracle.handshakeCodes : oracle.fdPassingCodes;
  return reasonOf(last.errno, sending, table);
}

// ---- what has to hold

export function checkCalls(one: Case, calls: readonly Call[], exit: number): void {
  const attempts = attemptsOf(one, calls);
  checkCount(one, calls);
  if (exit === 0) checkSuccess(one, calls, attempts.at(-1)?.at(-1)?.socket);
  for (const attempt of attempts.slice(1)) {
    if (one.lookup !== undefined) checkLookup(one, attempt);
    for (const steps of attempt) if (!steps.service) checkSocket(one, calls, attempt, steps);
  }
  const isClockTrue = !calls.some(
    ({ name, errno: error }) => name === "clock_time_get" && error !== SUCCESS,
  );
  if (isClockTrue && !overflows(one, calls)) checkTime(one, calls, exit);
  attempts.slice(1, -1).forEach((attempt) => {
    const code = reasonForAttempt(one, attempt)?.code ?? Code.Done;
    check(one.waitMs > 0 && retryable.includes(code), `another attempt follows ${Code[code]}`);
  });
}

/** When the last call returned, as far as is seen. */
const endOf = (calls: readonly Call[]): number => calls.at(-1)?.at ?? 0;

/** The time that calls were made to take. */
function delayOf(calls: readonly Call[]): number {
  return calls.reduce((sum, { fault }) => sum + Number(fault?.takes ?? 0n), 0);
}

function checkCount({ waitMs, world }: Case, calls: readonly Call[]): void {
  // A pause takes PAUSE_MAX in the end, and doubles before.
  const attempts = 8 + (waitMs * MS) / PAUSE_MAX;
  const moments = Math.max(0, endOf(calls) - delayOf(calls)) / MOMENT;
  const written = calls.reduce(
    (sum, { name, fd, count = 0 }) => sum + (name === "fd_write" && fd === STDERR ? count : 0),
    0,
  );
  const lines = world.simulation?.writeTakes === undefined ? 0 : written;
  // If waits end without an event, each moment has an attempt.
  const most = 100 + (waitMs > 0 ? 60 * attempts : 0) + 16 * moments + 3 * lines;
  check(calls.length <= most, `it makes ${calls.length} calls`);
}

function checkSuccess(one: Case, calls: readonly Call[], socket?: Opened): void {
  if (typeof one.code === "string") {
    check(socket === undefined, "a text was asked for, and a socket opened");
    return;
  }
  check(socket !== undefined, "exit 0 without a socket");
  const passed = calls.filter(({ name, errno: error }) => name === "sock_send_fds" && error === 0);
  const relays = calls.filter(({ name }) => name === "sock_relay");
  const looks = calls.filter(
    ({ name, fd }) => (name === "fd_filestat_get" && fd !== STDERR) || name === "sock_addr_local",
  );
  const passes = passesDescriptor(one) && looks.every(({ errno: error }) => error === SUCCESS);
  check(passes || one.mode !== "fdpass", "exit 0 though no descriptor can be passed");
  check(passed.length === (passes ? 1 : 0), `exit 0, and ${passed.length} descriptors are passed`);
  check(relays.length === (passes ? 0 : 1), `exit 0, and ${relays.length} relays`);
  for (const { fds = [] } of passed) {
    check(fds.join() === `${socket.fd}`, `descriptors ${fds.join()} are passed`);
  }
  for (const { parameters, errno: error, end } of relays) {
    const linger = one.lingerMs === undefined ? -1n : BigInt(one.lingerMs) * 1_000_000n;
    const expected = [socket.fd, STDIN, STDOUT, one.halfClose ? 1 : 0, linger];
    check(parameters.slice(0, 5).join() === expected.join(), `sock_relay(${parameters.join()})`);
    check(error === 0 && end?.error === 0, "exit 0 though the relay failed");
  }
}

/** The services of an attempt. */
function checkLookup(one: Case, attempt: Attempt): void {
  const services = attempt.filter(({ service }) => service !== undefined);
  for (const each of services) {
    const { steps, socket, service } = each;
    const { path = "", exchange = [] } = service ?? {};
    const [open, connect] = steps;
    check(open?.parameters[0] === (Family.Unix as number), "another family");
    const asked = connect?.bytes?.toString("latin1", 2) ?? path;
    check(asked === path, `${asked} is asked, and not ${path}`);
    if (socket === undefined) continue;
    check(socket.closed === 1, `the socket of ${path} was closed ${socket.closed} times`);
    const sent = Buffer.concat(socket.sent);
    const requests = Buffer.concat(exchange.map(([request]) => Buffer.from(request as string)));
    check(requests.subarray(0, sent.length).equals(sent), `${path} is sent ${String(sent)}`);
    const isDone = reasonForService(withoutPause(each)) === undefined;
    check(!isDone || sent.length === requests.length, `${path} is not asked all`);
  }
  const asked = askedIn(attempt);
  const last = [...asked.values()].at(-1);
  const next = oracle.nextSocket(one.lookup as Lookup, asked);
  if (last !== undefined && oracle.outcomes.has(last)) check(!next, `${next} is not asked`);
  const places = attempt.length - services.length;
  const reason = places === 1 ? reasonFor(one, withoutPause(attempt.at(-1) as Steps)) : undefined;
  const isMissing = reason?.code === Code.NoSocket || reason?.code === Code.NotDirectory;
  check(!isMissing || one.target?.older === undefined, "only one place of a container is tried");
  check(places <= (one.target?.older === undefined ? 1 : 2), `${places} places are tried`);
  check(places === 0 || last === undefined, "a target is tried, and no service has named it");
}

function checkSocket(
  { target }: Case,
  calls: readonly Call[],
  attempt: Attempt,
  { steps, socket }: Steps,
): void {
  check(target !== undefined, "a socket without an address");
  const open = steps[0] as Call;
  check(open.parameters[0] === (target.family as number), "another family");
  const connect = steps.find(({ name }) => name === "sock_connect");
  const isSecond = attempt.at(-2)?.service === undefined && attempt.at(-1)?.steps === steps;
  const address = attempt.length > 1 && isSecond ? target.older : target.address;
  check(
    connect === undefined || address?.equals(connect.bytes as Buffer) === true,
    "another address",
  );
  if (socket === undefined) return;
  const delivers = hasDelivered(steps);
  // proc_exit closes what is left.
  const expected = delivers ? 0 : 1;
  check(socket.closed === expected, `descriptor ${socket.fd} was closed ${socket.closed} times`);
  check(!delivers || socket.connected, "what is passed or relayed is not connected");
  const { sent, taken } = socket;
  if (target.scheme !== "vsock-mux") {
    check(sent.length === 0 && taken.length === 0, "a byte is sent or taken that is the peer's");
    return;
  }
  const [request, said] = [`CONNECT ${target.port}\n`, sent.map(String).join("|")];
  check(request.startsWith(said), `the multiplexer is asked ${said}`);
  check(sent.length <= 1, "the multiplexer is asked twice");
  check(!delivers || said === request, `the multiplexer is asked only ${said}`);
  const line = oracle.replyLine(taken.toString("latin1"));
  check(taken.length === line.length, "a byte behind the newline is taken");
  check(!delivers || oracle.isOkLine(line), `${JSON.stringify(line)} is taken for an OK line`);
  if (!socket.connected) return;
  const connected = calls.indexOf(
    steps.find(({ name, errno: error }) => name === "sock_connect" && error === 0) as Call,
  );
  check(calls[connected + 1]?.name === "sock_send", "the multiplexer is not asked at once");
}

// ---- time

const CLOCK_MAX = 2n ** 64n - 1n;

/** Whether the clock has shown, or may be asked for, a time beyond its end. */
function overflows({ timeoutMs, waitMs, world }: Case, calls: readonly Call[]): boolean {
  const span = endOf(calls) + (timeoutMs + waitMs) * MS + 20 * SECOND;
  return (world.simulation?.clockNs ?? 0n) + BigInt(Math.ceil(span)) >= CLOCK_MAX;
}

function checkTime(one: Case, calls: readonly Call[], exit: number): void {
  const [timeout, wait] = [one.timeoutMs * MS, one.waitMs * MS];
  const first = calls.find(({ name }) => name === "sock_open")?.at ?? 0;
  const end = wait > 0 ? first + wait : Infinity;
  let limit = Infinity;
  const stalled = delayOf(calls);
  const begins = attemptsOf(one, calls).map(([steps]) => steps?.steps[0]);
  for (const call of calls) {
    if (call.name === "sock_open" && begins.includes(call))
      limit = Math.min(call.at + timeout, end);
    if (call.until === undefined) continue;
    let until = limit;
    if (call.fd === STDERR) until = call.at + STDERR_TIMEOUT;
    else if (isPause(call)) until = Math.min(call.at + PAUSE_MAX, end);
    const over = Math.round((call.until - until) / MS);
    check(call.until <= until, `${call.name} waits ${over} ms longer than it may`);
  }
  const connect = calls.find(({ name }) => name === "sock_connect");
  if (wait === 0 && stalled === 0 && connect !== undefined) {
    check(connect.until === first + timeout, "sock_connect has another deadline");
  }
  const stalls = one.world.simulation?.stalls === true ? calls.length * 2 * SECOND : 0;
  // The services that may reply at the deadline, and the target.
  const moments = one.lookup === undefined ? 1 : 1 + socketsOf(one.lookup).length;
  const limits = (wait > 0 ? wait : timeout) + STDERR_TIMEOUT;
  const most = limits + moments * MOMENT + stalled + stalls;
  const ran = endOf(calls);
  check(ran <= most, `it runs for ${Math.round(ran / MS)} ms`);
  if (exit !== 0) checkPatience(one, calls);
}

/** Nothing is given up before its time. */
function checkPatience(one: Case, calls: readonly Call[]): void {
  const code = reasonOfCalls(one, calls)?.code;
  const steps =
    attemptsOf(one, calls)
      .at(-1)
      ?.at(-1)
      ?.steps.filter((step) => !isPause(step)) ?? [];
  const last = steps.findLast((step) => step.name === "poll_oneoff");
  const silences = [
    ...[Code.ReplyTimeout, Code.ReplyTimeoutWithinLine],
    ...[Code.FdPassTimeout, Code.LookupTimeout],
  ];
  if (code !== undefined && silences.includes(code) && steps.at(-1)?.errno === AGAIN) {
    const passed = last?.due === true || last?.errno === TIMEDOUT;
    check(passed, `${Code[code]} before the deadline`);
  }
  if (one.waitMs > 0 && code !== undefined && retryable.includes(code)) {
    check(endOf(calls) >= one.waitMs * MS - PAUSE_FIRST, "it gives up before the end of --wait");
  }
}
