// Runs a case on a host between a fake ssh and a fake peer, through fake-peer.py.

import path from "node:path";
import { attemptAt } from "../support/case";
import type { Bytes, Case } from "../support/case";
import { LineProcess } from "../support/line-process";
import type { Outcome } from "../support/outcome";
import { proxyCommand } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { tool } from "../support/tools";

export interface PeerOutcome extends Outcome {
  /** What could be read from the descriptor that was passed. */
  rest: Buffer;
  /** Whether stderr had a line before the socket was closed. */
  early: boolean;
  ms: number;
}

/** What fake-peer.py reports; bytes are in hexadecimal. */
interface Report {
  /** The exit status, or minus the signal. */
  status: number;
  stderr: string;
  connections: number;
  sent: string;
  /** The length of the segments that were taken as a whole. */
  taken: number;
  passed: { bytes: string; descriptors: number }[];
  rest: string;
  relayed: string;
  early: boolean;
  ms: number;
}

const hex = (bytes: Bytes): string => Buffer.from(bytes as string).toString("hex");
const unhex = (text: string): Buffer => Buffer.from(text, "hex");

/** Several fake-peer.py, each in a folder of its own, for runs at the same time. */
export class Peers {
  readonly #free: LineProcess[];
  readonly #waiting: ((peer: LineProcess) => void)[] = [];

  private constructor(readonly all: readonly LineProcess[]) {
    this.#free = [...all];
  }

  /** Starts `count` of them for a host. */
  static start(host: string, count: number): Peers {
    const words = [path.join(__dirname, "fake-peer.py"), ...proxyCommand(host)];
    const start = (): LineProcess =>
      new LineProcess(tool("python3"), words, { cwd: makeFolder("peer") });
    return new Peers(Array.from({ length: count }, start));
  }

  /** Runs a case. A peer that `asks` waits for a request before it replies. */
  async run({ args, environment = [], world }: Case, asks: boolean): Promise<PeerOutcome> {
    const free = this.#free.pop();
    const peer = free ?? (await new Promise<LineProcess>((use) => this.#waiting.push(use)));
    const { reply = [], end = "silence" } = attemptAt(world, 0);
    const { stdout = "unix" } = world;
    const words = { arguments: args.map(hex), environment: environment.map(hex) };
    const order = { ...words, stdout, reply: reply.map(hex), end, asks };
    try {
      const report = JSON.parse(await peer.ask(JSON.stringify(order))) as Report;
      return outcomeOf(report, Buffer.concat(order.reply.map(unhex)));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(peer);
      else next(peer);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.all.map((peer) => peer.end()));
  }
}

function outcomeOf(report: Report, reply: Buffer): PeerOutcome {
  const { status, early, ms } = report;
  const [sent, rest] = [unhex(report.sent), unhex(report.rest)];
  const relayed = unhex(report.relayed);
  const passed = report.passed.map(({ bytes, descriptors }) => ({
    bytes: unhex(bytes),
    descriptors,
  }));
  const given = passed.length > 0 ? reply.length : report.taken;
  const taken = given - rest.length - relayed.length;
  const connection = { sent, reply, taken };
  return {
    exit: status < 0 ? null : status,
    signal: status < 0 ? String(status) : null,
    connections: Array.from({ length: report.connections }, () => connection),
    ...{ stderr: unhex(report.stderr), passed, relayed, rest, early, ms },
  };
}
