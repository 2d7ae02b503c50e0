// --wait: a machine that boots is tried again until it is there, and what cannot heal is not.
//
// What is exact (when each attempt is made, which causes are worth another, what a terminal shows)
// is tested in simulated worlds. Then each host does it against a socket that comes up in stages, and
// is interrupted from a terminal.
//
// Not among the suites of hosts.test.ts: how often it is tried depends on the machine's pace.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { listen } from "../support/listener";
import { meanings } from "../support/meanings";
import { fakeSsh } from "../support/fake-ssh";
import { makePipe } from "../support/pipes";
import { cpuTicks } from "../support/processors";
import { proxyCommand, root } from "../support/proxy";
import { errno, simulate } from "./world";
import type { Outcome, Stage, World } from "./world";
import { Screen } from "../support/vt";

const OK = Buffer.from("OK 1073741824\n");
const BANNER = "SSH-2.0-a-machine\r\n";
const MS = 1_000_000;
const SECOND = 1000 * MS;
/** Every number that preview1 has for an errno, but for SUCCESS. */
const ERRNOS = Array.from({ length: 76 }, (_, i) => i + 1);

const mux = ["vsock-mux/m", "22"];
/** An address for each scheme, and how a line names it. */
const addresses = {
  unix: [["unix/x"], "unix/x"],
  host: [[".host"], ".host at /run/ssh-unix-local/socket"],
  mux: [mux, "vsock-mux/m port 22"],
  abstract: [["unix-abstract/n"], "unix-abstract/n"],
  vsock: [["vsock/7", "99"], "vsock/7 port 99"],
} as const satisfies Record<string, [string[], string]>;
type Kind = keyof typeof addresses;

/** The command, as a machine boots. */
function simulateBoot(args: string[], world: World = {}, stage?: World["stage"]): Outcome {
  return simulate(args, stage === undefined ? world : { ...world, stage });
}

const nothingThere = { fails: { sock_connect: [errno.NOENT] } };
/** A multiplexer's answer that is no OK line, and comes in one piece. */
const answers = (text: string): World => ({ answer: [Buffer.from(text)] });

function meaning(code: Code): string {
  return meanings.get(code) ?? assert.fail(`no words for ${code}`);
}

const milliseconds = (times: number[]): number[] => times.map((time) => time / MS);

/** Each socket but one that was handed over was closed, and none twice. */
function closesEachOnce({ sockets, handedOver, relays }: Outcome): void {
  const kept = handedOver.length + relays.length;
  const expected = sockets.map((_, i) => (i < sockets.length - kept ? 1 : 0));
  assert.deepEqual(
    sockets.map(({ closed }) => closed),
    expected,
  );
}

/** The pauses are 50 ms, doubling to 1 s, but for the one before the last attempt, 50 ms early. */
function backsOff(outcome: Outcome, wait: number): void {
  const { attempts, closes } = outcome;
  assert.ok(attempts.length > 1, "there was one attempt");
  const end = wait * MS - 50 * MS;
  attempts.slice(1).forEach((attempt, i) => {
    const failed = closes[i] ?? assert.fail(`attempt ${i} has not ended`);
    assert.equal(attempt, Math.min(failed + Math.min(50 * 2 ** i, 1000) * MS, end), `${i}`);
  });
  outcome.deadlines.forEach((deadline) => {
    assert.ok(deadline <= wait * MS, `${deadline}`);
  });
  assert.equal(outcome.sockets.length, attempts.length);
  closesEachOnce(outcome);
}

/** The one line of a failure, and the exit status that goes with its cause. */
function saysLast(outcome: Outcome, subject: string, code: Code, seconds?: string): void {
  const howLong = seconds === undefined ? "" : `gave up after ${seconds} s: `;
  const line = outcome.stderr.toString();
  assert.equal(line, `ssh-vsock-proxy: ${subject}: ${howLong}${meaning(code)}\n`);
  assert.equal(outcome.exit, Math.floor(code / 100));
}

describe("when attempts are made", () => {
  const times = (wait: string, ...more: string[]): number[] =>
    milliseconds(simulateBoot(["--wait", wait, ...more, "unix/x"], nothingThere).attempts);

  const expected: Record<string, number[]> = {
    "0": [0],
    "0ms": [0],
    "1ms": [0],
    "50ms": [0],
    "51ms": [0, 1],
    "99ms": [0, 49],
    "100ms": [0, 50],
    "120ms": [0, 50, 70],
    "500ms": [0, 50, 150, 350, 450],
    "1s": [0, 50, 150, 350, 750, 950],
    "4": [0, 50, 150, 350, 750, 1550, 2550, 3550, 3950],
    "5600ms": [0, 50, 150, 350, 750, 1550, 2550, 3550, 4550, 5550],
  };
  for (const [wait, attempts] of Object.entries(expected)) {
    it(`--wait ${wait}: after ${attempts.join(", ")} ms`, () => {
      assert.deepEqual(times(wait), attempts);
    });
  }

  it("every second for as long as it takes, and a last time 50 ms before the end", () => {
    const all = times("2m");
    assert.deepEqual(all.slice(0, 6), [0, 50, 150, 350, 750, 1550]);
    all.slice(6, -1).forEach((time, i) => {
      assert.equal(time, 2550 + 1000 * i);
    });
    assert.equal(all.at(-2), 119_550);
    assert.equal(all.at(-1), 119_950);
  });

  it("without --wait there is one, and --wait 0 is the same", () => {
    // All but the pointers, which the length of the command line moves.
    const run = (args: string[], world: World) => ({ ...simulateBoot(args, world), trace: [] });
    const without = run(["unix/x"], nothingThere);
    assert.deepEqual(without.attempts, [0]);
    assert.deepEqual(run(["--wait", "0", "unix/x"], nothingThere), without);
    const silent = run(mux, {});
    assert.equal(silent.waited, 5 * SECOND);
    assert.deepEqual(run(["--wait=0", ...mux], {}), silent);
  });

  it("the last --wait counts, the command line's before the variable's", () => {
    const world = { ...nothingThere, environment: ["SSH_VSOCK_PROXY_OPTIONS=--wait 1s"] };
    assert.equal(simulateBoot(["unix/x"], world).attempts.length, 6);
    assert.equal(simulateBoot(["--wait", "0", "unix/x"], world).attempts.length, 1);
    assert.deepEqual(times("2m", "--wait=120ms"), [0, 50, 70]);
  });

  for (const [wait, code] of Object.entries({ "": 64, "1.5s": 64, "1441m": 64, "-1": 64 })) {
    it(`--wait '${wait}' is refused before any attempt`, () => {
      const outcome = simulateBoot([`--wait=${wait}`, "unix/x"], nothingThere);
      assert.deepEqual([outcome.exit, outcome.attempts], [code, []]);
      assert.match(outcome.stderr.toString(), /duration/);
    });
  }

  it("is connected within one pause of being ready, whenever that is", () => {
    for (let ready = 0; ready < 12_000; ready += 83) {
      const { exit, attempts, waited } = simulateBoot(["--wait=20s", "unix/x"], {}, (_, now) =>
        now < ready * MS ? { connect: errno.NOENT } : {},
      );
      assert.equal(exit, 0);
      // A pause is as long as all that came before it and 50 ms, and a second at most.
      const pause = Math.min(ready + 50, 1000);
      assert.ok(waited >= ready * MS && waited < (ready + pause) * MS, `${ready}: ${waited}`);
      assert.equal(attempts.at(-1), waited);
    }
  });

  it("as before where it relays", () => {
    const args = ["--stdio", "--wait=4", "unix/x"];
    const outcome = simulateBoot(args, {}, (n) => (n < 3 ? { connect: errno.CONNREFUSED } : {}));
    assert.deepEqual(milliseconds(outcome.attempts), [0, 50, 150, 350]);
    assert.deepEqual([outcome.exit, outcome.relays.length], [0, 1]);
    closesEachOnce(outcome);
  });
});

