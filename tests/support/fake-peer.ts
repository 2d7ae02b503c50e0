// Runs a case on a host between a fake ssh and a fake peer, through fake-peer.py.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { attemptAt } from "./case";
import type { Bytes, Case } from "./case";
import { LineProcess } from "./line-process";
import type { Outcome } from "./outcome";
import { proxyCommand } from "./proxy";
import { tool } from "./tools";

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

  private constructor(
    readonly folders: readonly string[],
    readonly all: readonly LineProcess[],
  ) {
    this.#free = [...all];
  }

  /** Starts `count` of them for a host. */
  static async start(host: string, count: number): Promise<Peers> {
    const folder = (): Promise<string> => mkdtemp(path.join(tmpdir(), "fake-peer-"));
    const folders = await Promise.all(Array.from({ length: count }, folder));
    const words = [path.join(__dirname, "fake-peer.py"), ...proxyCommand(host)];
    const start = (cwd: string): LineProcess => new LineProcess(tool("python3"), words, { cwd });
    return new Peers(folders, folders.map(start));
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
    for (const folder of this.folders) await rm(folder, { recursive: true });
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
