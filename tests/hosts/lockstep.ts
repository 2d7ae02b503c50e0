// Runs of the proxy's debug builds in lock-step with a scripted world (lockstep.py has the rules), and
// what such a run comes to once the clock's answers are names.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";

import { tool } from "../support/tools";
import { root } from "../support/proxy";

/** Bytes, in hexadecimal. */
export type Hex = string;

export interface Script {
  arguments: Hex[];
  /** `NAME=VALUE`. */
  environment: Hex[];
  /** Its content, and whether that has an end; `stdout`: the same socket as descriptor 1. */
  stdin: { kind: "null" | "file" | "pipe" | "directory" | "stdout"; content: Hex; ends: boolean };
  /** `full unix`: takes nothing more; `full`: /dev/full. */
  stdout:
    | "unix"
    | "unix without reader"
    | "full unix"
    | "datagram"
    | "seqpacket"
    | "pipe"
    | "pipe without reader"
    | "file"
    | "null"
    | "full";
  stderr: "pipe" | "file" | "null" | "terminal" | "pipe without reader" | "full pipe";
  /** The address of the world's socket: a path from the proxy's folder on, or a NUL and a name. */
  socket: Hex;
  /** What each attempt to connect meets; further ones the same as the last. */
  attempts: Attempt[];
  /** What the peer of a relay does. */
  relay: Relay | null;
  /** After so many attempts whoever waits at descriptor 1 is gone; 0: never. */
  leaves: number;
  /** The times that the command line speaks of, in milliseconds. */
  timeout: number;
  wait: number;
}

export interface Attempt {
  place:
    | "absent"
    | "refuses"
    | "listens"
    | "full"
    | "datagram"
    | "seqpacket"
    | "forbidden"
    | "linked"
    | "dangling"
    | "loop"
    | "file"
    | "directory";
  /** The peer's moves as soon as it is connected to. */
  connected: Move[];
  /** Its moves once it was asked something, each when all that it has sent before was taken. */
  asked: Move[];
}

/**
 * `read`: what is there; `mute` and `deaf`: it sends or receives no more; `close`; anything else is
 * what it sends.
 */
export type Move = Hex;

export interface Relay {
  /** What the peer sends at once. */
  first: Hex;
  /** It sends `last`, and closes, when it has so many bytes, or the end of what it is sent. */
  until: number | "end";
  last: Hex;
}

/** A run as it was. */
export interface Answer {
  exit: number;
  pid: number;
  /** The imports, a line each (native/trace/trace.c). */
  trace: string[];
  /** What was written to descriptor 2; nothing where nobody could read that. */
  stderr: Hex;
  /** The same of descriptor 1, and how many descriptors came with it. */
  stdout: Hex;
  descriptors: number;
  /** What the first of them still had to give. */
  behind: Hex;
  /** What the peer was sent. */
  received: Hex;
}

/** What a run has come to, a line for each thing; equal for equal runs. */
export interface Outcome {
  exit: number;
  imports: number;
  lines: string[];
  /** Whether the machine stood still until a deadline had passed at which the script had more to come. */
  stalled: boolean;
}

/** One process that plays runs, one after the other. */
export class Lockstep {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string, undefined>;

