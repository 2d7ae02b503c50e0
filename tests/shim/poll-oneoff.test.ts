import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { Program } from "./shim";

const CLOCK = 0;
const READ = 1;
const WRITE = 2;
const ABSTIME = 1;
const MS = 1_000_000n;

describe("poll_oneoff", () => {
  it("waits until a clock, relative or absolute, and no less", () => {
    const it = new Program();
    for (const flags of [0, ABSTIME]) {
      const start = it.now();
      it.subscribe(0, CLOCK, 1, flags === 0 ? 30n * MS : start + 30n * MS, flags);
      assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
      assert.ok(it.now() - start >= 30n * MS);
    }
  });
  it("waits by the wall clock", () => {
    const it = new Program();
    const start = it.now();
    it.subscribe(0, CLOCK, 0, BigInt(Date.now() + 30) * MS, ABSTIME);
    assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
    // Date.now() is a whole millisecond, and the two clocks may differ in pace.
    assert.ok(it.now() - start >= 28n * MS);
  });
  it("returns at once for a time in the past, 0 included", () => {
    const it = new Program();
    for (const time of [0n, 1n, it.now() - 1n]) {
      it.subscribe(0, CLOCK, 1, time, ABSTIME);
      it.subscribe(1, CLOCK, 1, 0xffff_ffff_ffff_ffffn, 0);
      assert.deepEqual(it.poll(2), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
    }
  });
  it("reports an unknown descriptor at once", () => {
    const it = new Program();
    it.subscribe(0, READ, 9);
    it.subscribe(1, CLOCK, 1, 60_000n * MS);
    assert.deepEqual(it.poll(2), [{ userdata: 1000, error: errno("BADF"), type: READ, flags: 0 }]);
  });
  it("reports an unconnected socket as hung up", () => {
    const it = new Program();
    it.subscribe(0, WRITE, it.open());
    assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: WRITE, flags: 1 }]);
    it.shim.close();
  });
  it("returns INVAL for no subscriptions, too many, and unknown types and clocks", () => {
    const it = new Program();
    assert.equal(it.poll(0), errno("INVAL"));
    assert.equal(it.poll(17), errno("INVAL"));
    it.subscribe(0, 3, 0);
    assert.equal(it.poll(1), errno("INVAL"));
    it.subscribe(0, CLOCK, 2);
    assert.equal(it.poll(1), errno("INVAL"));
  });
});
