// The transcripts of tests/transcripts, replayed from their JSON form on every build. Each answer is cut
// into segments in many ways, and the outcome has to be the transcript's each time:
//
//   build        what is replayed                ways to cut an answer
//   -----------+-------------------------------+----------------------------------------------------
//   core         address, handshake: core.wasm   whole, byte by byte, at each place into two; up to
//                in Node                         24 bytes every way there is, 2^(n-1)
//   wasm2c       the same: core.wasm as C        the same
//   simulated    handshake: proxy.wasm in a      every way to cut the 14 bytes at its front, which are
//                simulated world, no process     all that is ever looked at
//   standalone   address, handshake, command:    whole, byte by byte, at each place into two; up to
//                proxy.wasm as ssh runs it       8 bytes every way there is
//   node         the same on the Node host       whole, byte by byte, at each place into two; within
//                                                silence not the last: each run waits for its deadline
//
// A process for each of the 2^23 ways to cut 24 bytes would take hours: so on its hosts proxy.wasm is
// cut in fewer ways, and the simulated world has the others.
//
// The core is shown every segment, those behind the end of a handshake too, then an end of file and a
// deadline, and none of that may change what has been. To proxy.wasm the segments come over a real
// socket, each once the one before was taken (support/fake-peer.c).
//
// proxy.wasm cannot be asked for everything: no command line holds a NUL byte or port 4294967295 of a
// multiplexer, a unix socket takes a request whole, and nobody connects to AF_VSOCK on this machine. Of
// an address, a host tells the path by -v, and what is wrong by its failure.
//
// A failure ends with the line that replays it: REPLAY='BUILD FILE:LINE SEGMENTS'.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Argument, CODES_PER_EXIT, Code, Exit, Field, Scheme } from "../../assembly/codes";
import { LineProcess } from "../support/line-process";
import { meanings } from "../support/meanings";
import { Peers } from "../support/fake-peer";
import type { PeerResult } from "../support/fake-peer";
import { root } from "../support/proxy";
import { compileReplayCore } from "./replay-core";
import { simulate } from "../simulated/world";
import { readTranscripts } from "./reader";
import type {
  AddressCase,
  AddressOutcome,
  CommandCase,
  HandshakeCase,
  HandshakeOutcome,
  Transcripts,
} from "./reader";

const folder = mkdtempSync(path.join(tmpdir(), "transcripts-"));
after(() => {
  rmSync(folder, { recursive: true });
});

const json = path.join(folder, "transcripts.json");
const script = path.join(root, "tests/transcripts/export.ts");
execFileSync(process.execPath, ["--import", "tsx", script, json], { cwd: root, stdio: "pipe" });
const transcripts = JSON.parse(readFileSync(json, "utf8")) as Transcripts;

const [onlyBuild = "", onlyCase, onlySegments] = (process.env["REPLAY"] ?? "").split(" ");
if (!["", "core", "wasm2c", "simulated", "standalone", "node"].includes(onlyBuild)) {
  throw new Error(`REPLAY: no build ${onlyBuild}`);
}

type AnyCase = AddressCase | HandshakeCase | CommandCase;

const unhex = (text: string): Buffer => Buffer.from(text, "hex");

// ---- ways to cut

/** The lengths of the segments. */
type Way = readonly number[];

/** Answers of up to so many bytes are cut in every way that there is: 2^23 ways for the longest. */
const EVERY_WAY = 24;
const EVERY_WAY_ON_HOST = 8;

/** The way of a number: a cut behind byte i where bit i of it is set. */
function wayOf(number: number, length: number): Way {
  const way: number[] = [];
  let from = 0;
  for (let end = 1; end <= length; end++) {
    if (end < length && ((number >> (end - 1)) & 1) === 0) continue;
    way.push(end - from);
    from = end;
  }
  return way;
}

const countOf = (length: number): number => (length < 2 ? 1 : 2 ** (length - 1));

