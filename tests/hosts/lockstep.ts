// Plays cases on the proxy's debug builds in lock-step with real sockets (lockstep.py has the rules),
// and says what a run came to: an Outcome, and every import in a form that is the same for equal runs.

import path from "node:path";

import { ABSTRACT_NAME } from "../support/arbitrary";
import type { HostCase } from "../support/draft";
import { stdinOf } from "../support/case";
import type { Attempt, Bytes, Relay } from "../support/case";
import { LineProcess } from "../support/line-process";
import type { Outcome } from "../support/outcome";
import { tool } from "../support/tools";

/** Bytes in hexadecimal. */
type Hex = string;

const hexOf = (bytes: Bytes): Hex => Buffer.from(bytes).toString("hex");
const bytesOf = (text: Hex): Buffer => Buffer.from(text, "hex");

/** A case as lockstep.py plays it. */
interface Script {
  args: Hex[];
  environment: Hex[];
  stdin: { kind: string; content: Hex; ends: boolean };
  stdout: string;
  stderr: string;
  logFile: Hex | null;
  /** A path relative to the run's directory, NUL and an abstract name, or an AF_VSOCK port. */
  socket: Hex | number;
  /** What each attempt to connect meets; the last one is repeated. */
  attempts: { place: string; connected: Move[]; asked: Move[] }[];
  relay: { first: Hex; until: number | "end"; last: Hex } | null;
  /** After this many attempts the client exits; 0: never. */
  clientExitsAfter: number;
}

/**
 * A peer's move: `read`s what is there; `mute` and `deaf` shut sending or receiving down; `close`;
 * anything else is sent. Those in `connected` are made at once, those in `asked` once the peer was
 * sent something, each after the program has taken what was sent before.
 */
type Move = string;

/** What lockstep.py says of a run. */
export interface Answer {
  exit: number;
  pid: number;
  /** The imports, a line each (native/trace/trace.c). */
  trace: string[];
  /** What was written to descriptor 2, where it can be read. */
  stderr: Hex;
  /** The same of descriptor 1, without messages that have descriptors. */
  stdout: Hex;
  passed: { bytes: Hex; fds: number }[];
  /** What each peer received, and what it sent, apart from a relay's bytes. */
  peers: { received: Hex; sent: Hex }[];
  /** What could be read from the first descriptor that was passed. */
  remaining: Hex;
  log: Hex | null;
}

/** What is at the address where connecting fails so. */
const places: Readonly<Record<string, readonly string[]>> = {
  SUCCESS: ["listens"],
  NOENT: ["absent"],
  CONNREFUSED: ["refuses"],
  PROTOTYPE: ["datagram", "seqpacket"],
  ACCES: ["forbidden"],
  LOOP: ["loop"],
  NOTSOCK: ["file"],
  NOTDIR: ["file"],
  ISDIR: ["directory"],
  NAMETOOLONG: ["absent"],
};
/** Of abstract names and of AF_VSOCK. */
const otherPlaces: Readonly<Record<string, readonly string[]>> = {
  ...places,
  CONNREFUSED: ["absent", "refuses", "datagram", "seqpacket"],
  CONNRESET: ["absent"],
  NODEV: ["absent"],
};

