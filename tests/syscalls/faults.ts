// The standalone executable while the kernel refuses it something: strace(1) makes one of its system
// calls fail, or answer less than was asked for, or puts a signal before it. faults.test.ts does so
// with every call of every scenario below; this does it once, and shows all there is to see:
//
//     npx tsx tests/syscalls/faults.ts SCENARIO [INJECTION]
//     npx tsx tests/syscalls/faults.ts vsock-mux/ sendmsg:error=EPIPE:when=2
//
// INJECTION is strace's (--inject); without one the scenario goes its way in peace.
//
// Rules that a run must keep, `judge` says which it breaks:
// 1. It ends by itself, by exit, with a status of docs/addresses.md; by a signal only where that was
//    the injection and ends every program.
// 2. A success is one: the descriptor that was handed over, exactly one, leads to the peer, blocks,
//    and has no option changed; what was relayed is whole. stderr holds nothing but steps.
// 3. A failure hands nothing over, has relayed nothing but the beginning of what there was, and says
//    one line on stderr that names the errno rightly.
// 4. It asks a multiplexer for the port that it was told, and an attempt that fails leaves no
//    descriptor open.
// 5. Whether it is a success, or which failure: `verdict` says so, call by call.
// 6. What was to be injected was. Only a relay may be over before its fault: how many calls it makes
//    depends on the pieces in which the bytes come.
// 7. A wait that is interrupted again and again ends at its deadline.

import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { ensureTools, tool } from "../support/tools";
import { greeting, listen } from "../support/listener";
import type { Listener } from "../support/listener";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { makePipe } from "../support/pipes";
import { fakeSsh } from "../support/fake-ssh";
import type { PassedSocket, FakeSshOptions } from "../support/fake-ssh";
import { root } from "../support/proxy";

export const program = path.join(root, "dist/ssh-vsock-proxy");

/** What hangs is killed then; nothing here takes so long by itself, however busy the machine is. */
export const HANGS_MS = 30_000;
/** Where a deadline is met: time enough for a busy machine to have begun the wait for it. */
const DEADLINE_MS = 1000;
/** A peer of which it was said that it is gone has left after this time. */
const LEAVES_MS = 300;

/** What is sent over each connection, and comes back. */
const PING = Buffer.from("ping");
const INPUT = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i) >> 7));
const ANSWER = Buffer.from(`${greeting}${PING.toString()}`);
const WHOLE = Buffer.concat([Buffer.from(greeting), INPUT]);

/** The peers of all runs, which run one beside the other. */
export interface Peers {
  folder: string;
  multiplexer: Multiplexer;
}

const far = ({ folder }: Peers): string => path.join(folder, "d".repeat(120));

export async function startPeers(): Promise<Peers & { close: () => Promise<void> }> {
  const folder = mkdtempSync(path.join(tmpdir(), "faults-"));
  const peers = { folder, multiplexer: await startMultiplexer(path.join(folder, "s")) };
  mkdirSync(far(peers));
  const listeners: Listener[] = [];
  for (const directory of [folder, far(peers)]) {
    listeners.push(await listen(path.join(directory, "s")));
    listeners.push(await listen(path.join(directory, "dead"), { mode: "dead" }));
  }
  listeners.push(await listen(path.join(folder, "full"), { mode: "full" }));
  return {
    ...peers,
    async close() {
      await peers.multiplexer.close();
      for (const listener of listeners) await listener.close();
      rmSync(folder, { recursive: true });
    },
  };
}

export interface Scenario {
  /** The command line, for a run that has the folder `own` to itself. */
  args: (peers: Peers, own: string) => string[];
  /** How it ends in peace. */
  exit: number;
  /** A relay's standard input and output; without it there is ssh, which a descriptor goes to. */
  relay?: "pipes" | "files";
  /** Injections that are part of it. */
  always?: string[];
  /** The calls that it is about, where all others are those of another scenario. */
  only?: string[];
  ssh?: FakeSshOptions;
  /** Whether stderr has steps. */
  verbose?: boolean;
}

const absent = "connect:error=ENOENT:when=1";

