// A second implementation of a look-up's rules (assembly/names), to compare names.wasm with. It sees all
// replies at once. Where names.wasm has states, it has JSON.parse, regular expressions and a cursor;
// text is latin1, one character for each byte.

import assert from "node:assert/strict";
import { Code } from "../../assembly/codes";
import type { LookupInput } from "../fuzz/inputs";
import { Names } from "../support/names";

/** What is compared: the code, and what is valid with it. */
interface Outcome {
  code: string;
  cid?: number;
  /** Not in hexadecimal: most of it is text. */
  text?: string;
}

/** Where the replies end before the look-up does. */
class Incomplete extends Error {}

/** The end of a look-up. */
class Result extends Error {
  constructor(readonly outcome: Outcome) {
    super(outcome.code);
  }
}

function end(code: string, more: Omit<Outcome, "code"> = {}): never {
  throw new Result({ code, ...more });
}

// ---- machined

/** A value of JSON: an object's members, or what is written. */
type Value = { members: [string, Value][] } | { written: string };

/** Reads what JSON.parse has accepted, with all members of the same name. */
function readJson(text: string): Value {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  let at = 0;
  let depth = 0;
  const string = (token: string): string => {
    const value = JSON.parse(token) as string;
    if (/\p{Surrogate}/u.test(value)) end("BadReply");
    return value;
  };
  const read = (): Value => {
    const token = tokens[at++] ?? "";
    if (token.startsWith('"')) string(token);
    if (token !== "{" && token !== "[") return { written: token };
    if (++depth > 16) end("BadReply");
    const members: [string, Value][] = [];
    while (tokens[at] !== "}" && tokens[at] !== "]") {
      if (tokens[at] === ",") at++;
      const name = token === "{" ? string(tokens[at++] ?? "") : "";
      if (token === "{") at++;
      members.push([name, read()]);
    }
    at++;
    depth--;
    return token === "{" ? { members } : { written: "[]" };
  };
  return read();
}

function modelMachined(answer: Buffer): never {
  const nul = answer.indexOf(0);
  if (nul < 0) throw new Incomplete();
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      answer.subarray(0, nul),
    );
    JSON.parse(text);
  } catch {
    end("BadReply");
  }
  const reply = readJson(text);
  if (!("members" in reply)) end("BadReply");
  /** The members of an object that are kept; each is there once, and null is as none. */
  const kept = (of: [string, Value][], names: string[]): Map<string, Value> => {
    const known = of.filter(([name]) => names.includes(name));
    if (new Set(known.map(([name]) => name)).size < known.length) end("BadReply");
    const isNull = (value: Value): boolean => "written" in value && value.written === "null";
    return new Map(known.filter(([, value]) => !isNull(value)));
  };
  const string = (value: Value | undefined): string | undefined => {
    if (value === undefined) return undefined;
    if (!("written" in value) || !value.written.startsWith('"')) end("BadReply");
    return JSON.parse(value.written) as string;
  };
  const number = (value: Value | undefined): number | undefined => {
    if (value === undefined) return undefined;
    const written = "written" in value ? value.written : "";
    if (!/^(?:0|[1-9][0-9]*)$/.test(written) || Number(written) > 0xffff_ffff) end("BadReply");
    return Number(written);
  };
  const outer = kept(reply.members, ["error", "continues", "parameters"]);
  const error = string(outer.get("error"));
  const continues = outer.get("continues");
  if (continues !== undefined && !("written" in continues && continues.written === "false")) {
    end("BadReply");
  }
  const parameters = outer.get("parameters") ?? { members: [] };
  if (!("members" in parameters)) end("BadReply");
  const names = ["class", "service", "vSockCid", "sshAddress", "errno"];
  const fields = kept(parameters.members, names);
  const [kind, service, address] = ["class", "service", "sshAddress"].map((name) =>
    string(fields.get(name)),
  );
  const [cid, errno] = ["vSockCid", "errno"].map((name) => number(fields.get(name)));
  if (Buffer.byteLength(address ?? "") > 255) end("BadReply");
  const bytes = (of: string): string => Buffer.from(of).subarray(0, 255).toString("latin1");

  if (error !== undefined) {
    const denied =
      error === "org.varlink.service.PermissionDenied" ||
      error === "io.systemd.InteractiveAuthenticationRequired" ||
      (error === "io.systemd.System" && (errno === 1 || errno === 13));
    const missing = error === "io.systemd.Machine.NoSuchMachine";
    const code = denied ? "LookupDenied" : missing ? "NoSuchMachine" : "ServiceError";
    end(code, { text: bytes(error) });
  }
  if (kind === undefined) end("BadReply");
  if (kind === "vm" && cid !== undefined && cid !== 0xffff_ffff) end("Done", { cid });
  if (kind === "container" && service === "systemd-nspawn") end("Done");
  if (address) end("Done", { text: bytes(address) });
  if (kind === "vm") end(service === "libvirt-qemu" ? "UseLibvirt" : "NoCid");
  const isKnown = (kind === "container" && service === "libvirt-qemu") || service === undefined;
  end("UnknownClass", { text: bytes(kind !== "container" ? kind : isKnown ? "" : service) });
}

