// npm run worlds             every case as it is, then with every fault at every call and the clocks at
//                            their limits, and short ones with every pair of faults
// npm run worlds -- WORLD    one of them again: its calls with their arguments and results, stderr,
//                            and what does not hold; WORLD is the line that a failure prints

import { checkOutcome } from "../support/outcome";
import type { Call } from "../support/calls";
import type { PlacedFault } from "../support/case";
import { CASES } from "./cases";
import type { SimulatedCase } from "./cases";
import {
  clocks,
  faultsOf,
  inject,
  lastClocks,
  lastingFaultsOf,
  readWorld,
  worldText,
} from "./injections";
import type { Injection } from "./injections";
import { replay } from "./replay";
import { simulate } from "./world";
import type { SimulatedOutcome } from "./world";

/** The worlds of a case. */
export interface Tally {
  /** The calls that it makes without an injection. */
  calls: number;
  /** How many worlds have one fault, or other clocks; how many have two. */
  single: number;
  pairs: number;
  /** For each world of which something does not hold, the line that replays it, and what it is. */
  broken: string[];
}

/** Runs one world; undefined where something does not hold. */
function run(one: SimulatedCase, injection: Injection, tally: Tally): SimulatedOutcome | undefined {
  try {
    const injected = inject(one, injection);
    const outcome = simulate(injected.args, injected.world, injected.environment);
    checkOutcome(injected, outcome);
    return outcome;
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    tally.broken.push(`npm run worlds -- '${worldText(one.name, injection)}'\n    ${what}`);
    return undefined;
  }
}

function placeAt(call: number, calls: readonly Call[], thorough: boolean): PlacedFault[] {
  const at = calls[call - 1] as Call;
  return faultsOf(at, thorough).map((fault) => ({ call, name: at.name, fault }));
}

/** Runs every world of a case. */
export function runCase(one: SimulatedCase): Tally {
  const tally: Tally = { calls: 0, single: 0, pairs: 0, broken: [] };
  const baseline = run(one, { faults: [] }, tally);
  if (baseline === undefined) return tally;
  const { calls } = baseline;
  tally.calls = calls.length;
  const single = (injection: Injection): void => {
    tally.single++;
    run(one, injection, tally);
  };
  for (const clock of clocks) single({ faults: [], clock });
  if (one.waitMs === 0) for (const clock of lastClocks) single({ faults: [], clock });
  if (one.log !== undefined) for (const wall of clocks) single({ faults: [], wall });
  calls.forEach((at, i) => {
    const call = i + 1;
    for (const fault of placeAt(call, calls, true)) single({ faults: [fault] });
    for (const fault of lastingFaultsOf(at, one.world)) {
      single({ faults: [{ call, name: at.name, fault, always: true }] });
    }
  });
  if (one.pairs) {
    for (const i of calls.keys()) runPairs(one, placeAt(i + 1, calls, false), tally);
  }
  return tally;
}

/** Each of the faults, and behind it each of those that are possible then. */
function runPairs(one: SimulatedCase, faults: readonly PlacedFault[], tally: Tally): void {
  for (const first of faults) {
    const calls = run(one, { faults: [first] }, { ...tally, broken: [] })?.calls ?? [];
    for (let call = first.call + 1; call <= calls.length; call++) {
      for (const second of placeAt(call, calls, false)) {
        tally.pairs++;
        run(one, { faults: [first, second] }, tally);
      }
    }
  }
}

function replayWorld(line: string): boolean {
  const { name, injection } = readWorld(line);
  const one = CASES.find((each) => each.name === name);
  if (one === undefined) throw new Error(`no case ${name}: \`npm run worlds\` lists them`);
  return replay(inject(one, injection));
}

function runAll(): boolean {
  const columns = (name: string, numbers: readonly (string | number)[]): string =>
    name.padEnd(44) + numbers.map((number) => String(number).padStart(8)).join("");
  console.log(columns("case", ["calls", "single", "pairs", "broken"]));
  const start = performance.now();
  let [worlds, failed] = [0, 0];
  for (const one of CASES) {
    const { calls, single, pairs, broken } = runCase(one);
    console.log(columns(one.name, [calls, single, pairs, broken.length]));
    for (const line of broken.slice(0, 5)) console.log(`  ${line}`);
    worlds += 1 + single + pairs;
    failed += broken.length;
  }
  const seconds = (performance.now() - start) / 1000;
  console.log(`\n${worlds} worlds in ${seconds.toFixed(0)} s, broken: ${failed}`);
  return failed === 0;
}

if (require.main === module) {
  const line = process.argv.slice(2).join(" ");
  process.exitCode = (line === "" ? runAll() : replayWorld(line)) ? 0 : 1;
}
