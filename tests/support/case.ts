// A test case: a command line, what it asks for, and the world that the command meets.
//
// A world is data, so that each runner plays the same one: the simulation (tests/simulated/world.ts)
// answers the imports, the lock-step runner (tests/hosts) and the suites of real hosts use sockets.
// What only the simulation can play is in `World.simulation` and in the fields marked as such.
//
// The name of a machine is looked up first: `lookup` says what it is a name of, `World.services` what the
// services reply, and `target` what the name leads to.

import { Family } from "../../assembly/codes";
import type { Code } from "../../assembly/codes";

/** Text is UTF-8. */
export type Bytes = string | Buffer;

export interface Case {
  /** Unique, without a space. */
  name: string;
  /** The command line, without the program's name. */
  args: readonly Bytes[];
  /** `NAME=VALUE`. */
  environment?: readonly Bytes[];
  world: World;

  // What the command line asks for.

  /** Where to connect to; undefined where the command ends before that. */
  target?: Target;
  /** Where the address is a name, and the target what it leads to. */
  lookup?: Lookup;
  /** What a failure names: the address, or the wrong option, escaped; empty for none. */
  subject: string;
  /** --fdpass or --stdio; if neither, descriptor 1 decides. */
  mode?: "fdpass" | "stdio";
  /** Whether a relay passes the end of stdin to the peer. */
  halfClose: boolean;
  /** How long a relay waits for the peer's next byte after the end of stdin; undefined: for ever. */
  lingerMs?: number;
  timeoutMs: number;
  /** 0: one attempt. */
  waitMs: number;
  verbose: boolean;
  /** --log-file, and what a failure to open it names. */
  log?: { path: string; subject: string };
  /**
   * The result, where nothing is injected: Done, a failure, or a text that was asked for. Undefined
   * where the case does not say it: any result that the rules allow.
   */
  code?: Code | "help" | "version";
}

export type SchemeName = "unix" | "unix-abstract" | "vsock" | "vsock-mux" | ".host";

export interface Target {
  scheme: SchemeName;
  family: Family;
  /** The socket address that sock_connect is given (docs/abi.md). */
  address: Buffer;
  /** Of vsock and vsock-mux. */
  port?: number;
  /** Where it is if nothing is at its path: a container's socket before systemd 257. */
  older?: Buffer;
}

export interface Lookup {
  scheme: "machine" | "qemu" | "qemu:system" | "qemu:session";
  /** XDG_RUNTIME_DIR, where the command can use it. */
  directory?: string;
}

export interface World {
  /** What each attempt to connect meets; the last one is repeated. Default: a silent peer. */
  attempts?: readonly Attempt[];
  /** What each connection to a service meets, by its socket's path; one without an entry is missing. */
  services?: Readonly<Record<string, readonly Service[]>>;
  /** Default: the socket that is descriptor 1, as ssh's; where that is none, null. */
  stdin?: Stdin;
  /** Default: unix, the socket on which ssh waits for a descriptor. */
  stdout?: Stdout;
  /** Default: pipe. */
  stderr?: Stderr;
  /** When the client, at the other end of descriptor 1, exits; `ms` is simulation only. */
  clientExits?: { afterAttempt: number } | { ms: number };
  /** What the peer of a relay does; in the simulation a relay is one call. */
  relay?: Relay;
  simulation?: Simulation;
}

export interface Attempt {
  /** The errno of connecting, by preview1's name, such as NOENT; default: SUCCESS. */
  connect?: string;
  /** For runners with real sockets: what is at the address, where `connect` leaves a choice. */
  place?: "linked" | "dangling";
  /**
   * How long connecting takes. "deadline": as long as it may, and then TIMEDOUT (a full queue). A
   * number, in milliseconds, is simulation only.
   */
  takes?: "deadline" | number;
  /** What the peer sends: segments, each of which arrives once the one before was taken. */
  reply?: readonly Bytes[];
  /** What follows the last segment; default: silence. */
  end?: "eof" | "silence";
  /**
   * A peer that ends the connection before it reads the request: "before-request", so that sending
   * fails with PIPE; or "unread", so that the connection is reset (CONNRESET) once it was sent.
   */
  drops?: "before-request" | "unread";
  /**
   * Simulation only: before this segment of the reply, 0 for the first, is an out-of-band byte. The
   * socket is ready, and looking shows nothing, until a read passes over it; and what follows comes
   * just before that read.
   */
  urgentBefore?: number;
  /** Simulation only: attempts meet this one until then, in milliseconds after the start. */
  untilMs?: number;
}

/** A connection to a service that is asked for a machine's address. */
export interface Service extends Omit<Attempt, "reply"> {
  /** The requests that it gets, in their order, and the reply to each. */
  exchange?: readonly (readonly [request: Bytes, reply: readonly Bytes[]])[];
  /**
   * What the replies come to, and what the message adds; default: Done, and the target is tried. Of
   * replies without an end LookupTimeout.
   */
  code?: Code;
  detail?: string;
  /** How many bytes of the replies say so; default: all. */
  enough?: number;
}

export interface Stdin {
  /** "stdout": the same socket as descriptor 1. */
  kind: "null" | "file" | "pipe" | "directory" | "stdout";
  content?: Bytes;
  /** Whether the content is followed by an end of file; default: yes. */
  ends?: boolean;
}

