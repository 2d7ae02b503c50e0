// Addresses: the grammar of docs/addresses.md, row by row, through the library's parser and through
// the whole command in a simulated world; and the rows in which systemd-ssh-proxy 262 differs.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AddressError, parseAddress } from "ssh-vsock-proxy";
import { simulate } from "../simulated/world";

const U32_MAX = 0xffff_ffff;

type Text = string | Buffer;

interface Understood {
  args: [Text, Text?, Text?];
  /** The path or abstract name, or the CID. */
  path?: Text;
  cid?: number;
  port?: number;
  scheme?: string;
  /** What systemd-ssh-proxy 262 does, where that is something else. */
  original?: string;
}

interface Refused {
  args: [Text, Text?, Text?];
  code: string;
  /** The byte that is wrong, in the argument that is. */
  at: number;
  argument?: "address" | "port" | "name";
  original?: string;
}

const long = (length: number): string => "/" + "d".repeat(length - 1);

const understood: Understood[] = [
  // vsock
  { args: ["vsock/1"], cid: 1, port: 22 },
  { args: ["vsock%1"], cid: 1, port: 22 },
  { args: ["vsock/0"], cid: 0, port: 22 },
  { args: ["vsock/4711", "2222"], cid: 4711, port: 2222 },
  { args: ["vsock/4294967294"], cid: U32_MAX - 1, port: 22 },
  { args: ["vsock/hypervisor"], cid: 0, port: 22 },
  { args: ["vsock/local"], cid: 1, port: 22 },
  { args: ["vsock/host"], cid: 2, port: 22 },
  { args: ["vsock%local"], cid: 1, port: 22 },
  { args: ["vsock/1", "0"], cid: 1, port: 0 },
  { args: ["vsock/1", "4294967294"], cid: 1, port: U32_MAX - 1 },
  // unix
  { args: ["unix/run/t/s"], path: "/run/t/s" },
  { args: ["unix//run/t/s"], path: "/run/t/s" },
  { args: ["unix%run/t/s"], path: "/run/t/s" },
  { args: ["unix%/run/t/s"], path: "/run/t/s" },
  { args: ["unix%run%t%s"], path: "/run/t/s", original: "looks for /run%t%s" },
  { args: ["unix%%run%t%s"], path: "/run/t/s" },
  { args: ["unix%%%run%t%s"], path: "/%run/t/s" },
  { args: ["unix%a%%b"], path: "/a%b" },
  { args: ["unix%a%%%b"], path: "/a%/b" },
  { args: ["unix%a%"], path: "/a/" },
  { args: ["unix%%"], path: "/" },
  { args: ["unix%/run/50%"], path: "/run/50%" },
  { args: ["unix/run/%20"], path: "/run/%20" },
  { args: ["unix/./s"], path: "./s" },
  { args: ["unix%.%s"], path: "./s" },
  { args: ["unix%.%%s"], path: "/.%s" },
  { args: ["unix/../s"], path: "/../s" },
  { args: ["unix/."], path: "/." },
  { args: ["unix/.s"], path: "/.s" },
  { args: ["unix//"], path: "/" },
  { args: ["unix/a b\tc"], path: "/a b\tc" },
  {
    args: [Buffer.from("unix/\xff\xfe\x9b", "latin1")],
    path: Buffer.from("/\xff\xfe\x9b", "latin1"),
  },
  { args: [`unix/${long(4095)}`], path: long(4095) },
  { args: [`unix/${long(4095).slice(1)}`], path: long(4095) },
  { args: ["unix/x", "ssh"], path: "/x" },
  { args: ["unix/x", ""], path: "/x" },
  { args: ["unix/x", "-1"], path: "/x" },
  // unix-abstract
  { args: ["unix-abstract/name"], path: "name", scheme: "unix-abstract" },
  { args: ["unix-abstract/a/b"], path: "a/b", scheme: "unix-abstract" },
  { args: ["unix-abstract%a%b"], path: "a/b", scheme: "unix-abstract" },
  { args: ["unix-abstract/./a"], path: "./a", scheme: "unix-abstract" },
  { args: [`unix-abstract/${"n".repeat(107)}`], path: "n".repeat(107), scheme: "unix-abstract" },
  // vsock-mux
  { args: ["vsock-mux/run/vm.sock"], path: "/run/vm.sock", port: 22 },
  { args: ["vsock-mux%run%vm.sock", "80"], path: "/run/vm.sock", port: 80 },
  { args: ["vsock-mux/./vm.sock"], path: "./vm.sock", port: 22 },
  // .host
  {
    args: [".host"],
    path: "/run/ssh-unix-local/socket",
    original: "only through ssh's configuration",
  },
  { args: [".host", "x"], path: "/run/ssh-unix-local/socket" },
  { args: [".host", "22", ".HOST"], path: "/run/ssh-unix-local/socket" },
  // NAME: ssh lower-cases %h, and leaves %n as it was typed
  { args: ["unix/tmp/foo", "22", "unix/tmp/Foo"], path: "/tmp/Foo" },
  { args: ["unix/tmp/foo", "22", "UNIX/tmp/Foo"], path: "/tmp/Foo" },
  { args: ["unix-abstract/x", "22", "unix-abstract/X"], path: "X", scheme: "unix-abstract" },
  { args: ["vsock-mux%run%vm", "22", "vsock-mux%run%VM"], path: "/run/VM", port: 22 },
  { args: ["vsock/local", "22", "vsock/LOCAL"], cid: 1, port: 22 },
  { args: ["unix/tmp/foo", "22", "alias"], path: "/tmp/foo" },
  { args: ["unix/tmp/foo", "22", "unix/tmp/Fop"], path: "/tmp/foo" },
  { args: ["unix/tmp/foo", "22", "unix/tmp/Foo1"], path: "/tmp/foo" },
  { args: ["unix/tmp/foo", "22", ""], path: "/tmp/foo" },
  { args: ["unix%/tmp/Foo", "22", "unix%/tmp/Foo"], path: "/tmp/Foo" },
  { args: ["unix/tmp/@[`{", "22", "unix/tmp/`{@["], path: "/tmp/@[`{" },
];

