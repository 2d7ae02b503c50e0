// The handshake: every transition of the table in assembly/core/handshake.ts, every way to cut an answer
// into segments, and the promises about the bytes behind the newline.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Handshake, HandshakeError } from "ssh-vsock-proxy";
import { root } from "../support/proxy";

const BANNER = "SSH-2.0-OpenSSH_9.2p1\r\n";

interface Result {
  code: string;
  /** Bytes of the answer that were the handshake's. */
  consumed: number;
  number?: number | undefined;
}

/** Feeds the segments as a host does that looks at them first, then the end of file if asked for. */
function run(segments: string[], end: "eof" | "deadline" | "more" = "more"): Result {
  const handshake = new Handshake(22);
  let consumed = 0;
  try {
    handshake.sent(handshake.request.length);
    for (const segment of segments) {
      let rest = Buffer.from(segment, "latin1");
      // What a handshake has not consumed is still in the socket, and shown to it again.
      while (rest.length > 0) {
        const taken = handshake.receive(rest);
        consumed += taken;
        rest = rest.subarray(taken);
        if (handshake.done) return { code: "Done", consumed, number: handshake.number };
      }
    }
    if (end === "eof") handshake.end();
    if (end === "deadline") handshake.deadline();
    return { code: "NeedMore", consumed };
  } catch (error) {
    assert.ok(error instanceof HandshakeError);
    return { code: error.code, consumed: error.offset };
  }
}

const answers: [answer: string, code: string, consumed: number, number?: number][] = [
  ["OK 1073741824\n", "Done", 14, 1073741824],
  ["OK 22\n", "Done", 6, 22],
  ["OK 0\n", "Done", 5, 0],
  ["OK 4294967295\n", "Done", 14, 4294967295],
  ["OK 0000000022\n", "Done", 14, 22],
  [`OK 1073741824\n${BANNER}`, "Done", 14, 1073741824],
  [`OK 5\n${BANNER}`, "Done", 5, 5],
  ["OK 5\n\n", "Done", 5, 5],
  ["OK 5\nOK 6\n", "Done", 5, 5],

  ["", "NeedMore", 0],
  ["O", "NeedMore", 1],
  ["OK", "NeedMore", 2],
  ["OK ", "NeedMore", 3],
  ["OK 1", "NeedMore", 4],
  ["OK 1073741824", "NeedMore", 13],

  ["\n", "BadLine", 0],
  ["ok 5\n", "BadLine", 0],
  ["Ok 5\n", "BadLine", 1],
  [" OK 5\n", "BadLine", 0],
  ["OK5\n", "BadLine", 2],
  ["OK\n", "BadLine", 2],
  ["OK\t5\n", "BadLine", 2],
  ["OK \n", "BadLine", 3],
  ["OK  5\n", "BadLine", 3],
  ["OK -1\n", "BadLine", 3],
  ["OK +1\n", "BadLine", 3],
  ["OK x\n", "BadLine", 3],
  ["OK 0x5\n", "BadLine", 4],
  ["OK 5 x\n", "BadLine", 4],
  ["OK 5 \n", "BadLine", 4],
  ["OK 5\r\n", "BadLine", 4],
  ["OK 5\0\n", "BadLine", 4],
  ["OK 5:\n", "BadLine", 4],
  ["OK 5/\n", "BadLine", 4],
  ["OK 00000000022\n", "BadLine", 13],
  ["OK 4294967296\n", "NumberOutOfRange", 12],
  ["OK 9999999999\n", "NumberOutOfRange", 12],
  ["OK 10737418240000\n", "BadLine", 13],
  ["\0\0\0", "BadLine", 0],
  ["\x80OK 5\n", "BadLine", 0],
  ["SSH-2.0-x\r\n", "BadLine", 0],
  ["ERR no such port\n", "BadLine", 0],
  ["x".repeat(100000), "BadLine", 0],
];

/** Every way to cut a text into two segments, and into single bytes. */
function cuts(text: string): string[][] {
  const two = Array.from({ length: text.length }, (_, i) => [text.slice(0, i), text.slice(i)]);
  return [[text], Array.from(text), ...two];
}

/** Every way to cut a text into segments. */
function* chunkings(text: string): Generator<string[]> {
  for (let pattern = 0; pattern < 1 << (text.length - 1); pattern++) {
    const segments = [""];
    for (const [i, letter] of Array.from(text).entries()) {
      if (i > 0 && (pattern >> (i - 1)) & 1) segments.push("");
      segments.push((segments.pop() ?? "") + letter);
    }
    yield segments;
  }
}

