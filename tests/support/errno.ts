// preview1's errnos, by name: `errno("NOENT")` is 44, and so is `errno("ENOENT")`. The table is read
// from native/shim/errnos.h.

import { readFileSync } from "node:fs";
import path from "node:path";
import { root } from "./proxy";

const table = readFileSync(path.join(root, "native/shim/errnos.h"), "utf8");
const rows = [...table.matchAll(/\bX\((\w+), (\d+), (\w+)\)/g)];
const names = new Map([[0, "SUCCESS"]]);
const numbers = new Map([["SUCCESS", 0]]);
for (const [, name = "", number, linux = ""] of rows) {
  names.set(Number(number), name);
  numbers.set(name, Number(number)).set(linux, Number(number));
}

// What log_open returns for a file that it must not write to; no Linux error means it.
names.set(76, "NOTCAPABLE");
numbers.set("NOTCAPABLE", 76);

/** Every errno that the shim returns, but SUCCESS. */
export const errnos: readonly number[] = [...names.keys()].filter((number) => number !== 0);

/** Linux's names of them, such as EOPNOTSUPP. */
export const linuxErrnos: readonly string[] = rows.map(([, , , linux = ""]) => linux);

/** @throws Error where the name is neither preview1's nor Linux's */
export function errno(name: string): number {
  const number = numbers.get(name);
  if (number === undefined) throw new Error(`${name} is not in native/shim/errnos.h`);
  return number;
}

/** The name of an errno, or its number in decimal where it has none. */
export function errnoName(number: number): string {
  return names.get(number) ?? `${number}`;
}
