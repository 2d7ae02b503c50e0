// Where systemd-ssh-proxy is: what the benchmark compares with.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

import { build } from "./harness";

export interface SystemdSshProxy {
  /** What runs it; its own arguments follow. */
  command: string[];
  version: string;
  /** What is to be said about how it is run. */
  remark: string;
}

/** Where fetch-systemd.ts puts Debian's newest, and what it writes there when all is done. */
export const fetched = path.join(build, "systemd");
export const description = path.join(fetched, "systemd-ssh-proxy.json");

const installed = "/usr/lib/systemd/systemd-ssh-proxy";

/** SYSTEMD_SSH_PROXY, or what was fetched, for that is why it was, or what is installed. */
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
  // It does not tell its version, but needs a library that is named after it.
  const library = /libsystemd-shared-([\w.~+-]+)\.so/.exec(readFileSync(file, "latin1"));
  return { command: [file], version: library?.[1] ?? "of unknown version", remark: file };
}
