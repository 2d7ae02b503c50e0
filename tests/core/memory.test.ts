// The memory bounds of core.wasm and names.wasm (docs/abi.md): whatever the pointers, they do not trap,
// write only what they were given, and return Fault for what is outside the memory or in their own data.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { Code } from "../../assembly/codes";
import { Names } from "../support/names";
import { root } from "../support/proxy";

const PAGE = 65536;
const FAULT: number = Code.Fault;
const RECORD = 16384;
const TEXT = 32768;

const wasm = new WebAssembly.Module(
  new Uint8Array(readFileSync(path.join(root, "dist/core.wasm"))),
);

/** A fresh instance, with the text "vsock/1" at TEXT. */
class Core {
  readonly #exports = new WebAssembly.Instance(wasm).exports;
  readonly memory = new Uint8Array((this.#exports["memory"] as WebAssembly.Memory).buffer);
  readonly size = this.memory.length;
  readonly heap = this.call("heap");
  readonly recordSize = this.#constant("address_size");
  readonly slotSize = this.#constant("handshake_size");
  readonly requestMax = this.#constant("handshake_request_max");

  constructor() {
    this.memory.set(Buffer.from("vsock/1"), TEXT);
  }

  #constant(name: string): number {
    return (this.#exports[name] as WebAssembly.Global).value as number;
  }

  call(name: string, ...args: number[]): number {
    const run = this.#exports[name] as (...args: number[]) => number;
    return run(...args);
  }
}

describe("core.wasm", () => {
  it("does not trap, whatever the pointers, lengths and slots are", () => {
    const core = new Core();
    const { heap, size, slotSize } = core;
    const edges = [0, 1, heap - 1, heap, RECORD, TEXT, size - slotSize - 1, size - slotSize];
    const any = fc.oneof(
      fc.constantFrom(...edges, size - 1, size, size + 1, 0x7fff_ffff, 0xffff_ffff),
      fc.integer({ min: 0, max: 2 * PAGE }),
      fc.integer({ min: 0, max: 0xffff_ffff }),
    );
    const lengths = fc.oneof(fc.integer({ min: 0, max: 64 }), any);
    const call = fc.oneof(
      fc.tuple(fc.constant("handshake_begin"), any, any, any),
      fc.tuple(fc.constant("handshake_sent"), any, any),
      fc.tuple(fc.constant("handshake_receive"), any, any, lengths),
      ...["eof", "deadline", "code", "number", "offset", "wanted"].map((name) =>
        fc.tuple(fc.constant(`handshake_${name}`), any),
      ),
      fc.tuple(fc.constant("address_parse"), any, any, lengths, any, lengths, any, lengths),
    );
    // A slot may hold any bytes.
    const slot = fc.tuple(any, fc.uint8Array({ minLength: slotSize, maxLength: slotSize }));
    fc.assert(
      fc.property(slot, fc.array(call, { maxLength: 10 }), ([at, state], calls) => {
        if (at >= heap && at + slotSize <= size) core.memory.set(state, at);
        for (const [name, ...args] of calls) core.call(name, ...args);
      }),
      { numRuns: 20_000 },
    );
    assert.equal(core.memory.length, size, "the memory grew");
  });

  const core = new Core();
  const { heap, size, recordSize, slotSize, requestMax } = core;
  const end = 0xffff_ffff;
  const faults: [what: string, result: number, name: string, ...args: number[]][] = [
    ["a slot at the end", 0, "handshake_begin", size - slotSize + 1, 22, RECORD],
    ["a request at the end", 0, "handshake_begin", RECORD, 22, size - requestMax + 1],
    ["a slot to ask at the end", FAULT, "handshake_code", size - slotSize + 1],
    ["a record at the end", FAULT, "address_parse", size - recordSize + 1, TEXT, 7, 0, 0, 0, 0],
    ["an address at the end", FAULT, "address_parse", RECORD, size, 1, 0, 0, 0, 0],
    ["a port at the end", FAULT, "address_parse", RECORD, TEXT, 7, size, 1, 0, 0],
    ["a port that wraps around", FAULT, "address_parse", RECORD, TEXT, 7, TEXT, end, 0, 0],
    ["a name that wraps around", FAULT, "address_parse", RECORD, TEXT, 7, 0, 0, TEXT, end],
    ["a slot in the module's data", 0, "handshake_begin", heap - 1, 22, RECORD],
    ["a request in the module's data", 0, "handshake_begin", RECORD, 22, heap - 1],
    ["a slot to ask in the module's data", FAULT, "handshake_code", heap - 1],
    ["a record in the module's data", FAULT, "address_parse", heap - 1, TEXT, 7, 0, 0, 0, 0],
    ["an address in the module's data", FAULT, "address_parse", RECORD, heap - 1, 7, 0, 0, 0, 0],
    ["a name in the module's data", FAULT, "address_parse", RECORD, TEXT, 7, 0, 0, heap - 1, 7],
  ];
  for (const [what, result, name, ...args] of faults) {
    it(`refuses ${what}, and writes nothing`, () => {
      const before = Buffer.from(core.memory);
      assert.equal(core.call(name, ...args), result);
      assert.ok(before.equals(core.memory));
    });
  }

  it("accepts what just fits", () => {
    const core = new Core();
    assert.equal(core.call("handshake_begin", heap, 22, heap + slotSize), 11);
    assert.equal(core.call("handshake_begin", size - slotSize, 22, RECORD), 11);
    assert.equal(core.call("handshake_begin", RECORD, 22, size - requestMax), 11);
    const result = core.call("address_parse", size - recordSize, TEXT, 7, TEXT + 6, 1, TEXT, 7);
    assert.equal(result, Code.Done);
  });

  it("writes only the slot and the request that it was given", () => {
    const core = new Core();
    const [slot, request, reply] = [9000, 10000, 11000];
    core.memory.fill(0xaa, 8192, 16384);
    core.memory.set(Buffer.from("OK 4294967295\n"), reply);
    const expected = Buffer.from(core.memory);
    assert.equal(core.call("handshake_begin", slot, 4294967295, request), requestMax);
    core.call("handshake_sent", slot, requestMax);
    assert.equal(core.call("handshake_receive", slot, reply, 14), 14);
    for (const [at, length] of [
      [slot, slotSize],
      [request, requestMax],
    ] as const) {
      expected.set(core.memory.subarray(at, at + length), at);
    }
    assert.ok(expected.equals(core.memory));
  });
});

describe("names.wasm", () => {
  const names = new Names();
  const { heap, memory, slotSize, requestMax } = names;
  const size = memory.length;
  const [SLOT, BUFFER] = [RECORD, TEXT];

  it("does not trap, and writes only slots and requests, whatever they hold", () => {
    const edges = [0, heap - 1, heap, SLOT, BUFFER, size - slotSize - 1, size - slotSize, size];
    const any = fc.oneof(
      { weight: 4, arbitrary: fc.constant(SLOT) },
      { weight: 1, arbitrary: fc.constantFrom(...edges, 0x7fff_ffff, 0xffff_ffff) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 * PAGE }) },
    );
    const at = fc.oneof({ weight: 4, arbitrary: fc.constant(BUFFER) }, any);
    const length = fc.oneof({ weight: 4, arbitrary: fc.integer({ min: 0, max: 300 }) }, any);
    const call = fc.oneof(
      fc.tuple(fc.constant("lookup_begin"), any, fc.integer({ min: 0, max: 4 }), at, length),
      fc.tuple(fc.constant("lookup_request"), any, at),
      fc.tuple(fc.constant("lookup_receive"), any, at, length),
      ...["eof", "deadline", "code"].map((name) => fc.tuple(fc.constant(`lookup_${name}`), any)),
    );
    const bytes = (count: number) => fc.uint8Array({ minLength: count, maxLength: count });
    // A slot that waits, with anything else in it.
    const slot = fc.tuple(bytes(slotSize), fc.integer({ min: 0, max: 4 }), fc.boolean());
    const input = fc.tuple(slot, bytes(requestMax), fc.array(call, { maxLength: 10 }));
    fc.assert(
      fc.property(input, ([[state, service, asks], text, calls]) => {
        memory.set(state, SLOT);
        memory.set([service, Number(asks), Code.NeedMore, 0], SLOT);
        memory.set(text, BUFFER);
        const expected = Buffer.from(memory);
        for (const [name, ...args] of calls) names.call(name, ...args);
        for (const [, given = 0, request = 0] of calls) {
          for (const [from, count] of [
            [given, slotSize],
            [request, requestMax],
          ] as const) {
            if (from < heap || from + count > size) continue;
            expected.set(memory.subarray(from, from + count), from);
          }
        }
        assert.ok(expected.equals(memory));
      }),
      { numRuns: 5_000 },
    );
  });

  const end = 0xffff_ffff;
  const faults: [what: string, result: number, name: string, ...args: number[]][] = [
    ["a slot at the end", FAULT, "lookup_begin", size - slotSize + 1, 1, BUFFER, 7],
    ["a slot in the module's data", FAULT, "lookup_begin", heap - 1, 1, BUFFER, 7],
    ["a name at the end", FAULT, "lookup_begin", SLOT, 1, size, 1],
    ["a name that wraps around", FAULT, "lookup_begin", SLOT, 2, BUFFER, end],
    ["a name in the module's data", FAULT, "lookup_begin", SLOT, 3, heap - 1, 7],
    ["service 0", FAULT, "lookup_begin", SLOT, 0, BUFFER, 7],
    ["service 4", FAULT, "lookup_begin", SLOT, 4, BUFFER, 7],
    ["a slot to ask at the end", FAULT, "lookup_code", size - slotSize + 1],
    ["a slot to ask in the module's data", FAULT, "lookup_code", heap - 1],
    ["a request at the end", 0, "lookup_request", SLOT, size - requestMax + 1],
    ["a request in the module's data", 0, "lookup_request", SLOT, heap - 1],
    ["bytes at the end", 0, "lookup_receive", SLOT, size, 1],
    ["bytes that wrap around", 0, "lookup_receive", SLOT, BUFFER, end],
    ["bytes in the module's data", 0, "lookup_receive", SLOT, heap - 1, 7],
  ];
  for (const [what, result, name, ...args] of faults) {
    it(`refuses ${what}, and writes nothing`, () => {
      memory.write("machine", BUFFER);
      assert.equal(names.call("lookup_begin", SLOT, 1, BUFFER, 7), Code.NeedMore);
      if (name === "lookup_receive") names.call("lookup_request", SLOT, BUFFER);
      const before = Buffer.from(memory);
      assert.equal(names.call(name, ...args), result);
      assert.ok(before.equals(memory));
    });
  }

  it("accepts what just fits", () => {
    memory.write("machine", heap);
    const slot = size - slotSize;
    assert.equal(names.call("lookup_begin", slot, 1, heap, 7), Code.NeedMore);
    assert.equal(names.call("lookup_request", slot, slot - requestMax), 69);
    memory.write("{}", heap);
    assert.equal(names.call("lookup_receive", slot, heap, 2), 2);
    memory.write("machine", size - 7);
    assert.equal(names.call("lookup_begin", heap, 2, size - 7, 7), Code.NeedMore);
    assert.equal(names.call("lookup_request", heap, size - requestMax), 56);
  });
});
