// Options from SSH_VSOCK_PROXY_OPTIONS, the log file, and the choice between passing a descriptor and
// relaying, in simulated worlds.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { makeCase, unixTarget } from "../support/case";
import type { Bytes, World } from "../support/case";
import { errno, errnoName, errnos } from "../support/errno";
import { logReason, relayReason } from "../support/oracle";
import { checkOutcome } from "../support/outcome";
import { callOf, simulate } from "./world";
import type { SimulatedOutcome } from "./world";

const MS = 1_000_000;

/** A full disk is the reason of two errnos, and only of these. */
function checkGuesses({ stderr }: SimulatedOutcome, error: number): void {
  const isFull = ["NOSPC", "DQUOT"].includes(errnoName(error));
  assert.equal(stderr.includes("disk is full"), isFull, stderr.toString());
}

const refuses: World = { attempts: [{ connect: "NOENT" }] };

describe("SSH_VSOCK_PROXY_OPTIONS", () => {
  const withVariable = (value: Bytes, args: string[] = ["unix/x"]) => {
    const name = Buffer.from("SSH_VSOCK_PROXY_OPTIONS=");
    const variable = Buffer.concat([name, Buffer.from(value as string)]);
    return simulate(args, {}, ["TERM=xterm", variable]);
  };
  /** The path of the log that the variable asks for: a value whose every byte is seen. */
  const logOf = (value: Bytes) =>
    callOf(withVariable(value), "log_open")?.bytes?.toString("latin1");

  const quoting: [string, string][] = [
    ["--log-file=/a", "/a"],
    ["--log-file /a", "/a"],
    ["  --log-file\t\n /a \n", "/a"],
    ["--log-file '/a b'", "/a b"],
    ['--log-file "/a b"', "/a b"],
    ["--log-file=/a' 'b", "/a b"],
    ["--log-file=/a\\ b", "/a b"],
    ["--log-file /a\\\\b", "/a\\b"],
    ["--log-file '/a\\b'", "/a\\b"],
    ['--log-file "/a\\"b"', '/a"b'],
    ['--log-file "/a\\b"', "/ab"],
    ['--log-file "/it\'s"', "/it's"],
    ["--log-file '/a\"b'", '/a"b'],
    ["--log-file '/a'\\''b'", "/a'b"],
    ["'--log-file' /a", "/a"],
    ["--lo''g-file /a", "/a"],
    ["--log-file /a\\\nb", "/a\nb"],
    ["--log-file $HOME/`x`*~", "$HOME/`x`*~"],
    ["--log-file /a#b", "/a#b"],
    ["--log-file /caf\xe9", "/caf\xe9"],
    ["--log-file /a --log-file /b", "/b"],
  ];
  for (const [value, expected] of quoting) {
    it(`${JSON.stringify(value)} means ${JSON.stringify(expected)}`, () => {
      assert.equal(logOf(Buffer.from(value, "latin1")), expected);
    });
  }

  it("may be empty, blank or missing", () => {
    for (const value of ["", " \t\n "]) assert.equal(withVariable(value).exit, 0);
    assert.equal(simulate(["unix/x"], {}, ["OTHER=--nope"]).exit, 0);
  });

  it("takes every option that changes a connection", () => {
    const value =
      "--timeout 2s -v --host-socket /h --half-close=never --wait 1m --linger 3s --fdpass";
    const { exit, stderr } = withVariable(value, [".host"]);
    assert.equal(exit, 0, stderr.toString());
    assert.match(
      stderr.toString(),
      /: \.host at \/h: [\d.]+ ms: connecting, for at most 2000.000 ms/,
    );
  });

  it("precedes the command line, whose options win", () => {
    const deadline = callOf(
      withVariable("--timeout 2s", ["--timeout=3s", "unix/x"]),
      "sock_connect",
    );
    assert.equal(deadline?.until, 3000 * MS);
    assert.ok(callOf(withVariable("--fdpass", ["--stdio", "unix/x"]), "sock_relay"));
    assert.ok(callOf(withVariable("--stdio", ["--fdpass", "unix/x"]), "sock_send_fds"));
  });

  const wrong: [string, RegExp][] = [
    ["--nope \x1b[2J", /: SSH_VSOCK_PROXY_OPTIONS: --nope: unknown option \(see --help\)/],
    ["--n\x1bo", /: SSH_VSOCK_PROXY_OPTIONS: --n\\x1bo: unknown option/],
    ["--timeout", /: SSH_VSOCK_PROXY_OPTIONS: --timeout: the option needs a value/],
    ["--timeout x", /: SSH_VSOCK_PROXY_OPTIONS: --timeout x: not a duration/],
    ["-v=1", /: SSH_VSOCK_PROXY_OPTIONS: -v=1: the option takes no value/],
    ["'--wait 5s'", /: SSH_VSOCK_PROXY_OPTIONS: --wait 5s: unknown option/],
    ["-v -- unix/x", /: SSH_VSOCK_PROXY_OPTIONS: unix\/x: not allowed there/],
    ["''", /: SSH_VSOCK_PROXY_OPTIONS: '': not allowed there/],
    ['--log-file "a', /: SSH_VSOCK_PROXY_OPTIONS: a quote is not closed/],
    ["--log-file a\\", /: SSH_VSOCK_PROXY_OPTIONS: .*nothing follows a backslash/],
    ['--log-file "a\\', /: SSH_VSOCK_PROXY_OPTIONS: .*nothing follows a backslash/],
  ];
  for (const [value, text] of wrong) {
    it(`${JSON.stringify(value)} is refused, and the failure names the variable`, () => {
      const outcome = withVariable(value);
      assert.equal(outcome.exit, 64);
      assert.match(outcome.stderr.toString(), text);
      assert.equal(callOf(outcome, "sock_open"), undefined);
    });
  }

  it("does not take its value from the command line", () => {
    const { stderr } = withVariable("--timeout", ["5s", "unix/x"]);
    assert.match(stderr.toString(), /--timeout: the option needs a value/);
  });

  it("is not named where the command line is wrong", () => {
    const line = withVariable("-v", ["--nope"]).stderr.toString();
    assert.match(line, /^ssh-vsock-proxy: --nope: unknown option/);
    const log = withVariable("--log-file /l", ["unix/"]).log?.toString() ?? "";
    assert.match(log, /\] ssh-vsock-proxy: unix\/: the path is empty\n$/);
  });

  it("can be as long as an environment is", () => {
    assert.equal(withVariable("-v ".repeat(40_000)).exit, 0);
    assert.equal(logOf(`--log-file /${"a".repeat(4094)}`)?.length, 4095);
    const { exit, stderr } = withVariable(`--log-file /${"a".repeat(4095)}`);
    assert.equal(exit, 64);
    assert.match(stderr.toString(), /not a path: it has 1 to 4095 bytes/);
  });
});

