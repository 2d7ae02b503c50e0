// The inputs of the fuzz targets, in the format that the heads of address.c, handshake.c and lookup.c
// describe: written from transcripts, to begin with, and read for the models.

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

export interface LookupInput {
  /** Of names.wasm: 1 machined, 2 libvirt's qemu:///system, 3 its qemu:///session. */
  service: number;
  name: Buffer;
  answer: Buffer;
  segments: Buffer[];
  end: "eof" | "silence" | undefined;
}

const AddressFlag = { HasPort: 1, HasName: 2, NameIsAddress: 4, Repeated: 64 } as const;
const HandshakeFlag = { EndOfFile: 1, Deadline: 2, Part: 4 } as const;
const LookupFlag = { EndOfFile: 1, Deadline: 2, Framed: 16 } as const;
const Frame = { Error: 1, Event: 2, String: 4, Repeated: 8 } as const;

const ADDRESS_HEADER = 4;
const HANDSHAKE_HEADER = 9;
const LOOKUP_HEADER = 6;
const FRAME_HEADER = 4;
const MESSAGE_HEADER = 28;
/** Longer ones are not looked at: TEXT_MAX and ANSWER_MAX. */
const ADDRESS_MAX = 12000;
const LOOKUP_MAX = 16384;
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
  const segments = cut(answer, input.subarray(6, 9));
  const end =
    (flags & HandshakeFlag.EndOfFile) !== 0
      ? "eof"
      : (flags & HandshakeFlag.Deadline) !== 0
        ? "silence"
        : undefined;
  const sent = (flags & HandshakeFlag.Part) === 0 ? undefined : input[5];
  return { port: input.readUInt32LE(1), sent, answer, segments, end };
}

/** Segments of these lengths, one after the other and from the front again; 0 is 256. */
function cut(answer: Buffer, lengths: Buffer): Buffer[] {
  const segments: Buffer[] = [];
  for (let at = 0; at < answer.length;) {
    const length = lengths[segments.length % 3] || 256;
    segments.push(answer.subarray(at, at + length));
    at += length;
  }
  return segments;
}

/** The messages of frames. */
function unframe(frames: Buffer): Buffer {
  const messages: Buffer[] = [];
  let [length, serial] = [0, 0];
  for (let at = 0; at + FRAME_HEADER <= frames.length;) {
    const [procedure = 0, how = 0] = frames.subarray(at);
    const start = at + FRAME_HEADER;
    const payload = frames.subarray(start, start + frames.readUInt16LE(at + 2));
    const isString = (how & Frame.String) !== 0;
    const isEvent = (how & Frame.Event) !== 0;
    const before = MESSAGE_HEADER + (isString ? 4 : 0);
    const padded = isString ? (payload.length + 3) & ~3 : payload.length;
    const message = Buffer.alloc(before + padded);
    if ((length += message.length) > LOOKUP_MAX) break;
    if (!isEvent && (how & Frame.Repeated) === 0) serial++;
    const type = isEvent ? 2 : 1;
    const words = [message.length, 0x20008086, 1, procedure, type, isEvent ? 0 : serial, how & 1];
    words.forEach((word, i) => message.writeUInt32BE(word, 4 * i));
    if (isString) message.writeUInt32BE(payload.length, MESSAGE_HEADER);
    payload.copy(message, before);
    messages.push(message);
    at = start + payload.length;
  }
  return Buffer.concat(messages);
}

/** The frames of messages; undefined if they cannot be framed. */
function frame(answer: Buffer): Buffer | undefined {
  const frames: Buffer[] = [];
  for (let at = 0; at + MESSAGE_HEADER <= answer.length;) {
    const message = answer.subarray(at, at + answer.readUInt32BE(at));
    if (message.length < MESSAGE_HEADER) return undefined;
    let payload = message.subarray(MESSAGE_HEADER);
    let how = message.readUInt32BE(24) === 1 ? Frame.Error : 0;
    if (message.readUInt32BE(16) === 2) how |= Frame.Event;
    if (how === 0 && message.readUInt32BE(12) === 14 && payload.length >= 4) {
      how |= Frame.String;
      payload = payload.subarray(4, 4 + payload.readUInt32BE(0));
    }
    const head = Buffer.from([message[15] ?? 0, how, 0, 0]);
    head.writeUInt16LE(payload.length, 2);
    frames.push(head, payload);
    at += message.length;
  }
  const framed = Buffer.concat(frames);
  return unframe(framed).equals(answer) ? framed : undefined;
}

export function writeLookup(input: Omit<LookupInput, "segments">): Buffer {
  const { service, name, answer, end } = input;
  const framed = service === 1 ? undefined : frame(answer);
  let flags = framed === undefined ? 0 : LookupFlag.Framed;
  if (end === "eof") flags |= LookupFlag.EndOfFile;
  if (end === "silence") flags |= LookupFlag.Deadline;
  const head = Buffer.from([flags, service, name.length, 1, 2, 30]);
  return Buffer.concat([head, name, framed ?? answer]);
}

/** What lookup.c makes of an input; undefined where it does not look at it. */
export function readLookup(input: Buffer): LookupInput | undefined {
  if (input.length < LOOKUP_HEADER || input.length > LOOKUP_MAX) return undefined;
  const [flags = 0, service = 0, nameLength = 0] = input;
  if (service % 4 === 0) return undefined;
  const name = input.subarray(LOOKUP_HEADER, LOOKUP_HEADER + nameLength);
  const rest = input.subarray(LOOKUP_HEADER + name.length);
  const answer = (flags & LookupFlag.Framed) === 0 ? rest : unframe(rest);
  const end =
    (flags & LookupFlag.EndOfFile) !== 0
      ? "eof"
      : (flags & LookupFlag.Deadline) !== 0
        ? "silence"
        : undefined;
  const segments = cut(answer, input.subarray(3, 6));
  return { service: service % 4, name, answer, segments, end };
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
    lookup: transcripts.lookup.map(({ service, name, answer, end }) =>
      writeLookup({ service, name: bytes(name), answer: bytes(answer), end }),
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
