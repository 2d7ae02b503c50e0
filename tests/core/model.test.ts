// core.wasm, names.wasm and second implementations of their rules, model.ts and lookup-model.ts, have the
// same results: on the corpora of the fuzzers and on what fast-check generates. A failure shows the smallest input found, and the
// command that tests it again.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  packedInputs,
  readAddress,
  readHandshake,
  readLookup,
  writeAddress,
  writeHandshake,
  writeLookup,
  writeTranscripts,
} from "../fuzz/inputs";
import { checkInput, coreAddress, coreHandshake, modelAddress, modelHandshake } from "./model";
import { readTranscripts } from "../transcripts/reader";

const RUNS = 20_000;

const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;

/** Checks a property; MODEL_SEED and MODEL_PATH repeat a case. */
function checkAll<T>(test: string, input: fc.Arbitrary<T>, check: (input: T) => void): void {
  const details = fc.check(fc.property(input, check), {
    numRuns: RUNS,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  });
  if (!details.failed) return;
  throw new Error(
    `${fc.defaultReportMessage(details) ?? ""}\n\nreplay: ` +
      `MODEL_SEED=${details.seed} MODEL_PATH=${details.counterexamplePath ?? ""} ` +
      `node --import ./tests/tsx.mjs --test-name-pattern="${test}" tests/core/model.test.ts`,
  );
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** Some of these words, between arbitrary bytes. */
function text(words: readonly string[]): fc.Arbitrary<Buffer> {
  const part = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...words).map(latin1) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 3 }).map((some) => Buffer.from(some)) },
  );
  return fc.array(part, { maxLength: 5 }).map((parts) => Buffer.concat(parts));
}

const number = fc.oneof(
  fc.constantFrom("", "0", "00", "01", "22", "+1", " 1", "0x1", "1 "),
  fc.bigInt({ min: 4294967290n, max: 4294967300n }).map(String),
  fc.bigInt({ min: 0n, max: 1n << 70n }).map(String),
);

// The lengths are those around the limits, 107 and 4095.
const length = fc.oneof(fc.integer({ min: 104, max: 109 }), fc.integer({ min: 4090, max: 4098 }));
const pathWords = ["/", "%", "%%", ".", "./", "run", "VM.sock", "\0", "\xff", "d".repeat(105)];
const schemes = [
  ...["unix", "unix-abstract", "vsock", "vsock-mux", ".host", "machine", ""],
  ...["UNIX", "Unix-Abstract", "VSOCK", "vSock-Mux", ".HOST", "unix\rabstract"],
];

const address = fc
  .tuple(
    fc.constantFrom(...schemes).map(latin1),
    fc.constantFrom("/", "%", "").map(latin1),
    fc.oneof(
      text([...pathWords, "hypervisor", "local", "host", "HOST"]),
      number.map(latin1),
      length.map((count) => Buffer.alloc(count, "d")),
    ),
    fc.oneof(fc.constant(Buffer.of()), text(pathWords)),
  )
  .map((parts) => Buffer.concat(parts));

/** The same address with some letters as capitals. */
const withCapitals = (of: Buffer): fc.Arbitrary<Buffer> =>
  fc.infiniteStream(fc.boolean()).map((capitals) => {
    const isCapital = (byte: number): boolean =>
      byte >= 0x61 && byte <= 0x7a && capitals.next().value === true;
    return Buffer.from(of.map((byte) => (isCapital(byte) ? byte - 0x20 : byte)));
  });

const command = address.chain((of) =>
  fc.record({
    address: fc.constant(of),
    port: fc.option(number.map(latin1), { nil: undefined }),
    name: fc.option(fc.oneof(withCapitals(of), address), { nil: undefined }),
  }),
);

const reply = fc
  .tuple(
    fc.constantFrom("OK ", "OK ", "OK ", "OK", "O", "", "ok ").map(latin1),
    fc.oneof(number, fc.stringMatching(/^[0-9]{1,11}$/)).map(latin1),
    fc.constantFrom("\n", "\n", "\n", "", "\r\n", " \n", "\0", "\nSSH-2.0-x\r\n").map(latin1),
    text(["\n", "SSH-2.0-OpenSSH\r\n", "OK 5\n"]),
  )
  .map((parts) => Buffer.concat(parts));

