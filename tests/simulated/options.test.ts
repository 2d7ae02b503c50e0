// Options from SSH_VSOCK_PROXY_OPTIONS, the log file, and what decides between hand-over and relay:
// in simulated worlds, and as a process.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { proxyCommand } from "../support/proxy";
import { beginRun } from "../support/record";
import { errno, simulate } from "./world";
import type { Outcome, World } from "./world";

const MS = 1_000_000;
const OK = Buffer.from("OK 1073741824\n");
const PIPE = { filetype: 0, family: 0 };
const HALF_CLOSE = 1;

/** One line that names `text`, and the exit status. */
function fails(outcome: Outcome, exit: number, text: RegExp): void {
  const line = outcome.stderr.toString();
  assert.equal(outcome.exit, exit, line);
  assert.match(line, /^ssh-vsock-proxy: [^\x00-\x1f\x7f]+\n$/);
  assert.match(line, text);
}

describe("SSH_VSOCK_PROXY_OPTIONS", () => {
  const withVariable = (value: string | Buffer, args: string[] = ["unix/x"], world: World = {}) => {
    const variable = Buffer.concat([
      Buffer.from("SSH_VSOCK_PROXY_OPTIONS="),
      typeof value === "string" ? Buffer.from(value) : value,
    ]);
    return simulate(args, { environment: ["TERM=xterm", variable], ...world });
  };
  /** The path of the log that the variable asks for: a value with every byte visible. */
  const logOf = (value: string | Buffer) => withVariable(value).logPath?.toString("latin1");

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

  it("is empty, or blank, or not there: nothing", () => {
    for (const value of ["", " \t\n "]) assert.equal(withVariable(value).exit, 0);
    assert.equal(simulate(["unix/x"], { environment: [] }).exit, 0);
    assert.equal(simulate(["unix/x"], { environment: ["OTHER=--nope"] }).exit, 0);
  });

  it("takes every option that changes a connection", () => {
    const value = "--timeout 2s -v --host-socket /h --half-close=never --wait 1m --fdpass";
    const outcome = withVariable(value, [".host"]);
    assert.equal(outcome.exit, 0, outcome.stderr.toString());
    assert.equal(outcome.deadline, 2000 * MS);
    assert.match(outcome.stderr.toString(), /connecting to \/h, for at most 2000.000 ms/);
  });

  it("with -v, tells of a day in milliseconds", () => {
    const { stderr } = withVariable("-v --timeout 1440m");
    assert.match(stderr.toString(), /for at most 86400000\.000 ms\n/);
  });

  it("comes before the command line, which has the last word", () => {
    assert.equal(withVariable("--timeout 2s", ["--timeout=3s", "unix/x"]).deadline, 3000 * MS);
    const relayed = withVariable("--fdpass", ["--stdio", "unix/x"]);
    assert.deepEqual([relayed.relays.length, relayed.handedOver.length], [1, 0]);
    const passed = withVariable("--stdio", ["--fdpass", "unix/x"]);
    assert.deepEqual([passed.relays.length, passed.handedOver.length], [0, 1]);
    const once = withVariable("--wait 1m", ["--wait", "0", "unix/x"], {
      fails: { sock_connect: [errno.NOENT] },
    });
    assert.equal(once.attempts.length, 1);
  });

  const wrong: [string, RegExp][] = [
    ["--nope", /: SSH_VSOCK_PROXY_OPTIONS: --nope: unknown option \(see --help\)/],
    ["--nope \x1b[2J", /: SSH_VSOCK_PROXY_OPTIONS: --nope: unknown option/],
    ["--n\x1bo", /: SSH_VSOCK_PROXY_OPTIONS: --n\\x1bo: unknown option/],
    ["--timeout", /: SSH_VSOCK_PROXY_OPTIONS: --timeout: the option needs a value/],
    ["--timeout x", /: SSH_VSOCK_PROXY_OPTIONS: --timeout x: not a duration/],
    ["--wait=1h", /: SSH_VSOCK_PROXY_OPTIONS: --wait=1h: not a duration/],
    ["-v=1", /: SSH_VSOCK_PROXY_OPTIONS: -v=1: the option takes no value/],
    ["'--wait 5s'", /: SSH_VSOCK_PROXY_OPTIONS: --wait 5s: unknown option/],
    ["unix/x", /: SSH_VSOCK_PROXY_OPTIONS: unix\/x: not allowed there/],
    ["-v -- unix/x", /: SSH_VSOCK_PROXY_OPTIONS: unix\/x: not allowed there/],
    ["''", /: SSH_VSOCK_PROXY_OPTIONS: '': not allowed there/],
    ["--help", /: SSH_VSOCK_PROXY_OPTIONS: --help: not allowed there/],
    ["-V", /: SSH_VSOCK_PROXY_OPTIONS: -V: not allowed there/],
    ["--log-file 'a", /: SSH_VSOCK_PROXY_OPTIONS: a quote is not closed/],
    ['--log-file "a', /: SSH_VSOCK_PROXY_OPTIONS: a quote is not closed/],
    ["--log-file a\\", /: SSH_VSOCK_PROXY_OPTIONS: .*nothing follows a backslash/],
    ['--log-file "a\\', /: SSH_VSOCK_PROXY_OPTIONS: .*nothing follows a backslash/],
  ];
  for (const [value, text] of wrong) {
    it(`${JSON.stringify(value)} is refused, and the line names the variable`, () => {
      const outcome = withVariable(value);
      fails(outcome, 64, text);
      assert.equal(outcome.sockets.length, 0);
    });
  }

  it("does not take its value from the command line", () => {
    fails(withVariable("--timeout", ["5s", "unix/x"]), 64, /--timeout: the option needs a value/);
  });

  it("is not blamed for what the command line does wrong", () => {
    const line = withVariable("-v", ["--nope"]).stderr.toString();
    assert.match(line, /^ssh-vsock-proxy: --nope: unknown option/);
    assert.match(
      withVariable("--log-file /l", ["unix/"]).log.toString(),
      /\] ssh-vsock-proxy: unix\/: the path is empty\n$/,
    );
  });

  it("can be as long as an environment is", () => {
    const many = "-v ".repeat(40_000);
    assert.equal(withVariable(many).exit, 0);
    assert.equal(logOf(`--log-file /${"a".repeat(4094)}`)?.length, 4095);
    fails(
      withVariable(`--log-file /${"a".repeat(4095)}`),
      64,
      /not a path: it has 1 to 4095 bytes/,
    );
  });
});

