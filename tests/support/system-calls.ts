// The system calls that the standalone host may make, and those that it was seen making.

import { readFileSync } from "node:fs";
import path from "node:path";

import { root } from "./proxy";

/** Those that docs/standalone.md lists, in alphabetical order. */
export function documentedCalls(): string[] {
  const text = readFileSync(path.join(root, "docs/standalone.md"), "utf8");
  const [, section = ""] = text.split("\n## System calls\n");
  return [...section.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name = ""]) => name).sort();
}

/** The calls of a log that `strace -f -o` has left, in their order; the first is strace's own. */
export function tracedCalls(log: string): string[] {
  const names = readFileSync(log, "utf8").matchAll(/^\d+ +(\w+)\(/gm);
  return [...names].map(([, name]) => String(name));
}
