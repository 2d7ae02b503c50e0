// A second implementation of docs/addresses.md, and of the handshake's rules (a reply is `OK `, 1 to
// 10 digits up to 2^32 - 1, `\n`), to compare core.wasm with. It shares only the names of the codes
// with assembly/. Where core.wasm has loops and states, it has regular expressions; text is latin1, one
// character for each byte.

import assert from "node:assert/strict";
import { AddressError, Handshake, HandshakeError, parseAddress } from "ssh-vsock-proxy";
import {
  readAddress,
  readHandshake,
  readLookup,
  type AddressInput,
  type HandshakeInput,
} from "../fuzz/inputs";
import { checkLookup } from "./lookup-model";

const U32_MAX = 0xffff_ffff;

interface Refused {
  code: string;
  argument: "address" | "port" | "name";
  offset: number;
}

interface Understood {
  code: "Done";
  scheme: string;
  port: number | undefined;
  cid: number | undefined;
  fromName: boolean;
  /** In hexadecimal, as in the record (assembly/core/address.ts): for a machine's name family 0 and the name. */
  socketAddress: string;
}

type AddressOutcome = Refused | Understood;

/** The number of a CID or port; or its error, with the byte that is wrong. */
function modelNumber(text: string, kind: "Cid" | "Port"): number | Omit<Refused, "argument"> {
  if (text === "") return { code: `Empty${kind}`, offset: 0 };
  // The longest prefix that is a number.
  const [digits = ""] = /^(?:0|[1-9][0-9]*|)/.exec(text) ?? [];
  // A number that is too large is out of range, whatever follows it.
  if (Number(digits) > U32_MAX) return { code: `${kind}OutOfRange`, offset: 0 };
  if (digits === "" || digits !== text) return { code: `Bad${kind}`, offset: digits.length };
  return Number(digits) === U32_MAX ? { code: `${kind}OutOfRange`, offset: 0 } : Number(digits);
}

/** The path or abstract name after the separator; or its error. */
function modelPath(
  text: string,
  escaped: boolean,
  kind: "Path" | "Name",
): string | Omit<Refused, "argument"> {
  if (text === "") return { code: `Empty${kind}`, offset: 0 };
  const longest = kind === "Path" ? 4095 : 107;
  const decoded = (part: string): string =>
    escaped ? part.replace(/%%|%/g, (sign) => (sign === "%" ? "/" : "%")) : part;
  const prefix = kind === "Path" && !/^\.?\//.test(decoded(text)) ? "/" : "";
  // How each byte of the path is written.
  const written: string[] = text.match(escaped ? /%%|[^]/g : /[^]/g) ?? [];
  const room = longest - prefix.length;
  const nul = written.indexOf("\0");
  const bad = nul >= 0 && nul <= room ? nul : room;
  if (bad < written.length) {
    const code = bad === nul ? "NulByte" : `${kind}TooLong`;
    return { code, offset: written.slice(0, bad).join("").length };
  }
  return prefix + decoded(text);
}

/** A machine's name; or its error. */
function modelName(text: string, scheme: string): string | Omit<Refused, "argument"> {
  if (text === "") return { code: "EmptyName", offset: 0 };
  const valid = scheme === "machine" ? /^(?:[\w-]|(?<=[^.])\.){0,64}/ : /^[^\0-\x1f/\x7f]{0,250}/;
  const [prefix = ""] = valid.exec(text) ?? [];
  return prefix === text ? text : { code: "BadName", offset: prefix.length };
}

const hex = (latin1: string): string => Buffer.from(latin1, "latin1").toString("hex");

function little(value: number, bytes: 2 | 4): string {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntLE(value, 0, bytes);
  return buffer.toString("hex");
}

const unixAddress = (path: string): string => little(3, 2) + hex(path);

