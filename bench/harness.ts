// Compiles the C programs of this folder and runs them. They measure while Node is idle.

import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";

import { compileProgram } from "../tests/support/compile";
import { root } from "../tests/support/proxy";
import { makeFolder } from "../tests/support/scratch";
import { tool } from "../tests/support/tools";

/** For all files that the benchmark writes. */
export const build = path.join(root, "build/bench");

const run = promisify(execFile);
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    interrupt.abort();
  });
}

/** See latency.c. */
export type Kind = "plain" | "pass" | "named" | "failed" | "relay" | "ask";

export interface Command {
  name: string;
  kind: Kind;
  argv: readonly string[];
}

export interface Batch {
  name: string;
  size: number;
  argv: readonly string[];
}

/** One run of a command. */
export interface Run {
  passedMs: number;
  endedMs: number;
  greetedMs: number;
  cpuMs: number;
}

/** One batch, all its proxies together. */
export interface BatchRun {
  failed: number;
  cpuMs: number;
  wallMs: number;
  pssKb: number;
  privateKb: number;
  pageTablesKb: number;
}

/** The direction of a transfer, and the type of descriptors 0 and 1; see relay.c. */
export interface Route {
  direction: "up" | "down";
  /** One socket for both, instead of two pipes. */
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

/** Processor time of an idle relay, in milliseconds per second. */
export interface Idling {
  connected: number;
  /** Its output is not read. */
  unread: number;
  /** The server does not read either. */
  blocked: number;
}

/** The paths of the peers' sockets. */
export interface Sockets {
  /** The runtime directory of the commands. */
  folder: string;
  unix: string;
  multiplexer: string;
  machined: string;
}

export function makeSockets(): Sockets {
  const folder = makeFolder("bench");
  return {
    folder,
    unix: path.join(folder, "unix"),
    multiplexer: path.join(folder, "multiplexer"),
    machined: path.join(folder, "systemd/machine/io.systemd.Machine"),
  };
}

function compile(name: string, ...others: string[]): Promise<string> {
  const sources = [name, ...others].map((file) => path.join(__dirname, `${file}.c`));
  const shared = path.join(root, "tests/support/proxy-command.c");
  return compileProgram(path.join(build, name), [...sources, shared]);
}

/** Starts a command in which socket(AF_VSOCK) fails; see without-vsock.c. */
export async function withoutVsock(): Promise<string[]> {
  return [await compile("without-vsock")];
}

/** Starts a command whose /run is a folder, for itself alone. */
export function withRun(folder: string): string[] {
  const asRoot = process.getuid?.() === 0 ? [] : ["--map-root-user"];
  const bind = 'mount --bind "$0" /run && exec "$@"';
  return [tool("unshare"), "--mount", ...asRoot, "/bin/sh", "-c", bind, folder];
}

interface Place {
  /** Starts the program, as withoutVsock() does. */
  within?: readonly string[];
  /** The runtime directory. */
  folder?: string | undefined;
}

/** Runs a program, and returns the numbers of its lines for each command. */
async function measure(
  name: string,
  options: readonly (string | number)[],
  lines: readonly (readonly string[])[],
  { within = [], folder }: Place = {},
): Promise<number[][][]> {
  const program = await compile(name, ...["harness", "services"]);
  const [file = "", ...args] = [...within, program, ...options.map(String)];
  for (const word of lines.flat()) {
    if (!/^[^\t\n]+$/.test(word)) throw new Error(`not an argument for ${name}: '${word}'`);
  }
  // NODE_EXTRA_CA_CERTS makes Node 20 start 2.5 times slower.
  const { PATH, HOME } = process.env;
  const running = run(file, args, {
    env: { PATH, HOME, ...(folder === undefined ? {} : { XDG_RUNTIME_DIR: folder }) },
    maxBuffer: 64 * 1024 * 1024,
    signal: interrupt.signal,
  });
  running.child.stdin?.end(lines.map((words) => `${words.join("\t")}\n`).join(""));
  const { stdout } = await running.catch((error: unknown) => {
    if (interrupt.signal.aborted) throw new Error("interrupted");
    const { stderr, message } = error as { stderr?: string; message: string };
    // stderr is empty if a signal ended it.
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

interface LatencyOptions extends Pick<Place, "within"> {
  rounds: number;
  warmUp: number;
  processor: number;
  peers: number;
}

function latencyArguments(
  sockets: Sockets | undefined,
  options: LatencyOptions,
): (string | number)[] {
  return [
    ...(sockets === undefined ? [] : ["--folder", sockets.folder]),
    ...["--rounds", options.rounds, "--warm-up", options.warmUp],
    ...["--processor", options.processor, "--peers", options.peers],
  ];
}

function latencyLines(commands: readonly Command[]): string[][] {
  return commands.map(({ kind, name, argv }) => [kind, name, ...argv]);
}

/**
 * Each command's runs; rejects if one did not do what its kind says. Without `sockets` there are no peers
 * but those of the caller.
 */
export async function latency(
  commands: readonly Command[],
  sockets: Sockets | undefined,
  options: LatencyOptions,
): Promise<Run[][]> {
  const found = await measure(
    "latency",
    latencyArguments(sockets, options),
    latencyLines(commands),
    { ...options, folder: sockets?.folder },
  );
  return found.map((runs) =>
    runs.map(([passed = NaN, ended = NaN, greeted = NaN, cpu = NaN]) => ({
      passedMs: passed / 1e6,
      endedMs: ended / 1e6,
      greetedMs: greeted / 1e6,
      cpuMs: cpu / 1e3,
    })),
  );
}

/** The peak memory of each command's runs, in KiB. */
export async function memory(
  commands: readonly Command[],
  sockets: Sockets,
  options: LatencyOptions,
): Promise<number[][]> {
  const words = [...latencyArguments(sockets, options), "--memory"];
  const found = await measure("latency", words, latencyLines(commands), {
    ...options,
    folder: sockets.folder,
  });
  return found.map((runs) => runs.flat());
}

/** Each batch's runs. */
export async function concurrency(
  batches: readonly Batch[],
  sockets: Sockets,
  options: { rounds: number; processor: number },
): Promise<BatchRun[][]> {
  const found = await measure(
    "concurrency",
    ["--folder", sockets.folder, "--rounds", options.rounds, "--processor", options.processor],
    batches.map(({ size, name, argv }) => [String(size), name, ...argv]),
  );
  return found.map((runs) =>
    runs.map((numbers) => {
      const [failed = NaN, cpu = NaN, start = NaN, answer = NaN, ...memory] = numbers;
      const [pssKb = NaN, privateKb = NaN, pageTablesKb = NaN] = memory;
      return {
        failed,
        cpuMs: cpu / 1e3,
        wallMs: (start + answer) / 1e6,
        pssKb,
        privateKb,
        pageTablesKb,
      };
    }),
  );
}

interface RelayOptions {
  rounds: number;
  warmUp: number;
  /** Of the relays; -1: any. */
  processor: number;
  /** Of the writer and the reader; -1: any. */
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

/** Each relay's transfers on each route. */
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

/** Each relay's idle runs, between two pipes. */
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
  // From nanoseconds in the whole time.
  const perSecond = (ns: number) => ns / options.milliseconds / 1e3;
  return found.map((runs) =>
    runs.map(([connected = NaN, unread = NaN, blocked = NaN]) => ({
      connected: perSecond(connected),
      unread: perSecond(unread),
      blocked: perSecond(blocked),
    })),
  );
}
