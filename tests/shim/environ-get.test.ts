import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inChild } from "../support/shim";

describe("environ_sizes_get, environ_get", () => {
  it("return the first of each allowed variable, and no other", async () => {
    const script = `
      const it = new Program();
      it.call("environ_sizes_get", 16, 24);
      const [count, size] = [16, 24].map((at) => it.view.getUint32(at, true));
      it.call("environ_get", 64, 1024);
      console.log(count, JSON.stringify(it.bytes(1024, size).toString("latin1")));`;
    process.env["TERM"] = "";
    process.env["SSH_VSOCK_PROXY_OPTIONS"] = "-v";
    const all = (await inChild(script)).stdout;
    assert.equal(all, '2 "SSH_VSOCK_PROXY_OPTIONS=-v\\u0000TERM=\\u0000"\n');
    delete process.env["TERM"];
    delete process.env["SSH_VSOCK_PROXY_OPTIONS"];
    assert.equal((await inChild(script)).stdout, '0 ""\n');
  });
});
