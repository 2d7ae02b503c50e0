// The same script on each host, in lock-step: the same imports, bit by bit (tests/hosts/lockstep.test.ts).
//
//     tsx tests/hosts/scripts.ts [--seed N] [--count N] [NUMBER...]
//
// plays the scripts of a seed, or of them those with the NUMBERs; of one alone it prints all that was
// done. A script is made of the seed and its number alone, so that one that fails comes again.
//
// What the world is made of, and how lock-step comes about, stands in hosts/lockstep.py. What is not
// compared bit by bit:
//
// - What the clocks say, and the number of the process: they get names, each only where it is right
//   (Names in hosts/lockstep.ts). Nothing else is masked, put in order or left out.
// - What goes on within one import, sock_relay above all: of it the bytes at both ends are compared.
// - A run in which the machine stands still for so long that a deadline passes before the peer's next
//   piece is looked at: then the program sees both at once. It is counted, and its script played again
//   on both hosts, with twice the time.
//
// No script connects to an AF_VSOCK address: not every machine has one that could be connected to.
// They end before sock_open, and tests/hosts/compare.test.ts compares what comes behind it, in the guest.

import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { ensureTools } from "../support/tools";
import { Lockstep, outcomeOf } from "./lockstep";
import type { Attempt, Hex, Move, Outcome, Relay, Script } from "./lockstep";
import { root } from "../support/proxy";