/** Whole, byte by byte, and at each place into two. */
function someWays(length: number, halves = true): Way[] {
  if (length < 2) return [wayOf(0, length)];
  const two = Array.from({ length: length - 1 }, (_, i) => [i + 1, length - i - 1]);
  const single = Array.from({ length }, () => 1);
  return [[length], ...(halves ? two : []), ...(length > 2 || !halves ? [single] : [])];
}

function everyWay(length: number): Way[] {
  return Array.from({ length: countOf(length) }, (_, number) => wayOf(number, length));
}

const shown = (way: Way): string => way.join(",") || "-";

/** What REPLAY says, or the given ways. */
function waysOf(ways: Way[]): Way[] {
  if (onlySegments === undefined) return ways;
  return [onlySegments === "-" ? [] : onlySegments.split(",").map(Number)];
}

// ---- what is told

/** Bytes as a transcript has them. */
function escaped(hex: string): string {
  const names: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\0": "\\0", "\\": "\\\\" };
  return unhex(hex)
    .toString("latin1")
    .replace(/[^\x20-\x5b\x5d-\x7e]/g, (byte) => {
      return names[byte] ?? `\\x${Buffer.from(byte, "latin1").toString("hex")}`;
    });
}

/** Fields that hold bytes. */
const inHex = ["request", "socketAddress", "stderr", "sent", "passed", "relayed"];

function compare(build: string, one: AnyCase, way: Way, actual: object, expected: object): void {
  const told = (name: string, value: unknown): string =>
    typeof value === "string" && inHex.includes(name) ? `'${escaped(value)}'` : String(value);
  const [is, shouldBe] = [actual, expected].map((from) => new Map(Object.entries(from)));
  const names = new Set([...(shouldBe?.keys() ?? []), ...(is?.keys() ?? [])]);
  const wrong = [...names]
    .filter((name) => is?.get(name) !== shouldBe?.get(name))
    .map(
      (name) => `  ${name} is ${told(name, is?.get(name))}, not ${told(name, shouldBe?.get(name))}`,
    );
  if (wrong.length > 0) complain(build, one, way, wrong.join("\n"));
}

/** Fails; without a way it is about all of them. */
function complain(build: string, one: AnyCase, way: Way | undefined, what: string): never {
  const place = `${one.file}:${one.line}`;
  const cut =
    way === undefined || way.length === 0 ? "" : `, the answer in segments of ${shown(way)} bytes`;
  const segments = way === undefined ? "" : ` ${shown(way)}`;
  const replay = `REPLAY='${build} ${place}${segments}' npx tsx tests/transcripts/replay.test.ts`;
  const lines = [`${place}: ${one.title}`, what, `  on ${build}${cut}`, `  replay: ${replay}`, ""];
  assert.fail(lines.join("\n"));
}

/** What fails in another way is complained of as well. */
async function orComplain<T>(
  build: string,
  one: AnyCase,
  way: Way | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    complain(build, one, way, `  ${(error as Error).message}`);
  }
}

const replays: Record<string, number> = {};
const left: Record<string, number> = {};

/** A build's cases, each a test; and how many replays there were. */
function replayAll<T extends AnyCase>(
  build: string,
  cases: readonly T[],
  replay: (one: T) => number | Promise<number>,
): void {
  for (const one of cases) {
    if (onlyCase !== undefined && onlyCase !== `${one.file}:${one.line}`) continue;
    left[build] = (left[build] ?? 0) + 1;
    it(`${one.file}:${one.line}: ${one.title}`, async () => {
      const count = await replay(one);
      replays[build] = (replays[build] ?? 0) + count;
      left[build] = (left[build] ?? 0) - 1;
    });
  }
}

function describeBuild(build: string, options: { concurrency?: number }, body: () => void): void {
  if (onlyBuild !== "" && onlyBuild !== build) return;
  describe(build, () => {
    describe("transcripts", options, body);
    it("replayed them all", (t) => {
      t.diagnostic(`${build}: ${replays[build]?.toLocaleString("en")} replays`);
      assert.equal(left[build], 0, "cases that were not replayed");
    });
  });
}

