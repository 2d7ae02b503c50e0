// Runs of the proxy against a peer that answers in segments, through fake-peer.c.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { LineProcess } from "./line-process";
import { compile } from "./fake-ssh";
import { proxyCommand } from "./proxy";
import type { End, Stdout } from "../transcripts/reader";

export interface PeerRun {
  arguments: readonly Buffer[];
  environment: readonly Buffer[];
  stdout: Stdout;
  answer: Buffer;
  end: End;
  /** Whether the peer waits for a request before it answers. */
  asks: boolean;
  /** The lengths of the segments. */
  segments: readonly number[];
}

/** What fake-peer.c says of a run; bytes are in hexadecimal. */
export interface PeerResult {
  exit?: number;
  signal?: number;
  connections: number;
  taken: number;
  fds: number;
  unread: boolean;
  early: boolean;
  stderr: string;
  sent: string;
  output: string;
  passed: string;
  ns: number;
}

const bytes = (buffer: Buffer): string => `x${buffer.toString("hex")}`;

/** Several of these programs, each in a folder of its own, for runs side by side. */
export class Peers {
  readonly #folders: string[];
  readonly #all: LineProcess[];
  readonly #free: LineProcess[];
  readonly #waiting: ((peer: LineProcess) => void)[] = [];

  private constructor(folders: string[], all: LineProcess[]) {
    this.#folders = folders;
    this.#all = all;
    this.#free = [...all];
  }

  /** `count` of them for the host that `proxyCommand` knows by that name. */
  static async start(host: string, count: number): Promise<Peers> {
    const program = await compile("fake-peer");
    const folders = await Promise.all(
      Array.from({ length: count }, () => mkdtemp(path.join(tmpdir(), "fake-peer-"))),
    );
    const command = proxyCommand(host);
    return new Peers(
      folders,
      folders.map((cwd) => new LineProcess(program, command, { cwd })),
    );
  }

  async run(run: PeerRun): Promise<PeerResult> {
    const peer =
      this.#free.pop() ??
      (await new Promise<LineProcess>((resolve) => this.#waiting.push(resolve)));
    try {
      const words = [...run.environment, ...run.arguments].map(bytes);
      const segments = run.segments.join(",") || "-";
      const line = [run.stdout, run.end, run.asks ? 1 : 0, segments, bytes(run.answer)];
      line.push(run.environment.length, ...words);
      return JSON.parse(await peer.ask(line.join(" "))) as PeerResult;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(peer);
      else next(peer);
    }
  }

  async end(): Promise<void> {
    await Promise.all(this.#all.map((peer) => peer.end()));
    for (const folder of this.#folders) await rm(folder, { recursive: true });
  }
}
