// What only the Node host has: the arguments' bytes that Node has decoded, and the addon that may be
// missing.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";

import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";

function run(args: string[], env: NodeJS.ProcessEnv) {
  const words = [path.join(root, "dist/cli.cjs"), ...args];
  return spawnSync(process.execPath, words, {
    encoding: "latin1",
    env: { ...process.env, ...env },
  });
}

describe("the Node host", () => {
  it("takes its arguments from Node where process.title has overwritten them", () => {
    const env = { NODE_OPTIONS: "--title=something" };
    assert.match(run(["unix/käse"], env).stderr, /: unix\/k\xc3\xa4se: no such socket/);
    assert.match(run(["unix/\ufffd"], env).stderr, /its bytes are lost/);
  });

  it("without its addon says what can be done", () => {
    const folder = makeFolder("node-host");
    copyFileSync(path.join(root, "dist/cli.cjs"), path.join(folder, "cli.cjs"));
    const args = [path.join(folder, "cli.cjs"), "unix/x"];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.deepEqual({ status, stdout }, { status: 71, stdout: "" });
    assert.match(stderr, /^ssh-vsock-proxy: the native addon did not load: /);
    const [, command = ""] = /Possible solutions:\n- build it: (.*)\n- /.exec(stderr) ?? [];

    // And the first of them is one.
    const package_ = path.join(folder, "it's here");
    for (const name of ["package.json", "native", "scripts"]) {
      cpSync(path.join(root, name), path.join(package_, name), { recursive: true });
    }
    symlinkSync(path.join(root, "node_modules"), path.join(package_, "node_modules"));
    mkdirSync(path.join(package_, "dist"));
    copyFileSync(path.join(root, "dist/cli.cjs"), path.join(package_, "dist/cli.cjs"));
    const moved = [path.join(package_, "dist/cli.cjs"), "unix/x"];
    const said = spawnSync(process.execPath, moved, { encoding: "utf8" }).stderr;
    const [, advice = ""] = /- build it: (.*)\n/.exec(said) ?? [];
    assert.ok(command.startsWith("npm ") && advice.startsWith("npm "), said);
    const built = spawnSync("/bin/sh", ["-c", advice], { encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    assert.match(spawnSync(process.execPath, moved, { encoding: "utf8" }).stderr, /no such socket/);
  });
});
