import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Program } from "./shim";

describe("args_sizes_get, args_get", () => {
  it("return the arguments as bytes", () => {
    const args = [Buffer.from("name"), Buffer.from(""), Buffer.from("\xff\x01 ü", "latin1")];
    const it = new Program(args);
    assert.equal(it.call("args_sizes_get", 16, 24), 0);
    const size = it.view.getUint32(24, true);
    assert.deepEqual([it.view.getUint32(16, true), size], [3, 5 + 1 + 5]);
    assert.equal(it.call("args_get", 64, 1024), 0);
    assert.deepEqual(it.bytes(1024, size), Buffer.from("name\0\0\xff\x01 ü\0", "latin1"));
    const pointers = [0, 1, 2].map((i) => it.view.getUint32(64 + 4 * i, true));
    assert.deepEqual(pointers, [1024, 1029, 1030]);
  });
});
