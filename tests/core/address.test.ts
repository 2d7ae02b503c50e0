// parseAddress: what it takes and returns. The grammar's cases are tests/transcripts/address.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AddressError, Handshake, parseAddress } from "ssh-vsock-proxy";
import type { Address, Text } from "ssh-vsock-proxy";
import { UNTRUSTED_MAX } from "../../assembly/printable";
import { modelAddress } from "./model";

const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

describe("parseAddress", () => {
  const noPort = { port: undefined, cid: undefined, fromName: false };
  const addresses: Address[] = [
    {
      ...{ ...noPort, scheme: "unix", path: bytes("/run/s") },
      socketAddress: bytes("\x03\0/run/s"),
    },
    {
      ...{ ...noPort, scheme: "unix-abstract", path: bytes("run/s") },
      socketAddress: bytes("\x03\0\0run/s"),
    },
    {
      ...{ ...noPort, scheme: "vsock-mux", path: bytes("/run/s"), port: 22 },
      socketAddress: bytes("\x03\0/run/s"),
    },
  ];
  for (const expected of addresses) {
    it(`returns a ${expected.scheme} address`, () => {
      assert.deepEqual(parseAddress(`${expected.scheme}/run/s`), expected);
    });
  }
  it("returns a vsock address", () => {
    assert.deepEqual(parseAddress("vsock/3", "258"), {
      ...{ scheme: "vsock", port: 258, cid: 3, path: undefined, fromName: false },
      socketAddress: bytes("\x28\0\0\0\x02\x01\0\0\x03\0\0\0"),
    });
  });
  it("returns the .host address", () => {
    const path = "/run/ssh-unix-local/socket";
    assert.deepEqual(parseAddress(".host"), {
      ...{ ...noPort, scheme: ".host", path: bytes(path), socketAddress: bytes(`\x03\0${path}`) },
    });
  });
  it("returns the name of a machine", () => {
    const what = { cid: undefined, fromName: false, socketAddress: undefined, port: 22 };
    for (const scheme of ["machine", "qemu", "qemu:system", "qemu:session"] as const) {
      assert.deepEqual(parseAddress(`${scheme}/vm`), { ...what, scheme, path: bytes("vm") });
    }
  });
  it("says whether the path is NAME's", () => {
    const { fromName, path } = parseAddress("unix/vm", "22", "unix/VM");
    assert.deepEqual({ fromName, path }, { fromName: true, path: bytes("/VM") });
  });

  it("takes a string as UTF-8, and bytes as they are", () => {
    assert.deepEqual(parseAddress("unix/ü").path, bytes("/\xc3\xbc"));
    assert.deepEqual(parseAddress(bytes("unix/\xfc")).path, bytes("/\xfc"));
    assert.deepEqual(parseAddress("unix/x", "22", bytes("unix/X")).path, bytes("/X"));
  });
  it("takes a port as a number or as text", () => {
    for (const port of [2222, "2222", bytes("2222")]) {
      assert.equal(parseAddress("vsock/3", port).port, 2222);
    }
    assert.throws(() => parseAddress("vsock/3", 1.5), { code: "BadPort", offset: 1 });
    assert.throws(() => parseAddress("vsock/3", -1), { code: "BadPort", offset: 0 });
  });
  it("takes texts of any length for PORT and NAME where they do not matter", () => {
    const long = "d".repeat(1 << 20);
    assert.equal(parseAddress("unix/x", long, long).fromName, false);
  });
});