describe("--log-file", () => {
  const log = (args: string[], world: World = {}) =>
    simulate(["--log-file", "/l", ...args], world).log.toString();

  it("has each step with the time of day, the process, and the time since the start", () => {
    const outcome = simulate(["--log-file", "/l", "vsock-mux/m", "99"], { answer: [OK] });
    assert.equal(outcome.stderr.length, 0);
    assert.equal(outcome.logPath?.toString(), "/l");
    const lines = outcome.log.toString().trimEnd().split("\n");
    assert.deepEqual(
      lines.map((line) => line.replace(/\d+\.\d{3} ms: /, "")),
      [
        "connecting to /m, for at most 5000.000 ms",
        "connected, and asked the multiplexer with CONNECT",
        "the multiplexer answered OK 1073741824",
        "handed the connection over to ssh",
      ]
        .map(
          (step) => `2026-11-23T08:15:39.123Z [4711] ssh-vsock-proxy: vsock-mux/m port 99: ${step}`,
        )
        // The clock of this world moves while the answer is waited for.
        .map((line, i) => (i < 2 ? line : line.replace("39.123", "39.133"))),
    );
  });

  it("has a failure as stderr has it", () => {
    const outcome = simulate(["--log-file", "/l", "unix/x"], {
      fails: { sock_connect: [errno.NOENT] },
    });
    const [, last] = outcome.log.toString().trimEnd().split("\n");
    assert.equal(
      `${last?.replace("2026-11-23T08:15:39.123Z [4711] ", "")}\n`,
      outcome.stderr.toString(),
    );
  });

  it("has with -v what stderr has", () => {
    const outcome = simulate(["-v", "--log-file=/l", "unix/x"]);
    assert.equal(
      outcome.log.toString().replaceAll("2026-11-23T08:15:39.123Z [4711] ", ""),
      outcome.stderr.toString(),
    );
  });

  it("has a wrong address, and what was wrong in the options before it", () => {
    assert.match(log(["nope"]), /\] ssh-vsock-proxy: nope: address not understood/);
    assert.match(log(["--nope"]), /\] ssh-vsock-proxy: --nope: unknown option/);
    assert.match(log([]), /\] ssh-vsock-proxy: no address given/);
  });

  it("has what is waited for as steps, and nothing of the terminal's progress", () => {
    const text = log(["--wait", "200ms", "unix/x"], {
      terminal: true,
      environment: ["TERM=xterm"],
      fails: { sock_connect: [errno.NOENT, 0] },
    });
    assert.match(text, /no such socket: .*; again in 50\.000 ms\n/);
    assert.ok(!text.includes("\x1b"));
  });

  it("escapes what is foreign", () => {
    assert.match(log(["unix/\x1b[2J\n"]), /unix\/\\x1b\[2J\\x0a: /);
  });

  it("is closed to whoever gets the connection, and one more than the socket", () => {
    const outcome = simulate(["--log-file", "/l", "unix/x"]);
    assert.deepEqual(outcome.handedOver, [{ bytes: Buffer.of(0), fds: [4] }]);
  });

  it("cannot be opened: exit 71 before anything is connected, with the errno", () => {
    const outcome = simulate(["--log-file", "/l", "unix/x"], {
      fails: { log_open: [errno.NOENT] },
    });
    fails(
      outcome,
      71,
      /: \/l: the log file cannot be opened for appending: WASI errno 44, from log_open\n/,
    );
    assert.equal(outcome.sockets.length, 0);
    fails(
      simulate(["--log-file", "/l", "unix/x"], { fails: { log_open: [errno.MFILE] } }),
      71,
      /: \/l: too many open files/,
    );
    // Another failure, with a value that is not the log's, is there as well.
    fails(
      simulate(["--log-file", "/l", "--timeout", "x"], { fails: { log_open: [errno.NOENT] } }),
      71,
      /: \/l: the log file cannot/,
    );
  });

  it("cannot be opened, and stands in the variable: that is named", () => {
    const world = {
      environment: ["SSH_VSOCK_PROXY_OPTIONS=--log-file /l"],
      fails: { log_open: [errno.NOENT] },
    };
    const inVariable = /^ssh-vsock-proxy: SSH_VSOCK_PROXY_OPTIONS: \/l: the log file cannot/;
    fails(simulate(["unix/x"], world), 71, inVariable);
    fails(simulate(["--log-file=/m", "unix/x"], world), 71, /^ssh-vsock-proxy: \/m: the log/);
  });

  it("takes nothing: that is no failure", () => {
    const world = { fails: { fd_write: [errno.NOSPC] } };
    assert.equal(simulate(["--log-file", "/l", "unix/x"], world).exit, 0);
  });

  const days: [string, string][] = [
    ["1970-01-01T00:00:00.000Z", "the first"],
    ["1999-12-31T23:59:59.999Z", "the end of a year"],
    ["2000-02-29T12:00:00.000Z", "a leap day of a century"],
    ["2024-02-29T23:59:59.999Z", "a leap day"],
    ["2024-03-01T00:00:00.000Z", "the day behind"],
    ["2025-02-28T23:59:59.999Z", "no leap day"],
    ["2025-03-01T00:00:00.000Z", "the day behind"],
    ["2026-07-31T01:02:03.004Z", "the last of July"],
    ["2026-08-31T01:02:03.004Z", "the last of August"],
    ["2026-12-31T23:59:59.999Z", "the last of a year"],
    ["2100-02-28T00:00:00.000Z", "a century without a leap day"],
    ["2100-03-01T00:00:00.000Z", "the day behind"],
    ["2400-02-29T00:00:00.000Z", "and one with it"],
  ];
  for (const [time, what] of days) {
    it(`knows ${time}: ${what}`, () => {
      const world = { wall: BigInt(Date.parse(time)) * 1_000_000n };
      assert.ok(log(["unix/x"], world).startsWith(`${time} [4711] ssh-vsock-proxy: unix/x: `));
    });
  }

  it("knows every day of eight years", () => {
    for (let day = 0; day < 8 * 366; day += 1) {
      const time = new Date(Date.UTC(2023, 0, 1 + day, 5, 6, 7, 8));
      const line = log(["unix"], { wall: BigInt(time.getTime()) * 1_000_000n });
      assert.equal(line.slice(0, 24), time.toISOString());
    }
  });
});

