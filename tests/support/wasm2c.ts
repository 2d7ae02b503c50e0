// What the standalone host is made by, for other programs around the same modules.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";

/** Translates a module to NAME.c and NAME.h in `folder`. */
export function translate(wasm: string, name: "core" | "names" | "proxy", folder: string): void {
  mkdirSync(folder, { recursive: true });
  const wasm2c = path.join(path.dirname(require.resolve("wabt/package.json")), "bin/wasm2c");
  const output = path.join(folder, `${name}.c`);
  execFileSync(process.execPath, [wasm2c, wasm, `--module-name=${name}`, `--output=${output}`], {
    stdio: ["ignore", "inherit", "inherit"],
  });
}
