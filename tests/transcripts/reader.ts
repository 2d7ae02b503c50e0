// The transcripts of tests/transcripts, read: Markdown in which each case has a heading, a block of
// input and a block with the outcome. tests/transcripts/README.md has the format.
//
// Rule: nothing is passed over. A block or field that is not known, a field twice, a case without
// its outcome, a byte that should have been escaped: each is an error that names file and line.

import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { Argument, Code, Family, Scheme } from "../../assembly/codes";
import { root } from "../support/proxy";

/** The JSON form: all bytes in hexadecimal. */
export interface Transcripts {
  address: AddressCase[];
  handshake: HandshakeCase[];
  command: CommandCase[];
}

interface Place {
  /** From the repository's root. */
  file: string;
  /** Of the case's heading. */
  line: number;
  title: string;
}

export interface AddressCase extends Place {
  address: string;
  /** Not there where the command line has none. */
  port?: string;
  name?: string;
  outcome: AddressOutcome;
}

/** What stands in the record of docs/abi.md; a field is there where it is valid. */
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

export type End = "eof" | "silence";

export interface HandshakeCase extends Place {
  port: number;
  /** How many bytes of the request one write has taken. */
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
  /** Once Done. */
  number?: number;
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

export interface CommandOutcome {
  exit: number;
  stderr: string;
  /** What the peer has received; null where nobody has connected to it. */
  sent: string | null;
  /** Bytes of the answer that the command has taken for itself. */
  consumed: number;
  /** What can be read from the descriptor that was handed over; null where none was. */
  passed: string | null;
  /** What has come out of a stdout that is a pipe; null where it is none. */
  relayed: string | null;
}

type Kind = keyof Transcripts;

const folder = "tests/transcripts";

/** Fields by name, in the order in which they stand there. */
class Block {
  readonly #fields = new Map<string, { line: number; values: string[] }>();
  readonly #used = new Set<string>();

  constructor(
    readonly file: string,
    readonly line: number,
  ) {}

  /** Adds a line of the block. */
  add(line: number, text: string): void {
    if (/[^\x20-\x7e]/.test(text)) fail(this.file, line, "a byte that is not escaped");
    if (text.endsWith(" ")) fail(this.file, line, "a blank at the end: write \\x20");
    const last = [...this.#fields.values()].at(-1);
    if (text.startsWith("  ") && last !== undefined) {
      last.values.push((last.values.pop() as string) + text.trimStart());
      return;
    }
    const [, name, value = ""] = /^([a-z]+):(?: ([^ ].*))?$/.exec(text) ?? [];
    if (name === undefined) fail(this.file, line, `not a field: ${text}`);
    const field = this.#fields.get(name);
    if (field === undefined) this.#fields.set(name, { line, values: [value] });
    else if (name === "environment" && field === last) field.values.push(value);
    else fail(this.file, line, `${name} a second time`);
  }

  has(name: string): boolean {
    return this.#fields.has(name);
  }

  /** A field as it is written; undefined where it is not there. */
  text(name: string): string | undefined {
    return this.texts(name)[0];
  }

  texts(name: string): string[] {
    this.#used.add(name);
    return this.#fields.get(name)?.values ?? [];
  }

  bytes(name: string): Buffer | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : this.decode(name, text);
  }

  list(name: string): Buffer[] {
    return this.texts(name).map((text) => this.decode(name, text));
  }

  number(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^(0|[1-9][0-9]{0,9})$/.test(text)) this.fail(name, `not a number: ${text}`);
    return Number(text);
  }

  /** One of some words, the first where the field is not there. */
  word<T extends string>(name: string, words: readonly [T, ...T[]]): T {
    const text = this.text(name) ?? words[0];
    const found = words.find((word) => word === text);
    return found ?? this.fail(name, `${name} is one of ${words.join(", ")}`);
  }

  /** A field that has to be there. */
  need<T>(name: string, value: T | undefined): T {
    return value ?? this.fail(undefined, `${name} is missing`);
  }

  /** Undoes the escapes. */
  decode(name: string, text: string): Buffer {
    const parts: Buffer[] = [];
    const token = /\\(?:([rnt0\\])|x([0-9a-f]{2})|\{([1-9][0-9]{0,5})\}|(.?))|([^\\])/gy;
    let times = 1;
    for (const [, letter, hex, count, wrong, plain] of text.matchAll(token)) {
      if (wrong !== undefined) this.fail(name, `not an escape: \\${wrong}`);
      if (count !== undefined) {
        if (times !== 1) this.fail(name, "\\{} repeats a byte, and no \\{}");
        times = Number(count);
        continue;
      }
      const escapes: Record<string, string> = { r: "\r", n: "\n", t: "\t", 0: "\0", "\\": "\\" };
      const byte = hex === undefined ? (plain ?? escapes[letter as string]) : undefined;
      const one = byte === undefined ? Buffer.from(hex as string, "hex") : Buffer.from(byte);
      parts.push(...Array.from({ length: times }, () => one));
      times = 1;
    }
    if (times !== 1) this.fail(name, "\\{} with nothing behind it");
    return Buffer.concat(parts);
  }