/** The case as a script. */
export function scriptOf(one: HostCase): Script {
  const { world, target, form } = one;
  const pick = <T>(list: readonly T[]): T => list[form % list.length] as T;
  const hasPath = target !== undefined && ["unix", "vsock-mux", ".host"].includes(target.scheme);

  function placeOf({ connect = "SUCCESS", takes, place }: Attempt): string {
    if (target === undefined) return "absent";
    if (takes === "deadline") return "full";
    const list = (hasPath ? places : otherPlaces)[connect];
    if (list === undefined) throw new Error(`no place makes connecting fail with ${connect}`);
    const isChosen = hasPath && ["SUCCESS", "NOENT"].includes(connect);
    return isChosen && place !== undefined ? place : pick(list);
  }
  function movesOf({ reply = [], end, drops }: Attempt): { connected: Move[]; asked: Move[] } {
    const sent = reply.map(hexOf);
    const ends: Move[] = end === "eof" ? [pick(["close", "mute"] as const)] : [];
    if (target?.scheme !== "vsock-mux") {
      const dropped: Move[] =
        drops === undefined ? [] : [world.relay ? "deaf" : pick(["close", "deaf"] as const)];
      return { connected: [...sent, ...ends, ...dropped], asked: [] };
    }
    if (drops === "unread") return { connected: [], asked: ["close"] };
    if (drops === "before-request")
      return { connected: [pick(["close", "deaf"] as const)], asked: ["read"] };
    // Without a reply the end may as well come before the request.
    if (sent.length === 0 && end === "eof" && form === 1)
      return { connected: ["mute"], asked: ["read"] };
    return { connected: [], asked: ["read", ...sent, ...ends] };
  }
  // What the simulation makes fail, the kernel does by itself.
  const connect = world.simulation?.fails?.["sock_connect"]?.[0] ?? "SUCCESS";
  const { attempts = [{ connect }], stdout = "unix", stderr = "pipe", relay, clientExits } = world;
  const stdin = stdinOf(world);
  const relayOf = ({ first, until, last }: Relay) => ({
    first: hexOf(first),
    until,
    last: hexOf(last),
  });
  return {
    args: one.args.map(hexOf),
    environment: (one.environment ?? []).map(hexOf),
    stdin: { kind: stdin.kind, content: hexOf(stdin.content ?? ""), ends: stdin.ends ?? true },
    stdout,
    stderr,
    logFile: one.log === undefined ? null : hexOf(one.log.path),
    socket: target?.scheme === "vsock" ? (target.port ?? 0) : hexOf(socketOf(one)),
    attempts: attempts.map((attempt) => ({ place: placeOf(attempt), ...movesOf(attempt) })),
    relay: relay === undefined ? null : relayOf(relay),
    clientExitsAfter: clientExits && "afterAttempt" in clientExits ? clientExits.afterAttempt : 0,
  };
}

/** The unix socket's path or abstract name. */
function socketOf({ target, world }: HostCase): Buffer {
  const where = target?.address.subarray(2) ?? Buffer.from("./peer");
  const below = world.attempts?.[0]?.connect === "NOTDIR";
  return below ? where.subarray(0, where.lastIndexOf("/")) : where;
}

/** The case with an abstract name that no other run on the machine uses at the same time. */
export function withOwnName(one: HostCase, worker: number): HostCase {
  if (one.target?.scheme !== "unix-abstract") return one;
  const own = `lock-step-${`${process.pid}`.padStart(6, "0")}-${`${worker}`.padStart(2, "0")}`;
  const rename = (bytes: Bytes): Buffer =>
    Buffer.from(Buffer.from(bytes).toString("latin1").replaceAll(ABSTRACT_NAME, own), "latin1");
  const target = { ...one.target, address: rename(one.target.address) };
  return { ...one, args: one.args.map(rename), subject: rename(one.subject).toString(), target };
}

/**
 * The case with more time for everything that has to happen before a time is over, for a machine
 * that stalls: `factor`, a power of 2, times as much.
 */
export function slowed(one: HostCase, factor: number): HostCase {
  if (factor === 1) return one;
  const limit = /(\d+)ms/;
  const textOf = (bytes: Bytes): string => Buffer.from(bytes).toString("latin1");
  const slow = (bytes: Bytes): Buffer =>
    Buffer.from(
      textOf(bytes).replace(limit, (_, ms) => `${Number(ms) * factor}ms`),
      "latin1",
    );
  const { environment = [] } = one;
  const isLimited = [...one.args, ...environment].some((bytes) => limit.test(textOf(bytes)));
  const slower = {
    ...one,
    args: one.args.map(slow),
    environment: environment.map(slow),
    timeoutMs: isLimited ? one.timeoutMs * factor : one.timeoutMs,
  };
  const { clientExits, attempts = [{}] } = one.world;
  if (clientExits === undefined || !("afterAttempt" in clientExits)) {
    return slower;
  }
  // Each pause is twice as long as the one before.
  const later = Math.log2(factor);
  const world = {
    ...one.world,
    attempts: [...Array<Attempt>(later).fill(attempts[0] as Attempt), ...attempts],
    clientExits: { afterAttempt: clientExits.afterAttempt + later },
  };
  return { ...slower, world };
}

/** A process that plays runs, one after the other. */
export class Lockstep {
  readonly #player = new LineProcess(tool("python3"), [path.join(__dirname, "lockstep.py")]);