describe("--timeout is one attempt's, and --wait all of them's", () => {
  const slow = (): Stage => ({ takes: "until the deadline", connect: errno.TIMEDOUT });
  const silent = (): Stage => ({ handshake: "silence" });
  const ways: [string, string[], () => Stage][] = [
    ["a connection that is not taken", ["vsock/3"], slow],
    ["a full queue", ["unix/x"], slow],
    ["a silent multiplexer", mux, silent],
  ];
  for (const [what, address, stage] of ways) {
    it(`${what}, with the shorter --timeout`, () => {
      const outcome = simulateBoot(["--timeout=500ms", "--wait=3s", ...address], {}, stage);
      assert.deepEqual(milliseconds(outcome.attempts), [0, 550, 1150, 1850, 2750]);
      assert.deepEqual(milliseconds(outcome.deadlines), [500, 1050, 1650, 2350, 3000]);
      assert.equal(outcome.waited, 3 * SECOND);
      assert.equal(outcome.exit, 75);
      backsOff(outcome, 3000);
    });
    it(`${what}, with the shorter --wait`, () => {
      const outcome = simulateBoot(["--timeout=5s", "--wait=2s", ...address], {}, stage);
      assert.deepEqual(milliseconds(outcome.attempts), [0]);
      assert.deepEqual(milliseconds(outcome.deadlines), [2000]);
      assert.equal(outcome.waited, 2 * SECOND);
      assert.equal(outcome.exit, 75);
      closesEachOnce(outcome);
    });
    it(`${what}, which ends just before the end of --wait`, () => {
      const args = ["--timeout=1s", "--wait=1040ms", ...address];
      assert.deepEqual(simulateBoot(args, {}, stage).attempts, [0]);
      const later = ["--timeout=1s", "--wait=1060ms", ...address];
      assert.deepEqual(milliseconds(simulateBoot(later, {}, stage).attempts), [0, 1010]);
    });
  }

  it("the deadlines of attempts that fail at once", () => {
    const outcome = simulateBoot(["--timeout=1s", "--wait=3s", "unix/x"], nothingThere);
    assert.deepEqual(
      milliseconds(outcome.deadlines),
      milliseconds(outcome.attempts).map((attempt) => Math.min(attempt + 1000, 3000)),
    );
    assert.equal(outcome.attempts.length, 8);
  });

  it("what ssh does not take is given up at the attempt's deadline, and not tried again", () => {
    const world = { fails: { sock_send_fds: [errno.AGAIN] } };
    const outcome = simulateBoot(["--timeout=1s", "--wait=1m", "unix/x"], world);
    assert.deepEqual([outcome.exit, outcome.attempts.length], [75, 1]);
    assert.ok(outcome.waited >= SECOND && outcome.waited < 1.1 * SECOND);
  });

  it("no attempt comes after the end, though the machine stalls", () => {
    const outcome = simulateBoot(["--wait=3s", "unix/x"], { ...nothingThere, stalls: true });
    for (const attempt of outcome.attempts) assert.ok(attempt < 3 * SECOND, `${attempt}`);
    assert.equal(outcome.exit, 68);
    assert.match(outcome.stderr.toString(), /: gave up after \d\.\d s: no such socket: .*\n$/);
  });
});

