// Reads the transcripts: Markdown files in which each case has a heading, a block of input and a
// block `outcome`. README.md describes the format, and the JSON form that this file's types are.
//
// Rule: nothing is ignored. An unknown field, a field twice, a case without an outcome, a byte that
// is not escaped: each is an error that names the file and the line.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { Argument, Code, Family, Scheme } from "../../assembly/codes";
import { root } from "../support/proxy";

/** All bytes are in hexadecimal. */
export interface Transcripts {
  address: AddressCase[];
  handshake: HandshakeCase[];
  lookup: LookupCase[];
  command: CommandCase[];
}

interface Place {
  /** From the repository's root. */
  file: string;
  /** The heading's. */
  line: number;
  title: string;
}

export interface AddressCase extends Place {
  address: string;
  port?: string;
  name?: string;
  outcome: AddressOutcome;
  /** What systemd-ssh-proxy 262 does with this address, where it differs. */
  systemd?: string;
}

/** The valid fields of the address record (docs/abi.md). */
export interface AddressOutcome {
  code: number;
  codeName: string;
  scheme?: number;
  port: number;
  cid?: number;
  argument: number;
  offset?: number;
  socketAddress?: string;
}

type End = "eof" | "silence";

export interface HandshakeCase extends Place {
  port: number;
  /** How many bytes of the request one write takes. */
  sent: number;
  answer: string;
  end: End;
  outcome: HandshakeOutcome;
}

export interface HandshakeOutcome {
  request: string;
  code: number;
  codeName: string;
  consumed: number;
  /** Only with Done. */
  number?: number;
}

export interface LookupCase extends Place {
  /** Of names.wasm: 1 machined, 2 libvirt's qemu:///system, 3 its qemu:///session. */
  service: number;
  name: string;
  /** The replies, one after the other. */
  answer: string;
  end: End;
  outcome: LookupOutcome;
}

export interface LookupOutcome {
  code: number;
  codeName: string;
  consumed: number;
  /** Only with Done: 1 a CID, 2 an address, 3 a container. */
  target?: number;
  cid?: number;
  /** With target 2, and with the codes of textCodes. */
  text?: string;
  /** The requests, one after the other, where the case has them. */
  request?: string;
}

export type Stdout = "unix" | "pipe" | "closed" | "gone";

export interface CommandCase extends Place {
  arguments: string[];
  environment: string[];
  stdout: Stdout;
  answer: string;
  end: End;
  outcome: CommandOutcome;
}

interface CommandOutcome {
  exit: number;
  stderr: string;
  /** What the peer received; null without a connection. */
  sent: string | null;
  /** Bytes of the answer that the command took for itself. */
  consumed: number;
  /** What can be read from the descriptor that was passed; null if none was. */
  passed: string | null;
  /** What was written to stdout; null unless stdout is a pipe. */
  relayed: string | null;
}

type Kind = keyof Transcripts;

const folder = "tests/transcripts";

function fail(file: string, line: number, what: string): never {
  throw new Error(`${file}:${line}: ${what}`);
}

const hex = (bytes: Buffer): string => bytes.toString("hex");

/** A block's fields. Reading a field removes it; `finish` rejects those that are left. */
class Block {
  readonly #fields = new Map<string, { line: number; text: string }>();

  constructor(
    readonly file: string,
    readonly line: number,
  ) {}

