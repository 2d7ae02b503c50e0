// npm run worlds             every scenario in peace, then with every fault at every call, with the
//                            clocks at their limits, and short ones with every pair of faults
// npm run worlds -- WORLD    one of them again: its calls with their arguments and answers, what it
//                            said, and which invariant broke; WORLD is the line that a failure prints
//
// The parts: simulated/world.ts is the world itself, simulated/cases.ts what the command is used
// for in it, simulated/injections.ts what can go wrong at a call and how a world is written down,
// simulated/invariants.ts what has to hold in the end.

import { simulate } from "./world";
import type { Call, Outcome } from "./world";
import {
  clocks,
  deviate,
  errnoName,
  faultsOf,
  lastClocks,
  lastingFaultsOf,
  readWorld,
  worldText,
} from "./injections";
import type { Deviation, Placed } from "./injections";
import { checkInvariants } from "./invariants";
import { SCENARIOS } from "./cases";
import type { Scenario } from "./cases";

export { SCENARIOS };

/** What the worlds of a scenario came to. */
export interface Tally {
  /** The calls that it makes in peace. */
  calls: number;
  /** How many worlds had one fault, or other clocks; how many had two. */
  single: number;
  pairs: number;
  /** A line for each world in which an invariant broke, which replays it, and what broke. */
  broken: string[];
}

/** Runs one world, and gives what it came to; undefined where an invariant broke. */
function run(scenario: Scenario, deviation: Deviation, tally: Tally): Outcome | undefined {
  try {
    const outcome = simulate(scenario.args, deviate(scenario.world, deviation));
    checkInvariants(scenario, deviation, outcome);
    return outcome;
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    tally.broken.push(`npm run worlds -- '${worldText(scenario.name, deviation)}'\n    ${what}`);
    return undefined;
  }
}

function placeAt(call: number, trace: readonly Call[], thorough: boolean): Placed[] {
  const at = trace[call - 1] as Call;
  return faultsOf(at, thorough).map((fault) => ({ call, name: at.name, fault }));
}

/** Runs every world of a scenario. */
export function runScenario(scenario: Scenario): Tally {
  const tally: Tally = { calls: 0, single: 0, pairs: 0, broken: [] };
  const peace = run(scenario, { faults: [] }, tally);
  if (peace === undefined) return tally;
  const trace = peace.trace;
  tally.calls = trace.length;
  const single = (deviation: Deviation): void => {
    tally.single++;
    run(scenario, deviation, tally);
  };
  for (const clock of clocks) single({ faults: [], clock });
  if (scenario.wait === 0) for (const clock of lastClocks) single({ faults: [], clock });
  if (scenario.logPath !== undefined) for (const wall of clocks) single({ faults: [], wall });
  trace.forEach((at, i) => {
    const call = i + 1;
    for (const fault of placeAt(call, trace, true)) single({ faults: [fault] });
    for (const fault of lastingFaultsOf(at, scenario.world)) {
      single({ faults: [{ call, name: at.name, fault, always: true }] });
    }
  });
  if (scenario.pairs) {
    trace.forEach((_, i) => {
      runPairs(scenario, placeAt(i + 1, trace, false), tally);
    });
  }
  return tally;
}

/** Each of the faults, and behind it each of those that are possible then. */
function runPairs(scenario: Scenario, faults: readonly Placed[], tally: Tally): void {
  for (const first of faults) {
    const before: Tally = { ...tally, broken: [] };
    const outcome = run(scenario, { faults: [first] }, before);
    if (outcome === undefined) continue;
    for (let call = first.call + 1; call <= outcome.trace.length; call++) {
      for (const second of placeAt(call, outcome.trace, false)) {
        tally.pairs++;
        run(scenario, { faults: [first, second] }, tally);
      }
    }
  }
}

// ---- one world again

const MS = 1_000_000;

function describe(number: number, call: Call, memory: ArrayBuffer): string {
  const view = new DataView(memory);
  const text = (at: number, length: number): string =>
    JSON.stringify(Buffer.from(memory, at, length).toString("latin1"));
  const { name, parameters, fd, until } = call;
  const at = (i: number): number => parameters[i] as number;
  const words = [`(${parameters.join(", ")})`];
  if (fd !== undefined) words.push(`descriptor ${fd}`);
  if (call.type !== undefined) words.push(call.type === 1 ? "to read" : "to write");
  if (until !== undefined) words.push(`until ${until / MS} ms`);
  if (name === "sock_connect") words.push(text(at(1), at(2)));
  words.push("->", errnoName(call.errno));
  if (call.errno === 0) {
    if (call.count !== undefined) words.push(`${call.count}`);
    const moves = ["fd_write", "sock_send", "sock_recv"].includes(name);
    if (moves) words.push(text(view.getUint32(at(1), true), call.count ?? 0));
    if (call.hungUp === true) words.push("hung up");
    if (call.end !== undefined) words.push(`ended by ${call.end.fd}: ${errnoName(call.end.error)}`);
  }
  if (call.fault !== undefined) words.push("   <- the fault");
  return `${String(number).padStart(4)} ${(call.at / MS).toFixed(3).padStart(10)} ms  ${name}${words.join(" ")}`;
}

/** Prints a world's calls and what broke in it; whether nothing did. */
function replay(line: string): boolean {
  const { scenario: name, deviation } = readWorld(line);
  const scenario = SCENARIOS.find((one) => one.name === name);
  if (scenario === undefined)
    throw new Error(`${name}: no such scenario; \`npm run worlds\` lists them`);
  console.log(`ssh-vsock-proxy ${scenario.args.join(" ")}\n`);
  let number = 0;
  const watch = (call: Call, memory: ArrayBuffer): void => {
    console.log(describe(++number, call, memory));
  };
  try {
    const world = { ...deviate(scenario.world, deviation), watch };
    const outcome = simulate(scenario.args, world);
    console.log(`\nexit ${outcome.exit} after ${outcome.waited / MS} ms`);
    for (const text of outcome.stderr
      .toString()
      .split("\n")
      .filter((line) => line !== "")) {
      console.log(`stderr ${JSON.stringify(text)}`);
    }
    checkInvariants(scenario, deviation, outcome);
    console.log("\nall invariants hold");
    return true;
  } catch (error) {
    console.log(`\nbroken: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

function runAll(): boolean {
  const start = performance.now();
  const processor = process.cpuUsage();
  const tallies = SCENARIOS.map((scenario) => {
    const tally = runScenario(scenario);
    const numbers = [tally.calls, tally.single, tally.pairs, tally.broken.length];
    console.log(scenario.name.padEnd(44) + numbers.map((n) => String(n).padStart(8)).join(""));
    for (const line of tally.broken.slice(0, 5)) console.log(`  ${line}`);
    return tally;
  });
  const sum = (of: (tally: Tally) => number) => tallies.reduce((total, one) => total + of(one), 0);
  const worlds = sum(({ single, pairs }) => 1 + single + pairs);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(processor);
  const used = (user + system) / 1e6;
  const broken = sum((tally) => tally.broken.length);
  console.log(
    `\n${worlds} worlds of ${SCENARIOS.length} scenarios in ${seconds.toFixed(0)} s, of which ` +
      `${used.toFixed(0)} s on the processor: ${Math.round(worlds / used)} a second; broken: ${broken}`,
  );
  return broken === 0;
}

function main(line: string): boolean {
  if (line !== "") return replay(line);
  console.log(`${"scenario".padEnd(44)}   calls  single   pairs  broken`);
  return runAll();
}

if (require.main === module) {
  try {
    process.exitCode = main(process.argv.slice(2).join(" ")) ? 0 : 1;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
