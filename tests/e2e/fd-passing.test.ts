// The hand-over itself, as ssh sees it: one byte and one descriptor, or nothing and a reason.
// Source: sshconnect.c (ssh_proxy_fdpass_connect) and monitor_fdpass.c (mm_receive_fd) of
// openssh-portable.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { greeting, listen } from "../support/listener";
import type { Listener } from "../support/listener";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { fakeSsh, untouched } from "../support/fake-ssh";
import type { Outcome, FakeSshOptions } from "../support/fake-ssh";
import { proxyCommand } from "../support/proxy";
import { forgetRun } from "../support/record";

const AF_UNIX = 1;

describe("the hand-over", { timeout: 600_000 }, () => {
  let folder: string;
  let listener: Listener;
  let multiplexer: Multiplexer;
  let routes: Record<"unix" | "long" | "vsock-mux", string>;
  let ofNode: Promise<string[]> | undefined;
  const cleanUps: (() => unknown)[] = [];

  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "handover-"));
    cleanUps.unshift(() => {
      rmSync(folder, { recursive: true, force: true });
    });
    const near = path.join(folder, "s");
    const far = path.join(folder, "d".repeat(200), "s");
    mkdirSync(path.dirname(far));
    listener = await listen(near);
    cleanUps.unshift(() => listener.close());
    const farListener = await listen(far);
    cleanUps.unshift(() => farListener.close());
    multiplexer = await startMultiplexer(near);
    cleanUps.unshift(() => multiplexer.close());
    const firecracker = multiplexer.socket("firecracker");
    routes = { unix: `unix${near}`, long: `unix${far}`, "vsock-mux": `vsock-mux${firecracker}` };
  });
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  function proxy(route: keyof typeof routes, options?: FakeSshOptions, flags: string[] = []) {
    return fakeSsh([...proxyCommand(), ...flags, routes[route], "22"], options);
  }

  const text = "to and fro";
  const talk = { write: Buffer.from(text), readBytes: greeting.length + text.length };

  /** All that ssh may see, and that the socket leads to the listener. */
  function handedOver(outcome: Outcome): void {
    assert.equal(outcome.stderr, "");
    const { exit, signal, bytes, firstByte, fds } = outcome;
    assert.deepEqual(
      { exit, signal, bytes, firstByte, fds },
      { exit: 0, signal: null, bytes: 1, firstByte: 0, fds: 1 },
    );
    const socket = { ...outcome.socket };
    delete socket.peerPath;
    assert.deepEqual(socket, {
      family: AF_UNIX,
      ...untouched,
    });
    assert.equal(outcome.read?.toString(), greeting + text);
  }

  /** Nothing was handed over, and one line says why. */
  function failed(outcome: Outcome, exits: number[], reason: RegExp): void {
    const { exit, signal, bytes, fds, stderr } = outcome;
    assert.deepEqual({ signal, bytes, fds }, { signal: null, bytes: 0, fds: 0 }, stderr);
    assert.ok(exits.includes(exit ?? -1), `exit ${exit}: ${stderr}`);
    assert.match(stderr, /^ssh-vsock-proxy: [^\x00-\x1f\x7f]+\n$/);
    assert.match(stderr, reason);
  }

  for (const route of ["unix", "long", "vsock-mux"] as const) {
    it(`${route}: one byte, 0, and one blocking socket with every option as it was`, async () => {
      handedOver(await proxy(route, { ...talk, readMs: 20_000 }));
    });

    it(`${route}: no descriptor is open but 0, 1, 2, the socket and the host's own`, async () => {
      const [program] = proxyCommand();
      const own = program === process.execPath ? await (ofNode ??= nodesOwn()) : [];
      // Until the hand-over blocks, however slow this machine is just now.
      for (const holdMs of [1000, 5000, 20_000]) {
        const options = { ...talk, readMs: 20_000, holdMs, deadlineMs: 60_000 };
        const outcome = await proxy(route, options, ["--timeout", "60s"]);
        handedOver(outcome);
        const { 0: stdin, 1: stdout = "" } = outcome.openFds ?? {};
        assert.equal(stdin, stdout);
        const others = aboveStderr(outcome);
        if (!others.some((target) => target.startsWith("socket:"))) {
          forgetRun();
          continue;
        }
        assert.deepEqual(without(others.map(kind), own), ["socket"]);
        assert.ok(!others.includes(stdout), "fd 1 is open twice");
        return;
      }
      assert.fail("the hand-over was never seen");
    });
  }

  it("a queue towards ssh that stays full: 75", async () => {
    // The hold ends with the proxy.
    const outcome = await proxy("unix", { holdMs: 20_000 }, ["--timeout", "300ms"]);
    failed(outcome, [75], /ssh does not take the connection/);
    assert.equal(outcome.openFds, undefined);
    assert.ok(outcome.exitNs >= 300_000_000);
  });

  it("ssh is gone before the hand-over: an exit code and a line, no signal", async () => {
    failed(await proxy("unix", { gone: true }), [71], /nobody waits for the connection any more/);
  });

  it("ssh goes away in the middle of the hand-over: an exit code and a line, no signal", async () => {
    const outcome = await proxy("unix", { gone: true, holdMs: 3000 }, ["--timeout", "20s"]);
    failed(outcome, [71], /nobody waits for the connection any more/);
  });

  for (const stdout of ["dgram", "seqpacket", "tcp", "pipe", "tty", "file"] as const) {
    it(`--fdpass, and fd 1 is of another kind, ${stdout}: 64, and nothing is connected to`, async () => {
      const before = await listener.accepted();
      failed(await proxy("unix", { stdout }, ["--fdpass"]), [64], /ProxyUseFdpass/);
      assert.equal(await listener.accepted(), before);
    });
  }

  it("fd 1 is closed: 71, and nothing is connected to", async () => {
    const before = await listener.accepted();
    failed(await proxy("unix", { stdout: "closed" }), [71], /standard output is closed/);
    assert.equal(await listener.accepted(), before);
  });

  for (const stdin of ["null", "closed"] as const) {
    it(`fd 0 is not fd 1, but ${stdin}: the connection is handed over`, async () => {
      handedOver(await proxy("unix", { ...talk, readMs: 20_000, stdin }));
    });
  }

  it("stderr is closed: the connection is handed over", async () => {
    handedOver(await proxy("unix", { ...talk, readMs: 20_000, stderr: "closed" }));
  });

  for (const stderr of ["inherit", "closed"] as const) {
    it(`-v, and stderr is ${stderr}: the connection is handed over`, async () => {
      const outcome = await proxy("vsock-mux", { ...talk, readMs: 20_000, stderr }, ["-v"]);
      const steps = outcome.stderr.match(/^ssh-vsock-proxy: .* ms: .*\n/gm) ?? [];
      assert.equal(steps.length, stderr === "closed" ? 0 : 4, outcome.stderr);
      handedOver({ ...outcome, stderr: outcome.stderr.replace(steps.join(""), "") });
    });
  }

  it("stderr is closed: a failure has its exit code, and nothing goes elsewhere", async () => {
    const command = [...proxyCommand(), `unix${folder}/missing`, "22"];
    const outcome = await fakeSsh(command, { stderr: "closed" });
    const { exit, signal, bytes, fds } = outcome;
    assert.deepEqual({ exit, signal, bytes, fds }, { exit: 68, signal: null, bytes: 0, fds: 0 });
  });

  it("stdin and stderr are closed: the connection is handed over", async () => {
    const closed = { stdin: "closed", stderr: "closed" } as const;
    handedOver(await proxy("unix", { ...talk, readMs: 20_000, ...closed }));
  });
});