const refused: Refused[] = [
  // systemd-ssh-proxy reads C's numbers; here a number is decimal, and says what it is
  { args: ["vsock/0x1"], code: "BadCid", at: 7, original: "CID 1" },
  { args: ["vsock/+1"], code: "BadCid", at: 6, original: "CID 1" },
  { args: ["vsock/ 1"], code: "BadCid", at: 6, original: "CID 1" },
  { args: ["vsock/01"], code: "BadCid", at: 7, original: "CID 1" },
  { args: ["vsock/00"], code: "BadCid", at: 7, original: "CID 0" },
  { args: ["vsock/0b1"], code: "BadCid", at: 7, original: "CID 1" },
  { args: ["vsock/0o1"], code: "BadCid", at: 7, original: "CID 1" },
  { args: ["vsock/1 "], code: "BadCid", at: 7 },
  { args: ["vsock/1/"], code: "BadCid", at: 7 },
  { args: ["vsock/Local"], code: "BadCid", at: 6 },
  { args: ["vsock/locals"], code: "BadCid", at: 6 },
  { args: ["vsock/loca"], code: "BadCid", at: 6 },
  { args: ["vsock/-1"], code: "BadCid", at: 6 },
  { args: ["vsock/-4294967295"], code: "BadCid", at: 6 },
  { args: ["vsock/"], code: "EmptyCid", at: 6 },
  { args: ["vsock%"], code: "EmptyCid", at: 6 },
  { args: ["vsock/4294967295"], code: "CidOutOfRange", at: 6 },
  { args: ["vsock/4294967296"], code: "CidOutOfRange", at: 6 },
  { args: ["vsock/99999999999999999999999"], code: "CidOutOfRange", at: 6 },
  // ports
  { args: ["vsock/1", " 22"], code: "BadPort", at: 0, argument: "port", original: "port 22" },
  { args: ["vsock/1", "0x16"], code: "BadPort", at: 1, argument: "port", original: "port 22" },
  { args: ["vsock/1", "+22"], code: "BadPort", at: 0, argument: "port", original: "port 22" },
  { args: ["vsock/1", "022"], code: "BadPort", at: 1, argument: "port", original: "port 18" },
  { args: ["vsock/1", "-1"], code: "BadPort", at: 0, argument: "port" },
  { args: ["vsock/1", "ssh"], code: "BadPort", at: 0, argument: "port" },
  { args: ["vsock/1", "22 "], code: "BadPort", at: 2, argument: "port" },
  { args: ["vsock/1", ""], code: "EmptyPort", at: 0, argument: "port" },
  { args: ["vsock/1", "4294967295"], code: "PortOutOfRange", at: 0, argument: "port" },
  { args: ["vsock/1", "4294967296"], code: "PortOutOfRange", at: 0, argument: "port" },
  { args: ["vsock-mux/m", "x"], code: "BadPort", at: 0, argument: "port", original: "sends it" },
  { args: ["vsock-mux/m", ""], code: "EmptyPort", at: 0, argument: "port", original: "sends it" },
  // what is no address
  { args: ["vsock"], code: "UnknownAddress", at: 0 },
  { args: ["vsock,1"], code: "UnknownAddress", at: 0 },
  { args: ["VSOCK/1"], code: "UnknownAddress", at: 0 },
  { args: [""], code: "UnknownAddress", at: 0 },
  { args: ["/"], code: "UnknownAddress", at: 0 },
  { args: ["%"], code: "UnknownAddress", at: 0 },
  { args: ["unix"], code: "UnknownAddress", at: 0 },
  { args: ["unixes/x"], code: "UnknownAddress", at: 0 },
  { args: ["uni/x"], code: "UnknownAddress", at: 0 },
  { args: [".hos"], code: "UnknownAddress", at: 0 },
  { args: [".hosts"], code: "UnknownAddress", at: 0 },
  { args: [".HOST"], code: "UnknownAddress", at: 0 },
  { args: ["machine/name"], code: "UnknownAddress", at: 0, original: "asks systemd-machined" },
  { args: ["machine%name"], code: "UnknownAddress", at: 0, original: "asks systemd-machined" },
  { args: ["host.example"], code: "UnknownAddress", at: 0 },
  // paths and names
  { args: ["unix/"], code: "EmptyPath", at: 5 },
  { args: ["unix%"], code: "EmptyPath", at: 5 },
  { args: ["vsock-mux/"], code: "EmptyPath", at: 10 },
  { args: ["unix-abstract/"], code: "EmptyName", at: 14 },
  { args: [`unix/${long(4096)}`], code: "PathTooLong", at: 4100 },
  { args: [`unix-abstract/${"n".repeat(108)}`], code: "NameTooLong", at: 121 },
  {
    args: [`unix-abstract/${"n".repeat(108)}`, "22", `unix-abstract/${"N".repeat(108)}`],
    code: "NameTooLong",
    at: 121,
    argument: "name",
  },
];

