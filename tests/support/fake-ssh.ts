// Runs a ProxyCommand as OpenSSH does, through fake-ssh.c, and gives its outcome.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { constants } from "node:os";

import { Code } from "../../assembly/codes";
import { makeCase } from "./case";
import type { Case } from "./case";
import { compile } from "./compile";
import { checkOutcome } from "./outcome";
import type { Expectation, Outcome, Passed } from "./outcome";

export interface FakeSshOptions {
  /** Takes root's exemption from file permissions away; other users have none. */
  dropCaps?: boolean;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** The kind of fd 1: ssh's unix stream socket, or one that ssh never uses. */
  stdout?: "unix" | "dgram" | "seqpacket" | "tcp" | "pipe" | "tty" | "file" | "closed";
  stdin?: "as-ssh" | "null" | "closed";
  stderr?: "inherit" | "closed";
  /** ssh's end is closed from the beginning; with `hold`, after the hold. */
  gone?: boolean;
  /**
   * Lets the command block when it passes the descriptor: until it does, and then lists its
   * descriptors, or until it exits.
   */
  hold?: "blocked" | "exit";
  /** Bytes for the passed socket, and how many bytes to read from it then. */
  write?: Buffer;
  readBytes?: number;
  readMs?: number;
  /** The command is killed after this time (default: 30 s). */
  deadlineMs?: number;
}

export interface PassedSocket {
  family: number;
  type: number;
  nonblock: boolean;
  rcvtimeoUs: number;
  sndtimeoUs: number;
  /** Names of the options that differ from those of a new socket. */
  changed: string[];
  connected: boolean;
  /** The peer's path as the kernel keeps it, NUL included. */
  peerPath?: Buffer;
  peerCid?: number;
  peerPort?: number;
  connectTimeoutUs?: number;
}

/** The common outcome, and what only fake-ssh sees. */
export interface FakeSshOutcome extends Omit<Outcome, "stderr"> {
  signal: NodeJS.Signals | null;
  stderr: string;
  stderrBytes: Buffer;
  passed: readonly Passed[];
  /** Of all messages. */
  bytes: number;
  fds: number;
  timedOut: boolean;
  /** When the descriptor was received. */
  handoffNs: number | undefined;
  exitNs: number;
  read?: Buffer;
  readEof?: boolean;
  socket?: PassedSocket;
  openFds?: Record<string, string>;
}

/**
 * Checks the outcome of a case, which is made of `what`. By default the descriptor was passed:
 * `address`, then, is the peer's. Every passed socket is connected, and otherwise as a new one.
 */
export function checkFakeSsh(
  outcome: FakeSshOutcome,
  what: Partial<Case>,
  address: Partial<PassedSocket> = {},
  expectation: Expectation = {},
): void {
  const one = makeCase({ name: "fake-ssh", code: Code.Done, ...what });
  checkOutcome(one, { ...outcome, stderr: outcome.stderrBytes }, expectation);
  if (one.code !== Code.Done) return;
  assert.deepEqual(
    outcome.passed.map(({ bytes }) => bytes),
    [Buffer.of(0)],
  );
  const socket = { ...outcome.socket };
  if (address.peerPath === undefined) delete socket.peerPath;
  assert.deepEqual(socket, { ...passedSocket, ...address });
}

/** An AF_UNIX stream socket without an option that a new one does not have. */
const passedSocket = {
  family: 1,
  type: 1,
  nonblock: false,
  changed: [],
  connected: true,
  rcvtimeoUs: 0,
  sndtimeoUs: 0,
};

/** The line of fake-ssh.c. */
interface Result {
  exit: number | null;
  signal: number | null;
  timed_out: boolean;
  messages: { hex: string; fds: number }[];
  handoff_ns?: number;
  exit_ns: number;
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

/** The arguments of fake-ssh.c for `options`. */
function fakeSshArguments(
  command: readonly (string | Buffer)[],
  options: FakeSshOptions = {},
): string[] {
  const words: string[] = [];
  const add = (name: string, value: string | number | undefined) => {
    if (value !== undefined) words.push(name, String(value));
  };
  if (options.dropCaps) words.push("--drop-caps");
  add("--stdout", options.stdout);
  add("--stdin", options.stdin);
  add("--stderr", options.stderr);
  if (options.gone) words.push("--gone");
  add("--hold", options.hold);
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

/** Parses the line of fake-ssh.c. */
export function parseOutcome(json: string, stderrBytes: Buffer): FakeSshOutcome {
  const result = JSON.parse(json) as Result;
  const signals = Object.entries(constants.signals) as [NodeJS.Signals, number][];
  const passed = result.messages.map(({ hex, fds }) => {
    return { bytes: Buffer.from(hex, "hex"), descriptors: fds };
  });
  const outcome: FakeSshOutcome = {
    exit: result.exit,
    signal: signals.find(([, number]) => number === result.signal)?.[0] ?? null,
    timedOut: result.timed_out,
    passed,
    bytes: passed.reduce((sum, { bytes }) => sum + bytes.length, 0),
    fds: passed.reduce((sum, { descriptors }) => sum + descriptors, 0),
    handoffNs: result.handoff_ns,
    exitNs: result.exit_ns,
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

/** Runs `command` with ssh's descriptors to its exit; rejects if fake-ssh fails. */
export async function fakeSsh(
  command: readonly (string | Buffer)[],
  options: FakeSshOptions = {},
): Promise<FakeSshOutcome> {
  const child = spawn(await compile("fake-ssh"), fakeSshArguments(command, options), {
    cwd: options.cwd,
    env: options.env,
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
  return parseOutcome(Buffer.concat(json).toString(), Buffer.concat(stderr));
}
