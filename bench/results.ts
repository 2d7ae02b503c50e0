// The results of one run of the benchmark, which report.ts prints and plot.ts draws.

import { readFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { spawnSync } from "node:child_process";

import { root } from "../tests/support/proxy";
import { tool } from "../tests/support/tools";
import type { BatchRun, Idling, Route } from "./harness";

export type Scheme = "unix/" | "vsock-mux/" | "machine/" | "qemu/";

/** Names that rows, ratios and targets share. */
export const standalone = "standalone";
export const nodeHost = "Node host";
export const systemd = "systemd-ssh-proxy";
export const libvirt = "libvirt-ssh-proxy";
/** The request of machine/, without a command. */
export const exchange = "a bare exchange in C";
export const baseline = "/bin/true";
export const nodeAlone = "node -e 0";
export const socat = "socat";

export interface Row {
  name: string;
  /** The address of a proxy. */
  scheme?: Scheme;
  /** ssh does not wait for its exit: its times end with the first byte. */
  relay: boolean;
  minMs: number;
  medianMs: number;
  p99Ms: number;
  /** Until the descriptor was received. */
  passedMs?: number;
  /** Until the first byte of the server's greeting was read. */
  firstByteMs?: number;
  cpuMs: number;
  memoryKb: number;
}

/** Batches of one proxy and size: medians, and the sum of the failures. */
export interface BatchRow extends BatchRun {
  name: string;
  size: number;
}

/** Transfers through one relay on one route: medians, and the maximum of the growth. */
export interface RouteRow extends Route {
  /** The kernel chooses the processors. */
  anywhere: boolean;
  speed: number;
  cpuPerGib: number;
  quarterKb: number;
  lastKb: number;
  mostKb: number;
  /** From a quarter of the bytes to the last. */
  growthKb: number;
}

export interface RelayRow {
  name: string;
  scheme?: Scheme;
  routes: RouteRow[];
  idling: Idling;
}

export interface Results {
  versions: string[];
  machine: string;
  load: number;
  processor: number;
  peers: number;
  rounds: number;
  warmUp: number;
  batches: number;
  transfers: number;
  transferBytes: number;
  rows: Row[];
  batchRows: BatchRow[];
  relayRows: RelayRow[];
  /** The failure in 64 MiB of address space; null for none. */
  smallAddressSpace: string | null;
  /** How systemd-ssh-proxy and libvirt-ssh-proxy were run; null if none was found. */
  systemdRemark: string | null;
  libvirtRemark: string | null;
}

/** The quantile by nearest rank. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The first match in the output of a command. */
function versionOf(command: string, args: readonly string[], pattern: RegExp): string {
  const { stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  return pattern.exec(`${stdout}${stderr}`)?.[1] ?? "of unknown version";
}

export function versions(others: readonly (readonly [string, string | undefined])[]): string[] {
  const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
    version: string;
  };
  return [
    `ssh-vsock-proxy ${version}`,
    `Node ${process.version}`,
    `/bin/true ${versionOf("/bin/true", ["--version"], /^true \((.*)$/m).replace(")", "")}`,
    versionOf("getconf", ["GNU_LIBC_VERSION"], /^(.+)$/m),
    ...others.filter(([, version]) => version !== undefined).map((words) => words.join(" ")),
    `socat ${versionOf(tool("socat"), ["-V"], /version (\S+)/)}`,
    `ncat ${versionOf(tool("ncat"), ["--version"], /Version (\S+)/)}`,
  ];
}

export function machine(processors: number): string {
  const release = /^\d+(\.\d+)*/.exec(os.release())?.[0] ?? os.release();
  return `${os.cpus()[0]?.model.trim() ?? "?"}, ${processors} processors, Linux ${release}`;
}