  /** Adds a line of the block. Several values of `environment` are kept as lines of one text. */
  add(line: number, content: string): void {
    if (/[^\x20-\x7e]/.test(content)) fail(this.file, line, "a byte that is not escaped");
    if (content.endsWith(" ")) fail(this.file, line, "a space at the end: write \\x20");
    const last = [...this.#fields.values()].at(-1);
    if (content.startsWith("  ") && last !== undefined) {
      last.text += content.trimStart();
      return;
    }
    const [, name, text = ""] = /^([a-z]+):(?: ([^ ].*))?$/.exec(content) ?? [];
    if (name === undefined) fail(this.file, line, `not a field: ${content}`);
    const field = this.#fields.get(name);
    if (field === undefined) this.#fields.set(name, { line, text });
    else if (name === "environment" && field === last) field.text += `\n${text}`;
    else fail(this.file, line, `${name} a second time`);
  }

  has(name: string): boolean {
    return this.#fields.has(name);
  }

  /** Reads a field with `parse`, which throws what is wrong; without a fallback it is required. */
  take<T>(name: string, parse: (text: string) => T, fallback?: T): T {
    const field = this.#fields.get(name);
    if (field === undefined) return fallback ?? this.fail(`${name} is missing`);
    this.#fields.delete(name);
    try {
      return parse(field.text);
    } catch (error) {
      fail(this.file, field.line, `${name}: ${(error as Error).message}`);
    }
  }

  bytes(name: string, fallback?: Buffer): Buffer {
    return this.take(name, decode, fallback);
  }

  number(name: string, fallback?: number, max = 0xffff_ffff): number {
    const parse = (text: string): number => {
      if (!/^(0|[1-9][0-9]*)$/.test(text)) throw new Error(`not a number: ${text}`);
      if (Number(text) > max) throw new Error(`more than ${max}`);
      return Number(text);
    };
    return this.take(name, parse, fallback);
  }

  word<T extends string>(name: string, words: readonly T[], fallback?: T): T {
    const parse = (text: string): T => {
      const word = words.find((each) => each === text);
      if (word === undefined) throw new Error(`${text} is not one of ${words.join(", ")}`);
      return word;
    };
    return this.take(name, parse, fallback);
  }

  /** A code from `first` to `last`, or Done, the default. */
  code(first: number, last: number): { code: Code; codeName: string } {
    const isPossible = (code: unknown): boolean =>
      typeof code === "number" &&
      (code === (Code.Done as number) || (code >= first && code <= last));
    const names = Object.keys(Code).filter((name) => isPossible(Code[name as keyof typeof Code]));
    const codeName = this.word("code", names, "Done");
    return { code: Code[codeName as keyof typeof Code], codeName };
  }

  finish(): void {
    for (const [name, { line }] of this.#fields) fail(this.file, line, `${name} is not known here`);
  }

  fail(what: string): never {
    fail(this.file, this.line, what);
  }
}

/** Resolves the escapes. */
function decode(text: string): Buffer {
  const token =
    /(?:\\\{([1-9][0-9]{0,5})\})?(?:\\([rnt0\\])|\\x([0-9a-f]{2})|([^\\]))|\\\[(0x[0-9a-f]{1,8}|[0-9]{1,9})\]/gy;
  const escapes: Record<string, string> = { r: "\r", n: "\n", t: "\t", 0: "\0", "\\": "\\" };
  const parts: Buffer[] = [];
  let end = 0;
  for (const [all, count = "1", letter, pair, plain = "", word] of text.matchAll(token)) {
    end += all.length;
    if (word === undefined) {
      const byte = pair === undefined ? Buffer.from(escapes[letter ?? ""] ?? plain) : pair;
      parts.push(Buffer.alloc(Number(count), byte, "hex"));
    } else {
      const four = Buffer.alloc(4);
      four.writeUInt32BE(Number(word));
      parts.push(four);
    }
  }
  if (end < text.length) throw new Error(`not an escape: ${text.slice(end, end + 8)}`);
  return Buffer.concat(parts);
}

function readAddress(place: Place, input: Block, expected: Block): AddressCase {
  const one: AddressCase = {
    ...place,
    address: hex(input.bytes("address")),
    outcome: readAddressOutcome(expected),
  };
  if (input.has("name") && !input.has("port")) input.fail("a name without a port");
  if (input.has("port")) one.port = hex(input.bytes("port"));
  if (input.has("name")) one.name = hex(input.bytes("name"));
  if (expected.has("systemd")) one.systemd = expected.take("systemd", String);
  return one;
}

// In the order of the enums.
const schemes = [
  ...["unix", "unix-abstract", "vsock", "vsock-mux", ".host"],
  ...["machine", "qemu", "qemu:system", "qemu:session"],
];
const argumentNames = ["address", "port", "name"] as const;

function readAddressOutcome(block: Block): AddressOutcome {
  const { code, codeName } = block.code(Code.UnknownAddress, Code.BadName);
  const name = block.word("argument", argumentNames, "address");
  const argument = argumentNames.indexOf(name) as Argument;
  const outcome: AddressOutcome = { code, codeName, port: 22, argument };
  if (code !== Code.UnknownAddress) {
    outcome.scheme = 1 + schemes.indexOf(block.word("scheme", schemes));
  }
  if (code !== Code.Done) {
    outcome.offset = block.number("offset");
    return outcome;
  }
  if (argument === Argument.Port) block.fail("the port has no socket address");
  const scheme = outcome.scheme as Scheme;
  const isName = scheme > Scheme.Host;
  if (scheme === Scheme.Vsock || scheme === Scheme.VsockMux || isName) {
    outcome.port = block.number("port");
  }
  if (scheme === Scheme.Vsock) {
    outcome.cid = block.number("cid");
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16LE(Family.Vsock, 0);
    bytes.writeUInt32LE(outcome.port, 4);
    bytes.writeUInt32LE(outcome.cid, 8);
    outcome.socketAddress = hex(bytes);
  } else {
    const isAbstract = scheme === Scheme.UnixAbstract;
    const family = isName ? Family.Unspecified : Family.Unix;
    const start = Buffer.from(isAbstract ? [family, 0, 0] : [family, 0]);
    outcome.socketAddress = hex(start) + hex(block.bytes(isAbstract || isName ? "name" : "path"));
  }
  return outcome;
}

const ends = ["silence", "eof"] as const;
const nothing = Buffer.alloc(0);

function readHandshake(place: Place, input: Block, expected: Block): HandshakeCase {
  const port = input.number("port", 22);
  const request = expected.bytes("request", Buffer.from(`CONNECT ${port}\n`));
  const answer = input.bytes("answer", nothing);
  const { code, codeName } = expected.code(Code.EndOfFile, Code.NumberOutOfRange);
  const consumed = expected.number("consumed", undefined, answer.length);
  const outcome: HandshakeOutcome = { request: hex(request), code, codeName, consumed };
  if (code === Code.Done) outcome.number = expected.number("number");
  return {
    ...place,
    port,
    sent: input.number("sent", request.length),
    answer: hex(answer),
    end: input.word("end", ends, "silence"),
    outcome,
  };
}

// In the order of names.wasm, from 1 on.
const services = ["machined", "system", "session"] as const;
const targets = ["cid", "address", "container"] as const;

/** The codes with which the slot has a text (docs/abi.md). */
export const textCodes: readonly Code[] = [
  ...[Code.NoSuchMachine, Code.NoSuchDomain, Code.UnknownClass],
  ...[Code.ServiceError, Code.LookupDenied],
];

function readLookup(place: Place, input: Block, expected: Block): LookupCase {
  const answer = input.bytes("answer", nothing);
  const { code, codeName } = expected.code(Code.BadName, Code.LookupDenied);
  const outcome: LookupOutcome = { code, codeName, consumed: 0 };
  const most = code === Code.BadName ? undefined : answer.length;
  outcome.consumed = expected.number("consumed", undefined, most);
  if (code === Code.Done) {
    const target = expected.word("target", targets, "cid");
    outcome.target = 1 + targets.indexOf(target);
    if (target === "cid") outcome.cid = expected.number("cid");
    if (target === "address") outcome.text = hex(expected.bytes("text"));
  }
  if (textCodes.includes(code)) outcome.text = hex(expected.bytes("text"));
  if (expected.has("request")) outcome.request = hex(expected.bytes("request"));
  return {
    ...place,
    service: 1 + services.indexOf(input.word("service", services, "machined")),
    name: hex(input.bytes("name")),
    answer: hex(answer),
    end: input.word("end", ends, "silence"),
    outcome,
  };
}

function readCommand(place: Place, input: Block, expected: Block): CommandCase {
  const optional = (name: string): string | null =>
    expected.has(name) ? hex(expected.bytes(name)) : null;
  const words = (text: string): string[] =>
    text.split(/ +/).map((word) => hex(decode(word === "''" ? "" : word)));
  const variables = (text: string): string[] => text.split("\n").map((line) => hex(decode(line)));
  const answer = input.bytes("answer", nothing);
  const stdout = input.word("stdout", ["unix", "pipe", "closed", "gone"], "unix");
  if (expected.has("relayed") !== (stdout === "pipe")) {
    expected.fail("relayed is required where stdout is a pipe, and only there");
  }
  const outcome: CommandOutcome = {
    exit: expected.number("exit"),
    stderr: optional("stderr") ?? "",
    sent: optional("sent"),
    consumed: expected.number("consumed", 0, answer.length),
    passed: optional("passed"),
    relayed: optional("relayed"),
  };
  if (outcome.passed !== null && (outcome.exit !== 0 || stdout !== "unix")) {
    expected.fail("no descriptor can be passed here");
  }
  return {
    ...place,
    arguments: input.take("arguments", words, []),
    environment: input.take("environment", variables, []),
    stdout,
    answer: hex(answer),
    end: input.word("end", ends, "silence"),
    outcome,
  };
}

const readers = {
  address: readAddress,
  handshake: readHandshake,
  lookup: readLookup,
  command: readCommand,
} satisfies Record<Kind, unknown>;

type CaseOf<K extends Kind> = ReturnType<(typeof readers)[K]>;

/** Reads the cases of a file's text; `file` is its name in cases and errors. */
export function readCases<K extends Kind>(kind: K, file: string, text: string): CaseOf<K>[] {
  const cases: CaseOf<K>[] = [];
  const titles = new Set<string>();
  // The heading and the blocks of the case that is being read.
  let place: Place | undefined;
  let input: Block | undefined;
  let open: Block | undefined;
  for (const [index, content] of text.split("\n").entries()) {
    const line = index + 1;
    const [, title] = /^#+ (.+)$/.exec(content) ?? [];
    if (open !== undefined && content !== "```") {
      open.add(line, content);
    } else if (open !== undefined && input === undefined) {
      [input, open] = [open, undefined];
    } else if (open !== undefined && input !== undefined && place !== undefined) {
      cases.push(readers[kind](place, input, open) as CaseOf<K>);
      input.finish();
      open.finish();
      place = input = open = undefined;
    } else if (title !== undefined) {
      input?.fail("this case has no outcome");
      if (titles.has(title)) fail(file, line, `a second heading "${title}"`);
      titles.add(title);
      place = { file, line, title };
    } else if (/^\s*(```|~~~)/.test(content)) {
      const start = `\`\`\`${input === undefined ? kind : "outcome"}`;
      if (content !== start) fail(file, line, `${content}, and not ${start}`);
      if (place === undefined) fail(file, line, "a case without a heading of its own");
      open = new Block(file, line);
    }
  }
  open?.fail("this block does not end");
  input?.fail("this case has no outcome");
  if (cases.length === 0) fail(file, 1, "no case");
  return cases;
}

function readKind<K extends Kind>(kind: K): CaseOf<K>[] {
  const names = readdirSync(path.join(root, folder, kind)).sort();
  return names.flatMap((name) => {
    const file = `${folder}/${kind}/${name}`;
    if (!name.endsWith(".md")) fail(file, 1, "not Markdown");
    return readCases(kind, file, readFileSync(path.join(root, file), "utf8"));
  });
}

/** Reads all of tests/transcripts. */
export function readTranscripts(): Transcripts {
  return {
    address: readKind("address"),
    handshake: readKind("handshake"),
    lookup: readKind("lookup"),
    command: readKind("command"),
  };
}
