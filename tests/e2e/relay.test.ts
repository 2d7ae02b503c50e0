// The relay: bytes both ways between stdin, stdout and the socket, with real pipes and sockets.
// relay-stdio.test.ts has the other kinds of stdin and stdout, vsock.test.ts AF_VSOCK.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, readdirSync, readlinkSync, writeSync } from "node:fs";
import net from "node:net";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { cpuTicks, watchMemory } from "../support/processors";
import { all, proxyCommand } from "../support/proxy";
import { tool } from "../support/tools";
import { Peers, block, collect, digest, failed, fill, pump, schemes, settle, start } from "./relay";
import type { Relay, Scheme } from "./relay";

const MEBIBYTE = 1 << 20;
/** An emulated processor takes too long for more. */
const LARGE = (all && process.env["PROXY_HOST"] !== "arm64" ? 1024 : 64) * MEBIBYTE;
/** CLIENT_EXIT_GRACE of native/shim/relay.c. */
const CLIENT_EXIT_GRACE_MS = 100;
/** Long enough to see that a process uses no processor time. */
const IDLE_MS = 300;
/** For an event that must not come. */
const NEVER_MS = 50;

const clean = { exit: 0, signal: null, stderr: "" };

describe("the relay", { timeout: 600_000 }, () => {
  const peers = new Peers();
  before(() => peers.start());
  after(() => peers.close());

  for (const scheme of ["unix", "cloud-hypervisor"] as const) {
    it(`${scheme}: ${LARGE / MEBIBYTE} MiB up, unchanged, in constant memory`, async () => {
      // By default a multiplexer is not told of the end.
      const it = await peers.relay(scheme, ["--half-close=always"]);
      const received = digest(it.peer);
      const memory = watchMemory(it.pid);
      const sent = await pump(it.stdin, LARGE, memory.look);
      assert.deepEqual(await received, { sum: sent, size: LARGE });
      memory.assertConstant();
      it.peer.end();
      assert.equal((await it.output).length, 0);
      assert.deepEqual(await it.ended, clean);
    });

    it(`${scheme}: ${LARGE / MEBIBYTE} MiB down, unchanged, in constant memory`, async () => {
      const it = await peers.relay(scheme);
      it.stdout.removeAllListeners("data");
      const received = digest(it.stdout);
      const memory = watchMemory(it.pid);
      const sent = await pump(it.peer, LARGE, memory.look);
      assert.deepEqual(await received, { sum: sent, size: LARGE });
      memory.assertConstant();
      it.stdin.end();
      it.peer.resume();
      assert.deepEqual(await it.ended, clean);
    });
  }

  it("both ways at once: 64 MiB each, unchanged", async () => {
    const it = await peers.relay("unix");
    it.stdout.removeAllListeners("data");
    const sums = [digest(it.peer), digest(it.stdout)];
    const sent = [await Promise.all([pump(it.stdin, 1 << 26), pump(it.peer, 1 << 26)])].flat();
    assert.deepEqual(
      (await Promise.all(sums)).map(({ sum }) => sum),
      sent,
    );
    assert.deepEqual(await it.ended, clean);
  });

  // The pages of all pipes of a user are limited (fs.pipe-user-pages-soft).
  it("enlarges pipes only when many bytes flow", async () => {
    const it = await peers.relay("unix");
    /** F_GETPIPE_SZ of its descriptors 0 and 1. */
    const sizes = (): string => {
      const script =
        "import fcntl, os; print(*[fcntl.fcntl(os.open('/proc/%s/fd/%d' % (PID, fd), " +
        "os.O_NONBLOCK | (os.O_WRONLY if fd else os.O_RDONLY)), 1032) for fd in (0, 1)])";
      const words = ["-c", script.replace("PID", `${it.pid}`)];
      return execFileSync(tool("python3"), words, { encoding: "utf8" }).trim();
    };
    it.stdin.write("a line");
    await once(it.peer.resume(), "data");
    it.peer.write("a line");
    await once(it.stdout, "data");
    assert.equal(sizes(), "65536 65536");
    it.peer.write(block);
    it.stdin.write(block);
    it.stdout.pause();
    await fill(it.peer, it.pid);
    assert.equal(sizes(), "262144 262144");
    process.kill(it.pid, "SIGKILL");
    await it.ended;
    for (const stream of [it.stdin, it.stdout, it.peer]) stream.destroy();
  });

  describe("half-close, without loss", () => {
    const reply = randomBytes(1_000_000);
    const passedOn: Record<Scheme, boolean> = {
      unix: true,
      "unix-abstract": true,
      firecracker: false,
      "cloud-hypervisor": false,
    };

    /** Whether the guest's own half-close does not reach the host: only its close does. */
    const isLost = (scheme: Scheme): boolean => scheme === "firecracker";

    for (const scheme of schemes) {
      it(`${scheme}: stdin ends first, and the peer ${passedOn[scheme] ? "sees it" : "does not see it"}`, async () => {
        const it = await peers.relay(scheme);
        const request = collect(it.peer);
        let seen = false;
        it.peer.once("end", () => (seen = true));
        it.peer.resume();
        it.stdin.end("request");
        if (passedOn[scheme]) await once(it.peer, "end");
        else await settle(it.pid).then(() => sleep(NEVER_MS));
        assert.equal(seen, passedOn[scheme]);
        it.peer.end(reply, () => {
          if (isLost(scheme)) it.peer.destroy();
        });
        assert.ok((await it.output).equals(reply));
        assert.deepEqual(await it.ended, clean);
        assert.equal((await request).toString(), "request");
      });

      it(`${scheme}: the peer closes its sending side first${scheme.startsWith("unix") ? ", and still receives" : ""}${isLost(scheme) ? ", which is not seen before it closes" : ""}`, async () => {
        const it = await peers.relay(scheme);
        const request = collect(it.peer);
        it.peer.resume();
        let size = 0;
        it.stdout.on("data", (part: Buffer) => (size += part.length));
        it.peer.end(reply);
        if (isLost(scheme)) {
          while (size < reply.length) await sleep(1);
          await settle(it.pid);
          assert.ok(!it.stdout.readableEnded, "stdout ends with the guest's half-close");
          it.peer.destroy();
        }
        assert.ok((await it.output).equals(reply), "stdout ends behind the reply");
        // Over a multiplexer the end of stdin is not passed on, and so nothing may follow.
        if (scheme.startsWith("unix")) {
          it.stdin.write("late, ");
          await settle(it.pid);
          it.stdin.end("but it arrives");
          assert.equal((await request).toString(), "late, but it arrives");
        } else {
          it.stdin.end();
        }
        assert.deepEqual(await it.ended, clean);
      });

      it(`${scheme}: the peer closes, and the relay exits`, async () => {
        const it = await peers.relay(scheme);
        it.peer.resume();
        it.peer.write(reply);
        it.peer.destroySoon();
        assert.ok((await it.output).equals(reply));
        assert.deepEqual(await it.ended, clean);
        it.stdin.destroy();
      });
    }

    it("--half-close=always over Cloud Hypervisor: the peer sees the end of stdin, and answers", async () => {
      const it = await peers.relay("cloud-hypervisor", ["--half-close=always"]);
      it.peer.resume();
      it.stdin.end("request");
      await once(it.peer, "end");
      it.peer.end(reply);
      assert.ok((await it.output).equals(reply));
      assert.deepEqual(await it.ended, clean);
    });

    it("--half-close=always over Firecracker: loses the reply, so it is not the default", async () => {
      const it = await peers.relay("firecracker", ["--half-close=always"]);
      it.peer.resume();
      it.stdin.end("request");
      await once(it.peer, "end");
      it.peer.end(reply);
      assert.equal((await it.output).length, 0);
      assert.deepEqual(await it.ended, clean);
    });

    it("--half-close=never over unix: the peer does not see the end of stdin", async () => {
      const it = await peers.relay("unix", ["--half-close=never"]);
      let seen = false;
      it.peer.once("end", () => (seen = true));
      it.peer.resume();
      it.stdin.end("request");
      await settle(it.pid);
      await sleep(NEVER_MS);
      assert.ok(!seen);
      it.peer.end(reply);
      assert.ok((await it.output).equals(reply));
      assert.deepEqual(await it.ended, clean);
    });
  });

  describe("--linger", () => {
    const LINGER_MS = 500;

    it("ends a relay to a multiplexer so long after the last byte, and loses none", async () => {
      const script = `printf 'x\\n' | exec "$@"`;
      const args = ["--stdio", "--linger", `${LINGER_MS}ms`, peers.address("firecracker"), "8443"];
      for (;;) {
        const command = ["sh", "-c", script, "sh", ...proxyCommand()];
        const { child, ended } = start(args, ["ignore", "pipe", "pipe"], command);
        const output = collect(child.stdout as net.Socket);
        const peer = await peers.connection(ended);
        const [request] = (await once(peer.resume(), "data")) as [Buffer];
        assert.equal(request.toString(), "x\n");
        // Pieces that take longer all together, but not one of them.
        const times = [performance.now()];
        for (let i = 0; i < 5; i++) {
          await sleep(LINGER_MS / 3);
          times.push(performance.now());
          peer.write(`${i}`);
        }
        const outcome = await ended;
        const took = performance.now() - (times.at(-1) ?? 0);
        assert.deepEqual(outcome, clean);
        peer.destroy();
        const pauses = times.map((time, i) => time - (times[i - 1] ?? time));
        if (Math.max(...pauses) < LINGER_MS * 0.9) {
          assert.equal((await output).toString(), "01234");
          assert.ok(took >= LINGER_MS, `${took} ms`);
          return;
        }
        // This machine has stalled: again.
      }
    });

    for (const scheme of schemes) {
      it(`${scheme}: --linger 0 ends it with stdin, when what has come by then is relayed`, async () => {
        const it = await peers.relay(scheme, ["--linger=0"]);
        it.peer.resume();
        it.peer.write("reply");
        await once(it.stdout, "data");
        it.stdin.end("request");
        assert.deepEqual(await it.ended, clean);
        assert.equal((await it.output).toString(), "reply");
        it.peer.destroy();
      });
    }

    it("does not cut the output of a slow reader, nor end before stdin", async () => {
      const it = await peers.relay("unix", ["--linger=1ms", "--half-close=never"]);
      it.stdout.pause();
      const sent = await fill(it.peer, it.pid);
      await sleep(NEVER_MS);
      it.stdin.end();
      await settle(it.pid);
      await sleep(NEVER_MS);
      it.stdout.resume();
      // What the socket had no room for may come too late, whole.
      const { length } = await it.output;
      assert.ok(length >= sent, `${length} of ${sent} bytes`);
      assert.deepEqual(await it.ended, clean);
      it.peer.destroy();
    });
  });

  describe("early ends", () => {
    const message = randomBytes(100_000);

    it("the peer closes with unread bytes: its message arrives, then PeerClosed", async () => {
      const it = await peers.relay("unix");
      it.stdin.write("unread");
      it.peer.write(message);
      await settle(it.pid);
      it.peer.destroy();
      assert.ok((await it.output).equals(message));
      failed(await it.ended, it.address, Code.PeerClosed);
      it.stdin.destroy();
    });

    it("the peer closes its sending side, then the rest with unread bytes: the same", async () => {
      const it = await peers.relay("unix");
      it.stdin.write("unread");
      it.peer.end(message);
      assert.ok((await it.output).equals(message));
      it.peer.destroy();
      failed(await it.ended, it.address, Code.PeerClosed);
      it.stdin.destroy();
    });

    it("the peer closes while stdin has more: PeerClosed, and the writer gets EPIPE", async () => {
      const it = await peers.relay("unix");
      const broken = once(it.stdin, "error");
      it.stdin.on("error", () => undefined);
      const writer = setInterval(() => it.stdin.write(block), 5);
      await fill(it.stdin, it.pid);
      it.peer.write(message);
      it.peer.resume();
      it.peer.destroySoon();
      failed(await it.ended, it.address, Code.PeerClosed);
      clearInterval(writer);
      const [error] = (await broken) as [NodeJS.ErrnoException];
      assert.equal(error.code, "EPIPE");
      assert.ok((await it.output).equals(message));
    });

    it("stdout is closed, stdin is not: StdoutClosed", async () => {
      const it = await peers.relay("unix");
      it.stdout.destroy();
      failed(await it.ended, it.address, Code.StdoutClosed);
      it.stdin.destroy();
    });

    it("stdout is closed while the peer sends: the same", async () => {
      const it = await peers.relay("unix");
      const flood = setInterval(() => it.peer.write(block), 1);
      await once(it.stdout, "data");
      it.stdout.destroy();
      failed(await it.ended, it.address, Code.StdoutClosed);
      clearInterval(flood);
      it.stdin.destroy();
    });

    it("client exit, stdout closes first: drains stdin and succeeds", async () => {
      for (;;) {
        const it = await peers.relayOfPipes("unix");
        const received = collect(it.peer);
        it.peer.resume();
        writeSync(it.stdin, "last words");
        // In the order of OpenSSH; the relay sees the one before the other.
        const since = performance.now();
        closeSync(it.stdout);
        await sleep(10);
        closeSync(it.stdin);
        const took = performance.now() - since;
        const outcome = await it.ended;
        it.peer.end();
        if (took < CLIENT_EXIT_GRACE_MS) {
          assert.deepEqual(outcome, clean);
          assert.equal((await received).toString(), "last words");
          return;
        }
        // This machine has stalled: again.
      }
    });

    it("client exit while the peer sends: succeeds", async () => {
      const it = await peers.relay("unix");
      const flood = setInterval(() => it.peer.write(block), 1);
      await once(it.stdout, "data");
      it.stdout.destroy();
      it.stdin.destroy();
      assert.deepEqual(await it.ended, clean);
      clearInterval(flood);
    });

    it("client exit, and the peer does not read: StdoutClosed, within seconds", async () => {
      const it = await peers.relay("unix");
      it.peer.write("it relays");
      await once(it.stdout, "data");
      // As much as the socket's buffer and the pipe hold.
      await fill(it.stdin, it.pid);
      it.stdout.destroy();
      it.stdin.destroy();
      failed(await it.ended, it.address, Code.StdoutClosed);
    });
  });

  describe("signals", () => {
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
      it(`${signal} kills it, silently, and the peer sees the end`, async () => {
        const it = await peers.relay("unix");
        const end = once(it.peer, "close");
        it.stdin.write("it relays");
        await once(it.peer.resume(), "data");
        process.kill(it.pid, signal);
        assert.deepEqual(await it.ended, { exit: null, signal, stderr: "" });
        it.peer.end();
        await end;
      });
    }

    it("SIGSTOP and SIGCONT during a transfer: nothing is lost", async () => {
      const it = await peers.relay("unix");
      const received = digest(it.peer);
      const sent = pump(it.stdin, 1 << 26);
      const stops = setInterval(() => {
        process.kill(it.pid, "SIGSTOP");
        setTimeout(() => process.kill(it.pid, "SIGCONT"), 5);
      }, 10);
      await sleep(200);
      clearInterval(stops);
      await sleep(20);
      process.kill(it.pid, "SIGCONT");
      assert.equal((await received).sum, await sent);
      it.peer.end();
      assert.deepEqual(await it.ended, clean);
    });
  });

  describe("waits without busy-waiting", () => {
    /** At most one tick of processor time while nothing can move. */
    async function assertIdle({ pid, ended }: Relay): Promise<void> {
      const idle = async (): Promise<void> => {
        await settle(pid);
        const before = cpuTicks(pid);
        await sleep(IDLE_MS);
        const used = cpuTicks(pid) - before;
        assert.ok(used <= 1, `${used} ticks of 10 ms in ${IDLE_MS} ms`);
      };
      const tooEarly = ended.then((outcome) => assert.fail(`ended: ${JSON.stringify(outcome)}`));
      await Promise.race([idle(), tooEarly]);
      tooEarly.catch(() => undefined);
    }
    async function end(it: Relay): Promise<void> {
      process.kill(it.pid, "SIGKILL");
      await it.ended;
      for (const stream of [it.stdin, it.stdout, it.peer]) stream.destroy();
    }

    it("for either side", async () => {
      const it = await peers.relay("unix");
      await assertIdle(it);
      await end(it);
    });

    it("for a peer that does not read, and then for room in its socket", async () => {
      const it = await peers.relay("unix");
      for (let i = 0; i < 4; i++) it.stdin.write(block);
      await assertIdle(it);
      const total = digest(it.peer);
      it.stdin.end();
      assert.equal((await total).size, 4 * block.length);
      it.peer.end();
      assert.deepEqual(await it.ended, clean);
    });

    it("for a client that does not read, and then for room in the pipe", async () => {
      const it = await peers.relay("unix");
      it.stdout.pause();
      for (let i = 0; i < 4; i++) it.peer.write(block);
      await assertIdle(it);
      // The other direction goes on.
      it.stdin.write("up");
      const [bytes] = (await once(it.peer.resume(), "data")) as [Buffer];
      assert.equal(bytes.toString(), "up");
      it.peer.end();
      it.stdin.end();
      it.stdout.resume();
      assert.equal((await it.output).length, 4 * block.length);
      assert.deepEqual(await it.ended, clean);
    });

    it("for both at once", async () => {
      const it = await peers.relay("unix");
      it.stdout.pause();
      for (let i = 0; i < 4; i++) {
        it.peer.write(block);
        it.stdin.write(block);
      }
      await assertIdle(it);
      await end(it);
    });

    it("for the peer, after the end of stdin", async () => {
      const it = await peers.relay("unix");
      it.stdin.end();
      await once(it.peer.resume(), "end");
      await assertIdle(it);
      await end(it);
    });

    it("for a multiplexer, after the end of stdin", async () => {
      const it = await peers.relay("firecracker", ["--linger=60s"]);
      it.stdin.end("request");
      await once(it.peer.resume(), "data");
      await assertIdle(it);
      await end(it);
    });

    it("for stdin, after the end of the peer's sending side", async () => {
      const it = await peers.relay("unix");
      it.peer.end();
      await it.output;
      await assertIdle(it);
      await end(it);
    });

    it("for a client that does not read, when the peer has closed", async () => {
      const it = await peers.relay("unix");
      it.stdout.pause();
      it.stdin.write("it relays");
      await once(it.peer.resume(), "data");
      const sent = await fill(it.peer, it.pid);
      it.peer.destroy();
      await assertIdle(it);
      it.stdout.resume();
      assert.equal((await it.output).length, sent);
      assert.deepEqual(await it.ended, clean);
      it.stdin.destroy();
    });
  });

  // With --linger, the peer's side has not ended.
  for (const linger of [[], ["--linger=1ms"]]) {
    it(`-v: steps when it begins and ends to relay ${linger.join()}`, async () => {
      const it = await peers.relay("unix", ["-v", ...linger]);
      it.stdin.end();
      if (linger.length === 0) it.peer.resume().end();
      const { exit, stderr } = await it.ended;
      assert.equal(exit, 0);
      assert.match(stderr, /ms: relaying .*\n.* ms: relayed: the connection has ended\n$/);
    });
  }

  it("only 0, 1, 2, the socket and the host's own descriptors are open", async () => {
    const it = await peers.relay("unix");
    // It relays: the socket is there.
    it.stdin.write("x");
    await once(it.peer.resume(), "data");
    const links = (pid: number) =>
      readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    // Each child inherits as many descriptors as this one.
    const other = spawn("cat");
    other.stdin.write("it runs");
    await once(other.stdout, "data");
    const given = links(other.pid as number).length;
    other.kill();
    const own = links(it.pid);
    assert.equal(own.filter((link) => link.startsWith("socket:")).length, 2, own.join());
    if (proxyCommand().length === 1) assert.equal(own.length, given + 1, own.join());
    it.stdin.end();
    it.peer.end();
    assert.deepEqual(await it.ended, clean);
  });
});