const show = (args: (Text | undefined)[]): string =>
  args.map((arg) => JSON.stringify(arg?.toString("latin1")).slice(0, 60)).join(" ");

const note = (row: { original?: string }): string =>
  row.original === undefined ? "" : ` (systemd-ssh-proxy: ${row.original})`;

/** What sock_connect must be given. */
function socketAddress(row: Understood): Buffer {
  if (row.cid !== undefined) {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16LE(40, 0);
    bytes.writeUInt32LE(row.port ?? 0, 4);
    bytes.writeUInt32LE(row.cid, 8);
    return bytes;
  }
  const abstract = row.scheme === "unix-abstract" ? [0] : [];
  return Buffer.concat([Buffer.from([3, 0, ...abstract]), Buffer.from(row.path ?? "")]);
}

describe("an address that is understood", () => {
  for (const row of understood) {
    it(`${show(row.args)} is ${show([row.path ?? String(row.cid)])}${note(row)}`, () => {
      const address = parseAddress(...row.args);
      assert.deepEqual(Buffer.from(address.socketAddress), socketAddress(row));
      assert.equal(address.cid, row.cid);
      assert.equal(address.port, row.port);
      if (row.scheme !== undefined) assert.equal(address.scheme, row.scheme);
      if (row.path !== undefined) {
        assert.deepEqual(Buffer.from(address.path ?? []), Buffer.from(row.path));
      }

      const args = row.args.filter((arg) => arg !== undefined);
      const answer = [Buffer.from("OK 1073741824\n")];
      const outcome = simulate(args, { answer });
      assert.equal(outcome.exit, 0, outcome.stderr.toString());
      assert.deepEqual(outcome.address, socketAddress(row));
      assert.equal(outcome.family, row.cid === undefined ? 3 : 40);
      const isMultiplexer = address.scheme === "vsock-mux";
      const request = isMultiplexer ? [Buffer.from(`CONNECT ${row.port}\n`)] : [];
      assert.deepEqual(outcome.sent, request);
    });
  }
});

