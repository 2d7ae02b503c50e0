// npm run fuzz -- SECONDS [SEED]: random input against the modules, and against a second reading of
// docs/addresses.md and of the handshake's rules. It prints the seed; with the same seed the same
// inputs come again. Invariants:
//
//   address    no trap; the same outcome as the model below; an address that was understood, printed
//              and parsed again, is the same socket address
//   handshake  no trap; the same outcome as the model, however the answer is cut; not a byte behind
//              the newline consumed
//   command    in every simulated world: an exit status from the table; nothing or one line on
//              stderr, without a control character; the hand-over exactly when it says 0, and then
//              one byte and one descriptor

import assert from "node:assert/strict";
import { AddressError, Handshake, HandshakeError, parseAddress } from "ssh-vsock-proxy";
import { errno, simulate, type World } from "./support/simulation";

/** Where the random numbers come from: xorshift32. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }
  /** From 0 to below `limit`. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

const words = [
  ..."unix vsock vsock-mux unix-abstract .host local host hypervisor VSOCK machine".split(" "),
  ..."/ % %% ./ ../ . - + 0 00 1 22 4294967294 4294967295 4294967296 99999999999 0x1 ssh".split(
    " ",
  ),
  ..."OK CONNECT SSH-2.0- --timeout --timeout= 5s -v --help -- run vm.sock".split(" "),
  ...["", " ", "\n", "\r", "\t", "\0", "\x1b[2J", "\x9b", "\xff", "\xc3\xbc", "\xe2\x80\xae", "\\"],
  "d".repeat(107),
  "p".repeat(4000),
];

const starts = ["unix/", "unix%", "unix-abstract/", "vsock/", "vsock%", "vsock-mux/", "vsock-mux%"];

function text(random: Random, start: readonly string[] = [""], longest = 6): Buffer {
  let result = random.below(8) === 0 ? "" : random.of(start);
  for (let i = random.below(longest); i > 0; i--) {
    result += random.below(4) === 0 ? String.fromCharCode(random.below(256)) : random.of(words);
  }
  return Buffer.from(result, "latin1");
}

// The model: docs/addresses.md once more, with regular expressions where the parser has loops.

const decimal = /^(0|[1-9][0-9]*)$/;

function modelNumber(digits: string, kind: "Cid" | "Port"): number | string {
  if (digits === "") return `Empty${kind}`;
  // A number that is too large is told from one that is none by its digits alone.
  const [front = ""] = /^[0-9]*/.exec(digits) ?? [];
  if (/^[1-9]/.test(front) && Number(front) > 0xffff_ffff) return `${kind}OutOfRange`;
  if (!decimal.test(digits)) return `Bad${kind}`;
  return Number(digits) === 0xffff_ffff ? `${kind}OutOfRange` : Number(digits);
}

