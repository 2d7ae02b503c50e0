// --wait: when attempts are made, and for how long, in simulated worlds. Which failures are worth
// another attempt is in support/oracle.ts, and cases.ts has every errno of each call.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import type { Attempt, World } from "../support/case";
import { messageOf } from "../support/messages";
import { exitOf } from "../support/oracle";
import { callsOf, simulate } from "./world";
import type { SimulatedOutcome } from "./world";

const OK = "OK 1073741824\n";
const MS = 1_000_000;
const SECOND = 1000 * MS;

const mux = ["vsock-mux/m", "22"];
const absent: World = { attempts: [{ connect: "NOENT" }] };
/** When attempts are made, in milliseconds. */
const attemptsOf = (outcome: SimulatedOutcome): number[] =>
  callsOf(outcome, "sock_connect").map(({ at }) => at / MS);
/** The deadlines of sock_connect, in milliseconds. */
const deadlinesOf = (outcome: SimulatedOutcome): number[] =>
  callsOf(outcome, "sock_connect").map(({ until = NaN }) => until / MS);

/** stderr has one line, a failure after this many seconds, and the exit status is that of the code. */
function failsAfter(outcome: SimulatedOutcome, subject: string, code: Code, seconds: string): void {
  assert.equal(
    outcome.stderr.toString(),
    `ssh-vsock-proxy: ${subject}: gave up after ${seconds} s: ${messageOf(code)}\n`,
  );
  assert.equal(outcome.exit, exitOf(code));
}

describe("attempts", () => {
  const times = (wait: string, ...more: string[]): number[] =>
    attemptsOf(simulate(["--wait", wait, ...more, "unix/x"], absent));

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

  it("are made every second in the end, and a last time 50 ms before it", () => {
    const all = times("2m");
    assert.deepEqual(all.slice(0, 6), [0, 50, 150, 350, 750, 1550]);
    all.slice(6, -1).forEach((time, i) => {
      assert.equal(time, 2550 + 1000 * i);
    });
    assert.deepEqual(all.slice(-2), [119_550, 119_950]);
  });

  it("are one without --wait, and --wait 0 is the same", () => {
    for (const [args, world] of [
      [["unix/x"], absent],
      [mux, {}],
    ] as const) {
      const names = (one: SimulatedOutcome) =>
        one.calls.map(({ name, at, until }) => [name, at, until]);
      const without = simulate(args, world);
      assert.equal(attemptsOf(without).length, 1);
      assert.deepEqual(names(simulate(["--wait", "0", ...args], world)), names(without));
    }
  });

  it("follow the last --wait, the command line's before the variable's", () => {
    const variable = ["SSH_VSOCK_PROXY_OPTIONS=--wait 1s"];
    assert.equal(attemptsOf(simulate(["unix/x"], absent, variable)).length, 6);
    assert.equal(attemptsOf(simulate(["--wait", "0", "unix/x"], absent, variable)).length, 1);
    assert.deepEqual(times("2m", "--wait=120ms"), [0, 50, 70]);
  });

  it("succeed within one pause of the machine's being ready, whenever that is", () => {
    for (let ready = 0; ready < 12_000; ready += 83) {
      const attempts: Attempt[] = [{ connect: "NOENT", untilMs: ready }, {}];
      const outcome = simulate(["--wait=20s", "unix/x"], { attempts });
      assert.equal(outcome.exit, 0);
      // A pause is as long as all that came before it and 50 ms, and a second at most.
      const pause = Math.min(ready + 50, 1000);
      const ran = outcome.ran / MS;
      assert.ok(ran >= ready && ran < ready + pause, `${ready}: ${ran}`);
      assert.equal(attemptsOf(outcome).at(-1), ran);
    }
  });

  it("do not follow the end, though the machine stalls", () => {
    const outcome = simulate(["--wait=3s", "unix/x"], { ...absent, simulation: { stalls: true } });
    for (const attempt of attemptsOf(outcome)) assert.ok(attempt < 3000, `${attempt}`);
    assert.match(outcome.stderr.toString(), /: gave up after \d\.\d s: no such socket: .*\n$/);
  });

  it("start a handshake afresh, wherever in the OK line the one before ended", () => {
    for (let length = 1; length < OK.length; length++) {
      const first: Attempt = { reply: [OK.slice(0, length)], end: "eof" };
      const attempts = [first, { reply: [OK, "SSH-2.0-a-machine\r\n"] }];
      const { exit, connections } = simulate(["--wait=10s", ...mux], { attempts });
      assert.equal(exit, 0);
      assert.deepEqual(
        connections.map(({ sent, taken }) => [String(sent), taken]),
        [length, OK.length].map((taken) => ["CONNECT 22\n", taken]),
      );
    }
  });

  it("end with the last failure of several", () => {
    for (const [connect, code] of [
      ["NOENT", Code.NoSocket],
      ["CONNREFUSED", Code.Refused],
    ] as const) {
      const attempts = ["CONNREFUSED", "CONNREFUSED", "TIMEDOUT", connect];
      const world = { attempts: attempts.map((name) => ({ connect: name })) };
      failsAfter(simulate(["--wait=10s", "unix/X"], world), "unix/X", code, "9.9");
    }
  });

  it("are reported with -v: each stage of a machine that boots", () => {
    const attempts: Attempt[] = [
      { connect: "NOENT" },
      { connect: "NOENT" },
      { connect: "CONNREFUSED" },
      {},
      { end: "eof" },
      { reply: [OK] },
    ];
    const outcome = simulate(["-v", "--timeout=500ms", "--wait=30s", ...mux], { attempts });
    assert.deepEqual(attemptsOf(outcome), [0, 50, 150, 350, 1250, 2060]);
    const steps = outcome.stderr
      .toString()
      .trimEnd()
      .split("\n")
      .map((line) => line.replace(/^ssh-vsock-proxy: vsock-mux\/m port 22: /, ""))
      .filter((line) => !line.includes(": connecting, for at most "));
    const failed = (ms: string, code: Code, pause: string): string =>
      `${ms}.000 ms: ${messageOf(code)}; again in ${pause}.000 ms`;
    const asked = (ms: string): string => `${ms}.000 ms: ${messageOf(Code.RequestSent)}`;
    assert.deepEqual(steps, [
      failed("0", Code.NoSocket, "50"),
      failed("50", Code.NoSocket, "100"),
      failed("150", Code.Refused, "200"),
      asked("350"),
      failed("850", Code.ReplyTimeout, "400"),
      asked("1250"),
      failed("1260", Code.EndOfFile, "800"),
      asked("2060"),
      `2070.000 ms: ${messageOf(Code.ReplyReceived)} 1073741824`,
      `2070.000 ms: ${messageOf(Code.FdPassed)}`,
    ]);
  });
});

