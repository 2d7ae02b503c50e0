// A short run of the fuzzer (fuzz.ts), with the same seed each time and with a new one.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fuzz } from "./fuzz";

const RUNS = 1000;

describe("the command in arbitrary simulated worlds", () => {
  for (const seed of [1, Date.now() % 2 ** 31]) {
    it(`seed ${seed}`, () => {
      const { failure, runs } = fuzz({ seed, runs: RUNS });
      assert.equal(failure, undefined);
      assert.equal(runs, RUNS);
    });
  }
});
