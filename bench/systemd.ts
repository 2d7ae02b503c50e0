// Finds the systemd-ssh-proxy that the benchmark compares with.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

import { build } from "./harness";

export interface SystemdSshProxy {
  /** The start of its command line. */
  command: string[];
  version: string;
  /** How it is run, for the report. */
  remark: string;
}

/** The folder of fetch-systemd.ts, and the file that it writes last. */
export const fetched = path.join(build, "systemd");
export const description = path.join(fetched, "systemd-ssh-proxy.json");

const installed = "/usr/lib/systemd/systemd-ssh-proxy";

/** SYSTEMD_SSH_PROXY, or the fetched one, or the installed one. */
export function findSystemdSshProxy(): SystemdSshProxy | undefined {
  const named = process.env["SYSTEMD_SSH_PROXY"];
  if (named !== undefined) return describe(named);
  if (existsSync(description)) {
    return JSON.parse(readFileSync(description, "utf8")) as SystemdSshProxy;
  }
  return existsSync(installed) ? describe(installed) : undefined;
}

function describe(program: string): SystemdSshProxy {
  const file = path.resolve(program);
  // It has no --version, but needs a library with the version in its name.
  const library = /libsystemd-shared-([\w.~+-]+)\.so/.exec(readFileSync(file, "latin1"));
  return { command: [file], version: library?.[1] ?? "of unknown version", remark: file };
}
