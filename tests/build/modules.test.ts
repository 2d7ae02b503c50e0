// The modules' interfaces, which are those in docs/abi.md, and their sizes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { root } from "../support/proxy";

const bytes = (name: string): Uint8Array<ArrayBuffer> =>
  new Uint8Array(readFileSync(path.join(root, "dist", name)));
const abi = readFileSync(path.join(root, "docs/abi.md"), "utf8");

/** The names under a heading of docs/abi.md, each with the types of its parameters. */
function documented(heading: string): Map<string, string[]> {
  const start = abi.indexOf(`\n## ${heading}\n`);
  assert.ok(start >= 0, `docs/abi.md has no section "${heading}"`);
  const end = abi.indexOf("\n## ", start + 1);
  const part = abi.slice(start, end < 0 ? undefined : end);
  const entries = part.matchAll(/^### `(\w+)`\n+(?:`\(([^)]*)\))?/gm);
  return new Map(
    [...entries].map(([, name = "", list = ""]) => [
      name,
      list === ""
        ? []
        : list.split(", ").map((parameter) => (parameter.endsWith(": i64") ? "i64" : "i32")),
    ]),
  );
}

/** The imports of a module with the types of their parameters, from its binary form. */
function imported(module: Uint8Array): { module: string; name: string; parameters: string[] }[] {
  let at = 8;
  const number = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = module[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const list = <T>(item: () => T): T[] => Array.from({ length: number() }, item);
  const type = (): string => (module[at++] === 0x7e ? "i64" : "i32");
  const name = (): string => {
    const length = number();
    at += length;
    return Buffer.from(module.subarray(at - length, at)).toString();
  };
  let types: string[][] = [];
  while (at < module.length) {
    const section = module[at++];
    const end = number() + at;
    if (section === 1) {
      types = list(() => {
        at++;
        const parameters = list(type);
        list(type);
        return parameters;
      });
    } else if (section === 2) {
      return list(() => {
        const entry = { module: name(), name: name() };
        at++;
        return { ...entry, parameters: types[number()] ?? [] };
      });
    }
    at = end;
  }
  return [];
}

for (const [file, limit] of [
  ["core.wasm", 4],
  ["names.wasm", 8],
] as const) {
  describe(file, () => {
    const module = new WebAssembly.Module(bytes(file));
    it("imports nothing", () => {
      assert.deepEqual(WebAssembly.Module.imports(module), []);
    });
    it("exports the names in docs/abi.md", () => {
      const names = WebAssembly.Module.exports(module).map(({ name }) => name);
      assert.deepEqual(names.sort(), [...documented(file).keys()].sort());
    });
    it(`has at most ${limit} KiB`, () => {
      assert.ok(bytes(file).length <= limit * 1024, `${bytes(file).length} bytes`);
    });
  });
}

describe("proxy.wasm", () => {
  const proxy = new WebAssembly.Module(bytes("proxy.wasm"));
  for (const module of ["wasi_snapshot_preview1", "socket_shim_v1"]) {
    it(`imports from ${module} the functions in docs/abi.md, with their parameters`, () => {
      const entries = imported(bytes("proxy.wasm")).filter((entry) => entry.module === module);
      const names = new Map(entries.map(({ name, parameters }) => [name, parameters]));
      const sorted = (map: Map<string, string[]>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(sorted(names), sorted(documented(module)));
    });
  }
  it("imports from no other module", () => {
    const modules = new Set(WebAssembly.Module.imports(proxy).map(({ module }) => module));
    assert.deepEqual([...modules].sort(), ["socket_shim_v1", "wasi_snapshot_preview1"]);
  });
  it("exports _start and memory", () => {
    const names = WebAssembly.Module.exports(proxy).map(({ name }) => name);
    assert.deepEqual(names.sort(), ["_start", "memory"]);
  });
  it("has at most 32 KiB", () => {
    assert.ok(bytes("proxy.wasm").length <= 32 * 1024, `${bytes("proxy.wasm").length} bytes`);
  });
});
