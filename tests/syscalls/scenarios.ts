// The scenarios of the tests under strace: a command line, its peers, and what strace does in each
// run. What has to hold is in verdict.ts, and run.ts makes a run.

import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import path from "node:path";

import { Code } from "../../assembly/codes";
import { makeCase, unixTarget } from "../support/case";
import type { Case } from "../support/case";
import type { PassedSocket } from "../support/fake-ssh";
import { greeting, listen } from "../support/listener";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import type { Outcome } from "../support/outcome";
import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { startService } from "../support/service";
import { MACHINED, machine, machined } from "../support/services";

export const program = path.join(root, "dist/ssh-vsock-proxy");

/** A run that lasts this long hangs, and is killed. Even on a busy machine none takes as long. */
export const RUN_TIMEOUT_MS = 30_000;
/** Where a deadline is to pass: time enough for a busy machine to begin the wait for it. */
export const DEADLINE_MS = 1000;

/** What is sent over each connection, and comes back. */
export const PING = Buffer.from("ping");
export const INPUT = Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * i) >> 7));

/** The peers of all runs, which are made at the same time. */
export interface Peers {
  folder: string;
  multiplexer: Multiplexer;
  close(): Promise<void>;
}

/** XDG_RUNTIME_DIR, in which machined leads the name `vm` to the socket of `near`. */
export const runtimeDirectory = ({ folder }: Peers): string => `${folder}/run`;

/** A folder whose path is longer than sun_path. */
const far = ({ folder }: Peers): string => path.join(folder, "d".repeat(120));

export async function startPeers(): Promise<Peers> {
  const folder = makeFolder("syscalls");
  const multiplexer = await startMultiplexer(path.join(folder, "s"));
  const reply = machine({ class: "vm", sshAddress: `unix${folder}/s` });
  const service = await startService(`${folder}/run${MACHINED}`, machined("vm", reply));
  const listeners: Awaited<ReturnType<typeof listen>>[] = [];
  const peers: Peers = {
    folder,
    multiplexer,
    async close() {
      service.close();
      await multiplexer.close();
      for (const listener of listeners) await listener.close();
    },
  };
  mkdirSync(far(peers));
  for (const directory of [folder, far(peers)]) {
    listeners.push(await listen(path.join(directory, "s")));
    listeners.push(await listen(path.join(directory, "dead"), { mode: "dead" }));
  }
  listeners.push(await listen(path.join(folder, "full"), { mode: "full" }));
  return peers;
}

export interface Scenario {
  options?: string[];
  /** Arguments behind the address. */
  rest?: string[];
  /** Where to connect to; `own` is the run's folder. A multiplexer's path: how it behaves. */
  socket: (peers: Peers, own: string) => string;
  scheme?: "unix" | "vsock-mux" | "machine";
  /** What the command line asks for, and the world, as far as the rules depend on them. */
  case?: Partial<Case>;
  /** A relay's standard input and output; without it, a descriptor is passed. */
  relay?: "pipes" | "files";
  /** What is in the run's folder before it. */
  prepare?: (own: string) => void;
  /** Injections that are part of the scenario. */
  always?: string[];
  /** The calls that it is about, where the others are those of another scenario. */
  only?: string[];
}

const fdpass = ["--fdpass"];
const timeout = `--timeout=${DEADLINE_MS}ms`;
const near = ({ folder }: Peers): string => `${folder}/s`;
/** Makes the first connect(2) fail as if there were no socket. */
export const ABSENT_AT_FIRST = "connect:error=ENOENT:when=1";
const relayed = (_: Peers, own: string): string => `${own}/s`;
const waits = { waitMs: 20_000 };

