import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AT, Program } from "./shim";

describe("sock_addr_local", () => {
  it("returns the family, and no path for an unnamed socket", () => {
    const it = new Program();
    assert.equal(it.call("sock_addr_local", it.open(), AT.address, 100, AT.result), 0);
    assert.equal(it.result, 2);
    assert.deepEqual(it.bytes(AT.address, 2), Buffer.from([3, 0]));
    it.shim.close();
  });
  it("writes no more than the capacity, and returns the whole length", () => {
    const it = new Program();
    const fd = it.open();
    it.bytes(AT.address, 4).fill(0xaa);
    assert.equal(it.call("sock_addr_local", fd, AT.address, 1, AT.result), 0);
    assert.equal(it.result, 2);
    assert.deepEqual(it.bytes(AT.address, 2), Buffer.from([3, 0xaa]));
    it.shim.close();
  });
});
