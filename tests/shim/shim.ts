// The shim's imports, called as WebAssembly would call them, and what their tests share.

import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { Addon, Shim } from "../../host/addon";
import { root } from "../support/proxy";

/** Where the helpers below put arguments and expect results. */
export const AT = { iovs: 64, data: 1024, fds: 512, result: 16, flags: 24, address: 4096 };

/** A pointer outside every memory of these tests. */
export const OUTSIDE = 0xffff_fff0;

const module = { exports: {} };
process.dlopen(module, path.join(root, "dist/ssh-vsock-proxy.node"));
export const addon = module.exports as Addon;

export class Program {
  readonly memory = new WebAssembly.Memory({ initial: 1 });
  readonly shim: Shim;

  constructor(args: Uint8Array[] = []) {
    this.shim = new addon.Shim(args);
    this.shim.attach(this.memory);
  }

  get view(): DataView {
    return new DataView(this.memory.buffer);
  }

  bytes(at: number, length: number): Buffer {
    return Buffer.from(this.memory.buffer, at, length);
  }

  /** Calls an import of either module. @returns its errno */
  call(name: string, ...args: (number | bigint)[]): number {
    for (const imports of Object.values(this.shim.imports)) {
      const run = imports[name];
      if (typeof run === "function") return (run as (...args: unknown[]) => number)(...args);
    }
    throw new Error(`the shim has no ${name}`);
  }

  /** The u32 at AT.result. */
  get result(): number {
    return this.view.getUint32(AT.result, true);
  }

  /** Puts one iovec, at AT.iovs, for `length` bytes at AT.data. */
  iovec(length: number): void {
    this.view.setUint32(AT.iovs, AT.data, true);
    this.view.setUint32(AT.iovs + 4, length, true);
  }

  send(fd: number, data: string): number {
    this.bytes(AT.data, data.length).write(data, "latin1");
    this.iovec(data.length);
    return this.call("sock_send", fd, AT.iovs, 1, 0, AT.result);
  }

  /** Receives up to `length` bytes. @returns them, or an errno */
  receive(fd: number, length: number, flags = 0): string | number {
    this.iovec(length);
    const error = this.call("sock_recv", fd, AT.iovs, 1, flags, AT.result, AT.flags);
    return error === 0 ? this.bytes(AT.data, this.result).toString("latin1") : error;
  }

  open(family = 3): number {
    const error = this.call("sock_open", family, 6, AT.result);
    if (error !== 0) throw new Error(`sock_open: errno ${error}`);
    return this.result;
  }

  /** Connects to a unix path, `\0name` for an abstract one. @returns the errno */
  connect(fd: number, name: string | Buffer, deadline = 0n): number {
    const address = Buffer.concat([Buffer.from([3, 0]), Buffer.from(name)]);
    this.bytes(AT.address, address.length).set(address);
    return this.call("sock_connect", fd, AT.address, address.length, deadline);
  }

  /** The monotonic clock in nanoseconds. */
  now(): bigint {
    this.call("clock_time_get", 1, 0n, AT.result);
    return this.view.getBigUint64(AT.result, true);
  }

  /** One subscription of poll_oneoff, at AT.address + 48 * i. */
  subscribe(i: number, type: number, fdOrClock: number, timeout = 0n, flags = 0): void {
    const at = AT.address + 48 * i;
    this.bytes(at, 48).fill(0);
    this.view.setBigUint64(at, BigInt(1000 + i), true);
    this.view.setUint8(at + 8, type);
    this.view.setUint32(at + 16, fdOrClock, true);
    if (type !== 0) return;
    this.view.setBigUint64(at + 24, timeout, true);
    this.view.setUint16(at + 40, flags, true);
  }

  /** Polls the first `count` subscriptions. @returns the errno or the events */
  poll(count: number): number | { userdata: number; error: number; type: number; flags: number }[] {
    const out = AT.address + 48 * 32;
    const error = this.call("poll_oneoff", AT.address, out, count, AT.result);
    if (error !== 0) return error;
    return Array.from({ length: this.result }, (_, i) => ({
      userdata: Number(this.view.getBigUint64(out + 32 * i, true)),
      error: this.view.getUint16(out + 32 * i + 8, true),
      type: this.view.getUint8(out + 32 * i + 10),
      flags: this.view.getUint16(out + 32 * i + 24, true),
    }));
  }
}

/** Serves a unix socket in this process, which does not wait for it at its end. */
export async function serve(file: string, each: (socket: net.Socket) => void): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.unref();
    socket.on("error", () => undefined); // A client may close without reading.
    each(socket);
  });
  server.unref();
  server.listen(file);
  await once(server, "listening");
}

/**
 * Runs TypeScript that has `Program` and `AT` in a process of its own.
 *
 * @param redirection of its descriptors, in the shell's syntax; otherwise 0 to 2 are stream sockets
 * @param before words of the shell before the command, such as assignments of variables
 */
export async function inChild(
  source: string,
  redirection = "",
  args: readonly string[] = [],
  before = "",
) {
  const script = `const { Program, AT } = require(${JSON.stringify(__filename)});\n${source}`;
  const line = `${before} exec "$0" --import ./tests/tsx.mjs -e "$@" ${redirection}`;
  const command = ["-c", line, process.execPath];
  const child = spawn("/bin/sh", [...command, script, ...args], { cwd: root });
  const closed = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [status] = (await closed) as [number | null];
  return { stdout, stderr, status };
}