export const scenarios: Readonly<Record<string, Scenario>> = {
  "unix/": {
    args: ({ folder }) => ["-v", "--fdpass", `unix${folder}/s`],
    exit: 0,
    verbose: true,
  },
  "vsock-mux/": {
    args: ({ multiplexer }) => [
      ...["--fdpass", `vsock-mux${multiplexer.socket("short-ok-and-banner")}`],
    ],
    exit: 0,
  },
  "bad-line": {
    args: ({ multiplexer }) => ["--fdpass", `vsock-mux${multiplexer.socket("crlf")}`],
    exit: 76,
    only: ["close", "ppoll", "recvmsg", "sendmsg"],
  },
  "long-path": { args: (peers) => ["--fdpass", `unix${far(peers)}/s`], exit: 0 },
  queued: {
    args: ({ folder }) => ["--fdpass", `unix${folder}/s`],
    exit: 0,
    always: ["connect:error=EAGAIN:when=1"],
  },
  "full-queue": {
    args: ({ folder }) => ["--fdpass", `--timeout=${DEADLINE_MS}ms`, `unix${folder}/full`],
    exit: 75,
    only: ["connect", "fcntl", "setsockopt"],
  },
  silence: {
    args: ({ multiplexer }) => [
      ...["--fdpass", `--timeout=${DEADLINE_MS}ms`],
      `vsock-mux${multiplexer.socket("silence")}`,
    ],
    exit: 75,
    only: ["close", "ppoll", "recvmsg"],
  },
  "nobody-listens": { args: ({ folder }) => ["--fdpass", `unix${folder}/dead`], exit: 69 },
  "nobody-listens-far": { args: (peers) => ["--fdpass", `unix${far(peers)}/dead`], exit: 69 },
  wait: {
    args: ({ folder }, own) => [
      ...["--fdpass", "--wait=20s", `--log-file=${own}/log`, `unix${folder}/s`],
    ],
    exit: 0,
    always: [absent],
  },
  "closed-stdio": {
    args: ({ folder }) => ["--fdpass", `unix${folder}/s`],
    exit: 0,
    ssh: { stdin: "closed", stderr: "closed" },
  },
  "many-arguments": {
    args: ({ folder }) => ["--fdpass", `unix${folder}/s`, "22", "x".repeat(100_000)],
    exit: 0,
    only: ["mmap"],
  },
  "relay-pipes": {
    args: (_, own) => ["--wait=20s", `--log-file=${own}/log`, `unix${own}/s`],
    exit: 0,
    relay: "pipes",
    always: [absent],
  },
  // From the file by a pipe, to the file by a buffer.
  "relay-files": { args: (_, own) => [`unix${own}/s`], exit: 0, relay: "files" },
  // By two buffers.
  "relay-buffers": {
    args: (_, own) => [`unix${own}/s`],
    exit: 0,
    relay: "files",
    always: ["splice:error=EINVAL:when=1"],
  },
};

export interface Run {
  exit: number | null;
  signal: string | null;
  hung: boolean;
  stderr: string;
  /** How many descriptors were handed over. */
  fds: number;
  /** How many bytes came with them; or what was relayed. */
  output: Buffer;
  /** What came over the descriptor that was handed over, and what that is. */
  read?: Buffer;
  socket?: PassedSocket;
  /** strace's, a line for each call. */
  trace: string[];
}

/** A fault: what strace injects into the Nth call of a name. */
export interface Fault {
  call: string;
  when: number;
  /** `error=ENOMEM`, `retval=0` or `signal=SIGTERM`. */
  what: string;
}

export const injectionOf = ({ call, when, what }: Fault): string => `${call}:${what}:when=${when}`;

/** The fault that is injected so; undefined for anything else that strace understands. */
function faultOf(injection: string): Fault | undefined {
  const [, call = "", what = "", when] = /^(\w+):([^:]+):when=(\d+)$/.exec(injection) ?? [];
  return when === undefined ? undefined : { call, what, when: Number(when) };
}

/** The errnos that say of somebody at the other end that he is gone. */
const GONE = ["EPIPE", "ECONNRESET", "ENOTCONN"];

