// The system calls that the standalone host may make.

import { readFileSync } from "node:fs";
import path from "node:path";

import { root } from "./proxy";

/** Those that docs/standalone.md lists, in alphabetical order. */
export function documentedCalls(): string[] {
  const text = readFileSync(path.join(root, "docs/standalone.md"), "utf8");
  const [, section = ""] = text.split("\n## System calls\n");
  return [...section.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name = ""]) => name).sort();
}
