// Builds the fuzz targets into build/fuzz: core.wasm or names.wasm, translated to C by wasm2c, and the
// target, with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer.
//
// Only the module is instrumented to guide libFuzzer, and only by its edges: the comparisons that
// libFuzzer can trace as well are mostly those of the bounds checks, and take three quarters of the
// time. Words come from the dictionaries.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { ensureTools, tool } from "../support/tools";
import { root } from "../support/proxy";
import { translate } from "../support/wasm2c";

export const targets = ["address", "handshake", "lookup"] as const;
export type Target = (typeof targets)[number];

/** The module that a target runs. */
export const moduleOf = (target: Target) => (target === "lookup" ? "names" : "core");

export const folder = path.join(root, "build/fuzz");

const flags = [
  ...["-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra"],
  // wasm2c's output has labels and functions that the module does not need.
  "-Wno-unused",
  "-Wno-unused-parameter",
  `-I${path.join(root, "native/standalone")}`,
  "-fsanitize=address,undefined",
  "-fno-sanitize-recover=all",
];

const guidance = "-fsanitize-coverage=inline-8bit-counters,pc-table";

function run(command: string, args: readonly string[]): void {
  execFileSync(command, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
}

/**
 * Builds the target, and returns the executable's path.
 *
 * @param variant `branches` counts the module's own branches (coverage.ts)
 */
export function build(target: Target, variant: "fuzz" | "branches" = "fuzz"): string {
  ensureTools(["clang", "libfuzzer"]);
  const name = moduleOf(target);
  if (!existsSync(path.join(root, `dist/${name}.wasm`))) {
    throw new Error(`dist/${name}.wasm is missing: run \`npm run build\``);
  }
  mkdirSync(folder, { recursive: true });
  const draft = mkdtempSync(path.join(folder, "draft-"));
  const counts = variant === "branches";
  const wasm = path.join(root, counts ? "build/fuzz/branches" : "dist", `${name}.wasm`);
  const file = path.join(folder, counts ? `branches/${target}` : target);
  // To wasm2c the counter is another instance, which needs nothing: any type will do.
  const counting = counts ? ["-DCOUNTS_BRANCHES", "-Dw2c_coverage=shim"] : [];
  const compile = (args: readonly string[]) => {
    run(tool("clang"), [...flags, ...counting, `-I${draft}`, ...args]);
  };
  try {
    translate(wasm, name, draft);
    const module = path.join(draft, "module.o");
    compile([...(counts ? [] : [guidance]), "-c", path.join(draft, `${name}.c`), "-o", module]);
    const sources = ["sandbox", target, ...(counts ? ["branches"] : [])];
    compile([
      "-fsanitize=fuzzer",
      "-fno-sanitize-coverage=inline-8bit-counters,pc-table,trace-cmp,indirect-calls,stack-depth",
      ...sources.map((source) => path.join(root, `tests/fuzz/${source}.c`)),
      module,
      ...["-o", path.join(draft, target)],
    ]);
    renameSync(path.join(draft, target), file);
    return file;
  } finally {
    rmSync(draft, { recursive: true });
  }
}
