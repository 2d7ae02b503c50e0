import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inChild } from "./shim";

describe("environ_sizes_get, environ_get", () => {
  it("return the first of each allowed variable, and no other", async () => {
    // Set by the child: support/proxy.ts clears the variable for its importers.
    const script = (variables: Record<string, string>) => `
      Object.assign(process.env, ${JSON.stringify(variables)});
      const it = new Program();
      it.call("environ_sizes_get", 16, 24);
      const [count, size] = [16, 24].map((at) => it.view.getUint32(at, true));
      it.call("environ_get", 64, 1024);
      console.log(count, JSON.stringify(it.bytes(1024, size).toString("latin1")));`;
    delete process.env["TERM"];
    const all = await inChild(script({ TERM: "", SSH_VSOCK_PROXY_OPTIONS: "-v", HOME: "/" }));
    assert.equal(all.stdout, '2 "SSH_VSOCK_PROXY_OPTIONS=-v\\u0000TERM=\\u0000"\n');
    assert.equal((await inChild(script({}))).stdout, '0 ""\n');
  });
});
