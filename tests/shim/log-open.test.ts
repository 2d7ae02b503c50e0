import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { AT, Program, inChild } from "./shim";

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

  // Rule 1 of log.c, in a folder as /tmp is. Only root can put another user's file there; an ordinary
  // user sees the same of a file with a second name.
  const shared = path.join(folder, "shared");
  const [target, made] = [path.join(folder, "target"), path.join(folder, "made")];
  type Make = (at: string) => void;
  const file: Make = (at) => {
    writeFileSync(at, "");
  };
  const secondName: Make = (at) => {
    linkSync(target, at);
  };
  const link = (to: string): Make => {
    return (at) => {
      symlinkSync(to, at);
    };
  };
  /** What is there, and which of it, or with "" the folder, is another user's. */
  const places: [what: string, error: string, make: Record<string, Make>, others?: string[]][] = [
    ["nothing", "SUCCESS", {}],
    ["a file", "SUCCESS", { log: file }],
    ["a link to a file", "SUCCESS", { log: link(target) }],
    ["a relative link to a link", "SUCCESS", { log: link("other"), other: link(target) }],
    ["a link to no file", "SUCCESS", { log: link(made) }],
    ["a link to /dev/null", "SUCCESS", { log: link("/dev/null") }],
    ["a link to /proc/self/fd", "SUCCESS", { log: link("/proc/self/fd/2") }],
    ["a link to itself", "LOOP", { log: link("log") }],
    ["a second name of a file", "ACCES", { log: secondName }],
    ["a link to a second name", "ACCES", { log: link("other"), other: secondName }],
  ];
  const placesOfRoot: typeof places = [
    ["another's link", "ACCES", { log: link(target) }, ["log"]],
    ["another's link to no file", "ACCES", { log: link(made) }, ["log"]],
    ["a link to another's", "ACCES", { log: link("other"), other: link(target) }, ["other"]],
    ["another's file", "ACCES", { log: file }, ["log"]],
    ["a file in another's folder", "SUCCESS", { log: file }, [""]],
    ["the folder's owner's link", "SUCCESS", { log: link(target) }, ["log", ""]],
    ["the folder's owner's file", "SUCCESS", { log: file }, ["log", ""]],
  ];
  if (process.getuid?.() === 0) places.push(...placesOfRoot);
  for (const [what, error, make, others = []] of places) {
    it(`returns ${error} in a sticky folder that all may write to, with ${what}`, async () => {
      for (const each of [shared, target, made]) rmSync(each, { recursive: true, force: true });
      mkdirSync(shared);
      chmodSync(shared, 0o1777);
      writeFileSync(target, "");
      for (const [name, write] of Object.entries(make)) write(path.join(shared, name));
      for (const name of others) lchownSync(path.join(shared, name), 65534, 65534);
      // stderr is a file there.
      const script = `
        const it = new Program();
        const bytes = Buffer.from(${JSON.stringify(path.join(shared, "log"))});
        it.bytes(AT.address, bytes.length).set(bytes);
        console.log(it.call("log_open", AT.address, bytes.length, AT.result));`;
      const { stdout } = await inChild(script, `2>${folder}/stderr`);
      assert.equal(stdout, `${errno(error)}\n`);
      assert.equal(existsSync(made), what === "a link to no file");
    });
  }
});
