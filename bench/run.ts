// npm run bench: the time that ssh waits for the proxy, and the proxy's processor time and memory,
// compared with /bin/true, Node, and other proxies and relays; and the relay's speed.
//
//     node --import ./tests/tsx.mjs bench/run.ts [OPTIONS]
//
//     --rounds N     measured runs of each command (default and minimum: 200)
//     --batches N    batches of each size (default 11); 0: none
//     --transfers N  transfers through each relay, in each direction (default 11); 0: none
//     --quick        10 rounds, one batch and three short transfers, without a plot: a check that
//                    everything runs
//     --peers N      the processor of the peers (default: that of the commands)
//     --plot FILE    writes an SVG
//     --from FILE    reports an earlier run from its build/bench/results.json
//
// It prints Markdown. latency.c, concurrency.c and relay.c say what the numbers mean; results.json has
// the input of the report and the plot.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { ensureTools, tool } from "../tests/support/tools";
import { allowedProcessors } from "../tests/support/processors";
import { root } from "../tests/support/proxy";
import {
  build,
  concurrency,
  idle,
  latency,
  makeSockets,
  memory,
  transfer,
  withRun,
  withoutVsock,
} from "./harness";
import type {
  Command,
  Batch,
  BatchRun,
  Idling,
  Kind,
  Relay,
  Route,
  Run,
  Sockets,
  Transfer,
} from "./harness";
import { plot } from "./plot";
import { report } from "./report";
import {
  baseline,
  exchange,
  libvirt,
  machine,
  median,
  nodeAlone,
  nodeHost,
  quantile,
  socat,
  standalone,
  systemd,
  versions,
} from "./results";
import type { BatchRow, RelayRow, Results, RouteRow, Row, Scheme } from "./results";
import { findLibvirtSshProxy, findSystemdSshProxy } from "./others";
import type { OtherProxy } from "./others";

const fewestRounds = 200;
const memoryRounds = 5;
const idleRounds = 3;
const mebibyte = 2 ** 20;

interface Plan {
  rounds: number;
  warmUp: number;
  batches: number;
  transfers: number;
  /** The size of each transfer, and the time of each idle run. */
  transferBytes: number;
  idleMs: number;
  processor: number;
  peers: number;
}

interface Host {
  name: string;
  command: readonly string[];
  /** The size of its largest batch. */
  maxBatch: number;
  /** For the commands of a batch. */
  batchOptions: readonly string[];
}

function hosts(theirs: OtherProxy | undefined): Host[] {
  const ours: Host[] = [
    {
      name: standalone,
      command: [path.join(root, "dist/ssh-vsock-proxy")],
      maxBatch: 500,
      batchOptions: [],
    },
    {
      name: nodeHost,
      command: [process.execPath, path.join(root, "dist/cli.cjs")],
      maxBatch: 100,
      // On one processor, the first of a hundred waits for 4 s until the last is there.
      batchOptions: ["--timeout", "60"],
    },
  ];
  for (const file of ours.flatMap(({ command }) => command)) {
    if (!existsSync(file)) throw new Error(`${file} is missing: run \`npm run build\` first`);
  }
  if (theirs === undefined) return ours;
  return [...ours, { name: systemd, command: theirs.command, maxBatch: 500, batchOptions: [] }];
}

type Candidate = Command & { scheme?: Scheme };

function candidates(proxies: readonly Host[], sockets: Sockets): Candidate[] {
  const schemes: [Scheme, Kind, string][] = [
    ["unix/", "pass", `unix${sockets.unix}`],
    ["vsock-mux/", "pass", `vsock-mux${sockets.multiplexer}`],
    ["machine/", "named", "machine/machine"],
  ];
  // As systemd-ssh-proxy writes it.
  const request = '{"method":"io.systemd.Machine.List","parameters":{"name":"machine"}}';
  return [
    { name: baseline, kind: "plain", argv: ["/bin/true"] },
    { name: nodeAlone, kind: "plain", argv: [process.execPath, "-e", "0"] },
    ...proxies.flatMap(({ name, command }) =>
      schemes.map(([scheme, kind, address]): Candidate => {
        return { name, scheme, kind, argv: [...command, address, "22"] };
      }),
    ),
    { name: exchange, scheme: "machine/", kind: "ask", argv: [sockets.machined, request] },
    {
      name: socat,
      scheme: "unix/",
      kind: "relay",
      argv: [tool("socat"), "STDIO", `UNIX-CONNECT:${sockets.unix}`],
    },
    { name: "ncat", scheme: "unix/", kind: "relay", argv: [tool("ncat"), "-U", sockets.unix] },
  ];
}

/**
 * Up to the CID, for which no socket can be made: a connection to a machine is not for a benchmark. Only
 * compared with libvirt-ssh-proxy, which needs /run/libvirt and so a namespace.
 */
