// Starts the test multiplexer (multiplexer.ts) as a process and reads its log.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";

import { root } from "./proxy";
import { makeFolder } from "./scratch";

export interface Multiplexer {
  /** The path of a scenario's socket. */
  socket(scenario: string): string;
  /**
   * The reads of a scenario's next connection, which was not asked for yet, until it was joined or
   * ended.
   */
  reads(scenario: string): Promise<string[]>;
  close(): Promise<void>;
}

/** `backend` is the unix socket that successful connections are joined with. */
export async function startMultiplexer(backend: string): Promise<Multiplexer> {
  const folder = makeFolder("multiplexer");
  const program = path.join(root, "tests/support/multiplexer.ts");
  const child = spawn(process.execPath, ["--import", "./tests/tsx.mjs", program, folder, backend], {
    cwd: root,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  // An interrupt from the terminal ends it as well; writing to its stdin fails then.
  child.stdin.on("error", () => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  async function close(): Promise<void> {
    child.stdin.end();
    await exited;
    await rm(folder, { recursive: true, force: true });
  }

  const ready = await lines.next();
  if (ready.value !== "READY") {
    await close();
    throw new Error("the test multiplexer did not start");
  }

  const waiting: { scenario: string; reads: string[] }[] = [];
  return {
    socket: (scenario) => path.join(folder, scenario),
    async reads(scenario) {
      for (;;) {
        const at = waiting.findIndex((entry) => entry.scenario === scenario);
        if (at >= 0) return (waiting.splice(at, 1)[0] as (typeof waiting)[number]).reads;
        const line = await lines.next();
        if (line.done === true) throw new Error("the test multiplexer has ended");
        waiting.push(JSON.parse(line.value) as (typeof waiting)[number]);
      }
    },
    close,
  };
}
