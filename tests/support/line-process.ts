// A process that answers each line on its stdin with a line on its stdout, in order.

import { spawn } from "node:child_process";
import type { ChildProcessByStdio, SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";

export class LineProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  readonly #closed: Promise<unknown>;
  /** Why there are no more answers. */
  #ended: Error | undefined;

  constructor(program: string, args: readonly string[], options: SpawnOptions = {}) {
    const child = spawn(program, args, { ...options, stdio: ["pipe", "pipe", "inherit"] });
    this.#child = child;
    this.#closed = once(child, "close");
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#waiting.shift()?.resolve(line);
    });
    const stop = (why: string): void => {
      this.#ended = new Error(`${program}: ${why}`);
      for (const { reject } of this.#waiting.splice(0)) reject(this.#ended);
    };
    child.on("error", (error) => {
      stop(error.message);
    });
    child.on("close", (status, signal) => {
      stop(`exited with ${signal ?? status}`);
    });
    // The exit status says more than a failed write.
    child.stdin.on("error", () => undefined);
  }

  ask(line: string): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.#child.stdin.write(`${line}\n`);
    });
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await this.#closed;
  }
}
