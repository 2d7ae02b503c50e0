// Finds the proxies of others that the benchmark and the comparison run.

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

import { build } from "./harness";

export interface OtherProxy {
  /** The start of its command line. */
  command: string[];
  version: string;
  /** How it is run, for the report. */
  remark: string;
}

/** What fetch.ts downloads: names of programs, with what runs them. */
export type Fetched = Readonly<Record<string, OtherProxy>>;

/** The folder of fetch.ts, and the file that it writes last. */
export const fetched = path.join(build, "fetched");
export const description = path.join(fetched, "proxies.json");

/** SYSTEMD_SSH_PROXY, or the fetched one, or the installed one. */
export function findSystemdSshProxy(): OtherProxy | undefined {
  // It has no --version, but needs a library with the version in its name.
  return find("systemd-ssh-proxy", "/usr/lib/systemd", /libsystemd-shared-([\w.~+-]+)\.so/);
}

/** LIBVIRT_SSH_PROXY, or the fetched one, or the installed one. */
export function findLibvirtSshProxy(): OtherProxy | undefined {
  return find("libvirt-ssh-proxy", "/usr/lib/libvirt");
}

function find(name: string, folder: string, version?: RegExp): OtherProxy | undefined {
  const named = process.env[name.toUpperCase().replaceAll("-", "_")];
  const installed = path.join(folder, name);
  if (named === undefined && existsSync(description)) {
    return (JSON.parse(readFileSync(description, "utf8")) as Fetched)[name];
  }
  if (named === undefined && !existsSync(installed)) return undefined;
  const file = path.resolve(named ?? installed);
  const found = version?.exec(readFileSync(file, "latin1"))?.[1];
  return { command: [file], version: found ?? "of unknown version", remark: file };
}