function domainCandidates(proxies: readonly Host[], theirs: OtherProxy | undefined): Candidate[] {
  if (theirs === undefined) return [];
  const ours = proxies.filter(({ name }) => name !== systemd);
  return [...ours, { name: libvirt, command: theirs.command }].map(({ name, command }) => {
    return { name, scheme: "qemu/", kind: "failed", argv: [...command, "qemu/machine", "22"] };
  });
}

function summarize(candidate: Candidate, runs: readonly Run[], memories: readonly number[]): Row {
  const { name, scheme, kind } = candidate;
  const passes = kind === "pass" || kind === "named";
  const waits = runs.map(({ endedMs, greetedMs }) => (kind === "relay" ? greetedMs : endedMs));
  return {
    name,
    ...(scheme === undefined ? {} : { scheme }),
    relay: kind === "relay",
    minMs: Math.min(...waits),
    medianMs: median(waits),
    p99Ms: quantile(waits, 0.99),
    ...(passes ? { passedMs: median(runs.map(({ passedMs }) => passedMs)) } : {}),
    ...(passes || kind === "relay"
      ? { firstByteMs: median(runs.map(({ greetedMs }) => greetedMs)) }
      : {}),
    cpuMs: median(runs.map(({ cpuMs }) => cpuMs)),
    memoryKb: median(memories),
  };
}

async function runOneByOne(
  all: readonly Candidate[],
  sockets: Sockets,
  { rounds, warmUp, processor, peers }: Plan,
  within: readonly string[] = [],
): Promise<Row[]> {
  if (all.length === 0) return [];
  const here = { processor, peers, within };
  const memories = await memory(all, sockets, { ...here, rounds: memoryRounds, warmUp: 1 });
  const runs = await latency(all, sockets, { ...here, rounds, warmUp });
  return all.map((candidate, i) => summarize(candidate, runs[i] ?? [], memories[i] ?? []));
}

function summarizeBatch({ name, size }: Batch, runs: readonly BatchRun[]): BatchRow {
  const of = (key: keyof BatchRun) => median(runs.map((run) => run[key]));
  return {
    name,
    size,
    failed: runs.reduce((sum, { failed }) => sum + failed, 0),
    cpuMs: of("cpuMs"),
    wallMs: of("wallMs"),
    pssKb: of("pssKb"),
    privateKb: of("privateKb"),
    pageTablesKb: of("pageTablesKb"),
  };
}

async function runManyAtOnce(
  proxies: readonly Host[],
  sockets: Sockets,
  plan: Plan,
): Promise<BatchRow[]> {
  if (plan.batches === 0) return [];
  const all = [1, 10, 100, 500].flatMap((size) =>
    proxies
      .filter(({ maxBatch }) => size <= maxBatch)
      .map(({ name, command, batchOptions }): Batch => {
        const argv = [...command, ...batchOptions, `vsock-mux${sockets.multiplexer}`, "22"];
        return { name, size, argv };
      }),
  );
  const runs = await concurrency(all, sockets, { rounds: plan.batches, processor: plan.processor });
  return all.map((one, i) => summarizeBatch(one, runs[i] ?? []));
}

function relays(proxies: readonly Host[], sockets: Sockets): (Relay & { scheme: Scheme })[] {
  const unix = `unix${sockets.unix}`;
  const command = (name: string) => proxies.find((proxy) => proxy.name === name)?.command ?? [];
  const ours = (name: string, scheme: Scheme, address: string) => {
    return { name, scheme, argv: [...command(name), "--stdio", address] };
  };
  const theirs = (name: string, argv: readonly string[]) => {
    return { name, scheme: "unix/" as const, argv };
  };
  const ends = ["STDIO", `UNIX-CONNECT:${sockets.unix}`];
  return [
    theirs(socat, [tool("socat"), ...ends]),
    theirs(`${socat} -b 65536`, [tool("socat"), "-b", "65536", ...ends]),
    theirs("ncat", [tool("ncat"), "-U", sockets.unix]),
    ours(standalone, "unix/", unix),
    ours(standalone, "vsock-mux/", `vsock-mux${sockets.multiplexer}`),
    ours(nodeHost, "unix/", unix),
  ];
}

function summarizeRoute(
  route: Route,
  anywhere: boolean,
  bytes: number,
  runs: readonly Transfer[],
): RouteRow {
  const of = (key: keyof Transfer) => median(runs.map((run) => run[key]));
  return {
    ...route,
    anywhere,
    speed: of("speed"),
    cpuPerGib: (of("cpuMs") / 1e3) * (2 ** 30 / bytes),
    quarterKb: of("quarterKb"),
    lastKb: of("lastKb"),
    mostKb: of("mostKb"),
    growthKb: Math.max(...runs.map(({ quarterKb, lastKb }) => lastKb - quarterKb)),
  };
}

function summarizeIdling(runs: readonly Idling[]): Idling {
  const of = (key: keyof Idling) => median(runs.map((run) => run[key]));
  return { connected: of("connected"), unread: of("unread"), blocked: of("blocked") };
}