describe("what is worth another attempt", () => {
  type Name = keyof typeof errno;
  const file: [Name, Code][] = [
    ["NOENT", Code.NoSocket],
    ["CONNREFUSED", Code.Refused],
    ["TIMEDOUT", Code.QueueFull],
  ];
  const worth: Record<Kind, [Name, Code][]> = {
    unix: file,
    host: file,
    mux: file,
    abstract: [
      ["CONNREFUSED", Code.NoSuchName],
      ["TIMEDOUT", Code.QueueFull],
    ],
    vsock: [
      ["CONNREFUSED", Code.NotListening],
      ["CONNRESET", Code.NotListening],
      ["TIMEDOUT", Code.NoAnswer],
      ["NODEV", Code.NoMachine],
      // Other transports' words for ENODEV.
      ["HOSTUNREACH", Code.NoMachine],
      ["NETUNREACH", Code.NoMachine],
    ],
  };

  for (const kind of Object.keys(worth) as Kind[]) {
    const [address, subject] = addresses[kind];
    for (const [name, code] of worth[kind]) {
      it(`${subject}: ${name}`, () => {
        const world = { fails: { sock_connect: [errno[name]] } };
        const outcome = simulateBoot(["--wait=1s", ...address], world);
        assert.deepEqual(milliseconds(outcome.attempts), [0, 50, 150, 350, 750, 950]);
        assert.equal(outcome.waited, 950 * MS);
        backsOff(outcome, 1000);
        saysLast(outcome, subject, code, "0.9");
      });
    }

    it(`${subject}: no other errno, of any call`, () => {
      const known = worth[kind].map(([name]) => errno[name] as number);
      for (const call of ["sock_open", "sock_connect"]) {
        for (const error of ERRNOS.filter((number) => !known.includes(number))) {
          const world = { fails: { [call]: [error] } };
          const outcome = simulateBoot(["--wait=60s", ...address], world);
          assert.deepEqual([outcome.waited, outcome.handedOver], [0, []], `${call} ${error}`);
          assert.equal(outcome.calls.filter((name) => name === "sock_open").length, 1);
          assert.notEqual(outcome.exit, 0);
          closesEachOnce(outcome);
          const line = outcome.stderr.toString();
          assert.ok(!line.includes("gave up"), line);
          assert.deepEqual(line, simulateBoot(address as string[], world).stderr.toString());
        }
      }
    });
  }

  const partOfLine = (handshake: "silence" | "eof"): Stage => ({
    answer: Buffer.from("OK 1"),
    handshake,
  });
  const inHandshake: [string, World, Code, Stage?][] = [
    ["end of file", { end: "eof" }, Code.EndOfFile],
    ["end of file in the OK line", { end: "eof" }, Code.EndWithinLine, partOfLine("eof")],
    ["silence in the OK line", { end: "eof" }, Code.ReplyTimeoutWithinLine, partOfLine("silence")],
    ["end of file while the line is taken", { answer: [OK], recvGives: 0 }, Code.EndWithinLine],
    ["silence", {}, Code.ReplyTimeout],
    ["a request that is never taken", { fails: { sock_send: [errno.AGAIN] } }, Code.ReplyTimeout],
    ["a reset when asked", { fails: { sock_send: [errno.CONNRESET] } }, Code.ResetInHandshake],
    ["a pipe that is broken", { fails: { sock_send: [errno.PIPE] } }, Code.ResetInHandshake],
    [
      "a reset before the answer",
      { end: "eof", fails: { sock_recv: [errno.CONNRESET] } },
      Code.ResetInHandshake,
    ],
    [
      "a reset while the line is taken",
      { answer: [OK], fails: { sock_recv: [0, errno.CONNRESET] } },
      Code.ResetInHandshake,
    ],
  ];
  for (const [what, world, code, stage = {}] of inHandshake) {
    it(`a multiplexer: ${what}`, () => {
      const outcome = simulateBoot(["--timeout=300ms", "--wait=3s", ...mux], world, () => stage);
      backsOff(outcome, 3000);
      assert.ok(outcome.attempts.length >= 5);
      const howLong = /gave up after (\d\.\d) s/.exec(outcome.stderr.toString())?.[1] ?? "";
      assert.ok(Math.abs(Number(howLong) - outcome.waited / SECOND) <= 0.1);
      saysLast(outcome, "vsock-mux/m port 22", code, howLong);
      assert.deepEqual(outcome.handedOver, []);
    });
  }
  const never: [string, World, Code][] = [
    ["an answer that is no OK line", answers("ERR no such port\n"), Code.BadLine],
    ["a number above 2^32-1", answers("OK 4294967296\n"), Code.NumberOutOfRange],
    ["a request that leaves in part", { answer: [OK], sendTakes: 5 }, Code.ShortWrite],
  ];
  for (const [what, world, code] of never) {
    it(`a multiplexer: not ${what}`, () => {
      const outcome = simulateBoot(["--wait=60s", ...mux], world);
      assert.equal(outcome.attempts.length, 1);
      assert.ok(outcome.waited <= 100 * MS);
      saysLast(outcome, "vsock-mux/m port 22", code);
      closesEachOnce(outcome);
    });
  }
  it("a multiplexer: no other errno, of any call", () => {
    const retried: number[] = [errno.CONNRESET, errno.PIPE, errno.AGAIN, errno.TIMEDOUT];
    for (const call of ["sock_send", "sock_recv"]) {
      for (const error of ERRNOS.filter((number) => !retried.includes(number))) {
        const world = { answer: [OK], fails: { [call]: [error] } };
        const outcome = simulateBoot(["--wait=60s", ...mux], world);
        assert.deepEqual([outcome.exit, outcome.attempts.length], [71, 1], `${call} ${error}`);
        closesEachOnce(outcome);
      }
    }
  });

  it("not what fails once there is a connection", () => {
    const handOver = { fails: { sock_send_fds: [errno.PIPE] } };
    const relay = { relayEnd: { fd: 3, error: errno.CONNRESET } };
    for (const [args, world] of [
      [["unix/x"], handOver],
      [["--stdio", "unix/x"], relay],
    ] as const) {
      const outcome = simulateBoot(["--wait=60s", ...args], world);
      assert.equal(outcome.attempts.length, 1);
      assert.ok(outcome.exit !== 0 && outcome.waited === 0);
    }
  });
  it("not what is wrong before the first attempt", () => {
    const closed = { fails: { fd_fdstat_get: [errno.BADF] } };
    for (const [args, world] of [
      [["vsock/x"], {}],
      [["unix/x"], closed],
      [["--fdpass", "unix/x"], { stdout: { filetype: 4, family: 3 } }],
    ] as const) {
      const outcome = simulateBoot(["--wait=60s", ...args], world);
      assert.deepEqual([outcome.attempts, outcome.waited], [[], 0]);
      assert.ok([64, 71].includes(outcome.exit));
    }
  });

  it("no more, once a cause comes that cannot heal", () => {
    const world = { fails: { sock_connect: [errno.NOENT, errno.CONNREFUSED, errno.ACCES] } };
    const outcome = simulateBoot(["--wait=60s", "unix/x"], world);
    assert.deepEqual(milliseconds(outcome.attempts), [0, 50, 150]);
    saysLast(outcome, "unix/x", Code.PermissionDenied, "0.1");
    closesEachOnce(outcome);
  });
  it("the error has the last cause of several, and its exit status", () => {
    const first = [errno.CONNREFUSED, errno.CONNREFUSED, errno.TIMEDOUT];
    for (const [error, code] of [
      [errno.NOENT, Code.NoSocket],
      [errno.CONNREFUSED, Code.Refused],
    ] as const) {
      const world = { fails: { sock_connect: [...first, error] } };
      saysLast(simulateBoot(["--wait=10s", "unix/x"], world), "unix/x", code, "9.9");
    }
  });
});

describe("whoever has the other end of descriptor 1", () => {
  const pipe = { filetype: 0, family: 0 };
  const ways: [string, string[], World][] = [
    ["fd passing", [], {}],
    ["a relay", [], { stdout: pipe }],
    ["a relay that was asked for", ["--stdio"], {}],
  ];
  for (const [what, args, world] of ways) {
    it(`leaves between two attempts: that is their end, at once: ${what}`, () => {
      for (let leaves = 0; leaves < 4000; leaves += 13) {
        const outcome = simulateBoot(["--wait=1m", ...args, "unix/x"], {
          ...nothingThere,
          ...world,
          leaves: leaves * MS,
        });
        const { waited } = outcome;
        // To learn what is so already takes a moment in these worlds.
        assert.ok(waited >= leaves * MS && waited <= (leaves + 10) * MS, `${leaves}: ${waited}`);
        const howLong = (Math.floor(waited / (100 * MS)) / 10).toFixed(1);
        saysLast(outcome, "unix/x", Code.ClientGone, howLong);
        closesEachOnce(outcome);
      }
    });
    it(`leaves during an attempt: that is the last one: ${what}`, () => {
      const all = ["--wait=1m", "--timeout=700ms", ...args, ...mux];
      const outcome = simulateBoot(all, { ...world, leaves: 300 * MS });
      assert.deepEqual([outcome.attempts, outcome.waited], [[0], 710 * MS]);
      saysLast(outcome, "vsock-mux/m port 22", Code.ClientGone, "0.7");
    });
    it(`says something: that is not looked at, and costs no attempt: ${what}`, () => {
      const run = (speaks: number) =>
        simulateBoot(["--wait=10s", ...args, "unix/x"], {
          ...nothingThere,
          ...world,
          speaks: speaks * MS,
        });
      const quiet = run(60_000);
      for (const speaks of [0, 60, 350, 3000]) {
        const outcome = run(speaks);
        assert.ok(outcome.calls.length <= quiet.calls.length + quiet.attempts.length);
        // A moment goes by in which it is learnt that there is something.
        assert.deepEqual(
          outcome.attempts.map((time) => Math.round(time / MS / 50)),
          quiet.attempts.map((time) => Math.round(time / MS / 50)),
        );
      }
    });
  }
  it("has left when it is to get the connection", () => {
    const outcome = simulateBoot(["-v", "unix/x"], { leaves: 0 });
    assert.equal(outcome.exit, 71);
    assert.match(outcome.stderr.toString(), /: nobody waits for the connection any more /);
  });
});

