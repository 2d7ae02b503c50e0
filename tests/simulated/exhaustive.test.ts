// Every world of every scenario (simulated/exhaustive.ts): no import can fail in a way that the command does not
// survive. `npm run worlds` is the same, with a table.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { simulate } from "./world";
import { SCENARIOS, runScenario } from "./exhaustive";
import { deviate, readWorld, worldText } from "./injections";
import { checkInvariants } from "./invariants";

describe("whatever an import answers", () => {
  let worlds = 0;
  for (const scenario of SCENARIOS) {
    it(scenario.name, (t) => {
      const { single, pairs, broken } = runScenario(scenario);
      worlds += 1 + single + pairs;
      t.diagnostic(`${1 + single + pairs} worlds`);
      const shown = broken.slice(0, 10).join("\n");
      assert.equal(broken.length, 0, `${broken.length} worlds are broken:\n${shown}`);
    });
  }
  it("there are more than 100,000 of these worlds", (t) => {
    t.diagnostic(`${worlds} worlds`);
    assert.ok(worlds > 100_000, `${worlds}`);
  });
});

describe("a world in one line", () => {
  const worlds = [
    "unix,relay",
    "unix,relay 3:sock_open=MFILE 7+:poll_oneoff=events:none",
    "unix,relay 11:fd_write=bytes:0 12:sock_relay=end:1:PIPE 13:clock_time_get=77",
    "unix,relay 1:clock_time_get=takes:60000000 clock=18446744073709551615 wall=0",
  ];
  for (const line of worlds) {
    it(`${line}: is read as it is written`, () => {
      const { scenario, deviation } = readWorld(line);
      assert.equal(worldText(scenario, deviation), line);
    });
  }
  it("without a fault is judged by what its scenario comes to in peace", () => {
    const scenario = SCENARIOS.find(({ code }) => code === Code.Done) ?? assert.fail();
    const { deviation } = readWorld(scenario.name);
    const outcome = simulate(scenario.args, deviate(scenario.world, deviation));
    checkInvariants(scenario, deviation, outcome);
    const other = { ...scenario, code: Code.NoSocket };
    assert.throws(() => {
      checkInvariants(other, deviation, outcome);
    }, /exit 0 instead of 68/);
  });
  it("has one scenario", () => {
    const names = SCENARIOS.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const name of names) assert.doesNotMatch(name, /[\s']/);
  });
});