/** "full unix": takes nothing; "full": /dev/full; "vsock": simulation only. */
export type Stdout =
  | "unix"
  | "unix without reader"
  | "full unix"
  | "datagram"
  | "seqpacket"
  | "vsock"
  | "pipe"
  | "pipe without reader"
  | "file"
  | "null"
  | "full"
  | "closed";

export type Stderr =
  "pipe" | "file" | "null" | "terminal" | "pipe without reader" | "full pipe" | "closed";

export interface Relay {
  /** What the peer sends at once. */
  first: Bytes;
  /** It sends `last`, and closes, when it has this many bytes, or the end of what it is sent. */
  until: number | "end";
  last: Bytes;
}

/** What only the simulation plays. */
export interface Simulation {
  /** What happens to single calls of imports. */
  faults?: readonly PlacedFault[];
  /** What an import returns, by its name: an errno's name for each call, the last one repeated. */
  fails?: Readonly<Record<string, readonly string[]>>;
  /** How many bytes one sock_send, fd_write to stderr, or sock_recv without PEEK moves at most. */
  sendTakes?: number;
  writeTakes?: number;
  recvGives?: number;
  /** Whether the connected socket is never ready to be written to. */
  peerIsStuck?: boolean;
  /** Whether each wait takes two seconds, whatever is ready. */
  stalls?: boolean;
  /** When the client sends something on descriptor 1, which nothing reads. */
  clientSpeaksMs?: number;
  /** How sock_relay says it ended; default: with success. */
  relayEnd?: RelayEnd;
  /** What the monotonic and the realtime clock show at the start. */
  clockNs?: bigint;
  wallNs?: bigint;
}

/** How a relay ended: the descriptor that something went wrong with, and its errno. */
export interface RelayEnd {
  fd: number;
  error: number;
}

/** What happens to one call in place of what else would. */
export interface Fault {
  /** The call returns this, and does nothing; but fd_close closes. */
  errno?: number;
  /** sock_recv, sock_send and fd_write move this many bytes at most. */
  bytes?: number;
  /** poll_oneoff returns at once, with these events. */
  events?: Events;
  /** The time that passes before it returns, in nanoseconds. */
  takes?: bigint;
  /** sock_relay ends so. */
  end?: RelayEnd;
}

/** The descriptor is ready, has hung up, is unknown; the clock's time has come; both. */
export type Events = "none" | "ready" | "hangup" | "badf" | "clock" | "both";

/** A fault, and the call that it happens to: its number, 1 for the first of all calls. */
export interface PlacedFault {
  call: number;
  name: string;
  fault: Fault;
  /** Whether it happens to all later calls of the import, too. */
  always?: boolean;
}

/** A case with the usual values for what is not given. */
export function makeCase(what: Partial<Case> & Pick<Case, "name">): Case {
  return {
    args: [],
    world: {},
    subject: "",
    halfClose: what.target?.scheme !== "vsock-mux",
    timeoutMs: 5000,
    waitMs: 0,
    verbose: false,
    ...what,
  };
}

/** A unix socket at a path of any bytes, in latin1; `\0name` for an abstract one. */
export function unixTarget(scheme: SchemeName, path: string): Target {
  const address = Buffer.from(`\x03\0${path}`, "latin1");
  return { scheme, family: Family.Unix, address };
}

export function vsockTarget(cid: number, port: number): Target {
  const address = Buffer.from([Family.Vsock, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  address.writeUInt32LE(port, 4);
  address.writeUInt32LE(cid, 8);
  return { scheme: "vsock", family: Family.Vsock, address, port };
}

/** What attempt number `index` meets, 0 for the first. */
export function attemptAt({ attempts = [{}] }: World, index: number): Attempt {
  return attempts[Math.min(index, attempts.length - 1)] ?? {};
}

const missing: Service = { connect: "NOENT" };

/** What connection number `index` to the service at a path meets, 0 for the first. */
export function serviceAt({ services = {} }: World, path: string, index: number): Service {
  const all = services[path] ?? [missing];
  return all[Math.min(index, all.length - 1)] ?? missing;
}

/** Descriptor 0, where it is not given. */
export function stdinOf({ stdin, stdout = "unix" }: World): Stdin {
  return stdin ?? (isUnixStream(stdout) ? { kind: "stdout", ends: false } : { kind: "null" });
}

const isUnixStream = (stdout: Stdout): boolean =>
  ["unix", "unix without reader", "full unix"].includes(stdout);

/** Whether the connection is passed as a descriptor, and not relayed. */
export function passesDescriptor({ mode, world }: Case): boolean {
  if (mode === "stdio" || !isUnixStream(world.stdout ?? "unix")) return false;
  return mode === "fdpass" || stdinOf(world).kind === "stdout";
}

/** Whether progress is one line of a terminal that is drawn again and again. */
export function redrawsProgress({ waitMs, verbose, environment = [], world }: Case): boolean {
  const terms = environment.map(String).filter((variable) => variable.startsWith("TERM="));
  const term = terms.at(-1) ?? "TERM=";
  const moves = term !== "TERM=" && term !== "TERM=dumb";
  return waitMs > 0 && !verbose && world.stderr === "terminal" && moves;
}
