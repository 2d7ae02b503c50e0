// Compiles the C programs beside this file and runs them: what measures is C, and nothing of Node is
// awake meanwhile.

import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";

import { root } from "../tests/support/proxy";
import { tool } from "../tests/support/tools";

/** Where everything goes that the benchmark makes. */
export const build = path.join(root, "build/bench");

const run = promisify(execFile);
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    interrupt.abort();
  });
}

/** What race.c expects of a command; see its head. */
export type Kind = "plain" | "pass" | "relay";

export interface Command {
  name: string;
  kind: Kind;
  argv: readonly string[];
}

export interface Crowd {
  name: string;
  size: number;
  argv: readonly string[];
}

/** One run of a command. */
export interface Run {
  handedOverMs: number;
  endedMs: number;
  greetedMs: number;
  cpuMs: number;
}

/** One crowd, all its proxies together. */
export interface CrowdRun {
  failed: number;
  cpuMs: number;
  wallMs: number;
  pssKb: number;
  privateKb: number;
  pageTablesKb: number;
}

/** What goes through a relay, and what its descriptors 0 and 1 are; see relay.c's head. */
export interface Route {
  direction: "up" | "down";
  /** One socket, and not two pipes. */
  pair: boolean;
}

export interface Relay {
  name: string;
  argv: readonly string[];
}

/** One transfer through a relay. */
export interface Transfer {
  /** Bytes per nanosecond: GB/s. */
  speed: number;
  cpuMs: number;
  quarterKb: number;
  lastKb: number;
  mostKb: number;
}

/** Processor time of a relay that has nothing to do, in milliseconds for each second. */
export interface Idling {
  connected: number;
  /** Its output is not read. */
  unread: number;
  /** The server does not read either. */
  blocked: number;
}

