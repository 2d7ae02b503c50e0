// --wait with a real process: a socket that comes up in stages, an interrupt from a terminal, and a
// client that exits. When each attempt is made, and which failures are retried, is in
// tests/simulated/wait.test.ts.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import path from "node:path";
import { describe, it } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { Code } from "../../assembly/codes";
import { checkFakeSsh, fakeSsh } from "../support/fake-ssh";
import { messageOf } from "../support/messages";
import { makePipe } from "../support/pipes";
import { cpuTicks } from "../support/processors";
import { proxyCommand, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { tool } from "../support/tools";
import { Screen } from "../support/vt";

const OK = "OK 1073741824\n";
const BANNER = "SSH-2.0-a-machine\r\n";
const NS_PER_MS = 1_000_000;
/** Longer than anything takes, on any machine. */
const untilMs = 100_000;
/** For a machine that stalls. */
const graceMs = 10_000;

const folder = makeFolder("wait");
let folders = 0;
function newFolder(): string {
  const own = path.join(folder, String(folders++));
  mkdirSync(own);
  return own;
}

/** Waits for a state. */
async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = performance.now() + untilMs;
  while (!isSo()) {
    assert.ok(performance.now() < end, `timeout: ${what}`);
    await sleep(5);
  }
}

/** What a virtual machine monitor does after CONNECT. */
type Manner = "silent" | "eof" | "ready";

interface Connection {
  manner: Manner;
  reads: string[];
  client: net.Socket;
}

/** A virtual machine monitor that starts step by step. */
class FakeMonitor {
  readonly socket = path.join(newFolder(), "vm.sock");
  readonly connections: Connection[] = [];
  manner: Manner = "silent";
  #server: net.Server | undefined;

  constructor(t: TestContext) {
    t.after(() => {
      this.#server?.close();
      for (const { client } of this.connections) client.destroy();
    });
  }

  /** Makes the socket's file, without a listener. */
  async bind(): Promise<void> {
    const own = `${this.socket}.bound`;
    const server = net.createServer().listen(own);
    await once(server, "listening");
    // Closing removes the name that it was bound to; a second link stays.
    linkSync(own, `${own}.link`);
    server.close();
    await once(server, "close");
    renameSync(`${own}.link`, this.socket);
  }

  async listen(): Promise<void> {
    const own = `${this.socket}.new`;
    this.#server = net.createServer({ allowHalfOpen: true }, (client) => {
      this.#play(client);
    });
    // A test that fails may leave it open.
    this.#server.listen(own).unref();
    await once(this.#server, "listening");
    renameSync(own, this.socket);
  }

  /** The connections so far of that manner, after CONNECT. */
  met(manner: Manner): Connection[] {
    return this.connections.filter((one) => one.manner === manner && one.reads.length > 0);
  }

  #play(client: net.Socket): void {
    const { manner } = this;
    client.unref();
    const connection: Connection = { manner, reads: [], client };
    this.connections.push(connection);
    client.on("error", () => client.destroy());
    client.on("data", (data) => {
      connection.reads.push(data.toString("latin1"));
      if (connection.reads.length > 1) client.end("bye\r\n");
      else if (manner === "eof") client.end();
      else if (manner === "ready") client.write(`${OK}${BANNER}`);
    });
    client.on("end", () => client.end());
  }
}

/** The steps in a log, and the pause in milliseconds before the next attempt. */
function readLog(file: string, address: string): { what: string; pause?: number }[] {
  const pattern =
    /^[\d-]{10}T[\d:.]{12}Z \[\d+\] ssh-vsock-proxy: (.*) port 22: [\d.]+ ms: (.*?)(?:; again in (.*) ms)?$/;
  const text = readFileSync(file, "latin1");
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [, about, what, pause] = pattern.exec(line) ?? assert.fail(line);
      assert.equal(about, address);
      return { what: what as string, ...(pause === undefined ? {} : { pause: Number(pause) }) };
    });
}

