// npm run check:native: clang-format and clang-tidy over everything that is C or C++.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { folder as fuzzFolder } from "./fuzz/build";
import { translate } from "./support/wasm2c";
import { ensureTools, tool } from "./support/tools";

const root = path.resolve(__dirname, "..");
const folders = [
  ...[
    "native/shim",
    "native/standalone",
    "native/addon",
    "native/trace",
    "tests/support",
    "tests/transcripts",
    "tests/fuzz",
  ],
  "bench",
];

const files = folders.flatMap((folder) =>
  readdirSync(path.join(root, folder))
    .filter((name) => /\.(c|cc|h)$/.test(name))
    .map((name) => path.join(folder, name)),
);
const languages: Record<string, string[]> = {
  // main.c and the fuzz targets include what wasm2c has made.
  ".c": [
    ...["-std=c11", "-D_GNU_SOURCE", "-Inative/standalone", "-isystem", "dist/standalone"],
    ...["-isystem", fuzzFolder],
  ],
  ".cc": [
    "-std=c++17",
    "-isystem",
    path.join(root, "node_modules/node-api-headers/include"),
    "-isystem",
    path.join(root, "node_modules/node-addon-api"),
    "-DNAPI_VERSION=8",
    "-DNAPI_CPP_EXCEPTIONS",
  ],
};

let failed = false;
function run(name: string, args: string[]): void {
  const { status, stdout, stderr } = spawnSync(tool(name), args, { cwd: root, encoding: "utf8" });
  if (status === 0) return;
  failed = true;
  process.stdout.write(`${name}:\n${stdout}${stderr}`);
}

try {
  ensureTools(["clang-format", "clang-tidy", "libfuzzer", "libssh"]);
  translate(path.join(root, "dist/core.wasm"), "core", fuzzFolder);
  run("clang-format", ["--dry-run", "--Werror", ...files]);
  for (const [ending, flags] of Object.entries(languages)) {
    const sources = files.filter((file) => file.endsWith(ending));
    run("clang-tidy", ["--quiet", ...sources, "--", ...flags]);
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  failed = true;
}
process.exit(failed ? 1 : 0);
