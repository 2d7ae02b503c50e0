// For every import: no pointer or length reaches outside the memory, and no number names a descriptor
// that is not the program's.

import assert from "node:assert/strict";
import { closeSync, openSync } from "node:fs";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { addon, AT, OUTSIDE, Program } from "./shim";

const END = 65536;

delete process.env["TERM"];
process.env["SSH_VSOCK_PROXY_OPTIONS"] = "-v";

/** Each import with valid arguments, and the positions of its pointers with the bytes there. */
const calls: [name: string, args: (number | bigint)[], pointers: Record<number, number>][] = [
  ["args_get", [64, 1024], { 0: 8, 1: 11 }],
  ["args_sizes_get", [16, 24], { 0: 4, 1: 4 }],
  ["clock_time_get", [1, 0n, 16], { 2: 8 }],
  // One variable: SSH_VSOCK_PROXY_OPTIONS=-v.
  ["environ_get", [64, 1024], { 0: 4, 1: 27 }],
  ["environ_sizes_get", [16, 24], { 0: 4, 1: 4 }],
  ["fd_close", [3], {}],
  ["fd_filestat_get", [2, 16], { 1: 64 }],
  ["fd_write", [2, AT.iovs, 1, 16], { 1: 8, 3: 4 }],
  ["log_open", [4096, 5, 16], { 0: 5, 2: 8 }],
  ["poll_oneoff", [4096, 8192, 1, 16], { 0: 48, 1: 32, 3: 4 }],
  ["sock_recv", [3, AT.iovs, 1, 0, 16, 24], { 1: 8, 4: 4, 5: 2 }],
  ["sock_send", [3, AT.iovs, 1, 0, 16], { 1: 8, 4: 4 }],
  ["sock_addr_local", [3, 4096, 8, 16], { 1: 8, 3: 4 }],
  ["sock_connect", [3, 4096, 5, 0n], { 1: 5 }],
  ["sock_open", [3, 6, 16], { 2: 4 }],
  ["sock_relay", [3, 0, 1, 0, 0n, 16], { 5: 8 }],
  ["sock_send_fds", [3, AT.iovs, 1, AT.fds, 1, 16], { 1: 8, 3: 4, 5: 4 }],
];

function program(): Program {
  const result = new Program([Buffer.from("abc"), Buffer.from("defghi")]);
  assert.equal(result.open(), 3);
  result.iovec(0);
  return result;
}

describe("every import", () => {
  it("is listed here", () => {
    const { imports } = new Program().shim;
    const names = Object.values(imports).flatMap((module) => Object.keys(module));
    const here = [...calls.map(([name]) => name), "proc_exit"];
    assert.deepEqual(names.sort(), here.sort());
  });

  it("has its number of parameters as its length, which host/imports.ts uses", () => {
    const { imports } = new Program().shim;
    for (const [name, args] of [...calls, ["proc_exit", [0]] as const]) {
      const found = Object.values(imports).find((module) => name in module)?.[name];
      assert.equal((found as { length: number } | undefined)?.length, args.length, name);
    }
  });

  for (const [name, args, pointers] of calls) {
    it(`${name} returns FAULT for each pointer outside the memory, and writes nothing`, () => {
      for (const [position, size] of Object.entries(pointers)) {
        const far = [0x8000_0000, OUTSIDE, 0xffff_ffff];
        for (const at of [END - size + 1, END - 1, END, END + 1, ...far]) {
          const it = program();
          const before = Buffer.from(it.bytes(0, END));
          const wrong = args.map((arg, i) => (i === Number(position) ? at : arg));
          assert.equal(it.call(name, ...wrong), errno("FAULT"), `${name}(${wrong.join(", ")})`);
          assert.deepEqual(it.bytes(0, END), before, `${name}(${wrong.join(", ")})`);
          assert.equal(it.memory.buffer.byteLength, END);
          it.shim.close();
        }
      }
    });
  }

  it("returns FAULT without a memory", () => {
    const shim = new addon.Shim([]);
    const open = shim.imports["socket_shim_v1"]?.["sock_open"] as (...args: number[]) => number;
    assert.equal(open(3, 6, 16), errno("FAULT"));
  });

  it("uses the memory after it has grown", () => {
    const it = program();
    const far = END + 1000;
    assert.equal(it.call("clock_time_get", 1, 0n, far), errno("FAULT"));
    it.memory.grow(1);
    assert.equal(it.call("clock_time_get", 1, 0n, far), 0);
    assert.ok(it.view.getBigUint64(far, true) > 0n);
  });
});

describe("buffers", () => {
  for (const name of ["fd_write", "sock_send", "sock_recv", "sock_send_fds"]) {
    const args = calls.find(([call]) => call === name)?.[1] ?? [];
    it(`${name} returns FAULT for a buffer outside the memory, INVAL for more than 16`, () => {
      const it = program();
      for (const [at, length] of [
        [END, 1],
        [END - 1, 2],
        [0, END + 1],
        [1, 0xffff_ffff],
        [OUTSIDE, 32],
      ]) {
        it.view.setUint32(AT.iovs, at ?? 0, true);
        it.view.setUint32(AT.iovs + 4, length ?? 0, true);
        assert.equal(it.call(name, ...args), errno("FAULT"), `${at} ${length}`);
      }
      for (const count of [17, 0x2000_0000, 0xffff_ffff]) {
        const many = args.map((arg, i) => (i === 2 ? count : arg));
        assert.equal(it.call(name, ...many), errno("INVAL"));
      }
    });
  }
});

describe("descriptors", () => {
  it("are BADF unless the program has opened them", () => {
    const foreign = openSync("/dev/null", "r");
    for (const fd of [foreign, 3, 4, 10, 11, 100, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]) {
      const it = new Program();
      it.iovec(0);
      for (const [name, args] of calls.filter(([, [first]]) => first === 3 || first === 2)) {
        if (name === "sock_open") continue;
        const wrong = args.map((arg, i) => (i === 0 ? fd : arg));
        it.view.setUint32(AT.fds, 0, true);
        assert.equal(it.call(name, ...wrong), errno("BADF"), `${name}(${wrong.join(", ")})`);
      }
    }
    closeSync(foreign);
  });
  it("are BADF for sock_send_fds unless they are the program's", () => {
    const it = new Program();
    assert.equal(it.open(), 3);
    it.iovec(1);
    for (const fd of [4, 10, 11, 0xffff_ffff]) {
      it.view.setUint32(AT.fds, fd, true);
      assert.equal(it.call("sock_send_fds", 3, AT.iovs, 1, AT.fds, 1, AT.result), errno("BADF"));
    }
  });
  it("0 to 2 cannot be connected, relayed from or closed", () => {
    const it = program();
    for (const fd of [0, 1, 2]) {
      assert.equal(it.connect(fd, "/nope"), errno("BADF"));
      assert.equal(it.call("sock_relay", fd, 0, 1, 0, 0n, AT.result), errno("BADF"));
      assert.equal(it.call("fd_close", fd), errno("BADF"));
    }
  });
});

describe("Shim", () => {
  it("takes only an array of Buffers, and a memory", () => {
    const make = (args: unknown) => () => new addon.Shim(args as Uint8Array[]);
    assert.throws(make(undefined), TypeError);
    assert.throws(make(["text"]), TypeError);
    const attach = (memory: unknown) => () => {
      new addon.Shim([]).attach(memory as WebAssembly.Memory);
    };
    assert.throws(attach(undefined), TypeError);
    assert.throws(attach({}), TypeError);
  });
});
