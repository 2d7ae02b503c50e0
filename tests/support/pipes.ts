// Real pipes, as a shell makes them: what Node's spawn gives its children are socketpairs.

import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, rmSync } from "node:fs";
import path from "node:path";

import { makeFolder } from "./scratch";

export interface Pipe {
  /** Descriptors, which are the caller's to close. */
  read: number;
  write: number;
}

/** Named pipes to be opened, each once: mkfifo(1) makes many in the time of one. */
const stock: string[] = [];
const STOCK = 32;

function refill(): void {
  const folder = makeFolder("pipes");
  stock.push(...Array.from({ length: STOCK }, (_, i) => path.join(folder, String(i))));
  execFileSync("mkfifo", stock);
}

/** Two ends of a pipe, each an open file of its own, so that neither's O_NONBLOCK is the other's. */
export function makePipe(): Pipe {
  if (stock.length === 0) refill();
  const name = stock.pop() as string;
  // Whoever opens one end alone waits for the other.
  const both = openSync(name, constants.O_RDWR);
  const pipe = { read: openSync(name, "r"), write: openSync(name, "w") };
  closeSync(both);
  rmSync(name);
  return pipe;
}
