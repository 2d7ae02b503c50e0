// The relay: bytes both ways between stdin, stdout and the socket, through the proxy as a process,
// with real pipes and sockets around it. The peers live in this process, behind a unix socket, an
// abstract one and the test multiplexer; AF_VSOCK is vsock.test.ts's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { makePipe } from "../support/pipes";
import { cpuTicks, isAsleep } from "../support/processors";
import { proxyCommand, traceFolder } from "../support/proxy";
import { beginRun, forgetRun } from "../support/record";

const GIBIBYTE = 1 << 30;
/** Emulated processors and debug builds show the same with less. */
const whole = traceFolder === undefined && process.env["PROXY_HOST"] !== "arm64";
const LARGE = whole ? GIBIBYTE : GIBIBYTE >> 4;
const block = randomBytes(1 << 20);
/** LEAVING of native/shim/relay.c. */
const LEAVING_MS = 100;
/** Long enough for a process that does nothing to be seen doing nothing. */
const IDLE_MS = 500;

type Scheme = "unix" | "unix-abstract" | "firecracker" | "cloud-hypervisor";
const schemes = ["unix", "unix-abstract", "firecracker", "cloud-hypervisor"] as const;

/** What a run has come to. */
interface Ended {
  exit: number | null;
  signal: NodeJS.Signals | null;
  stderr: string;
}

/** A relay that runs. */
interface Running {
  pid: number;
  ended: Promise<Ended>;
  /** The next connection that the peer has accepted: the relay's, if it is asked once for each. */
  peer: net.Socket;
}

/** One of whose standard input and output our ends are descriptors, which are the test's to close. */
interface PipeRelay extends Running {
  stdin: number;
  stdout: number;
}

/** One of which they are streams. */
interface Relay extends Running {
  stdin: net.Socket;
  stdout: net.Socket;
  /** Everything that came on stdout until its end. */
  output: Promise<Buffer>;
}

function collect(stream: net.Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.once("close", () => {
      resolve(Buffer.concat(parts));
    });
  });
}

function start(
  args: string[],
  stdio: StdioOptions,
): { child: ChildProcess; ended: Promise<Ended> } {
  const command = [...proxyCommand(), ...args];
  const record = beginRun(command);
  const child = spawn(command[0] as string, command.slice(1), {
    stdio,
    env: { ...process.env, ...record.env },
  });
  let stderr = "";
  child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
  const ended = once(child, "close").then((values): Ended => {
    const [exit, signal] = values as [number | null, NodeJS.Signals | null];
    record.end(exit, stderr);
    return { exit, signal, stderr };
  });
  return { child, ended };
}