describe("--log-file", () => {
  const logged = (args: string[], world: World = {}, environment: string[] = []): string =>
    String(simulate(["--log-file", "/l", ...args], world, environment).log);

  it("has each step with the time of day, the process, and the time since the start", () => {
    const reply = { attempts: [{ reply: ["OK 1073741824\n"] }] };
    const outcome = simulate(["--log-file", "/l", "vsock-mux/m", "99"], reply);
    assert.equal(outcome.stderr.length, 0);
    const lines = String(outcome.log).trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => line.replace(/\d+\.\d{3} ms: /, "")),
      [
        "connecting, for at most 5000.000 ms",
        "connected, and asked the multiplexer with CONNECT",
        "the multiplexer answered OK 1073741824",
        "handed the connection over to ssh",
      ]
        .map(
          (step) => `2026-11-23T08:15:39.123Z [4711] ssh-vsock-proxy: vsock-mux/m port 99: ${step}`,
        )
        // Waiting for the reply takes 10 ms in a simulated world.
        .map((line, i) => (i < 2 ? line : line.replace("39.123", "39.133"))),
    );
  });

  it("has with -v what stderr has", () => {
    const outcome = simulate(["-v", "--log-file=/l", "unix/x"], refuses);
    assert.equal(
      String(outcome.log).replaceAll("2026-11-23T08:15:39.123Z [4711] ", ""),
      outcome.stderr.toString(),
    );
  });

  it("has a wrong address, and what was wrong in the options before it", () => {
    assert.match(logged(["nope"]), /\] ssh-vsock-proxy: nope: address not understood/);
    assert.match(logged(["--nope"]), /\] ssh-vsock-proxy: --nope: unknown option/);
    assert.match(logged([]), /\] ssh-vsock-proxy: no address given/);
  });

  it("has attempts as steps, and no progress of a terminal", () => {
    const world: World = { attempts: [{ connect: "NOENT" }, {}], stderr: "terminal" };
    const text = logged(["--wait", "200ms", "unix/x"], world, ["TERM=xterm"]);
    assert.match(text, /no such socket: .*; again in 50\.000 ms\n/);
    assert.ok(!text.includes("\x1b"));
  });

  it("has text from outside escaped", () => {
    assert.match(logged(["unix/\x1b[2J\n"]), /unix\/\\x1b\[2J\\x0a: /);
  });

  it("that cannot be opened is named, and what the errno means", () => {
    for (const error of [...errnos, errno("NOTCAPABLE")]) {
      const world = { simulation: { fails: { log_open: [errnoName(error)] } } };
      const log = { path: "/l", subject: "/l" };
      const { code } = logReason(error);
      const outcome = simulate(["--log-file", "/l", "unix/x"], world);
      checkOutcome(makeCase({ name: "log", subject: "unix/x", log, code, world }), outcome);
      checkGuesses(outcome, error);
      assert.equal(callOf(outcome, "sock_open"), undefined);
    }
  });
  it("that cannot be opened is the command line's, though the variable has one as well", () => {
    const fails = { simulation: { fails: { log_open: ["NOENT"] } } };
    const variable = ["SSH_VSOCK_PROXY_OPTIONS=--log-file /l"];
    const line = simulate(["--log-file=/m", "unix/x"], fails, variable).stderr.toString();
    assert.match(line, /^ssh-vsock-proxy: \/m: no such log/);
  });

  it("that takes nothing is no failure", () => {
    const full = { simulation: { fails: { fd_write: ["NOSPC"] } } };
    assert.equal(simulate(["--log-file", "/l", "unix/x"], full).exit, 0);
  });

  const wallAt = (time: Date): World => ({
    simulation: { wallNs: BigInt(time.getTime()) * 1_000_000n },
  });
  for (const time of [
    "1970-01-01T00:00:00.000Z",
    "1999-12-31T23:59:59.999Z",
    "2000-02-29T12:00:00.000Z",
    "2100-02-28T00:00:00.000Z",
    "2100-03-01T00:00:00.000Z",
    "2400-02-29T00:00:00.000Z",
  ]) {
    it(`knows ${time}`, () => {
      const line = logged(["unix/x"], wallAt(new Date(time)));
      assert.ok(line.startsWith(`${time} [4711] ssh-vsock-proxy: unix/x: `));
    });
  }
  it("knows every day of eight years", () => {
    for (let day = 0; day < 8 * 366; day += 1) {
      const time = new Date(Date.UTC(2023, 0, 1 + day, 5, 6, 7, 8));
      assert.equal(logged(["unix"], wallAt(time)).slice(0, 24), time.toISOString());
    }
  });
});

