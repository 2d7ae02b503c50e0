// The calls of wasi_snapshot_preview1 that are no sockets' own.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import path from "node:path";
import { root } from "../support/proxy";
import { errno } from "../support/errno";
import { AT, Program } from "../support/shim";

const CLOCK = 0;
const READ = 1;
const WRITE = 2;
const ABSTIME = 1;
const MS = 1_000_000n;

/** Runs a piece of TypeScript that has `Program` and `AT`, in a process of its own. */
function inChild(source: string) {
  const shim = path.join(root, "tests/support/shim.ts");
  const script = `const { Program, AT } = require(${JSON.stringify(shim)});\n${source}`;
  return spawnSync(process.execPath, ["--import", "tsx", "-e", script], {
    encoding: "utf8",
    cwd: root,
  });
}

describe("args_sizes_get, args_get", () => {
  it("give the arguments as the bytes that they are", () => {
    const args = [Buffer.from("name"), Buffer.from(""), Buffer.from("\xff\x01 ü", "latin1")];
    const it = new Program(args);
    assert.equal(it.call("args_sizes_get", 16, 24), 0);
    const size = it.view.getUint32(24, true);
    assert.deepEqual([it.view.getUint32(16, true), size], [3, 5 + 1 + 5]);
    assert.equal(it.call("args_get", 64, 1024), 0);
    assert.deepEqual(it.bytes(1024, size), Buffer.from("name\0\0\xff\x01 ü\0", "latin1"));
    const pointers = [0, 1, 2].map((i) => it.view.getUint32(64 + 4 * i, true));
    assert.deepEqual(pointers, [1024, 1029, 1030]);
  });
});

describe("clock_time_get", () => {
  it("knows the wall clock and the monotonic one, in nanoseconds", () => {
    const it = new Program();
    assert.equal(it.call("clock_time_get", 0, 0n, AT.result), 0);
    const wall = Number(it.view.getBigUint64(AT.result, true) / MS);
    assert.ok(Math.abs(wall - Date.now()) < 60_000);
    const before = process.hrtime.bigint();
    const now = it.now();
    assert.ok(now >= before && now <= process.hrtime.bigint());
  });
  it("answers INVAL for other clocks", () => {
    for (const clock of [2, 3, 0xffff_ffff]) {
      assert.equal(new Program().call("clock_time_get", clock, 0n, 16), errno("INVAL"));
    }
  });
});

describe("fd_write, proc_exit", () => {
  it("write what the buffers hold, in their order, and end with the status", () => {
    const { stdout, stderr, status } = inChild(`
      const it = new Program();
      it.bytes(AT.data, 8).write("one two ");
      for (const [i, at, length] of [[0, 4, 3], [1, 0, 0], [2, 3, 1], [3, 0, 3]]) {
        it.view.setUint32(AT.iovs + 8 * i, AT.data + at, true);
        it.view.setUint32(AT.iovs + 8 * i + 4, length, true);
      }
      const error = it.call("fd_write", 2, AT.iovs, 4, AT.result);
      it.call("proc_exit", error * 1000 + it.result);
      console.log("not reached");
    `);
    assert.deepEqual({ stdout, stderr, status }, { stdout: "", stderr: "two one", status: 7 });
  });
  it("proc_exit keeps the low byte", () => {
    assert.equal(inChild(`new Program().call("proc_exit", 0xffffff4d)`).status, 0x4d);
  });
});

describe("fd_fdstat_get", () => {
  const types: [what: string, redirection: string, error: number, type: number][] = [
    ["a regular file", "< package.json", errno("SUCCESS"), 4],
    ["a character device", "< /dev/zero", errno("SUCCESS"), 2],
    ["a directory", "< .", errno("SUCCESS"), 3],
    ["a stream socket, which spawn gives", "", errno("SUCCESS"), 6],
    ["/dev/null", "< /dev/null", errno("BADF"), 0],
    ["a closed descriptor", "<&-", errno("BADF"), 0],
  ];
  for (const [what, redirection, error, type] of types) {
    it(`tells ${what} by errno ${error}, type ${type}`, () => {
      const shim = path.join(root, "tests/support/shim.ts");
      const script = `
        const it = new (require(${JSON.stringify(shim)}).Program)();
        const error = it.call("fd_fdstat_get", 0, 1024);
        console.error(error, it.view.getUint8(1024));`;
      const child = spawnSync(
        "/bin/sh",
        ["-c", `exec "$0" --import tsx -e "$1" ${redirection}`, process.execPath, script],
        { encoding: "utf8", cwd: root },
      );
      assert.equal(child.stderr, `${error} ${type}\n`);
    });
  }
});

describe("poll_oneoff", () => {
  it("waits for a clock, relative or absolute, and not less", () => {
    const it = new Program();
    for (const flags of [0, ABSTIME]) {
      const start = it.now();
      it.subscribe(0, CLOCK, 1, flags === 0 ? 30n * MS : start + 30n * MS, flags);
      assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
      assert.ok(it.now() - start >= 30n * MS);
    }
  });
  it("waits by the wall clock, too", () => {
    const it = new Program();
    const start = it.now();
    it.subscribe(0, CLOCK, 0, BigInt(Date.now() + 30) * MS, ABSTIME);
    assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
    // Date.now() is a whole millisecond, and the two clocks may differ in pace.
    assert.ok(it.now() - start >= 28n * MS);
  });
  it("takes a time that has passed, 0 included, for due", () => {
    const it = new Program();
    for (const time of [0n, 1n, it.now() - 1n]) {
      it.subscribe(0, CLOCK, 1, time, ABSTIME);
      it.subscribe(1, CLOCK, 1, 0xffff_ffff_ffff_ffffn, 0);
      assert.deepEqual(it.poll(2), [{ userdata: 1000, error: 0, type: CLOCK, flags: 0 }]);
    }
  });
  it("answers for an unknown descriptor at once", () => {
    const it = new Program();
    it.subscribe(0, READ, 9);
    it.subscribe(1, CLOCK, 1, 60_000n * MS);
    assert.deepEqual(it.poll(2), [{ userdata: 1000, error: errno("BADF"), type: READ, flags: 0 }]);
  });
  it("reports a socket that nobody connected as hung up", () => {
    const it = new Program();
    it.subscribe(0, WRITE, it.open());
    assert.deepEqual(it.poll(1), [{ userdata: 1000, error: 0, type: WRITE, flags: 1 }]);
    it.shim.close();
  });
  it("answers INVAL for no subscriptions, too many, and unknown types and clocks", () => {
    const it = new Program();
    assert.equal(it.poll(0), errno("INVAL"));
    assert.equal(it.poll(17), errno("INVAL"));
    it.subscribe(0, 3, 0);
    assert.equal(it.poll(1), errno("INVAL"));
    it.subscribe(0, CLOCK, 2);
    assert.equal(it.poll(1), errno("INVAL"));
  });
});
