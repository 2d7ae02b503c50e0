// The standalone executable where the kernel refuses it something: every system call of every
// scenario of faults.ts fails once with every errno that its man page has, answers less than was
// asked for, or comes with a signal. Limits, peers and an ssh that are killed, and processes that
// are stopped, for real, in faults-real.test.ts.
//
// A failure ends with the command that makes the one run again.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { ensureTools } from "../scripts/tools";
import { callsOf, judge, replay, run, scenarios, startPeers, struck } from "./faults";
import type { Fault, Peers, Scenario } from "./faults";
import { errorsOf, listedCalls } from "./support/man-errors";
import { documentedCalls } from "./support/system-calls";

/** Runs at the same time: most of a run is waiting for others to be scheduled. */
const AT_ONCE = 6;
/** So many failures of a scenario are told. */
const ENOUGH = 5;

let peers: Peers & { close: () => Promise<void> };
let made = 0;
let missed = 0;
/** The calls that some scenario makes. */
const seen = new Set<string>();

before(async () => {
  ensureTools(["cc", "strace"]);
  peers = await startPeers();
});
after(async () => {
  await peers.close();
  console.log(`# ${made} runs with a fault, and ${missed} that ended before theirs`);
});

/** What is injected into a call. */
type Injections = (call: string, line: string) => string[];

/** Runs the scenario once in peace, and once for each injection into each of its calls. */
async function tryAll(name: string, scenario: Scenario, injections: Injections): Promise<void> {
  const peace = await run(scenario, peers);
  assert.deepEqual(judge(scenario, peace), [], `in peace: ${replay(name)}\n${peace.stderr}`);
  const always = scenario.always?.map((text) => text.split(":")[0]);
  const faults = callsOf(peace.trace).flatMap(({ call, when, line }): Fault[] => {
    seen.add(call);
    // strace takes one injection for a call: in the place of the scenario's own, which is the first.
    if (scenario.only?.includes(call) === false || (always?.includes(call) && when > 1)) return [];
    return injections(call, line).map((what) => ({ call, when, what }));
  });
  assert.ok(faults.length > 0, "nothing to inject");
  const failures: string[] = [];
  const work = async (): Promise<void> => {
    for (let fault; failures.length < ENOUGH && (fault = faults.shift()) !== undefined;) {
      const result = await run(scenario, peers, fault);
      made++;
      if (struck(result.trace, fault) === undefined) missed++;
      const wrong = judge(scenario, result, fault);
      if (wrong.length > 0) {
        failures.push(`${replay(name, fault)}\n    ${wrong.join("\n    ")}\n    ${result.stderr}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  assert.equal(failures.length, 0, `\n${failures.join("\n")}`);
}

describe("every system call fails once, with every errno of its man page", () => {
  it("there are errnos for every call that docs/standalone.md lists", () => {
    assert.deepEqual(listedCalls, documentedCalls());
  });
  for (const [name, scenario] of Object.entries(scenarios)) {
    it(name, () =>
      tryAll(name, scenario, (call) => errorsOf(call).map((error) => `error=${error}`)),
    );
  }
  it("and every call is made by one of them, but that which tells of a defect", () => {
    assert.deepEqual(
      documentedCalls().filter((call) => !seen.has(call)),
      ["write"],
    );
  });
});
