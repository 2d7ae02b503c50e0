// The modules' outer form: what they import and export, as docs/abi.md says, and their sizes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { root } from "./support/proxy";

const bytes = (name: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(path.join(root, "dist", name)));
const abi = readFileSync(path.join(root, "docs/abi.md"), "utf8");

/** The names in the first column of the tables under a heading of docs/abi.md. */
function documented(heading: string): string[] {
  const start = abi.indexOf(`\n## ${heading}\n`);
  assert.ok(start >= 0, `docs/abi.md has no part "${heading}"`);
  const end = abi.indexOf("\n## ", start + 1);
  const part = abi.slice(start, end < 0 ? undefined : end);
  return [...part.matchAll(/^### `(\w+)/gm)].map((match) => match[1] ?? "").sort();
}

describe("core.wasm", () => {
  const core = new WebAssembly.Module(bytes("core.wasm"));
  it("imports nothing", () => {
    assert.deepEqual(WebAssembly.Module.imports(core), []);
  });
  it("exports what docs/abi.md says", () => {
    const names = WebAssembly.Module.exports(core).map(({ name }) => name);
    assert.deepEqual(names.sort(), documented("core.wasm"));
  });
  it("has at most 4 KiB", () => {
    assert.ok(bytes("core.wasm").length <= 4096, `${bytes("core.wasm").length} bytes`);
  });
});

describe("proxy.wasm", () => {
  const proxy = new WebAssembly.Module(bytes("proxy.wasm"));
  for (const module of ["wasi_snapshot_preview1", "socket_shim_v1"]) {
    it(`imports from ${module} what docs/abi.md says`, () => {
      const names = WebAssembly.Module.imports(proxy)
        .filter((entry) => entry.module === module)
        .map(({ name }) => name);
      assert.deepEqual(names.sort(), documented(module));
    });
  }
  it("imports from no other module", () => {
    const modules = new Set(WebAssembly.Module.imports(proxy).map(({ module }) => module));
    assert.deepEqual([...modules].sort(), ["socket_shim_v1", "wasi_snapshot_preview1"]);
  });
  it("exports a command's two names", () => {
    const names = WebAssembly.Module.exports(proxy).map(({ name }) => name);
    assert.deepEqual(names.sort(), ["_start", "memory"]);
  });
  it("has at most 12 KiB", () => {
    assert.ok(bytes("proxy.wasm").length <= 12288, `${bytes("proxy.wasm").length} bytes`);
  });
});
