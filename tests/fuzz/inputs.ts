// The inputs of the fuzz targets, in the format that the heads of address.c and handshake.c describe:
// written from transcripts, to begin with, and read for the model.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root } from "../support/proxy";
import type { Transcripts } from "../transcripts/reader";
import type { Target } from "./build";

export interface AddressInput {
  address: Buffer;
  port: Buffer | undefined;
  name: Buffer | undefined;
}

export interface HandshakeInput {
  port: number;
  /** How many bytes of the request were taken; all if not said. */
  sent: number | undefined;
  answer: Buffer;
  /** The answer in the input's segments. */
  segments: Buffer[];
  end: "eof" | "silence" | undefined;
}

const AddressFlag = { HasPort: 1, HasName: 2, NameIsAddress: 4, Repeated: 64 } as const;
const HandshakeFlag = { EndOfFile: 1, Deadline: 2, Part: 4 } as const;

const ADDRESS_HEADER = 4;
const HANDSHAKE_HEADER = 9;
/** Longer ones are not looked at: TEXT_MAX and ANSWER_MAX. */
const ADDRESS_MAX = 12000;
const HANDSHAKE_MAX = 8192 + HANDSHAKE_HEADER;

/** Lengths that byte 3 of an address can name. */
const repeatedLength = (byte: number): number => byte + (byte < 128 ? 64 : 3968);

const capital = (byte: number): number => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte);
const small = (byte: number): number => (byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte);

export function writeAddress({ address, port, name }: AddressInput): Buffer {
  let flags = 0;
  if (port !== undefined) flags |= AddressFlag.HasPort;
  if (name !== undefined) flags |= AddressFlag.HasName;
  let nameBytes = name ?? Buffer.alloc(0);
  if (name !== undefined && address.length > 0 && Buffer.from(name.map(small)).equals(address)) {
    flags |= AddressFlag.NameIsAddress;
    const mask = Buffer.alloc(Math.min(255, Math.ceil(name.length / 8)));
    name.forEach((byte, i) => {
      const at = i >> 3;
      if (at < mask.length && byte !== address[i]) mask[at] = (mask[at] ?? 0) | (1 << (i & 7));
    });
    nameBytes = mask;
  }
  let written = address;
  let repeated = 0;
  for (let byte = 0; byte < 256; byte++) {
    if (repeatedLength(byte) !== address.length) continue;
    let end = address.length;
    while (end > 1 && address[end - 2] === address[end - 1]) end--;
    flags |= AddressFlag.Repeated;
    repeated = byte;
    written = address.subarray(0, end);
  }
  const portBytes = port ?? Buffer.alloc(0);
  if (portBytes.length > 255 || nameBytes.length > 255) {
    throw new Error("PORT and NAME of an input have 255 bytes at most");
  }
  const head = [flags, portBytes.length, nameBytes.length, repeated];
  return Buffer.concat([Buffer.from(head), portBytes, nameBytes, written]);
}

/** What address.c makes of an input; undefined where it does not look at it. */
export function readAddress(input: Buffer): AddressInput | undefined {
  if (input.length < ADDRESS_HEADER || input.length > ADDRESS_MAX) return undefined;
  const [flags = 0, portLength = 0, nameLength = 0, repeated = 0] = input;
  let rest = input.subarray(ADDRESS_HEADER);
  const take = (length: number): Buffer => {
    const taken = rest.subarray(0, length);
    rest = rest.subarray(taken.length);
    return taken;
  };
  const port = (flags & AddressFlag.HasPort) === 0 ? undefined : take(portLength);
  let name = (flags & AddressFlag.HasName) === 0 ? undefined : take(nameLength);
  let address = rest;
  if ((flags & AddressFlag.Repeated) !== 0 && address.length > 0) {
    const missing = Math.max(0, repeatedLength(repeated) - address.length);
    address = Buffer.concat([address, Buffer.alloc(missing, address.at(-1))]);
  }
  if (name !== undefined && (flags & AddressFlag.NameIsAddress) !== 0) {
    const mask = name;
    name = Buffer.from(
      address.map((byte, i) => (((mask[i >> 3] ?? 0) >> (i & 7)) & 1 ? capital(byte) : byte)),
    );
  }
  return { address, port, name };
}

export function writeHandshake(input: Omit<HandshakeInput, "segments">): Buffer {
  const head = Buffer.alloc(HANDSHAKE_HEADER);
  const { port, sent, answer, end } = input;
  if (end === "eof") head[0] = HandshakeFlag.EndOfFile;
  if (end === "silence") head[0] = HandshakeFlag.Deadline;
  if (sent !== undefined && sent !== `CONNECT ${port}\n`.length) {
    head[0] = (head[0] ?? 0) | HandshakeFlag.Part;
    head[5] = sent;
  }
  head.writeUInt32LE(port, 1);
  head.set([1, 2, 3], 6);
  return Buffer.concat([head, answer]);
}

export function readHandshake(input: Buffer): HandshakeInput | undefined {
  if (input.length < HANDSHAKE_HEADER || input.length > HANDSHAKE_MAX) return undefined;
  const [flags = 0] = input;
  const answer = input.subarray(HANDSHAKE_HEADER);
  const segments: Buffer[] = [];
  for (let at = 0; at < answer.length;) {
    const length = input[6 + (segments.length % 3)] || 256;
    segments.push(answer.subarray(at, at + length));
    at += length;
  }
  const end =
    (flags & HandshakeFlag.EndOfFile) !== 0
      ? "eof"
      : (flags & HandshakeFlag.Deadline) !== 0
        ? "silence"
        : undefined;
  const sent = (flags & HandshakeFlag.Part) === 0 ? undefined : input[5];
  return { port: input.readUInt32LE(1), sent, answer, segments, end };
}

/** An input for each transcript. */
export function writeTranscripts(transcripts: Transcripts): Record<Target, Buffer[]> {
  const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
  return {
    address: transcripts.address.map(({ address, port, name }) =>
      writeAddress({
        address: bytes(address),
        port: port === undefined ? undefined : bytes(port),
        name: name === undefined ? undefined : bytes(name),
      }),
    ),
    handshake: transcripts.handshake.map(({ port, sent, answer, end }) =>
      writeHandshake({
        port,
        sent,
        answer: bytes(answer).subarray(0, HANDSHAKE_MAX - HANDSHAKE_HEADER),
        end,
      }),
    ),
  };
}

// A corpus is a file of the repository, an input a line, in hexadecimal.

function corpusFile(target: Target): string {
  return path.join(root, `tests/fuzz/corpus/${target}.hex`);
}

export function packedInputs(target: Target): Buffer[] {
  const file = corpusFile(target);
  const lines = existsSync(file) ? readFileSync(file, "latin1").split("\n") : [];
  return lines.filter((line) => line !== "").map((line) => Buffer.from(line, "hex"));
}

export function packInputs(target: Target, inputs: readonly Buffer[]): void {
  const lines = inputs.map((input) => `${input.toString("hex")}\n`).sort();
  mkdirSync(path.dirname(corpusFile(target)), { recursive: true });
  writeFileSync(corpusFile(target), lines.join(""));
}
