// The standalone executable when its surroundings fail for real, without an injected errno: signals
// while it waits, resource limits, and peers and clients that are killed.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { makeCase } from "../support/case";
import { tool } from "../support/tools";
import { greeting, listen } from "../support/listener";
import { makePipe } from "../support/pipes";
import { checkFakeSsh, fakeSsh } from "../support/fake-ssh";
import type { FakeSshOptions, FakeSshOutcome } from "../support/fake-ssh";
import { checkOutcome } from "../support/outcome";
import type { Outcome } from "../support/outcome";
import { root } from "../support/proxy";
import { RUN_TIMEOUT_MS, program, startPeers } from "./scenarios";
import type { Peers } from "./scenarios";

/** The tests of a group mostly wait, and run at the same time. */
const group = { concurrency: 4, timeout: 300_000 };

let peers: Peers;
before(async () => {
  peers = await startPeers();
});
after(() => peers.close());

const newSocket = (): string => path.join(mkdtempSync(path.join(peers.folder, "real-")), "s");
const silence = (): string => `vsock-mux${peers.multiplexer.socket("silence")}`;
const talk = { write: Buffer.from("ping"), readBytes: greeting.length + 4, readMs: 30_000 };

function passed(outcome: FakeSshOutcome): void {
  checkFakeSsh(outcome, {});
  assert.equal(outcome.read?.toString(), `${greeting}ping`);
}

type Ended = Omit<Outcome, "stderr"> & { stderr: string };

/** Checks a failure about `address` with one of the codes. */
function failed(outcome: Ended, address: string, ...codes: Code[]): void {
  const subject = address.startsWith("vsock-mux") ? `${address} port 22` : address;
  const stderr = Buffer.from(outcome.stderr, "latin1");
  // With any --wait, "gave up after" is allowed.
  const one = makeCase({ name: "real-failure", subject, waitMs: 1 });
  checkOutcome(one, { ...outcome, stderr }, { codes });
}

/** It ended at its deadline, or as much later as a busy machine makes it. */
function lasted(ms: number, { exitNs }: FakeSshOutcome): void {
  assert.ok(exitNs >= ms * 1e6 && exitNs < (ms + 10_000) * 1e6, `${exitNs / 1e6} ms for ${ms}`);
}

/** connect(2) and ppoll(2) in the architecture's table of system calls. */
const [CONNECT, PPOLL] = process.arch === "arm64" ? ([203, 73] as const) : ([42, 271] as const);

/** Until the process waits in a system call; at once where it has ended. */
async function waitsIn(pid: number, call: number): Promise<void> {
  const file = `/proc/${pid}/syscall`;
  while (existsSync(file) && !readFileSync(file, "latin1").startsWith(`${call} `)) await sleep(1);
}

