// Replays the transcripts on every build. The reply is cut into segments in many ways; the outcome is
// always the transcript's.
//
//   build        cases                           cut in every way: replies of up to
//   -----------+-------------------------------+----------------------------------------------------
//   core         address, handshake              14 bytes, the longest OK line (24 bytes)
//   wasm2c       address, handshake              the same
//   core         lookup                          none
//   wasm2c       lookup                          the same
//   simulated    address, handshake              8 bytes (14)
//   standalone   address, handshake, command     5 bytes (8)
//   node         address, handshake, command     none
//
// With TEST_ALL=1 it is up to the number of bytes in brackets. Longer replies are sent whole, byte by
// byte, and cut at each place into two; the last is on node with TEST_ALL=1 only.
//
// core is core.wasm or names.wasm in Node, wasm2c the same modules translated to C, simulated is proxy.wasm with
// simulated imports. standalone and node run the command between a fake ssh and a fake peer, which
// sends a segment once the one before was taken (fake-peer.py).
//
// The core is given all segments, those after the end of a handshake or look-up too, then an end of
// file and a deadline, none of which may change the result.
//
// Some cases have no command line: a NUL byte, port 4294967295 of a multiplexer. A unix socket takes a
// request whole. No test connects to AF_VSOCK on this machine.
//
// A failure ends with the command that replays it: REPLAY='BUILD FILE:LINE SEGMENTS'.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { Argument, Code, Exit, Field, Scheme } from "../../assembly/codes";
import type { Family } from "../../assembly/codes";
import { makeCase, unixTarget, vsockTarget } from "../support/case";
import type { Case, Target } from "../support/case";
import { Peers } from "./fake-peer";
import type { PeerOutcome } from "./fake-peer";
import { messageOf } from "../support/messages";
import { Names } from "../support/names";
import type { LookupResult } from "../support/names";
import { escapeBytes, exitOf, subjectOf } from "../support/oracle";
import { checkOutcome } from "../support/outcome";
import { all, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { found, libvirt, machine, machined, socketsOf, vsockXml } from "../support/services";
import { simulate } from "../simulated/world";
import { replayCore } from "./replay-core";
import { readTranscripts } from "./reader";
import { textCodes } from "./reader";
import type { AddressCase, CommandCase, HandshakeCase, LookupCase, Transcripts } from "./reader";

const folder = makeFolder("transcripts");

// The JSON form, so that it is tested as well.
const json = path.join(folder, "transcripts.json");
const script = path.join(root, "tests/transcripts/export.ts");
execFileSync(process.execPath, ["--import", "./tests/tsx.mjs", script, json], {
  cwd: root,
  stdio: "pipe",
});
const transcripts = JSON.parse(readFileSync(json, "utf8")) as Transcripts;

const [onlyBuild = "", onlyCase, onlySegments] = (process.env["REPLAY"] ?? "").split(" ");

type AnyCase = AddressCase | HandshakeCase | LookupCase | CommandCase;

const unhex = (hex: string): Buffer => Buffer.from(hex, "hex");
const lengthOf = (hex: string): number => hex.length / 2;
const placeOf = ({ file, line }: AnyCase): string => `${file}:${line}`;

// ---- cuts

/** The lengths of the segments. */
type Cut = readonly number[];

/** The cut of a number: bit i of it says whether there is a cut after byte i. */
function cutOf(number: number, length: number): Cut {
  const cut: number[] = [];
  let from = 0;
  for (let end = 1; end <= length; end++) {
    if (end < length && ((number >> (end - 1)) & 1) === 0) continue;
    cut.push(end - from);
    from = end;
  }
  return cut;
}

/** All cuts of up to `every` bytes; of more whole, byte by byte, and at each place into two. */
function* cutsOf(length: number, every: number, inTwo = true): Generator<Cut> {
  if (onlySegments !== undefined) {
    yield onlySegments === "-" ? [] : onlySegments.split(",").map(Number);
  } else if (length <= Math.max(every, 1)) {
    for (let number = 0; number < 2 ** Math.max(length - 1, 0); number++) {
      yield cutOf(number, length);
    }
  } else {
    yield [length];
    yield Array.from({ length }, () => 1);
    for (let end = 1; inTwo && end < length; end++) yield [end, length - end];
  }
}

const cutText = (cut: Cut): string => cut.join(",") || "-";

function cutReply(reply: Buffer, cut: Cut): Buffer[] {
  let end = 0;
  return cut.map((length) => reply.subarray(end, (end += length)));
}

// ---- replaying

/** An outcome's fields; bytes are in hexadecimal. */
type Result = object;

interface Build<T extends AnyCase> {
  cases: readonly T[];
  cuts?: (one: T) => Iterable<Cut>;
  /** A function that replays a case with a cut of its reply, and throws what is wrong. */
  prepare: (one: T) => (cut: Cut) => Result | Promise<Result>;
  /** The fields that are compared; the transcript's, if not given. */
  expected?: (one: T, cut: Cut) => Result;
}

const replays: Record<string, number> = {};

/** A test for each case. */
function replayAll<T extends AnyCase>(build: string, what: Build<T>): void {
  const { cases, prepare } = what;
  const cuts = what.cuts ?? ((): Cut[] => [[]]);
  const expected = what.expected ?? (({ outcome }: T): Result => outcome);
  for (const one of cases) {
    if (onlyCase !== undefined && onlyCase !== placeOf(one)) continue;
    it(`${placeOf(one)}: ${one.title}`, async () => {
      const replay = prepare(one);
      const pending: Promise<void>[] = [];
      const compareWith = (cut: Cut) => (result: Result) => {
        compare(build, one, cut, result, expected(one, cut));
      };
      const fail = (cut: Cut) => (error: unknown) => {
        if (error instanceof assert.AssertionError) throw error;
        complain(build, one, cutText(cut), `  ${(error as Error).message}`);
      };
      // The last result that was right, because millions of them are the same object.
      let right: Result | undefined;
      let count = 0;
      for (const cut of cuts(one)) {
        count++;
        try {
          const result = replay(cut);
          if (result instanceof Promise) pending.push(result.then(compareWith(cut), fail(cut)));
          else if (result !== right) compareWith(cut)((right = result));
        } catch (error) {
          fail(cut)(error);
        }
      }
      replays[build] = (replays[build] ?? 0) + count;
      await Promise.all(pending);
    });
  }
}

function describeBuild(build: string, body: () => void): void {
  if (onlyBuild !== "" && onlyBuild !== build) return;
  describe(build, () => {
    describe("transcripts", { concurrency: 64 }, body);
    it("counts its replays", (t) => {
      t.diagnostic(`${build}: ${replays[build]?.toLocaleString("en")} replays`);
      assert.ok(onlyCase !== undefined || (replays[build] ?? 0) > 200);
    });
  });
}

function compare(build: string, one: AnyCase, cut: Cut, actual: Result, expected: Result): void {
  const is = actual as Record<string, unknown>;
  const shouldBe = expected as Record<string, unknown>;
  let same = true;
  for (const name in shouldBe) same &&= is[name] === shouldBe[name];
  for (const name in is) same &&= is[name] === shouldBe[name];
  if (same) return;
  const names = [...new Set([...Object.keys(shouldBe), ...Object.keys(is)])];
  const lines = names
    .filter((name) => is[name] !== shouldBe[name])
    .map((name) => `  ${name} is ${text(is[name])}, not ${text(shouldBe[name])}`);
  complain(build, one, cutText(cut), lines.join("\n"));
}

/** A field as a failure shows it; bytes are in hexadecimal. */
function text(value: unknown): string {
  return typeof value === "string" && /^([0-9a-f]{2})*$/.test(value)
    ? `${JSON.stringify(unhex(value).toString("latin1"))} (${value})`
    : String(value);
}

function complain(build: string, one: AnyCase, segments: string, what: string): never {
  const lines = [
    `${placeOf(one)}: ${one.title}`,
    what,
    `  on ${build}${segments === "-" ? "" : `, the reply in segments of ${segments} bytes`}`,
    `  replay: REPLAY='${build} ${placeOf(one)} ${segments}' node --import ./tests/tsx.mjs tests/transcripts/replay.test.ts`,
  ];
  assert.fail(`${lines.join("\n")}\n`);
}

// ---- core.wasm and names.wasm

const REQUEST_MAX = 19;
const OK_LINE_MAX = 14;
const EVERY_CUT = all ? 24 : OK_LINE_MAX;

/** A host of core.wasm (docs/abi.md). */
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

  parse(one: AddressCase): Result {
    const record = this.#heap;
    const size = (this.#exports["address_size"] as unknown as WebAssembly.Global).value as number;
    const memory = new Uint8Array(this.#memory.buffer);
    memory.fill(0xaa, record, record + size);
    let end = record + size;
    const pointers = [one.address, one.port, one.name].flatMap((hex) => {
      if (hex === undefined) return [0, 0];
      const bytes = unhex(hex);
      memory.set(bytes, end);
      end += bytes.length;
      return [end - bytes.length, bytes.length];
    });
    const code = this.#call("address_parse")(record, ...pointers) as Code;
    const view = new DataView(this.#memory.buffer, record, size);
    const field = (at: Field): number => view.getUint32(at, true);
    const start = record + Field.SocketAddress;
    const known = {
      ...{ code, codeName: Code[code], port: field(Field.Port), argument: field(Field.Argument) },
      ...(code === Code.UnknownAddress ? {} : { scheme: field(Field.Scheme) }),
    };
    if (code !== Code.Done) return { ...known, offset: field(Field.Offset) };
    const address = memory.subarray(start, start + field(Field.Length));
    const cid = field(Field.Scheme) === (Scheme.Vsock as number) ? { cid: field(Field.Cid) } : {};
    return { ...known, ...cid, socketAddress: Buffer.from(address).toString("hex") };
  }

  /** A function that replays a handshake; it throws what docs/abi.md does not allow. */
  handshake(one: HandshakeCase): (cut: Cut) => Result {
    const [slot, request] = [this.#heap, this.#heap + 16];
    const at = request + REQUEST_MAX;
    const reply = unhex(one.answer);
    const begin = this.#call("handshake_begin");
    const sent = this.#call("handshake_sent");
    const receive = this.#call("handshake_receive");
    const endOfFile = this.#call("handshake_eof");
    const deadline = this.#call("handshake_deadline");
    const codeOf = this.#call("handshake_code");
    const numberOf = this.#call("handshake_number");
    const offsetOf = this.#call("handshake_offset");
    const wantedBy = this.#call("handshake_wanted");
    new Uint8Array(this.#memory.buffer).set(reply, at);
    const length = begin(slot, one.port, request);
    const requestHex = Buffer.from(this.#memory.buffer, request, length).toString("hex");
    let last = { code: Code.NeedMore, consumed: 0, number: 0, result: {} };

    return (cut) => {
      begin(slot, one.port, request);
      sent(slot, one.sent);
      let code = codeOf(slot) as Code;
      let consumed = 0;
      let from = at;
      for (const segment of cut) {
        const waits = code === Code.NeedMore;
        if (wantedBy(slot) !== (waits ? OK_LINE_MAX - consumed : 0)) throw new Error("wanted");
        const got = receive(slot, from, segment);
        from += segment;
        consumed += got;
        if (!waits && got !== 0) throw new Error("bytes consumed after the end");
        code = codeOf(slot);
        if (got > segment || (code === Code.NeedMore && got !== segment)) {
          throw new Error("bytes neither consumed nor refused");
        }
      }
      if (one.end === "eof") endOfFile(slot);
      // From here on, nothing changes the result.
      deadline(slot);
      endOfFile(slot);
      sent(slot, length);
      if (receive(slot, at, reply.length) !== 0) throw new Error("bytes consumed after the end");
      if (offsetOf(slot) !== consumed) throw new Error("offset");
      code = codeOf(slot);
      const number = code === Code.Done ? numberOf(slot) >>> 0 : 0;
      if (last.code !== code || last.consumed !== consumed || last.number !== number) {
        const result = { request: requestHex, code, codeName: Code[code], consumed };
        const isDone = code === Code.Done;
        last = { code, consumed, number, result: isDone ? { ...result, number } : result };
      }
      return last.result;
    };
  }
}

/** A look-up's result as a transcript has it. */
function lookupResult(one: LookupCase, result: LookupResult): Result {
  const { code, offset, target, cid, text, requests } = result;
  const isDone = code === Code.Done;
  return {
    ...{ code, codeName: Code[code], consumed: offset },
    ...(isDone ? { target } : {}),
    ...(isDone && target === 1 ? { cid } : {}),
    ...((isDone && target === 2) || textCodes.includes(code) ? { text: text.toString("hex") } : {}),
    ...(one.outcome.request === undefined
      ? {}
      : { request: Buffer.concat(requests).toString("hex") }),
  };
}

describeBuild("core", () => {
  const core = new Core(new Uint8Array(readFileSync(path.join(root, "dist/core.wasm"))));
  replayAll("core", {
    cases: transcripts.address,
    prepare: (one) => () => core.parse(one),
  });
  replayAll("core", {
    cases: transcripts.handshake,
    cuts: ({ answer }) => cutsOf(lengthOf(answer), EVERY_CUT),
    prepare: (one) => core.handshake(one),
  });
  const names = new Names();
  replayAll("core", {
    cases: transcripts.lookup,
    cuts: ({ answer }) => cutsOf(lengthOf(answer), 0),
    prepare: (one) => {
      const { service, end } = one;
      const lookup = { service, name: unhex(one.name), end };
      const answer = unhex(one.answer);
      return (cut) => lookupResult(one, names.run(lookup, cutReply(answer, cut)));
    },
  });
});

describeBuild("wasm2c", () => {
  let result: Awaited<ReturnType<typeof replayCore>>;
  before(async () => {
    result = await replayCore(path.join(folder, "core"), transcripts, EVERY_CUT);
    replays["wasm2c"] = result.replays;
  });
  for (const one of [...transcripts.address, ...transcripts.handshake, ...transcripts.lookup]) {
    if (onlyCase !== undefined && onlyCase !== placeOf(one)) continue;
    it(`${placeOf(one)}: ${one.title}`, () => {
      const failure = result.failures.find(({ place }) => place === placeOf(one));
      if (failure !== undefined) complain("wasm2c", one, failure.segments, `  ${failure.what}`);
    });
  }
});

// ---- proxy.wasm

const PEER = "vsock-mux/./peer.sock";

/** Longer text of the command line is cut in a failure: FOREIGN_MAX of assembly/proxy/memory.ts. */
const FOREIGN_MAX = 4160;

/** A directory without services. */
const RUNTIME = "/nonexistent/run";

/** An address as a case of the command, and what it says of the address. A name leads to vsock/7. */
function addressAsCase(one: AddressCase, world: Case["world"], ...options: string[]): Case {
  const { code, scheme: number, argument, socketAddress, port } = one.outcome;
  const scheme = (number ?? 0) as Scheme;
  let left = FOREIGN_MAX;
  const show = (text: Buffer): string => {
    const part = text.subarray(0, left);
    left -= part.length;
    return `${escapeBytes(part) || "''"}${part.length < text.length ? "..." : ""}`;
  };
  const isName = argument === (Argument.Name as number);
  const written = unhex((isName ? one.name : one.address) ?? "");
  const hasPort = scheme === Scheme.Vsock || scheme === Scheme.VsockMux;
  const words = [one.address, one.port, one.name].filter((word) => word !== undefined);
  const what = { name: placeOf(one), args: [...options, ...words.map(unhex)], world };
  if (code !== (Code.Done as number)) {
    let subject = show(written);
    const isPort = argument === (Argument.Port as number);
    if (hasPort || (scheme > Scheme.Host && isPort))
      subject += ` port ${one.port === undefined ? "22" : show(unhex(one.port))}`;
    return makeCase({ ...what, subject, code });
  }
  const address = unhex(socketAddress ?? "");
  const nameSchemes = ["machine", "qemu", "qemu:system", "qemu:session"] as const;
  const nameScheme = nameSchemes[scheme - Scheme.Machine];
  if (nameScheme !== undefined) {
    const lookup = { scheme: nameScheme, directory: RUNTIME };
    const [[socket = ""] = []] = socketsOf(lookup).filter(({ length }) => length > 0);
    const text = address.subarray(2);
    const scope = nameScheme === "qemu:session" ? "session" : "system";
    const service =
      nameScheme === "machine"
        ? machined(String(text), machine({ class: "vm", vSockCid: 7 }))
        : libvirt(found(scope, text, vsockXml(7)));
    return makeCase({
      ...{ ...what, subject: show(written), lookup, target: vsockTarget(7, port) },
      environment: [`XDG_RUNTIME_DIR=${RUNTIME}`],
      world: { ...world, services: { [socket]: [service] } },
    });
  }
  const names = ["unix", "unix-abstract", "vsock", "vsock-mux", ".host"] as const;
  const parsed = { scheme: names[scheme - 1], family: address.readUInt16LE() as Family, address };
  const target = (hasPort ? { ...parsed, port } : parsed) as Target;
  return makeCase({ ...what, subject: subjectOf(written, target, show), target });
}

/** Whether there is a command line of the case. */
const hasNoNul = ({ address, port = "", name = "" }: AddressCase): boolean =>
  ![address, port, name].some((hex) => unhex(hex).includes(0));
const hasPort = ({ port }: HandshakeCase): boolean => port < 0xffff_ffff;

/** A handshake as a case of the command; how a fake peer replies is its world. */
function handshakeAsCase(one: HandshakeCase, cut: Cut): Case {
  const port = String(one.port);
  return makeCase({
    ...{ name: placeOf(one), args: [PEER, port], subject: `${PEER} port ${port}` },
    target: { ...unixTarget("vsock-mux", "./peer.sock"), port: one.port },
    code: one.outcome.code,
    world: {
      attempts: [{ reply: cutReply(unhex(one.answer), cut), end: one.end }],
      simulation: { sendTakes: one.sent },
    },
  });
}

describeBuild("simulated", () => {
  replayAll("simulated", {
    cases: transcripts.address.filter(hasNoNul),
    prepare: (one) => () => {
      const world = { attempts: [{ reply: ["OK 5\n"] }] };
      const like = addressAsCase(one, world);
      const outcome = simulate(like.args, like.world, like.environment);
      checkOutcome({ code: Code.Done, ...like }, outcome);
      return { connections: outcome.connections.length };
    },
    expected: ({ outcome }) => ({ connections: outcome.code === (Code.Done as number) ? 1 : 0 }),
  });
  replayAll("simulated", {
    cases: transcripts.handshake.filter(hasPort),
    *cuts({ answer }) {
      const length = lengthOf(answer);
      const seen = Math.min(length, OK_LINE_MAX);
      // What is never looked at arrives together with the last of the rest.
      for (const cut of cutsOf(seen, all ? OK_LINE_MAX : 8)) {
        yield cut.length === 0 ? cut : [...cut.slice(0, -1), (cut.at(-1) ?? 0) + length - seen];
      }
    },
    prepare: (one) => (cut) => {
      const like = handshakeAsCase(one, cut);
      const outcome = simulate(like.args, like.world);
      checkOutcome(like, outcome);
      const [connection] = outcome.connections;
      const sent = connection?.sent.toString("hex");
      return { exit: outcome.exit, sent, consumed: connection?.taken };
    },
    expected: ({ sent, outcome }) => ({
      exit: exitOf(outcome.code),
      sent: outcome.request.slice(0, 2 * sent),
      consumed: outcome.consumed,
    }),
  });
});

/** The first deadline that a silence is left to, and one that suffices for all else. */
const FIRST_TIMEOUT_MS = 250;
const TIMEOUT_MS = 60_000;

/** Runs a case; if it waits for a deadline, with a longer one until the peer was in time. */
async function runOnHost(
  peers: Peers,
  one: Case,
  { asks, waits }: { asks: boolean; waits: boolean },
): Promise<PeerOutcome> {
  const reply = one.world.attempts?.[0]?.reply ?? [];
  const length = reply.reduce((sum, segment) => sum + segment.length, 0);
  for (let timeout = waits ? FIRST_TIMEOUT_MS : TIMEOUT_MS; ; timeout *= 2) {
    const args = [`--timeout=${timeout}ms`, ...one.args];
    const outcome = await peers.run({ ...one, args }, asks);
    const inTime = !waits || (outcome.connections?.[0]?.taken ?? 0) === length;
    if (!inTime && timeout < TIMEOUT_MS) continue;
    if (waits && outcome.ms < timeout) {
      throw new Error(`it gives up after ${outcome.ms} of ${timeout} ms`);
    }
    return outcome;
  }
}

/** The outcome of a run as a transcript has it. */
function commandResult(one: CommandCase, outcome: PeerOutcome): Result {
  const { exit, signal, stderr, connections = [], passed = [], rest, relayed, early } = outcome;
  const hex = (bytes: Buffer | undefined): string => bytes?.toString("hex") ?? "";
  const [connection] = connections;
  // A machine that stalls makes an end of file late.
  const [late, soon] = [Code.EndOfFileAfterWait, Code.EndOfFile].map(messageOf) as [string, string];
  const said = Buffer.from(stderr.toString("latin1").replace(late, soon), "latin1");
  return {
    ...{ exit, signal, stderr: hex(said), connections: connections.length },
    sent: connection === undefined ? null : hex(connection.sent),
    consumed: connection?.taken ?? 0,
    passed: passed.length === 0 ? null : hex(rest),
    messages: passed.map(({ bytes, descriptors }) => `${hex(bytes)} ${descriptors}`).join(),
    relayed: one.stdout === "pipe" ? hex(relayed) : null,
    // A failure is reported once its socket is closed; but one that could not be passed is not.
    early: one.stdout !== "gone" && early,
  };
}

function expectedCommand({ outcome }: CommandCase, cut: Cut): Result {
  let consumed = outcome.consumed;
  if (outcome.exit !== (Exit.Ok as number)) {
    // Of a failure only the segments are known that were taken as a whole.
    let end = 0;
    for (const length of cut) {
      if (end + length > consumed) break;
      end += length;
    }
    consumed = end;
  }
  return {
    ...{ ...outcome, signal: null, connections: outcome.sent === null ? 0 : 1, consumed },
    ...{ messages: outcome.passed === null ? "" : "00 1", early: false },
  };
}

function commandAsCase(one: CommandCase, cut: Cut): Case {
  return makeCase({
    name: placeOf(one),
    args: one.arguments.map(unhex),
    environment: one.environment.map(unhex),
    world: {
      stdout: one.stdout === "gone" ? "unix without reader" : one.stdout,
      attempts: [{ reply: cutReply(unhex(one.answer), cut), end: one.end }],
    },
  });
}

/** A handshake as a transcript of the command. */
function handshakeAsCommand(one: HandshakeCase): CommandCase {
  const { code, consumed, request } = one.outcome;
  const done = code === (Code.Done as number);
  const stderr = done ? "" : `ssh-vsock-proxy: ${PEER} port ${one.port}: ${messageOf(code)}\n`;
  return {
    ...one,
    arguments: [PEER, String(one.port)].map((word) => Buffer.from(word).toString("hex")),
    environment: [],
    stdout: "unix",
    outcome: {
      exit: exitOf(code),
      stderr: Buffer.from(stderr).toString("hex"),
      ...{ sent: request, consumed, relayed: null },
      passed: done ? one.answer.slice(2 * consumed) : null,
    },
  };
}

const hosts = [
  { host: "standalone", every: all ? 8 : 5, inTwo: true },
  { host: "node", every: 0, inTwo: all },
];

for (const { host, every, inTwo } of hosts) {
  describeBuild(host, () => {
    let peers: Peers;
    before(() => {
      peers = Peers.start(host, 12);
    });
    after(() => peers.end());

    const wholeRequest = ({ outcome, sent }: HandshakeCase): boolean =>
      sent === lengthOf(outcome.request);
    const handshakes = transcripts.handshake.filter(hasPort).filter(wholeRequest);
    const waits = ({ outcome }: CommandCase): boolean => outcome.exit === (Exit.TempFail as number);
    replayAll(host, {
      cases: [...transcripts.command, ...handshakes.map(handshakeAsCommand)],
      cuts: (one) => cutsOf(lengthOf(one.answer), every, inTwo && (host !== "node" || !waits(one))),
      prepare: (one) => async (cut) => {
        const asks = (one.outcome.sent ?? "") !== "";
        const how = { asks, waits: waits(one) };
        return commandResult(one, await runOnHost(peers, commandAsCase(one, cut), how));
      },
      expected: expectedCommand,
    });

    // What an address is understood as, -v tells; nothing is connected to.
    const isVsock = ({ outcome }: AddressCase): boolean => outcome.cid !== undefined;
    replayAll(host, {
      cases: transcripts.address.filter((one) => hasNoNul(one) && !isVsock(one)),
      prepare: (one) => async () => {
        const like = { ...addressAsCase(one, {}, "-v"), verbose: true };
        const outcome = await runOnHost(peers, like, { asks: false, waits: false });
        checkOutcome(like, outcome);
        // Of a long path only the first bytes are shown.
        const target = unhex(one.outcome.socketAddress ?? "").subarray(2, 52);
        const [step = ""] = /^.* ms: connecting, /.exec(outcome.stderr.toString()) ?? [];
        const shown = escapeBytes(target[0] === 0 ? target.subarray(1) : target);
        const says = step !== "" && step.includes(shown);
        return { connections: outcome.connections?.length, says };
      },
      expected: ({ outcome }) => ({
        connections: 0,
        says: outcome.code === (Code.Done as number),
      }),
    });
  });
}

// ---- the JSON form

describe("the JSON form", () => {
  it("is what the Markdown says", () => {
    assert.deepEqual(transcripts, readTranscripts());
  });
  it("has every case of every file", () => {
    for (const kind of ["address", "handshake", "lookup", "command"] as const) {
      const at = path.join(root, "tests/transcripts", kind);
      const blocks = readdirSync(at)
        .map((file) => readFileSync(path.join(at, file), "latin1"))
        .flatMap((page) => page.match(/^```(address|handshake|lookup|command)$/gm) ?? []);
      assert.equal(transcripts[kind].length, blocks.length, kind);
    }
  });
});