/** Where the random numbers come from: xorshift32. */
class Random {
  #state: number;
  constructor(seed: number, number: number) {
    this.#state = Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca77) || 1;
    for (let i = 0; i < 8; i++) this.below(1);
  }
  /** From 0 to below `limit`. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  percent(chance: number): boolean {
    return this.below(100) < chance;
  }
}

const hex = (text: string): Hex => Buffer.from(text, "latin1").toString("hex");

// ---- the command line

/** A script in the making. */
interface Draft extends Omit<Script, "arguments" | "environment" | "socket"> {
  /** Each with its value behind `=` or as the next word. */
  options: string[][];
  address: string;
  port: string | undefined;
  name: string | undefined;
  socket: string;
  term: string | undefined;
}

function emptyDraft(): Draft {
  return {
    options: [],
    address: "",
    port: undefined,
    name: undefined,
    socket: "./peer",
    term: undefined,
    stdin: { kind: "null", content: "", ends: true },
    stdout: "unix",
    stderr: "pipe",
    attempts: [{ place: "absent", connected: [], asked: [] }],
    relay: null,
    leaves: 0,
    timeout: 5000,
    wait: 0,
  };
}

/** The same option, one word or two. */
function option(random: Random, name: string, value: string): string[] {
  return random.percent(50) ? [name, value] : [`${name}=${value}`];
}

function limit(random: Random, draft: Draft, milliseconds: number): void {
  draft.timeout = milliseconds;
  draft.options.push(option(random, "--timeout", `${milliseconds}ms`));
}

/** A word as SSH_VSOCK_PROXY_OPTIONS may have it. */
function quoted(random: Random, word: string): string {
  switch (random.below(3)) {
    case 0:
      return word.includes("'") ? quoted(random, word) : `'${word}'`;
    case 1:
      return `"${word.replaceAll(/[\\"]/g, "\\$&")}"`;
    default:
      return word === "" ? "''" : word.replaceAll(/[^\w./=-]/g, "\\$&");
  }
}

/** What the options come to: those of the variable, and the command line. */
function finish(random: Random, draft: Draft): Script {
  const { options, address, port, name, socket, term, ...rest } = draft;
  const inVariable = options.filter(() => random.percent(30));
  const words = options.filter((each) => !inVariable.includes(each)).flat();
  if (random.percent(10)) words.push("--");
  words.push(address);
  if (port !== undefined) words.push(port);
  if (name !== undefined) words.push(name);
  const environment: string[] = [];
  if (term !== undefined) environment.push(`TERM=${term}`);
  if (inVariable.length > 0 || random.percent(10)) {
    const value = inVariable.flat().map((word) => quoted(random, word));
    environment.push(`SSH_VSOCK_PROXY_OPTIONS=${value.join(random.of([" ", "  ", "\t", "\n"]))}`);
  }
  return {
    ...rest,
    arguments: words.map(hex),
    environment: environment.map(hex),
    socket: hex(socket),
  };
}

const folders = [
  "./",
  "./",
  "./",
  "./run/",
  "./with space/",
  "./\xff\xfe/",
  `./${"d".repeat(150)}/`,
];

/** Gives the world's socket an address of the scheme. */
function lead(random: Random, draft: Draft, scheme: "unix" | "vsock-mux", number: number): void {
  draft.port = random.of([undefined, "22", "0", "1024", "4294967294"]);
  const form = random.below(10);
  if (scheme === "unix" && form === 0) {
    // Of this process: the names of abstract sockets are the whole machine's.
    draft.socket = `\0lockstep-${process.pid}-${number}`;
    draft.address = `unix-abstract/${draft.socket.slice(1)}`;
    return;
  }
  draft.socket = `${random.of(folders)}peer`;
  if (scheme === "unix" && form === 1) {
    draft.address = ".host";
    draft.options.push(option(random, "--host-socket", draft.socket));
  } else if (form === 2) {
    draft.address = `${scheme}/${draft.socket}`;
    draft.port ??= "22";
    draft.socket = draft.socket.replace("peer", "Peer");
    draft.name = `${scheme}/${draft.socket}`;
  } else if (form === 3) {
    draft.address = `${scheme}%${draft.socket.replaceAll("%", "%%").replaceAll("/", "%")}`;
  } else {
    draft.address = `${scheme}/${draft.socket}`;
  }
}

/** What has nothing to do with the connection. */
function dress(random: Random, draft: Draft): void {
  if (random.percent(25)) draft.options.push([random.of(["-v", "--verbose"])]);
  if (random.percent(15)) {
    draft.options.push(option(random, "--log-file", random.of(["./log", "./log", "./my log"])));
  }
  const stderrs = ["file", "null", "pipe without reader", "full pipe"] as const;
  if (random.percent(25)) draft.stderr = stderrs[random.below(16)] ?? "file";
}

// ---- what a script is about

/** Wrong command lines, and help. */
function usage(random: Random, draft: Draft): void {
  const wrong: (() => void)[] = [
    () =>
      (draft.address = random.of(["", "/", "machine", "vsock", "ssh/3", "UNIX/x", "%", ".hosts"])),
    () => (draft.address = random.of(["unix/", "unix%", "vsock-mux/", "unix-abstract/", "vsock/"])),
    () => (draft.address = `vsock/${random.of(["0x3", "-1", "+1", " 3", "03", "3x", "guest"])}`),
    () => (draft.address = `vsock/${random.of(["4294967295", "4294967296", "99999999999"])}`),
    () => {
      draft.address = random.of(["vsock/3", "vsock%local", "vsock-mux/./peer"]);
      draft.port = random.of(["", "x", "022", "4294967295", "99999999999", "22 ", "-22"]);
    },
    () => (draft.address = `unix/${"p".repeat(random.of([4094, 4095, 4096, 5000]))}`),
    () => (draft.address = `unix-abstract/${"n".repeat(random.of([107, 108, 200]))}`),
    () =>
      draft.options.push([random.of(["--nothing", "-x", "-vv", "--", "-", "--Version", "-\xff"])]),
    () =>
      draft.options.push([random.of(["--timeout=", "--timeout=0", "--timeout=1h", "--wait=-1"])]),
    () => draft.options.push([random.of(["--timeout=99999m", "--wait=86401", "--timeout=05"])]),
    () =>
      draft.options.push([random.of(["--half-close=no", "--fdpass=yes", "-v=", "--host-socket="])]),
    () => draft.options.push([random.of(["--log-file=.", "--log-file=./a/b", "--log-file="])]),
    () => draft.options.push([random.of(["-h", "--help", "-V", "--version", "--help=me"])]),
    () => (draft.name = random.of(["unix/./peer", "x", "\x1b[2J", "\xc3\xbc"])),
    () => {
      // An address that would do, but descriptor 1 does not.
      draft.address = random.of(["vsock/3", "vsock/hypervisor", "unix/./peer"]);
      draft.stdout = random.of(["null", "pipe", "file", "datagram", "seqpacket"]);
      if (draft.stdout !== "null") draft.options.push(["--fdpass"]);
    },
  ];
  draft.address = random.of(["unix/./peer", "unix/\x1b]0;x\x07", "unix/\xe2\x80\xae", "unix/a\\b"]);
  random.of(wrong)();
  if (draft.name !== undefined) draft.port ??= "22";
}

/** Something else than a listener. */
function unreachable(random: Random, draft: Draft, number: number): void {
  lead(random, draft, random.of(["unix", "vsock-mux"]), number);
  const isAbstract = draft.socket.startsWith("\0");
  const places = [
    ...(["absent", "refuses", "datagram", "seqpacket", "full"] as const),
    ...(isAbstract
      ? []
      : (["forbidden", "dangling", "loop", "file", "directory", "file/"] as const)),
  ];
  let place = random.of(places);
  if (place === "file/") {
    place = "file";
    if (draft.address.endsWith("/peer")) draft.address += "/below";
  }
  if (place === "full") limit(random, draft, 20 + random.below(20));
  draft.attempts = [{ place, connected: [], asked: [] }];
}

const banner = "SSH-2.0-guest\r\n";

/** A multiplexer's answer, right or wrong. */
function answer(random: Random): string {
  const numbers = ["0", "7", "22", "1024", "1073741824", "4294967295", "0000000001"];
  const right = `OK ${random.of(numbers)}\n`;
  switch (random.below(8)) {
    case 0:
      return random.of(["OK 4294967296\n", "OK 9999999999\n", "OK 12345678901\n"]);
    case 1:
      return random.of(["OK\n", "OK \n", "ok 1\n", "OK  1\n", "OK 1\r\n", "NO 1\n", "\n", "OK 1x"]);
    case 2:
      return right.slice(0, random.below(right.length));
    case 3: {
      const at = random.below(right.length);
      return right.slice(0, at) + String.fromCharCode(random.below(256)) + right.slice(at + 1);
    }
    default:
      return right + random.of(["", banner, banner, "\0"]);
  }
}

/** The answer, cut anywhere. */
function pieces(random: Random, text: string): string[] {
  const style = random.below(5);
  if (style <= 1) return text === "" ? [] : [text];
  if (style === 2) return Array.from(text);
  const result: string[] = [];
  for (let rest = text; rest !== "";) {
    const size = 1 + random.below(6);
    result.push(rest.slice(0, size));
    rest = rest.slice(size);
  }
  return result;
}

/** One attempt at a multiplexer; gives whether the peer falls silent. */
function multiplexer(random: Random, attempt: Attempt, text: string): boolean {
  attempt.place = random.percent(10) ? "linked" : "listens";
  if (random.percent(8)) {
    attempt.connected = [random.of(["close", "deaf", "mute"])];
    attempt.asked = ["read"];
    return false;
  }
  if (random.percent(5)) {
    // With the request unread, that is a reset.
    attempt.asked = ["close"];
    return false;
  }
  const end: Move[] = random.of([["close"], ["mute"], [], []]);
  attempt.asked = ["read", ...pieces(random, text).map(hex), ...end];
  return end.length === 0;
}

function handshake(random: Random, draft: Draft, number: number, slack: number): void {
  lead(random, draft, "vsock-mux", number);
  const [attempt] = draft.attempts as [Attempt];
  const text = answer(random);
  const silent = multiplexer(random, attempt, text);
  // The deadline is to be met where the peer says no more, and nowhere before.
  if (silent) limit(random, draft, text === "" ? 10 + random.below(20) : 200 * slack);
  else if (random.percent(20)) limit(random, draft, random.of([5000, 60_000, 86_400_000]));
  descriptor1(random, draft);
}

/** As ssh has it, or with something in the way. */
function descriptor1(random: Random, draft: Draft): void {
  if (random.percent(20)) draft.stdin = { kind: "stdout", content: hex("hello"), ends: false };
  if (random.percent(10)) draft.stdout = "unix without reader";
  if (draft.stdout === "unix without reader")
    draft.stdin = { kind: "null", content: "", ends: true };
  if (random.percent(10)) draft.options.push(["--fdpass"]);
}

function handOver(random: Random, draft: Draft, number: number): void {
  lead(random, draft, "unix", number);
  draft.attempts = [
    {
      place: "listens",
      connected: random.of([[], [], [hex(banner)], [hex(banner), "mute"], ["close"], ["deaf"]]),
      asked: [],
    },
  ];
  if (random.percent(15)) {
    draft.stdout = "full unix";
    limit(random, draft, 20 + random.below(20));
  } else {
    descriptor1(random, draft);
  }
}

/** A relay, in one of the ways in which it can end. */
function relay(random: Random, draft: Draft, number: number): void {
  const scheme = random.of(["unix", "vsock-mux"] as const);
  lead(random, draft, scheme, number);
  const [attempt] = draft.attempts as [Attempt];
  attempt.place = "listens";
  if (scheme === "vsock-mux") attempt.asked = ["read", ...pieces(random, "OK 7\n").map(hex)];
  const size = random.of([0, 1, 100, 4096, 50_000]);
  const sent = "x".repeat(size);
  const closes = random.of(["auto", "always", "never"]);
  if (closes !== "auto" || random.percent(20)) {
    draft.options.push(option(random, "--half-close", closes));
  }
  const passesEnd = closes === "always" || (closes === "auto" && scheme === "unix");
  const [first, last] = [random.of(["", banner]), random.of(["", "y".repeat(20_000)])].map(hex);
  const talk: Relay = { first: first ?? "", until: size, last: last ?? "" };
  draft.relay = talk;
  draft.stdout = random.of(["pipe", "file", "unix"]);
  draft.stdin = { kind: random.of(["pipe", "file"]), content: hex(sent), ends: true };
  switch (random.below(6)) {
    case 0:
      // The peer waits for the end, or goes though there is none.
      if (passesEnd) talk.until = "end";
      else draft.stdin = { kind: "pipe", content: hex(sent), ends: false };
      break;
    case 1:
      // The peer takes nothing.
      attempt.connected = ["deaf"];
      draft.stdin.content ||= hex("x");
      break;
    case 2:
      draft.stdout = "pipe without reader";
      draft.stdin = { kind: "pipe", content: "", ends: random.percent(50) };
      draft.relay = { first: "", until: "end", last: "" };
      break;
    case 3:
      draft.stdout = "full";
      draft.stdin = { kind: "pipe", content: "", ends: false };
      draft.relay = { first: hex(banner), until: "end", last: "" };
      break;
    case 4:
      draft.stdin = { kind: "directory", content: "", ends: true };
      draft.relay = { first: "", until: "end", last: "" };
      break;
    default:
      if (draft.stdout === "unix") draft.stdin.kind = "stdout";
  }
  if (draft.stdout === "unix" || random.percent(20)) draft.options.push(["--stdio"]);
}

/** A machine that boots: attempts that fail, until one does not or nothing helps any more. */
function boots(random: Random, draft: Draft, number: number, slack: number): void {
  const scheme = random.of(["unix", "vsock-mux"] as const);
  lead(random, draft, scheme, number);
  const wait = random.of(["10m", "600", "1440m"]);
  draft.wait = wait === "1440m" ? 86_400_000 : 600_000;
  draft.options.push(option(random, "--wait", wait));
  const isAbstract = draft.socket.startsWith("\0");
  const failing = (): Attempt => {
    const places = ["absent", "refuses", ...(isAbstract ? [] : ["dangling" as const])] as const;
    const attempt: Attempt = { place: random.of(places), connected: [], asked: [] };
    if (scheme === "vsock-mux" && random.percent(60)) {
      attempt.place = "listens";
      attempt.asked = random.of([["close"], ["read", "close"], ["read", hex("OK 1"), "close"]]);
    }
    return attempt;
  };
  const last: Attempt = { place: "listens", connected: [], asked: [] };
  if (scheme === "vsock-mux") last.asked = ["read", ...pieces(random, "OK 7\n").map(hex)];
  const fate = random.below(5);
  if (fate === 0) draft.leaves = 1 + random.below(2);
  // Not of an abstract name: one of another kind is none at all (ECONNREFUSED).
  if (fate === 1 && !isAbstract) last.place = "seqpacket";
  draft.attempts = [
    failing(),
    ...(random.percent(50) || draft.leaves > 1 ? [failing()] : []),
    last,
  ];
  draft.stdout = random.of(["unix", "unix", "pipe", "file"]);
  if (draft.stdout === "file") draft.leaves = 0;
  // Each pause is twice as long as the one before, and in one of them somebody leaves.
  const later = draft.leaves > 0 ? Math.log2(slack) : 0;
  draft.leaves += later;
  draft.attempts.unshift(...Array<Attempt>(later).fill(draft.attempts[0] as Attempt));
  if (draft.stdout !== "unix") draft.relay = { first: hex(banner), until: 0, last: "" };
  if (random.percent(30)) {
    draft.stderr = "terminal";
    draft.term = random.of(["xterm", "dumb", ""]);
  }
}

/** How many of a hundred scripts are about what. */
const subjects = [
  [15, usage],
  [15, unreachable],
  [32, handshake],
  [12, handOver],
  [14, relay],
  [12, boots],
] as const;

/** With `slack`, a power of 2, times as long as usual for what has to come before a time is over. */
export function makeScript(seed: number, number: number, slack = 1): Script {
  const random = new Random(seed, number);
  const draft = emptyDraft();
  let rest = random.below(100);
  for (const [share, subject] of subjects) {
    if (rest < share && rest >= 0) subject(random, draft, number, slack);
    rest -= share;
  }
  // A terminal has room for a few lines, and an address of 4 KiB for no -v.
  if (draft.stderr !== "terminal" && draft.address.length < 1000) dress(random, draft);
  return finish(random, draft);
}

// ---- both hosts

const trace = path.join(root, "build/trace");
export const hosts = {
  "the Node host": [process.execPath, path.join(trace, "cli.cjs")],
  "the standalone host": [path.join(trace, "ssh-vsock-proxy")],
};

/** Of so many scripts one is played twice on each host. */
const TWICE = 20;
/** In so many runs the machine may stand still: the last silence has 51 s, and a run 60 (LIMIT). */
const PATIENCE = 9;

export interface Comparison {
  number: number;
  exit: number;
  imports: number;
  /** Runs that did not count, because the machine stood still. */
  stalled: number;
  /** The first difference and what replays it; undefined where there is none. */
  difference: string | undefined;
}

interface Played extends Outcome {
  host: string;
}

/** Builds what is compared; `npm run build` comes before. */
export function prepare(): void {
  ensureTools(["python3"]);
  const { status, stderr } = spawnSync(process.execPath, ["scripts/build-trace.mjs"], {
    cwd: root,
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
}

/** Plays scripts of a seed, several at once, and compares the hosts; in the order of `numbers`. */
export async function compareAll(seed: number, numbers: readonly number[]): Promise<Comparison[]> {
  const results: Comparison[] = [];
  let next = 0;
  // Some runs wait for a deadline, and leave the processor to others.
  const players = Array.from({ length: 2 * availableParallelism() }, async () => {
    const lockstep = new Lockstep();
    try {
      while (next < numbers.length) {
        const at = next++;
        results[at] = await compare(lockstep, seed, numbers[at] as number);
      }
    } finally {
      lockstep.end();
    }
  });
  await Promise.all(players);
  return results;
}

/** The script's runs on both hosts, up to one in which the machine stands still. */
async function playAll(lockstep: Lockstep, script: Script, twice: boolean): Promise<Played[]> {
  const played: Played[] = [];
  for (const again of twice ? ["", ", again"] : [""]) {
    for (const [host, command] of Object.entries(hosts)) {
      const outcome = outcomeOf(await lockstep.play(command, script), script);
      played.push({ ...outcome, host: host + again });
      if (outcome.stalled) return played;
    }
  }
  return played;
}

async function compare(lockstep: Lockstep, seed: number, number: number): Promise<Comparison> {
  const result: Comparison = { number, exit: NaN, imports: 0, stalled: 0, difference: undefined };
  const play = async (): Promise<Played[]> => {
    while (result.stalled < PATIENCE) {
      const script = makeScript(seed, number, 2 ** result.stalled);
      const played = await playAll(lockstep, script, number % TWICE === 0);
      if (!played.some(({ stalled }) => stalled)) return played;
      result.stalled++;
    }
    throw new Error(`the machine stood still in ${PATIENCE} runs`);
  };
  try {
    const [first, ...others] = (await play()) as [Played, ...Played[]];
    result.exit = first.exit;
    result.imports = first.imports;
    const differences = others.map((other) => differenceOf(first, other));
    result.difference = differences.find((difference) => difference !== undefined);
  } catch (error) {
    result.difference = error instanceof Error ? error.message : String(error);
  }
  if (result.difference !== undefined) {
    result.difference = `script ${number} of seed ${seed}: ${result.difference}
to replay it: npx tsx tests/hosts/scripts.ts --seed ${seed} ${number}`;
  }
  return result;
}

/** What two runs do not have in common first. */
export function differenceOf(one: Played, other: Played): string | undefined {
  const length = Math.max(one.lines.length, other.lines.length);
  const at = Array.from({ length }, (_, i) => i).find((i) => one.lines[i] !== other.lines[i]);
  if (at === undefined) return undefined;
  const [a, b] = [one, other].map(({ lines }) => lines[at] ?? "nothing more");
  return `line ${at + 1}\n  ${one.host}: ${a}\n  ${other.host}: ${b}`;
}

// ---- the command

/** What the scripts have come to, in a few lines. */
export function summaryOf(seed: number, results: readonly Comparison[]): string[] {
  const imports = results.reduce((sum, result) => sum + result.imports, 0);
  const stalled = results.reduce((sum, result) => sum + result.stalled, 0);
  const exits = [...new Set(results.map(({ exit }) => exit))].sort((a, b) => a - b);
  const count = (exit: number) => results.filter((result) => result.exit === exit).length;
  return [
    `seed ${seed}: ${results.length} scripts with ${imports} imports; ${stalled} runs were played again`,
    "exit status  scripts",
    ...exits.map((exit) => `${exit}`.padStart(11) + `${count(exit)}`.padStart(9)),
  ];
}

async function show(seed: number, number: number): Promise<void> {
  const script = makeScript(seed, number);
  const text = (bytes: Hex) => Buffer.from(bytes, "hex").toString("latin1");
  const { arguments: words, environment, socket, ...rest } = script;
  const readable = {
    arguments: words.map(text),
    environment: environment.map(text),
    socket: text(socket),
  };
  console.log(JSON.stringify({ ...readable, ...rest }, null, 2));
  const lockstep = new Lockstep();
  for (const [host, command] of Object.entries(hosts)) {
    console.log(
      `\n${host}:\n${outcomeOf(await lockstep.play(command, script), script).lines.join("\n")}`,
    );
  }
  lockstep.end();
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      seed: { type: "string", default: "1" },
      count: { type: "string", default: "1000" },
    },
    allowPositionals: true,
  });
  const seed = Number(values.seed);
  const chosen = positionals.map(Number);
  const all = Array.from({ length: Number(values.count) }, (_, i) => i);
  prepare();
  if (chosen.length === 1) await show(seed, chosen[0] as number);
  const results = await compareAll(seed, chosen.length > 0 ? chosen : all);
  console.log(`\n${summaryOf(seed, results).join("\n")}`);
  const differences = results.flatMap(({ difference }) => difference ?? []);
  for (const difference of differences) console.log(difference);
  process.exitCode = differences.length > 0 ? 1 : 0;
}

if (require.main === module) void main();