describe("passing or relaying", () => {
  const passes = (outcome: SimulatedOutcome) => callOf(outcome, "sock_send_fds") !== undefined;

  it("--stdio relays, whatever descriptor 1 is, and does not look at it", () => {
    for (const stdout of ["unix", "pipe"] as const) {
      const outcome = simulate(["--stdio", "unix/x"], { stdout });
      assert.ok(!passes(outcome));
      assert.equal(callOf(outcome, "fd_filestat_get"), undefined);
    }
  });
  it("by default only a unix stream socket is passed a descriptor", () => {
    for (const stdout of ["pipe", "datagram", "seqpacket", "vsock", "file"] as const) {
      assert.ok(!passes(simulate(["unix/x"], { stdout })));
    }
    assert.ok(passes(simulate(["unix/x"])));
  });
  it("by default it has to be descriptor 0 too, with --fdpass not", () => {
    for (const kind of ["null", "pipe", "file", "directory"] as const) {
      assert.ok(!passes(simulate(["unix/x"], { stdin: { kind } })), kind);
      assert.ok(passes(simulate(["--fdpass", "unix/x"], { stdin: { kind } })), kind);
    }
  });
});

describe("a relay that fails", () => {
  for (const fd of [0, 1, 3]) {
    it(`at descriptor ${fd}: what each errno means`, () => {
      for (const error of errnos) {
        const world: World = { stdout: "pipe", simulation: { relayEnd: { fd, error } } };
        const { code } = relayReason(error, fd);
        const outcome = simulate(["unix/x"], world);
        const target = unixTarget("unix", "/x");
        checkOutcome(makeCase({ name: "relay", subject: "unix/x", target, code, world }), outcome);
        checkGuesses(outcome, fd === 1 ? error : 0);
      }
    });
  }
});
