// Real pipes, as a shell makes them: what Node's spawn gives its children are socketpairs.

import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export interface Pipe {
  /** Descriptors, which are the caller's to close. */
  read: number;
  write: number;
}

/** Two ends of a pipe, each an open file of its own, so that neither's O_NONBLOCK is the other's. */
export function makePipe(): Pipe {
  const folder = mkdtempSync(path.join(tmpdir(), "pipe-"));
  const name = path.join(folder, "pipe");
  execFileSync("mkfifo", [name]);
  // Whoever opens one end alone waits for the other.
  const both = openSync(name, constants.O_RDWR);
  const pipe = { read: openSync(name, "r"), write: openSync(name, "w") };
  closeSync(both);
  rmSync(folder, { recursive: true });
  return pipe;
}