describe("the answer", () => {
  for (const [answer, code, consumed, number] of answers) {
    const title = JSON.stringify(answer.slice(0, 40));
    it(`${title}: ${code}, ${consumed} bytes, however it is cut`, () => {
      const ways = answer.length < 50 ? cuts(answer) : [[answer]];
      for (const segments of ways) {
        const result = run(segments);
        assert.equal(result.code, code, JSON.stringify(segments));
        assert.equal(result.number, number);
        assert.equal(result.consumed, consumed, JSON.stringify(segments));
      }
    });
  }

  it("is the same in all of the 32,768 chunkings of a line and two bytes behind it", () => {
    for (const segments of chunkings("OK 1073741824\nSS")) {
      const { code, consumed } = run(segments);
      assert.deepEqual({ code, consumed }, { code: "Done", consumed: 14 });
    }
  });

  it("may have every value up to 2^32 - 1", () => {
    for (let bit = 0; bit < 32; bit++) {
      for (const value of [2 ** bit - 1, 2 ** bit, 2 ** bit + 1]) {
        assert.equal(run([`OK ${value}\n`]).number, value);
      }
    }
  });
});

describe("the end of file, and the deadline", () => {
  const line = "OK 1073741824";
  it("before the first byte: EndOfFile, ReplyTimeout", () => {
    assert.equal(run([], "eof").code, "EndOfFile");
    assert.equal(run([], "deadline").code, "ReplyTimeout");
  });
  for (let length = 1; length <= line.length; length++) {
    it(`after ${JSON.stringify(line.slice(0, length))}: EndWithinLine, ReplyTimeoutWithinLine`, () => {
      assert.deepEqual(run([line.slice(0, length)], "eof"), {
        code: "EndWithinLine",
        consumed: length,
      });
      assert.equal(run([line.slice(0, length)], "deadline").code, "ReplyTimeoutWithinLine");
    });
  }
  it("change nothing once it is done", () => {
    const handshake = new Handshake(22);
    handshake.sent(11);
    handshake.receive(Buffer.from("OK 7\n"));
    handshake.end();
    handshake.deadline();
    handshake.sent(1);
    assert.equal(handshake.receive(Buffer.from(BANNER)), 0);
    assert.equal(handshake.wanted, 0);
    assert.equal(handshake.number, 7);
  });
});

describe("the request", () => {
  for (const port of [0, 9, 10, 22, 99, 100, 65535, 999999999, 1000000000, 4294967295]) {
    it(`for port ${port} is one line`, () => {
      assert.equal(Buffer.from(new Handshake(port).request).toString(), `CONNECT ${port}\n`);
    });
  }
  for (const port of [-1, 4294967296, 1.5, NaN]) {
    it(`is not made for port ${port}`, () => {
      assert.throws(() => new Handshake(port), RangeError);
    });
  }
  it("has to leave in one write", () => {
    for (let count = 0; count < 11; count++) {
      assert.throws(
        () => {
          new Handshake(22).sent(count);
        },
        { code: "ShortWrite" },
      );
    }
  });
  it("comes first: no answer is taken before it", () => {
    const handshake = new Handshake(22);
    assert.equal(handshake.receive(Buffer.from("OK 5\n")), 0);
    assert.equal(handshake.done, false);
    handshake.end();
    handshake.deadline();
    handshake.sent(11);
    assert.equal(handshake.receive(Buffer.from("OK 5\n")), 5);
    assert.equal(handshake.done, true);
  });
});

describe("many handshakes in one instance", () => {
  it("do not know of each other", () => {
    const all = Array.from({ length: 1000 }, (_, port) => new Handshake(port));
    for (const [port, handshake] of all.entries()) {
      assert.equal(Buffer.from(handshake.request).toString(), `CONNECT ${port}\n`);
      handshake.sent(handshake.request.length);
    }
    for (let i = 0; i < 20; i++) {
      for (const [port, handshake] of all.entries()) {
        const byte = `OK ${port}\nSSH-2.0-and-so-on`.slice(i, i + 1);
        assert.equal(handshake.receive(Buffer.from(byte)), i < `OK ${port}\n`.length ? 1 : 0);
      }
    }
    for (const [port, handshake] of all.entries()) assert.equal(handshake.number, port);
  });

  it("leave no memory behind", () => {
    const exchange = (): void => {
      const handshake = new Handshake(22);
      handshake.sent(11);
      handshake.receive(Buffer.from("OK 1\n"));
      assert.equal(handshake.done, true);
    };
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const used = (): number => {
      collect();
      const { heapUsed, arrayBuffers, external } = process.memoryUsage();
      return heapUsed + arrayBuffers + external;
    };
    for (let i = 0; i < 1000; i++) exchange();
    const before = used();
    for (let i = 0; i < 10_000; i++) exchange();
    // A handshake that stayed would be 200 bytes and more.
    assert.ok(used() - before < 500_000, `${used() - before} bytes`);
  });
});