export const scenarios: Readonly<Record<string, Scenario>> = {
  "unix/": { options: ["-v", ...fdpass], socket: near, case: { verbose: true } },
  "vsock-mux/": {
    options: fdpass,
    scheme: "vsock-mux",
    socket: ({ multiplexer }) => multiplexer.socket("short-ok-and-banner"),
  },
  "bad-line": {
    options: fdpass,
    scheme: "vsock-mux",
    socket: ({ multiplexer }) => multiplexer.socket("crlf"),
    case: { code: Code.BadLine },
    only: ["close", "ppoll", "recvmsg", "sendmsg"],
  },
  "machine/": {
    options: ["-v", ...fdpass],
    scheme: "machine",
    socket: near,
    case: { verbose: true },
    only: ["close", "connect", "fcntl", "ppoll", "recvmsg", "sendmsg", "setsockopt", "socket"],
  },
  "long-path": { options: fdpass, socket: (peers) => `${far(peers)}/s` },
  queued: { options: fdpass, socket: near, always: ["connect:error=EAGAIN:when=1"] },
  "full-queue": {
    options: [...fdpass, timeout],
    socket: ({ folder }) => `${folder}/full`,
    case: { code: Code.QueueFull },
    only: ["connect", "fcntl", "setsockopt"],
  },
  silence: {
    options: [...fdpass, timeout],
    scheme: "vsock-mux",
    socket: ({ multiplexer }) => multiplexer.socket("silence"),
    case: { code: Code.ReplyTimeout },
    only: ["close", "ppoll", "recvmsg"],
  },
  refused: {
    options: fdpass,
    socket: ({ folder }) => `${folder}/dead`,
    case: { code: Code.Refused },
  },
  "refused-long-path": {
    options: fdpass,
    socket: (peers) => `${far(peers)}/dead`,
    case: { code: Code.Refused },
  },
  wait: {
    options: [...fdpass, "--wait=20s", "--log-file=log"],
    socket: near,
    case: waits,
    always: [ABSENT_AT_FIRST],
  },
  "closed-stdio": { options: fdpass, socket: near, case: { world: { stderr: "closed" } } },
  "many-arguments": {
    options: fdpass,
    rest: ["22", "x".repeat(100_000)],
    socket: near,
    only: ["mmap"],
  },
  "linked-log": {
    options: [...fdpass, "--log-file=log"],
    socket: near,
    prepare: (own) => {
      chmodSync(own, 0o1777);
      symlinkSync("/dev/full", `${own}/log`);
    },
    only: ["fstat", "fstatfs", "geteuid", "ioctl", "openat", "readlinkat"],
  },
  "relay-pipes": {
    options: ["--wait=20s", "--log-file=log"],
    socket: relayed,
    case: waits,
    relay: "pipes",
    always: [ABSENT_AT_FIRST],
  },
  // From the file through a pipe, to the file through a buffer.
  "relay-files": { socket: relayed, relay: "files" },
  // Through two buffers.
  "relay-buffers": { socket: relayed, relay: "files", always: ["splice:error=EINVAL:when=1"] },
};

export function caseOf(name: string, scenario: Scenario, peers: Peers, own: string): Case {
  const { options = [], rest = [], scheme = "unix", relay } = scenario;
  const socket = scenario.socket(peers, own);
  const written = scheme === "machine" ? "machine/vm" : `${scheme}${socket}`;
  const target = unixTarget(scheme === "machine" ? "unix" : scheme, socket);
  const directory = runtimeDirectory(peers);
  const world =
    relay === undefined
      ? {}
      : {
          stdout: relay === "pipes" ? ("pipe" as const) : ("file" as const),
          stdin: {
            kind: relay === "pipes" ? ("pipe" as const) : ("file" as const),
            content: INPUT,
          },
          relay: { first: greeting, until: "end" as const, last: INPUT },
        };
  return makeCase({
    name,
    // The log is in the run's folder.
    args: [...options.map((word) => word.replace("=log", `=${own}/log`)), written, ...rest],
    target: scheme === "vsock-mux" ? { ...target, port: 22 } : target,
    subject: scheme === "vsock-mux" ? `${written} port 22` : written,
    ...(scheme === "machine" && { lookup: { scheme, directory } }),
    ...(relay === undefined && { mode: "fdpass" as const }),
    log: { path: `${own}/log`, subject: `${own}/log` },
    world,
    code: Code.Done,
    ...scenario.case,
  });
}

/** A run, and what only this runner sees of it. */
export interface Run extends Outcome {
  case: Case;
  hung: boolean;
  /** What could be read from the passed descriptor, and whether that is as it should be. */
  read?: Buffer;
  socket?: PassedSocket;
  /** strace's output, a line for each call. */
  trace: string[];
}

/** What strace injects into the Nth call of a name: `error=ENOMEM`, `retval=0`, `signal=SIGTERM`. */
export interface Injection {
  call: string;
  when: number;
  what: string;
}

export const textOf = ({ call, when, what }: Injection): string => `${call}:${what}:when=${when}`;

/** The injection in strace's form; undefined for forms that are not judged on their own. */
export function injectionIn(text: string): Injection | undefined {
  const [, call = "", what = "", when] = /^(\w+):([^:]+):when=(\d+)$/.exec(text) ?? [];
  return when === undefined ? undefined : { call, what, when: Number(when) };
}

/** Errnos that say that the other end is gone. */
export const GONE = ["EPIPE", "ECONNRESET", "ENOTCONN"];

/** Whether the injection says that a relay's peer is gone, which is there. Then it leaves. */
export function saysGone(scenario: Scenario, injection?: Injection): boolean {
  return scenario.relay !== undefined && GONE.some((name) => injection?.what === `error=${name}`);
}

/** Whether the descriptor that was passed leads to the peer, and is as a fresh one. */
export function isPassedRight({ read, socket }: Run): boolean {
  const { nonblock, changed, connected } = socket ?? {};
  const isRight = connected === true && nonblock === false && changed?.length === 0;
  return isRight && read?.toString() === `${greeting}${PING.toString()}`;
}
