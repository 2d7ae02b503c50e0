// A relay between two pipes, and its peers, which live in the test's process: behind a unix socket,
// an abstract one and the test multiplexer.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { makeCase } from "../support/case";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { checkOutcome } from "../support/outcome";
import { makePipe } from "../support/pipes";
import { isAsleep } from "../support/processors";
import { proxyCommand } from "../support/proxy";
import { makeFolder } from "../support/scratch";

export const schemes = ["unix", "unix-abstract", "firecracker", "cloud-hypervisor"] as const;
export type Scheme = (typeof schemes)[number];

export const block = randomBytes(1 << 20);

export interface Ended {
  exit: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

interface Running {
  address: string;
  pid: number;
  ended: Promise<Ended>;
  /** The connection of this relay, if no other is started meanwhile. */
  peer: net.Socket;
}

/** The test's ends of its pipes are descriptors, which the test closes. */
interface PipeRelay extends Running {
  stdin: number;
  stdout: number;
}

/** The test's ends of its pipes are streams. */
export interface Relay extends Running {
  stdin: net.Socket;
  stdout: net.Socket;
  /** All of stdout. */
  output: Promise<Buffer>;
}

/** All that a stream gives until it closes. */
export function collect(stream: net.Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.once("close", () => {
      resolve(Buffer.concat(parts));
    });
  });
}

/** Runs a command to its exit; by default the proxy. */
export function start(
  args: readonly string[],
  stdio: StdioOptions,
  command: readonly string[] = proxyCommand(),
): { child: ChildProcess; ended: Promise<Ended> } {
  const [program = "", ...words] = [...command, ...args];
  const child = spawn(program, words, { stdio });
  let stderr = "";
  child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
  const ended = once(child, "close").then((values): Ended => {
    const [exit, signal] = values as [number | null, NodeJS.Signals | null];
    return { exit, signal, stderr };
  });
  return { child, ended };
}

/** Checks that it failed with `code`, and one line. */
export function failed({ exit, signal, stderr }: Ended, subject: string, code: Code): void {
  const one = makeCase({ name: "relay", mode: "stdio", subject, code });
  checkOutcome(one, { exit, signal, stderr: Buffer.from(stderr, "latin1") });
}

/** Waits until the process sleeps: it has done all that it could do until then. */
export async function settle(pid: number): Promise<void> {
  do await sleep(1);
  while (!isAsleep(pid));
}

export class Peers {
  readonly folder = makeFolder("relay");
  readonly #accepted: net.Socket[] = [];
  readonly #wanted: ((socket: net.Socket) => void)[] = [];
  readonly #servers: net.Server[] = [];
  readonly #sockets = new Set<net.Socket>();
  // Node binds sun_path whole (libuv before 1.46), so the name fills it.
  readonly #name = `${path.basename(this.folder)}-${process.pid}-`.padEnd(107, "x");
  #multiplexer: Multiplexer | undefined;

  async start(): Promise<void> {
    const socket = path.join(this.folder, "s");
    await this.#serve(socket);
    await this.#serve(`\0${this.#name}`);
    this.#multiplexer = await startMultiplexer(socket);
  }

  async close(): Promise<void> {
    await this.#multiplexer?.close();
    for (const socket of this.#sockets) socket.destroy();
    for (const server of this.#servers) server.close();
  }

  async #serve(where: string): Promise<void> {
    // Nothing is read unless a test reads it: the kernel's buffers are part of the test.
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      socket.on("error", () => undefined);
      this.#sockets.add(socket);
      const next = this.#wanted.shift();
      if (next === undefined) this.#accepted.push(socket);
      else next(socket);
    });
    server.listen(where);
    this.#servers.push(server);
    await once(server, "listening");
  }

  address(scheme: Scheme = "unix"): string {
    if (scheme === "unix") return `unix${this.folder}/s`;
    if (scheme === "unix-abstract") return `unix-abstract/${this.#name}`;
    return `vsock-mux${this.#multiplexer?.socket(scheme)}`;
  }

  /** Asserts that no connection waits. */
  assertNone(): void {
    assert.equal(this.#accepted.length, 0);
  }

  /** The next connection; rejects if `ended` comes first. */
  connection(ended?: Promise<unknown>): Promise<net.Socket> {
    const socket = this.#accepted.shift();
    if (socket !== undefined) return Promise.resolve(socket);
    return new Promise((resolve, reject) => {
      this.#wanted.push(resolve);
      void ended?.then((outcome) => {
        const at = this.#wanted.indexOf(resolve);
        if (at < 0) return;
        this.#wanted.splice(at, 1);
        reject(new Error(`it ends without a connection: ${JSON.stringify(outcome)}`));
      });
    });
  }

  async relayOfPipes(scheme: Scheme, args: readonly string[] = []): Promise<PipeRelay> {
    const up = makePipe();
    const down = makePipe();
    const address = this.address(scheme);
    // The peers may be slow, as they live in this process.
    const words = ["--timeout=60s", ...args, address];
    const { child, ended } = start(words, [up.read, down.write, "pipe"]);
    closeSync(up.read);
    closeSync(down.write);
    const peer = await this.connection(ended);
    return { address, pid: child.pid as number, stdin: up.write, stdout: down.read, ended, peer };
  }

  async relay(scheme: Scheme = "unix", args: readonly string[] = []): Promise<Relay> {
    const it = await this.relayOfPipes(scheme, args);
    const stdin = new net.Socket({ fd: it.stdin, readable: false, writable: true });
    const stdout = new net.Socket({ fd: it.stdout, readable: true, writable: false });
    stdin.on("error", () => undefined);
    this.#sockets.add(stdin);
    this.#sockets.add(stdout);
    return { ...it, stdin, stdout, output: collect(stdout) };
  }
}

/**
 * Sends `total` bytes as fast as they are taken, and then the end; gives their checksum. Calls
 * `look` at every sixteenth of them.
 */
export async function pump(stream: net.Socket, total: number, look?: () => void): Promise<string> {
  const hash = createHash("sha256");
  for (let sent = 0; sent < total; sent += block.length) {
    if (sent % (total / 16) === 0) look?.();
    // Each block is another one, so that a lost or doubled one changes the checksum.
    const numbered = Buffer.from(block);
    numbered.writeUInt32LE(sent / block.length);
    hash.update(numbered);
    if (!stream.write(numbered)) await once(stream, "drain");
  }
  stream.end();
  return hash.digest("hex");
}

/** Writes until the relay waits for room; gives how many bytes the stream has taken. */
export async function fill(stream: net.Socket, pid: number): Promise<number> {
  // A socket takes it whole or not at all.
  const part = block.subarray(0, 16384);
  for (let sent = 0; ; sent += part.length) {
    stream.write(part);
    while (stream.writableLength > 0) {
      const slept = isAsleep(pid);
      // Meanwhile the kernel takes as much as it has room for.
      await sleep(1);
      await turn();
      if (slept && isAsleep(pid) && stream.writableLength > 0) return sent;
    }
  }
}

/** The checksum and size of all that a stream gives until its end. */
export async function digest(stream: net.Socket): Promise<{ sum: string; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  stream.on("data", (part: Buffer) => {
    hash.update(part);
    size += part.length;
  });
  stream.resume();
  await once(stream, "end");
  return { sum: hash.digest("hex"), size };
}