async function runRelays(
  proxies: readonly Host[],
  sockets: Sockets,
  { transfers: rounds, transferBytes: bytes, idleMs, processor, peers }: Plan,
): Promise<RelayRow[]> {
  if (rounds === 0) return [];
  const all = relays(proxies, sockets);
  const here = { warmUp: 1, processor, ends: peers };
  const places = [
    { anywhere: false, pairs: [false, true], ...here },
    { anywhere: true, pairs: [false], ...here, processor: -1, ends: -1 },
  ];
  const rows = all.map((): RouteRow[] => []);
  for (const { anywhere, pairs, ...options } of places) {
    const routes = pairs.flatMap((pair): Route[] => [
      { direction: "up", pair },
      { direction: "down", pair },
    ]);
    const found = await transfer(all, routes, sockets, { ...options, rounds, bytes });
    for (const [i, row] of rows.entries()) {
      const runs = found[i] ?? [];
      row.push(...routes.map((route, j) => summarizeRoute(route, anywhere, bytes, runs[j] ?? [])));
    }
  }
  const options = { ...here, warmUp: 0, rounds: idleRounds, milliseconds: idleMs };
  const idling = await idle(all, sockets, options);
  return all.map(({ name, scheme }, i) => {
    return { name, scheme, routes: rows[i] ?? [], idling: summarizeIdling(idling[i] ?? []) };
  });
}

/** Runs the command in 64 MiB of address space; returns the failure, if any. */
async function inSmallAddressSpace(command: Command, sockets: Sockets): Promise<string | null> {
  const limit = ["/bin/sh", "-c", 'ulimit -v 65536 && exec "$@"', "sh"];
  const limited = { ...command, argv: [...limit, ...command.argv] };
  try {
    await latency([limited], sockets, { rounds: 1, warmUp: 0, processor: -1, peers: -1 });
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

async function measure(plan: Plan): Promise<Results> {
  ensureTools(["cc", "socat", "ncat"]);
  const theirs = findSystemdSshProxy();
  const libvirts = findLibvirtSshProxy();
  const proxies = hosts(theirs);
  const facts = {
    versions: versions([
      [systemd, theirs?.version],
      [libvirt, libvirts?.version],
    ]),
    machine: machine(allowedProcessors().length),
    load: os.loadavg()[0] ?? NaN,
    systemdRemark: theirs?.remark ?? null,
    libvirtRemark: libvirts?.remark ?? null,
  };
  console.error("One by one, many at once, and as relays: this takes several minutes.");
  const sockets = makeSockets();
  const all = candidates(proxies, sockets);
  const inRun = [...withRun(sockets.folder), ...(await withoutVsock())];
  const domains = domainCandidates(proxies, libvirts);
  const rows = [
    ...(await runOneByOne(all, sockets, plan)),
    ...(await runOneByOne(domains, { ...sockets, folder: "/run" }, plan, inRun)),
  ];
  const batchRows = await runManyAtOnce(proxies, sockets, plan);
  const relayRows = await runRelays(proxies, sockets, plan);
  const ours = all.find(({ name }) => name === standalone) as Candidate;
  const smallAddressSpace = await inSmallAddressSpace(ours, sockets);
  return { ...facts, ...plan, rows, batchRows, relayRows, smallAddressSpace };
}

function count(name: string, text: string | undefined, otherwise: number, least: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isInteger(value) || value < least) {
    throw new Error(`--${name} ${text ?? ""}: it must be a number, and at least ${least}`);
  }
  return value;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string" },
      batches: { type: "string" },
      transfers: { type: "string" },
      quick: { type: "boolean", default: false },
      peers: { type: "string" },
      plot: { type: "string" },
      from: { type: "string" },
    },
  });
  // The last one: interrupts and other work are often on the first.
  const processor = allowedProcessors().at(-1) ?? 0;
  const plan: Plan = {
    rounds: values.quick ? 10 : count("rounds", values.rounds, fewestRounds, fewestRounds),
    warmUp: values.quick ? 1 : 10,
    batches: values.quick ? 1 : count("batches", values.batches, 11, 0),
    transfers: values.quick ? 3 : count("transfers", values.transfers, 11, 0),
    transferBytes: (values.quick ? 16 : 256) * mebibyte,
    idleMs: values.quick ? 100 : 1000,
    processor,
    peers: count("peers", values.peers, processor, 0),
  };
  let results: Results;
  if (values.from === undefined) {
    results = await measure(plan);
    writeFileSync(path.join(build, "results.json"), `${JSON.stringify(results, undefined, 1)}\n`);
  } else {
    results = JSON.parse(readFileSync(values.from, "utf8")) as Results;
  }
  console.log(report(results));
  if (values.plot !== undefined && !values.quick) {
    writeFileSync(values.plot, await plot(results));
    console.error(`\nThe plot is in ${values.plot}.`);
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