// ---- libvirt

/** Bytes that end where the replies do, and of which a message may take some. */
class Cursor {
  at = 0;
  /** Where the message ends. */
  end = Infinity;

  constructor(readonly bytes: Buffer) {}

  get left(): number {
    return this.end - this.at;
  }

  take(length: number): Buffer {
    const wanted = Math.min(length, this.left);
    if (this.at + wanted > this.bytes.length) throw new Incomplete();
    if (wanted < length) end("BadReply");
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  word(): number {
    return this.take(4).readUInt32BE();
  }

  /** The length of a string that is to follow, with its padding. */
  length(): [number, number] {
    const length = this.word();
    const padding = -length & 3;
    if (length + padding > this.left) end("BadReply");
    return [length, padding];
  }

  string(): string {
    const [length, padding] = this.length();
    const text = this.take(length).toString("latin1");
    for (let i = 0; i < padding; i++) if (this.take(1)[0] !== 0) end("BadReply");
    return text;
  }
}

const require = (condition: boolean): void => {
  if (!condition) end("BadReply");
};

const UUID = /^[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}$/i;

function modelLibvirt(name: string, answer: Buffer): never {
  const cursor = new Cursor(answer);
  let serial = 0;
  let text = "";
  /** Reads the head of the reply to the next call; returns an error's code. */
  const call = (procedure: number): number | undefined => {
    serial++;
    for (;;) {
      cursor.end = Infinity;
      const start = cursor.at;
      const length = cursor.word();
      require(length >= 28 && length <= 28 + 4 + 4_194_304);
      require(cursor.word() === 0x20008086);
      require(cursor.word() === 1);
      const called = cursor.word();
      const type = cursor.word();
      require(type === 2 || (type === 1 && called === procedure));
      const replied = cursor.word();
      require(type === 2 || replied === serial);
      const status = cursor.word();
      require(status <= 1);
      cursor.end = start + length;
      if (type === 1) return status === 1 ? readError() : undefined;
      cursor.take(cursor.left);
    }
  };
  const readError = (): number => {
    const code = cursor.word();
    text = "";
    cursor.word();
    const has = cursor.word();
    require(has <= 1);
    if (has === 1) text = cursor.string().slice(0, 256);
    cursor.take(cursor.left);
    return code;
  };
  const finish = (): void => {
    if (cursor.left > 0) {
      // A word that should not be there is wrong at its end.
      cursor.take(Math.min(cursor.left, 4));
      end("BadReply");
    }
  };
  const fail = (error: number | undefined): void => {
    if (error === undefined) return;
    end([29, 45, 88].includes(error) ? "LookupDenied" : "ServiceError", { text });
  };
  /** Reads a domain's ID after a look-up; or undefined if there is none. */
  const lookUp = (procedure: number): number | undefined => {
    const error = call(procedure);
    if (error === 42) return undefined;
    fail(error);
    cursor.string();
    require(cursor.left >= 16);
    cursor.take(16);
    const id = cursor.word();
    require(cursor.left === 0);
    return id;
  };

  let error = call(1);
  if (error === 39) {
    fail(call(66));
    const count = cursor.word();
    require(count <= 64 && 4 * count === cursor.left);
    const types = Array.from({ length: count }, () => cursor.word());
    if (types.includes(2)) {
      if (call(70) !== undefined) end("LookupDenied", { text });
      cursor.word();
      require(cursor.left === 0);
    } else if (!types.includes(0)) end("ServiceError", { text });
    error = call(1);
  }
  fail(error);
  finish();
  let id = lookUp(23);
  if (id === undefined && UUID.test(name)) id = lookUp(24);
  if (id === undefined && /^(?:0|[1-9][0-9]{0,9})$/.test(name) && Number(name) < 2 ** 31) {
    id = lookUp(22);
  }
  if (id === undefined) end("NoSuchDomain", { text });
  if (id === 0xffff_ffff) end("DomainOff");
  fail(call(14));
  const [length, padding] = cursor.length();
  const isWhole = answer.length >= cursor.at + length + padding;
  modelXml(answer.subarray(cursor.at, cursor.at + length).toString("latin1"), isWhole);
}

/** Finds the CID in an XML, or in what there is of it. */
function modelXml(xml: string, isWhole: boolean): never {
  const goal = "/domain/devices/vsock/cid";
  const open: string[] = [];
  let at = 0;
  let hasVsock = false;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(xml);
    if (match !== null) at += match[0].length;
    return match;
  };
  const fail = (): never => {
    // What is cut off may be wrong already, or only not complete.
    if (!isWhole) throw new Incomplete();
    end("BadReply");
  };
  const close = (): void => {
    open.pop();
    if (open.length === 0) end(hasVsock ? "NoCidYet" : "NoVsockDevice");
  };
  for (;;) {
    take(open.length === 0 ? /[ \t\r\n]*/y : /[^<]*/y);
    if (take(/<!--(?:(?!--)[^])*-->|<\?[^]*?\?>/y) !== null) continue;
    if (open.length > 0 && take(/<!\[CDATA\[[^]*?\]\]>/y) !== null) continue;
    if (open.length > 0 && take(/<\/[^<>]*>/y) !== null) {
      close();
      continue;
    }
    const [, name] = take(/<([\w.:\x80-\xff-]+)(?=[ \t\r\n/>])/y) ?? fail();
    open.push(name ?? "");
    if (open[0] !== "domain") end("BadReply");
    const path = `/${open.join("/")}`;
    if (path === "/domain/devices/vsock") hasVsock = true;
    for (let spaced = true; ; spaced = false) {
      spaced = take(/[ \t\r\n]+/y) !== null || spaced;
      if (take(/>/y) !== null) break;
      if (take(/\/>/y) !== null) {
        close();
        break;
      }
      if (!spaced) fail();
      const attribute = take(/([\w.:\x80-\xff-]+)[ \t\r\n]*=[ \t\r\n]*(?:"([^<"]*)"|'([^<']*)')/y);
      const [, key, double, single] = attribute ?? fail();
      if (path !== goal || key !== "address") continue;
      const value = double ?? single ?? "";
      const isCid = /^[1-9][0-9]*$/.test(value) && Number(value) >= 3 && Number(value) < U32_MAX;
      if (isCid) end("Done", { cid: Number(value) });
      end("BadReply");
    }
  }
}

