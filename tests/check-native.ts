// npm run check:native: clang-format and clang-tidy over every C and C++ file.

import { execFileSync, spawnSync } from "node:child_process";
import path from "node:path";
import { root } from "./support/proxy";
import { ensureTools, tool } from "./support/tools";
import { readTranscripts } from "./transcripts/reader";
import { writeCases } from "./transcripts/replay-core";

const folder = path.join(root, "build/check-native");

/** The compiler's options for each kind of file. */
const options: Readonly<Record<string, readonly string[]>> = {
  // main.c, the fuzz targets and replay-core.c include generated files.
  ".c": [
    ...["-std=c11", "-D_GNU_SOURCE", "-Inative/standalone"],
    ...["-isystem", "dist/standalone", "-isystem", folder],
  ],
  ".cc": [
    ...["-std=c++17", "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"],
    ...["-isystem", path.join(root, "node_modules/node-api-headers/include")],
    ...["-isystem", path.join(root, "node_modules/node-addon-api")],
  ],
};

/** Runs a command of tools.ts, and prints its output where it fails. */
function run(name: string, args: readonly string[]): boolean {
  const { status, stdout, stderr } = spawnSync(tool(name), args, { cwd: root, encoding: "utf8" });
  if (status !== 0) process.stdout.write(`${name}:\n${stdout}${stderr}`);
  return status === 0;
}

function check(): boolean {
  ensureTools(["git", "clang-format", "clang-tidy", "libfuzzer", "libssh"]);
  writeCases(folder, readTranscripts());
  const list = ["ls-files", "-z", "*.[ch]", "*.cc"];
  const files = execFileSync("git", list, { cwd: root, encoding: "utf8" }).split("\0").slice(0, -1);
  const formatted = run("clang-format", ["--dry-run", "--Werror", ...files]);
  const tidy = Object.entries(options).map(([ending, flags]) => {
    const sources = files.filter((file) => file.endsWith(ending));
    return run("clang-tidy", ["--quiet", ...sources, "--", ...flags]);
  });
  return formatted && tidy.every((clean) => clean);
}

try {
  process.exitCode = check() ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