describe("an AddressError", () => {
  const errors: [args: [Text, Text?, Text?], code: string, argument: string, offset: number][] = [
    [["vsock/3x"], "BadCid", "address", 7],
    [["vsock/3", "2x"], "BadPort", "port", 1],
    [["unix/", "22", "UNIX/"], "EmptyPath", "name", 5],
  ];
  for (const [args, code, argument, offset] of errors) {
    it(`says that ${argument} is wrong, and where`, () => {
      assert.throws(() => parseAddress(...args), { name: "AddressError", code, argument, offset });
      assert.throws(() => parseAddress(...args), AddressError);
    });
  }
  it("names the text as the command does, escaped", () => {
    const messages: [Text, RegExp][] = [
      ["vsock/3x", /^vsock\/3x: not a CID: /],
      ["vsock/\x7f\u009b\u202e\\", /^vsock\/\\x7f\\xc2\\x9b\\xe2\\x80\\xae\\\\: /],
      [bytes("vsock/\xff\x9b"), /^vsock\/\\xff\\x9b: /],
      ["vsock/ü", /^vsock\/ü: /],
    ];
    for (const [address, message] of messages) {
      assert.throws(() => parseAddress(address), { message });
    }
    assert.throws(() => parseAddress("vsock/3", "2\n"), { message: /^2\\x0a: not a port: / });
  });
});

describe("a long text", () => {
  type Texts = [address: string, port?: string | undefined, name?: string];
  const texts = (length: number): Texts[] => {
    const long = "d".repeat(length);
    const signs = "%%".repeat(length / 2);
    const digits = "4".repeat(length);
    return [
      ...[[long], [`${long}/`], [`unix/${long}`], [`unix%${long}`], [`unix-abstract%${long}/`]],
      // A slash at the end decides what each % means.
      ...[[`unix%${signs}`], [`unix%${signs}/`], [`unix-abstract%${signs}`], [`unix%${signs}\0/`]],
      ...[[`unix/${"d".repeat(4000)}\0${long}`], [`vsock/${digits}`], [`vsock/3x${digits}`]],
      ...[
        ["vsock/3", digits],
        ["vsock/3", `2/${digits}`],
        ["vsock-mux/s", "0".repeat(length)],
      ],
      // NAME is taken where it differs in capitals only, the last byte included.
      ...[`unix/${long}`, `unix%${signs}a/`].flatMap((address): Texts[] => {
        const name = address.toUpperCase();
        return [name, `${name}X`, name.slice(0, -1), `${name.slice(0, -1)}X`].map((other) => {
          return [address, undefined, other];
        });
      }),
    ] as Texts[];
  };
  const outcome = (args: Texts) => {
    try {
      const { scheme, port, cid, fromName, path, socketAddress } = parseAddress(...args);
      const hex = Buffer.from(socketAddress ?? [0, 0, ...(path ?? [])]).toString("hex");
      return { code: "Done", scheme, port, cid, fromName, socketAddress: hex };
    } catch (error) {
      assert.ok(error instanceof AddressError);
      const { code, argument, offset, message } = error;
      assert.ok(message.length < 4 * UNTRUSTED_MAX + 200, `${message.length} characters`);
      return { code, argument, offset };
    }
  };

  it("has the error that the model says, in a message that is cut", (t) => {
    const grow = t.mock.method(WebAssembly.Memory.prototype, "grow");
    const lengths = Array.from({ length: 40 }, (_, i) => 8222 + i);
    for (const length of [4000, 8192, ...lengths, 1 << 20]) {
      for (const args of texts(length)) {
        const [address, port, name] = args.map((text) => text && Buffer.from(text, "latin1"));
        const expected = modelAddress({ address, port, name } as Parameters<
          typeof modelAddress
        >[0]);
        assert.deepEqual(outcome(args), expected, `${length} ${args.join(" ").slice(0, 30)}`);
      }
    }
    assert.equal(grow.mock.callCount(), 0, "the instance's memory has grown");
  });
  it("is escaped only as far as it is shown", (t) => {
    const decoded = t.mock.method(Buffer.prototype as Buffer, "toString");
    assert.throws(() => parseAddress(`vsock/${"\x01".repeat(1 << 20)}`), { code: "BadCid" });
    const wrong = "\x01".repeat(1 << 20) as unknown as number;
    assert.throws(() => new Handshake(wrong), { message: /^port: (\\x01){4160}\.\.\. is not an/ });
    const count = decoded.mock.callCount();
    assert.ok(count < 5 * UNTRUSTED_MAX, `${count} calls`);
  });
});