  /** @throws Error where the run could not be played to its end */
  async play(command: readonly string[], script: Script): Promise<Answer> {
    return answerIn(await this.#player.ask(requestOf(command, script)));
  }

  end(): Promise<void> {
    return this.#player.end();
  }
}

/** The line that lockstep.py reads. */
export function requestOf(command: readonly string[], script: Script): string {
  return JSON.stringify({ command, script });
}

/** The answer in a line of lockstep.py's. */
export function answerIn(line: string): Answer {
  const answer = JSON.parse(line) as Answer | { failed: string };
  if ("failed" in answer) throw new Error(`lockstep.py: ${answer.failed}`);
  return answer;
}

// ---- what a run came to

export function outcomeOf(answer: Answer): Outcome {
  const { exit, stderr, stdout, passed, peers, log } = answer;
  const taken = takenIn(answer);
  return {
    exit,
    stderr: bytesOf(stderr),
    connections: peers.map(({ received, sent }, i) => ({
      sent: bytesOf(received),
      reply: bytesOf(sent),
      taken: taken[i]?.length ?? 0,
    })),
    passed: passed.map(({ bytes, fds }) => ({ bytes: bytesOf(bytes), descriptors: fds })),
    relayed: bytesOf(stdout),
    ...(log !== null && { log: bytesOf(log) }),
  };
}

/** What the program took from each connection. */
function takenIn({ trace }: Pick<Answer, "trace">): Buffer[] {
  const taken: Buffer[] = [];
  for (const line of trace) {
    if (/^sock_connect .* -> 0/.test(line)) taken.push(Buffer.of());
    const [, bytes] = /^sock_recv .* flags=0 .*received=(\w+)/.exec(line) ?? [];
    if (bytes !== undefined)
      taken.push(Buffer.concat([taken.pop() ?? Buffer.of(), bytesOf(bytes)]));
  }
  return taken;
}

/** What could be read from the passed descriptor, where that is not the rest of what was sent. */
export function wrongRemainder({
  peers,
  passed,
  remaining,
  ...answer
}: Answer): string | undefined {
  if (passed.length === 0) return undefined;
  const taken = takenIn(answer).at(-1)?.length ?? 0;
  const [read, rest] = [bytesOf(remaining), bytesOf(peers.at(-1)?.sent ?? "").subarray(taken)].map(
    (bytes) => JSON.stringify(bytes.toString("latin1")),
  ) as [string, string];
  return read.replace(" and a reset", "") === rest ? undefined : `${read} is read, not ${rest}`;
}

/** Whether the machine stood still until a deadline had passed before the next move was seen. */
export function hasStalled({ trace }: Answer): boolean {
  return trace.some((line) => line.startsWith("poll_oneoff") && line.includes("*ret_events=2"));
}

/** The run in lines, which are the same for equal runs. */
export function linesOf(one: HostCase, answer: Answer): string[] {
  const { exit, pid, trace, stdout, passed, peers, remaining } = answer;
  return [
    ...new Names(pid, one).of(trace),
    `exit status ${exit}`,
    `descriptor 1: ${stdout}`,
    ...passed.map(({ bytes, fds }) => `${fds} descriptors were passed with ${bytes}`),
    `then: ${remaining}`,
    ...peers.map(({ received }) => `a peer received ${received}`),
    ...untracedStderr(one, answer),
  ];
}

/** The trace has every byte that could be read on descriptor 2; else this is what was read. */
function untracedStderr({ world }: HostCase, { trace, stderr }: Answer): string[] {
  if (!["pipe", "file", "terminal"].includes(world.stderr ?? "pipe")) return [];
  const written = trace.map((line) => {
    const [, bytes = "", count = "0"] =
      /^fd_write fd=2 .*\.bytes=(\w*) -> 0 \*ret_written=(\d+)/.exec(line) ?? [];
    return bytes.slice(0, 2 * Number(count));
  });
  return written.join("") === stderr ? [] : [`descriptor 2: ${stderr}`];
}

const MILLISECOND = 1_000_000n;
/** assembly/: how long stderr has to take a line, and the interval between progress lines. */
const FIXED = [1000, 10_000];
const PAUSES = [50, 100, 200, 400, 800];

/**
 * Replaces what the clocks said, and the process's number, by names, because they differ from run to
 * run. A value that is not what it has to be gets no name, and so is a difference:
 *
 * - what the monotonic clock says, if it does not go back: clock1, clock2 and so on
 * - the end of a wait, if it is one of these and a span that the case or the program knows:
 *   clock2+5000ms
 * - a time in a line of text, if it is what passed between the first of these and the last before the
 *   line: clock4-clock1
 * - the start of a log's line, if it is the realtime clock's answer, and the process: wall [PID]
 * - a file, by its device and number: file1, file2 and so on. When it was used is left out.
 *
 * The lengths of such lines, and their places in memory, change with the digits.
 */
class Names {
  readonly #clock: bigint[] = [];
  readonly #spans: bigint[];
  readonly #files: string[] = [];
  #wall = 0n;
  #log: { at: number; stamp: number } | undefined;

