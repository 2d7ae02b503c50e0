// Runs the standalone executable under strace(1), which injects into its system calls: an errno, a
// signal, or a result that is less than was asked for. syscalls.test.ts injects into every call of
// every scenario; this makes one run, and prints everything that there is to see of it:
//
//     node --import ./tests/tsx.mjs tests/syscalls/run.ts SCENARIO [INJECTION]
//     node --import ./tests/tsx.mjs tests/syscalls/run.ts vsock-mux/ sendmsg:error=EPIPE:when=2
//
// INJECTION is strace's (--inject). verdict.ts says what has to hold of a run.

import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import path from "node:path";

import type { Case } from "../support/case";
import { fakeSsh } from "../support/fake-ssh";
import { MACHINED } from "../support/services";
import { greeting } from "../support/listener";
import { makePipe } from "../support/pipes";
import { ensureTools, tool } from "../support/tools";
import {
  GONE,
  INPUT,
  PING,
  RUN_TIMEOUT_MS,
  caseOf,
  injectionIn,
  program,
  runtimeDirectory,
  saysGone,
  scenarios,
  startPeers,
  textOf,
} from "./scenarios";
import type { Injection, Peers, Run, Scenario } from "./scenarios";
import { judge } from "./verdict";

async function run(
  name: string,
  scenario: Scenario,
  peers: Peers,
  injection?: Injection,
): Promise<Run> {
  const own = mkdtempSync(path.join(peers.folder, "run-"));
  scenario.prepare?.(own);
  const log = path.join(own, "strace");
  const injections = [...(scenario.always ?? []), ...(injection ? [textOf(injection)] : [])];
  const one = caseOf(name, scenario, peers, own);
  // -D: the executable stays the child of the process that starts this.
  const command = [
    ...[tool("strace"), "-D", "-qq", "-s", "512", "-o", log],
    ...["-E", `XDG_RUNTIME_DIR=${runtimeDirectory(peers)}`],
    ...injections.flatMap((text) => ["-e", `inject=${text}`]),
    ...[program, ...one.args.map(String)],
  ];
  try {
    const ended =
      scenario.relay === undefined
        ? await runForSsh(command, one)
        : await runRelay(
            command,
            scenario.relay,
            own,
            saysGone(scenario, injection) ? log : undefined,
          );
    const trace = readFileSync(log, "latin1").split("\n").slice(1, -1);
    const connections = scenario.relay === undefined ? { connections: connectionsIn(trace) } : {};
    const stderr = Buffer.concat([notWritten(trace), ended.stderr]);
    return { case: one, ...ended, ...connections, stderr, trace };
  } finally {
    rmSync(own, { recursive: true });
  }
}

/** The bytes that writev(2) claimed to have written to stderr, where its result was injected. */
function notWritten(trace: readonly string[]): Buffer {
  const injected = /^writev\(2, .*iov_base=("[^"]*").* = (\d+) \(INJECTED\)/;
  const [, text = '""', length] =
    injected.exec(trace.find((line) => injected.test(line)) ?? "") ?? [];
  return Buffer.from(JSON.parse(text) as string).subarray(0, Number(length ?? 0));
}

type Ended = Omit<Run, "trace" | "case">;

async function runForSsh(command: string[], { world }: Case): Promise<Ended> {
  const closed = { stdin: "closed", stderr: "closed" } as const;
  const outcome = await fakeSsh(command, {
    ...(world.stderr === "closed" ? closed : {}),
    deadlineMs: RUN_TIMEOUT_MS,
    write: PING,
    readBytes: greeting.length + PING.length,
    readMs: RUN_TIMEOUT_MS,
  });
  const { exit, signal, stderrBytes: stderr, fds, bytes, read, socket, timedOut: hung } = outcome;
  const passed = fds > 0 || bytes > 0 ? [{ bytes: Buffer.alloc(bytes), descriptors: fds }] : [];
  const ended = { exit, signal, hung, stderr, passed };
  return { ...ended, ...(read && { read }), ...(socket && { socket }) };
}

/** What was sent over each connection, and taken from it; without the services'. */
function connectionsIn(trace: readonly string[]): { sent: Buffer; taken: number }[] {
  const connections: { sent: Buffer; taken: number }[] = [];
  let last: { sent: Buffer; taken: number } | undefined;
  for (const line of trace) {
    const [, call, result] = /^(\w+)\(.* = (\d+)/.exec(line) ?? [];
    if (call === "connect") {
      last = line.includes(MACHINED) ? undefined : { sent: Buffer.of(), taken: 0 };
      if (last !== undefined) connections.push(last);
    }
    if (last === undefined) continue;
    const [, sent] = /^sendmsg\(.*iov_base=("CONNECT[^"]*")/.exec(line) ?? [];
    if (sent !== undefined && result !== undefined) {
      last.sent = Buffer.concat([
        last.sent,
        Buffer.from(JSON.parse(sent) as string).subarray(0, Number(result)),
      ]);
    }
    if (call === "recvmsg" && !line.includes("MSG_PEEK")) last.taken += Number(result);
  }
  return connections;
}

/** Greets, and sends back what it gets; with `log` it leaves once strace has injected. */
async function serve(at: string, log: string | undefined): Promise<() => void> {
  const sockets = new Set<net.Socket>();
  const leave = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const injected = new RegExp(`(${GONE.join("|")}) .*\\(INJECTED\\)`);
  const watch = setInterval(() => {
    if (log !== undefined && existsSync(log) && injected.test(readFileSync(log, "latin1"))) leave();
  }, 5);
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on("error", () => undefined));
    socket.write(greeting);
    socket.pipe(socket);
  });
  // Where the run fails to start, the tests end all the same.
  await once(server.listen(at).unref(), "listening");
  return () => {
    clearInterval(watch);
    leave();
    server.close();
  };
}

