import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inChild } from "./shim";

describe("proc_exit", () => {
  it("exits with the low byte of the status, at once", async () => {
    const { stdout, status } = await inChild(`
      new Program().call("proc_exit", 0xffffff4d);
      console.log("not reached");
    `);
    assert.deepEqual({ stdout, status }, { stdout: "", status: 0x4d });
  });
});
