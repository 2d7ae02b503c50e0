// names.wasm: an end at each byte of each transcript, and services that send without an end. The cases of
// replies are tests/transcripts/lookup.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Code } from "../../assembly/codes";
import { Names } from "../support/names";
import type { Lookup, LookupResult } from "../support/names";
import { readTranscripts } from "../transcripts/reader";

const names = new Names();
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

describe("a look-up that ends within a reply", () => {
  for (const [end, code] of [
    ["eof", Code.EndWithinReply],
    ["silence", Code.LookupTimeout],
  ] as const) {
    it(`is ${Code[code]} at each byte of each transcript`, () => {
      let runs = 0;
      for (const { file, line, service, name, answer, outcome } of readTranscripts().lookup) {
        if (outcome.code === (Code.BadName as number)) continue;
        const lookup = { service, name: Buffer.from(name, "hex"), end };
        const all = Buffer.from(answer, "hex");
        // A wrong byte is not consumed, and what is missing is noticed at the last one.
        for (let length = 0; length < outcome.consumed; length++, runs++) {
          const result = names.run(lookup, [all.subarray(0, length)]);
          assert.equal(result.code, code, `${file}:${line}: ${length} bytes`);
          assert.equal(result.offset, length);
        }
      }
      assert.ok(runs > 10_000, `${runs} runs`);
    });
  }
});

/** Segments of `length` bytes in all: `start`, `body` again and again, and `end`. */
function* stream(length: number, start: string, body: string, end = ""): Generator<Buffer> {
  yield bytes(start);
  const block = bytes(body.repeat(Math.floor(Names.SEGMENT_MAX / body.length)));
  let left = length - start.length - end.length;
  for (; left > block.length; left -= block.length) yield block;
  yield block.subarray(0, left);
  yield bytes(end);
}

const word = (value: number): string => {
  const four = Buffer.alloc(4);
  four.writeUInt32BE(value);
  return four.toString("latin1");
};

/** The head of a libvirt message of `length` bytes. */
const head = (length: number, procedure: number, serial: number, type = 1): string =>
  [length, 0x20008086, 1, procedure, type, serial, 0].map(word).join("");

const HEADER = 28;
const LONGEST_XML = 4_194_304;
const before = `${head(HEADER, 1, 1)}${head(56, 23, 2)}${word(4)}MyVM${"u".repeat(16)}${word(1)}`;

/** What leads to the XML of a domain, and an XML of the greatest length. */
function* xml(start: string, body: string, end: string): Generator<Buffer> {
  yield bytes(`${before}${head(HEADER + 4 + LONGEST_XML, 14, 3)}${word(LONGEST_XML)}`);
  yield* stream(LONGEST_XML, start, body, end);
}

describe("a service that sends much", () => {
  const machined: Lookup = { service: 1, name: bytes("vm"), end: "silence" };
  const libvirt: Lookup = { service: 2, name: bytes("MyVM"), end: "silence" };
  const MANY = 4 << 20;
  const offsetOfXml = before.length + HEADER + 4;
  const found = '"parameters":{"class":"vm","vSockCid":7}}\0';
  const vsock = "</a><vsock><cid address='7'";
  const hostile: [string, Lookup, Iterable<Buffer>, Code, offset: number][] = [
    ["the longest reply", machined, stream(65_536, "{", " ", found), Code.Done, 65_536],
    ["one byte more", machined, stream(65_537, "{", " ", found), Code.ReplyTooLong, 65_536],
    ["white space", machined, stream(MANY, "", " \n"), Code.ReplyTooLong, 65_536],
    ["a text", machined, stream(MANY, '{"x":"', "\\u00fc"), Code.ReplyTooLong, 65_536],
    ["a key", machined, stream(MANY, '{"', "k"), Code.ReplyTooLong, 65_536],
    ["a number", machined, stream(MANY, '{"x":', "1"), Code.ReplyTooLong, 65_536],
    ["members", machined, stream(MANY, '{"x":0', ',"x":0'), Code.ReplyTooLong, 65_536],
    ["a depth of a million", machined, stream(MANY, '{"x":', "["), Code.BadReply, 20],
    ["objects in objects", machined, stream(MANY, "", '{"x":'), Code.BadReply, 80],
    ["the longest XML", libvirt, xml("<domain><devices><a>", "a", vsock), Code.Done, 0],
    ["XML with a text", libvirt, xml("<domain>", "a", ""), Code.BadReply, LONGEST_XML - 1],
    ["XML with a value", libvirt, xml("<domain a='", "a", ""), Code.BadReply, LONGEST_XML - 1],
    ["XML of a great depth", libvirt, xml("", "<domain>", ""), Code.BadReply, LONGEST_XML - 1],
    ["XML with a comment", libvirt, xml("<!--", "- ", ""), Code.BadReply, LONGEST_XML - 1],
    [
      "XML with devices",
      libvirt,
      xml("<domain>", "<devices/>", ""),
      Code.BadReply,
      LONGEST_XML - 1,
    ],
    ["events", libvirt, stream(MANY, "", head(HEADER, 1, 1, 2)), Code.LookupTimeout, MANY],
  ];
  for (const [what, lookup, segments, code, offset] of hostile) {
    it(`with ${what} ends, and touches no more of the memory`, () => {
      const { memory, heap, slotSize, requestMax } = names;
      const own = Buffer.from(memory.subarray(0, heap));
      const buffers = heap + slotSize + requestMax + Names.SEGMENT_MAX;
      memory.fill(0xaa, buffers);
      const result: LookupResult = names.run(lookup, segments);
      assert.equal(Code[result.code], Code[code]);
      const isXml = what.includes("XML");
      // After its length the XML has a length of its own.
      const expected = isXml ? offsetOfXml + (offset || LONGEST_XML) : offset;
      assert.equal(result.offset, expected);
      if (code === Code.Done) assert.equal(result.cid, 7);
      assert.ok(own.equals(memory.subarray(0, heap)), "the module's own data has changed");
      assert.ok(memory.subarray(buffers).every((byte) => byte === 0xaa));
      assert.equal(memory.length, 65536, "the memory grew");
    });
  }
});

describe("look-ups in one instance", () => {
  it("are independent, and a slot can be moved", () => {
    // Two of them, a byte in turns; the second slot is copied to another place after each byte.
    const reply = bytes('{"parameters":{"class":"vm","vSockCid":77}}\0');
    const { heap, slotSize, memory } = names;
    const first = heap;
    let second = heap + slotSize;
    const [free, at] = [heap + 3 * slotSize, heap + 5 * slotSize];
    memory.set(bytes("vm"), at);
    for (const slot of [first, second]) {
      assert.equal(names.call("lookup_begin", slot, 1, at, 2), Code.NeedMore);
      assert.ok(names.call("lookup_request", slot, free + slotSize) > 0);
    }
    for (const byte of reply) {
      memory.writeUInt8(byte, at);
      assert.equal(names.call("lookup_receive", first, at, 1), 1);
      assert.equal(names.call("lookup_receive", second, at, 1), 1);
      const to = second === heap + slotSize ? heap + 2 * slotSize : heap + slotSize;
      memory.copyWithin(to, second, second + slotSize);
      memory.fill(0xff, second, second + slotSize);
      second = to;
    }
    for (const slot of [first, second]) {
      assert.equal(names.call("lookup_code", slot), Code.Done);
      assert.equal(memory.readUInt32LE(slot + 8), 77);
    }
  });
});