describe("the relay", { timeout: 600_000 }, () => {
  let folder: string;
  let multiplexer: Multiplexer;
  const accepted: net.Socket[] = [];
  const wanted: ((socket: net.Socket) => void)[] = [];
  const servers: net.Server[] = [];
  const sockets = new Set<net.Socket>();
  // Node binds sun_path whole (libuv before 1.46), so the name has to fill it.
  const name = `ssh-vsock-proxy-${process.pid}-`.padEnd(107, "x");

  async function serve(where: string): Promise<void> {
    // Nothing is read before a test wants it: the kernel's buffers are part of what is tested.
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      socket.on("error", () => undefined);
      sockets.add(socket);
      const next = wanted.shift();
      if (next === undefined) accepted.push(socket);
      else next(socket);
    });
    server.listen(where);
    servers.push(server);
    await once(server, "listening");
  }

  before(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "relay-"));
    await serve(path.join(folder, "s"));
    await serve(`\0${name}`);
    multiplexer = await startMultiplexer(path.join(folder, "s"));
  });
  after(async () => {
    await multiplexer.close();
    for (const socket of sockets) socket.destroy();
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true });
  });

  function address(scheme: Scheme): string {
    if (scheme === "unix") return `unix${folder}/s`;
    if (scheme === "unix-abstract") return `unix-abstract/${name}`;
    return `vsock-mux${multiplexer.socket(scheme)}`;
  }

  /** The next connection that the peer accepts; where whoever makes it may not end before that. */
  function connection(ended?: Promise<unknown>): Promise<net.Socket> {
    const socket = accepted.shift();
    if (socket !== undefined) return Promise.resolve(socket);
    return new Promise((resolve, reject) => {
      wanted.push(resolve);
      void ended?.then((outcome) => {
        const at = wanted.indexOf(resolve);
        if (at < 0) return;
        wanted.splice(at, 1);
        reject(new Error(`it ends without a connection: ${JSON.stringify(outcome)}`));
      });
    });
  }

  /** Starts a relay between two pipes. */
  async function relayOfPipes(scheme: Scheme, args: string[] = []): Promise<PipeRelay> {
    const up = makePipe();
    const down = makePipe();
    // However long the peers, which live here, take to answer.
    const words = ["--timeout=60s", ...args, address(scheme)];
    const { child, ended } = start(words, [up.read, down.write, "pipe"]);
    closeSync(up.read);
    closeSync(down.write);
    const peer = await connection(ended);
    return { pid: child.pid as number, stdin: up.write, stdout: down.read, ended, peer };
  }

  /** The same, where this process reads and writes as it can. */
  async function relay(scheme: Scheme, args: string[] = []): Promise<Relay> {
    const it = await relayOfPipes(scheme, args);
    const stdin = new net.Socket({ fd: it.stdin, readable: false, writable: true });
    const stdout = new net.Socket({ fd: it.stdout, readable: true, writable: false });
    stdin.on("error", () => undefined);
    sockets.add(stdin);
    sockets.add(stdout);
    return { ...it, stdin, stdout, output: collect(stdout) };
  }

  const clean = { exit: 0, signal: null, stderr: "" };

  /** It ended with `exit` and one line that says why. */
  function failed({ exit, signal, stderr }: Ended, expected: number, reason: RegExp): void {
    assert.deepEqual({ exit, signal }, { exit: expected, signal: null }, stderr);
    assert.match(stderr, /^ssh-vsock-proxy: \P{Cc}+\n$/u);
    assert.match(stderr, reason);
  }

  /**
   * Sends `total` bytes, as fast as they are taken; gives their checksum. Calls `look` at every
   * sixteenth of them.
   */
  async function pump(stream: net.Socket, total: number, look?: () => void): Promise<string> {
    const hash = createHash("sha256");
    for (let sent = 0; sent < total; sent += block.length) {
      if (sent % (total / 16) === 0) look?.();
      // The same block from elsewhere each time, so that a lost or doubled one shows.
      const turned = Buffer.from(block);
      turned.writeUInt32LE(sent / block.length);
      hash.update(turned);
      if (!stream.write(turned)) await once(stream, "drain");
    }
    stream.end();
    return hash.digest("hex");
  }

  /**
   * Writes until nothing moves any more, since the relay, which has moved something before, waits
   * for room; gives how many bytes a socket has taken by then.
   */
  async function fill(stream: net.Socket, pid: number): Promise<number> {
    // A socket takes it whole or not at all.
    const part = block.subarray(0, 16384);
    for (let sent = 0; ; sent += part.length) {
      stream.write(part);
      while (stream.writableLength > 0) {
        const slept = isAsleep(pid);
        // Between these two the kernel takes what it has room for.
        await sleep(1);
        await turn();
        if (slept && isAsleep(pid) && stream.writableLength > 0) return sent;
      }
    }
  }

  /** The checksum of everything until the end. */
  async function digest(stream: net.Socket): Promise<{ sum: string; size: number }> {
    const hash = createHash("sha256");
    let size = 0;
    stream.on("data", (part: Buffer) => {
      hash.update(part);
      size += part.length;
    });
    stream.resume();
    await once(stream, "end");
    return { sum: hash.digest("hex"), size };
  }

  for (const scheme of ["unix", "cloud-hypervisor"] as const) {
    it(`${scheme}: ${LARGE >> 20} MiB up, equal to the byte, in constant memory`, async () => {
      // A multiplexer is not told of the end, unless that is asked for.
      const it = await relay(scheme, ["--half-close=always"]);
      const received = digest(it.peer);
      const memory = watchMemory(it.pid);
      const sent = await pump(it.stdin, LARGE, memory.look);
      assert.deepEqual(await received, { sum: sent, size: LARGE });
      memory.assertConstant();
      it.peer.end();
      assert.equal((await it.output).length, 0);
      assert.deepEqual(await it.ended, clean);
    });

    it(`${scheme}: ${LARGE >> 20} MiB down, equal to the byte, in constant memory`, async () => {
      const it = await relay(scheme);
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

  it("both ways at once: 64 MiB each, equal to the byte", async () => {
    const it = await relay("unix");
    it.stdout.removeAllListeners("data");
    const sums = [digest(it.peer), digest(it.stdout)];
    const sent = [await Promise.all([pump(it.stdin, 1 << 26), pump(it.peer, 1 << 26)])].flat();
    assert.deepEqual(
      (await Promise.all(sums)).map(({ sum }) => sum),
      sent,
    );
    assert.deepEqual(await it.ended, clean);
  });

  describe("half-close, and nothing lost of what the peer has sent", () => {
    const reply = randomBytes(1_000_000);
    const passedOn: Record<Scheme, boolean> = {
      unix: true,
      "unix-abstract": true,
      firecracker: false,
      "cloud-hypervisor": false,
    };

    for (const scheme of schemes) {
      it(`${scheme}: stdin ends first, the peer ${passedOn[scheme] ? "sees it and answers" : "does not see it, and ends when it likes"}`, async () => {
        const it = await relay(scheme);
        const request = collect(it.peer);
        let seen = false;
        it.peer.once("end", () => (seen = true));
        it.peer.resume();
        it.stdin.end("request");
        if (passedOn[scheme]) await once(it.peer, "end");
        else await sleep(IDLE_MS);
        assert.equal(seen, passedOn[scheme]);
        it.peer.end(reply);
        assert.ok((await it.output).equals(reply));
        assert.deepEqual(await it.ended, clean);
        assert.equal((await request).toString(), "request");
      });

      it(`${scheme}: the peer ends its sending first${scheme.startsWith("unix") ? ", and still receives" : ""}`, async () => {
        const it = await relay(scheme);
        const request = collect(it.peer);
        it.peer.resume();
        it.peer.end(reply);
        assert.ok((await it.output).equals(reply), "stdout ends with what the peer has sent");
        // Node's multiplexer closes the way back with the other, as it does for real peers.
        if (scheme.startsWith("unix")) {
          it.stdin.write("late, ");
          await sleep(50);
          it.stdin.end("but it arrives");
          assert.equal((await request).toString(), "late, but it arrives");
        } else {
          it.stdin.end();
        }
        assert.deepEqual(await it.ended, clean);
      });

      it(`${scheme}: the peer closes altogether, and the relay ends`, async () => {
        const it = await relay(scheme);
        it.peer.resume();
        it.peer.write(reply);
        it.peer.destroySoon();
        assert.ok((await it.output).equals(reply));
        // The test multiplexer does not learn that its guest has closed both ways before it writes.
        if (!scheme.startsWith("unix")) it.stdin.end();
        assert.deepEqual(await it.ended, clean);
        it.stdin.destroy();
      });
    }

    it("--half-close=always over Cloud Hypervisor: the end of stdin is passed on, and answered", async () => {
      const it = await relay("cloud-hypervisor", ["--half-close=always"]);
      it.peer.resume();
      it.stdin.end("request");
      await once(it.peer, "end");
      it.peer.end(reply);
      assert.ok((await it.output).equals(reply));
      assert.deepEqual(await it.ended, clean);
    });

    it("--half-close=always over Firecracker: kills the reply, which is why it is not the rule", async () => {
      const it = await relay("firecracker", ["--half-close=always"]);
      it.peer.resume();
      it.stdin.end("request");
      await once(it.peer, "end");
      it.peer.end(reply);
      assert.equal((await it.output).length, 0);
      assert.deepEqual(await it.ended, clean);
    });

    it("--half-close=never over unix: the end of stdin stays here", async () => {
      const it = await relay("unix", ["--half-close=never"]);
      let seen = false;
      it.peer.once("end", () => (seen = true));
      it.peer.resume();
      it.stdin.end("request");
      await sleep(IDLE_MS);
      assert.ok(!seen);
      it.peer.end(reply);
      assert.ok((await it.output).equals(reply));
      assert.deepEqual(await it.ended, clean);
    });
  });

  describe("ends that come too early", () => {
    const message = randomBytes(100_000);

    it("the peer closes with bytes unread: what it sent arrives, then 69", async () => {
      const it = await relay("unix");
      it.stdin.write("unread");
      it.peer.write(message);
      await sleep(100);
      it.peer.destroy();
      assert.ok((await it.output).equals(message));
      failed(await it.ended, 69, /connection closed by the machine/);
      it.stdin.destroy();
    });

    it("the peer ends its sending, and closes with bytes unread: the same", async () => {
      const it = await relay("unix");
      it.stdin.write("unread");
      it.peer.end(message);
      assert.ok((await it.output).equals(message));
      it.peer.destroy();
      failed(await it.ended, 69, /connection closed by the machine/);
      it.stdin.destroy();
    });

    it("the peer closes while more comes from stdin: 69, and whoever writes to it is told", async () => {
      const it = await relay("unix");
      const broken = once(it.stdin, "error");
      it.stdin.on("error", () => undefined);
      const writer = setInterval(() => it.stdin.write(block), 5);
      await sleep(100);
      it.peer.write(message);
      it.peer.resume();
      it.peer.destroySoon();
      failed(await it.ended, 69, /connection closed by the machine/);
      clearInterval(writer);
      const [error] = (await broken) as [NodeJS.ErrnoException];
      assert.equal(error.code, "EPIPE");
      assert.ok((await it.output).equals(message));
    });

    it("nobody reads stdout any more: 71 while stdin goes on", async () => {
      const it = await relay("unix");
      it.stdout.destroy();
      failed(await it.ended, 71, /nobody reads standard output/);
      it.stdin.destroy();
    });

    it("nobody reads stdout any more, and the peer goes on sending: the same", async () => {
      const it = await relay("unix");
      const flood = setInterval(() => it.peer.write(block), 1);
      await sleep(100);
      it.stdout.destroy();
      failed(await it.ended, 71, /nobody reads standard output/);
      clearInterval(flood);
      it.stdin.destroy();
    });

    it("a client that ends closes both, stdout first: no failure, and his last words arrive", async () => {
      for (;;) {
        const it = await relayOfPipes("unix");
        const received = collect(it.peer);
        it.peer.resume();
        writeSync(it.stdin, "last words");
        // In this order, as OpenSSH does, and so that the relay sees the one before the other.
        const since = performance.now();
        closeSync(it.stdout);
        await sleep(10);
        closeSync(it.stdin);
        const took = performance.now() - since;
        const outcome = await it.ended;
        it.peer.end();
        if (took < LEAVING_MS) {
          assert.deepEqual(outcome, clean);
          assert.equal((await received).toString(), "last words");
          return;
        }
        // This machine has stalled, and the client was none that leaves.
        forgetRun();
      }
    });

    it("a client that ends while the peer sends: no failure", async () => {
      const it = await relay("unix");
      const flood = setInterval(() => it.peer.write(block), 1);
      await sleep(100);
      it.stdout.destroy();
      it.stdin.destroy();
      assert.deepEqual(await it.ended, clean);
      clearInterval(flood);
    });

    it("a client that ends, and a peer that takes nothing: over within seconds", async () => {
      const it = await relay("unix");
      it.peer.write("it relays");
      await once(it.stdout, "data");
      // As much as the socket's buffer and the pipe hold.
      await fill(it.stdin, it.pid);
      it.stdout.destroy();
      it.stdin.destroy();
      const { exit, signal } = await it.ended;
      assert.deepEqual({ exit, signal }, { exit: 71, signal: null });
    });
  });

  describe("signals", () => {
    for (const signal of ["SIGTERM", "SIGHUP", "SIGINT"] as const) {
      it(`${signal} ends it, without a word, and the peer sees the end`, async () => {
        const it = await relay("unix");
        const end = once(it.peer, "close");
        it.stdin.write("it relays");
        await once(it.peer.resume(), "data");
        process.kill(it.pid, signal);
        assert.deepEqual(await it.ended, { exit: null, signal, stderr: "" });
        it.peer.end();
        await end;
      });
    }

    it("SIGSTOP and SIGCONT in the middle: nothing is lost", async () => {
      const it = await relay("unix");
      const received = digest(it.peer);
      const sent = pump(it.stdin, 1 << 26);
      const stops = setInterval(() => {
        process.kill(it.pid, "SIGSTOP");
        setTimeout(() => process.kill(it.pid, "SIGCONT"), 5);
      }, 10);
      await sleep(500);
      clearInterval(stops);
      await sleep(20);
      process.kill(it.pid, "SIGCONT");
      assert.equal((await received).sum, await sent);
      it.peer.end();
      assert.deepEqual(await it.ended, clean);
    });
  });

  describe("waits without turning", () => {
    /** Processor time while nothing can move: a hundredth of the time at most. */
    async function assertIdle({ pid, ended }: Relay): Promise<void> {
      const idle = async (): Promise<void> => {
        await sleep(100);
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
      const it = await relay("unix");
      await assertIdle(it);
      await end(it);
    });

    it("for a peer that does not read, and then for room in its socket", async () => {
      const it = await relay("unix");
      for (let i = 0; i < 4; i++) it.stdin.write(block);
      await assertIdle(it);
      const total = digest(it.peer);
      it.stdin.end();
      assert.equal((await total).size, 4 * block.length);
      it.peer.end();
      assert.deepEqual(await it.ended, clean);
    });

    it("for a reader of stdout who does not read, and for room in the pipe", async () => {
      const it = await relay("unix");
      it.stdout.pause();
      for (let i = 0; i < 4; i++) it.peer.write(block);
      await assertIdle(it);
      // The other way is not held up.
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
      const it = await relay("unix");
      it.stdout.pause();
      for (let i = 0; i < 4; i++) {
        it.peer.write(block);
        it.stdin.write(block);
      }
      await assertIdle(it);
      await end(it);
    });

    it("for the peer, when stdin has ended", async () => {
      const it = await relay("unix");
      it.stdin.end();
      await once(it.peer.resume(), "end");
      await assertIdle(it);
      await end(it);
    });

    it("for stdin, when the peer has ended its sending", async () => {
      const it = await relay("unix");
      it.peer.end();
      await it.output;
      await assertIdle(it);
      await end(it);
    });

    it("for a reader of stdout, when the peer has closed", async () => {
      const it = await relay("unix");
      it.stdout.pause();
      it.stdin.write("it relays");
      await once(it.peer.resume(), "data");
      const sent = await fill(it.peer, it.pid);
      // At once, with what could not be sent.
      it.peer.destroy();
      await assertIdle(it);
      it.stdout.resume();
      assert.equal((await it.output).length, sent);
      assert.deepEqual(await it.ended, clean);
      it.stdin.destroy();
    });
  });

  describe("what stdin and stdout can be", () => {
    /** Runs the relay against a peer that sends back all it gets. */
    async function echo(args: string[], stdio: StdioOptions): Promise<Ended & { out: string }> {
      const { child, ended } = start(args, stdio);
      const peer = await connection(ended);
      peer.pipe(peer);
      let out = "";
      child.stdout?.setEncoding("latin1").on("data", (part: string) => (out += part));
      child.stdin?.end("hello");
      return { ...(await ended), out };
    }
    const file = (text: string) => {
      const name = path.join(folder, "file");
      writeFileSync(name, text);
      return name;
    };

    it("unix sockets, as from libuv, with --stdio", async () => {
      const outcome = await echo(["--stdio", address("unix")], ["pipe", "pipe", "pipe"]);
      assert.deepEqual(outcome, { ...clean, out: "hello" });
    });

    it("a socket that is read slowly, in pieces of any size", async () => {
      const { child, ended } = start(["--stdio", address("unix")], ["pipe", "pipe", "pipe"]);
      const peer = await connection(ended);
      const sent = pump(peer, 8 * block.length);
      const hash = createHash("sha256");
      const stdout = child.stdout as net.Socket;
      stdout.on("data", (part: Buffer) => {
        hash.update(part);
        stdout.pause();
        setTimeout(() => stdout.resume(), 2);
      });
      await once(stdout, "end");
      child.stdin?.end();
      peer.resume();
      assert.equal(hash.digest("hex"), await sent);
      assert.deepEqual(await ended, clean);
    });

    it("one socket for both, whose other end leaves with bytes unread", async () => {
      const server = net.createServer({ pauseOnConnect: true });
      server.listen(path.join(folder, "client"));
      await once(server, "listening");
      const accepted = once(server, "connection") as Promise<[net.Socket]>;
      const both = net.connect(path.join(folder, "client"));
      const [client] = await accepted;
      const { ended } = start(["--stdio", address("unix")], [both, both, "pipe"]);
      both.destroy();
      const peer = await connection(ended);
      client.write("the last words");
      const [words] = (await once(peer.resume(), "data")) as [Buffer];
      assert.equal(words.toString(), "the last words");
      peer.write("never read");
      await sleep(50);
      client.destroy();
      await once(peer, "end");
      peer.end();
      assert.deepEqual(await ended, clean);
      server.close();
    });

    it("files, one of them opened for appending", async () => {
      const input = openSync(file("x".repeat(300_000)), "r");
      const output = path.join(folder, "output");
      writeFileSync(output, "before ");
      const append = openSync(output, "a");
      const outcome = await echo([address("unix")], [input, append, "pipe"]);
      closeSync(input);
      closeSync(append);
      assert.deepEqual(outcome, { ...clean, out: "" });
      assert.equal(readFileSync(output, "latin1"), `before ${"x".repeat(300_000)}`);
    });

    it("a file towards /dev/null, with --stdio", async () => {
      const input = openSync(file("x".repeat(300_000)), "r");
      const args = ["--stdio", address("unix")];
      assert.deepEqual(await echo(args, [input, "ignore", "pipe"]), { ...clean, out: "" });
      closeSync(input);
    });

    it("a TCP socket, of which a read would wait", async () => {
      const server = net.createServer((socket) => {
        socket.write("from TCP");
        socket.once("data", (reply: Buffer) => socket.end(`, and again: ${reply.toString()}`));
      });
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as net.AddressInfo;
      const connect = `exec 3<>/dev/tcp/127.0.0.1/${port}; exec "$@" <&3 >&3`;
      const command = ["-c", connect, "bash", ...proxyCommand(), address("unix")];
      const record = beginRun([...proxyCommand(), address("unix")]);
      const child = spawn("bash", command, { env: { ...process.env, ...record.env } });
      const closed = once(child, "close") as Promise<[number]>;
      const peer = await connection(closed);
      const received = collect(peer);
      await once(peer.resume(), "data");
      peer.write("reply");
      await once(peer, "end");
      peer.end();
      const [exit] = await closed;
      record.end(exit, "");
      assert.equal(exit, 0);
      assert.equal((await received).toString(), "from TCP, and again: reply");
      server.close();
    });

    it("a terminal: lines as they are typed, and Ctrl-D is the end", async () => {
      const words = [...proxyCommand(), address("unix")].map((word) => `'${word}'`).join(" ");
      const record = beginRun([...proxyCommand(), address("unix")]);
      const child = spawn("script", ["-qefc", words, "/dev/null"], {
        env: { ...process.env, ...record.env },
      });
      const closed = once(child, "close") as Promise<[number]>;
      const peer = await connection(closed);
      const received = collect(peer);
      let screen = "";
      child.stdout.setEncoding("latin1").on("data", (part: string) => (screen += part));
      child.stdin.write("typed\n");
      const [line] = (await once(peer.resume(), "data")) as [Buffer];
      assert.equal(line.toString(), "typed\n");
      peer.write("shown\n");
      child.stdin.write("\x04");
      await once(peer, "end");
      peer.end();
      const [exit] = await closed;
      record.end(exit, "");
      assert.equal(exit, 0);
      assert.match(screen, /shown\r\n/);
      assert.equal((await received).toString(), "typed\n");
    });

    it("a folder as stdin: 71, with the errno", async () => {
      const input = openSync(folder, "r");
      const { ended } = start(["--stdio", address("unix")], [input, "pipe", "pipe"]);
      const peer = await connection();
      failed(await ended, 71, /standard input cannot be read: WASI errno 31/);
      peer.destroy();
      closeSync(input);
    });

    it("a full device as stdout: 71, with the errno", async () => {
      const output = openSync("/dev/full", "w");
      const { child, ended } = start(["--stdio", address("unix")], ["pipe", output, "pipe"]);
      const peer = await connection(ended);
      peer.write("more");
      failed(await ended, 71, /standard output takes no more .*: WASI errno 51/);
      child.stdin?.destroy();
      peer.destroy();
      closeSync(output);
    });

    it("stdin closed: the peer sees the end at once", async () => {
      const command = ['exec "$@" <&-', "sh", ...proxyCommand(), "--stdio", address("unix")];
      const record = beginRun([...proxyCommand(), "--stdio", address("unix")]);
      const child = spawn("sh", ["-c", ...command], { env: { ...process.env, ...record.env } });
      const closed = once(child, "close") as Promise<[number]>;
      const peer = await connection(closed);
      await once(peer.resume(), "end");
      peer.end();
      const [exit] = await closed;
      record.end(exit, "");
      assert.equal(exit, 0);
    });

    it("pipes: a relay without being asked, and --fdpass refuses", async () => {
      const { ended } = start(
        ["--fdpass", address("unix")],
        ["ignore", openSync(file(""), "w"), "pipe"],
      );
      failed(await ended, 64, /not a unix stream socket/);
      assert.equal(accepted.length, 0);
    });
  });

  it("-v tells when it relays, and when that has ended", async () => {
    const it = await relay("unix", ["-v"]);
    it.stdin.end();
    it.peer.resume();
    it.peer.end();
    const { exit, stderr } = await it.ended;
    assert.equal(exit, 0);
    assert.match(stderr, /ms: relaying .*\n.* ms: relayed: both sides have ended\n$/);
  });

  it("has no descriptor but 0, 1, 2, the socket and the host's own", async () => {
    const it = await relay("unix");
    // It relays: the socket is there.
    it.stdin.write("x");
    await once(it.peer.resume(), "data");
    const links = (pid: number) =>
      readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
    // What every child gets from here: three, and what this process was given itself.
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

/** Resident memory of a process, each time that it is looked at. */
function watchMemory(pid: number): { look: () => void; assertConstant: () => void } {
  const seen: number[] = [];
  return {
    look() {
      // What statm and status show is inexact, and may be 0 (proc(5)).
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
      seen.push(Number(/^Rss: +(\d+) kB$/m.exec(text)?.[1]));
    },
    assertConstant() {
      const early = seen[Math.floor(seen.length / 4)] ?? 0;
      const last = seen.at(-1) ?? 0;
      assert.ok(seen.length > 3 && early > 0, `seen: ${seen.join()}`);
      // A page or two of the kernel's and the loader's making.
      assert.ok(last - early <= 256, `${early} KiB became ${last} KiB`);
    },
  };
}
