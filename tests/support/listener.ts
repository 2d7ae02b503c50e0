// A unix socket at a path of any bytes, held by a process of its own (listener.c).

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { compile } from "./compile";

/** The first bytes of a connection to a serving listener, which then sends everything back. */
export const greeting = "hello\n";

export interface ListenerOptions {
  type?: "stream" | "dgram" | "seqpacket";
  /** full: no connection is accepted before open(); dead: a socket's file without a listener. */
  mode?: "serve" | "full" | "dead";
}

export interface Listener {
  /** The number of connections so far. */
  accepted(): Promise<number>;
  /** Accepts the connections of a full queue, and all later ones. */
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
