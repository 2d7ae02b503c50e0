// A short run of the fuzzer (fuzz.ts), with the same seeds each time. `npm run fuzz` takes new ones.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fuzz } from "./fuzz";

const RUNS = 1000;

describe("the command in arbitrary simulated worlds", () => {
  for (const seed of [1, 2]) {
    it(`seed ${seed}`, () => {
      const { failure, runs } = fuzz({ seed, runs: RUNS });
      assert.equal(failure, undefined);
      assert.equal(runs, RUNS);
    });
  }
});
