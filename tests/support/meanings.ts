// The words of the codes, as assembly/messages.ts has them.

import { MEANINGS } from "../../assembly/messages";

export const meanings: ReadonlyMap<number, string> = new Map(
  MEANINGS.trimEnd()
    .split("\n")
    .map((line) => [Number(line.slice(0, 4)), line.slice(5)]),
);
