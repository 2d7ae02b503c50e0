// Every world of every scenario (worlds.ts): no import can fail in a way that the command does not
// survive. `npm run worlds` is the same, with a table.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { SCENARIOS, runScenario } from "./worlds";

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
