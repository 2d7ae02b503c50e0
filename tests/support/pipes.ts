// Pipes: those that Node's spawn makes are socketpairs.

import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, rmSync } from "node:fs";
import path from "node:path";

import { makeFolder } from "./scratch";

interface Pipe {
  /** Descriptors, which the caller closes. */
  read: number;
  write: number;
}

/** Named pipes, each to be opened once: mkfifo(1) makes many in the time of one. */
const stock: string[] = [];
const STOCK = 32;

function refill(): void {
  const folder = makeFolder("pipes");
  stock.push(...Array.from({ length: STOCK }, (_, i) => path.join(folder, String(i))));
  execFileSync("mkfifo", stock);
}

/** The ends of a pipe, each a separate open file with its own O_NONBLOCK. */
export function makePipe(): Pipe {
  if (stock.length === 0) refill();
  const name = stock.pop() as string;
  // Opening one end alone blocks until the other is open.
  const both = openSync(name, constants.O_RDWR);
  const pipe = { read: openSync(name, "r"), write: openSync(name, "w") };
  closeSync(both);
  rmSync(name);
  return pipe;
}