/** A client of the proxy. */
interface Started {
  /** What the machine has sent. */
  banner: Promise<string>;
  /** Exit status and stderr. */
  end: Promise<[number | null, string]>;
}

function asSsh(command: string[]): Started {
  const options = { readBytes: BANNER.length, readMs: untilMs, deadlineMs: untilMs };
  const played = fakeSsh(command, options).then((outcome) => {
    assert.deepEqual([outcome.bytes, outcome.fds, outcome.timedOut], [1, 1, false]);
    return outcome;
  });
  return {
    banner: played.then(({ read }) => String(read)),
    end: played.then(({ exit, stderr }) => [exit, stderr]),
  };
}

/** Over pipes, as ssh without ProxyUseFdpass; Node would use sockets. */
function overPipes(command: string[]): Started {
  const script = 'cat | { "$@"; echo $? >&3; } | cat';
  const child = spawn("sh", ["-c", script, "sh", ...command], {
    stdio: ["pipe", "pipe", "pipe", "pipe"],
  });
  const collect = (fd: 1 | 2 | 3): Buffer[] => {
    const chunks: Buffer[] = [];
    child.stdio[fd]?.on("data", (chunk: Buffer) => chunks.push(chunk));
    return chunks;
  };
  const [stdout, stderr, status] = [collect(1), collect(2), collect(3)];
  const text = (chunks: Buffer[]): string => Buffer.concat(chunks).toString();
  const closed = once(child, "close");
  const banner = (async () => {
    await until("the banner", () => text(stdout).length >= BANNER.length);
    const said = text(stdout);
    child.stdin.end("SSH-2.0-a-client\r\n");
    return said;
  })();
  const end = (async (): Promise<[number | null, string]> => {
    await closed;
    assert.equal(text(stdout), `${BANNER}bye\r\n`);
    return [Number(text(status)), text(stderr)];
  })();
  return { banner, end };
}