const U32_MAX = 0xffff_ffff;

/** The outcome by the model; undefined if the replies end before the look-up does. */
function modelLookup({ service, name, answer }: LookupInput): Outcome | undefined {
  const text = name.toString("latin1");
  const isMachine = /^(?=[^.])(?:[\w-]|\.(?!\.)){1,64}$/.test(text);
  const isDomain = /^[^\0-\x1f/\x7f]{1,250}$/.test(text);
  if (!(service === 1 ? isMachine : isDomain)) return { code: "BadName" };
  try {
    return service === 1 ? modelMachined(answer) : modelLibvirt(text, answer);
  } catch (error) {
    if (error instanceof Incomplete) return undefined;
    if (error instanceof Result) return error.outcome;
    throw error;
  }
}

const names = new Names();
const texts: readonly string[] = [
  ...["NoSuchMachine", "NoSuchDomain", "UnknownClass", "ServiceError", "LookupDenied"],
];

/** Compares names.wasm with the model; throws if they differ. */
export function checkLookup(input: LookupInput): void {
  const { code: number, target, cid, text } = names.run(input, input.segments);
  const code = Code[number];
  const isDone = code === "Done";
  const expected = modelLookup(input);
  if (expected === undefined) {
    const ended = { eof: "EndWithinReply", silence: "LookupTimeout", none: "NeedMore" };
    assert.ok([ended[input.end ?? "none"], "BadReply"].includes(code), code);
    return;
  }
  const actual: Outcome = {
    code,
    ...(isDone && target === 1 ? { cid } : {}),
    ...((isDone && target === 2) || texts.includes(code) ? { text: text.toString("latin1") } : {}),
  };
  assert.deepEqual(actual, expected);
}
