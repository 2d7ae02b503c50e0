// Signals: none ends the process or a call (tests/shim/shim-signals.c).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";
import { root } from "../support/proxy";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";

const DEADLINE_MS = 300;

describe("under signals", () => {
  const folder = makeFolder("shim");
  const calls = new Map<string, { error: number; ms: number }>();
  let signal: string | null;

  before(() => {
    const program = path.join(folder, "shim-signals");
    const flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-o", program];
    const sources = readdirSync(path.join(root, "native/shim")).filter((name) =>
      name.endsWith(".c"),
    );
    const files = [...sources.map((name) => `native/shim/${name}`), "tests/shim/shim-signals.c"];
    const built = spawnSync("cc", [...flags, ...files], { cwd: root, encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    // Where a signal moves the deadline, the wait has no end.
    const options = { encoding: "utf8", timeout: 100 * DEADLINE_MS } as const;
    const run = spawnSync(program, [path.join(folder, "socket")], options);
    signal = run.signal;
    for (const line of run.stdout.trimEnd().split("\n")) {
      const [name = "", error, ms] = line.split(" ");
      calls.set(name, { error: Number(error), ms: Number(ms) });
    }
  });

  it("no call ends the process", () => {
    assert.equal(signal, null);
  });
  for (const name of ["sock_send", "sock_send_fds"]) {
    it(`${name} to a peer that is gone answers PIPE`, () => {
      assert.equal(calls.get(name)?.error, errno("PIPE"));
    });
  }
  it("poll_oneoff waits to its deadline", () => {
    const call = calls.get("poll_oneoff");
    assert.equal(call?.error, errno("SUCCESS"));
    assert.ok(call.ms >= DEADLINE_MS, `${call.ms} ms`);
  });
  it("sock_connect waits to its deadline for room in a full queue", () => {
    const call = calls.get("sock_connect");
    assert.equal(call?.error, errno("TIMEDOUT"));
    assert.ok(call.ms >= DEADLINE_MS, `${call.ms} ms`);
  });
});
