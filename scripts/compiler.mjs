// What build-addon.mjs and build-standalone.mjs share: the sources of the shim, its imports, and how a
// compiler is run. Like them, this runs where only the published files are.

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** The C files of the shim, relative to the root. */
export const shimSources = readdirSync(path.join(root, "native/shim"))
  .filter((name) => name.endsWith(".c"))
  .sort()
  .map((name) => `native/shim/${name}`);

export const traceSource = "native/trace/trace.c";

/** The imports that native/shim/shim.h lists. */
export function imports() {
  const header = readFileSync(path.join(root, "native/shim/shim.h"), "utf8");
  const entries = header.matchAll(/\bX\((\w+), \w+, (\w+), \w+ /g);
  return [...entries].map(([, module = "", name = ""]) => ({ module, name }));
}

/** The linker's options that put the functions of trace.c in front of the imports. */
export function traceWraps() {
  return imports().map(({ name }) => `-Wl,--wrap=shim_${name}`);
}

/**
 * Runs a command in the root; compiler output is shown only on failure.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @throws Error with the command's output, or with the code ENOENT if there is no such command
 */
export function run(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code !== "ENOENT" && code !== "EACCES") throw error;
    // execvp(3) reports EACCES if it finds no such command, and may not search a folder of PATH.
    throw Object.assign(new Error(`${command}: no such command (${code})`), { code: "ENOENT" });
  }
  if (status !== 0) throw new Error(`${command} exited with ${status}:\n${stdout}${stderr}`);
}

/**
 * Runs the compiler that a variable such as CC names, with its options if there are any.
 *
 * @param {string} variable
 * @param {string} usual the compiler if the variable is not set
 * @param {readonly string[]} args
 */
export function compile(variable, usual, args) {
  const [command = usual, ...options] = (process.env[variable] ?? usual).split(" ").filter(Boolean);
  run(command, [...options, ...args]);
}
