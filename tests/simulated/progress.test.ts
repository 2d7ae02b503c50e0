// The progress that --wait shows: one line of a terminal, drawn again and again, or a line every 10 s
// elsewhere. In simulated worlds, with the screen of support/vt.ts.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import type { Attempt, World } from "../support/case";
import { messageOf } from "../support/messages";
import { Screen } from "../support/vt";
import { callsOf, simulate } from "./world";
import type { SimulatedOutcome } from "./world";

const MS = 1_000_000;
const SECOND = 1000 * MS;
const PROMPT = "$ ssh machine";
const UP = "\x1b[A\r";

const mux = ["vsock-mux/m", "22"];
const absent: World = { attempts: [{ connect: "NOENT" }] };
const late: Attempt = { takes: "deadline" };
const attemptsOf = (outcome: SimulatedOutcome): number[] =>
  callsOf(outcome, "sock_connect").map(({ at }) => at);

interface Write {
  at: number;
  text: string;
}

function writesOf(outcome: SimulatedOutcome): Write[] {
  const writes = callsOf(outcome, "fd_write").filter(({ fd }) => fd === 2);
  return writes.map(({ at, bytes }) => ({ at, text: String(bytes) }));
}

/**
 * Runs the command on a terminal and checks the screen after each write: below the prompt is one line
 * of progress, or nothing, or in the end a failure.
 */
