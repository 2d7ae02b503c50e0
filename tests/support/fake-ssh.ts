// Runs a ProxyCommand as OpenSSH would, through fake-ssh.c, and tells what it handed over.

import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { constants } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { proxyCommand, root, traceFolder } from "./proxy";
import { beginRun } from "./record";
import type { Run } from "./record";

export interface FakeSshOptions {
  uid?: number;
  gid?: number;
  /** Takes root's exemption from file permissions away, the user staying root. */
  dropCaps?: boolean;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** What fd 1 is: ssh's unix stream socket, or something that ssh never gives. */
  stdout?: "unix" | "dgram" | "seqpacket" | "tcp" | "pipe" | "tty" | "file" | "closed";
  stdin?: "as-ssh" | "null" | "closed";
  stderr?: "inherit" | "closed";
  /** The end that ssh holds is closed from the beginning; with holdMs, after the hold. */
  gone?: boolean;
  /** Blocks the hand-over for so long and lists the command's descriptors at the end of it. */
  holdMs?: number;
  /** After the hand-over: what to write to the passed socket, then how much to read from it. */
  write?: Buffer;
  readBytes?: number;
  readMs?: number;
  /** The command is killed after this time (default: 30 s). */
  deadlineMs?: number;
  /** The one processor that fake-ssh and the command run on. */
  processor?: number;
}

export interface PassedSocket {
  family: number;
  type: number;
  nonblock: boolean;
  rcvtimeoUs: number;
  sndtimeoUs: number;
  /** Names of the options that differ from those of a fresh socket. */
  changed: string[];
  connected: boolean;
  /** The peer's path as the kernel keeps it, NUL included. */
  peerPath?: Buffer;
  peerCid?: number;
  peerPort?: number;
  connectTimeoutUs?: number;
}

export interface Outcome {
  exit: number | null;
  signal: NodeJS.Signals | null;
  timedOut: boolean;
  /** Bytes that came through fd 1, of whichever kind it was, up to its end. */
  bytes: number;
  firstByte: number | undefined;
  fds: number;
  handoffNs: number | undefined;
  exitNs: number;
  maxrssKb: number;
  userUs: number;
  systemUs: number;
  stderr: string;
  stderrBytes: Buffer;
  read?: Buffer;
  readEof?: boolean;
  socket?: PassedSocket;
  openFds?: Record<string, string>;
}

/** What every passed socket is, besides its family and its peer: as a fresh one, but connected. */
export const untouched = {
  type: 1, // SOCK_STREAM
  nonblock: false,
  changed: [],
  connected: true,
  rcvtimeoUs: 0,
  sndtimeoUs: 0,
} as const;

/** What fake-ssh.c prints. */
interface Result {
  exit: number | null;
  signal: number | null;
  timed_out: boolean;
  bytes: number;
  first_byte?: number;
  fds: number;
  handoff_ns?: number;
  exit_ns: number;
  maxrss_kb: number;
  user_us: number;
  system_us: number;
  socket: {
    family: number;
    type: number;
    nonblock: boolean;
    rcvtimeo_us: number;
    sndtimeo_us: number;
    changed: string[];
    connected: boolean;
    peer_hex?: string;
    peer_cid?: number;
    peer_port?: number;
    connect_timeout_us?: number;
  } | null;
  open_fds?: Record<string, string>;
  read_hex?: string;
  read_eof?: boolean;
}

const run = promisify(execFile);
const compiled = new Map<string, Promise<string>>();

/**
 * Compiles tests/support/NAME.c into build/tests/NAME where that is missing or older, and gives its
 * path; `libraries` are the compiler's words for what it is linked with. Other processes may do the
 * same at the same time: each renames a file of its own.
 */
export function compile(name: string, ...libraries: string[]): Promise<string> {
  let program = compiled.get(name);
  if (program === undefined) compiled.set(name, (program = compileAnew(name, libraries)));
  return program;
}

async function compileAnew(name: string, libraries: readonly string[]): Promise<string> {
  const source = path.join(root, "tests/support", `${name}.c`);
  const program = path.join(root, "build/tests", name);
  const mtime = async (file: string) => (await stat(file).catch(() => undefined))?.mtimeMs ?? 0;
  if ((await mtime(program)) > (await mtime(source))) return program;
  await mkdir(path.dirname(program), { recursive: true });
  const own = `${program}.${randomUUID()}`;
  try {
    const flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"];
    await run(process.env["CC"] ?? "cc", [...flags, "-o", own, source, ...libraries]);
    await rename(own, program);
  } finally {
    await rm(own, { force: true });
  }
  return program;
}

