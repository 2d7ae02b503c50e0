// A recorded run (record.ts) without what differs from one run of the same host to the next, so that
// runs of two hosts can be compared word by word. tests/hosts/compare.test.ts says what that is, and why it
// is no more.

import { tmpdir } from "node:os";

import type { RunRecord } from "./record";

export interface CanonicalRun {
  command: string;
  exit: RunRecord["exit"];
  stderr: string;
  /** One line for each import. */
  imports: string[];
}

/** One import: its arguments and results by their names, `errno` between the two. */
interface Call {
  name: string;
  fields: Map<string, string>;
}

const AGAIN = "6";
const CONNRESET = "15";
const PIPE = "64";
const REALTIME = "0";
const FD_READ = "1";
const ABSOLUTE = "1";
const PEEK = "1";
const LAST_STDIO = 2;

export function canonical(run: RunRecord): CanonicalRun {
  const calls = undoTiming(run.command, parse(run.trace));
  nameTimes(calls);
  for (const { fields } of calls) {
    maskBytes(fields);
    if (fields.has("*ret_log.process")) fields.set("*ret_log.process", "PID");
  }
  return {
    // How long fake-ssh held the hand-over up is its own affair: until it was seen.
    command: mask(run.command).replace(/--hold \d+/, "--hold MS"),
    exit: run.exit,
    stderr: mask(wordsOfProxy(run)),
    imports: calls.map(toLine),
  };
}

/** Of what `ssh -v` says, the proxy's own lines: in the others are keys, times and the host's name. */
function wordsOfProxy({ command, stderr }: RunRecord): string {
  if (!/^ssh .*-v /.test(command)) return stderr;
  const lines = stderr.split("\n").filter((line) => line.startsWith("ssh-vsock-proxy: "));
  return lines.join("\n");
}

function parse(trace: string): Call[] {
  const lines = trace.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [name = "", ...fields] = line.replace(" -> ", " errno=").split(" ");
    const pairs = fields.map((field): [string, string] => {
      const at = field.indexOf("=");
      return [field.slice(0, at), field.slice(at + 1)];
    });
    return { name, fields: new Map(pairs) };
  });
}

function toLine({ name, fields }: Call): string {
  return [name, ...Array.from(fields, ([key, value]) => `${key}=${value}`)].join(" ");
}

/**
 * What the clock shows is named clock1, clock2 and so on; a time that the program waits for, by the
 * time that the clock had shown last when that time first appeared: clock2+5000000000.
 */
function nameTimes(calls: Call[]): void {
  const names = new Map<string, string>();
  let shown = 0n;
  let count = 0;
  for (const { fields } of calls) {
    for (const [key, value] of fields) {
      if (key === "*ret_time" && fields.get("clock") === REALTIME) {
        fields.set(key, "wall");
      } else if (key === "*ret_time") {
        shown = BigInt(value);
        fields.set(key, `clock${++count}`);
      } else if (key === "deadline" || isAbsolute(fields, key)) {
        const name = names.get(value) ?? `clock${count}+${BigInt(value) - shown}`;
        names.set(value, name);
        fields.set(key, name);
      }
    }
  }
}

function isAbsolute(fields: Map<string, string>, key: string): boolean {
  const [, entry] = /^(.*)\.timeout$/.exec(key) ?? [];
  return entry !== undefined && fields.get(`${entry}.flags`) === ABSOLUTE;
}

/** Bytes as text. Where masking changes how long a line for stderr is, it changes the numbers, too. */
function maskBytes(fields: Map<string, string>): void {
  for (const [key, value] of fields) {
    if (!/\.bytes$|^\*address$|^\*path$|^received$/.test(key)) continue;
    const text = Buffer.from(value, "hex").toString("latin1");
    const masked = mask(text);
    fields.set(key, JSON.stringify(masked));
    for (const length of ["iovs[0].buf_len", "*ret_written"]) {
      const number = fields.get(length);
      if (number !== undefined && masked.length !== text.length) {
        fields.set(length, `${Number(number) + masked.length - text.length}`);
      }
    }
  }
}

/** A folder that mkdtemp has made, with % for its slashes, too, and in the case that ssh gives it. */
const temporary = new RegExp(
  `(${tmpdir().replaceAll(/[.+]/g, "\\$&").replaceAll("/", "[/%]")}[/%][\\w-]+-)\\w{6}(?!\\w)`,
  "gi",
);

function mask(text: string): string {
  return text
    .replaceAll(temporary, "$1XXXXXX")
    .replaceAll(/ssh-vsock-proxy-\d+-x+/g, "ssh-vsock-proxy-PID-xxx")
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\d+\] /g, "STAMP ")
    .replaceAll(/\d+\.\d{3} ms: /g, "TIME ms: ");
}

// ---- what is the peer's and the scheduler's

/** Multiplexers of whose answer more or less has arrived when the program looks. */
const inPieces = /[/%](bytewise|short|vhost-device-vsock)(?![\w-])/;
/** ssh ends a proxy that relays for it by SIGHUP. */
export const hungUp = /^ssh .*ProxyUseFdpass=no/;
/** The multiplexer that leaves while the request is on its way. */
const leaves = /[/%]full(?![\w-])/;