/** What the descriptors from 3 on are, during the hold. */
function aboveStderr({ openFds }: Outcome): string[] {
  const all = Object.entries(openFds ?? {});
  return all.filter(([fd]) => Number(fd) > 2).map(([, target]) => target);
}

/** What a descriptor is, without the number that tells it from others of its kind. */
function kind(target: string): string {
  return target.replace(/:\[\d+\]$/, "");
}

/** `list` without those of `others`, each as often as it stands there. */
function without(list: string[], others: string[]): string[] {
  const left = [...others];
  return list.filter((entry) => {
    const at = left.indexOf(entry);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** The kinds of descriptors that Node opens for itself: epoll, eventfd, pipes. */
async function nodesOwn(): Promise<string[]> {
  // It opens one more, a file, when all that it opens for itself is open.
  const up = path.join(realpathSync(mkdtempSync(path.join(tmpdir(), "node-"))), "up");
  const script = `fs.openSync(${JSON.stringify(up)}, "w"); setTimeout(() => {}, 60000)`;
  try {
    for (const holdMs of [1000, 5000, 20_000]) {
      const idle = [process.execPath, "-e", script];
      const targets = aboveStderr(await fakeSsh(idle, { holdMs, deadlineMs: holdMs + 1000 }));
      if (!targets.includes(up)) continue;
      const kinds = without(targets, [up]).map(kind);
      assert.ok(kinds.length > 0 && !kinds.includes("socket"), kinds.join());
      return kinds;
    }
  } finally {
    rmSync(path.dirname(up), { recursive: true });
  }
  return assert.fail("Node did not start");
}
