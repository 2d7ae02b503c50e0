import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { AT, Program } from "./shim";

const folder = makeFolder("shim");

/** Calls log_open. @returns its errno */
function open(it: Program, file: string): number {
  const bytes = Buffer.from(file);
  it.bytes(AT.address, bytes.length).set(bytes);
  return it.call("log_open", AT.address, bytes.length, AT.result);
}

describe("log_open", () => {
  it("opens a file to append to, and returns the process's number", () => {
    const file = path.join(folder, "log");
    writeFileSync(file, "before\n");
    const it = new Program();
    assert.equal(open(it, file), 0);
    assert.deepEqual([it.result, it.view.getUint32(AT.result + 4, true)], [3, process.pid]);
    it.bytes(AT.data, 6).write("after\n");
    it.iovec(6);
    assert.equal(it.call("fd_write", 3, AT.iovs, 1, AT.result), 0);
    it.shim.close();
    assert.equal(readFileSync(file, "utf8"), "before\nafter\n");
  });
  it("creates a file that only its owner can read", () => {
    const it = new Program();
    assert.equal(open(it, path.join(folder, "new")), 0);
    it.shim.close();
    assert.equal(statSync(path.join(folder, "new")).mode & 0o777, 0o600);
  });
  it("returns NXIO at once for a FIFO without a reader", () => {
    const fifo = path.join(folder, "fifo");
    assert.equal(spawnSync("mkfifo", [fifo]).status, 0);
    assert.equal(open(new Program(), fifo), errno("NXIO"));
  });
  it("returns different errnos for a missing folder, a folder, a long path and a NUL", () => {
    const it = new Program();
    assert.equal(open(it, path.join(folder, "nope/log")), errno("NOENT"));
    assert.equal(open(it, folder), errno("ISDIR"));
    assert.equal(open(it, "/" + "x".repeat(4095)), errno("NAMETOOLONG"));
    assert.equal(open(it, `${folder}/a\0b`), errno("INVAL"));
  });
});