describe("core.wasm itself", () => {
  const module = new WebAssembly.Module(
    new Uint8Array(readFileSync(path.join(root, "dist/core.wasm"))),
  );
  type Exports = Record<string, (...args: number[]) => number> & { memory: WebAssembly.Memory };
  const start = (): Exports => new WebAssembly.Instance(module).exports as Exports;
  const call = (core: Exports, name: string, ...args: number[]): number => {
    const run = core[name];
    assert.ok(run !== undefined, `${name} is not exported`);
    return run(...args);
  };

  /** A small generator of numbers (xorshift32), so that a failure can be had again. */
  function* numbers(seed: number): Generator<number> {
    for (let x = seed; ;) {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      yield x >>> 0;
    }
  }

  it("does not trap, whatever the pointers, lengths and slots are", () => {
    const core = start();
    const size = core.memory.buffer.byteLength;
    const random = numbers(4711);
    const heap = call(core, "heap");
    const edges = [
      0,
      1,
      700,
      heap - 1,
      heap,
      size - 13,
      size - 12,
      size - 1,
      size,
      size + 1,
      0x7fffffff,
      0xffffffff,
    ];
    const memory = new Uint8Array(core.memory.buffer);
    const good = Buffer.from("unix%a%b");
    const any = (): number => {
      const value = random.next().value as number;
      return (value & 1) === 0 ? (edges[value % edges.length] as number) : value;
    };
    for (let i = 0; i < 200_000; i++) {
      const slot = any();
      call(core, "handshake_begin", slot, any(), any());
      if (slot < size) memory[slot] = (any() >>> 3) & 15;
      call(core, "handshake_sent", slot, any());
      call(core, "handshake_receive", slot, any(), any() % 64);
      call(core, "handshake_receive", slot, any(), any());
      call(core, "handshake_eof", any());
      call(core, "handshake_deadline", any());
      for (const get of ["code", "number", "offset", "wanted"]) {
        call(core, `handshake_${get}`, any());
      }
      call(core, "address_parse", any(), any(), any(), any(), any(), any(), any());
      memory.set(good, 32768);
      call(core, "address_parse", 16384, 32768, 8, any(), any(), any(), any());
    }
    assert.equal(core.memory.buffer.byteLength, size, "memory grew");
  });

  it("says Fault, and writes nothing, for what lies outside the memory", () => {
    const core = start();
    const size = core.memory.buffer.byteLength;
    const heap = call(core, "heap");
    const [record, text] = [16384, 32768];
    new Uint8Array(core.memory.buffer).set(Buffer.from("vsock/1"), text);
    const before = Buffer.from(new Uint8Array(core.memory.buffer));
    assert.equal(call(core, "handshake_begin", size - 11, 22, 4096), 0);
    assert.equal(call(core, "handshake_begin", 4096, 22, size - 18), 0);
    assert.equal(call(core, "handshake_code", size - 11), 7001);
    assert.equal(call(core, "address_parse", size - 4123, text, 7, 0, 0, 0, 0), 7001);
    assert.equal(call(core, "address_parse", record, size, 1, 0, 0, 0, 0), 7001);
    assert.equal(call(core, "address_parse", record, text, 7, size, 1, 0, 0), 7001);
    assert.equal(call(core, "address_parse", record, text, 7, text, 0xffff_ffff, 0, 0), 7001);
    assert.equal(call(core, "address_parse", record, text, 7, 0, 0, text, 0xffff_ffff), 7001);
    assert.equal(call(core, "address_parse", record, text, 7, 0, 0, heap - 1, 7), 7001);
    assert.deepEqual(Buffer.from(new Uint8Array(core.memory.buffer)), before);
    assert.equal(call(core, "address_parse", record, text, 7, text + 6, 1, text, 7), 0);
  });

  it("says Fault for what lies within the module's own data", () => {
    const core = start();
    const heap = call(core, "heap");
    assert.ok(heap > 0);
    assert.equal(call(core, "handshake_begin", heap - 1, 22, 4096), 0);
    assert.equal(call(core, "handshake_begin", 4096, 22, heap - 1), 0);
    assert.equal(call(core, "handshake_code", heap - 1), 7001);
    assert.equal(call(core, "address_parse", heap - 1, 8192, 1, 0, 0, 0, 0), 7001);
    assert.equal(call(core, "address_parse", heap, heap - 1, 1, 0, 0, 0, 0), 7001);
    assert.equal(call(core, "handshake_begin", heap, 22, heap + 12), 11);
  });

  it("writes only the slot and the request that it was given", () => {
    const core = start();
    const memory = new Uint8Array(core.memory.buffer);
    memory.fill(0xaa, 8192, 16384);
    assert.equal(call(core, "handshake_begin", 9000, 4294967295, 10000), 19);
    call(core, "handshake_sent", 9000, 19);
    memory.set(Buffer.from("OK 4294967295\n"), 11000);
    assert.equal(call(core, "handshake_receive", 9000, 11000, 14), 14);
    const touched = [...memory.subarray(8192, 16384).entries()]
      .filter(([, byte]) => byte !== 0xaa)
      .map(([at]) => at + 8192);
    const allowed = (at: number): boolean =>
      (at >= 9000 && at < 9012) || (at >= 10000 && at < 10019) || (at >= 11000 && at < 11014);
    assert.deepEqual(
      touched.filter((at) => !allowed(at)),
      [],
    );
  });
});