describe("hand-over or relay", () => {
  it("--stdio relays, whatever descriptor 1 is, without looking at it", () => {
    for (const stdout of [undefined, PIPE]) {
      const outcome = simulate(["--stdio", "unix/x"], stdout === undefined ? {} : { stdout });
      assert.equal(outcome.exit, 0);
      assert.deepEqual(outcome.relays, [{ socket: 3, in: 0, out: 1, flags: HALF_CLOSE }]);
      assert.equal(outcome.handedOver.length, 0);
      assert.ok(!outcome.calls.includes("fd_fdstat_get"));
    }
  });

  it("neither: the relay where descriptor 1 is no unix stream socket", () => {
    for (const stdout of [PIPE, { filetype: 5, family: 3 }, { filetype: 6, family: 40 }]) {
      const outcome = simulate(["unix/x"], { stdout });
      assert.deepEqual([outcome.relays.length, outcome.handedOver.length], [1, 0]);
    }
    assert.equal(simulate(["unix/x"]).handedOver.length, 1);
  });

  const closes: [string, string[], number][] = [
    ["auto", ["unix/x"], HALF_CLOSE],
    ["auto", ["unix-abstract/x"], HALF_CLOSE],
    ["auto", ["vsock/3"], HALF_CLOSE],
    ["auto", [".host"], HALF_CLOSE],
    ["auto", ["vsock-mux/x"], 0],
    ["always", ["vsock-mux/x"], HALF_CLOSE],
    ["always", ["unix/x"], HALF_CLOSE],
    ["never", ["unix/x"], 0],
    ["never", ["vsock/3"], 0],
  ];
  for (const [when, args, flags] of closes) {
    it(`--half-close=${when} for ${args.join()}: ${flags === 0 ? "the end of stdin stays here" : "passed on"}`, () => {
      const world = { stdout: PIPE, answer: [OK] };
      assert.equal(simulate([`--half-close=${when}`, ...args], world).relays[0]?.flags, flags);
      if (when === "auto") assert.equal(simulate(args, world).relays[0]?.flags, flags);
    });
  }
  it("--half-close with anything else is refused", () => {
    for (const value of ["", "Auto", "yes", "auto ", "always never", "a"]) {
      const outcome = simulate([`--half-close=${value}`, "unix/x"]);
      fails(outcome, 64, /: it is auto, always or never \(see --help\)/);
    }
  });

  const ends: [number, number, number, RegExp][] = [
    [3, errno.PIPE, 69, /connection closed by the machine before it took everything/],
    [3, errno.CONNRESET, 69, /connection closed by the machine before it took everything/],
    [3, errno.NOBUFS, 71, /out of memory/],
    [3, errno.IO, 71, /system error: WASI errno 29, from sock_relay/],
    [0, errno.ISDIR, 71, /standard input cannot be read: WASI errno 31/],
    [0, errno.IO, 71, /standard input cannot be read: WASI errno 29/],
    [1, errno.PIPE, 71, /nobody reads standard output any more/],
    [1, errno.CONNRESET, 71, /nobody reads standard output any more/],
    [1, errno.NOSPC, 71, /standard output takes no more \(is the disk full\?\): WASI errno 51/],
    [1, errno.NOMEM, 71, /out of memory/],
  ];
  for (const [fd, error, exit, text] of ends) {
    it(`descriptor ${fd} ends the relay with errno ${error}: exit ${exit}`, () => {
      fails(simulate(["--stdio", "unix/x"], { relayEnd: { fd, error } }), exit, text);
    });
  }
  it("a relay that cannot begin: exit 71", () => {
    for (const error of [errno.NOMEM, errno.IO]) {
      const world = { fails: { sock_relay: [error] } };
      fails(simulate(["--stdio", "unix/x"], world), 71, /out of memory|from sock_relay/);
    }
  });
});