function undoTiming(command: string, calls: Call[]): Call[] {
  for (const call of calls) {
    dropHangUp(call);
    nameRelayEnd(call);
  }
  const left = dropVainWaits(hungUp.test(command) ? dropRelay(calls) : calls);
  if (leaves.test(command)) return findReset(left);
  return inPieces.test(command) ? joinRounds(left) : left;
}

/** A peer that closes with bytes unread is a reset to whoever looks first, and a broken pipe after. */
function nameRelayEnd({ name, fields }: Call): void {
  if (name === "sock_relay" && fields.get("*ret_end.error") === CONNRESET) {
    fields.set("*ret_end.error", PIPE);
  }
}

/** The relay, if it came to its end before ssh's signal. */
function dropRelay(calls: Call[]): Call[] {
  const at = calls.findIndex(({ name }) => name === "sock_relay");
  return at < 0 ? calls : calls.slice(0, at);
}

/** Whether a peer that ends has done so when the program is woken up, or is about to. */
function dropHangUp({ name, fields }: Call): void {
  if (name !== "poll_oneoff" || Number(fields.get("in[0].fd")) <= LAST_STDIO) return;
  fields.delete("out[0].flags");
}

/** A wait that has ended too early, without an event, and the try that nothing came of. */
function dropVainWaits(calls: Call[]): Call[] {
  const vain = (wait?: Call, next?: Call): boolean =>
    wait?.fields.get("*ret_events") === "0" && next?.fields.get("errno") === AGAIN;
  return calls.filter((call, i) => !vain(call, calls[i + 1]) && !vain(calls[i - 1], call));
}

/** The request is refused, or it is taken and the look for the answer tells of the reset. */
function findReset(calls: Call[]): Call[] {
  const at = calls.findIndex(({ name }) => name === "sock_send");
  const [send, wait, look] = calls.slice(at, at + 3);
  if (send?.fields.get("errno") !== "0" || wait?.name !== "poll_oneoff") return calls;
  if (look?.name !== "sock_recv" || look.fields.get("errno") !== CONNRESET) return calls;
  send.fields.set("errno", PIPE);
  send.fields.delete("*ret_len");
  return [...calls.slice(0, at + 1), ...calls.slice(at + 3)];
}

/** A wait, a look at what has arrived, and the taking of what of it is the program's. */
interface Round {
  wait: Call;
  look: Call;
  take: Call;
}

/**
 * Rounds that follow each other become one, as if all that they take had arrived at once and nothing
 * behind it. That is where each looks for exactly what is still missing; others stay.
 */
function joinRounds(calls: Call[]): Call[] {
  const result: Call[] = [];
  let last: Round | undefined;
  for (let at = 0; at < calls.length; at++) {
    const round = roundAt(calls, at);
    if (round === undefined) {
      last = undefined;
      result.push(calls[at] as Call);
      continue;
    }
    at += 2;
    if (last !== undefined && continues(last, round)) {
      const taken = hexOf(last.take) + hexOf(round.take);
      receives(last.look, taken);
      receives(last.take, taken);
      last.take.fields.set("iovs[0].buf_len", `${taken.length / 2}`);
    } else {
      last = round;
      receives(round.look, hexOf(round.take));
      result.push(round.wait, round.look, round.take);
    }
  }
  return result;
}

function roundAt(calls: Call[], at: number): Round | undefined {
  const [wait, look, take] = calls.slice(at, at + 3);
  if (wait?.fields.get("in[0].type") !== FD_READ || wait.fields.get("*ret_events") !== "1") return;
  if (look?.name !== "sock_recv" || look.fields.get("flags") !== PEEK) return;
  if (take?.name !== "sock_recv" || take.fields.get("flags") !== "0") return;
  const taken = hexOf(take);
  if (taken === "" || !hexOf(look).startsWith(taken)) return;
  return take.fields.get("iovs[0].buf_len") === `${taken.length / 2}`
    ? { wait, look, take }
    : undefined;
}

function continues(before: Round, round: Round): boolean {
  const missing = Number(before.look.fields.get("iovs[0].buf_len")) - hexOf(before.take).length / 2;
  return (
    toLine(before.wait) === toLine(round.wait) &&
    withoutSizes(before.look) === withoutSizes(round.look) &&
    withoutSizes(before.take) === withoutSizes(round.take) &&
    round.look.fields.get("iovs[0].buf_len") === `${missing}`
  );
}

/** A sock_recv without how much it asks for and gets. */
function withoutSizes({ name, fields }: Call): string {
  const sizes = ["iovs[0].buf_len", "*ret_len", "received"];
  return toLine({ name, fields: new Map([...fields].filter(([key]) => !sizes.includes(key))) });
}

function hexOf(call: Call): string {
  return call.fields.get("received") ?? "";
}

function receives(call: Call, hex: string): void {
  call.fields.set("received", hex);
  call.fields.set("*ret_len", `${hex.length / 2}`);
}