const segments = fc
  .tuple(reply, fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 20 }))
  .map(([rest, lengths]) => {
    const cut: Buffer[] = [];
    for (const size of lengths) {
      cut.push(rest.subarray(0, size));
      rest = rest.subarray(size);
    }
    return [...cut, rest].filter((segment) => segment.length > 0);
  });

const handshake = fc.record({
  port: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(22, 0, 0xffff_ffff)),
  sent: fc.oneof(
    { weight: 9, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 30 }) },
  ),
  segments,
  end: fc.constantFrom("eof" as const, "silence" as const, undefined),
});

const pieces = [
  ...['"', "\\", "\\ud800", "\\u00e9", "\xc3\xa9", "\xff", "{", "}", "[", "]", ",", ":", " ", "\0"],
  ...["null", "true", "0", "-", "1.5e7", "4294967296", '"class":"vm"', '"x":', '"error":""'],
  ...[
    "<",
    ">",
    "/",
    "'",
    "=",
    " address='7'",
    "<vsock>",
    "<a>",
    "</a>",
    "<!--",
    "-->",
    "<![CDATA[",
  ],
];

const edit = fc.record({
  at: fc.nat(),
  drop: fc.constantFrom(0, 0, 1, 4, 12),
  put: fc.oneof(fc.constantFrom("", ...pieces).map(latin1), fc.uint8Array({ maxLength: 2 })),
});

/** The inputs of the transcripts with a few edits. */
const lookup = fc
  .tuple(
    fc.constantFrom(...writeTranscripts(readTranscripts()).lookup),
    fc.array(edit, { maxLength: 3 }),
  )
  .map(([seed, edits]) =>
    edits.reduce((input, { at, drop, put }) => {
      const from = at % (input.length + 1);
      return Buffer.concat([input.subarray(0, from), put, input.subarray(from + drop)]);
    }, seed),
  );

describe("the modules and their models have the same results", () => {
  for (const target of ["address", "handshake", "lookup"] as const) {
    it(`on the corpus of ${target}`, () => {
      const inputs = packedInputs(target);
      assert.ok(inputs.length > 5, `${inputs.length} inputs`);
      for (const input of inputs) {
        try {
          checkInput(target, input);
        } catch (error) {
          throw new Error(`replay: npm run fuzz -- ${target} ${input.toString("hex")}`, {
            cause: error,
          });
        }
      }
    });
  }

  it("on generated addresses", ({ name }) => {
    checkAll(name, command, (input) => {
      assert.deepEqual(coreAddress(input), modelAddress(input));
    });
  });

  it("on generated replies", ({ name }) => {
    checkAll(name, handshake, (input) => {
      const answer = Buffer.concat(input.segments);
      assert.deepEqual(coreHandshake({ ...input, answer }), modelHandshake({ ...input, answer }));
    });
  });

  it("on generated look-ups", ({ name }) => {
    checkAll(name, lookup, (input) => {
      checkInput("lookup", input);
    });
  });
});

describe("a transcript as an input of a fuzzer", () => {
  const transcripts = readTranscripts();
  const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");

  it("is the same address", () => {
    for (const one of transcripts.address) {
      const [address, port, name] = [one.address, one.port, one.name].map((hex) =>
        hex === undefined ? undefined : bytes(hex),
      );
      const input = { address: address ?? Buffer.of(), port, name };
      assert.deepEqual(readAddress(writeAddress(input)), input);
    }
  });

  it("is the same handshake", () => {
    for (const { port, sent, answer, end, outcome } of transcripts.handshake) {
      const input = { port, sent, answer: bytes(answer), end };
      const { segments: cut = [], ...read } = readHandshake(writeHandshake(input)) ?? {};
      const all = sent === outcome.request.length / 2;
      assert.deepEqual(read, { ...input, sent: all ? undefined : sent });
      assert.deepEqual(Buffer.concat(cut), bytes(answer));
    }
  });

  it("is the same look-up", () => {
    for (const { service, name, answer, end } of transcripts.lookup) {
      const input = { service, name: bytes(name), answer: bytes(answer), end };
      const { segments: cut = [], ...read } = readLookup(writeLookup(input)) ?? {};
      assert.deepEqual(read, input);
      assert.deepEqual(Buffer.concat(cut), input.answer);
    }
  });
});
