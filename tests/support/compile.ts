// Compiles the C programs that the tests run.

import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { root } from "./proxy";
import { tool } from "./tools";

/** Sources and linker flags besides NAME.c. */
const parts: Readonly<Record<string, { sources?: string[]; libraries?: string[] }>> = {
  "fake-ssh": { sources: ["fake-ssh-report.c", "proxy-command.c"] },
  "libssh-client": { libraries: ["-lssh"] },
};

const compiled = new Map<string, Promise<string>>();

/** Compiles tests/support/NAME.c into build/tests/NAME unless that is newer, and gives its path. */
export function compile(name: string): Promise<string> {
  let program = compiled.get(name);
  if (program === undefined) {
    const { sources = [], libraries = [] } = parts[name] ?? {};
    const files = [`${name}.c`, ...sources].map((file) => path.join(__dirname, file));
    program = compileProgram(path.join(root, "build/tests", name), files, libraries);
    compiled.set(name, program);
  }
  return program;
}

/** Other processes may do the same at the same time: each renames a file of its own. */
export async function compileProgram(
  program: string,
  sources: readonly string[],
  libraries: readonly string[] = [],
): Promise<string> {
  const mtimeMs = async (file: string) => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;
  const headers = sources.map((source) => source.replace(/\.c$/, ".h"));
  const newest = Math.max(...(await Promise.all([...sources, ...headers].map(mtimeMs))));
  if ((await mtimeMs(program)) > newest) return program;
  await mkdir(path.dirname(program), { recursive: true });
  const own = `${program}.${randomUUID()}`;
  try {
    const flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];
    const words = [...flags, "-o", own, ...sources, ...libraries];
    await promisify(execFile)(process.env["CC"] ?? tool("cc"), words);
    await rename(own, program);
  } finally {
    await rm(own, { force: true });
  }
  return program;
}
