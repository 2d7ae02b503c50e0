// Compares the two hosts: plays arbitrary cases (support/arbitrary.ts) in lock-step on both. Each run
// has to pass checkOutcome, and the runs of a case have to make the same imports, bit by bit, with the
// same arguments and results.
//
//     node --import ./tests/tsx.mjs tests/hosts/compare.ts [--seed N] [--count N] [--path PATH]
//
// plays the cases of a seed; with the PATH that a failure prints, the one case that it is about.
//
// What is not compared bit by bit:
//
// - What the clocks say, and the process's number (Names in lockstep.ts). Nothing else is masked,
//   reordered or left out.
// - What happens within one import, sock_relay above all: of it, the bytes at both ends.
// - A run in which the machine stalls until a deadline has passed before the peer's next move is
//   seen: the program then sees both at once. Such a run is counted, and its case is played again
//   with twice the time.

import { spawnSync } from "node:child_process";
import path from "node:path";
import { parseArgs } from "node:util";

import fc from "fast-check";

import { hostCases } from "../support/arbitrary";
import type { HostCase } from "../support/draft";
import { checkOutcome } from "../support/outcome";
import { root } from "../support/proxy";
import { ensureTools } from "../support/tools";
import * as lockstep from "./lockstep";
import { Lockstep, scriptOf } from "./lockstep";
import type { Answer } from "./lockstep";

const trace = path.join(root, "build/trace");
export const hosts = {
  node: [process.execPath, path.join(trace, "cli.cjs")],
  standalone: [path.join(trace, "ssh-vsock-proxy")],
};

/** Each plays its share of the cases. Some runs wait for a deadline, so they outnumber processors. */
const WORKERS = 4;
/** One of this many cases is played twice on each host. */
const TWICE = 20;
/** A case is given up after this many stalled runs: the last has 51 s, and a run 60 (RUN_TIMEOUT). */
const STALLS_MAX = 9;
/** How long a smaller case that fails, too, is looked for. */
const SHRINK_MS = 20_000;

