// The texts of assembly/messages.ts as the command prints them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Code } from "../../assembly/codes";
import * as texts from "../../assembly/messages";
import { root } from "./proxy";

const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
  version: string;
};

export const messages: ReadonlyMap<Code, string> = new Map<Code, string>(texts.MESSAGES);

export const VERSION = texts.VERSION.replace("@VERSION@", version);

export function messageOf(code: Code): string {
  return messages.get(code) ?? assert.fail(`${code} has no message`);
}
