import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inChild } from "./shim";

describe("fd_write", () => {
  it("writes the buffers in order", async () => {
    const { stdout, stderr, status } = await inChild(`
      const it = new Program();
      it.bytes(AT.data, 8).write("one two ");
      for (const [i, at, length] of [[0, 4, 3], [1, 0, 0], [2, 3, 1], [3, 0, 3]]) {
        it.view.setUint32(AT.iovs + 8 * i, AT.data + at, true);
        it.view.setUint32(AT.iovs + 8 * i + 4, length, true);
      }
      const error = it.call("fd_write", 2, AT.iovs, 4, AT.result);
      it.call("proc_exit", error * 1000 + it.result);
      console.log("not reached");
    `);
    assert.deepEqual({ stdout, stderr, status }, { stdout: "", stderr: "two one", status: 7 });
  });
});
