// core.wasm for Node: addresses and handshakes without I/O. One instance serves the whole process;
// what is kept of a handshake is its slot's bytes, here, and they visit the instance's memory only
// while it looks at them.

import coreWasm from "../dist/core.wasm";
import { Argument, Code, Field, Scheme } from "../assembly/codes";
import { MESSAGES } from "../assembly/messages";
import { ESCAPED } from "../assembly/printable";

/** The exports of core.wasm; docs/abi.md says what they do. */
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

/** Text as an address may hold it: a string stands for its UTF-8. */
export type Text = string | Uint8Array;

export interface Address {
  scheme: "unix" | "unix-abstract" | "vsock" | "vsock-mux" | ".host";
  /** The port within the machine; undefined for unix, unix-abstract and .host, which have none. */
  port: number | undefined;
  /** The CID of a vsock address. */
  cid: number | undefined;
  /** The path of a unix, vsock-mux or .host address, or the abstract name, as bytes. */
  path: Uint8Array | undefined;
  /** Whether NAME was taken instead of ADDRESS: it lower-cases to it (docs/addresses.md). */
  fromName: boolean;
  /** What socket_shim_v1's sock_connect takes (docs/abi.md). */
  socketAddress: Uint8Array;
}

/** An address that was not understood. */
export class AddressError extends Error {
  override name = "AddressError";
  constructor(
    /** The name of a Code (assembly/codes.ts), such as "BadCid". */
    readonly code: string,
    /** Which argument is wrong. */
    readonly argument: "address" | "port" | "name",
    /** The byte within it that is wrong, or the first of what is. */
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

/** A handshake that has failed by what the peer did or did not do. */
export class HandshakeError extends Error {
  override name = "HandshakeError";
  constructor(
    /** The name of a Code (assembly/codes.ts), such as "EndOfFile". */
    readonly code: string,
    /** Bytes of the answer that were right. */
    readonly offset: number,
    message: string,
  ) {
    super(message);
  }
}

const core = new WebAssembly.Instance(new WebAssembly.Module(coreWasm)).exports as unknown as Core;

const HEAP = (core.heap() + 15) & ~15;

/** The host's memory from HEAP on, of at least `size` bytes. Valid until the next call. */
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

/** A text as the command prints it on stderr: see ESCAPED. */
function escape(text: Uint8Array): string {
  if (text.length === 0) return "''";
  return Buffer.from(text)
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
}

/**
 * Parses an address as the command line does: ADDRESS [PORT [NAME]].
 *
 * @param address such as `vsock/3`, `unix/run/x.sock`
 * @param port decimal, 0 to 4294967294; 22 where it is not given; not looked at for unix addresses
 * @param name ssh's %n, which is taken where it lower-cases to `address`
 * @throws AddressError where it is not understood; docs/addresses.md has the grammar
 */
export function parseAddress(address: Text, port?: Text | number, name?: Text): Address {
  const texts = [
    bytesOf(address),
    port === undefined ? undefined : bytesOf(typeof port === "number" ? String(port) : port),
    name === undefined ? undefined : bytesOf(name),
  ];
  const recordSize = core.address_size.value as number;
  const memory = heap(texts.reduce((size, text) => size + (text?.length ?? 0), recordSize));
  let at = recordSize;
  const [a = 0, aLength = 0, p = 0, pLength = 0, n = 0, nLength = 0] = texts.flatMap((text) => {
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
  const hasPort = scheme === Scheme.Vsock || scheme === Scheme.VsockMux;
  const isAbstract = scheme === Scheme.UnixAbstract;
  return {
    scheme: schemes[scheme],
    port: hasPort ? record.getUint32(Field.Port, true) : undefined,
    cid: scheme === Scheme.Vsock ? record.getUint32(Field.Cid, true) : undefined,
    path: scheme === Scheme.Vsock ? undefined : socketAddress.subarray(isAbstract ? 3 : 2),
    fromName: argument === Argument.Name,
    socketAddress,
  };
}

/**
 * A handshake with a multiplexer, without I/O: the host sends `request` in one write, then tells
 * what happens until `done`.
 *
 *     const handshake = new Handshake(22);
 *     handshake.sent(write(socket, handshake.request));
 *     while (!handshake.done) {
 *       const seen = peek(socket, handshake.wanted);
 *       if (seen.length === 0) handshake.end();
 *       else take(socket, handshake.receive(seen));
 *     }
 */
export class Handshake {
  /** What to send, in exactly one write: `CONNECT <port>\n`. */
  readonly request: Uint8Array;
  readonly #slot: Uint8Array;

  /** @throws RangeError where `port` is no u32 */
  constructor(port: number) {
    if (!Number.isInteger(port) || port < 0 || port > 0xffff_ffff) {
      throw new RangeError(`port: ${port} is not an integer from 0 to 4294967295`);
    }
    const slotSize = core.handshake_size.value as number;
    const memory = heap(slotSize + (core.handshake_request_max.value as number));
    const length = core.handshake_begin(HEAP, port, HEAP + slotSize);
    this.request = memory.slice(slotSize, slotSize + length);
    this.#slot = memory.slice(0, slotSize);
  }

  /** Whether the connection now carries the guest's bytes. */
  get done(): boolean {
    return this.#visit(() => core.handshake_code(HEAP)) === Code.Done;
  }

  /** The number in the multiplexer's answer; undefined until done. */
  get number(): number | undefined {
    return this.done ? this.#visit(() => core.handshake_number(HEAP) >>> 0) : undefined;
  }

  /** The most bytes that it has a use for: 14, less what was received. 0 before `sent` and once done. */
  get wanted(): number {
    return this.#visit(() => core.handshake_wanted(HEAP));
  }

  /**
   * One write has taken `count` bytes of the request.
   *
   * @throws HandshakeError ShortWrite where that is not all of it
   */
  sent(count: number): void {
    this.#visit(() => {
      core.handshake_sent(HEAP, count);
    });
    this.#check();
  }

  /**
   * Bytes have arrived, and may still be in the socket.
   *
   * @returns how many of them are the handshake's. The rest is the guest's, and none of it is looked
   *   at: once done, 0
   * @throws HandshakeError BadLine, NumberOutOfRange
   */
  receive(bytes: Uint8Array): number {
    const part = bytes.subarray(0, this.wanted);
    const consumed = this.#visit((memory) => {
      memory.set(part, this.#slot.length);
      return core.handshake_receive(HEAP, HEAP + this.#slot.length, part.length);
    });
    this.#check();
    return consumed;
  }

  /**
   * The peer has closed.
   *
   * @throws HandshakeError EndOfFile, EndWithinLine, unless done
   */
  end(): void {
    this.#visit(() => {
      core.handshake_eof(HEAP);
    });
    this.#check();
  }

  /**
   * The host's deadline has passed.
   *
   * @throws HandshakeError ReplyTimeout, ReplyTimeoutWithinLine, unless done
   */
  deadline(): void {
    this.#visit(() => {
      core.handshake_deadline(HEAP);
    });
    this.#check();
  }

  #check(): void {
    const code = this.#visit(() => core.handshake_code(HEAP));
    if (code === Code.Done || code === Code.NeedMore) return;
    const offset = this.#visit(() => core.handshake_offset(HEAP));
    throw new HandshakeError(Code[code], offset, messageOf(code));
  }

  /** Lends the slot to the instance for as long as `work` runs. */
  #visit<T>(work: (memory: Uint8Array) => T): T {
    const memory = heap(this.#slot.length + (core.handshake_answer_max.value as number));
    memory.set(this.#slot);
    const result = work(memory);
    this.#slot.set(memory.subarray(0, this.#slot.length));
    return result;
  }
}