/** The result of an address by the model. */
export function modelAddress(input: AddressInput): AddressOutcome {
  const [address = "", port, name] = [input.address, input.port, input.name].map((text) =>
    text?.toString("latin1"),
  );
  const done = { code: "Done", port: undefined, cid: undefined, fromName: false } as const;
  if (/^(?:machine[/%])?\.host$/i.test(address)) {
    const socketAddress = unixAddress("/run/ssh-unix-local/socket");
    return { ...done, scheme: ".host", socketAddress };
  }
  const [prefix = "", written, separator] =
    /^(unix|unix-abstract|vsock|vsock-mux|machine|qemu(?::system|:session)?)([/%])/i.exec(
      address,
    ) ?? [];
  if (written === undefined) return { code: "UnknownAddress", argument: "address", offset: 0 };
  const scheme = written.toLowerCase();
  const rest = address.slice(prefix.length);
  const portNumber = port === undefined ? 22 : modelNumber(port, "Port");

  if (scheme === "vsock") {
    const named = ["hypervisor", "local", "host"].indexOf(rest.toLowerCase());
    const cid = named >= 0 ? named : modelNumber(rest, "Cid");
    if (typeof cid === "object") {
      return { ...cid, argument: "address", offset: prefix.length + cid.offset };
    }
    if (typeof portNumber === "object") return { ...portNumber, argument: "port" };
    const socketAddress = little(40, 2) + little(0, 2) + little(portNumber, 4) + little(cid, 4);
    return { ...done, scheme, cid, port: portNumber, socketAddress };
  }

  const lower = name?.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  const fromName = lower === address;
  const taken = fromName ? (name as string) : address;
  const escaped = separator === "%" && !rest.includes("/");
  const isAbstract = scheme === "unix-abstract";
  const isName = /^machine|^qemu/.test(scheme);
  const path = isName
    ? modelName(taken.slice(prefix.length), scheme)
    : modelPath(taken.slice(prefix.length), escaped, isAbstract ? "Name" : "Path");
  if (typeof path === "object") {
    const argument = fromName ? "name" : "address";
    return { ...path, argument, offset: prefix.length + path.offset };
  }
  const socketAddress = isName
    ? little(0, 2) + hex(path)
    : unixAddress(isAbstract ? `\0${path}` : path);
  if (scheme.startsWith("unix")) return { ...done, scheme, fromName, socketAddress };
  if (typeof portNumber === "object") return { ...portNumber, argument: "port" };
  return { ...done, scheme, fromName, port: portNumber, socketAddress };
}

interface HandshakeOutcome {
  request: string;
  code: string;
  /** How many bytes of the reply are the handshake's. */
  consumed: number;
  number: number | undefined;
}

/** The result of a handshake by the model, which sees the whole reply at once. */
export function modelHandshake(input: Omit<HandshakeInput, "segments">): HandshakeOutcome {
  const answer = input.answer.toString("latin1");
  const request = `CONNECT ${input.port}\n`;
  const failed = (code: string, consumed: number): HandshakeOutcome => ({
    request,
    code,
    consumed,
    number: undefined,
  });
  if (input.sent !== undefined && input.sent !== request.length) {
    return failed("ShortWrite", 0);
  }
  const [line, digits] = /^OK ([0-9]{1,10})\n/.exec(answer) ?? [];
  if (line !== undefined && Number(digits) <= U32_MAX) {
    return { request, code: "Done", consumed: line.length, number: Number(digits) };
  }
  // The longest prefix that an OK line can have.
  const couldBecome = (part: string): boolean => {
    const number = /^OK ([0-9]{1,10})$/.exec(part)?.[1];
    return "OK ".startsWith(part) || (number !== undefined && Number(number) <= U32_MAX);
  };
  let consumed = 0;
  while (consumed < answer.length && couldBecome(answer.slice(0, consumed + 1))) consumed++;
  if (consumed < answer.length) {
    const isNumber = /^OK [0-9]{1,10}$/.test(answer.slice(0, consumed + 1));
    return failed(isNumber ? "NumberOutOfRange" : "BadLine", consumed);
  }
  const early = consumed === 0;
  if (input.end === "eof") return failed(early ? "EndOfFile" : "EndWithinLine", consumed);
  if (input.end === "silence")
    return failed(early ? "ReplyTimeout" : "ReplyTimeoutWithinLine", consumed);
  return failed("NeedMore", consumed);
}

/** The result of an address by core.wasm. */
export function coreAddress({ address, port, name }: AddressInput): AddressOutcome {
  try {
    const { scheme, fromName, ...parsed } = parseAddress(address, port, name);
    const { path = [] } = parsed;
    const socketAddress = Buffer.from(parsed.socketAddress ?? [0, 0, ...path]).toString("hex");
    return { code: "Done", scheme, port: parsed.port, cid: parsed.cid, fromName, socketAddress };
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    return { code: error.code, argument: error.argument, offset: error.offset };
  }
}

/** The result of a handshake by core.wasm, which sees the reply segment by segment. */
export function coreHandshake({ port, sent, segments, end }: HandshakeInput): HandshakeOutcome {
  const handshake = new Handshake(port);
  const request = Buffer.from(handshake.request).toString("latin1");
  let consumed = 0;
  try {
    handshake.sent(sent ?? handshake.request.length);
    for (const segment of segments) {
      if (handshake.done) break;
      consumed += handshake.receive(segment);
    }
    if (end === "eof") handshake.end();
    if (end === "silence") handshake.deadline();
    const code = handshake.done ? "Done" : "NeedMore";
    return { request, code, consumed, number: handshake.number };
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    return { request, code: error.code, consumed: error.offset, number: undefined };
  }
}

/** Compares the two on an input of a fuzz target; throws if they differ. */
export function checkInput(target: "address" | "handshake" | "lookup", bytes: Buffer): void {
  if (target === "address") {
    const input = readAddress(bytes);
    if (input !== undefined) assert.deepEqual(coreAddress(input), modelAddress(input));
  } else if (target === "lookup") {
    const input = readLookup(bytes);
    if (input !== undefined) checkLookup(input);
  } else {
    const input = readHandshake(bytes);
    if (input !== undefined) assert.deepEqual(coreHandshake(input), modelHandshake(input));
  }
}