describe("--wait for a machine that boots", { timeout: 600_000 }, () => {
  for (const [how, start] of Object.entries({ "fd passing": asSsh, "a relay": overPipes })) {
    it(`connects when the machine is ready: ${how}`, async (t) => {
      const machine = new FakeMonitor(t);
      const log = path.join(path.dirname(machine.socket), "log");
      writeFileSync(log, "");
      const address = `vsock-mux${machine.socket}`;
      // A stage is repeated if this process takes longer than the timeout to answer.
      const args = ["--wait=2m", "--timeout=400ms", `--log-file=${log}`, address, "22"];
      const { banner, end } = start([...proxyCommand(), ...args]);
      // A failure is reported where it is awaited.
      for (const promise of [banner, end]) promise.catch(() => undefined);
      const logged = (code: Code): number =>
        readLog(log, address).filter(({ what }) => what === messageOf(code)).length;

      await until("an attempt without a file", () => logged(Code.NoSocket) >= 2);
      await machine.bind();
      await until("an attempt without a listener", () => logged(Code.Refused) >= 1);
      await machine.listen();
      await until("an attempt in silence", () => logged(Code.ReplyTimeout) >= 1);
      // The monitor closes a connection while the proxy waits for a reply.
      const silent = machine.connections.length;
      await until("another one", () => machine.met("silent").length > silent);
      machine.manner = "eof";
      machine.connections.at(-1)?.client.end();
      await until("an end of file", () => machine.met("eof").length >= 1);
      await until("a cause of that", () => logged(Code.EndOfFile) >= 1);

      machine.manner = "ready";
      const since = performance.now();
      await until("the connection", () => machine.met("ready").length >= 1);
      const took = performance.now() - since;
      t.diagnostic(`connected ${took.toFixed(0)} ms after the machine was ready`);
      assert.ok(took < 1000 + graceMs, `${took} ms`);

      assert.equal(await banner, BANNER);
      const [exit, stderr] = await end;
      assert.equal(exit, 0, stderr);
      // Progress is shown if this takes 10 s.
      assert.match(stderr, /^(ssh-vsock-proxy: waiting for .*\n)*$/);

      for (const { reads } of machine.connections) assert.equal(reads[0], "CONNECT 22\n");
      const causes = readLog(log, address).filter(({ pause }) => pause !== undefined);
      causes.forEach(({ pause }, i) => {
        assert.equal(pause, Math.min(50 * 2 ** i, 1000));
      });
      // A machine that stalls makes an end of file late.
      const late = messageOf(Code.EndOfFileAfterWait);
      const seen = causes.map(({ what }) => (what === late ? messageOf(Code.EndOfFile) : what));
      assert.deepEqual([...new Set(seen)], whats);
      // Each connection is in the log, and one succeeded.
      assert.equal(logged(Code.RequestSent), machine.connections.length);
      const said = readLog(log, address).map(({ what }) => what);
      assert.equal(said.filter((what) => what.startsWith(messageOf(Code.ReplyReceived))).length, 1);
    });
  }

  /** The causes of the stages, in their order. */
  const whats = [Code.NoSocket, Code.Refused, Code.ReplyTimeout, Code.EndOfFile].map(messageOf);

  it("fails when --wait is over, with the last cause", async (t) => {
    const machine = new FakeMonitor(t);
    await machine.bind();
    const address = `vsock-mux${machine.socket}`;
    const what = { subject: `${address} port 22`, waitMs: 700 };
    const wait = ["--wait=700ms", "--timeout=5s"];
    const outcome = await fakeSsh([...proxyCommand(), ...wait, address, "22"]);
    checkFakeSsh(outcome, { ...what, code: Code.Refused });
    assert.match(outcome.stderr, /: gave up after \d+\.\d s: connection refused: .*\n$/);
    assert.ok(outcome.exitNs >= 650 * NS_PER_MS && outcome.exitNs < 10_000 * NS_PER_MS);

    await machine.listen();
    const silent = await fakeSsh([...proxyCommand(), ...wait, address, "22"]);
    checkFakeSsh(silent, { ...what, code: Code.ReplyTimeout });
    assert.ok(silent.exitNs >= 700 * NS_PER_MS && silent.exitNs < 10_000 * NS_PER_MS);
    await until("CONNECT", () => machine.met("silent").length === 1);
    assert.deepEqual(
      machine.connections.map(({ reads }) => reads),
      [["CONNECT 22\n"]],
    );
  });
});

/** The result of e2e/terminal.py. */
interface Interrupted {
  found: boolean;
  signal: number | null;
  exit: number | null;
  ms: number;
  output: string;
  left: number[];
  same: boolean;
}

async function interrupt(text: RegExp, args: string[], cwd: string): Promise<Interrupted> {
  const script = path.join(root, "tests/e2e/terminal.py");
  const env = { ...process.env, TERM: "xterm-256color", TMPDIR: cwd };
  const words = [script, text.source, ...proxyCommand(), ...args];
  const options = { cwd, env, encoding: "latin1" } as const;
  const { stdout } = await promisify(execFile)(tool("python3"), words, options);
  return JSON.parse(stdout) as Interrupted;
}