// ---- the core

const REQUEST_MAX = 19;
const ANSWER_MAX = 14;

/** What the record of docs/abi.md holds, of the fields that are valid. */
function addressOutcome(
  code: Code,
  fields: readonly number[],
  socketAddress: string,
): AddressOutcome {
  const [scheme = 0, port = 0, cid = 0, argument = 0, offset = 0] = fields;
  return {
    code,
    codeName: Code[code],
    ...(code === Code.UnknownAddress ? {} : { scheme }),
    port,
    argument,
    ...(code === Code.Done ? { socketAddress } : { offset }),
    ...(code === Code.Done && scheme === (Scheme.Vsock as number) ? { cid } : {}),
  };
}

interface Result {
  code: Code;
  consumed: number;
  number: number;
}

function handshakeOutcome({ code, consumed, number }: Result, request: string): HandshakeOutcome {
  const known = { request, code, codeName: Code[code], consumed };
  return code === Code.Done ? { ...known, number } : known;
}

/** core.wasm as docs/abi.md has it. */
class Core {
  readonly #exports: Record<string, (...args: number[]) => number>;
  readonly #memory: WebAssembly.Memory;
  readonly #heap: number;

  constructor(wasm: Uint8Array<ArrayBuffer>) {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm));
    this.#exports = exports as Record<string, (...args: number[]) => number>;
    this.#memory = exports["memory"] as WebAssembly.Memory;
    this.#heap = (this.#call("heap")() + 15) & ~15;
  }

  #call(name: string): (...args: number[]) => number {
    return this.#exports[name] ?? assert.fail(`core.wasm has no ${name}`);
  }

  parse(one: AddressCase): AddressOutcome {
    const record = this.#heap;
    const size = (this.#exports["address_size"] as unknown as WebAssembly.Global).value as number;
    const memory = new Uint8Array(this.#memory.buffer);
    memory.fill(0xaa, record, record + size);
    let end = record + size;
    const pointers = [one.address, one.port, one.name].flatMap((text) => {
      if (text === undefined) return [0, 0];
      const bytes = unhex(text);
      memory.set(bytes, end);
      end += bytes.length;
      return [end - bytes.length, bytes.length];
    });
    const code = this.#call("address_parse")(record, ...pointers) as Code;
    const view = new DataView(this.#memory.buffer, record, size);
    const fields = [Field.Scheme, Field.Port, Field.Cid, Field.Argument, Field.Offset];
    const length = code === Code.Done ? view.getUint32(Field.Length, true) : 0;
    const address = memory.subarray(record + Field.SocketAddress).subarray(0, length);
    return addressOutcome(
      code,
      fields.map((field) => view.getUint32(field, true)),
      Buffer.from(address).toString("hex"),
    );
  }

  /** A function that replays a handshake, its answer cut as said; it throws a string for what is wrong. */
  handshake(one: HandshakeCase): { request: string; replay: (way: Way) => Result } {
    const [slot, request] = [this.#heap, this.#heap + 16];
    const at = request + REQUEST_MAX;
    const answer = unhex(one.answer);
    new Uint8Array(this.#memory.buffer).set(answer, at);
    const begin = this.#call("handshake_begin");
    const sent = this.#call("handshake_sent");
    const receive = this.#call("handshake_receive");
    const endOfFile = this.#call("handshake_eof");
    const deadline = this.#call("handshake_deadline");
    const codeOf = this.#call("handshake_code");
    const numberOf = this.#call("handshake_number");
    const offsetOf = this.#call("handshake_offset");
    const wantedBy = this.#call("handshake_wanted");
    const end = one.end === "eof" ? endOfFile : deadline;
    const replay = (way: Way): Result => {
      const length = begin(slot, one.port, request);
      sent(slot, one.sent);
      let code = codeOf(slot) as Code;
      let consumed = 0;
      let from = at;
      for (const segment of way) {
        const waits = code === Code.NeedMore;
        if (wantedBy(slot) !== (waits ? ANSWER_MAX - consumed : 0))
          throw new Error("  handshake_wanted");
        const got = receive(slot, from, segment);
        from += segment;
        if (!waits) {
          if (got !== 0) throw new Error("  bytes consumed behind the end");
          continue;
        }
        consumed += got;
        code = codeOf(slot);
        if (got > segment || (code === Code.NeedMore && got !== segment)) {
          throw new Error("  bytes that are neither consumed nor refused");
        }
      }
      if (code === Code.NeedMore) {
        end(slot);
        code = codeOf(slot);
      }
      const number = numberOf(slot) >>> 0;
      // Whatever happens now changes nothing.
      sent(slot, length);
      endOfFile(slot);
      deadline(slot);
      if (receive(slot, at, answer.length) !== 0)
        throw new Error("  bytes consumed behind the end");
      if ((codeOf(slot) as Code) !== code) throw new Error("  the code changes after the end");
      if (offsetOf(slot) !== consumed) throw new Error("  handshake_offset");
      return { code, consumed, number };
    };
    const length = begin(slot, one.port, request);
    const text = Buffer.from(this.#memory.buffer, request, length).toString("hex");
    return { request: text, replay };
  }
}

describeBuild("core", {}, () => {
  const core = new Core(new Uint8Array(readFileSync(path.join(root, "dist/core.wasm"))));

  replayAll("core", transcripts.address, (one) => {
    compare("core", one, [], core.parse(one), one.outcome);
    return 1;
  });

  replayAll("core", transcripts.handshake, (one) => {
    const { request, replay } = core.handshake(one);
    const length = one.answer.length / 2;
    const all = length <= EVERY_WAY && onlySegments === undefined;
    const ways = waysOf(all ? [] : someWays(length));
    const count = all ? countOf(length) : ways.length;
    for (let i = 0; i < count; i++) {
      const way = all ? wayOf(i, length) : (ways[i] as Way);
      let result: Result;
      try {
        result = replay(way);
      } catch (error) {
        complain("core", one, way, (error as Error).message);
      }
      const { code, consumed, number = result.number } = one.outcome;
      const right = (result.code as number) === code && result.consumed === consumed;
      if (i > 0 && right && result.number === number) continue;
      compare("core", one, way, handshakeOutcome(result, request), one.outcome);
    }
    return count;
  });
});

describeBuild("wasm2c", {}, () => {
  let program: LineProcess;
  before(async () => {
    program = new LineProcess(await compileReplayCore(path.join(folder, "core")), []);
  });
  after(() => program.end());

  const bytes = (text: string | undefined): string => (text === undefined ? "-" : `x${text}`);
  const ask = async (
    one: AnyCase,
    way: Way | undefined,
    words: (string | number)[],
  ): Promise<string[]> => {
    const answer = await orComplain("wasm2c", one, way, () => program.ask(words.join(" ")));
    return answer.split(" ");
  };

  replayAll("wasm2c", transcripts.address, async (one) => {
    const texts = [one.address, one.port, one.name].map(bytes);
    const [code, ...rest] = await ask(one, [], ["address", ...texts]);
    const fields = rest.slice(0, 5).map(Number);
    const outcome = addressOutcome(Number(code), fields, (rest[5] ?? "").slice(1));
    compare("wasm2c", one, [], outcome, one.outcome);
    return 1;
  });

  replayAll("wasm2c", transcripts.handshake, async (one) => {
    const length = one.answer.length / 2;
    const all = length <= EVERY_WAY && onlySegments === undefined;
    const ways = all ? "all" : waysOf(someWays(length)).map(shown).join(" ");
    const words = ["handshake", one.port, one.sent, bytes(one.answer), one.end, ways];
    const answer = await ask(one, undefined, words);
    const wayIn = (text = ""): Way => (text === "-" ? [] : text.split(",").map(Number));
    if (answer[0] === "broken") {
      complain("wasm2c", one, wayIn(answer[1]), `  ${answer.slice(2).join(" ")}`);
    }
    const [code, consumed, number, request = "", count] = answer;
    const outcome = (fields: (string | undefined)[]): HandshakeOutcome => {
      const [code = 0, consumed = 0, number = 0] = fields.map(Number);
      return handshakeOutcome({ code, consumed, number }, request.slice(1));
    };
    const first = all ? wayOf(0, length) : (waysOf(someWays(length))[0] as Way);
    compare("wasm2c", one, first, outcome([code, consumed, number]), one.outcome);
    if (count === "differs") {
      compare("wasm2c", one, wayIn(answer[5]), outcome(answer.slice(6)), one.outcome);
    }
    if (!/^[1-9][0-9]*$/.test(count ?? "")) complain("wasm2c", one, undefined, answer.join(" "));
    return Number(count);
  });
});

// ---- proxy.wasm on its hosts

const PEER = "vsock-mux/./peer.sock";

/** The first deadline that a silence is left to; and no less than any machine needs for the rest. */
const FIRST_TIMEOUT_MS = 250;
const TIMEOUT_MS = 60_000;

/** Of foreign text, a line has no more bytes: FOREIGN_MAX of assembly/proxy/memory.ts. */
const FOREIGN_MAX = 4160;

/** A case of the handshake as one of the command. */
function asCommand(one: HandshakeCase): CommandCase {
  const { code, consumed, request } = one.outcome;
  const done = code === (Code.Done as number);
  const line = `ssh-vsock-proxy: ${PEER} port ${one.port}: ${meanings.get(code)}\n`;
  return {
    ...one,
    arguments: [PEER, String(one.port)].map((word) => Buffer.from(word).toString("hex")),
    environment: [],
    stdout: "unix",
    outcome: {
      exit: Math.floor(code / CODES_PER_EXIT),
      stderr: done ? "" : Buffer.from(line).toString("hex"),
      sent: request,
      consumed,
      passed: done ? one.answer.slice(2 * consumed) : null,
      relayed: null,
    },
  };
}

/** What a run should have come to, in the words of fake-peer.c. */
function expectedOf(one: CommandCase, way: Way): Partial<PeerResult> {
  const { exit, stderr, sent, consumed, passed, relayed } = one.outcome;
  const failed = exit !== (Exit.Ok as number);
  let [end, taken] = [0, 0];
  for (const length of way) {
    end += length;
    if (end <= consumed || relayed !== null) taken = end;
  }
  return {
    exit,
    stderr,
    connections: sent === null ? 0 : 1,
    sent: sent ?? "",
    taken: sent === null ? 0 : taken,
    unread: failed && sent !== null && consumed < one.answer.length / 2,
    early: false,
    fds: passed === null ? 0 : 1,
    output: passed === null ? (relayed ?? "") : "00",
    passed: passed ?? "",
  };
}

/** Runs the command; where a deadline is waited for, with a longer one until the peer was in time. */
async function runCommand(peers: Peers, one: CommandCase, way: Way): Promise<PeerResult> {
  const waits = one.outcome.exit === (Exit.TempFail as number);
  for (let timeout = waits ? FIRST_TIMEOUT_MS : TIMEOUT_MS; ; timeout *= 2) {
    const result = await peers.run({
      arguments: [Buffer.from(`--timeout=${timeout}ms`), ...one.arguments.map(unhex)],
      environment: one.environment.map(unhex),
      stdout: one.stdout,
      answer: unhex(one.answer),
      end: one.end,
      asks: (one.outcome.sent ?? "") !== "",
      segments: way,
    });
    const inTime = result.taken === one.answer.length / 2;
    if (!waits || inTime || timeout >= TIMEOUT_MS) {
      assert.ok(
        !waits || result.ns >= timeout * 1e6,
        `it gave up after ${result.ns} ns of ${timeout} ms`,
      );
      return result;
    }
  }
}

async function replayCommand(
  host: string,
  peers: Peers,
  one: CommandCase,
  ways: Way[],
): Promise<number> {
  const all = waysOf(ways);
  await Promise.all(
    all.map(async (way) => {
      const run = (): Promise<PeerResult> => runCommand(peers, one, way);
      const { ns, ...result } = await orComplain(host, one, way, run);
      const expected = expectedOf(one, way);
      // What it has failed to hand over is for the process's end to close.
      if (one.stdout === "gone") delete expected.early;
      if (expected.early === undefined) delete (result as Partial<PeerResult>).early;
      compare(host, one, way, result, expected);
      return ns;
    }),
  );
  return all.length;
}

/** Text as a line on stderr shows it: `\xHH` for what is not printable. */
function shownOnTerminal(text: Buffer): string {
  const isUtf8 = Buffer.from(text.toString()).equals(text);
  const hidden = isUtf8 ? /[\x00-\x1f\x5c\x7f]/g : /[^\x20-\x5b\x5d-\x7e]/g;
  return text.toString(isUtf8 ? "utf8" : "latin1").replace(hidden, (byte) => {
    return byte === "\\" ? "\\\\" : `\\x${Buffer.from(byte, "latin1").toString("hex")}`;
  });
}

/** What the command says of an address: why it is refused, or with -v what it connects to. */
function saidOf(one: AddressCase): RegExp {
  const { code, scheme, argument, socketAddress } = one.outcome;
  let left = FOREIGN_MAX;
  const foreign = (text: Buffer): string => {
    const part = text.subarray(0, left);
    left -= part.length;
    return (
      (text.length === 0 ? "''" : shownOnTerminal(part)) + (part.length < text.length ? "..." : "")
    );
  };
  const taken = argument === (Argument.Name as number) ? (one.name ?? "") : one.address;
  let line = `ssh-vsock-proxy: ${foreign(unhex(taken))}`;
  const hasPort = [Scheme.Vsock, Scheme.VsockMux].includes(scheme as Scheme);
  const where = unhex(socketAddress ?? "").subarray(2);
  if (hasPort) line += ` port ${one.port === undefined ? "22" : foreign(unhex(one.port))}`;
  if (scheme === (Scheme.Host as number)) line += ` at ${foreign(where)}`;
  const literally = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  if (code !== (Code.Done as number)) {
    return new RegExp(`^${literally(`${line}: ${meanings.get(code)}\n`)}$`);
  }
  const steps = `connecting to ${foreign(where)}, for at most ${TIMEOUT_MS}.000 ms\n`;
  return new RegExp(`^${literally(line)}: \\d+\\.\\d{3} ms: ${literally(steps)}`);
}

async function replayAddress(host: string, peers: Peers, one: AddressCase): Promise<number> {
  const words = [one.address, one.port, one.name].filter((word) => word !== undefined);
  const run = (): Promise<PeerResult> =>
    peers.run({
      arguments: [Buffer.from(`--timeout=${TIMEOUT_MS}ms`), Buffer.from("-v"), ...words.map(unhex)],
      environment: [],
      stdout: "unix",
      answer: Buffer.alloc(0),
      end: "silence",
      asks: false,
      segments: [],
    });
  const { stderr, exit, connections } = await orComplain(host, one, [], run);
  const said = unhex(stderr).toString();
  const expected = saidOf(one);
  if (!expected.test(said)) {
    complain(host, one, [], `  it says ${JSON.stringify(said)}\n  and not ${String(expected)}`);
  }
  const refused = one.outcome.code !== (Code.Done as number);
  compare(
    host,
    one,
    [],
    { connections, exit },
    { connections: 0, exit: refused ? Exit.Usage : exit },
  );
  return 1;
}

describeBuild("simulated", {}, () => {
  const askable = transcripts.handshake.filter(({ port }) => port < 0xffff_ffff);
  replayAll("simulated", askable, (one) => {
    const answer = unhex(one.answer);
    const length = Math.min(answer.length, ANSWER_MAX);
    const all = onlySegments === undefined;
    const ways = waysOf([]);
    const count = all ? countOf(length) : ways.length;
    const { arguments: args, outcome } = asCommand(one);
    const { exit, stderr } = outcome;
    const sent = one.outcome.request.slice(0, 2 * one.sent);
    const expected = { exit, stderr, sent, consumed: one.outcome.consumed, handedOver: 0 };
    if (exit === (Exit.Ok as number)) expected.handedOver = 1;
    for (let i = 0; i < count; i++) {
      const way = all ? wayOf(i, length) : (ways[i] as Way);
      let end = 0;
      const segments = way.map((size) => answer.subarray(end, (end += size)));
      // What is never looked at comes together with the last of it.
      if (end < answer.length)
        segments.push(Buffer.concat([...segments.splice(-1), answer.subarray(end)]));
      const attempts = [{ reply: segments, end: one.end }];
      const run = simulate(args.map(unhex), { attempts, simulation: { sendTakes: one.sent } });
      const [connection] = run.connections;
      const actual = {
        exit: run.exit,
        stderr: run.stderr.toString("hex"),
        sent: connection?.sent.toString("hex") ?? "",
        consumed: connection?.taken ?? 0,
        handedOver: run.passed.length,
      };
      compare("simulated", one, way, actual, expected);
    }
    return count;
  });
});

/** What can be asked for on a command line of this machine. */
function isForHosts(one: AddressCase): boolean {
  const { code, scheme } = one.outcome;
  const connects = code === (Code.Done as number) && scheme === (Scheme.Vsock as number);
  const holdsNul = [one.address, one.port, one.name].some((text) => unhex(text ?? "").includes(0));
  return !connects && !holdsNul;
}

const hosts = [
  {
    host: "standalone",
    atOnce: 4,
    waiting: 24,
    everyWay: EVERY_WAY_ON_HOST,
    halvesOfSilence: true,
  },
  { host: "node", atOnce: 4, waiting: 8, everyWay: 0, halvesOfSilence: false },
];

for (const { host, atOnce, waiting, everyWay: bytes, halvesOfSilence } of hosts) {
  describeBuild(host, { concurrency: 2 * (atOnce + waiting) }, () => {
    let peers: Peers;
    let patient: Peers;
    before(async () => {
      peers = await Peers.start(host, atOnce);
      patient = await Peers.start(host, waiting);
    });
    after(() => Promise.all([peers.end(), patient.end()]));

    const replay = (one: CommandCase): Promise<number> => {
      const waits = one.outcome.exit === (Exit.TempFail as number);
      const length = one.answer.length / 2;
      const ways = length <= bytes ? everyWay(length) : someWays(length, halvesOfSilence || !waits);
      return replayCommand(host, waits ? patient : peers, one, ways);
    };
    const request = ({ outcome, port, sent }: HandshakeCase): boolean =>
      sent === outcome.request.length / 2 && port < 0xffff_ffff;
    replayAll(host, transcripts.command, replay);
    replayAll(host, transcripts.handshake.filter(request), (one) => replay(asCommand(one)));
    replayAll(host, transcripts.address.filter(isForHosts), (one) =>
      replayAddress(host, peers, one),
    );
  });
}

// ---- the JSON form

describe("the JSON form", () => {
  it("is what the Markdown says", () => {
    assert.deepEqual(transcripts, readTranscripts());
  });
  it("has every case of every file", () => {
    for (const kind of ["address", "handshake", "command"] as const) {
      const at = path.join(root, "tests/transcripts", kind);
      const blocks = readdirSync(at)
        .map((file) => readFileSync(path.join(at, file), "latin1"))
        .flatMap((page) => page.match(/^```(address|handshake|command)$/gm) ?? []);
      assert.equal(transcripts[kind].length, blocks.length, kind);
    }
  });
});