  constructor(
    private readonly pid: number,
    { timeoutMs, waitMs }: HostCase,
  ) {
    const spans = [timeoutMs, waitMs, waitMs - 50, ...FIXED, ...PAUSES];
    this.#spans = spans.map((span) => BigInt(span) * MILLISECOND);
  }

  of(trace: readonly string[]): string[] {
    return trace.map((line) => {
      if (line.startsWith("clock_time_get clock=0 ")) return this.#nameWall(line);
      if (line.startsWith("clock_time_get ")) return this.#nameClock(line);
      if (line.startsWith("fd_write ")) return this.#nameText(line);
      if (line.startsWith("fd_filestat_get ")) return this.#nameFile(line);
      return line
        .replace(new RegExp(`( \\*ret_log.process=)${this.pid}$`), "$1PID")
        .replaceAll(/( deadline=|\.timeout=)(\d+)/g, (whole, field: string, time: string) => {
          const name = this.#endOfWait(BigInt(time));
          return name === undefined ? whole : `${field}${name}`;
        });
    });
  }

  #nameFile(line: string): string {
    return line
      .replace(/dev=\d+ ino=\d+/, (file) => {
        if (!this.#files.includes(file)) this.#files.push(file);
        return `file${this.#files.indexOf(file) + 1}`;
      })
      .replaceAll(/ [amc]tim=\d+/g, "");
  }

  #nameWall(line: string): string {
    return line.replace(/(?<= \*ret_time=)\d+$/, (time) => {
      this.#wall = BigInt(time);
      return "wall";
    });
  }

  #nameClock(line: string): string {
    return line.replace(/(?<= \*ret_time=)\d+$/, (digits) => {
      const time = BigInt(digits);
      const before = this.#clock.at(-1) ?? 0n;
      this.#clock.push(time);
      return time >= before ? `clock${this.#clock.length}` : digits;
    });
  }

  #endOfWait(time: bigint): string | undefined {
    for (let i = this.#clock.length; i > 0; i--) {
      const span = this.#spans.find((each) => time === (this.#clock[i - 1] as bigint) + each);
      if (span !== undefined) return `clock${i}+${span / MILLISECOND}ms`;
    }
    return undefined;
  }

  #nameText(line: string): string {
    const match = /^(fd_write fd=(\d+) .*\.buf=)(\d+)( .*\.buf_len=)(\d+)( .*\.bytes=)(\w+)(.*)$/;
    const [, head, fd, at, toSize, size, toBytes, hex = "", end] = match.exec(line) ?? [];
    const bytes = bytesOf(hex).toString("latin1");
    const isLog = fd !== "2";
    // For stderr the program has looked at the clock once more, to wait for it.
    const named = this.#nameStamp(bytes, isLog, Number(at)).replaceAll(
      /\b\d+\.(?:\d{3} ms|\d s)\b/g,
      (shown) => this.#elapsed(shown, this.#clock.length - (isLog ? 0 : 1)),
    );
    const count = Number(size) + named.length - bytes.length;
    const place = isLog ? at : this.#placeOf(Number(at));
    const written = end?.replace(`=${size ?? ""}`, `=${count}`);
    return `${head}${place}${toSize}${count}${toBytes}${JSON.stringify(named)}${written}`;
  }

  #nameStamp(text: string, isLog: boolean, at: number): string {
    if (!isLog) return text;
    const date = new Date(Number(this.#wall / MILLISECOND)).toISOString();
    const stamp = `${date} [${this.pid}] `;
    this.#log = { at, stamp: stamp.length };
    return text.startsWith(stamp) ? `wall [PID] ${text.slice(stamp.length)}` : text;
  }

  /** A line that the log has as well begins on stderr behind the log's stamp. */
  #placeOf(at: number): string {
    const log = this.#log;
    return log !== undefined && at === log.at + log.stamp ? `${log.at}+stamp` : `${at}`;
  }

  #elapsed(shown: string, until: number): string {
    const [first = 0n, last = 0n] = [this.#clock[0], this.#clock[until - 1]];
    const [unit, decimals] = shown.endsWith("ms") ? [1000n, 3] : [100_000_000n, 1];
    const digits = `${(last - first) / unit}`.padStart(decimals + 1, "0");
    const time = `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
    return shown.startsWith(`${time} `) ? `clock${until}-clock1${shown.slice(time.length)}` : shown;
  }
}