describe("an attempt knows nothing of the one before", () => {
  it("the handshake starts afresh, wherever in the OK line the one before ended", () => {
    for (let length = 1; length < OK.length; length++) {
      const part = OK.subarray(0, length);
      const world = {
        answer: [part, OK, Buffer.from(BANNER)],
        fails: { sock_recv: [0, 0, errno.CONNRESET, 0] },
      };
      const outcome = simulateBoot(["--wait=10s", ...mux], world);
      assert.equal(outcome.exit, 0, outcome.stderr.toString());
      assert.equal(outcome.attempts.length, 2);
      assert.deepEqual(outcome.sent.map(String), ["CONNECT 22\n", "CONNECT 22\n"]);
      assert.equal(outcome.taken.toString(), `${part.toString()}${OK.toString()}`);
      assert.equal(outcome.handedOver.length, 1);
      closesEachOnce(outcome);
    }
  });

  it("a machine boots: each stage is met, and CONNECT leaves once for each connection", () => {
    const stages: Stage[] = [
      { connect: errno.NOENT },
      { connect: errno.NOENT },
      { connect: errno.CONNREFUSED },
      { handshake: "silence" },
      { handshake: "eof" },
      {},
    ];
    const args = ["-v", "--timeout=500ms", "--wait=30s", ...mux];
    const outcome = simulateBoot(args, { answer: [OK] }, (n) => stages[n] ?? {});
    assert.equal(outcome.exit, 0);
    assert.deepEqual(milliseconds(outcome.attempts), [0, 50, 150, 350, 1250, 2060]);
    assert.deepEqual(outcome.sent.map(String), ["CONNECT 22\n", "CONNECT 22\n", "CONNECT 22\n"]);
    closesEachOnce(outcome);
    const steps = outcome.stderr
      .toString()
      .trimEnd()
      .split("\n")
      .map((line) => line.replace(/^ssh-vsock-proxy: vsock-mux\/m port 22: /, ""))
      .filter((line) => !line.includes(": connecting to /m, for at most "));
    const failed = (ms: string, code: Code, pause: string): string =>
      `${ms}.000 ms: ${meaning(code)}; again in ${pause}.000 ms`;
    const asked = (ms: string): string => `${ms}.000 ms: ${meaning(Code.RequestSent)}`;
    assert.deepEqual(steps, [
      failed("0", Code.NoSocket, "50"),
      failed("50", Code.NoSocket, "100"),
      failed("150", Code.Refused, "200"),
      asked("350"),
      failed("850", Code.ReplyTimeout, "400"),
      asked("1250"),
      failed("1260", Code.EndOfFile, "800"),
      asked("2060"),
      `2070.000 ms: ${meaning(Code.ReplyReceived)} 1073741824`,
      `2070.000 ms: ${meaning(Code.FdPassed)}`,
    ]);
  });
});

const PROMPT = "$ ssh machine";
const UP = "\x1b[A\r";

/**
 * Runs the command on a terminal and looks at the screen after each write: below what was there is
 * one line of progress, or nothing, or at the end what a failure says.
 */