/** Storms end once this many signals had an effect. */
const STORM = 10;
/** A wait that a signal ended, and the next line of strace's. */
const interrupted = /^(connect|ppoll)\(.* (EINTR|ERESTARTNOHAND) .*\n--- SIGWINCH /gm;

/**
 * The executable as the client's command. A signal whose default is to be ignored, such as SIGWINCH,
 * reaches only a traced process (sig_ignored in the kernel's signal.c): there it ends connect(2) with
 * EINTR, and ppoll(2), which the kernel restarts with the time that is left.
 */
async function start(args: string[], options: FakeSshOptions = {}, traced = false) {
  const own = mkdtempSync(path.join(peers.folder, "real-"));
  const [file, log] = [path.join(own, "pid"), path.join(own, "strace")];
  const strace = traced ? [tool("strace"), "-D", "-qq", "-o", log] : [];
  const shell = ["/bin/sh", "-c", 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"', file];
  const outcome = fakeSsh([...shell, ...strace, program, ...args], options);
  let ended = false as boolean;
  void outcome.finally(() => (ended = true)).catch(() => undefined);
  while (!existsSync(file)) {
    if (ended) assert.fail(`it has not started: ${(await outcome).stderr}`);
    await sleep(1);
  }
  const pid = Number(readFileSync(file, "utf8"));
  const kill = (signal: NodeJS.Signals): void => {
    if (!ended && existsSync(`/proc/${pid}`)) process.kill(pid, signal);
  };
  const effects = (): number =>
    traced ? [...readFileSync(log, "latin1").matchAll(interrupted)].length : STORM;
  return {
    pid,
    outcome,
    kill,
    /** Sends the signals in turn, one every 5 ms, until it has ended. */
    async storm(signals: NodeJS.Signals[], whenFelt = () => undefined): Promise<FakeSshOutcome> {
      let sent = 0;
      for (; !ended; sent++) {
        kill(signals[sent % signals.length] as NodeJS.Signals);
        if (sent >= 2 * STORM && effects() >= STORM) whenFelt();
        await sleep(5);
      }
      const { stderr } = await outcome;
      assert.ok(sent >= STORM && effects() >= STORM, `${effects()} of ${sent} signals: ${stderr}`);
      return outcome;
    },
  };
}

/** A multiplexer that has read the request, and the executable that waits for the reply. */
async function startAsking(timeout: string) {
  const at = newSocket();
  const server = net.createServer().listen(at).unref();
  const asked = async (): Promise<net.Socket> => {
    const [guest] = (await once(server, "connection")) as [net.Socket];
    await once(guest, "data");
    return guest.on("error", () => undefined);
  };
  const guest = asked();
  const address = `vsock-mux${at}`;
  const running = await start([`--timeout=${timeout}`, address], talk);
  const ended = running.outcome.then(({ stderr }) => assert.fail(stderr));
  return { ...running, address, guest: await Promise.race([guest, ended]) };
}

describe("signals during a wait", group, () => {
  const storms: [string, NodeJS.Signals[], boolean][] = [
    ["SIGWINCH every 5 ms", ["SIGWINCH"], true],
    ["SIGSTOP and SIGCONT every 5 ms", ["SIGSTOP", "SIGCONT"], false],
  ];
  for (const [what, signals, traced] of storms) {
    it(`${what}: a slow reply is read`, async () => {
      const address = `vsock-mux${peers.multiplexer.socket("bytewise")}`;
      passed(await (await start(["--timeout=60s", address], talk, traced)).storm(signals));
    });
    it(`${what}: the deadline of a silent multiplexer holds`, async () => {
      const address = silence();
      const running = await start(["--timeout=500ms", address], {}, traced);
      const outcome = await running.storm(signals);
      failed(outcome, address, Code.ReplyTimeout);
      lasted(500, outcome);
    });
    it(`${what}: the deadline of a full accept queue holds`, async () => {
      const address = `unix${peers.folder}/full`;
      const running = await start(["--timeout=500ms", address], {}, traced);
      const outcome = await running.storm(signals);
      failed(outcome, address, Code.QueueFull);
      lasted(500, outcome);
    });
    it(`${what}: connects once the accept queue has room`, async () => {
      const at = newSocket();
      const listener = await listen(at, { mode: "full" });
      try {
        const running = await start(["--timeout=60s", `unix${at}`], talk, traced);
        await waitsIn(running.pid, CONNECT);
        let isOpen = false;
        const open = (): undefined => {
          if (!isOpen) listener.open();
          isOpen = true;
        };
        passed(await running.storm(signals, open));
      } finally {
        await listener.close();
      }
    });
  }

  it("stopped past its deadline, it takes the reply that arrived meanwhile", async () => {
    const { kill, guest, outcome } = await startAsking("2s");
    kill("SIGSTOP");
    guest.write(`OK 22\n${greeting}`);
    guest.pipe(guest);
    await sleep(2100);
    kill("SIGCONT");
    passed(await outcome);
  });

  const TIMEOUT_MS = 5000;
  /** Stops it until its deadline is over; then it ends soon, and not after another timeout. */
  async function endsSoon(
    running: Awaited<ReturnType<typeof start>>,
    call: number,
    address: string,
    code: Code,
  ) {
    await waitsIn(running.pid, call);
    running.kill("SIGSTOP");
    await sleep(TIMEOUT_MS + 100);
    running.kill("SIGCONT");
    const since = performance.now();
    failed(await running.outcome, address, code);
    const ms = performance.now() - since;
    assert.ok(ms < 0.8 * TIMEOUT_MS, `${ms} ms, as if the deadline had been renewed`);
  }
  it("stopped past its deadline in a full accept queue, it ends once continued", async () => {
    const address = `unix${peers.folder}/full`;
    const running = await start([`--timeout=${TIMEOUT_MS}ms`, address]);
    await endsSoon(running, CONNECT, address, Code.QueueFull);
  });
  it("stopped past its deadline before the reply, it ends once continued", async () => {
    const running = await startAsking(`${TIMEOUT_MS}ms`);
    await endsSoon(running, PPOLL, running.address, Code.ReplyTimeout);
  });
});

describe("limits", group, () => {
  const limited = (
    limit: string,
    args: string[],
    env?: NodeJS.ProcessEnv,
  ): Promise<FakeSshOutcome> =>
    fakeSsh([tool("prlimit"), limit, program, ...args], { ...talk, ...(env && { env }) });

  it("descriptors: 71 up to a limit, then success", async () => {
    const long = path.join(peers.folder, "d".repeat(120), "s");
    for (const [address, needed] of [
      [`unix${peers.folder}/s`, 4],
      [`unix${long}`, 5],
      [`vsock-mux${peers.multiplexer.socket("firecracker")}`, 4],
    ] as const) {
      for (let number = 0; number < 8; number++) {
        const outcome = await limited(`--nofile=${number}`, [address]);
        if (number >= needed) passed(outcome);
        else failed(outcome, address, Code.DescriptorLimit);
      }
    }
  });

  it("address space: no start, then out of memory, then success", async () => {
    // An argument larger than the memory at the start.
    const address = `unix${peers.folder}/s`;
    const args = ["--fdpass", address, "22", "x".repeat(100_000)];
    const stages: string[] = [];
    for (let size = 2 ** 14; size <= 2 ** 23; size = Math.ceil((size * 1.15) / 4096) * 4096) {
      const outcome = await limited(`--as=${size}`, args);
      if (outcome.exit === 126) {
        // prlimit's status: execve(2) has no room for the arguments.
        stages.push("no start");
      } else if (outcome.signal !== null) {
        // execve(2) cannot map the file or its stack and can no longer return. --version, which
        // needs no other memory, does not start either with as much on the stack.
        const least = await limited(`--as=${size}`, ["--version"], { PAD: "x".repeat(108_000) });
        const neither = least.exit === null || least.exit === 126;
        assert.ok(neither, `${outcome.signal}, and --version runs in ${size} bytes`);
        stages.push("no start");
      } else if (outcome.exit === 0) {
        passed(outcome);
        stages.push("success");
      } else {
        failed(outcome, address, Code.MemoryLimit);
        stages.push("out of memory");
      }
    }
    assert.deepEqual(
      stages.filter((stage, i) => stage !== stages[i - 1]),
      ["no start", "out of memory", "success"],
    );
  });

  it("file size: what the log cannot hold is lost, and that is no failure", async () => {
    for (const size of [0, 1, 50, 100, 150, 200, 1000]) {
      const log = path.join(peers.folder, `log-${size}`);
      passed(await limited(`--fsize=${size}`, [`--log-file=${log}`, `unix${peers.folder}/s`]));
      assert.ok(statSync(log).size <= size);
      assert.ok(size < 1000 || /: handed the /.test(readFileSync(log, "utf8")));
    }
  });
});

/** The executable with these descriptors, which are closed here; killed if it hangs. */
function launch(args: string[], stdin: number | "ignore", stdout: number | "pipe") {
  const child = spawn(program, args, { stdio: [stdin, stdout, "pipe"] });
  for (const fd of [stdin, stdout]) if (typeof fd === "number") closeSync(fd);
  let stderr = "";
  child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
  const watchdog = setTimeout(() => child.kill("SIGKILL"), RUN_TIMEOUT_MS);
  const ended = once(child, "close").then((values): Ended => {
    clearTimeout(watchdog);
    const [exit, signal] = values as [number | null, NodeJS.Signals | null];
    return { exit, signal, stderr };
  });
  return { child, ended, waitsIn: (call: number) => waitsIn(child.pid as number, call) };
}

/** A relay between two pipes, whose other ends are here; `input` is there before it starts. */
function startRelay(args: string[], input: Buffer | string = "") {
  const [up, down] = [makePipe(), makePipe()];
  const stdin = new net.Socket({ fd: up.write, readable: false, writable: true });
  stdin.on("error", () => undefined).write(input);
  const launched = launch(args, up.read, down.write);
  const stdout = new net.Socket({ fd: down.read, readable: true, writable: false });
  const parts: Buffer[] = [];
  stdout.on("data", (part: Buffer) => parts.push(part));
  const output = once(stdout, "close").then(() => Buffer.concat(parts));
  const exitClient = (): void => {
    stdin.destroy();
    stdout.destroy();
  };
  return { ...launched, stdin, stdout, output, exitClient };
}

describe("a peer that is killed", group, () => {
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill();
  });
  /** Starts a peer that dies at `step`, and returns its socket. */
  async function startDying(step: string): Promise<string> {
    const at = newSocket();
    const script = path.join(root, "tests/syscalls/dying-peer.py");
    const child = spawn(tool("python3"), [script, at, step], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const ready = await Promise.race([once(child.stdout, "data"), once(child, "close")]);
    assert.match(String(ready[0]), /^ready/);
    return at;
  }
  for (const step of ["before-accept", "after-accept", "after-request", "within-line"]) {
    // The end is a reset if bytes were left unread.
    const codes =
      step === "within-line" ? [Code.EndWithinLine] : [Code.EndOfFile, Code.ResetInHandshake];
    it(`a multiplexer, ${step}: ${codes.map((code) => Code[code]).join(" or ")}`, async () => {
      const address = `vsock-mux${await startDying(step)}`;
      failed(await fakeSsh([program, address]), address, ...codes);
    });
  }
  for (const [scheme, step] of [
    ["vsock-mux", "after-line"],
    ["unix", "before-accept"],
  ] as const) {
    it(`${scheme}, ${step}: the descriptor is passed and at end of file`, async () => {
      const command = [program, `${scheme}${await startDying(step)}`];
      const { exit, fds, read } = await fakeSsh(command, { readBytes: 1, readMs: 30_000 });
      assert.deepEqual([exit, fds, read?.length], [0, 1, 0]);
    });
  }
  for (const step of ["before-accept", "after-accept", "relaying"]) {
    it(`a relay's peer, ${step}: 69`, async () => {
      const address = `unix${await startDying(step)}`;
      const relay = startRelay([address], Buffer.alloc(1_000_000));
      failed(await relay.ended, address, Code.PeerClosed);
      relay.stdin.destroy();
      assert.equal((await relay.output).toString(), step === "relaying" ? greeting : "");
    });
  }
});

describe("a client that is killed", group, () => {
  it("while a multiplexer is silent: 71 when that attempt is over", async () => {
    const address = silence();
    const args = ["--fdpass", "--wait=20m", "--timeout=500ms", address];
    const since = performance.now();
    const { child, ended, waitsIn } = launch(args, "ignore", "pipe");
    await waitsIn(PPOLL);
    child.stdout?.destroy();
    failed(await ended, address, Code.ClientGone);
    assert.ok(performance.now() - since >= 500);
  });
  it("during a relay, with nothing left to be passed on: 0", async () => {
    const relay = startRelay([`unix${peers.folder}/s`]);
    await Promise.race([once(relay.stdout, "data"), relay.ended]);
    await relay.waitsIn(PPOLL);
    relay.exitClient();
    assert.deepEqual(await relay.ended, { exit: 0, signal: null, stderr: "" });
  });
});
