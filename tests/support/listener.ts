// A unix socket at a path of any bytes, held by a process of its own (listener.c).

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { compile } from "./compile";

/** What a connection to a listener that serves reads first; then it gets back what it sends. */
export const greeting = "hello\n";

export interface ListenerOptions {
  type?: "stream" | "dgram" | "seqpacket";
  /** full: no connection is accepted before open(); dead: nobody is behind the socket's file. */
  mode?: "serve" | "full" | "dead";
}

export interface Listener {
  /** How many connections were made so far. */
  accepted(): Promise<number>;
  /** Accepts those that wait in a full queue, and all that follow. */
  open(): void;
  /** Ends the listener and removes its socket. */
  close(): Promise<void>;
}

export async function listen(
  path: string | Buffer,
  { type = "stream", mode = "serve" }: ListenerOptions = {},
): Promise<Listener> {
  const words = [type, mode, Buffer.from(path).toString("hex")];
  const child = spawn(await compile("listener"), words, { stdio: ["pipe", "pipe", "inherit"] });
  const closed = once(child, "close");
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ready = await lines.next();
  if (ready.done === true) {
    const [status] = (await closed) as [number | null];
    if (status !== 0 || mode !== "dead") throw new Error(`listener failed: ${status}`);
  }
  return {
    async accepted() {
      child.stdin.write("?");
      return Number((await lines.next()).value);
    },
    open() {
      child.stdin.write("o");
    },
    async close() {
      child.stdin.end();
      await closed;
    },
  };
}
