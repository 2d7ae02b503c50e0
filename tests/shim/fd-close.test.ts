import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { AT, Program } from "./shim";

describe("fd_close", () => {
  it("frees a number of the table, which has eight", () => {
    const it = new Program();
    for (let i = 0; i < 8; i++) assert.equal(it.open(), 3 + i);
    assert.equal(it.call("sock_open", 3, 6, AT.result), errno("MFILE"));
    assert.equal(it.call("fd_close", 5), 0);
    assert.equal(it.call("fd_close", 5), errno("BADF"));
    assert.equal(it.open(), 5);
    it.shim.close();
    assert.equal(it.open(), 3);
    it.shim.close();
  });
});
