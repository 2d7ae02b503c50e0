// The library: core.wasm for Node, addresses and handshakes without I/O. The process has one instance.
// The slot of a handshake is kept here, and copied to the instance's memory for each call.

import coreWasm from "../dist/core.wasm";
import { Argument, Code, Field, Scheme } from "../assembly/codes";
import { MESSAGES } from "../assembly/messages";
import { ESCAPED, UNTRUSTED_MAX } from "../assembly/printable";

/** The exports of core.wasm (docs/abi.md). */
interface Core {
  memory: WebAssembly.Memory;
  heap(): number;
  address_size: WebAssembly.Global;
  address_parse(
    record: number,
    address: number,
    addressLength: number,
    port: number,
    portLength: number,
    name: number,
    nameLength: number,
  ): Code;
  handshake_size: WebAssembly.Global;
  handshake_request_max: WebAssembly.Global;
  handshake_answer_max: WebAssembly.Global;
  handshake_begin(slot: number, port: number, request: number): number;
  handshake_sent(slot: number, count: number): void;
  handshake_receive(slot: number, at: number, length: number): number;
  handshake_eof(slot: number): void;
  handshake_deadline(slot: number): void;
  handshake_code(slot: number): Code;
  handshake_number(slot: number): number;
  handshake_offset(slot: number): number;
  handshake_wanted(slot: number): number;
}

/** A part of an address: bytes, or a string, which is encoded as UTF-8. */
export type Text = string | Uint8Array;

/** A parsed address. docs/addresses.md has the grammar. */
export interface Address {
  /**
   * The part of the address before the first `/` or `%`.
   *
   * @example parseAddress("vsock%3").scheme // "vsock"
   */
  scheme: (typeof schemes)[Scheme];
  /**
   * The port within the machine; undefined for unix, unix-abstract and .host.
   *
   * @example parseAddress("vsock/3").port // 22
   */
  port: number | undefined;
  /**
   * The CID, for vsock; undefined for the other schemes.
   *
   * @example parseAddress("vsock/host").cid // 2
   */
  cid: number | undefined;
  /**
   * The path as bytes, for unix, vsock-mux and .host; the name, for unix-abstract, machine and qemu;
   * undefined for vsock.
   *
   * @example Buffer.from(parseAddress("unix/run/x.sock").path ?? []).toString() // "/run/x.sock"
   */
  path: Uint8Array | undefined;
  /**
   * Whether the path or name is from NAME, which differs from ADDRESS in capitals at most.
   *
   * @example parseAddress("unix/tmp/x", 22, "unix/Tmp/X").fromName // true
   */
  fromName: boolean;
  /**
   * The address for socket_shim_v1's sock_connect (docs/abi.md): u16 family, little-endian, and what
   * the family defines. Undefined for a name, which a look-up leads to an address: machine and qemu.
   *
   * @example parseAddress("unix/x").socketAddress // 03 00 2f 78: AF_UNIX by WASIX's number, "/x"
   */
  socketAddress: Uint8Array | undefined;
}

/**
 * The error of parseAddress. Its message is that of the command: the wrong argument, escaped and cut
 * after 4160 bytes, and what is wrong with it.
 */
