import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { inChild } from "./shim";

/** What the child below prints: the variables as the shim gives them. */
const print = `
  function print(it) {
    it.call("environ_sizes_get", 16, 24);
    const [count, size] = [16, 24].map((at) => it.view.getUint32(at, true));
    it.call("environ_get", 64, 1024);
    console.log(count, JSON.stringify(it.bytes(1024, size).toString("latin1")));
  }`;

describe("environ_sizes_get, environ_get", () => {
  it("return the first of each allowed variable, and no other", async () => {
    // Set by the child: support/proxy.ts clears the variable for its importers.
    const script = (variables: Record<string, string>) => `
      Object.assign(process.env, ${JSON.stringify(variables)});
      ${print}
      print(new Program());`;
    delete process.env["TERM"];
    delete process.env["XDG_RUNTIME_DIR"];
    const variables = { TERM: "", XDG_RUNTIME_DIR: "/r", SSH_VSOCK_PROXY_OPTIONS: "-v" };
    const { stdout } = await inChild(script({ ...variables, HOME: "/", XDG_RUNTIME_DIRS: "/" }));
    const expected = ["SSH_VSOCK_PROXY_OPTIONS=-v", "TERM=", "XDG_RUNTIME_DIR=/r"];
    assert.equal(stdout, `3 "${expected.map((one) => `${one}\\u0000`).join("")}"\n`);
    assert.equal((await inChild(script({}))).stdout, '0 ""\n');
  });

  // setenv(3) moves the environment, and frees the old one.
  it("return what process.env was when the Shim was made, whatever it is since", async () => {
    const { stdout, status } = await inChild(`
      ${print}
      process.env.TERM = "first";
      const programs = [new Program()];
      for (let i = 0; i < 5000; i++) process.env["X" + i] = "x".repeat(i % 100);
      process.env.TERM = "second";
      programs.push(new Program());
      for (let i = 0; i < 5000; i++) delete process.env["X" + i];
      programs.forEach(print);`);
    const expected = ["first", "second"].map((term) => `1 "TERM=${term}\\u0000"\n`).join("");
    assert.deepEqual({ stdout, status }, { stdout: expected, status: 0 });
  });

  it("return a Worker's own process.env, or the shared one while others change it", async () => {
    const { stdout, status } = await inChild(`
      const { Worker, SHARE_ENV } = require("node:worker_threads");
      const file = ${JSON.stringify(require.resolve("../../dist/ssh-vsock-proxy.node"))};
      const source = \`
        const module = { exports: {} };
        process.dlopen(module, \${JSON.stringify(file)});
        const memory = new WebAssembly.Memory({ initial: 1 });
        const view = new DataView(memory.buffer);
        let size = 0;
        for (let i = 0; i < 200; i++) {
          const shim = new module.exports.Shim([]);
          shim.attach(memory);
          const { environ_get, environ_sizes_get } = shim.imports.wasi_snapshot_preview1;
          environ_sizes_get(16, 24);
          environ_get(64, 1024);
          size = view.getUint32(24, true);
        }
        require("node:worker_threads").parentPort.postMessage(
          Buffer.from(memory.buffer, 1024, size).toString("latin1"));\`;
      process.env.TERM = "shared";
      const run = (env) => new Promise((resolve, reject) => {
        const worker = new Worker(source, { eval: true, env });
        worker.once("message", resolve).once("error", reject);
      });
      const change = setInterval(() => {
        for (let i = 0; i < 500; i++) process.env["X" + (i % 50)] = "x".repeat(i);
        for (let i = 0; i < 50; i++) delete process.env["X" + i];
      });
      Promise.all([run({ TERM: "own" }), run(SHARE_ENV)]).then((texts) => {
        clearInterval(change);
        console.log(JSON.stringify(texts));
      });`);
    const expected = `${JSON.stringify(["TERM=own\0", "TERM=shared\0"])}\n`;
    assert.deepEqual({ stdout, status }, { stdout: expected, status: 0 });
  });

  it("return a value's bytes that are not UTF-8", async () => {
    const before = "export TERM=$(printf '/\\377');";
    const { stdout } = await inChild(`${print}; print(new Program());`, "", [], before);
    assert.equal(stdout, '1 "TERM=/\xff\\u0000"\n');
  });
});