/** Runs `work` with the paths of the peers' sockets, in a folder that is gone afterwards. */
export async function withSockets<T>(work: (sockets: Sockets) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "bench-"));
  try {
    return await work({
      folder,
      unix: path.join(folder, "unix"),
      multiplexer: path.join(folder, "multiplexer"),
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export interface Sockets {
  folder: string;
  unix: string;
  multiplexer: string;
}

async function compile(name: string): Promise<string> {
  const program = path.join(build, name);
  const sources = [`${name}.c`, "harness.c"].map((file) => path.join(__dirname, file));
  mkdirSync(build, { recursive: true });
  await run(process.env["CC"] ?? tool("cc"), [
    ...["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program],
    ...sources,
  ]);
  return program;
}

/** Gives what each command's lines say, in the commands' order. */
async function measure(
  name: string,
  options: readonly (string | number)[],
  lines: readonly (readonly string[])[],
): Promise<number[][][]> {
  const program = await compile(name);
  for (const word of lines.flat()) {
    if (!/^[^\t\n]+$/.test(word)) throw new Error(`not an argument for ${name}: '${word}'`);
  }
  // NODE_EXTRA_CA_CERTS, for one, makes Node 20 start 2.5 times slower.
  const { PATH, HOME } = process.env;
  const running = run(program, options.map(String), {
    env: { PATH, HOME },
    maxBuffer: 64 * 1024 * 1024,
    signal: interrupt.signal,
  });
  running.child.stdin?.end(lines.map((words) => `${words.join("\t")}\n`).join(""));
  const { stdout } = await running.catch((error: unknown) => {
    if (interrupt.signal.aborted) throw new Error("interrupted");
    const { stderr, message } = error as { stderr?: string; message: string };
    // It says nothing where a signal has ended it.
    const said = stderr?.trim() ?? "";
    throw new Error(said === "" ? message : said);
  });
  const found: number[][][] = lines.map(() => []);
  for (const line of stdout.trimEnd().split("\n")) {
    const [index = -1, ...numbers] = line.split(" ").map(Number);
    found[index]?.push(numbers);
  }
  return found;
}

export interface RaceOptions {
  rounds: number;
  warmUp: number;
  processor: number;
  peers: number;
}

function raceArguments(sockets: Sockets, options: RaceOptions): (string | number)[] {
  return [
    ...["--folder", sockets.folder, "--rounds", options.rounds, "--warm-up", options.warmUp],
    ...["--processor", options.processor, "--peers", options.peers],
  ];
}

function raceLines(commands: readonly Command[]): string[][] {
  return commands.map(({ kind, name, argv }) => [kind, name, ...argv]);
}

/** Each command's runs; throws where one did not do what its kind says. */
export async function race(
  commands: readonly Command[],
  sockets: Sockets,
  options: RaceOptions,
): Promise<Run[][]> {
  const found = await measure("latency", raceArguments(sockets, options), raceLines(commands));
  return found.map((runs) =>
    runs.map(([handedOver = NaN, ended = NaN, greeted = NaN, cpu = NaN]) => ({
      handedOverMs: handedOver / 1e6,
      endedMs: ended / 1e6,
      greetedMs: greeted / 1e6,
      cpuMs: cpu / 1e3,
    })),
  );
}

/** The most memory that each run of each command held, in KiB. */
export async function memory(
  commands: readonly Command[],
  sockets: Sockets,
  options: RaceOptions,
): Promise<number[][]> {
  const words = [...raceArguments(sockets, options), "--memory"];
  const found = await measure("latency", words, raceLines(commands));
  return found.map((runs) => runs.flat());
}

/** What each round of each crowd took. */
export async function crowd(
  crowds: readonly Crowd[],
  sockets: Sockets,
  options: { rounds: number; processor: number },
): Promise<CrowdRun[][]> {
  const found = await measure(
    "concurrency",
    ["--folder", sockets.folder, "--rounds", options.rounds, "--processor", options.processor],
    crowds.map(({ size, name, argv }) => [String(size), name, ...argv]),
  );
  return found.map((runs) =>
    runs.map((numbers) => {
      const [failed = NaN, cpu = NaN, gathering = NaN, parting = NaN, ...memory] = numbers;
      const [pssKb = NaN, privateKb = NaN, pageTablesKb = NaN] = memory;
      return {
        failed,
        cpuMs: cpu / 1e3,
        wallMs: (gathering + parting) / 1e6,
        pssKb,
        privateKb,
        pageTablesKb,
      };
    }),
  );
}

export interface RelayOptions {
  rounds: number;
  warmUp: number;
  /** Of the relays; -1: any. */
  processor: number;
  /** Of what writes and what reads; -1: any. */
  ends: number;
}

function relayArguments(sockets: Sockets, options: RelayOptions): (string | number)[] {
  return [
    ...["--folder", sockets.folder, "--rounds", options.rounds, "--warm-up", options.warmUp],
    ...["--processor", options.processor, "--ends", options.ends],
  ];
}

function relayLine({ name, argv }: Relay, { direction, pair }: Route): string[] {
  return [`${direction}${pair ? "-pair" : ""}`, name, ...argv];
}

/** Of each relay the transfers on each route. */
export async function transfer(
  relays: readonly Relay[],
  routes: readonly Route[],
  sockets: Sockets,
  options: RelayOptions & { bytes: number },
): Promise<Transfer[][][]> {
  const found = await measure(
    "relay",
    [...relayArguments(sockets, options), "--bytes", options.bytes],
    relays.flatMap((relay) => routes.map((route) => relayLine(relay, route))),
  );
  const transfers = found.map((runs) =>
    runs.map(([wall = NaN, cpu = NaN, quarterKb = NaN, lastKb = NaN, mostKb = NaN]) => ({
      speed: options.bytes / wall,
      cpuMs: cpu / 1e6,
      quarterKb,
      lastKb,
      mostKb,
    })),
  );
  return relays.map((_, i) => transfers.slice(i * routes.length, (i + 1) * routes.length));
}

/** Of each relay what it does while there is nothing to do, between two pipes. */
export async function idle(
  relays: readonly Relay[],
  sockets: Sockets,
  options: RelayOptions & { milliseconds: number },
): Promise<Idling[][]> {
  const found = await measure(
    "relay",
    [...relayArguments(sockets, options), "--idle", options.milliseconds],
    relays.map((relay) => relayLine(relay, { direction: "up", pair: false })),
  );
  // Nanoseconds in so many milliseconds, or a thousandth of it in a second.
  const perSecond = (ns: number) => ns / options.milliseconds / 1e3;
  return found.map((runs) =>
    runs.map(([connected = NaN, unread = NaN, blocked = NaN]) => ({
      connected: perSecond(connected),
      unread: perSecond(unread),
      blocked: perSecond(blocked),
    })),
  );
}