/** Whether the fault says that a relay's peer, which is there, is gone. Then it leaves soon. */
function saysGone(scenario: Scenario, { what }: Fault): boolean {
  return scenario.relay !== undefined && GONE.some((name) => what === `error=${name}`);
}

async function run(scenario: Scenario, peers: Peers, fault?: Fault): Promise<Run> {
  const own = mkdtempSync(path.join(peers.folder, "run-"));
  const injections = [...(scenario.always ?? []), ...(fault ? [injectionOf(fault)] : [])];
  // The executable stays the child of whoever starts this: strace goes beside it.
  const command = [
    ...[tool("strace"), "-D", "-qq", "-o", path.join(own, "strace")],
    ...injections.flatMap((text) => ["-e", `inject=${text}`]),
    ...[program, ...scenario.args(peers, own)],
  ];
  try {
    const ended =
      scenario.relay === undefined
        ? await runForSsh(command, scenario.ssh)
        : await runRelay(command, scenario.relay, own, fault && saysGone(scenario, fault));
    const trace = readFileSync(path.join(own, "strace"), "latin1").split("\n").slice(1, -1);
    return { ...ended, trace };
  } finally {
    rmSync(own, { recursive: true });
  }
}

type Ended = Omit<Run, "trace">;

async function runForSsh(command: string[], ssh: FakeSshOptions = {}): Promise<Ended> {
  const outcome = await fakeSsh(command, {
    ...ssh,
    deadlineMs: HANGS_MS,
    write: PING,
    readBytes: greeting.length + PING.length,
    readMs: HANGS_MS,
  });
  const { exit, signal, stderr, fds, bytes, read, socket, timedOut: hung } = outcome;
  const ended = { exit, signal, hung, stderr, fds, output: Buffer.alloc(bytes) };
  return { ...ended, ...(read && { read }), ...(socket && { socket }) };
}

/** Greets, and sends back what it gets; with `leaves` it is gone after a while. */
async function serve(at: string, leaves: boolean): Promise<() => void> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on("error", () => undefined));
    socket.write(greeting);
    socket.pipe(socket);
    if (leaves) setTimeout(() => socket.destroy(), LEAVES_MS);
  });
  // Where the run fails to start, the tests end all the same.
  await once(server.listen(at).unref(), "listening");
  return () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
}

async function runRelay(
  command: string[],
  kind: "pipes" | "files",
  own: string,
  leaves = false,
): Promise<Ended> {
  const close = await serve(path.join(own, "s"), leaves);
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
  let stderr = "";
  child.stderr?.setEncoding("latin1").on("data", (part: string) => (stderr += part));
  let hung = false;
  const watchdog = setTimeout(() => (hung = child.kill("SIGKILL")), HANGS_MS);
  const [exit, signal] = (await once(child, "close")) as [number | null, string | null];
  clearTimeout(watchdog);
  await received;
  close();
  const output = kind === "pipes" ? Buffer.concat(parts) : readFileSync(file);
  return { exit, signal, hung, stderr, fds: 0, output };
}

// ---- what a run must come to