  /** To be called when all has been read: a field that nobody has asked for is not known. */
  finish(): void {
    for (const [name, { line }] of this.#fields) {
      if (!this.#used.has(name)) fail(this.file, line, `no field of this block: ${name}`);
    }
  }

  fail(name: string | undefined, what: string): never {
    return fail(this.file, this.#fields.get(name ?? "")?.line ?? this.line, what);
  }
}

function fail(file: string, line: number, what: string): never {
  throw new Error(`${file}:${line}: ${what}`);
}

const hex = (bytes: Buffer): string => bytes.toString("hex");

/** The code of that name; it has to be Done or within [first, last]. */
function codeOf(block: Block, first: Code, last: Code): { code: Code; codeName: string } {
  const codeName = block.text("code") ?? Code[Code.Done];
  const code = (Code as unknown as Record<string, Code | undefined>)[codeName];
  if (code === undefined || (code !== Code.Done && (code < first || code > last))) {
    block.fail("code", `no code that this can have: ${codeName}`);
  }
  return { code, codeName };
}

// In the order of the enums.
const schemes = ["unix", "unix-abstract", "vsock", "vsock-mux", ".host"] as const;
const argumentNames = ["address", "port", "name"] as const;

function readAddress(place: Place, input: Block, expected: Block): AddressCase {
  const result: AddressCase = {
    ...place,
    address: hex(input.need("address", input.bytes("address"))),
    outcome: readAddressOutcome(expected),
  };
  const [port, name] = [input.bytes("port"), input.bytes("name")];
  if (name !== undefined && port === undefined) input.fail("name", "a name without a port");
  if (port !== undefined) result.port = hex(port);
  if (name !== undefined) result.name = hex(name);
  return result;
}

function readAddressOutcome(block: Block): AddressOutcome {
  const { code, codeName } = codeOf(block, Code.UnknownAddress, Code.NulByte);
  const argument = argumentNames.indexOf(block.word("argument", argumentNames)) as Argument;
  const outcome: AddressOutcome = { code, codeName, port: 22, argument };
  if (code === Code.UnknownAddress) {
    if (block.has("scheme")) block.fail("scheme", "an unknown address has no scheme");
  } else {
    const name = block.need("scheme", block.text("scheme"));
    outcome.scheme = 1 + schemes.findIndex((scheme) => scheme === name);
    if (outcome.scheme === 0) block.fail("scheme", `no scheme: ${name}`);
  }
  if (code !== Code.Done) {
    outcome.offset = block.need("offset", block.number("offset"));
    return outcome;
  }

  const bytes: Buffer = Buffer.alloc(12);
  const scheme = outcome.scheme as Scheme;
  if (scheme === Scheme.Vsock || scheme === Scheme.VsockMux) {
    outcome.port = block.need("port", block.number("port"));
  }
  if (scheme === Scheme.Vsock) {
    outcome.cid = block.need("cid", block.number("cid"));
    bytes.writeUInt16LE(Family.Vsock, 0);
    bytes.writeUInt32LE(outcome.port, 4);
    bytes.writeUInt32LE(outcome.cid, 8);
    outcome.socketAddress = hex(bytes);
  } else {
    const field = scheme === Scheme.UnixAbstract ? "name" : "path";
    const nul = scheme === Scheme.UnixAbstract ? [0] : [];
    const rest = block.need(field, block.bytes(field));
    outcome.socketAddress = hex(Buffer.concat([Buffer.from([Family.Unix, 0, ...nul]), rest]));
  }
  if (argument === Argument.Port) block.fail("argument", "the port is no address");
  return outcome;
}

const ends = ["silence", "eof"] as const;

function readHandshake(place: Place, input: Block, expected: Block): HandshakeCase {
  const port = input.number("port") ?? 22;
  if (port > 0xffff_ffff) input.fail("port", "a port is a u32");
  const request = expected.bytes("request") ?? Buffer.from(`CONNECT ${port}\n`);
  const answer = input.bytes("answer") ?? Buffer.alloc(0);
  const { code, codeName } = codeOf(expected, Code.EndOfFile, Code.NumberOutOfRange);
  const outcome: HandshakeOutcome = {
    request: hex(request),
    code,
    codeName,
    consumed: expected.need("consumed", expected.number("consumed")),
  };
  if (outcome.consumed > answer.length) expected.fail("consumed", "more than the answer has");
  if (code === Code.Done) outcome.number = expected.need("number", expected.number("number"));
  return {
    ...place,
    port,
    sent: input.number("sent") ?? request.length,
    answer: hex(answer),
    end: input.word("end", ends),
    outcome,
  };
}

function readCommand(place: Place, input: Block, expected: Block): CommandCase {
  const words = (input.text("arguments") ?? "").split(" ").filter((word) => word !== "");
  const answer = input.bytes("answer") ?? Buffer.alloc(0);
  const optional = (name: string): string | null => {
    const bytes = expected.bytes(name);
    return bytes === undefined ? null : hex(bytes);
  };
  const outcome: CommandOutcome = {
    exit: expected.need("exit", expected.number("exit")),
    stderr: optional("stderr") ?? "",
    sent: optional("sent"),
    consumed: expected.number("consumed") ?? 0,
    passed: optional("passed"),
    relayed: optional("relayed"),
  };
  if (outcome.consumed > answer.length) expected.fail("consumed", "more than the answer has");
  const stdout = input.word("stdout", ["unix", "pipe", "closed", "gone"]);
  if ((outcome.relayed !== null) !== (stdout === "pipe")) {
    expected.fail("relayed", "relayed is for a stdout that is a pipe, and has to be there then");
  }
  if (outcome.passed !== null && (outcome.exit !== 0 || stdout !== "unix")) {
    expected.fail("passed", "nothing can be passed there");
  }
  return {
    ...place,
    arguments: words.map((word) => hex(input.decode("arguments", word === "''" ? "" : word))),
    environment: input.list("environment").map(hex),
    stdout,
    answer: hex(answer),
    end: input.word("end", ends),
    outcome,
  };
}

const readers = {
  address: readAddress,
  handshake: readHandshake,
  command: readCommand,
} satisfies Record<Kind, unknown>;

/** The cases of one file's text; `file` is what errors and cases call it. */
export function readCases<K extends Kind>(
  kind: K,
  file: string,
  text: string,
): ReturnType<(typeof readers)[K]>[] {
  const cases: ReturnType<(typeof readers)[K]>[] = [];
  const titles = new Set<string>();
  let place: Place | undefined;
  let block: Block | undefined;
  let input: Block | undefined;
  /** Whether the heading has its case. */
  let done = true;

  for (const [index, content] of text.split("\n").entries()) {
    const line = index + 1;
    if (block !== undefined) {
      if (content !== "```") {
        block.add(line, content);
      } else if (input === undefined) {
        input = block;
        block = undefined;
      } else {
        cases.push(readers[kind](place as Place, input, block) as (typeof cases)[number]);
        input.finish();
        block.finish();
        [input, block, done] = [undefined, undefined, true];
      }
      continue;
    }
    const [, title] = /^#+ (.+)$/.exec(content) ?? [];
    if (title !== undefined) {
      if (input !== undefined) fail(file, line, "the case before has no outcome");
      if (titles.has(title)) fail(file, line, `a second heading of the same words: ${title}`);
      titles.add(title);
      place = { file, line, title };
      done = false;
    } else if (/^\s*(```|~~~)/.test(content)) {
      const expected = input === undefined ? kind : "outcome";
      if (content !== `\`\`\`${expected}`) {
        fail(file, line, `not \`\`\`${expected}, which is to stand here: ${content}`);
      }
      if (place === undefined || done) fail(file, line, "a case without a heading of its own");
      block = new Block(file, line);
    }
  }
  if (block !== undefined) fail(file, block.line, "this block does not end");
  if (input !== undefined) fail(file, input.line, "this case has no outcome");
  if (cases.length === 0) fail(file, 1, "no case");
  return cases;
}

function readKind<K extends Kind>(kind: K): ReturnType<(typeof readers)[K]>[] {
  const names = readdirSync(path.join(root, folder, kind)).sort();
  return names.flatMap((name) => {
    const file = `${folder}/${kind}/${name}`;
    if (!name.endsWith(".md")) fail(file, 1, "not Markdown");
    return readCases(kind, file, readFileSync(path.join(root, file), "utf8"));
  });
}

/** All of tests/transcripts. */
export function readTranscripts(): Transcripts {
  return {
    address: readKind("address"),
    handshake: readKind("handshake"),
    command: readKind("command"),
  };
}
