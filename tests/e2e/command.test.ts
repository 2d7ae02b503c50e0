// The command line, SSH_VSOCK_PROXY_OPTIONS and the log file, as the host passes them to the program.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";

import { Code, Exit } from "../../assembly/codes";
import { makeCase } from "../support/case";
import type { Case } from "../support/case";
import { checkOutcome } from "../support/outcome";
import { proxyCommand, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { tool } from "../support/tools";

interface Ran {
  status: number | null;
  stdout: string;
  stderr: string;
}

function run(args: readonly string[], variable?: string): Ran {
  const [program = "", ...words] = [...proxyCommand(), ...args];
  const env = { ...process.env, SSH_VSOCK_PROXY_OPTIONS: variable };
  return spawnSync(program, words, { encoding: "latin1", env, timeout: 60_000 });
}

function check(ran: Ran, what: Partial<Case>): void {
  const stderr = Buffer.from(ran.stderr, "latin1");
  const one = makeCase({ name: "command", ...what });
  checkOutcome(one, { exit: ran.status, stderr, relayed: Buffer.from(ran.stdout) });
  assert.equal(ran.stdout, "");
}

const folder = makeFolder("command");
const missing = `unix${folder}/missing`;

describe("the command line", { timeout: 300_000 }, () => {
  it("--help and --version write to stderr", () => {
    for (const option of ["--help", "-h"]) {
      const ran = run([option]);
      assert.deepEqual([ran.status, ran.stdout], [0, ""]);
      assert.match(ran.stderr, /^Usage: ssh-vsock-proxy /);
      for (const status of Object.values(Exit).filter((value) => typeof value === "number"))
        assert.match(ran.stderr, new RegExp(`[ \\n]${status} \\w`));
    }
    const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
      version: string;
    };
    for (const option of ["--version", "-V"]) {
      const { status, stdout, stderr } = run([option]);
      assert.deepEqual([status, stdout], [0, ""]);
      assert.equal(stderr, `ssh-vsock-proxy ${version}\n`);
    }
  });
});

describe("SSH_VSOCK_PROXY_OPTIONS", { timeout: 300_000 }, () => {
  it("sets options", () => {
    const log = path.join(folder, "from variable");
    const ran = run([missing], `--log-file '${log}'`);
    check(ran, { subject: missing, code: Code.NoSocket });
    const lines = readFileSync(log, "latin1").trimEnd().split("\n");
    assert.equal(lines.length, 2);
    assert.equal(`${lines[1]?.replace(/^\S+ \S+ /, "")}\n`, ran.stderr);
    for (const line of lines) assert.match(line, stamped);
  });
});

describe("an executable with more privileges than who started it", { timeout: 300_000 }, () => {
  const log = path.join(folder, "privileged");
  const env = { ...process.env, SSH_VSOCK_PROXY_OPTIONS: `--log-file='${log}'` };
  /** Runs it, and asserts that it fails to connect, and has a log or none. */
  function ran(command: readonly string[], hasLog: boolean): void {
    const [program, ...words] = [...command, missing];
    const { status, stderr } = spawnSync(program, words, { encoding: "latin1", env });
    assert.deepEqual([status, existsSync(log)], [68, hasLog], stderr);
    rmSync(log, { force: true });
  }
  it("does not read the environment", () => {
    const atSecure = path.join(root, "tests/support/at-secure.py");
    ran(proxyCommand(), true);
    ran([tool("python3"), atSecure, ...proxyCommand()], false);
  });
  // Only root can make such a file. For other users, the test above simulates it with at-secure.py.
  const [program = "", ...others] = proxyCommand();
  if (process.getuid?.() === 0 && others.length === 0) {
    it("does not read the environment where its file is setgid", () => {
      const copy = path.join(folder, "setgid");
      copyFileSync(program, copy);
      chownSync(copy, 0, 65534);
      ran([copy], true);
      chmodSync(copy, 0o2755);
      ran([copy], false);
    });
  }
});

const stamped = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[(\d+)\] ssh-vsock-proxy: /;