function watchTerminal(args: string[], world: World, stage?: World["stage"], width = 200) {
  const terminal = { environment: ["TERM=xterm-256color"], ...world, terminal: true };
  const outcome = simulateBoot(args, terminal, stage);
  const screen = new Screen(width);
  screen.write(`${PROMPT}\n`);
  const drawn: { at: number; line: string; text: string }[] = [];
  for (const { at, text } of outcome.writes) {
    assert.ok(text.split(UP).length <= 2, "the cursor goes up more than once");
    screen.write(text);
    assert.equal(screen.autowrap, true);
    assert.equal(screen.rows[0], PROMPT);
    assert.equal(screen.column, 0);
    if (!text.includes("waiting for")) continue;
    assert.equal(screen.shown.length, 2, screen.shown.join("\n"));
    assert.equal(screen.row, 2, "the cursor is not below the line");
    assert.equal(screen.wraps, 0);
    // What the line says where the screen is wide enough.
    const line = text.replaceAll(/\x1b\[(A\r|\?7[lh]|K)/g, "");
    assert.equal(text.split("\n").length, 2);
    // The last cell of a line that is too long has its last character.
    const isLong = line.length > width + 1;
    const clipped = isLong ? line.slice(0, width - 1) + line.slice(-2, -1) : line.slice(0, -1);
    assert.equal(screen.rows[1], clipped);
    drawn.push({ at, line: line.slice(0, -1), text });
  }
  return { outcome, drawn, screen };
}

/** The line of progress is gone, and below what was there stands this alone. */
function leaves(screen: Screen, text: string): void {
  const fresh = new Screen(screen.width);
  fresh.write(`${PROMPT}\n${text}`);
  assert.deepEqual(screen.shown, fresh.shown);
  assert.deepEqual([screen.row, screen.column], [fresh.row, fresh.column]);
}

function lastLine({ outcome }: { outcome: Outcome }): string {
  return (
    outcome.stderr
      .toString()
      .split(/\x1b\[K/)
      .at(-1) ?? ""
  );
}

describe("progress on a terminal", () => {
  const says = (subject: string, at: number, wait: string, code: Code): string =>
    `ssh-vsock-proxy: waiting for ${subject}, ${Math.floor(at / SECOND)}.` +
    `${Math.floor(at / (SECOND / 10)) % 10} s of ${wait} s: ${meaning(code)}`;

  it("says what it waits for, why and how long, from the first failure on", () => {
    const seen = watchTerminal(["--wait=1m", "vsock/7", "99"], {
      fails: { sock_connect: [errno.NODEV] },
    });
    assert.equal(seen.drawn.length, seen.outcome.attempts.length - 1);
    seen.drawn.forEach(({ at, line }, i) => {
      assert.equal(at, seen.outcome.attempts[i]);
      assert.equal(line, says("vsock/7 port 99", at, "60.0", Code.NoMachine));
    });
    leaves(seen.screen, lastLine(seen));
    assert.match(lastLine(seen), /^ssh-vsock-proxy: vsock\/7 port 99: gave up after 59\.9 s: no /);
  });

  it("says the cause that there is now", () => {
    // A longer line comes before a shorter one, of which nothing stays behind.
    const causes: [number, Code][] = [
      [errno.NOENT, Code.NoSocket],
      [errno.TIMEDOUT, Code.QueueFull],
      [errno.NOENT, Code.NoSocket],
    ];
    const seen = watchTerminal(["--wait=9s", "unix/x"], {
      fails: { sock_connect: [...causes.map(([error]) => error), 0] },
    });
    assert.deepEqual(
      seen.drawn.map(({ at, line }) => [at, line]),
      [0, 50, 150].map((ms, i) => [
        ms * MS,
        says("unix/x", ms * MS, "9.0", (causes[i] as [number, Code])[1]),
      ]),
    );
    assert.equal(seen.outcome.exit, 0);
    leaves(seen.screen, "");
  });

  it("is renewed each second while a multiplexer is silent", () => {
    const seen = watchTerminal(["--timeout=4500ms", "--wait=9s", ...mux], {});
    const at = seen.drawn.map((line) => line.at / MS);
    assert.deepEqual(at, [1000, 2000, 3000, 4000, 4500, 5500, 6500, 7500, 8500]);
    seen.drawn.forEach(({ at, line }, i) => {
      const cause = i === 4 ? Code.ReplyTimeout : Code.RequestSent;
      assert.equal(line, says("vsock-mux/m port 22", at, "9.0", cause));
    });
    leaves(seen.screen, lastLine(seen));
  });

  it("is renewed each second while connecting takes its time", () => {
    for (const address of [["vsock/7"], ["unix/x"]]) {
      const seen = watchTerminal(["--timeout=4s", "--wait=20s", ...address], {}, () => ({
        takes: "until the deadline",
        connect: errno.TIMEDOUT,
      }));
      const times = [0, ...seen.drawn.map((line) => line.at), 20 * SECOND];
      times.slice(1).forEach((time, i) => {
        const before = times[i] as number;
        assert.ok(time - before <= 1.1 * SECOND, `nothing from ${before} to ${time}`);
      });
    }
  });

  it("goes before the connection is handed over, or relayed", () => {
    const boots = (n: number): Stage => (n < 4 ? { connect: errno.NOENT } : {});
    for (const args of [["unix/x"], ["--stdio", "unix/x"]]) {
      const seen = watchTerminal(["--wait=9s", ...args], {}, boots);
      assert.equal(seen.drawn.length, 4);
      leaves(seen.screen, "");
      const { calls } = seen.outcome;
      const last = args.length > 1 ? "sock_relay" : "sock_send_fds";
      assert.ok(calls.lastIndexOf("fd_write") < calls.indexOf(last));
    }
  });

  it("goes when a multiplexer answers that was silent", () => {
    const seen = watchTerminal(["--timeout=3s", "--wait=9s", ...mux], { answer: [OK] }, (n) =>
      n < 1 ? { handshake: "silence" } : {},
    );
    assert.deepEqual(
      seen.drawn.map(({ at }) => at / SECOND),
      [1, 2, 3],
    );
    assert.equal(seen.outcome.exit, 0);
    leaves(seen.screen, "");
  });

  it("is not there where nothing is waited for", () => {
    const runs: [string[], World][] = [
      [["--wait=9s", "unix/x"], {}],
      [["--wait=9s", "unix/x"], { fails: { sock_connect: [errno.ACCES] } }],
      [["--wait=0", "unix/x"], nothingThere],
      [["unix/x"], nothingThere],
      [mux, {}],
    ];
    for (const [args, world] of runs) {
      const seen = watchTerminal(args, world);
      assert.deepEqual(seen.drawn, []);
      assert.ok(!seen.outcome.stderr.includes("\x1b"));
      leaves(seen.screen, seen.outcome.stderr.toString());
    }
  });

  it("is as wide as the terminal at most, whatever the address", () => {
    for (const width of [20, 79, 80, 81, 360, 1000]) {
      const address = `unix/${"x".repeat(300)}`;
      const { drawn } = watchTerminal(["--wait=5s", address], nothingThere, undefined, width);
      assert.ok(drawn.length > 5);
    }
  });

  it("shows no foreign byte that could act on the terminal", () => {
    const address = "unix/\x1b[2J\x9b1A\r\n\x07\x08\u202e\u200b\\é";
    const args = ["--wait=5s", address];
    const shown =
      "unix/\\x1b[2J\\xc2\\x9b1A\\x0d\\x0a\\x07\\x08\\xe2\\x80\\xae\\xe2\\x80\\x8b\\\\é";
    // The screen throws at every control but those of the progress.
    const seen = watchTerminal(args, nothingThere);
    assert.ok(seen.drawn.length > 5);
    for (const { at, line } of seen.drawn) {
      assert.equal(line, says(shown, at, "5.0", Code.NoSocket));
    }
    const rest = seen.outcome.stderr.toString().replaceAll(/\x1b\[(A\r|\?7[lh]|K)/g, "");
    assert.match(rest, /^(\P{C}+\n)+$/u);
  });

  it("each line is one write", () => {
    const { outcome, drawn } = watchTerminal(["--wait=5s", "unix/x"], nothingThere);
    assert.equal(outcome.writes.length, drawn.length + 2);
  });

  it("is whole on the screen, though the terminal takes it in parts", () => {
    const world = { ...nothingThere, environment: ["TERM=vt100"], terminal: true };
    const whole = simulateBoot(["--wait=5s", "unix/x"], world);
    const parts = simulateBoot(["--wait=5s", "unix/x"], { ...world, writeTakes: 7 });
    assert.deepEqual(parts.stderr, whole.stderr);
  });

  for (const [what, environment] of Object.entries({
    "TERM=dumb": ["TERM=dumb"],
    "no TERM": ["SSH_VSOCK_PROXY_OPTIONS="],
    "an empty TERM": ["TERM="],
  })) {
    it(`with ${what} a terminal is told as a file is`, () => {
      const args = ["--wait=35s", "unix/x"];
      const outcome = simulateBoot(args, { ...nothingThere, terminal: true, environment });
      const elsewhere = simulateBoot(args, { ...nothingThere, terminal: false });
      assert.ok(!outcome.stderr.includes("\x1b"));
      assert.deepEqual(outcome.stderr, elsewhere.stderr);
      assert.equal(outcome.writes.length, 4);
    });
  }
  it("TERM=dumber is not dumb", () => {
    const seen = watchTerminal(["--wait=1s", "unix/x"], {
      ...nothingThere,
      environment: ["TERM=dumber"],
    });
    assert.equal(seen.drawn.length, 5);
  });

  it("with -v there are steps instead, on a terminal or not", () => {
    for (const terminal of [true, false]) {
      const world = { ...nothingThere, terminal, environment: ["TERM=xterm"] };
      const outcome = simulateBoot(["-v", "--wait=25s", "unix/x"], world);
      const text = outcome.stderr.toString();
      assert.ok(!text.includes("waiting for") && !text.includes("\x1b"), text);
      const count = outcome.attempts.length;
      assert.equal(text.match(/ ms: connecting to \/x, for at most /g)?.length, count);
      assert.equal(text.match(/ ms: no such socket: .*; again in [\d.]+ ms\n/g)?.length, count - 1);
      assert.match(
        text,
        /\nssh-vsock-proxy: unix\/x: gave up after 24\.9 s: no such socket: .*\n$/,
      );
    }
  });
});

describe("progress elsewhere", () => {
  /** The lines of progress, and that they are that. */
  function lines(args: string[], world: World, stage?: World["stage"]) {
    const outcome = simulateBoot(args, { ...world, environment: ["TERM=xterm"] }, stage);
    assert.match(outcome.stderr.toString(), /^([\x20-\x7e]+\n)*$/);
    const told = outcome.writes.filter(({ text }) => text.includes("waiting for"));
    for (const { at, text } of told) {
      const [, seconds = ""] = /, (\d+\.\d) s of /.exec(text) ?? [];
      assert.ok(at / SECOND - Number(seconds) < 0.1 && at / SECOND >= Number(seconds), text);
    }
    return { outcome, told };
  }

  it("none within 10 s, nor at their end", () => {
    for (const wait of ["5s", "9s", "10s"]) {
      for (const args of [["unix/x"], mux]) {
        const { outcome, told } = lines([`--wait=${wait}`, ...args], nothingThere);
        assert.deepEqual(told, []);
        assert.equal(outcome.writes.length, 1);
      }
    }
  });
  it("one every 10 s, within a pause", () => {
    const { told, outcome } = lines(["--wait=65s", "unix/x"], nothingThere);
    assert.equal(told.length, 6);
    told.forEach(({ at, text }, i) => {
      const due = 10 * (i + 1) * SECOND;
      assert.ok(at >= due && at < due + SECOND, `${at}`);
      assert.match(
        text,
        /^ssh-vsock-proxy: waiting for unix\/x, \d\d\.\d s of 65\.0 s: no such socket: .*\n$/,
      );
    });
    assert.equal(outcome.writes.length, 7);
  });
  it("on the second while a multiplexer is silent", () => {
    const { told } = lines(["--timeout=1m", "--wait=65s", ...mux], {});
    assert.deepEqual(
      told.map(({ at }) => at / SECOND),
      [10, 20, 30, 40, 50, 60],
    );
  });
  it("on the second while connecting takes its time", () => {
    const { told } = lines(["--timeout=1m", "--wait=65s", "vsock/7"], {}, () => ({
      takes: "until the deadline",
      connect: errno.TIMEDOUT,
    }));
    assert.deepEqual(
      told.map(({ at }) => Math.round(at / SECOND)),
      [10, 20, 30, 40, 50, 60],
    );
  });
  it("none is made up for that was missed", () => {
    const { told } = lines(["--timeout=35s", "--wait=1m", "vsock/7"], {}, (n) => ({
      ...(n === 0 ? { takes: "until the deadline" } : {}),
      connect: errno.TIMEDOUT,
    }));
    const times = told.map(({ at }) => at);
    times.slice(1).forEach((time, i) => {
      assert.ok(time - (times[i] as number) > 5 * SECOND, `lines at ${times.join(", ")}`);
    });
  });
});

describe("a stderr that takes nothing", () => {
  for (const terminal of [true, false]) {
    for (const verbose of [[], ["-v"]]) {
      const where = `${terminal ? "a terminal" : "elsewhere"}${verbose.length > 0 ? " with -v" : ""}`;
      const stuck = { stderrIsStuck: true, terminal, environment: ["TERM=xterm"] };
      it(`${where}: does not keep the wait from its end`, () => {
        for (const [args, world] of [
          [["unix/x"], { ...nothingThere, ...stuck }],
          [mux, stuck],
        ] as const) {
          for (const wait of [5, 12, 30]) {
            const outcome = simulateBoot([...verbose, `--wait=${wait}`, ...args], world);
            assert.ok(outcome.exit === 68 || outcome.exit === 75);
            // Once a second goes by, and where stderr was fine so far that may be the last one.
            assert.ok(outcome.waited <= (wait + 1) * SECOND, `${outcome.waited}`);
            assert.ok(outcome.attempts.length > 1 || wait === 5);
            for (const attempt of outcome.attempts) assert.ok(attempt < wait * SECOND);
          }
        }
      });
      it(`${where}: there is no attempt after the end`, () => {
        const args = [...verbose, "--wait=500ms", "unix/x"];
        const outcome = simulateBoot(args, { ...nothingThere, ...stuck });
        // The first is made whatever was said before it.
        for (const attempt of outcome.attempts.slice(1)) {
          assert.ok(attempt < 500 * MS, `${attempt}`);
        }
        assert.equal(outcome.exit, 68);
      });
      it(`${where}: does not keep the connection from ssh`, () => {
        const outcome = simulateBoot([...verbose, "--wait=30s", "unix/x"], stuck, (n) =>
          n < 6 ? { connect: errno.NOENT } : {},
        );
        assert.deepEqual([outcome.exit, outcome.handedOver.length], [0, 1]);
        assert.ok(outcome.waited <= 4 * SECOND, `${outcome.waited}`);
      });
    }
  }
});

// From here on it is this host's own process, and real sockets.

const [REFUSED, PROTOCOL, NO_HOST, PERMISSION] = [69, 76, 68, 77];
/** Longer than anything takes, on any machine. */
const untilMs = 100_000;
/** What a machine may take to do what it has to at once: the one that tests run on may stall. */
const graceMs = 10_000;

let folder: string;
let folders = 0;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), "wait-"));
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
});
function newFolder(): string {
  const own = path.join(folder, String(folders++));
  mkdirSync(own);
  return own;
}