/** The arguments of fake-ssh.c that say the same as `options`. */
export function fakeSshArguments(
  command: readonly (string | Buffer)[],
  options: FakeSshOptions = {},
): string[] {
  const words: string[] = [];
  const add = (name: string, value: string | number | undefined) => {
    if (value !== undefined) words.push(name, String(value));
  };
  add("--uid", options.uid);
  add("--gid", options.gid);
  if (options.dropCaps) words.push("--drop-caps");
  add("--stdout", options.stdout);
  add("--stdin", options.stdin);
  add("--stderr", options.stderr);
  if (options.gone) words.push("--gone");
  add("--hold", options.holdMs);
  add("--write", options.write?.toString("hex"));
  add("--read", options.readBytes);
  add("--read-ms", options.readMs);
  add("--deadline-ms", options.deadlineMs);
  // Node encodes arguments as UTF-8; a path need not be UTF-8.
  const hex = command.some((word) => typeof word !== "string");
  if (hex) words.push("--hex");
  const word = (text: string | Buffer) => (hex ? Buffer.from(text).toString("hex") : String(text));
  return [...words, "--", ...command.map(word)];
}

/** Turns the line of JSON that fake-ssh.c printed into an Outcome. */
export function parseOutcome(json: string, stderrBytes: Buffer): Outcome {
  const result = JSON.parse(json) as Result;
  const signals = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  const outcome: Outcome = {
    exit: result.exit,
    signal: signals.find(([, number]) => number === result.signal)?.[0] ?? null,
    timedOut: result.timed_out,
    bytes: result.bytes,
    firstByte: result.first_byte,
    fds: result.fds,
    handoffNs: result.handoff_ns,
    exitNs: result.exit_ns,
    maxrssKb: result.maxrss_kb,
    userUs: result.user_us,
    systemUs: result.system_us,
    stderr: stderrBytes.toString(),
    stderrBytes,
  };
  if (result.read_hex !== undefined) outcome.read = Buffer.from(result.read_hex, "hex");
  if (result.read_eof !== undefined) outcome.readEof = result.read_eof;
  if (result.open_fds !== undefined) outcome.openFds = result.open_fds;
  if (result.socket !== null) {
    const { rcvtimeo_us, sndtimeo_us, peer_hex, peer_cid, peer_port, connect_timeout_us, ...rest } =
      result.socket;
    outcome.socket = { ...rest, rcvtimeoUs: rcvtimeo_us, sndtimeoUs: sndtimeo_us };
    if (peer_hex !== undefined) outcome.socket.peerPath = Buffer.from(peer_hex, "hex");
    if (peer_cid !== undefined) outcome.socket.peerCid = peer_cid;
    if (peer_port !== undefined) outcome.socket.peerPort = peer_port;
    if (connect_timeout_us !== undefined) outcome.socket.connectTimeoutUs = connect_timeout_us;
  }
  return outcome;
}

/** Records a run of the proxy; what else fake-ssh may run is nothing to compare. */
function recorded(command: readonly (string | Buffer)[], options: FakeSshOptions): Run | undefined {
  const program = traceFolder === undefined ? undefined : proxyCommand().at(-1);
  if (program === undefined || !command.includes(program)) return undefined;
  return beginRun(["fake-ssh", ...fakeSshArguments([], options), ...command]);
}

/** Runs `command` with ssh's descriptors and waits for its end; rejects where fake-ssh fails. */
export async function fakeSsh(
  command: readonly (string | Buffer)[],
  options: FakeSshOptions = {},
): Promise<Outcome> {
  const words = [await compile("fake-ssh"), ...fakeSshArguments(command, options)];
  if (options.processor !== undefined) words.unshift("taskset", "-c", String(options.processor));
  const record = recorded(command, options);
  const child = spawn(words[0] as string, words.slice(1), {
    cwd: options.cwd,
    env: { ...(options.env ?? process.env), ...record?.env },
    stdio: ["ignore", "ignore", "pipe", "pipe"],
  });
  const collect = (fd: 2 | 3) => {
    const chunks: Buffer[] = [];
    child.stdio[fd]?.on("data", (chunk: Buffer) => chunks.push(chunk));
    return chunks;
  };
  const stderr = collect(2);
  const json = collect(3);
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (status !== 0) {
    throw new Error(`fake-ssh failed (${status}): ${Buffer.concat(stderr).toString()}`);
  }
  const outcome = parseOutcome(Buffer.concat(json).toString(), Buffer.concat(stderr));
  record?.end(outcome.exit ?? outcome.signal, outcome.stderrBytes);
  return outcome;
}