describe("an address that is refused", () => {
  for (const row of refused) {
    it(`${show(row.args)}: ${row.code}${note(row)}`, () => {
      assert.throws(
        () => parseAddress(...row.args),
        (error: unknown) => {
          assert.ok(error instanceof AddressError);
          assert.equal(error.code, row.code);
          assert.equal(error.argument, row.argument ?? "address");
          assert.equal(error.offset, row.at);
          return true;
        },
      );
      const outcome = simulate(row.args.filter((arg) => arg !== undefined));
      assert.equal(outcome.exit, 64);
      assert.match(outcome.stderr.toString(), /^ssh-vsock-proxy: [^\n]*: [^\n]+\n$/);
      assert.ok(!outcome.calls.includes("sock_open"), "a socket was opened");
    });
  }

  it("is named in the message as the command names it", () => {
    const messages: [Text, RegExp][] = [
      ["vsock/3x", /^vsock\/3x: not a CID: /],
      ["vsock/\x7f\u009b\u202e\\", /^vsock\/\\x7f\\xc2\\x9b\\xe2\\x80\\xae\\\\: /],
      [Buffer.from("vsock/\xff\x9b", "latin1"), /^vsock\/\\xff\\x9b: /],
      ["vsock/ü", /^vsock\/ü: /],
    ];
    for (const [address, message] of messages) {
      assert.throws(() => parseAddress(address), { name: "AddressError", message });
    }
    assert.throws(() => parseAddress("vsock/3", "2\n"), { message: /^2\\x0a: not a port: / });
  });

  it("has no NUL byte in its path", () => {
    const code = { code: "NulByte", offset: 6 };
    assert.throws(() => parseAddress(Buffer.from("unix/a\0b")), code);
  });
});

describe("--host-socket", () => {
  it("says what .host stands for, byte for byte", () => {
    const path = Buffer.from("run/\xff s", "latin1");
    const outcome = simulate(["--host-socket", path, ".host", "22"]);
    assert.equal(outcome.exit, 0);
    assert.deepEqual(outcome.address, Buffer.concat([Buffer.from([3, 0]), path]));
  });
  it("changes no other address", () => {
    const outcome = simulate(["--host-socket=/x", "unix/y"]);
    assert.deepEqual(outcome.address, Buffer.from("\x03\0/y"));
  });
  for (const [path, length] of [
    ["", 0],
    [long(4096), 4096],
  ] as const) {
    it(`refuses a path of ${length} bytes`, () => {
      assert.equal(simulate(["--host-socket", path, ".host"]).exit, 64);
    });
  }
});