/** Waits until something is so, which must not take long. */
async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = performance.now() + untilMs;
  while (!isSo()) {
    assert.ok(performance.now() < end, `${what} does not happen`);
    await sleep(5);
  }
}

/** What a virtual machine monitor does with a connection that has said CONNECT. */
type Manner = "silent" | "eof" | "ready" | "words";

interface Connection {
  manner: Manner;
  reads: string[];
  client: net.Socket;
}

/** A virtual machine monitor that comes up step by step. */
class FakeMonitor {
  readonly socket = path.join(newFolder(), "vm.sock");
  readonly connections: Connection[] = [];
  manner: Manner = "silent";
  #server: net.Server | undefined;

  constructor(t: TestContext) {
    t.after(() => {
      this.#server?.close();
      for (const { client } of this.connections) client.destroy();
    });
  }

  /** The socket's file alone is there: whoever bound it does not listen. */
  async bind(): Promise<void> {
    const own = `${this.socket}.bound`;
    const server = net.createServer().listen(own);
    await once(server, "listening");
    // The name that it was bound to goes with it, another one stays.
    linkSync(own, `${own}.link`);
    server.close();
    await once(server, "close");
    renameSync(`${own}.link`, this.socket);
  }

  async listen(): Promise<void> {
    const own = `${this.socket}.new`;
    this.#server = net.createServer({ allowHalfOpen: true }, (client) => {
      this.#play(client);
    });
    // A test that fails half-way does not keep the others from their end.
    this.#server.listen(own).unref();
    await once(this.#server, "listening");
    renameSync(own, this.socket);
  }

  /** The connections so far that were treated so, and have said something. */
  met(manner: Manner): Connection[] {
    return this.connections.filter((one) => one.manner === manner && one.reads.length > 0);
  }

  #play(client: net.Socket): void {
    const { manner } = this;
    client.unref();
    const connection: Connection = { manner, reads: [], client };
    this.connections.push(connection);
    client.on("error", () => client.destroy());
    client.on("data", (data) => {
      connection.reads.push(data.toString("latin1"));
      if (connection.reads.length > 1) client.end("bye\r\n");
      else if (manner === "eof") client.end();
      else if (manner === "words") client.end("ERR\n");
      else if (manner === "ready") client.write(`${OK.toString()}${BANNER}`);
    });
    client.on("end", () => client.end());
  }
}

/** The lines of a log: what was said, and the pause that was announced. */
function readLog(file: string, address: string): { what: string; pause?: number }[] {
  const pattern =
    /^[\d-]{10}T[\d:.]{12}Z \[\d+\] ssh-vsock-proxy: (.*) port 22: [\d.]+ ms: (.*?)(?:; again in (.*) ms)?$/;
  const text = readFileSync(file, "latin1");
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [, about, what, pause] = pattern.exec(line) ?? assert.fail(line);
      assert.equal(about, address);
      return { what: what as string, ...(pause === undefined ? {} : { pause: Number(pause) }) };
    });
}

/** Whoever has started the proxy: what it gets through the connection, and how it ends. */
interface Started {
  /** The machine's banner has come. */
  banner: Promise<string>;
  /** Exit status and stderr. */
  end: Promise<[number | null, string]>;
}