describe("as a process", { timeout: 300_000 }, () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(path.join(tmpdir(), "options-"));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });

  function run(args: string[], variable?: string) {
    const command = [...proxyCommand(), ...args];
    const record = beginRun(command);
    const env = { ...process.env, ...record.env };
    if (variable !== undefined) env["SSH_VSOCK_PROXY_OPTIONS"] = variable;
    const { status, stdout, stderr } = spawnSync(command[0] as string, command.slice(1), {
      encoding: "latin1",
      env,
      timeout: 60_000,
    });
    record.end(status, stderr);
    return { status, stdout, stderr };
  }
  const stamped = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(\d+)\] ssh-vsock-proxy: /;

  it("takes the variable from the environment, as bytes", () => {
    const log = path.join(folder, "from variable");
    const { status, stdout, stderr } = run([`unix${folder}/nope`], `--log-file '${log}'`);
    assert.deepEqual([status, stdout], [68, ""]);
    const lines = readFileSync(log, "latin1").trimEnd().split("\n");
    assert.equal(lines.length, 2);
    assert.equal(`${lines[1]?.replace(/^\S+ \S+ /, "")}\n`, stderr);
    for (const line of lines) assert.match(line, stamped);
  });

  it("keeps it by the name of the variable", () => {
    const { status, stderr } = run(["unix/nope"], "--nope");
    assert.equal(status, 64);
    assert.match(stderr, /^ssh-vsock-proxy: SSH_VSOCK_PROXY_OPTIONS: --nope: unknown option/);
  });

  it("makes the log for its owner alone, appends, and tells the process and the time", async () => {
    const log = path.join(folder, "log");
    const command = [...proxyCommand(), `--log-file=${log}`, `unix${folder}/nope`];
    const begun = Date.now();
    const record = beginRun(command);
    const child = spawn(command[0] as string, command.slice(1), {
      env: { ...process.env, ...record.env },
    });
    const [status] = (await once(child, "close")) as [number];
    record.end(status, "");
    assert.equal(status, 68);
    assert.equal(statSync(log).mode & 0o777, 0o600);
    const [first = ""] = readFileSync(log, "latin1").split("\n");
    assert.equal(Number(stamped.exec(first)?.[1]), child.pid);
    const time = Date.parse(first.slice(0, 24));
    assert.ok(time >= begun - 1 && time <= Date.now() + 1, first);

    const before = readFileSync(log);
    chmodSync(log, 0o640);
    run([`--log-file=${log}`, `unix${folder}/nope`]);
    const behind = readFileSync(log);
    assert.ok(behind.length > before.length && behind.subarray(0, before.length).equals(before));
    assert.equal(statSync(log).mode & 0o777, 0o640);
  });

  it("takes a relative path from its own folder on", () => {
    const command = [...proxyCommand(), "--log-file", "relative", "unix/nope/nope"];
    const options = { cwd: folder, timeout: 60_000 };
    const { status } = spawnSync(command[0] as string, command.slice(1), options);
    assert.equal(status, 68);
    assert.equal(readFileSync(path.join(folder, "relative"), "latin1").split("\n").length, 3);
  });

  const hopeless: Record<string, [() => string, number]> = {
    "a folder that is not there": [() => path.join(folder, "no/log"), 44],
    "a folder": [() => folder, 31],
    "below a file": [
      () => {
        writeFileSync(path.join(folder, "file"), "");
        return path.join(folder, "file/log");
      },
      54,
    ],
    "a FIFO that nobody reads": [
      () => {
        const fifo = path.join(folder, "fifo");
        spawnSync("mkfifo", [fifo]);
        return fifo;
      },
      60,
    ],
    "a name that is too long": [() => path.join(folder, "x".repeat(300)), 37],
  };
  for (const [what, [make, error]] of Object.entries(hopeless)) {
    it(`a log file that is ${what}: 71`, () => {
      const { status, stderr } = run(["--log-file", make(), "unix/nope"]);
      assert.equal(status, 71, stderr);
      assert.match(stderr, new RegExp(`cannot be opened for appending: WASI errno ${error}`));
    });
  }

  for (const log of ["--log-file=", `--log-file=/${"x".repeat(4095)}`]) {
    it(`${log.slice(0, 14)}… of ${log.length - 11} bytes is no path: 64`, () => {
      const { status, stderr } = run([log, `unix${folder}/nope`]);
      assert.equal(status, 64, stderr);
      assert.match(stderr, /^ssh-vsock-proxy: --log-file=[^\n]*\n$/);
    });
  }

  it("a log that is full is no failure", () => {
    const { status, stderr } = run(["--log-file", "/dev/full", `unix${folder}/nope`]);
    assert.equal(status, 68);
    assert.match(stderr, /no such socket/);
  });

  it("a log in a folder with any byte in its name", () => {
    const odd = path.join(folder, "käse b");
    mkdirSync(odd);
    run(["--log-file", path.join(odd, "log"), "unix/nope"]);
    assert.ok(statSync(path.join(odd, "log")).size > 0);
  });
});