function watchTerminal(args: string[], world: World, width = 200, term = "xterm-256color") {
  const outcome = simulate(args, { ...world, stderr: "terminal" }, [`TERM=${term}`]);
  const screen = new Screen(width);
  screen.write(`${PROMPT}\n`);
  const drawn: { at: number; line: string }[] = [];
  for (const { at, text } of writesOf(outcome)) {
    assert.ok(text.split(UP).length <= 2, "the cursor goes up more than once");
    screen.write(text);
    assert.deepEqual([screen.autowrap, screen.rows[0], screen.column], [true, PROMPT, 0]);
    if (!text.includes("waiting for")) continue;
    assert.equal(screen.shown.length, 2, screen.shown.join("\n"));
    assert.deepEqual([screen.row, screen.wraps], [2, 0]);
    // The line as it is where the screen is wide enough.
    const line = text.replaceAll(/\x1b\[(A\r|\?7[lh]|K)/g, "").slice(0, -1);
    // The last cell of a line that is too long has its last character.
    const clipped = line.length > width ? line.slice(0, width - 1) + line.slice(-1) : line;
    assert.equal(screen.rows[1], clipped);
    drawn.push({ at, line });
  }
  return { outcome, drawn, screen };
}

/** Below the prompt is nothing but this text. */
function leaves(screen: Screen, text: string): void {
  const fresh = new Screen(screen.width);
  fresh.write(`${PROMPT}\n${text}`);
  assert.deepEqual(screen.shown, fresh.shown);
  assert.deepEqual([screen.row, screen.column], [fresh.row, fresh.column]);
}

const lastLine = ({ stderr }: SimulatedOutcome): string =>
  String(stderr).split("\x1b[K").at(-1) ?? "";

describe("progress on a terminal", () => {
  const progress = (subject: string, at: number, wait: string, code: Code): string =>
    `ssh-vsock-proxy: waiting for ${subject}, ${Math.floor(at / SECOND)}.` +
    `${Math.floor(at / (SECOND / 10)) % 10} s of ${wait} s: ${messageOf(code)}`;

  it("says what it waits for, why and how long, from the first failure on", () => {
    const world = { attempts: [{ connect: "NODEV" }] };
    const { drawn, outcome, screen } = watchTerminal(["--wait=1m", "vsock/7", "99"], world);
    assert.deepEqual(
      drawn,
      attemptsOf(outcome)
        .slice(0, -1)
        .map((at) => ({ at, line: progress("vsock/7 port 99", at, "60.0", Code.NoMachine) })),
    );
    leaves(screen, lastLine(outcome));
    assert.match(
      lastLine(outcome),
      /^ssh-vsock-proxy: vsock\/7 port 99: gave up after 59\.9 s: no /,
    );
  });

  it("says the last failure", () => {
    // A longer line comes before a shorter one, of which nothing stays.
    const failures: [string, Code][] = [
      ["NOENT", Code.NoSocket],
      ["TIMEDOUT", Code.QueueFull],
      ["NOENT", Code.NoSocket],
    ];
    const attempts = [...failures.map(([connect]) => ({ connect })), {}];
    const { drawn, outcome, screen } = watchTerminal(["--wait=9s", "unix/x"], { attempts });
    assert.deepEqual(
      drawn,
      failures.map(([, code], i) => {
        const at = ([0, 50, 150][i] as number) * MS;
        return { at, line: progress("unix/x", at, "9.0", code) };
      }),
    );
    assert.equal(outcome.exit, 0);
    leaves(screen, "");
  });

  it("is drawn again each second while a multiplexer is silent", () => {
    const { drawn, outcome, screen } = watchTerminal(["--timeout=4500ms", "--wait=9s", ...mux], {});
    const times = [1000, 2000, 3000, 4000, 4500, 5500, 6500, 7500, 8500];
    assert.deepEqual(
      drawn,
      times.map((ms, i) => {
        const code = i === 4 ? Code.ReplyTimeout : Code.RequestSent;
        return { at: ms * MS, line: progress("vsock-mux/m port 22", ms * MS, "9.0", code) };
      }),
    );
    leaves(screen, lastLine(outcome));
  });

  it("is drawn again each second while connecting takes its time", () => {
    for (const address of [["vsock/7"], ["unix/x"]]) {
      const args = ["--timeout=4s", "--wait=20s", ...address];
      const { drawn } = watchTerminal(args, { attempts: [late] });
      const times = [0, ...drawn.map(({ at }) => at), 20 * SECOND];
      times.slice(1).forEach((time, i) => {
        const before = times[i] as number;
        assert.ok(time - before <= 1.1 * SECOND, `nothing from ${before} to ${time}`);
      });
    }
  });

  it("is erased before the connection is passed or relayed", () => {
    const attempts: Attempt[] = [...Array<Attempt>(4).fill({ connect: "NOENT" }), {}];
    for (const args of [["unix/x"], ["--stdio", "unix/x"]]) {
      const { drawn, outcome, screen } = watchTerminal(["--wait=9s", ...args], { attempts });
      assert.equal(drawn.length, 4);
      leaves(screen, "");
      const names = outcome.calls.map(({ name }) => name);
      const last = args.length > 1 ? "sock_relay" : "sock_send_fds";
      assert.ok(names.lastIndexOf("fd_write") < names.indexOf(last));
    }
  });

  it("is erased when a multiplexer replies that was silent", () => {
    const world = { attempts: [{}, { reply: ["OK 1\n"] }] };
    const seen = watchTerminal(["--timeout=3s", "--wait=9s", ...mux], world);
    assert.deepEqual(
      seen.drawn.map(({ at }) => at / SECOND),
      [1, 2, 3],
    );
    assert.equal(seen.outcome.exit, 0);
    leaves(seen.screen, "");
  });

  it("is not drawn where nothing is waited for", () => {
    const runs: [string[], World][] = [
      [["--wait=9s", "unix/x"], {}],
      [["--wait=9s", "unix/x"], { attempts: [{ connect: "ACCES" }] }],
      [["--wait=0", "unix/x"], absent],
      [["unix/x"], absent],
      [mux, {}],
    ];
    for (const [args, world] of runs) {
      const { drawn, outcome, screen } = watchTerminal(args, world);
      assert.deepEqual(drawn, []);
      assert.ok(!outcome.stderr.includes("\x1b"));
      leaves(screen, outcome.stderr.toString());
    }
  });

  it("is no wider than the terminal, whatever the address", () => {
    for (const width of [20, 79, 80, 81, 360, 1000]) {
      const { drawn } = watchTerminal(["--wait=5s", `unix/${"x".repeat(300)}`], absent, width);
      assert.ok(drawn.length > 5);
    }
  });

  it("has no byte from outside that could act on the terminal", () => {
    const address = "unix/\x1b[2J\x9b1A\r\n\x07\x08\u202e\u200b\\é";
    const shown =
      "unix/\\x1b[2J\\xc2\\x9b1A\\x0d\\x0a\\x07\\x08\\xe2\\x80\\xae\\xe2\\x80\\x8b\\\\é";
    // The screen throws at every control function but those of the progress.
    const { drawn } = watchTerminal(["--wait=5s", address], absent);
    assert.ok(drawn.length > 5);
    for (const { at, line } of drawn) {
      assert.equal(line, progress(shown, at, "5.0", Code.NoSocket));
    }
  });

  it("is one write a line", () => {
    const { outcome, drawn } = watchTerminal(["--wait=5s", "unix/x"], absent);
    assert.equal(writesOf(outcome).length, drawn.length + 2);
  });

  for (const environment of [["TERM=dumb"], [], ["TERM="]]) {
    it(`with ${environment.join() || "no TERM"} is that of a file`, () => {
      const args = ["--wait=35s", "unix/x"];
      const outcome = simulate(args, { ...absent, stderr: "terminal" }, environment);
      assert.deepEqual(outcome.stderr, simulate(args, absent).stderr);
      assert.equal(writesOf(outcome).length, 4);
    });
  }
  it("TERM=dumber is not dumb", () => {
    assert.equal(watchTerminal(["--wait=1s", "unix/x"], absent, 80, "dumber").drawn.length, 5);
  });

  it("with -v there are steps instead, on a terminal or not", () => {
    for (const stderr of ["terminal", "pipe"] as const) {
      const args = ["-v", "--wait=25s", "unix/x"];
      const outcome = simulate(args, { ...absent, stderr }, ["TERM=xterm"]);
      const text = outcome.stderr.toString();
      assert.ok(!text.includes("waiting for") && !text.includes("\x1b"), text);
      const count = attemptsOf(outcome).length;
      assert.equal(text.match(/ms: connecting, for at most /g)?.length, count);
      assert.equal(text.match(/ ms: no such socket: .*; again in [\d.]+ ms\n/g)?.length, count - 1);
      assert.match(
        text,
        /\nssh-vsock-proxy: unix\/x: gave up after 24\.9 s: no such socket: .*\n$/,
      );
    }
  });
});

describe("progress elsewhere", () => {
  /** When there are lines of progress, in seconds; each has its time. */
  function linesOf(args: string[], world: World): number[] {
    const outcome = simulate(args, world, ["TERM=xterm"]);
    assert.match(outcome.stderr.toString(), /^([\x20-\x7e]+\n)*$/);
    return writesOf(outcome).flatMap(({ at, text }) => {
      const [, shown] = /^ssh-vsock-proxy: waiting for .*, (\d+\.\d) s of /.exec(text) ?? [];
      if (shown === undefined) return [];
      const late = at / SECOND - Number(shown);
      assert.ok(late >= 0 && late < 0.1, text);
      return [at / SECOND];
    });
  }

  it("has no line within 10 s, nor at their end", () => {
    for (const wait of ["5s", "9s", "10s"]) {
      for (const args of [["unix/x"], mux]) {
        assert.deepEqual(linesOf([`--wait=${wait}`, ...args], absent), []);
      }
    }
  });
  it("has one every 10 s, within a pause", () => {
    const lines = linesOf(["--wait=65s", "unix/x"], absent);
    assert.deepEqual(
      lines.map((at) => Math.floor(at)),
      [10, 20, 30, 40, 50, 60],
    );
  });
  it("has one on the second while a multiplexer is silent, or connecting takes its time", () => {
    for (const [address, attempt] of [
      [mux, {}],
      [["vsock/7"], late],
    ] as const) {
      const args = ["--timeout=1m", "--wait=65s", ...address];
      assert.deepEqual(linesOf(args, { attempts: [attempt] }), [10, 20, 30, 40, 50, 60]);
    }
  });
  it("does not make up for lines that were missed", () => {
    const attempts: Attempt[] = [late, { connect: "TIMEDOUT" }];
    const lines = linesOf(["--timeout=35s", "--wait=1m", "vsock/7"], { attempts });
    assert.ok(lines.length > 2);
    lines.slice(1).forEach((time, i) => {
      assert.ok(time - (lines[i] as number) > 5, `lines at ${lines.join(", ")}`);
    });
  });
});