/** The calls of a trace, in order, each with how often it had been made by then. */
export function callsOf(trace: readonly string[]): { call: string; when: number; line: string }[] {
  const counts = new Map<string, number>();
  return trace.flatMap((line) => {
    const call = /^(\w+)\(/.exec(line)?.[1];
    if (call === undefined || call === "execve") return [];
    const when = (counts.get(call) ?? 0) + 1;
    counts.set(call, when);
    return [{ call, when, line }];
  });
}

/** The line of the call that the fault was injected into; undefined where it never came. */
export function struck(trace: readonly string[], fault: Fault): string | undefined {
  const found = callsOf(trace).find(
    ({ call, when }) => call === fault.call && when === fault.when,
  )?.line;
  const [kind, value] = fault.what.split("=");
  // Behind exit_group there is nobody for a signal to come to.
  const signalled = fault.call === "exit_group" || trace.some((l) => l.startsWith(`--- ${value} `));
  return (kind === "signal" ? signalled : found?.endsWith("(INJECTED)")) ? found : undefined;
}

/** Which of the errnos that are part of a scenario were never injected. */
function unfelt({ always = [] }: Scenario, trace: readonly string[]): string[] {
  return always.filter((text) => {
    const injected = new RegExp(`^${text.split(":")[0]}\\(.*\\(INJECTED\\)`);
    return text.includes(":error=") && !trace.some((line) => injected.test(line));
  });
}

/** preview1's numbers, by Linux's names (docs/abi.md, errno). */
const numbers: ReadonlyMap<string, number> = (() => {
  const bindings = "node_modules/@assemblyscript/wasi-shim/assembly/bindings";
  const text = readFileSync(path.join(root, bindings, "wasi_snapshot_preview1.ts"), "utf8");
  const found = [...text.matchAll(/const (\w+): errno = (\d+);/g)].map(
    ([, name, number]): [string, number] => [`E${name}`, Number(number)],
  );
  const map = new Map(found);
  const number = (name: string): number => map.get(name) ?? 0;
  map.set("EOPNOTSUPP", number("ENOTSUP"));
  map.set("ESOCKTNOSUPPORT", number("EPROTOTYPE"));
  return map;
})();
const IO = numbers.get("EIO") as number;
const INVAL = numbers.get("EINVAL") as number;

/** What becomes of the run. `peace`: as without the fault; `any`: a success or a failure. */
type Verdict = number | "peace" | "any";

/** The failures to connect that have a meaning of their own (docs/addresses.md, exit status). */
const connecting: Readonly<Record<string, number>> = {
  ...{ ENOENT: 68, ENOTDIR: 68, ELOOP: 68, ENOTSOCK: 68, EISDIR: 68, ENAMETOOLONG: 64 },
  ...{
    ECONNREFUSED: 69,
    ETIMEDOUT: 75,
    EPROTOTYPE: 76,
    ESOCKTNOSUPPORT: 76,
    EACCES: 77,
    EPERM: 77,
  },
};
/** After these --wait tries again. */
const passing = ["ENOENT", "ECONNREFUSED", "ETIMEDOUT"];

/** Calls without which it goes on all the same. */
const spare: readonly RegExp[] = [
  // Whether 0 to 2 are closed, and what is put there then.
  /^ppoll\(\[\{fd=0, events=0\}/,
  /^openat\(AT_FDCWD, "\/dev\/null"/,
  // What keeps a signal from ending it.
  /^rt_sigaction\(/,
  // Nothing that is closed is used again.
  /^(close|munmap)\(/,
  // A line that stderr or the log does not take is lost.
  /^ppoll\(\[\{fd=2, /,
  /^writev\([23], /,
  // Whether there is to be progress, and how large a pipe is.
  /^(fcntl|fstat|getsockopt)\(2, /,
  /^fcntl\(\d+, F_[GS]ETPIPE_SZ/,
  // There is a buffer where there is no pipe.
  /^pipe2\(/,
  // What is at a path where nobody listens.
  /^newfstatat\(/,
  // Whether a peer that has ended its sending is gone as a whole.
  /^sendmsg\(.*msg_iov=NULL/,
  // Whether it went without a farewell.
  /^getsockopt\(\d+, SOL_SOCKET, SO_ERROR, /,
];

/** Calls that are made again after a signal, and those that say later what is not there yet. */
const restarted = /^(connect|openat|ppoll|readv|recvmsg|sendmsg|splice|writev)\(/;
const awaited = /^(connect|readv|recvmsg|sendmsg|splice|writev)\(/;

/** What comes of the call in `line` if it fails. */
function verdict(scenario: Scenario, line: string, error: string): Verdict {
  if (spare.some((pattern) => pattern.test(line))) return "peace";
  // A clock that cannot be read is one that has passed every deadline, or stands still.
  if (line.startsWith("clock_gettime(")) return "any";
  if (error === "EINTR" && restarted.test(line)) return "peace";
  const relays = scenario.relay !== undefined;
  // What was looked at, and cannot be taken then.
  const vanished = !relays && line.startsWith("recvmsg(") && !line.includes("MSG_PEEK");
  if (error === "EAGAIN" && awaited.test(line) && !vanished) return "peace";
  // What the file at a long path is.
  if (!relays && line.startsWith("fstat(4, ")) return "peace";
  // Of descriptor 1: with --fdpass it has to be a unix socket.
  if (/^(fcntl|fstat)\(1, /.test(line)) return error === "EBADF" ? 71 : relays ? "any" : 64;
  if (/^getsockopt\(1, SOL_SOCKET, SO_TYPE|^getsockname\(1, /.test(line)) return 64;
  if (/^connect\(.*"\/proc\/self\/fd/.test(line) && error === "ENOENT") return 71;
  const connects = /^(connect|socket|setsockopt)\(|^openat\(.*O_PATH|^fcntl\(\d, F_SETFL/.test(
    line,
  );
  if (connects && !(relays && line.includes("O_NONBLOCK)"))) {
    if (scenario.always?.includes(absent) && passing.includes(error)) return "peace";
    return connecting[error] ?? 71;
  }
  if (/^(readv|recvmsg|sendmsg|shutdown|splice|writev)\(/.test(line)) {
    if (relays) return GONE.includes(error) || /^splice.* EINVAL /.test(line) ? "any" : 71;
    const gone = error === "EPIPE" || error === "ECONNRESET";
    return gone && !line.startsWith("sendmsg(1,") ? 69 : 71;
  }
  return 71;
}

/** What comes of the call in `line` if it takes or gives so many bytes, and no more. */
function shortVerdict(scenario: Scenario, line: string, bytes: number): Verdict {
  if (line.startsWith("writev(2, ")) return "peace";
  if (asksForPort(line)) return bytes < "CONNECT 22\n".length ? 71 : "any";
  if (scenario.relay !== undefined || !line.startsWith("recvmsg(") || bytes > 0) return "any";
  return line.includes("MSG_PEEK") ? 69 : 76;
}

const asksForPort = (line: string): boolean => line.includes('iov_base="CONNECT');

const statuses = [0, 64, 68, 69, 71, 75, 76, 77];
const step = /^ssh-vsock-proxy: \P{Cc}+: \d+\.\d{3} ms: \P{Cc}+$/u;

/** What is wrong with a run; nothing if it has kept the rules at the head of this file. */
function judge(scenario: Scenario, run: Run, fault?: Fault): string[] {
  const { exit, signal, hung, stderr, fds, output, trace } = run;
  if (hung)
    return [`it hangs: killed after ${HANGS_MS / 1000} s, in ${callsOf(trace).at(-1)?.line}`];
  const [kind = "", value = ""] = fault?.what.split("=") ?? [];
  const line = fault && struck(trace, fault);
  const wrong: string[] = [];
  const claim = (right: boolean, complaint: string): void => {
    if (!right) wrong.push(complaint);
  };
  wrong.push(...(scenario.always ?? []).flatMap((injection) => overdue(injection, trace)));
  if (fault === undefined) {
    const never = unfelt(scenario, trace);
    claim(never.length === 0, `${never.join()} never came`);
  } else if (scenario.relay === undefined) {
    claim(line !== undefined, "the fault never came");
  }
  const deadly = kind === "signal" && value === "SIGTERM" && line !== undefined;
  if (signal !== null || (deadly && fault?.call !== "exit_group")) {
    claim(
      deadly && signal === value,
      `it was ended by ${signal}, and not by ${deadly ? value : 0}`,
    );
    claim(fds <= 1, `${fds} descriptors were handed over`);
    claim(!/[^\n]$/.test(stderr), "stderr does not end with a newline");
    return wrong;
  }

  const error = kind === "error" ? value : "";
  let expected: Verdict = "peace";
  if (line !== undefined && kind === "error") expected = verdict(scenario, line, error);
  const isShort = line !== undefined && kind === "retval";
  if (isShort) expected = shortVerdict(scenario, line, Number(value));
  // The peer leaves all the same, be the relay over or not.
  const leaves = expected === "peace" && fault !== undefined && saysGone(scenario, fault);
  if (expected === "peace") expected = scenario.exit;
  const right = expected === "any" || exit === expected || (leaves && exit === 69);
  claim(statuses.includes(exit ?? -1), `exit status ${exit} is none of docs/addresses.md`);
  claim(right, `exit status ${exit}, and not ${expected}`);

  // stderr, where it is there and it is not its own call that fails.
  const lines = stderr.split("\n");
  const own =
    line !== undefined && /^(ppoll\(\[\{fd=2, |writev\(2, |openat\(.*"\/dev\/null")/.test(line);
  const deaf = scenario.ssh?.stderr === "closed" || (own && !["EINTR", "EAGAIN"].includes(error));
  const steps = lines.slice(0, exit === 0 ? -1 : -2);
  const last = lines.at(-2) ?? "";
  if (!deaf || isShort) claim(lines.at(-1) === "", "stderr does not end with a newline");
  const cut = cutShort(trace);
  claim(cut === undefined, `it is not the rest of this line that stderr gets next: ${cut}`);
  if (isShort && asksForPort(line)) {
    const told = last.endsWith(": the multiplexer's socket took only a part of CONNECT");
    claim(told, `a request that was sent in part is told by other words: ${last}`);
  }
  if (!deaf) {
    const progress = /^ssh-vsock-proxy: waiting for \P{Cc}+$/u;
    const verbose = (text: string): boolean =>
      (scenario.verbose === true && step.test(text)) || progress.test(text);
    claim(steps.every(verbose), "stderr holds more than it should");
    if (exit !== 0) {
      claim(/^ssh-vsock-proxy: \P{Cc}+$/u.test(last), "stderr has no clean line of the failure");
      wrong.push(...misnamed(last, error, line));
    }
  }

  const asks = trace.filter(asksForPort);
  const asksWrongly = asks.find((text) => !text.includes('iov_base="CONNECT 22\\n"'));
  claim(asksWrongly === undefined, `it asks for another port: ${asksWrongly}`);
  const left = leftOpen(trace);
  claim(left.length <= (trace.some(begins) ? 1 : 0), `descriptors are left open: ${left.join()}`);

  if (exit !== 0) {
    claim(fds === 0, `${fds} descriptors were handed over by a run that failed`);
    const begun = scenario.relay !== undefined && WHOLE.subarray(0, output.length).equals(output);
    claim(output.length === 0 || begun, "stdout has what nobody sent");
  } else if (scenario.relay === undefined) {
    claim(fds === 1 && output.length === 1, `${fds} descriptors with ${output.length} bytes`);
    claim(run.read?.equals(ANSWER) === true, "the descriptor does not lead to the peer");
    const { nonblock, changed, connected } = run.socket ?? {};
    claim(connected === true && nonblock === false, "the descriptor is not as it should be");
    claim(changed?.length === 0, `options of the descriptor differ: ${changed?.join()}`);
  } else if (fault && saysGone(scenario, fault)) {
    claim(WHOLE.subarray(0, output.length).equals(output), "stdout has what nobody sent");
  } else if (kind !== "retval") {
    claim(
      WHOLE.equals(output),
      `relayed ${output.length} bytes, which are not the ${WHOLE.length}`,
    );
  }
  return wrong;
}

/**
 * Where each of many waits lasts a while and is interrupted then: whether there were more of them than
 * the deadline has room for, however slow the machine is.
 */
function overdue(injection: string, trace: readonly string[]): string[] {
  const [, name, delay] = /^(\w+):error=EINTR:delay_exit=(\d+):/.exec(injection) ?? [];
  if (name === undefined) return [];
  const ms = Number(delay) / 1000;
  // With no time left at all it looks once more, for as long as there are signals.
  const count = callsOf(trace).filter(
    ({ call, line }) =>
      call === name && /EINTR.*INJECTED/.test(line) && !line.includes("{tv_sec=0, tv_nsec=0}"),
  ).length;
  return count > 0 && count <= DEADLINE_MS / ms + 1 ? [] : [`${count} waits of ${ms} ms`];
}

/** A write to stderr that took less than was there, and that the rest does not follow. */
function cutShort(trace: readonly string[]): string | undefined {
  const writes = trace.filter((line) => line.startsWith("writev(2, "));
  return writes.find((line, i) => {
    const [, size, taken] = /iov_len=(\d+)\}\], 1\) = (\d+)/.exec(line) ?? [];
    const rest = Number(size) - Number(taken);
    return rest > 0 && !writes[i + 1]?.includes(`iov_len=${rest}}`);
  });
}

/** Whether with this call the hand-over begins, or the relay: what fails then leaves its socket open. */
function begins(line: string): boolean {
  return line.startsWith("getsockopt(1, SOL_SOCKET, SO_DOMAIN") || line.startsWith("fstat(0, ");
}

/** What was opened and not closed, but for the log and what stands in the place of 0 to 2. */
function leftOpen(trace: readonly string[]): string[] {
  const opened = new Set<string>();
  for (const line of trace) {
    const [, one, pipe, other] =
      /^(?:socket\(|openat\(.*O_PATH|fcntl\(\d, F_DUPFD_).*\) += (\d+)$|^pipe2\(\[(\d+), (\d+)\]/.exec(
        line,
      ) ?? [];
    for (const fd of [one, pipe, other]) if (fd !== undefined) opened.add(fd);
    opened.delete(/^close\((\d+)\)/.exec(line)?.[1] ?? "");
  }
  return [...opened];
}

/** Whether a failure's line names another errno than the one that it comes from. */
function misnamed(text: string, error: string, line = ""): string[] {
  if (error === "") return [];
  const wasi = /: WASI errno (\d+), from (\w+)$/.exec(text)?.[1];
  // sock_send_fds answers INVAL where it cannot tell that descriptors can be passed at all.
  const number = line.startsWith("getsockopt(1, ") ? INVAL : (numbers.get(error) ?? IO);
  if (wasi !== undefined && Number(wasi) !== number) {
    return [`WASI errno ${wasi} is told, and ${error} is ${number}`];
  }
  const words: Readonly<Record<string, RegExp>> = {
    ...{ EMFILE: /: too many open files$/, ENFILE: /: too many open files$/ },
    ...{ ENOMEM: /: out of memory$/, ENOBUFS: /: out of memory$/ },
  };
  const fits = words[error];
  // What cannot be told of descriptor 1, it is not; memory that does not grow has no errno.
  const silent = /^(fcntl|fstat|getsockname)\(1, |^mmap\(|^fstat\(4, |^clock_gettime\(/.test(line);
  if (fits === undefined || silent) return [];
  const told = fits.test(text) || spare.some((pattern) => pattern.test(line));
  return told ? [] : [`${error} is told by other words: ${text}`];
}

/** The one command line that makes this run again. */
export function replay(name: string, injection = ""): string {
  return `npx tsx tests/syscalls/faults.ts ${name} ${injection}`.trimEnd();
}

/** A run and what is wrong with it, if only that it could not be played to its end. */
export interface Attempt extends Partial<Run> {
  trace: string[];
  wrong: string[];
}

/** One run, which the command above makes again. */
export async function attempt(peers: Peers, name: string, injection?: string): Promise<Attempt> {
  const peace = scenarios[name] as Scenario;
  const fault = injection === undefined ? undefined : faultOf(injection);
  // Anything else is judged as peace.
  const part = injection === undefined || fault !== undefined ? [] : [injection];
  const scenario = { ...peace, always: [...(peace.always ?? []), ...part] };
  try {
    const result = await run(scenario, peers, fault);
    return { ...result, wrong: judge(scenario, result, fault) };
  } catch (error) {
    return { trace: [], wrong: [String(error)] };
  }
}

async function main(name = "", injection?: string): Promise<void> {
  if (scenarios[name] === undefined) {
    const names = Object.keys(scenarios).join(", ");
    throw new Error(
      `usage: tsx tests/syscalls/faults.ts SCENARIO [INJECTION]; scenarios: ${names}`,
    );
  }
  ensureTools(["strace", "cc"]);
  const peers = await startPeers();
  try {
    const { trace, output, read, stderr, wrong, ...rest } = await attempt(peers, name, injection);
    console.log(trace.join("\n"));
    console.log(`stderr:\n${stderr}`);
    console.log({ ...rest, output: output?.length, read: read?.toString() });
    console.log(wrong.length === 0 ? "kept every rule" : wrong.join("\n"));
    process.exitCode = wrong.length === 0 ? 0 : 1;
  } finally {
    await peers.close();
  }
}

if (require.main === module) void main(...process.argv.slice(2));
