// Every world of every case (exhaustive.ts): no import can fail in a way that the command does not
// survive. `npm run worlds` is the same as a table.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { checkOutcome } from "../support/outcome";
import { CASES } from "./cases";
import { runCase } from "./exhaustive";
import { readWorld, worldText } from "./injections";
import { simulate } from "./world";

describe("whatever an import returns", () => {
  let worlds = 0;
  for (const one of CASES) {
    it(one.name, (t) => {
      const { single, pairs, broken } = runCase(one);
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
      const { name, injection } = readWorld(line);
      assert.equal(worldText(name, injection), line);
    });
  }
  it("names one case", () => {
    const names = CASES.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const name of names) assert.doesNotMatch(name, /[\s']/);
  });
});

describe("a case without an injection", () => {
  it("has to end with its own code", () => {
    const one = CASES.find(({ code }) => code === Code.Done) ?? assert.fail();
    const outcome = simulate(one.args, one.world, one.environment);
    checkOutcome(one, outcome);
    assert.throws(() => {
      checkOutcome({ ...one, code: Code.NoSocket }, outcome);
    }, /exit 0 instead of 68/);
  });
});
