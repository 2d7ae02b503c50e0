// replay-core.c, compiled with what wasm2c makes of dist/core.wasm.

import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";
import { root } from "../support/proxy";
import { translate } from "../support/wasm2c";

const run = promisify(execFile);

/** Makes the program anew, since the module may have changed, in FOLDER, and gives its path. */
export async function compileReplayCore(folder: string): Promise<string> {
  translate(path.join(root, "dist/core.wasm"), "core", folder);
  const program = path.join(folder, "replay-core");
  // As the standalone executable is compiled, but for speed; wasm2c's output has unused labels.
  const flags = ["-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-O2", "-Wall", "-Wextra", "-Wno-unused"];
  const folders = [`-I${path.join(root, "native/standalone")}`, `-I${folder}`];
  const sources = [path.join(root, "tests/transcripts/replay-core.c"), path.join(folder, "core.c")];
  const compiler = process.env["CC"] ?? "cc";
  await run(compiler, [...flags, "-Werror", ...folders, "-o", program, ...sources]);
  return program;
}