  constructor() {
    const script = path.join(root, "tests/hosts/lockstep.py");
    this.#child = spawn(tool("python3"), [script], { stdio: ["pipe", "pipe", "inherit"] });
    if (this.#child.stdout === null) throw new Error("lockstep.py has no stdout");
    this.#answers = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** @throws Error where the run could not be played to its end */
  async play(command: readonly string[], script: Script): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify({ command, script })}\n`);
    const line = await this.#answers.next();
    if (line.done === true) throw new Error("lockstep.py has ended");
    const answer = JSON.parse(line.value) as Answer | { failed: string };
    if ("failed" in answer) throw new Error(`lockstep.py: ${answer.failed}`);
    return answer;
  }

  end(): void {
    this.#child.stdin?.end();
  }
}

/** What a run has come to, in the form in which two runs are compared. */
export function outcomeOf(answer: Answer, script: Script): Outcome {
  const { exit, trace, stdout, descriptors, behind, received } = answer;
  return {
    exit,
    imports: trace.length,
    lines: [
      ...new Names(answer.pid, script).of(trace),
      `exit status ${exit}`,
      `descriptor 1 ${stdout} with ${descriptors} descriptors`,
      `behind it ${behind}`,
      `the peer received ${received}`,
      ...unlikeTrace(answer, script),
    ],
    stalled: trace.some((line) => line.startsWith("poll_oneoff") && line.includes("*ret_events=2")),
  };
}

/** Of what could be read on descriptor 2, the trace has every byte, unless this says something else. */
function unlikeTrace({ trace, stderr }: Answer, script: Script): string[] {
  if (!["pipe", "file", "terminal"].includes(script.stderr)) return [];
  const written = trace.map((line) => {
    const [, bytes = "", count = "0"] =
      /^fd_write fd=2 .*\.bytes=(\w*) -> 0 \*ret_written=(\d+)/.exec(line) ?? [];
    return bytes.slice(0, 2 * Number(count));
  });
  return written.join("") === stderr ? [] : [`descriptor 2 ${stderr}`];
}

const MILLISECOND = 1_000_000n;
/** How long the program waits for stderr, and how often it tells of progress (assembly/). */
const FIXED = [1000, 10_000];
const PAUSES = [50, 100, 200, 400, 800];

/**
 * Puts names in the place of what the clocks say, and of the process's number: the numbers differ
 * from one run to the next, and what the program makes of them may not. A number that is not what it
 * should be gets no name, and so is a difference:
 *
 * - what the monotonic clock says, if it does not go back: clock1, clock2 and so on
 * - a time that is waited for, if it is one of the clock's answers and one of the spans that the
 *   script and the program know: clock2+5000ms
 * - a time in a line of text, if it is what has passed between the first answer and the one before
 *   the line: clock4-clock1
 * - the beginning of a log's line, if it is what the clock of the wall has said, and the process
 *
 * With the digits of these, lengths and the place of a text in the memory change.
 */
class Names {
  readonly #clock: bigint[] = [];
  readonly #spans: bigint[];
  #wall = 0n;
  #log: { at: number; stamp: number } | undefined;

  constructor(
    private readonly pid: number,
    { timeout, wait }: Script,
  ) {
    const spans = [timeout, wait, wait - 50, ...FIXED, ...PAUSES];
    this.#spans = spans.map((span) => BigInt(span) * MILLISECOND);
  }

  of(trace: readonly string[]): string[] {
    return trace.map((line) => {
      if (line.startsWith("clock_time_get clock=0 ")) return this.#nameWall(line);
      if (line.startsWith("clock_time_get ")) return this.#nameClock(line);
      if (line.startsWith("fd_write ")) return this.#nameTexts(line);
      return line
        .replace(new RegExp(`( \\*ret_log.process=)${this.pid}$`), "$1PID")
        .replaceAll(/( deadline=|\.timeout=)(\d+)/g, (whole, field: string, time: string) => {
          const name = this.#waitedFor(BigInt(time));
          return name === undefined ? whole : `${field}${name}`;
        });
    });
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

  #waitedFor(time: bigint): string | undefined {
    for (let i = this.#clock.length; i > 0; i--) {
      const span = this.#spans.find((each) => time === (this.#clock[i - 1] as bigint) + each);
      if (span !== undefined) return `clock${i}+${span / MILLISECOND}ms`;
    }
    return undefined;
  }

  #nameTexts(line: string): string {
    const match = /^(fd_write fd=(\d+) .*\.buf=)(\d+)( .*\.buf_len=)(\d+)( .*\.bytes=)(\w+)(.*)$/;
    const [, head, fd, at, toSize, size, toBytes, hex = "", end] = match.exec(line) ?? [];
    const text = Buffer.from(hex, "latin1").toString();
    const bytes = Buffer.from(text, "hex").toString("latin1");
    const isLog = fd !== "2";
    // For stderr the program has looked at the clock once more, to wait for it.
    const named = this.#nameStamp(bytes, isLog, Number(at)).replaceAll(
      /\b\d+\.(?:\d{3} ms|\d s)\b/g,
      (shown) => this.#elapsed(shown, this.#clock.length - (isLog ? 0 : 1)),
    );
    const added = named.length - bytes.length;
    const count = Number(size) + added;
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

  /** A line for stderr that the log has as well begins behind the log's stamp. */
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