function modelName(
  rest: string,
  escaped: boolean,
  kind: "Path" | "Name",
): string | { name: string } {
  if (rest === "") return `Empty${kind}`;
  let name = escaped ? rest.replace(/%%|%/g, (sign) => (sign === "%" ? "/" : "%")) : rest;
  if (kind === "Path" && !/^\.?\//.test(name)) name = `/${name}`;
  const longest = kind === "Path" ? 4095 : 107;
  const nul = name.indexOf("\0");
  if (nul >= 0 && nul <= longest) return "NulByte";
  return name.length > longest ? `${kind}TooLong` : { name };
}

/** The name of the failure, or the socket address, for arguments in latin1. */
function model(address: string, port: string, name: string): string | Buffer {
  const unix = (path: string): Buffer => Buffer.from(`\x03\0${path}`, "latin1");
  if (address === ".host") return unix("/run/ssh-unix-local/socket");
  const [, scheme, sep] = /^(unix|unix-abstract|vsock|vsock-mux)([/%])/.exec(address) ?? [];
  if (scheme === undefined) return "UnknownAddress";
  const lower = name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  const written = lower === address ? name : address;
  const behind = (whole: string): string => whole.slice(scheme.length + 1);
  const escaped = sep === "%" && !behind(address).includes("/");
  const cids: Record<string, number> = { hypervisor: 0, local: 1, host: 2 };
  let result: string | Buffer;
  let cid: number | undefined;
  if (scheme === "vsock") {
    const number = cids[behind(address)] ?? modelNumber(behind(address), "Cid");
    if (typeof number === "string") return number;
    cid = number;
    result = "";
  } else {
    const named = modelName(behind(written), escaped, scheme === "unix-abstract" ? "Name" : "Path");
    if (typeof named === "string") return named;
    result = unix(scheme === "unix-abstract" ? `\0${named.name}` : named.name);
    if (scheme !== "vsock-mux") return result;
  }
  const number = modelNumber(port, "Port");
  if (typeof number === "string") return number;
  if (cid === undefined) return result;
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(40, 0);
  bytes.writeUInt32LE(number, 4);
  bytes.writeUInt32LE(cid, 8);
  return bytes;
}

/** An address that means the same, written anew. */
function print(socketAddress: Buffer, scheme: string): Buffer {
  if (scheme === "vsock") return Buffer.from(`vsock/${socketAddress.readUInt32LE(8)}`);
  if (scheme === "unix-abstract") {
    return Buffer.concat([Buffer.from("unix-abstract/"), socketAddress.subarray(3)]);
  }
  const prefix = scheme === "vsock-mux" ? "vsock-mux/" : "unix/";
  return Buffer.concat([Buffer.from(prefix), socketAddress.subarray(2)]);
}

function fuzzAddress(random: Random): Buffer[] {
  const address = text(random, starts);
  const port = text(random, ["", "22", "1", "4294967294"], 2);
  const name =
    random.below(2) === 0
      ? Buffer.from(address.map((b) => (b > 96 && b < 123 && random.below(3) === 0 ? b - 32 : b)))
      : text(random, starts);
  const expected = model(
    address.toString("latin1"),
    port.toString("latin1"),
    name.toString("latin1"),
  );
  try {
    const parsed = parseAddress(address, port, name);
    assert.deepEqual(Buffer.from(parsed.socketAddress), expected);
    const again = parseAddress(print(Buffer.from(parsed.socketAddress), parsed.scheme), port);
    assert.deepEqual(again.socketAddress, parsed.socketAddress);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    assert.equal(error.code, expected);
    assert.ok(error.offset <= Math.max(address.length, port.length));
  }
  return [address, port, name];
}

/** What becomes of an answer, by its text alone. */
function modelAnswer(answer: string): { code: string; consumed: number } {
  const whole = /^OK ([0-9]{1,10})\n/.exec(answer);
  if (whole !== null && Number(whole[1]) <= 0xffff_ffff) {
    return { code: "Done", consumed: whole[0].length };
  }
  // The longest beginning that some good answer has.
  let consumed = 0;
  const good = (part: string): boolean => {
    const digits = /^OK ([0-9]{1,10})$/.exec(part)?.[1];
    return "OK ".startsWith(part) || (digits !== undefined && Number(digits) <= 0xffff_ffff);
  };
  while (consumed < answer.length && good(answer.slice(0, consumed + 1))) consumed++;
  if (consumed === answer.length) return { code: "NeedMore", consumed };
  const isNumber = /^OK [0-9]{1,10}$/.test(answer.slice(0, consumed + 1));
  return { code: isNumber ? "NumberOutOfRange" : "BadLine", consumed };
}

function fuzzHandshake(random: Random): Buffer[] {
  const answer = text(random, ["OK 1073741824\n", "OK 4294967295", "OK 429496729", "OK ", "O"], 4);
  const expected = modelAnswer(answer.toString("latin1"));
  const handshake = new Handshake(random.below(65536));
  let consumed = 0;
  let code = "NeedMore";
  try {
    handshake.sent(handshake.request.length);
    let rest = answer;
    while (rest.length > 0 && code === "NeedMore") {
      const shown = rest.subarray(0, 1 + random.below(rest.length));
      const taken = handshake.receive(shown);
      consumed += taken;
      rest = rest.subarray(taken);
      if (handshake.done) code = "Done";
    }
  } catch (error) {
    if (!(error instanceof HandshakeError)) throw error;
    code = error.code;
    consumed = error.offset;
  }
  assert.deepEqual({ code, consumed }, expected);
  return [answer];
}

const statuses = [0, 64, 68, 69, 71, 75, 76, 77];
const errnos = Object.values(errno);
const calls = [
  "sock_open",
  "sock_connect",
  "sock_send",
  "sock_recv",
  "poll_oneoff",
  "sock_send_fds",
];

function fuzzCommand(random: Random): Buffer[] {
  const args = [text(random, starts)];
  if (random.below(3) > 0) args.unshift(text(random, ["-v", "--timeout=1s", "--fdpass"], 2));
  for (let i = random.below(4); i > 0; i--) args.push(text(random, ["22", ...starts], 3));
  // A process gets its arguments as C strings.
  const cut = args.map((arg) => arg.subarray(0, arg.includes(0) ? arg.indexOf(0) : undefined));
  const fails: Record<string, number[]> = {};
  for (let i = random.below(3); i > 0; i--) {
    const call = random.of(calls);
    fails[call] = [random.of(errnos), ...(random.below(2) === 0 ? [0] : [])];
    // It tells a time that has passed by an event.
    if (call === "poll_oneoff" && fails[call][0] === errno.TIMEDOUT) fails[call] = [errno.IO];
  }
  const world: World = {
    answer: Array.from({ length: random.below(4) }, () =>
      text(random, ["OK 5\n", "OK "], 3),
    ).filter((segment) => segment.length > 0),
    end: random.of(["eof", "silence"] as const),
    fails,
    recvGives: 1 + random.below(20),
    sendTakes: random.below(5) === 0 ? random.below(20) : 20,
    writeTakes: 20 + random.below(1000),
  };
  const outcome = simulate(cut, world);
  assert.ok(statuses.includes(outcome.exit), `exit ${outcome.exit}`);
  const said = outcome.stderr.toString("utf8");
  if (outcome.exit !== 0) assert.ok(said.endsWith("\n"));
  assert.match(said, /^[^\0-\x09\x0b-\x1f\x7f-\x9f]*$/);
  assert.ok(!said.includes("\ufffd"), "not UTF-8");
  const handedOver = outcome.handedOver.map(({ bytes, fds }) => [bytes.length, fds.length]);
  if (outcome.exit !== 0) assert.deepEqual(handedOver, []);
  else if (handedOver.length > 0) assert.deepEqual(handedOver, [[1, 1]]);
  else assert.match(said, /^(Usage: )?ssh-vsock-proxy /);
  return cut;
}

const targets = { address: fuzzAddress, handshake: fuzzHandshake, command: fuzzCommand };

function main(seconds: number, first: number): void {
  console.log(`fuzzing each target for ${seconds / 3} s, from seed ${first}`);
  for (const [name, run] of Object.entries(targets)) {
    const end = performance.now() + (seconds * 1000) / 3;
    let seed = first;
    for (; performance.now() < end; seed++) {
      try {
        run(new Random(Math.imul(seed, 0x9e3779b1)));
      } catch (error) {
        console.error(`${name}: seed ${seed} fails: npm run fuzz -- 1 ${seed}`);
        throw error;
      }
    }
    console.log(`${name}: ${seed - first} inputs, no finding`);
  }
}

const [seconds = "60", seed = String(Date.now() % 1_000_000_000)] = process.argv.slice(2);
main(Number(seconds), Number(seed));