export class AddressError extends Error {
  override name = "AddressError";
  constructor(
    /** The name of a Code (assembly/codes.ts) from UnknownAddress to BadName, such as "BadCid". */
    readonly code: string,
    /** The argument that is wrong. */
    readonly argument: "address" | "port" | "name",
    /** The offset in bytes of the first wrong byte within it. */
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

/** The error of a Handshake: the peer has closed, was silent or sent something else. */
export class HandshakeError extends Error {
  override name = "HandshakeError";
  constructor(
    /** The name of a Code (assembly/codes.ts), such as "EndOfFile". */
    readonly code: string,
    /** How many bytes of the reply were right. */
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

const core = new WebAssembly.Instance(new WebAssembly.Module(coreWasm)).exports as unknown as Core;

const HEAP = (core.heap() + 15) & ~15;

/** The instance's memory from HEAP on, at least `size` bytes. Valid until the next call. */
function heap(size: number): Uint8Array {
  const lacking = HEAP + size - core.memory.buffer.byteLength;
  if (lacking > 0) core.memory.grow(Math.ceil(lacking / 65536));
  return new Uint8Array(core.memory.buffer, HEAP, size);
}

const messages = new Map<Code, string>(MESSAGES);

function messageOf(code: Code): string {
  return messages.get(code) ?? `code ${code}`;
}

const schemes = {
  [Scheme.Unix]: "unix",
  [Scheme.UnixAbstract]: "unix-abstract",
  [Scheme.Vsock]: "vsock",
  [Scheme.VsockMux]: "vsock-mux",
  [Scheme.Host]: ".host",
  [Scheme.Machine]: "machine",
  [Scheme.Qemu]: "qemu",
  [Scheme.QemuSystem]: "qemu:system",
  [Scheme.QemuSession]: "qemu:session",
} as const;

const argumentNames = {
  [Argument.Address]: "address",
  [Argument.Port]: "port",
  [Argument.Name]: "name",
} as const;

function bytesOf(text: Text): Uint8Array {
  return typeof text === "string" ? Buffer.from(text) : text;
}

/** One character of UTF-8, or a byte that begins none, in a string of bytes. */
const CHARACTER = /[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[^]/g;

/** A text as the command prints it on stderr: see ESCAPED and UNTRUSTED_MAX. */
function escape(text: Uint8Array): string {
  if (text.length === 0) return "''";
  const shown = Buffer.from(text.subarray(0, UNTRUSTED_MAX))
    .toString("latin1")
    .replace(CHARACTER, (bytes) => {
      if (bytes === "\\") return "\\\\";
      const character = Buffer.from(bytes, "latin1").toString();
      const number = character.codePointAt(0) ?? 0;
      // What is not well-formed decodes to U+FFFD, once for each byte, which has three.
      const wellFormed = Buffer.byteLength(character) === bytes.length;
      const escaped = ESCAPED.some(([first, last]) => number >= first && number <= last);
      if (wellFormed && !escaped) return character;
      return Buffer.from(bytes, "latin1").toString("hex").replace(/../g, "\\x$&");
    });
  return text.length > UNTRUSTED_MAX ? `${shown}...` : shown;
}

/** The length of a text that no address and no port has: a path takes two bytes for one at most. */
const TOO_LONG = 2 * (core.address_size.value as number);

const SLASH = 0x2f;

/**
 * What the core sees of a text: the first TOO_LONG bytes, in which it finds the first wrong one. Of
 * those behind, it matters only whether there is a `/`: then `%` means `%`.
 */
function shorten(text: Uint8Array): Uint8Array {
  if (text.length <= TOO_LONG) return text;
  const part = new Uint8Array(text.subarray(0, TOO_LONG));
  if (text.includes(SLASH, TOO_LONG)) part[TOO_LONG - 1] = SLASH;
  return part;
}

/** Whether NAME differs from ADDRESS in capitals at most, behind what the core sees of them. */
function endsAlike(address: Uint8Array, name: Uint8Array): boolean {
  if (address.length !== name.length) return false;
  for (let i = TOO_LONG - 1; i < name.length; i++) {
    const byte = name[i] as number;
    if (address[i] !== (byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte)) return false;
  }
  return true;
}

/**
 * Parses an address as the command does: ADDRESS [PORT [NAME]] (docs/addresses.md).
 *
 * @param address such as `vsock/3`, `unix/run/x.sock`
 * @param port decimal, 0 to 4294967294; 22 by default; ignored for unix, unix-abstract and .host
 * @param name ssh's %n: if only capitals differ from `address`, its path or name is used
 * @throws AddressError if an argument is wrong
 *
 * @example
 *     const { scheme, cid, port } = parseAddress("vsock/4711", 22);
 *     // "vsock", 4711, 22
 *     parseAddress("vsock/x");
 *     // AddressError: vsock/x: not a CID: decimal, without sign, space or leading zero; or
 *     // hypervisor, local, host; with code "BadCid", argument "address" and offset 6
 */
export function parseAddress(address: Text, port?: Text | number, name?: Text): Address {
  const texts = [
    bytesOf(address),
    port === undefined ? undefined : bytesOf(typeof port === "number" ? String(port) : port),
    name === undefined ? undefined : bytesOf(name),
  ] as const;
  const [whole, portText, wholeName] = texts;
  const alike = wholeName !== undefined && endsAlike(whole, wholeName);
  const parts = [whole, portText, alike ? wholeName : undefined].map(
    (text) => text && shorten(text),
  );
  const recordSize = core.address_size.value as number;
  const memory = heap(parts.reduce((size, text) => size + (text?.length ?? 0), recordSize));
  let at = recordSize;
  const [a = 0, aLength = 0, p = 0, pLength = 0, n = 0, nLength = 0] = parts.flatMap((text) => {
    if (text === undefined) return [0, 0];
    memory.set(text, at);
    at += text.length;
    return [HEAP + at - text.length, text.length];
  });
  const code = core.address_parse(HEAP, a, aLength, p, pLength, n, nLength);

  const record = new DataView(core.memory.buffer, HEAP, recordSize);
  const argument = record.getUint32(Field.Argument, true) as Argument;
  if (code !== Code.Done) {
    const offset = record.getUint32(Field.Offset, true);
    const name = argumentNames[argument];
    const wrong = escape(texts[argument] ?? new Uint8Array());
    throw new AddressError(Code[code], name, offset, `${wrong}: ${messageOf(code)}`);
  }
  const scheme = record.getUint32(Field.Scheme, true) as Scheme;
  const socketAddress = memory.slice(
    Field.SocketAddress,
    Field.SocketAddress + record.getUint32(Field.Length, true),
  );
  const isName = scheme > Scheme.Host;
  const hasPort = scheme === Scheme.Vsock || scheme === Scheme.VsockMux || isName;
  const isAbstract = scheme === Scheme.UnixAbstract;
  return {
    scheme: schemes[scheme],
    port: hasPort ? record.getUint32(Field.Port, true) : undefined,
    cid: scheme === Scheme.Vsock ? record.getUint32(Field.Cid, true) : undefined,
    path: scheme === Scheme.Vsock ? undefined : socketAddress.subarray(isAbstract ? 3 : 2),
    fromName: argument === Argument.Name,
    socketAddress: isName ? undefined : socketAddress,
  };
}

/**
 * A handshake with a multiplexer, without I/O: the caller sends `request` in one write, then reports
 * what it receives until `done`.
 *
 * @example
 *     const handshake = new Handshake(22);
 *     handshake.sent(write(socket, handshake.request));
 *     while (!handshake.done) {
 *       const seen = peek(socket, handshake.wanted);
 *       if (seen.length === 0) handshake.end();
 *       else take(socket, handshake.receive(seen));
 *     }
 */
export class Handshake {
  /** The request, `CONNECT <port>\n`, to be sent in one write. */
  readonly request: Uint8Array;
  readonly #slot: Uint8Array;

  /** @throws RangeError if `port` is not an integer from 0 to 4294967295 */
  constructor(port: number) {
    if (!Number.isInteger(port) || port < 0 || port > 0xffff_ffff) {
      const wrong = escape(Buffer.from(String(port)));
      throw new RangeError(`port: ${wrong} is not an integer from 0 to 4294967295`);
    }
    const slotSize = core.handshake_size.value as number;
    const memory = heap(slotSize + (core.handshake_request_max.value as number));
    const length = core.handshake_begin(HEAP, port, HEAP + slotSize);
    this.request = memory.slice(slotSize, slotSize + length);
    this.#slot = memory.slice(0, slotSize);
  }

  /** Whether the handshake has succeeded: from now on the connection carries the guest's bytes. */
  get done(): boolean {
    return this.#withSlot(() => core.handshake_code(HEAP)) === Code.Done;
  }

  /** The number in the multiplexer's reply; undefined until done. */
  get number(): number | undefined {
    return this.done ? this.#withSlot(() => core.handshake_number(HEAP) >>> 0) : undefined;
  }

  /** How many bytes the rest of the reply has at most: up to 14; 0 before `sent` and once done. */
  get wanted(): number {
    return this.#withSlot(() => core.handshake_wanted(HEAP));
  }

  /**
   * Reports that one write has sent `count` bytes of the request.
   *
   * @throws HandshakeError ShortWrite if that is not the whole request
   */
  sent(count: number): void {
    this.#withSlot(() => {
      core.handshake_sent(HEAP, count);
    });
    this.#check();
  }

  /**
   * Reports bytes that have arrived, which may still be in the socket (MSG_PEEK).
   *
   * @returns how many of them belong to the handshake, 0 once done. The others are the guest's
   * @throws HandshakeError BadLine, NumberOutOfRange
   */
  receive(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.wanted);
    const consumed = this.#withSlot((memory) => {
      memory.set(part, this.#slot.length);
      return core.handshake_receive(HEAP, HEAP + this.#slot.length, part.length);
    });
    this.#check();
    return consumed;
  }

  /**
   * Reports that the peer has closed.
   *
   * @throws HandshakeError EndOfFile, EndWithinLine, unless done
   */
  end(): void {
    this.#withSlot(() => {
      core.handshake_eof(HEAP);
    });
    this.#check();
  }

  /**
   * Reports that the caller's deadline has passed.
   *
   * @throws HandshakeError ReplyTimeout, ReplyTimeoutWithinLine, unless done
   */
  deadline(): void {
    this.#withSlot(() => {
      core.handshake_deadline(HEAP);
    });
    this.#check();
  }

  #check(): void {
    const code = this.#withSlot(() => core.handshake_code(HEAP));
    if (code === Code.Done || code === Code.NeedMore) return;
    const offset = this.#withSlot(() => core.handshake_offset(HEAP));
    throw new HandshakeError(Code[code], offset, messageOf(code));
  }

  /** Copies the slot to the instance's memory while `work` runs. */
  #withSlot<T>(work: (memory: Uint8Array) => T): T {
    const memory = heap(this.#slot.length + (core.handshake_answer_max.value as number));
    memory.set(this.#slot);
    const result = work(memory);
    this.#slot.set(memory.subarray(0, this.#slot.length));
    return result;
  }
}
