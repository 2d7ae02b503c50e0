// core.wasm against the second reading of its rules, tests/core/model.ts: on the corpora that fuzzing has
// grown, on the transcripts, and on what fast-check makes up. Where the two differ, there is the
// smallest input that was found, and the command that brings it back.
//
// Also that an input can be written and read again: what the transcripts say is what is fuzzed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  packedInputs,
  readAddress,
  readHandshake,
  writeAddress,
  writeHandshake,
} from "../fuzz/inputs";
import { checkInput, coreAddress, coreHandshake, modelAddress, modelHandshake } from "./model";
import { readTranscripts } from "../transcripts/reader";

const RUNS = 20_000;

const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;

/** Checks a property of what fast-check makes up; MODEL_SEED and MODEL_PATH bring a case back. */
function checkAll<T>(test: string, input: fc.Arbitrary<T>, check: (input: T) => void): void {
  const details = fc.check(fc.property(input, check), {
    numRuns: RUNS,
    ...(seed === undefined ? {} : { seed: Number(seed) }),
    ...(path === undefined ? {} : { path }),
  });
  if (!details.failed) return;
  throw new Error(
    `${fc.defaultReportMessage(details) ?? ""}\n\nThe same again:\n` +
      `    MODEL_SEED=${details.seed} MODEL_PATH=${details.counterexamplePath ?? ""} ` +
      `npx tsx --test --test-name-pattern="${test}" tests/core/model.test.ts`,
  );
}

const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");

/** Bytes that are likely to mean something, between such as are not. */
function text(words: readonly string[]): fc.Arbitrary<Buffer> {
  const part = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...words).map((word) => Buffer.from(word, "latin1")) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 3 }).map((some) => Buffer.from(some)) },
  );
  return fc.array(part, { maxLength: 5 }).map((parts) => Buffer.concat(parts));
}

const number = fc.oneof(
  fc.constantFrom("", "0", "00", "01", "22", "+1", " 1", "0x1", "1 "),
  fc.bigInt({ min: 4294967290n, max: 4294967300n }).map(String),
  fc.bigInt({ min: 0n, max: 1n << 70n }).map(String),
);

const start = fc.constantFrom(
  ...["unix/", "unix%", "unix-abstract/", "unix-abstract%", "vsock/", "vsock%", "vsock-mux/"],
  ...["vsock-mux%", ".host", "unix", "", "UNIX/", "machine/"],
);

const pathWords = ["/", "%", "%%", ".", "./", "run", "VM.sock", "\0", "\xff", "d".repeat(105)];

const address = fc
  .tuple(
    start,
    fc.oneof(
      text([...pathWords, "hypervisor", "local", "host"]),
      number.map((digits) => Buffer.from(digits)),
      // Around the limits: 107 and 4095.
      fc
        .oneof(fc.integer({ min: 104, max: 109 }), fc.integer({ min: 4090, max: 4098 }))
        .map((length) => Buffer.alloc(length, "d")),
    ),
    fc.oneof(fc.constant(""), text(pathWords)),
  )
  .map(([scheme, rest, tail]) => Buffer.concat([Buffer.from(scheme), rest, Buffer.from(tail)]));

/** The same with some letters as capitals, or something else. */
const withName = address.chain((of) =>
  fc.record({
    address: fc.constant(of),
    port: fc.oneof(
      fc.constant(undefined),
      number.map((digits) => Buffer.from(digits)),
    ),
    name: fc.oneof(
      fc.constant(undefined),
      fc.infiniteStream(fc.boolean()).map((capitals) =>
        Buffer.from(
          of.map((byte) => {
            const isLetter = byte >= 0x61 && byte <= 0x7a;
            return isLetter && capitals.next().value === true ? byte - 0x20 : byte;
          }),
        ),
      ),
      address,
    ),
  }),
);

const handshake = fc.record({
  port: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(22, 0, 0xffff_ffff)),
  sent: fc.oneof(
    { weight: 9, arbitrary: fc.constant(undefined) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 30 }) },
  ),
  segments: fc
    .tuple(
      fc.constantFrom("OK ", "OK ", "OK ", "OK", "O", "", "ok "),
      fc.oneof(number, fc.stringMatching(/^[0-9]{1,11}$/)),
      fc.oneof(fc.constant("\n"), fc.constantFrom("", "\r\n", " \n", "\0", "\nSSH-2.0-x\r\n")),
      text(["\n", "SSH-2.0-OpenSSH\r\n", "OK 5\n"]),
    )
    .map((parts) => Buffer.concat(parts.map((part) => Buffer.from(part as string))))
    .chain((answer) =>
      fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 20 }).map((lengths) => {
        const cut: Buffer[] = [];
        let at = 0;
        for (const length of lengths) {
          if (at >= answer.length) break;
          cut.push(answer.subarray(at, at + length));
          at += length;
        }
        if (at < answer.length) cut.push(answer.subarray(at));
        return cut;
      }),
    ),
  end: fc.constantFrom("eof" as const, "silence" as const, undefined),
});

describe("core.wasm and the model of its rules agree", () => {
  for (const target of ["address", "handshake"] as const) {
    it(`on the corpus of ${target}`, () => {
      const inputs = packedInputs(target);
      assert.ok(inputs.length > 20, `${inputs.length} inputs`);
      for (const input of inputs) {
        try {
          checkInput(target, input);
        } catch (error) {
          const hex = input.toString("hex");
          throw new Error(`npm run fuzz -- ${target} ${hex}`, { cause: error });
        }
      }
    });
  }

  it("on every address", ({ name }) => {
    checkAll(name, withName, (input) => {
      assert.deepEqual(coreAddress(input), modelAddress(input));
    });
  });

  it("on every answer", ({ name }) => {
    checkAll(name, handshake, (cut) => {
      const input = { ...cut, answer: Buffer.concat(cut.segments) };
      assert.deepEqual(coreHandshake(input), modelHandshake(input));
    });
  });
});

describe("a transcript and the input made of it say the same", () => {
  const { address: addresses, handshake: handshakes } = readTranscripts();

  it("of an address", () => {
    for (const { address, port, name } of addresses) {
      const input = {
        address: bytes(address),
        port: port === undefined ? undefined : bytes(port),
        name: name === undefined ? undefined : bytes(name),
      };
      assert.deepEqual(readAddress(writeAddress(input)), input);
    }
  });

  it("of a handshake", () => {
    for (const { port, sent, answer, end } of handshakes) {
      const input = { port, sent, answer: bytes(answer), end };
      const { segments = [], ...read } = readHandshake(writeHandshake(input)) ?? {};
      const all = sent === `CONNECT ${port}\n`.length;
      assert.deepEqual(read, { ...input, sent: all ? undefined : sent });
      assert.deepEqual(Buffer.concat(segments), bytes(answer));
    }
  });
});