describe("--timeout limits an attempt, and --wait all of them", () => {
  const late: Attempt = { takes: "deadline" };
  const ways: [string, string[], Attempt][] = [
    ["a connection that is not accepted", ["vsock/3"], late],
    ["a full queue", ["unix/x"], late],
    ["a silent multiplexer", mux, {}],
  ];
  for (const [what, address, attempt] of ways) {
    const run = (timeout: string, wait: string): SimulatedOutcome =>
      simulate([`--timeout=${timeout}`, `--wait=${wait}`, ...address], { attempts: [attempt] });
    it(`${what}, with the shorter --timeout`, () => {
      const outcome = run("500ms", "3s");
      assert.deepEqual(attemptsOf(outcome), [0, 550, 1150, 1850, 2750]);
      assert.deepEqual(deadlinesOf(outcome), [500, 1050, 1650, 2350, 3000]);
      assert.equal(outcome.ran, 3 * SECOND);
    });
    it(`${what}, with the shorter --wait`, () => {
      const outcome = run("5s", "2s");
      assert.deepEqual([attemptsOf(outcome), deadlinesOf(outcome)], [[0], [2000]]);
      assert.equal(outcome.ran, 2 * SECOND);
    });
    it(`${what}, which ends just before the end of --wait`, () => {
      assert.deepEqual(attemptsOf(run("1s", "1040ms")), [0]);
      assert.deepEqual(attemptsOf(run("1s", "1060ms")), [0, 1010]);
    });
  }

  it("where attempts fail at once", () => {
    const outcome = simulate(["--timeout=1s", "--wait=3s", "unix/x"], absent);
    const expected = attemptsOf(outcome).map((attempt) => Math.min(attempt + 1000, 3000));
    assert.deepEqual(deadlinesOf(outcome), expected);
    assert.equal(expected.length, 8);
  });

  it("where the client does not take the connection: that is not tried again", () => {
    const outcome = simulate(["--timeout=1s", "--wait=1m", "unix/x"], { stdout: "full unix" });
    assert.deepEqual([outcome.exit, attemptsOf(outcome).length], [75, 1]);
    assert.ok(outcome.ran >= SECOND && outcome.ran < 1.1 * SECOND);
  });
});

describe("the client at the other end of descriptor 1", () => {
  const ways: [string, string[], World][] = [
    ["fd passing", [], {}],
    ["a relay", [], { stdout: "pipe" }],
    ["--stdio", ["--stdio"], {}],
  ];
  for (const [what, args, world] of ways) {
    it(`exits between two attempts: the command exits at once, ${what}`, () => {
      for (let ms = 0; ms < 4000; ms += 13) {
        const outcome = simulate(["--wait=1m", ...args, "unix/x"], {
          ...absent,
          ...world,
          clientExits: { ms },
        });
        // To find a descriptor ready takes 10 ms in a simulated world.
        const ran = outcome.ran / MS;
        assert.ok(ran >= ms && ran <= ms + 10, `${ms}: ${ran}`);
        const seconds = (Math.floor(ran / 100) / 10).toFixed(1);
        failsAfter(outcome, "unix/x", Code.ClientGone, seconds);
      }
    });
    it(`exits during an attempt: that is the last one, ${what}`, () => {
      const all = ["--wait=1m", "--timeout=700ms", ...args, ...mux];
      const outcome = simulate(all, { ...world, clientExits: { ms: 300 } });
      assert.deepEqual([attemptsOf(outcome), outcome.ran], [[0], 710 * MS]);
      failsAfter(outcome, "vsock-mux/m port 22", Code.ClientGone, "0.7");
    });
    it(`sends something: it is not read, and costs no attempt, ${what}`, () => {
      const run = (clientSpeaksMs: number) =>
        simulate(["--wait=10s", ...args, "unix/x"], {
          ...absent,
          ...world,
          simulation: { clientSpeaksMs },
        });
      const rounded = (outcome: SimulatedOutcome) =>
        attemptsOf(outcome).map((ms) => Math.round(ms / 50));
      const quiet = run(60_000);
      for (const ms of [0, 60, 350, 3000]) {
        const outcome = run(ms);
        assert.ok(outcome.calls.length <= quiet.calls.length + attemptsOf(quiet).length);
        assert.deepEqual(rounded(outcome), rounded(quiet));
      }
    });
  }
});
