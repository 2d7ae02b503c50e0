// Fuzzes the command over the simulation. The invariant: whatever the command line, the world, and what
// the imports return, the outcome passes checkOutcome (support/outcome.ts). And the same world has the
// same calls twice.
//
// fast-check makes the cases (arbitrary.ts) and up to three faults in each, and shrinks what
// fails. Its seed and path replay it: npm run fuzz -- command --seed N --path PATH

import assert from "node:assert/strict";
import fc from "fast-check";
import { simulatedCases } from "./arbitrary";
import { checkOutcome } from "../support/outcome";
import type { Case, PlacedFault } from "../support/case";
import { faultsOf, inject, lastingFaultsOf, worldText } from "./injections";
import { replay } from "./replay";
import { simulate } from "./world";

/** Picks a call behind the last fault's, and one of what can go wrong there; each modulo. */
interface Choice {
  call: number;
  fault: number;
  always: boolean;
}

interface Input {
  one: Case;
  choices: Choice[];
}

const inputs: fc.Arbitrary<Input> = fc.record({
  one: simulatedCases,
  choices: fc.array(
    fc.record({ call: fc.nat(40), fault: fc.nat(500), always: fc.nat(9).map((n) => n === 9) }),
    { maxLength: 3 },
  ),
});

const run = ({ args, world, environment }: Case) => simulate(args, world, environment);

/** The case with faults at its calls. */
function place({ one, choices }: Input): Case {
  const faults: PlacedFault[] = [];
  let injected = one;
  for (const { call: pick, fault: which, always } of choices) {
    const { calls } = run(injected);
    const before = faults.at(-1)?.call ?? 0;
    const at = calls[before + (pick % Math.max(1, calls.length - before))];
    if (at === undefined) break;
    // Pauses that end at once, each time, make too many attempts in a long wait.
    const lasts = always && one.waitMs <= 3000;
    const possible = lasts ? lastingFaultsOf(at, one.world) : faultsOf(at, true);
    const fault = possible[which % Math.max(1, possible.length)];
    if (fault === undefined) continue;
    faults.push({ call: calls.indexOf(at) + 1, name: at.name, fault, always: lasts });
    injected = inject(one, { faults });
  }
  return injected;
}

function checkInput(input: Input): void {
  const injected = place(input);
  const outcome = run(injected);
  try {
    checkOutcome(injected, outcome);
  } catch (error) {
    const { args, environment = [], world } = injected;
    const words = [...environment, ...args].map((word) =>
      JSON.stringify(word.toString("latin1")).slice(0, 200),
    );
    const faults = worldText("", { faults: world.simulation?.faults ?? [] });
    throw new Error(`${String(error)}\n    ${words.join(" ")}\n    faults:${faults}`, {
      cause: error,
    });
  }
  const again = run(injected);
  assert.deepEqual([again.exit, again.calls.length], [outcome.exit, outcome.calls.length]);
  assert.deepEqual(again.calls.at(-1), outcome.calls.at(-1));
}

/** Fuzzes for a time, or a number of inputs; the failure with the line that replays it, if any. */
export function fuzz(what: { seed: number; seconds?: number; runs?: number }): {
  runs: number;
  failure?: string;
} {
  const { seed, seconds, runs = Infinity } = what;
  const result = fc.check(fc.property(inputs, checkInput), {
    seed,
    numRuns: runs,
    ...(seconds !== undefined && { interruptAfterTimeLimit: 1000 * seconds }),
    markInterruptAsFailure: false,
  });
  if (!result.failed) return { runs: result.numRuns };
  const again = `npm run fuzz -- command --seed ${seed} --path ${result.counterexamplePath}`;
  return {
    runs: result.numRuns,
    failure: `${String(result.errorInstance)}\nto replay it: ${again}`,
  };
}

/** Prints the run of one input; whether all holds. */
export function replayInput(seed: number, path: string): boolean {
  const show = fc.property(inputs, (input) => {
    const injected = place(input);
    console.dir(injected.world, { depth: null });
    return replay(injected);
  });
  return !fc.check(show, { seed, path, numRuns: 1, endOnFailure: true }).failed;
}