function asSsh(command: string[]): Started {
  const options = { readBytes: BANNER.length, readMs: untilMs, deadlineMs: untilMs };
  const played = fakeSsh(command, options).then((outcome) => {
    assert.deepEqual([outcome.bytes, outcome.fds, outcome.timedOut], [1, 1, false]);
    return outcome;
  });
  return {
    banner: played.then(({ read }) => String(read)),
    end: played.then(({ exit, stderr }) => [exit, stderr]),
  };
}

/** Over pipes, as ssh does without ProxyUseFdpass; Node itself would give it sockets. */
function overPipes(command: string[]): Started {
  const script = 'cat | { "$@"; echo $? >&3; } | cat';
  const child = spawn("sh", ["-c", script, "sh", ...command], {
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  const collect = (fd: 1 | 2 | 3): Buffer[] => {
    const chunks: Buffer[] = [];
    child.stdio[fd]?.on("data", (chunk: Buffer) => chunks.push(chunk));
    return chunks;
  };
  const [stdout, stderr, status] = [collect(1), collect(2), collect(3)];
  const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString();
  const closed = once(child, "close");
  const banner = (async () => {
    await until("the banner", () => text(stdout).length >= BANNER.length);
    const said = text(stdout);
    child.stdin.end("SSH-2.0-a-client\r\n");
    return said;
  })();
  const end = (async (): Promise<[number | null, string]> => {
    await closed;
    assert.equal(text(stdout), `${BANNER}bye\r\n`);
    return [Number(text(status)), text(stderr)];
  })();
  return { banner, end };
}

describe("a machine that boots", { timeout: 600_000 }, () => {
  for (const [how, start] of Object.entries({ "fd passing": asSsh, "a relay": overPipes })) {
    it(`is connected to when it is ready: ${how}`, async (t) => {
      const machine = new FakeMonitor(t);
      const log = path.join(path.dirname(machine.socket), "log");
      writeFileSync(log, "");
      const address = `vsock-mux${machine.socket}`;
      // Where this process takes longer than that to answer, it plays a stage once more.
      const args = ["--wait=2m", "--timeout=400ms", `--log-file=${log}`, address, "22"];
      const { banner, end } = start([...proxyCommand(), ...args]);
      // What fails is told where it is awaited.
      for (const promise of [banner, end]) promise.catch(() => undefined);
      const logged = (code: Code): number =>
        readLog(log, address).filter(({ what }) => what === meaning(code)).length;

      await until("an attempt without a file", () => logged(Code.NoSocket) >= 2);
      await machine.bind();
      await until("an attempt without a listener", () => logged(Code.Refused) >= 1);
      await machine.listen();
      await until("an attempt in silence", () => logged(Code.ReplyTimeout) >= 1);
      // And one that the monitor ends while the proxy waits for it.
      const silent = machine.connections.length;
      await until("another one", () => machine.met("silent").length > silent);
      machine.manner = "eof";
      machine.connections.at(-1)?.client.end();
      await until("an end of file", () => machine.met("eof").length >= 1);
      await until("a cause of that", () => logged(Code.EndOfFile) >= 1);

      machine.manner = "ready";
      const since = performance.now();
      await until("the connection", () => machine.met("ready").length >= 1);
      const took = performance.now() - since;
      t.diagnostic(`connected ${took.toFixed(0)} ms after the machine was ready`);
      assert.ok(took < 1000 + graceMs, `${took} ms`);

      assert.equal(await banner, BANNER);
      const [exit, stderr] = await end;
      assert.equal(exit, 0, stderr);
      // It says what it waits for where this takes 10 s.
      assert.match(stderr, /^(ssh-vsock-proxy: waiting for .*\n)*$/);

      for (const { reads } of machine.connections) assert.equal(reads[0], "CONNECT 22\n");
      const causes = readLog(log, address).filter(({ pause }) => pause !== undefined);
      causes.forEach(({ pause }, i) => {
        assert.equal(pause, Math.min(50 * 2 ** i, 1000));
      });
      assert.deepEqual([...new Set(causes.map(({ what }) => what))], whats);
      // Each connection was told of, and one of them succeeded.
      assert.equal(logged(Code.RequestSent), machine.connections.length);
      const said = readLog(log, address).map(({ what }) => what);
      assert.equal(said.filter((what) => what.startsWith(meaning(Code.ReplyReceived))).length, 1);
    });
  }

  /** The causes of the stages, in their order. */
  const whats = [Code.NoSocket, Code.Refused, Code.ReplyTimeout, Code.EndOfFile].map(meaning);

  it("that is never ready is given up at the end, with the last cause", async (t) => {
    const machine = new FakeMonitor(t);
    await machine.bind();
    const address = `vsock-mux${machine.socket}`;
    const wait = ["--wait=700ms", "--timeout=5s"];
    const outcome = await fakeSsh([...proxyCommand(), ...wait, address, "22"]);
    assert.deepEqual([outcome.exit, outcome.fds], [REFUSED, 0]);
    assert.match(outcome.stderr, /: gave up after \d+\.\d s: connection refused: .*\n$/);
    assert.ok(outcome.exitNs >= 650 * MS && outcome.exitNs < 10 * SECOND);

    await machine.listen();
    const silent = await fakeSsh([...proxyCommand(), ...wait, address, "22"]);
    assert.deepEqual([silent.exit, silent.fds], [75, 0]);
    assert.ok(silent.exitNs >= 700 * MS && silent.exitNs < 10 * SECOND);
    await until("CONNECT", () => machine.met("silent").length === 1);
    assert.deepEqual(
      machine.connections.map(({ reads }) => reads),
      [["CONNECT 22\n"]],
    );
  });
});

describe("what cannot heal fails at once, though --wait is given", { timeout: 300_000 }, () => {
  interface Cause {
    /** Makes what is at the path, and gives what to look at afterwards, if anything. */
    make: (t: TestContext, where: string) => Promise<undefined | (() => void)> | undefined;
    scheme?: "unix" | "vsock-mux";
    behind?: string;
    exit: number;
    code: Code;
    /** Whether root's exemption from file permissions is in the way. */
    asAnyUser?: boolean;
  }
  const causes: Record<string, Cause> = {
    "a file": {
      make: (_, where) => {
        writeFileSync(where, "");
      },
      exit: NO_HOST,
      code: Code.NotSocket,
    },
    "a folder": {
      make: (_, where) => {
        mkdirSync(where);
      },
      exit: NO_HOST,
      code: Code.IsDirectory,
    },
    "a datagram socket": {
      make: async (t, where) => {
        const listener = await listen(where, { type: "dgram" });
        t.after(() => listener.close());
      },
      scheme: "unix",
      exit: PROTOCOL,
      code: Code.WrongSocketType,
    },
    "a socket without permission": {
      make: async (t, where) => {
        const listener = await listen(where);
        t.after(() => listener.close());
        chmodSync(where, 0o000);
      },
      exit: PERMISSION,
      code: Code.PermissionDenied,
      asAnyUser: true,
    },
    "a folder without permission": {
      make: (t, where) => {
        mkdirSync(where, 0o000);
        t.after(() => {
          chmodSync(where, 0o755);
        });
      },
      behind: "/s",
      scheme: "unix",
      exit: PERMISSION,
      code: Code.PermissionDenied,
      asAnyUser: true,
    },
    "a path through a file": {
      make: (_, where) => {
        writeFileSync(where, "");
      },
      behind: "/s",
      exit: NO_HOST,
      code: Code.NotDirectory,
    },
    "a loop of symbolic links": {
      make: (_, where) => {
        symlinkSync(path.basename(where), where);
      },
      exit: NO_HOST,
      code: Code.SymlinkLoop,
    },
    "a multiplexer that answers with other words": {
      make: async (t, where) => {
        const machine = new FakeMonitor(t);
        machine.manner = "words";
        await machine.listen();
        renameSync(machine.socket, where);
        return () => {
          const reads = machine.connections.map((connection) => connection.reads);
          assert.deepEqual(reads, [["CONNECT 22\n"]]);
        };
      },
      scheme: "vsock-mux",
      exit: PROTOCOL,
      code: Code.BadLine,
    },
  };
  for (const [what, { make, scheme, behind, exit, code, asAnyUser }] of Object.entries(causes)) {
    for (const name of scheme === undefined ? ["unix", "vsock-mux"] : [scheme]) {
      it(`${name}: ${what}`, async (t) => {
        const where = path.join(newFolder(), "s");
        const check = await make(t, where);
        const address = `${name}${where}${behind ?? ""}`;
        const dropCaps = asAnyUser === true && process.getuid?.() === 0;
        const command = [...proxyCommand(), "--wait=60s", address, "22"];
        const outcome = await fakeSsh(command, { dropCaps, deadlineMs: 30_000 });
        const port = name === "vsock-mux" ? " port 22" : "";
        assert.equal(outcome.stderr, `ssh-vsock-proxy: ${address}${port}: ${meaning(code)}\n`);
        assert.deepEqual([outcome.exit, outcome.signal, outcome.fds], [exit, null, 0]);
        assert.ok(outcome.exitNs < 10 * SECOND, `${outcome.exitNs}`);
        check?.();
      });
    }
  }
});

/** What support/terminal.py tells. */
interface Interrupted {
  found: boolean;
  signal: number | null;
  exit: number | null;
  ms: number;
  output: string;
  left: number[];
  same: boolean;
}

async function interrupt(text: RegExp, args: string[], cwd: string): Promise<Interrupted> {
  const script = path.join(root, "tests/support/terminal.py");
  const env: NodeJS.ProcessEnv = { ...process.env, TERM: "xterm-256color", TMPDIR: cwd };
  delete env["SSH_VSOCK_PROXY_OPTIONS"];
  const child = spawn("python3", [script, text.source, ...proxyCommand(), ...args], {
    cwd,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const chunks: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  assert.deepEqual(await once(child, "close"), [0, null]);
  return JSON.parse(Buffer.concat(chunks).toString()) as Interrupted;
}

describe("Ctrl-C ends it at once", { timeout: 300_000 }, () => {
  const SIGINT = 2;
  const limitMs = 100;

  async function interrupts(t: TestContext, when: RegExp, address: string, says: Code) {
    const cwd = newFolder();
    let got: Interrupted;
    // A machine may stall; a proxy that waits for something does so each time.
    for (let tries = 1; ; tries++) {
      got = await interrupt(when, ["--wait=60s", "--timeout=30s", address, "22"], cwd);
      assert.ok(got.found, `nothing is waited for: ${Buffer.from(got.output, "hex").toString()}`);
      t.diagnostic(`gone after ${got.ms.toFixed(1)} ms`);
      if (got.ms < limitMs || tries === 3) break;
    }
    assert.ok(got.ms < limitMs, `${got.ms} ms`);
    assert.deepEqual([got.signal, got.exit], [SIGINT, null]);
    assert.deepEqual([got.left, got.same], [[], true]);
    assert.deepEqual(readdirSync(cwd), []);

    const output = Buffer.from(got.output, "hex").toString();
    const screen = new Screen(80);
    screen.write(output);
    assert.deepEqual([screen.autowrap, screen.wraps], [true, 0]);
    // The driver's echo of what was typed stands below the line of progress.
    assert.equal(screen.row, 1);
    assert.match(screen.rows[1] ?? "", /^(\^C)?$/);
    assert.equal(screen.rows[0]?.length, 80);
    // Clipped there; it was written whole.
    const last = output.split("waiting for ").at(-1) ?? "";
    assert.ok(last.startsWith(`${address} port 22, `), last);
    assert.match(last, /^[^\x1b]* s of 60\.0 s: [^\x1b]*\x1b\[\?7h\r\n(\^C)?(\r\n)?$/);
    assert.ok(last.includes(`: ${meaning(says)}\x1b`), last);
  }

  it("between two attempts", async (t) => {
    // The pause that has begun then takes a second.
    const address = `vsock-mux${path.join(newFolder(), "vm.sock")}`;
    await interrupts(t, /[1-9]\.\d s of 60.0 s: .*\n/, address, Code.NoSocket);
  });

  it("while a multiplexer is silent", async (t) => {
    const machine = new FakeMonitor(t);
    await machine.listen();
    const address = `vsock-mux${machine.socket}`;
    await interrupts(t, /asked the multiplexer.*\n/, address, Code.RequestSent);
    assert.deepEqual(machine.connections[0]?.reads, ["CONNECT 22\n"]);
    await until("the end of its connection", () =>
      machine.connections.every(({ client }) => client.readableEnded || client.destroyed),
    );
  });
});

describe("nobody waits any more", { timeout: 300_000 }, () => {
  function start(stdout: "pipe" | number): ChildProcess {
    const address = `unix${path.join(newFolder(), "socket")}`;
    const [program, ...before] = proxyCommand() as [string, ...string[]];
    const args = [...before, "-v", "--wait=60s", address];
    return spawn(program, args, { stdio: ["ignore", stdout, "pipe"] });
  }

  /** It waits, without turning, and ends after so many attempts more when nobody is there. */
  async function ends(child: ChildProcess, leave: () => void, attempts = 0): Promise<void> {
    let stderr = "";
    child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
    const ended = once(child, "close");
    const pause = (ms: number) =>
      until(`a pause of ${ms} ms`, () => stderr.includes(`again in ${ms}.000 ms`));
    await pause(400);
    const before = cpuTicks(child.pid as number);
    await pause(1000);
    const used = cpuTicks(child.pid as number) - before;
    assert.ok(used <= 5, `${used} ticks of 10 ms in 1200 ms`);
    // What it has said until now is read.
    await turn();
    const said = stderr.length;
    leave();
    assert.deepEqual(await ended, [71, null], stderr);
    const last = stderr.slice(said).split("\n");
    assert.equal(last.filter((line) => line.includes(" connecting to ")).length, attempts);
    assert.match(
      last.at(-2) ?? "",
      /^ssh-vsock-proxy: .*: nobody waits for the connection any more /,
    );
  }

  it("ssh, that a descriptor was for", async () => {
    const child = start("pipe");
    await ends(child, () => child.stdout?.destroy());
  });

  it("ssh, though it has sent something, which it never does", async () => {
    const child = start("pipe");
    // A socket both ways, of which Node shows one. What waits in it is seen first.
    (child.stdout as net.Socket).write("something");
    await ends(child, () => child.stdout?.destroy(), 1);
  });

  it("whoever has read stdout", async () => {
    const pipe = makePipe();
    const child = start(pipe.write);
    closeSync(pipe.write);
    await ends(child, () => {
      closeSync(pipe.read);
    });
  });
});