async function runRelay(
  command: string[],
  kind: "pipes" | "files",
  own: string,
  leavesAfter: string | undefined,
): Promise<Ended> {
  const close = await serve(path.join(own, "s"), leavesAfter);
  const input = path.join(own, "input");
  const file = path.join(own, "output");
  if (kind === "files") writeFileSync(input, INPUT);
  const pipes = kind === "pipes" ? { up: makePipe(), down: makePipe() } : undefined;
  const stdin = pipes?.up.read ?? openSync(input, "r");
  const stdout = pipes?.down.write ?? openSync(file, "w");
  const child = spawn(command[0] as string, command.slice(1), { stdio: [stdin, stdout, "pipe"] });
  closeSync(stdin);
  closeSync(stdout);
  const parts: Buffer[] = [];
  let received: Promise<unknown> | undefined;
  if (pipes !== undefined) {
    const writer = new net.Socket({ fd: pipes.up.write, readable: false, writable: true });
    writer.on("error", () => undefined).end(INPUT);
    const reader = new net.Socket({ fd: pipes.down.read, readable: true, writable: false });
    reader.on("data", (part) => parts.push(part));
    received = once(reader, "close");
  }
  const stderr: Buffer[] = [];
  child.stderr?.on("data", (part: Buffer) => stderr.push(part));
  let hung = false;
  const watchdog = setTimeout(() => (hung = child.kill("SIGKILL")), RUN_TIMEOUT_MS);
  const [exit, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(watchdog);
  await received;
  close();
  const relayed = kind === "pipes" ? Buffer.concat(parts) : readFileSync(file);
  return { exit, signal, hung, stderr: Buffer.concat(stderr), passed: [], relayed };
}

/** The command that makes this run again. */
export function replay(name: string, injection = ""): string {
  return `node --import ./tests/tsx.mjs tests/syscalls/run.ts ${name} ${injection}`.trimEnd();
}

/** A run and what is wrong with it, or that it could not be made. */
export interface Attempt extends Partial<Run> {
  trace: string[];
  wrong: string[];
}

/** One run, which `replay` makes again. */
export async function attempt(peers: Peers, name: string, text?: string): Promise<Attempt> {
  const plain = scenarios[name] as Scenario;
  const injection = text === undefined ? undefined : injectionIn(text);
  // Other forms count as a part of the scenario.
  const part = text === undefined || injection !== undefined ? [] : [text];
  const scenario = { ...plain, always: [...(plain.always ?? []), ...part] };
  try {
    const made = await run(name, scenario, peers, injection);
    return { ...made, wrong: judge(scenario, made, injection) };
  } catch (error) {
    return { trace: [], wrong: [String(error)] };
  }
}

async function main(name = "", injection?: string): Promise<void> {
  if (scenarios[name] === undefined) {
    const names = Object.keys(scenarios).join(", ");
    throw new Error(`usage: tests/syscalls/run.ts SCENARIO [INJECTION]; scenarios: ${names}`);
  }
  ensureTools(["strace", "cc"]);
  const peers = await startPeers();
  try {
    const made = await attempt(peers, name, injection);
    const { exit, signal, passed, relayed, read, socket, wrong } = made;
    console.log(made.trace.join("\n"));
    console.log(`stderr:\n${made.stderr?.toString() ?? ""}`);
    const lengths = { relayed: relayed?.length, read: read?.length };
    console.log({ exit, signal, passed, ...lengths, socket });
    console.log(wrong.length === 0 ? "every rule holds" : wrong.join("\n"));
    process.exitCode = wrong.length === 0 ? 0 : 1;
  } finally {
    await peers.close();
  }
}

if (require.main === module) void main(...process.argv.slice(2));
