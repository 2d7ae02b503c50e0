// Handshake: its methods and errors, calls in the wrong order, and many handshakes in one instance of
// core.wasm. The cases of replies are tests/transcripts/handshake.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Handshake, HandshakeError } from "ssh-vsock-proxy";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

/** A handshake whose request was sent. */
function begin(port = 22): Handshake {
  const handshake = new Handshake(port);
  handshake.sent(handshake.request.length);
  return handshake;
}

describe("Handshake", () => {
  it("goes from the request to the number", () => {
    const handshake = new Handshake(22);
    assert.deepEqual(handshake.request, bytes("CONNECT 22\n"));
    assert.equal(handshake.wanted, 0);
    handshake.sent(11);
    assert.equal(handshake.wanted, 14);
    assert.equal(handshake.receive(bytes("OK 10")), 5);
    assert.equal(handshake.wanted, 9);
    assert.equal(handshake.done, false);
    assert.equal(handshake.number, undefined);
    assert.equal(handshake.receive(bytes("7\nSSH-2.0-x")), 2);
    assert.equal(handshake.wanted, 0);
    assert.equal(handshake.done, true);
    assert.equal(handshake.number, 107);
  });
  for (const port of [-1, 4294967296, 1.5, NaN]) {
    it(`throws a RangeError for port ${port}`, () => {
      assert.throws(() => new Handshake(port), RangeError);
    });
  }

  type Step = (handshake: Handshake) => void;
  const errors: [code: string, offset: number, reply: string, step: Step][] = [
    ["BadLine", 3, "OK ", (handshake) => handshake.receive(bytes("x"))],
    ["NumberOutOfRange", 12, "OK 429496729", (handshake) => handshake.receive(bytes("6\n"))],
    [
      "EndOfFile",
      0,
      "",
      (handshake) => {
        handshake.end();
      },
    ],
    [
      "EndWithinLine",
      4,
      "OK 1",
      (handshake) => {
        handshake.end();
      },
    ],
    [
      "ReplyTimeout",
      0,
      "",
      (handshake) => {
        handshake.deadline();
      },
    ],
    [
      "ReplyTimeoutWithinLine",
      2,
      "OK",
      (handshake) => {
        handshake.deadline();
      },
    ],
  ];
  for (const [code, offset, reply, step] of errors) {
    it(`throws ${code} with the number of bytes that were right`, () => {
      const handshake = begin();
      handshake.receive(bytes(reply));
      const fail = (): void => {
        step(handshake);
      };
      assert.throws(fail, { name: "HandshakeError", code, offset });
      assert.throws(fail, HandshakeError, "a failed handshake stays so");
    });
  }
  it("throws ShortWrite unless the request leaves in one write", () => {
    for (let count = 0; count < 11; count++) {
      assert.throws(
        () => {
          new Handshake(22).sent(count);
        },
        { code: "ShortWrite", offset: 0 },
      );
    }
  });

  it("takes no reply before the request was sent", () => {
    const handshake = new Handshake(22);
    assert.equal(handshake.receive(bytes("OK 5\n")), 0);
    handshake.end();
    handshake.deadline();
    assert.equal(handshake.done, false);
    handshake.sent(11);
    assert.equal(handshake.receive(bytes("OK 5\n")), 5);
    assert.equal(handshake.done, true);
  });
  it("ignores everything after it is done", () => {
    const handshake = begin();
    handshake.receive(bytes("OK 7\n"));
    handshake.end();
    handshake.deadline();
    handshake.sent(1);
    assert.equal(handshake.receive(bytes("OK 8\n")), 0);
    assert.equal(handshake.wanted, 0);
    assert.equal(handshake.number, 7);
  });
});

describe("many handshakes in one instance", () => {
  it("are independent of each other", () => {
    const all = Array.from({ length: 1000 }, (_, port) => begin(port));
    for (let i = 0; i < 20; i++) {
      for (const [port, handshake] of all.entries()) {
        const byte = `OK ${port}\nSSH-2.0-and-so-on`.slice(i, i + 1);
        assert.equal(handshake.receive(bytes(byte)), i < `OK ${port}\n`.length ? 1 : 0);
      }
    }
    for (const [port, handshake] of all.entries()) assert.equal(handshake.number, port);
  });

  it("leave no memory behind", () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const used = (count: number): number => {
      for (let i = 0; i < count; i++) begin().receive(bytes("OK 1\n"));
      collect();
      const { heapUsed, arrayBuffers, external } = process.memoryUsage();
      return heapUsed + arrayBuffers + external;
    };
    const before = used(1000);
    const grown = used(10_000) - before;
    // A handshake that is kept takes 200 bytes or more.
    assert.ok(grown < 500_000, `${grown} bytes`);
  });
});