export interface Tally {
  imports: number;
  /** How many cases ended with an exit status. */
  exits: Map<number, number>;
  /** Runs that did not count, because the machine stalled. */
  stalled: number;
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

/** @throws Error if a run breaks a rule, or two runs of the case differ */
export function compareAnswers(one: HostCase, answers: ReadonlyMap<string, Answer>): void {
  const [[name, first] = ["", undefined]] = answers;
  if (first === undefined) return;
  const lines = lockstep.linesOf(one, first);
  for (const [other, answer] of answers) {
    const others = lockstep.linesOf(one, answer);
    for (let i = 0; i < Math.max(lines.length, others.length); i++) {
      if (lines[i] === others[i]) continue;
      const shown = [lines[i], others[i]].map((line) => line ?? "nothing more");
      throw new Error(`line ${i + 1} differs\n  ${name}: ${shown[0]}\n  ${other}: ${shown[1]}`);
    }
  }
  for (const answer of answers.values()) {
    checkOutcome(one, lockstep.outcomeOf(answer));
    const wrong = lockstep.wrongRemainder(answer);
    if (wrong !== undefined) throw new Error(wrong);
  }
}

/** Plays a case until no run of it stalls, and compares its runs. */
async function compareHosts(
  player: Lockstep,
  original: HostCase,
  twice: boolean,
  tally: Tally,
): Promise<void> {
  for (let stalls = 0; stalls < STALLS_MAX; stalls++) {
    const one = lockstep.slowed(original, 2 ** stalls);
    const answers = new Map<string, Answer>();
    for (const again of twice ? ["", ", again"] : [""]) {
      for (const [host, command] of Object.entries(hosts)) {
        answers.set(host + again, await player.play(command, scriptOf(one)));
      }
    }
    const all = [...answers.values()];
    if (all.some(lockstep.hasStalled)) {
      tally.stalled++;
      continue;
    }
    const { exit, trace } = all[0] as Answer;
    tally.exits.set(exit, (tally.exits.get(exit) ?? 0) + 1);
    tally.imports += trace.length;
    compareAnswers(one, answers);
    return;
  }
  throw new Error(`the machine stalled in ${STALLS_MAX} runs`);
}

function property(player: Lockstep, worker: number, tally: Tally) {
  let count = 0;
  return fc.asyncProperty(hostCases, async (one) => {
    const own = lockstep.withOwnName(one, worker);
    try {
      await compareHosts(player, own, count++ % TWICE === 0, tally);
    } catch (error) {
      const { args, environment = [] } = one;
      const words = [...environment, ...args]
        .map((word) => JSON.stringify(word.toString()))
        .join(" ");
      throw new Error(`${words}: ${String(error)}`, { cause: error });
    }
  });
}

/** Compares the hosts in `count` cases, several at once; returns a report of each failure. */
export async function compareMany(seed: number, count: number): Promise<[Tally, string[]]> {
  const tally: Tally = { imports: 0, exits: new Map(), stalled: 0 };
  const failures: string[] = [];
  const play = async (worker: number): Promise<void> => {
    const player = new Lockstep();
    const cases = property(player, worker, tally);
    const own = { seed: seed * WORKERS + worker, numRuns: count / WORKERS };
    const first = await fc.check(cases, { ...own, endOnFailure: true });
    if (first.failed) {
      const shrink = {
        ...own,
        path: first.counterexamplePath ?? "",
        interruptAfterTimeLimit: SHRINK_MS,
      };
      const last = await fc.check(cases, shrink);
      // Without a path, there was no time to play the case again.
      const smaller = last.counterexamplePath === null ? first : last;
      const { errorInstance, counterexamplePath } = smaller;
      const again = `node --import ./tests/tsx.mjs tests/hosts/compare.ts --seed ${own.seed} --path ${counterexamplePath}`;
      failures.push(`${String(errorInstance)}\nto replay it: ${again}`);
    }
    await player.end();
  };
  await Promise.all(Array.from({ length: WORKERS }, (_, worker) => play(worker)));
  return [tally, failures];
}

/** What the cases came to, in a few lines. */
export function summaryOf({ imports, exits, stalled }: Tally): string[] {
  const sorted = [...exits].sort(([a], [b]) => a - b);
  return [
    `${imports} imports; ${stalled} runs were played again`,
    "exit status  cases",
    ...sorted.map(([exit, count]) => `${exit}`.padStart(11) + `${count}`.padStart(7)),
  ];
}

/** Plays the one case at a path of fast-check's, and prints all that happened. */
async function replay(seed: number, at: string): Promise<boolean> {
  const player = new Lockstep();
  const tally: Tally = { imports: 0, exits: new Map(), stalled: 0 };
  const show = fc.asyncProperty(hostCases, async (one) => {
    const own = lockstep.withOwnName(one, 0);
    console.log(own, scriptOf(own));
    for (const [host, command] of Object.entries(hosts)) {
      const answer = await player.play(command, scriptOf(own));
      console.log(`\n${host}:\n${lockstep.linesOf(own, answer).join("\n")}`);
    }
    await compareHosts(player, own, false, tally);
  });
  const result = await fc.check(show, { seed, path: at, numRuns: 1, endOnFailure: true });
  await player.end();
  console.log(result.failed ? `\n${String(result.errorInstance)}` : "\nboth hosts do the same");
  return !result.failed;
}

async function main(): Promise<void> {
  const options = {
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "1000" },
    path: { type: "string" },
  } as const;
  const { seed, count, path: at } = parseArgs({ options }).values;
  prepare();
  if (at !== undefined) {
    process.exitCode = (await replay(Number(seed), at)) ? 0 : 1;
    return;
  }
  const [tally, failures] = await compareMany(Number(seed), Number(count));
  console.log([...summaryOf(tally), ...failures].join("\n"));
  process.exitCode = failures.length > 0 ? 1 : 0;
}

if (require.main === module) void main();
