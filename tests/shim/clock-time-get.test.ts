import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { AT, Program } from "./shim";

describe("clock_time_get", () => {
  it("returns the wall clock and the monotonic clock in nanoseconds", () => {
    const it = new Program();
    assert.equal(it.call("clock_time_get", 0, 0n, AT.result), 0);
    const wall = Number(it.view.getBigUint64(AT.result, true) / 1_000_000n);
    assert.ok(Math.abs(wall - Date.now()) < 60_000);
    const before = process.hrtime.bigint();
    const now = it.now();
    assert.ok(now >= before && now <= process.hrtime.bigint());
  });
  it("returns INVAL for other clocks", () => {
    for (const clock of [2, 3, 0xffff_ffff]) {
      assert.equal(new Program().call("clock_time_get", clock, 0n, 16), errno("INVAL"));
    }
  });
});
