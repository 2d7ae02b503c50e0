// The standalone executable where the kernel, or somebody at another end, lets it down. By strace's
// injections every system call of every scenario of faults.ts fails once with every errno that its
// man page has, or comes with a signal, and some answer less than was asked for. For real it is put
// under limits, stopped, and met by peers and by an ssh that are killed.
//
// A failure of an injected run ends with the command that makes that run again; any failure is
// followed by the one that runs its test alone.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, afterEach, before, describe, it } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ensureTools, tool } from "../support/tools";
import {
  HANGS_MS,
  attempt,
  callsOf,
  injectionOf,
  program,
  replay,
  scenarios,
  startPeers,
  struck,
} from "./faults";
import type { Attempt, Fault, Peers, Scenario } from "./faults";
import { greeting, listen } from "../support/listener";
import { errorsOf, listedCalls } from "./errnos";
import { makePipe } from "../support/pipes";
import { compile, fakeSsh } from "../support/fake-ssh";
import type { FakeSshOutcome as Outcome, FakeSshOptions } from "../support/fake-ssh";
import { documentedCalls } from "../support/system-calls";

/** Runs at the same time: most of a run is waiting for others to be scheduled. */
const AT_ONCE = 8;
/** So many failures of a scenario are told. */
const ENOUGH = 5;
/** Ten times what the longest of them takes. */
const limit = { timeout: 900_000 };

let peers: Peers & { close: () => Promise<void> };
let made = 0;
let missed = 0;
/** The calls that some scenario makes. */
const seen = new Set<string>();

before(async () => {
  ensureTools(["cc", "strace", "prlimit"]);
  peers = await startPeers();
});
after(async () => {
  await peers.close();
  console.log(`# ${made} runs with a fault, and ${missed} that ended before theirs`);
});

afterEach((context) => {
  // Since Node 20.12; @types/node leaves it out.
  const test = context as TestContext & { error?: unknown };
  if (!test.error) return;
  const pattern = test.name.replaceAll(/[^\w ,:-]/g, ".");
  test.diagnostic(`npx tsx --test --test-name-pattern '${pattern}' tests/syscalls/faults.test.ts`);
});

/** A failure: the command that makes it again, and what that shows. */
function told(command: string, { wrong, stderr }: Attempt): string {
  return [command, ...wrong, stderr].join("\n    ");
}

/** What is injected into a call. */
type Injections = (call: string, line: string) => string[];