describe("--log-file", { timeout: 300_000 }, () => {
  it("makes the file for its owner alone, appends, and writes the process and the time", async () => {
    const log = path.join(folder, "log");
    const [program, ...words] = [...proxyCommand(), `--log-file=${log}`, missing];
    const startMs = Date.now();
    const child = spawn(program, words, { stdio: ["ignore", "pipe", "ignore"] });
    assert.deepEqual(await once(child, "close"), [68, null]);
    assert.equal(statSync(log).mode & 0o777, 0o600);
    const [first = ""] = readFileSync(log, "latin1").split("\n");
    assert.equal(Number(stamped.exec(first)?.[1]), child.pid);
    const timeMs = Date.parse(first.slice(0, 24));
    assert.ok(timeMs >= startMs - 1 && timeMs <= Date.now() + 1, first);

    const before = readFileSync(log);
    chmodSync(log, 0o640);
    run([`--log-file=${log}`, missing]);
    const after = readFileSync(log);
    assert.ok(after.length > before.length && after.subarray(0, before.length).equals(before));
    assert.equal(statSync(log).mode & 0o777, 0o640);
  });

  it("takes a relative path, and a path with any bytes", () => {
    const odd = path.join(folder, "käse b");
    mkdirSync(odd);
    const [program, ...words] = [...proxyCommand(), "--log-file", "relative", missing];
    assert.equal(spawnSync(program, words, { cwd: odd, timeout: 60_000 }).status, 68);
    assert.equal(readFileSync(path.join(odd, "relative"), "latin1").split("\n").length, 3);
    run(["--log-file", path.join(odd, "log"), missing]);
    assert.ok(statSync(path.join(odd, "log")).size > 0);
  });

  const failures: Record<string, [() => string, Code]> = {
    "in a missing folder": [() => path.join(folder, "no/log"), Code.LogNoDirectory],
    "that is a folder": [() => folder, Code.LogIsDirectory],
    "below a file": [
      () => {
        writeFileSync(path.join(folder, "file"), "");
        return path.join(folder, "file/log");
      },
      Code.LogNotDirectory,
    ],
    "that is a FIFO without a reader": [
      () => {
        const fifo = path.join(folder, "fifo");
        assert.equal(spawnSync("mkfifo", [fifo]).status, 0);
        return fifo;
      },
      Code.LogNoReader,
    ],
    "that is a link to itself": [
      () => {
        symlinkSync("loop", path.join(folder, "loop"));
        return path.join(folder, "loop");
      },
      Code.LogSymlinkLoop,
    ],
    "with a name that is too long": [() => path.join(folder, "x".repeat(300)), Code.LogNameTooLong],
    // Root may write everywhere else.
    "that is a second name in a folder such as /tmp": [
      () => {
        const shared = path.join(folder, "shared");
        mkdirSync(shared);
        chmodSync(shared, 0o1777);
        writeFileSync(path.join(shared, "file"), "");
        linkSync(path.join(shared, "file"), path.join(shared, "log"));
        return path.join(shared, "log");
      },
      Code.LogForbidden,
    ],
  };
  for (const [what, [make, code]] of Object.entries(failures)) {
    it(`a path ${what}: ${Code[code]}`, () => {
      const log = make();
      const ran = run(["--log-file", log, missing]);
      check(ran, { subject: log, code, log: { path: log, subject: log } });
    });
  }

  // What descriptors 0 and 1 are, and the log; F is a file, P a FIFO that someone reads.
  const stdio: [redirections: string, log: string, isStdio: boolean][] = [
    ['>"$F"', "$F", true],
    ['<"$F"', "$F", true],
    ['>"$F"', "$F.link", true],
    ['>"$F"', "$F.second", true],
    ['>"$F"', "/dev/stdout", true],
    ['>"$F"', "/proc/self/fd/1", true],
    ['>"$P"', "/dev/fd/1", true],
    ['<>"$P"', "/dev/stdin", true],
    ['<"$P" >"$F"', "$P", true],
    [">/dev/full", "/dev/full", true],
    ['2>"$P" >"$F"', "/dev/stderr", false],
    ['>"$F" 2>&1', "/dev/stderr", true],
    [">/dev/null </dev/null", "/dev/null", false],
    ['<"$F"', "$F.other", false],
  ];
  for (const [redirections, log, isStdio] of stdio) {
    it(`${log}, with ${redirections}: ${isStdio ? "LogIsStdio" : "a log"}`, () => {
      const own = mkdtempSync(path.join(folder, "stdio-"));
      const script = `
        F=$1/file P=$1/fifo; shift
        : >"$F"; mkfifo "$P"; ln -s file "$F.link"; ln "$F" "$F.second"
        exec 9<>"$P"
        "$@" --stdio --log-file="${log}" "${missing}" ${redirections}
        status=$?; cat "$F"; exit $status`;
      const words = ["-c", script, "sh", own, ...proxyCommand()];
      const ran = spawnSync("/bin/sh", words, { encoding: "latin1", timeout: 60_000 });
      assert.equal(ran.status, isStdio ? 64 : 68, ran.stderr);
      const line =
        /^ssh-vsock-proxy: [^\n]*: the log file is standard input or output itself[^\n]*\n$/;
      const both = ran.stdout + ran.stderr;
      if (isStdio) assert.match(both, line);
      if (!redirections.includes("2>")) assert.equal(ran.stdout, "");
    });
  }
  // By TIOCGDEV, which the emulator of arm64 does not have.
  const tty = process.env["PROXY_HOST"] === "arm64" ? Code.NoSocket : Code.LogIsStdio;
  it(`a terminal that is standard output, by the name /dev/tty: ${Code[tty]}`, () => {
    const spawnPty =
      "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    const words = [...proxyCommand(), "--stdio", "--log-file=/dev/tty", missing];
    const options = { encoding: "latin1", timeout: 60_000 } as const;
    const ran = spawnSync(tool("python3"), ["-c", spawnPty, ...words], options);
    assert.equal(ran.status, tty === Code.NoSocket ? Exit.NoHost : Exit.Usage, ran.stdout);
    if (tty === Code.NoSocket) return;
    assert.match(ran.stdout, /^ssh-vsock-proxy: \/dev\/tty: the log file is [^\n]*\n$/);
  });

  it("a full device: the failure of the connection, and its exit status", () => {
    check(run(["--log-file", "/dev/full", missing]), { subject: missing, code: Code.NoSocket });
  });
});