describe("Ctrl-C during --wait", { timeout: 300_000 }, () => {
  const SIGINT = 2;
  const limitMs = 100;

  async function interrupts(t: TestContext, when: RegExp, address: string, says: Code) {
    const cwd = newFolder();
    let got: Interrupted;
    // A machine may stall; a proxy that waits does so each time.
    for (let tries = 1; ; tries++) {
      got = await interrupt(when, ["--wait=60s", "--timeout=30s", address, "22"], cwd);
      assert.ok(got.found, `it does not wait: ${Buffer.from(got.output, "hex").toString()}`);
      t.diagnostic(`exited after ${got.ms.toFixed(1)} ms`);
      if (got.ms < limitMs || tries === 3) break;
    }
    assert.ok(got.ms < limitMs, `${got.ms} ms`);
    assert.deepEqual([got.signal, got.exit], [SIGINT, null]);
    assert.deepEqual([got.left, got.same], [[], true]);
    assert.deepEqual(readdirSync(cwd), []);

    const output = Buffer.from(got.output, "hex").toString();
    const screen = new Screen(80);
    screen.write(output);
    assert.deepEqual([screen.autowrap, screen.wraps], [true, 0]);
    // The driver's echo of Ctrl-C is below the line of progress.
    assert.equal(screen.row, 1);
    assert.match(screen.rows[1] ?? "", /^(\^C)?$/);
    assert.equal(screen.rows[0]?.length, 80);
    // Clipped on the screen, but written whole.
    const last = output.split("waiting for ").at(-1) ?? "";
    assert.ok(last.startsWith(`${address} port 22, `), last);
    assert.match(last, /^[^\x1b]* s of 60\.0 s: [^\x1b]*\x1b\[\?7h\r\n(\^C)?(\r\n)?$/);
    assert.ok(last.includes(`: ${messageOf(says)}\x1b`), last);
  }

  it("between two attempts", async (t) => {
    // The next pause takes a second.
    const address = `vsock-mux${path.join(newFolder(), "vm.sock")}`;
    await interrupts(t, /[1-9]\.\d s of 60.0 s: .*\n/, address, Code.NoSocket);
  });

  it("while a multiplexer is silent", async (t) => {
    const machine = new FakeMonitor(t);
    await machine.listen();
    const address = `vsock-mux${machine.socket}`;
    await interrupts(t, /asked the multiplexer.*\n/, address, Code.RequestSent);
    assert.deepEqual(machine.connections[0]?.reads, ["CONNECT 22\n"]);
    await until("the end of its connection", () =>
      machine.connections.every(({ client }) => client.readableEnded || client.destroyed),
    );
  });
});

describe("client exit during --wait", { timeout: 300_000 }, () => {
  function start(stdout: "pipe" | number): ChildProcess {
    const address = `unix${path.join(newFolder(), "socket")}`;
    const [program, ...before] = proxyCommand() as [string, ...string[]];
    const args = [...before, "-v", "--wait=60s", address];
    return spawn(program, args, { stdio: ["ignore", stdout, "pipe"] });
  }

  /** It waits, without busy-waiting, and exits after so many attempts more. */
  async function ends(child: ChildProcess, leave: () => void, attempts = 0): Promise<void> {
    let stderr = "";
    child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
    const ended = once(child, "close");
    const pause = (ms: number) =>
      until(`a pause of ${ms} ms`, () => stderr.includes(`again in ${ms}.000 ms`));
    await pause(100);
    const before = cpuTicks(child.pid as number);
    await pause(800);
    const used = cpuTicks(child.pid as number) - before;
    assert.ok(used <= 5, `${used} ticks of 10 ms in 700 ms`);
    // What is written until now is read.
    await turn();
    const seen = stderr.length;
    leave();
    assert.deepEqual(await ended, [71, null], stderr);
    const last = stderr.slice(seen).split("\n");
    assert.equal(last.filter((line) => line.includes(": connecting, ")).length, attempts);
    assert.ok(last.at(-2)?.endsWith(`: ${messageOf(Code.ClientGone)}`), last.at(-2));
  }

  it("ssh that waits for a descriptor", async () => {
    const child = start("pipe");
    await ends(child, () => child.stdout?.destroy());
  });

  it("ssh that has sent something, which it never does", async () => {
    const child = start("pipe");
    // A socket, of which Node shows one direction. The proxy sees the data first.
    (child.stdout as net.Socket).write("something");
    await ends(child, () => child.stdout?.destroy(), 1);
  });

  it("the reader of stdout", async () => {
    const pipe = makePipe();
    const child = start(pipe.write);
    closeSync(pipe.write);
    await ends(child, () => {
      closeSync(pipe.read);
    });
  });
});