/** Runs the scenario once in peace, and once for each injection into each of its calls. */
async function tryAll(name: string, injections: Injections): Promise<void> {
  const peace = await attempt(peers, name);
  assert.equal(peace.wrong.length, 0, told(replay(name), peace));
  const { always, only } = scenarios[name] as Scenario;
  const own = always?.map((text) => text.split(":")[0]);
  const faults = callsOf(peace.trace).flatMap(({ call, when, line }): Fault[] => {
    seen.add(call);
    // strace takes one injection for a call: in the place of the scenario's own, which is the first.
    if (only?.includes(call) === false || (own?.includes(call) && when > 1)) return [];
    return injections(call, line).map((what) => ({ call, when, what }));
  });
  assert.ok(faults.length > 0, "nothing to inject");
  const failures: string[] = [];
  const spared = new Set(faults.map(({ call }) => call));
  const work = async (): Promise<void> => {
    for (let fault; failures.length < ENOUGH && (fault = faults.shift()) !== undefined;) {
      const injection = injectionOf(fault);
      const tried = await attempt(peers, name, injection);
      made++;
      if (struck(tried.trace, fault) === undefined) missed++;
      else spared.delete(fault.call);
      if (tried.wrong.length > 0) failures.push(told(replay(name, injection), tried));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  assert.equal(failures.length, 0, `\n${failures.join("\n")}`);
  assert.equal(spared.size, 0, `${replay(name)}: no fault has come to ${[...spared].join()}`);
}

describe("every system call fails once, with every errno of its man page", limit, () => {
  it("there are errnos for every call that docs/standalone.md lists", () => {
    assert.deepEqual(listedCalls, documentedCalls());
  });
  for (const name of Object.keys(scenarios)) {
    it(name, () => tryAll(name, (call) => errorsOf(call).map((error) => `error=${error}`)));
  }
  it("and every call is made by one of them, but that which tells of a defect", () => {
    assert.deepEqual(
      documentedCalls().filter((call) => !seen.has(call)),
      ["write"],
    );
  });
});

describe("a signal comes with each system call", limit, () => {
  for (const name of Object.keys(scenarios)) {
    it(`${name}: SIGWINCH is nothing, SIGTERM the end`, () =>
      tryAll(name, () => ["signal=SIGWINCH", "signal=SIGTERM"]));
  }
});

describe("a system call answers less than was asked for", limit, () => {
  /** Every length up to that of the only buffer, or only every so many. */
  function lengths(line: string, first: number, step: number): string[] {
    const size = Number(/iov_len=(\d+)/.exec(line)?.[1]);
    return Array.from(
      { length: Math.ceil((size - first) / step) },
      (_, i) => `retval=${first + i * step}`,
    );
  }

  it("the rest of a line for stderr is written then", () =>
    tryAll("nobody-listens", (call, line) => (call === "writev" ? lengths(line, 1, 10) : [])));
  it("a request that leaves in part is a failure", () =>
    tryAll("vsock-mux/", (_, line) => (line.includes('"CONNECT') ? lengths(line, 0, 1) : [])));
  it("the end before the answer is a failure, and the end while it is taken", () =>
    tryAll("vsock-mux/", (call) => (call === "recvmsg" ? ["retval=0"] : [])));
});

/** So many signals make a storm, of the hundred or so that there is time for. */
const STORM = 10;
/** A wait that a signal has ended, and the next line of strace's. */
const interrupted = /^(connect|ppoll)\(.* (EINTR|ERESTARTNOHAND) .*\n--- SIGWINCH /gm;
/** x86-64's numbers of connect(2) and ppoll(2). */
const CONNECT = 42;
const PPOLL = 271;

/**
 * The executable as ssh's command, and its process. What is ignored unless there is a handler, as
 * SIGWINCH is, comes only to a process that is traced (sig_ignored in the kernel's signal.c): there it
 * ends connect(2) with EINTR, and ppoll(2), which the kernel begins again for what is left of its time.
 */
function start(args: string[], options: FakeSshOptions = {}, traced = false) {
  const own = mkdtempSync(path.join(peers.folder, "real-"));
  const file = path.join(own, "pid");
  const log = path.join(own, "strace");
  const strace = traced ? [tool("strace"), "-D", "-qq", "-o", log] : [];
  const shell = ["/bin/sh", "-c", 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec "$@"', file];
  const outcome = fakeSsh([...shell, ...strace, program, ...args], options);
  let over = false;
  void outcome.finally(() => (over = true)).catch(() => undefined);
  const pid = async (): Promise<number> => {
    while (!existsSync(file)) {
      if (over) assert.fail(`it has not begun: ${(await outcome).stderr}`);
      await sleep(1);
    }
    return Number(readFileSync(file, "utf8"));
  };
  return {
    outcome,
    /** Sends the signals in turn, `every` milliseconds one, until it has ended; enough are felt. */
    async storm(signals: NodeJS.Signals[], every: number): Promise<Outcome> {
      const target = await pid();
      let sent = 0;
      for (; !over; sent++) {
        send(target, signals[sent % signals.length] as NodeJS.Signals);
        await sleep(every);
      }
      const { stderr } = await outcome;
      const felt = traced ? [...readFileSync(log, "latin1").matchAll(interrupted)].length : sent;
      assert.ok(felt >= STORM, `${felt} of ${sent} signals were felt: ${stderr}`);
      return outcome;
    },
    /** Until it waits in the system call of this number. */
    async waitsIn(call: number): Promise<void> {
      const file = `/proc/${await pid()}/syscall`;
      while (!readFileSync(file, "latin1").startsWith(`${call} `)) await sleep(1);
    },
    async send(signal: NodeJS.Signals): Promise<void> {
      if (!over) send(await pid(), signal);
    },
  };
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

const talk = { write: Buffer.from("ping"), readBytes: greeting.length + 4, readMs: 30_000 };

function handedOver({ exit, signal, fds, bytes, stderr, read, socket }: Outcome): void {
  assert.deepEqual(
    { exit, signal, fds, bytes },
    { exit: 0, signal: null, fds: 1, bytes: 1 },
    stderr,
  );
  assert.equal(read?.toString(), `${greeting}ping`);
  assert.deepEqual([socket?.nonblock, socket?.changed], [false, []]);
}

function failed(outcome: Outcome, exit: number, reason: RegExp): void {
  const { signal, fds, bytes, stderr } = outcome;
  const expected = { exit, signal: null, fds: 0, bytes: 0 };
  assert.deepEqual({ exit: outcome.exit, signal, fds, bytes }, expected, stderr);
  assert.match(stderr, /^ssh-vsock-proxy: \P{Cc}+\n$/u);
  assert.match(stderr, reason);
}

/** It ended at its deadline: not before, and a busy machine's while after that at most. */
function lasted({ exitNs }: Outcome, ms: number): void {
  assert.ok(exitNs >= ms * 1e6 && exitNs < (ms + 10_000) * 1e6, `${exitNs / 1e6} ms for ${ms}`);
}

describe("signals while it waits", limit, () => {
  const storms: [string, NodeJS.Signals[], boolean][] = [
    ["200 SIGWINCH a second", ["SIGWINCH"], true],
    ["SIGSTOP and SIGCONT, 200 a second", ["SIGSTOP", "SIGCONT"], false],
  ];
  for (const [what, signals, traced] of storms) {
    it(`${what}: a multiplexer that takes its time is understood`, async () => {
      const address = `vsock-mux${peers.multiplexer.socket("bytewise")}`;
      handedOver(await start(["--timeout=60s", address], talk, traced).storm(signals, 5));
    });
    it(`${what}: the deadline of a silent one is kept`, async () => {
      const address = `vsock-mux${peers.multiplexer.socket("silence")}`;
      const outcome = await start(["--timeout=500ms", address], {}, traced).storm(signals, 5);
      failed(outcome, 75, /no answer from the multiplexer/);
      lasted(outcome, 500);
    });
    it(`${what}: the deadline of a full queue is kept`, async () => {
      const address = `unix${peers.folder}/full`;
      const outcome = await start(["--timeout=500ms", address], {}, traced).storm(signals, 5);
      failed(outcome, 75, /queue is full/);
      lasted(outcome, 500);
    });
    it(`${what}: a place in a full queue is waited for`, async () => {
      const at = path.join(peers.folder, signals.join("-"));
      const listener = await listen(at, { mode: "full" });
      try {
        const running = start(["--timeout=60s", `unix${at}`], talk, traced);
        const open = async () => {
          await running.waitsIn(CONNECT);
          await sleep(300);
          listener.open();
        };
        const [outcome] = await Promise.all([running.storm(signals, 5), open()]);
        handedOver(outcome);
      } finally {
        await listener.close();
      }
    });
  }

  /** A multiplexer has read the request, and answers when it is told to. */
  async function startAsking(timeout: string) {
    const at = path.join(mkdtempSync(path.join(peers.folder, "asked-")), "s");
    const server = net.createServer().listen(at).unref();
    const asked = async (): Promise<net.Socket> => {
      const [guest] = (await once(server, "connection")) as [net.Socket];
      await once(guest, "data");
      return guest.on("error", () => undefined);
    };
    const running = start([`--timeout=${timeout}`, `vsock-mux${at}`], talk);
    const ended = running.outcome.then(({ stderr }) => assert.fail(stderr));
    return { running, guest: await Promise.race([asked(), ended]) };
  }

  it("stopped beyond its deadline, it takes the answer that has come meanwhile", async () => {
    const { running, guest } = await startAsking("2s");
    await running.send("SIGSTOP");
    guest.write(`OK 22\n${greeting}`);
    guest.pipe(guest);
    await sleep(2100);
    await running.send("SIGCONT");
    handedOver(await running.outcome);
  });

  /** It waits, and is stopped beyond its deadline of 5 s: it ends soon after it goes on. */
  async function endsSoon(running: ReturnType<typeof start>, call: number, reason: RegExp) {
    await running.waitsIn(call);
    await running.send("SIGSTOP");
    await sleep(5100);
    await running.send("SIGCONT");
    const since = performance.now();
    failed(await running.outcome, 75, reason);
    const ms = performance.now() - since;
    assert.ok(ms < 4000, `${ms} ms, as if the deadline were a new one`);
  }
  it("stopped beyond its deadline in a full queue, it ends as soon as it goes on", async () => {
    await endsSoon(start(["--timeout=5s", `unix${peers.folder}/full`]), CONNECT, /queue is full/);
  });
  it("stopped beyond its deadline while a multiplexer is silent, it ends soon", async () => {
    const { running } = await startAsking("5s");
    await endsSoon(running, PPOLL, /no answer from the multiplexer/);
  });

  for (const [name, call] of [
    ["silence", "ppoll"],
    ["full-queue", "connect"],
  ] as const) {
    it(`${name}: EINTR again and again does not move the deadline`, async () => {
      const storm = `${call}:error=EINTR:delay_exit=50000:when=2..40`;
      const tried = await attempt(peers, name, storm);
      made++;
      assert.equal(tried.wrong.length, 0, told(replay(name, storm), tried));
    });
  }
});

describe("limits", limit, () => {
  const limited = (limit: string, args: string[], env?: NodeJS.ProcessEnv): Promise<Outcome> =>
    fakeSsh([tool("prlimit"), limit, program, ...args], { ...talk, ...(env && { env }) });

  it("any number of descriptors: too many open files, and from some number on a success", async () => {
    const long = path.join(peers.folder, "d".repeat(120), "s");
    for (const [address, needed] of [
      [`unix${peers.folder}/s`, 4],
      [`unix${long}`, 5],
      [`vsock-mux${peers.multiplexer.socket("firecracker")}`, 4],
    ] as const) {
      for (let number = 0; number < 8; number++) {
        const outcome = await limited(`--nofile=${number}`, [address]);
        if (number >= needed) handedOver(outcome);
        else failed(outcome, 71, /: too many open files\n$/);
      }
    }
  });

  it("any address space: no start, then out of memory, and from some size on a success", async () => {
    // An argument that is larger than the memory that there is to begin with.
    const args = ["--fdpass", `unix${peers.folder}/s`, "22", "x".repeat(100_000)];
    const stages: string[] = [];
    for (let size = 2 ** 14; size <= 2 ** 23; size = Math.ceil((size * 1.15) / 4096) * 4096) {
      const outcome = await limited(`--as=${size}`, args);
      if (outcome.exit === 126) {
        // prlimit's: execve(2) has no room for the arguments.
        stages.push("no start");
      } else if (outcome.signal !== null) {
        // execve(2) cannot map the file or its stack, when it is too late to say so; no more does it
        // for --version with as much on the stack, which needs no other memory.
        const least = await limited(`--as=${size}`, ["--version"], { PAD: "x".repeat(108_000) });
        const neither = least.exit === null || least.exit === 126;
        assert.ok(neither, `${outcome.signal}, and ${size} bytes do for --version`);
        stages.push("no start");
      } else if (outcome.exit === 0) {
        handedOver(outcome);
        stages.push("success");
      } else {
        failed(outcome, 71, /: out of memory\n$/);
        stages.push("out of memory");
      }
    }
    assert.deepEqual(
      stages.filter((stage, i) => stage !== stages[i - 1]),
      ["no start", "out of memory", "success"],
    );
  });

  it("any size of the log: what does not fit is lost, and no failure", async () => {
    for (const size of [0, 1, 50, 100, 150, 200, 1000]) {
      const log = path.join(peers.folder, `log-${size}`);
      handedOver(await limited(`--fsize=${size}`, [`--log-file=${log}`, `unix${peers.folder}/s`]));
      assert.ok(statSync(log).size <= size);
      assert.ok(size < 1000 || /: handed the /.test(readFileSync(log, "utf8")));
    }
  });
});

describe("a peer that is killed", limit, () => {
  const children: ChildProcess[] = [];
  after(() => {
    // Those that nobody has connected to.
    for (const child of children) child.kill();
  });
  /** Starts one that dies at `step`; gives its socket. */
  async function mortal(step: string): Promise<string> {
    const at = path.join(mkdtempSync(path.join(peers.folder, "mortal-")), "s");
    const child = spawn(await compile("dying-peer"), [at, step], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    const told = await Promise.race([once(child.stdout, "data"), once(child, "close")]);
    assert.equal(String(told[0]), "ready\n");
    return at;
  }
  const multiplexers: [string, number, RegExp][] = [
    ["before-accept", 69, /connection (reset|closed)/],
    ["after-accept", 69, /connection (reset|closed)/],
    ["after-request", 69, /connection (reset|closed)/],
    ["within-line", 76, /closed in the middle of the multiplexer's OK line/],
  ];
  for (const [step, exit, reason] of multiplexers) {
    it(`a multiplexer, ${step}: ${exit}`, async () => {
      failed(await fakeSsh([program, `vsock-mux${await mortal(step)}`]), exit, reason);
    });
  }
  it("a multiplexer, after-line: handed over, and ended", async () => {
    const { exit, fds, read, readEof } = await fakeSsh(
      [program, `vsock-mux${await mortal("after-line")}`],
      { readBytes: 1, readMs: 30_000 },
    );
    assert.deepEqual([exit, fds, read?.length, readEof], [0, 1, 0, true]);
  });
  it("a socket's owner, before-accept: handed over, and ended", async () => {
    const command = [program, `unix${await mortal("before-accept")}`];
    const { exit, fds, read } = await fakeSsh(command, { readBytes: 1, readMs: 30_000 });
    assert.deepEqual([exit, fds, read?.length], [0, 1, 0]);
  });
  for (const step of ["before-accept", "after-accept", "relaying"]) {
    it(`while it is relayed to, ${step}: 69`, async () => {
      const relay = startRelay([`unix${await mortal(step)}`], Buffer.alloc(1_000_000));
      const { exit, signal, stderr } = await relay.ended;
      assert.deepEqual({ exit, signal }, { exit: 69, signal: null }, stderr);
      assert.match(
        stderr,
        /^[^\n]*: connection closed by the machine before it took everything\n$/,
      );
      relay.stdin.destroy();
      assert.equal((await relay.output).toString(), step === "relaying" ? greeting : "");
    });
  }
});

/** The executable between these two descriptors, which are closed here; killed where it hangs. */
function launch(args: string[], stdin: number, stdout: number) {
  const child = spawn(program, args, { stdio: [stdin, stdout, "pipe"] });
  closeSync(stdin);
  closeSync(stdout);
  let stderr = "";
  child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
  const watchdog = setTimeout(() => child.kill("SIGKILL"), HANGS_MS);
  return once(child, "close").then((values) => {
    clearTimeout(watchdog);
    const [exit, signal] = values as [number | null, NodeJS.Signals | null];
    return { exit, signal, stderr };
  });
}

/** A relay between two pipes, whose other ends are here; `input` is there before it starts. */
function startRelay(args: string[], input: Buffer | string = "") {
  const up = makePipe();
  const down = makePipe();
  const stdin = new net.Socket({ fd: up.write, readable: false, writable: true });
  stdin.on("error", () => undefined).write(input);
  const ended = launch(args, up.read, down.write);
  const stdout = new net.Socket({ fd: down.read, readable: true, writable: false });
  const parts: Buffer[] = [];
  stdout.on("data", (part: Buffer) => parts.push(part));
  const output = once(stdout, "close").then(() => Buffer.concat(parts));
  return { stdin, stdout, output, ended };
}

describe("an ssh that is killed", limit, () => {
  it("before the hand-over: 71", async () => {
    const outcome = await fakeSsh([program, `unix${peers.folder}/s`], { gone: true });
    failed(outcome, 71, /nobody waits for the connection any more/);
  });
  it("between two attempts: 71, long before the end of --wait", async () => {
    const args = ["--fdpass", "--wait=20m", `unix${peers.folder}/nobody`];
    const outcome = await fakeSsh([program, ...args], { gone: true, hold: "blocked" });
    failed(outcome, 71, /nobody waits for the connection any more/);
  });
  it("while a multiplexer is silent: 71 when that attempt is over", async () => {
    const address = `vsock-mux${peers.multiplexer.socket("silence")}`;
    const args = ["--fdpass", "--wait=20m", "--timeout=500ms", address];
    const outcome = await fakeSsh([program, ...args], { gone: true, hold: "blocked" });
    failed(outcome, 71, /nobody waits for the connection any more/);
    lasted(outcome, 500);
  });
  it("while the hand-over waits for it: 71", async () => {
    const args = ["--fdpass", `unix${peers.folder}/s`];
    const outcome = await fakeSsh([program, ...args], { gone: true, hold: "blocked" });
    failed(outcome, 71, /nobody waits for the connection any more/);
  });

  /** A relay, and a process that has the other ends of its pipes. */
  function between(args: string[]) {
    const up = makePipe();
    const down = makePipe();
    const holder = spawn("sleep", ["600"], { stdio: [down.read, up.write, "ignore"] });
    const ended = launch(args, up.read, down.write);
    closeSync(up.write);
    closeSync(down.read);
    return { holder, ended };
  }
  it("between two attempts of a relay: 71", async () => {
    const { holder, ended } = between(["--wait=20m", `unix${peers.folder}/nobody`]);
    await sleep(300);
    holder.kill("SIGKILL");
    const { exit, signal, stderr } = await ended;
    assert.deepEqual({ exit, signal }, { exit: 71, signal: null });
    assert.match(
      stderr,
      /^ssh-vsock-proxy: [^\n]*: nobody waits for the connection any more [^\n]*\n$/,
    );
  });
  it("while it relays, with nothing left to be passed on: 0", async () => {
    const { holder, ended } = between([`unix${peers.folder}/s`]);
    await sleep(300);
    holder.kill("SIGKILL");
    assert.deepEqual(await ended, { exit: 0, signal: null, stderr: "" });
  });
  it("whoever reads a relay's output is gone, whoever writes its input is not: 71", async () => {
    const relay = startRelay([`unix${peers.folder}/s`]);
    await Promise.race([once(relay.stdout, "data"), relay.ended]);
    relay.stdout.destroy();
    const { exit, signal, stderr } = await relay.ended;
    assert.deepEqual({ exit, signal }, { exit: 71, signal: null });
    assert.match(stderr, /^ssh-vsock-proxy: [^\n]*: nobody reads standard output any more\n$/);
    relay.stdin.destroy();
  });
});
