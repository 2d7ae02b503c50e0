// proxy.wasm with simulated imports: without a system call, in simulated time. It plays what no real
// peer can be made to do (a short write, a clock that jumps, any errno), and shows each call.
//
// There is one clock, which moves only while the program waits or a call takes time.
//
// The simulation is strict: what docs/abi.md rules out (a descriptor that is not open, a wait without
// an end, a second socket beside one that is open) is thrown as an error.

import { readFileSync } from "node:fs";
import path from "node:path";
import type { Call } from "../support/calls";
import { attemptAt, serviceAt, stdinOf } from "../support/case";
import type { Attempt, Bytes, Service, Stdout, World } from "../support/case";
import type { Connection, Outcome, Passed } from "../support/outcome";
import { errno } from "../support/errno";
import { root } from "../support/proxy";

const [SUCCESS, AGAIN, PIPE] = [0, errno("AGAIN"), errno("PIPE")];
const [BADF, CONNRESET, TIMEDOUT] = [errno("BADF"), errno("CONNRESET"), errno("TIMEDOUT")];
const [CHARACTER_DEVICE, REGULAR_FILE, SOCKET_DGRAM, SOCKET_STREAM] = [2, 4, 5, 6];
const [AF_UNIX, AF_VSOCK] = [3, 40];
const [CLOCK, FD_READ, FD_WRITE] = [0, 1, 2];
const [REALTIME, MONOTONIC, ABSTIME] = [0, 1, 1];
const HANGUP = 1;
const PEEK = 1;

const MS = 1_000_000n;
/** What the monotonic clock shows at the start, unless the world says it. */
const START = 1_000_000_000n;
/** What passes when a descriptor is waited for that is ready. */
const MOMENT = 10n * MS;
const STALL = 2000n * MS;
export const CLOCK_MAX = 2n ** 64n - 1n;
/** More calls than any case needs: more of them mean a loop. */
const CALLS_MAX = 100_000;
/** 2026-11-23T08:15:39.123Z */
const WALL = 1_795_421_739_123_000_000n;
const PROCESS = 4711;
const FIRST_OPENED = 3;
const WRITE_MAX = 4096;
const FILESTAT_SIZE = 64;
/** The socket of systemd-machined or libvirt. */
const SERVICE =
  /\/(systemd\/machine\/io\.systemd\.Machine|libvirt\/(virtqemud|libvirt)-sock(-ro)?)$/;

/** Descriptor 1 as the imports show it; null where it is none (docs/abi.md, fd_filestat_get). */
const stdouts: Record<Stdout, { filetype: number; family: number } | null> = {
  unix: { filetype: SOCKET_STREAM, family: AF_UNIX },
  "unix without reader": { filetype: SOCKET_STREAM, family: AF_UNIX },
  "full unix": { filetype: SOCKET_STREAM, family: AF_UNIX },
  vsock: { filetype: SOCKET_STREAM, family: AF_VSOCK },
  datagram: { filetype: SOCKET_DGRAM, family: AF_UNIX },
  seqpacket: { filetype: 0, family: AF_UNIX },
  pipe: { filetype: 0, family: 0 },
  "pipe without reader": { filetype: 0, family: 0 },
  file: { filetype: REGULAR_FILE, family: 0 },
  full: { filetype: CHARACTER_DEVICE, family: 0 },
  null: null,
  closed: null,
};

export interface SimulatedOutcome extends Outcome {
  exit: number;
  calls: Call[];
  connections: Connection[];
  passed: Passed[];
  /** How long the program ran, in nanoseconds. */
  ran: number;
}

/** Sees each call once it has returned. */
type Watch = (call: Call) => void;

/** What proc_exit throws: one for all runs, because making one takes longer than many a run. */
class Exit extends Error {
  status = -1;
}
const exit = new Exit("proc_exit");

/** The imports by their names. */
export type Imports = Record<string, (...args: never[]) => number>;

interface Program {
  module: WebAssembly.Module;
  imports: WebAssembly.ModuleImportDescriptor[];
  /** Imports from other modules, such as a counter of branches. */
  others: Record<string, Imports>;
}
let program: Program | undefined;

/** Has `simulate` run this build of proxy.wasm, once compiled. */
export function useProgram(file: string, others: Record<string, Imports> = {}): Program {
  const module = new WebAssembly.Module(new Uint8Array(readFileSync(file)));
  return (program = { module, imports: WebAssembly.Module.imports(module), others });
}

/** Texts as args_get and environ_get give them. */
function withNul(texts: readonly Bytes[]): Buffer[] {
  return texts.map((text) => Buffer.concat([Buffer.from(text as string), Buffer.of(0)]));
}

function later(clock: bigint, span: bigint): bigint {
  return clock + span < CLOCK_MAX ? clock + span : CLOCK_MAX;
}

/** What an attempt meets that is made now. */
function meets(world: World, index: number, sinceStart: bigint): Attempt {
  const { attempts = [] } = world;
  if (!attempts.some(({ untilMs }) => untilMs !== undefined)) return attemptAt(world, index);
  const met = attempts.find(({ untilMs = Infinity }) => Number(sinceStart / MS) < untilMs);
  return met ?? (attempts.at(-1) as Attempt);
}

/** A subscription of poll_oneoff. */
interface Subscription {
  at: number;
  type: number;
  /** When a clock is due. */
  due?: bigint;
  fd?: number;
}

/** The socket that is open, and what its peer still sends. */
interface Socket {
  fd: number;
  family: number;
  connected: boolean;
  attempt: Attempt;
  reply: Buffer[];
  /** Of a service: what it is still asked and replies. */
  exchange?: [end: number, reply: readonly Bytes[]][];
  /** How many segments are left of it at the out-of-band byte that was not passed over yet. */
  urgentAt?: number;
  /** When connecting is done, if that takes time. */
  ready?: bigint;
  connection: Connection & { sent: Buffer; taken: number };
}

/** Runs the command with these arguments and variables in a world. */
export function simulate(
  args: readonly Bytes[],
  world: World = {},
  environment: readonly Bytes[] = [],
  watch?: Watch,
): SimulatedOutcome {
  const { simulation = {}, stdin, clientExits } = world;
  const { faults = [], clockNs: start = START, wallNs = WALL } = simulation;
  const argv = withNul(["ssh-vsock-proxy", ...args]);
  const variables = withNul(environment);
  const stdout = stdouts[world.stdout ?? "unix"];
  const stdinKind = stdinOf(world).kind;
  const stderrKind = world.stderr ?? "pipe";
  const [stderr, log]: [Buffer[], Buffer[]] = [[], []];
  const calls: Call[] = [];
  const connections: Connection[] = [];
  const passed: Passed[] = [];
  let relayed: Buffer | undefined;
  let clock = start;
  let logFd: number | undefined;
  let socket: Socket | undefined;
  let attempts = 0;
  /** How many connections each service has had. */
  const asked = new Map<string, number>();
  let leftAt: bigint | undefined;
  if (world.stdout?.endsWith("without reader")) leftAt = start;
  if (clientExits && "ms" in clientExits) leftAt = start + BigInt(clientExits.ms) * MS;
  const { clientSpeaksMs } = simulation;
  const speaksAt = clientSpeaksMs === undefined ? undefined : start + BigInt(clientSpeaksMs) * MS;
  /** The call that runs now, what happens to it, and the errno that it is made to return. */
  let call: Call = { name: "", parameters: [], at: 0, errno: 0 };
  let fault: Call["fault"];
  let forced = SUCCESS;

  const since = (time: bigint): number => Number(time - start);
  const misuse = (what: string): never => {
    throw new Error(`${what}, in call ${calls.length}, to ${call.name}`);
  };
  const openSocket = (fd: number): Socket => {
    call.fd = fd;
    return socket?.fd === fd ? socket : misuse(`descriptor ${fd} is no open socket`);
  };
  const connected = (fd: number): Socket => {
    const found = openSocket(fd);
    return found.connected ? found : misuse(`descriptor ${fd} is not connected`);
  };
  const hasEnded = ({ reply, attempt, exchange = [] }: Socket): boolean => {
    const ends = attempt.end === "eof" || attempt.drops !== undefined;
    return ends && reply.length === 0 && exchange.length === 0;
  };
  const isUrgent = ({ reply, urgentAt }: Socket): boolean => reply.length === urgentAt;
  /** The next connection to the service at a socket's address; undefined where that is none's. */
  const serviceOf = (address: Buffer): Service | undefined => {
    const at = address.toString("latin1", 2);
    if (!SERVICE.test(at)) return undefined;
    const index = asked.get(at) ?? 0;
    asked.set(at, index + 1);
    return serviceAt(world, at, index);
  };
  const hasLeft = (): boolean => leftAt !== undefined && leftAt <= clock;

  let cached: DataView | undefined;
  /** The memory, of which there is another view once it has grown. */
  const view = (): DataView =>
    cached?.buffer === memory.buffer ? cached : (cached = new DataView(memory.buffer));
  const u32 = (at: number): number => view().getUint32(at, true);
  const setU32 = (at: number, value: number): void => {
    view().setUint32(at, value, true);
  };
  const bytes = (at: number, length: number): Buffer => Buffer.from(memory.buffer, at, length);
  /** As much of a list of buffers as one call takes. */
  const take = (iovs: number, count: number, most: number | undefined, ret: number): Buffer => {
    const all = Buffer.concat(
      Array.from({ length: count }, (_, i) => bytes(u32(iovs + 8 * i), u32(iovs + 8 * i + 4))),
    );
    call.bytes = all.subarray(0, fault?.bytes ?? most);
    call.count = call.bytes.length;
    setU32(ret, call.count);
    return call.bytes;
  };

  const putSizes = (list: Buffer[], count: number, size: number): number => {
    setU32(count, list.length);
    setU32(
      size,
      list.reduce((sum, text) => sum + text.length, 0),
    );
    return SUCCESS;
  };
  const putTexts = (list: Buffer[], pointers: number, texts: number): number => {
    for (const text of list) {
      setU32(pointers, texts);
      bytes(texts, text.length).set(text);
      pointers += 4;
      texts += text.length;
    }
    return SUCCESS;
  };

  const readSubscription = (at: number): Subscription => {
    const type = view().getUint8(at + 8);
    if (type !== CLOCK) {
      if (type !== FD_READ && type !== FD_WRITE) misuse(`a subscription of type ${type}`);
      return { at, type, fd: u32(at + 16) };
    }
    const [id, flags] = [u32(at + 16), view().getUint16(at + 40, true)];
    if (id !== MONOTONIC || flags !== ABSTIME) misuse(`clock ${id} with flags ${flags}`);
    return { at, type, due: view().getBigUint64(at + 24, true) };
  };
  /** When a descriptor becomes ready; undefined: never. */
  const readyAt = ({ type, fd }: Subscription): bigint | undefined => {
    if (fd === 2) return type === FD_WRITE && stderrKind !== "full pipe" ? clock : undefined;
    if (fd === 1 && type === FD_READ) {
      if (leftAt === undefined || speaksAt === undefined) return leftAt ?? speaksAt;
      return speaksAt < leftAt ? speaksAt : leftAt;
    }
    if (fd === 1) return world.stdout === "full unix" ? leftAt : clock;
    const peer = openSocket(fd as number);
    if (type === FD_WRITE) return simulation.peerIsStuck === true ? undefined : clock;
    return peer.reply.length > 0 || hasEnded(peer) || isUrgent(peer) ? clock : undefined;
  };

  const imports: Imports = {
    args_sizes_get: (count: number, size: number) => putSizes(argv, count, size),
    args_get: (pointers: number, texts: number) => putTexts(argv, pointers, texts),
    environ_sizes_get: (count: number, size: number) => putSizes(variables, count, size),
    environ_get: (pointers: number, texts: number) => putTexts(variables, pointers, texts),
    clock_time_get(id: number, _precision: bigint, time: number) {
      view().setBigUint64(time, id === REALTIME ? wallNs + clock - start : clock, true);
      return SUCCESS;
    },
    fd_close(fd: number) {
      openSocket(fd);
      socket = undefined;
      const exits = clientExits && "afterAttempt" in clientExits && clientExits.afterAttempt;
      if (attempts === exits) leftAt = clock;
      return forced;
    },
    fd_filestat_get(fd: number, stat: number) {
      if (fd === 1 && stdout === null) return BADF;
      if (fd === 0 && stdinKind === "null") return BADF;
      const isStdout = fd === 1 || (fd === 0 && stdinKind === "stdout");
      const stderrType = stderrKind === "terminal" ? CHARACTER_DEVICE : 0;
      bytes(stat, FILESTAT_SIZE).fill(0);
      view().setBigUint64(stat, 8n, true);
      view().setBigUint64(stat + 8, isStdout ? 1n : BigInt(10 + fd), true);
      view().setUint8(stat + 16, fd === 2 ? stderrType : isStdout ? (stdout?.filetype ?? 0) : 0);
      return SUCCESS;
    },
    fd_write(fd: number, iovs: number, count: number, written: number) {
      if (fd === logFd) {
        log.push(take(iovs, count, undefined, written));
        return SUCCESS;
      }
      if (fd !== 2) misuse(`a write to descriptor ${fd}`);
      if (stderrKind === "full pipe") return AGAIN;
      if (stderrKind === "pipe without reader") return PIPE;
      const data = take(iovs, count, simulation.writeTakes, written);
      if (data.length > WRITE_MAX) misuse(`${data.length} bytes at once`);
      stderr.push(data);
      return SUCCESS;
    },
    poll_oneoff(subscriptions: number, events: number, count: number, ready: number) {
      const list = Array.from({ length: count }, (_, i) =>
        readSubscription(subscriptions + 48 * i),
      );
      const asked = list.find(({ fd }) => fd !== undefined);
      const timer = list.find(({ due }) => due !== undefined);
      if (asked?.fd !== undefined) Object.assign(call, { fd: asked.fd, type: asked.type });
      if (timer?.due === undefined) return misuse("a wait without an end");
      call.until = since(timer.due);
      if (forced !== SUCCESS) return forced;
      call.count = 0;
      const put = ({ at, type }: Subscription, error = 0, flags = 0): void => {
        const event = events + 32 * (call.count as number);
        const userdata = view().getBigUint64(at, true);
        bytes(event, 32).fill(0);
        view().setBigUint64(event, userdata, true);
        view().setUint16(event + 8, error, true);
        view().setUint8(event + 10, type);
        view().setUint16(event + 24, flags, true);
        if (type === CLOCK) call.due = true;
        else Object.assign(call, { ready: true, hungUp: flags === HANGUP });
        call.count = (call.count as number) + 1;
      };

      const times = asked === undefined ? undefined : readyAt(asked);
      // stderr is not waited for where it is ready.
      const moment = asked?.fd === 2 ? 0n : MOMENT;
      if (simulation.stalls === true) clock = later(clock, STALL);
      if (fault?.events !== undefined) {
        clock = later(clock, moment);
        const { events: made } = fault;
        if (asked !== undefined && ["ready", "hangup", "badf", "both"].includes(made)) {
          put(asked, made === "badf" ? BADF : 0, made === "hangup" ? HANGUP : 0);
        }
        // It always tells that the time has come.
        if (made === "clock" || made === "both" || timer.due <= clock) put(timer);
        setU32(ready, call.count);
        return SUCCESS;
      }
      if (times !== undefined && times <= clock) {
        // So a program that only asks again and again meets its deadline.
        clock = later(clock, moment);
      } else {
        const next = times !== undefined && times < timer.due ? times : timer.due;
        if (next > clock) clock = next;
      }
      if (asked !== undefined && times !== undefined && times <= clock) {
        const peerEnds = asked.type === FD_READ && socket !== undefined && hasEnded(socket);
        put(asked, 0, (asked.fd === 1 ? hasLeft() : peerEnds) ? HANGUP : 0);
      }
      if (timer.due <= clock) put(timer);
      setU32(ready, call.count);
      return SUCCESS;
    },
    proc_exit(status: number): never {
      exit.status = status;
      throw exit;
    },
    log_open(file: number, length: number, ret: number) {
      call.bytes = Buffer.from(bytes(file, length));
      call.fd = logFd = FIRST_OPENED;
      setU32(ret, logFd);
      setU32(ret + 4, PROCESS);
      return SUCCESS;
    },
    sock_open(family: number, type: number, ret: number) {
      if (type !== SOCKET_STREAM) misuse(`a socket of type ${type}`);
      if (socket !== undefined) misuse("a second socket");
      const fd = logFd === undefined ? FIRST_OPENED : logFd + 1;
      call.fd = fd;
      const connection = { sent: Buffer.of(), taken: 0 };
      socket = { fd, family, connected: false, attempt: {}, reply: [], connection };
      setU32(ret, fd);
      return SUCCESS;
    },
    sock_relay(
      fd: number,
      _input: number,
      _output: number,
      _flags: number,
      _linger: bigint,
      end: number,
    ) {
      const { attempt, reply, connection } = connected(fd);
      const { relay } = world;
      const output = relay ? [relay.first, relay.last].map((part) => Buffer.from(part)) : reply;
      call.end = fault?.end ?? simulation.relayEnd ?? { fd: 0, error: SUCCESS };
      if (stdin?.kind === "directory") call.end = { fd: 0, error: errno("ISDIR") };
      if (world.stdout === "full") call.end = { fd: 1, error: errno("NOSPC") };
      if (hasLeft()) call.end = { fd: 1, error: PIPE };
      if (attempt.drops !== undefined && stdin?.content) call.end = { fd, error: PIPE };
      relayed = call.end.error === SUCCESS ? Buffer.concat(output) : Buffer.of();
      connection.sent = Buffer.concat([connection.sent, Buffer.from(stdin?.content ?? "")]);
      setU32(end, call.end.fd);
      setU32(end + 4, call.end.error);
      return SUCCESS;
    },
    sock_connect(fd: number, address: number, length: number, deadline: bigint) {
      const opened = openSocket(fd);
      if (opened.connected) misuse(`descriptor ${fd} is connected already`);
      const until = BigInt.asUintN(64, deadline);
      if (until === 0n) misuse("a connection without a deadline");
      call.bytes = Buffer.from(bytes(address, length));
      call.until = since(until);
      // A connection that takes time may be waited for in several calls.
      const { ready } = opened;
      if (ready === undefined && opened.exchange === undefined) {
        const service = serviceOf(call.bytes);
        if (service === undefined) opened.attempt = meets(world, attempts++, clock - start);
        else {
          opened.attempt = service;
          let end = 0;
          opened.exchange = (service.exchange ?? []).map(([request, reply]) => [
            (end += Buffer.byteLength(request)),
            reply,
          ]);
        }
      }
      const { takes, connect = "SUCCESS", reply = [], urgentBefore } = opened.attempt;
      opened.reply = reply.map((part) => Buffer.from(part as string));
      if (urgentBefore !== undefined) opened.urgentAt = reply.length - urgentBefore;
      if (takes !== undefined) {
        opened.ready = takes === "deadline" ? until : (ready ?? clock + BigInt(takes) * MS);
        const next = opened.ready < until ? opened.ready : until;
        if (next > clock) clock = next;
        if (opened.ready > until || takes === "deadline") return fault?.errno ?? TIMEDOUT;
      }
      let error = fault?.errno ?? (connect === "SUCCESS" ? forced : errno(connect));
      // A unix socket is connected, or not, before the time is looked at.
      const isLate = opened.family === AF_VSOCK && until <= clock && takes === undefined;
      if (error === SUCCESS && isLate) error = TIMEDOUT;
      opened.connected = error === SUCCESS;
      if (!opened.connected) return error;
      opened.connection.reply = Buffer.concat(opened.reply);
      if (opened.exchange === undefined) connections.push(opened.connection);
      return SUCCESS;
    },
    sock_addr_local(_fd: number, address: number, capacity: number, length: number) {
      if (capacity >= 2) view().setUint16(address, stdout?.family ?? 0, true);
      setU32(length, 2);
      return SUCCESS;
    },
    sock_send(fd: number, iovs: number, count: number, _flags: number, sent: number) {
      const { attempt, connection, exchange = [], reply: replies } = connected(fd);
      if (simulation.peerIsStuck === true) return AGAIN;
      if (attempt.drops === "before-request") return PIPE;
      const data = take(iovs, count, simulation.sendTakes, sent);
      connection.sent = Buffer.concat([connection.sent, data]);
      while (connection.sent.length >= (exchange[0]?.[0] ?? Infinity)) {
        const [, reply] = exchange.shift() as [number, readonly Bytes[]];
        replies.push(...reply.map((part) => Buffer.from(part as string)));
      }
      return SUCCESS;
    },
    sock_recv(fd: number, iovs: number, _count: number, flags: number, length: number) {
      const peer = connected(fd);
      const segment = peer.reply[0];
      const isTaken = (flags & PEEK) === 0;
      if (isUrgent(peer)) {
        if (!isTaken) return AGAIN;
        delete peer.urgentAt;
      }
      if (segment === undefined && peer.attempt.drops === "unread") return CONNRESET;
      const isOver = peer.attempt.end === "eof" && (peer.exchange ?? []).length === 0;
      if (segment === undefined && !isOver) return AGAIN;
      const most = fault?.bytes ?? (isTaken ? simulation.recvGives : undefined) ?? Infinity;
      const size = Math.min(segment?.length ?? 0, u32(iovs + 4), most);
      const part = Buffer.from(segment?.subarray(0, size) ?? []);
      bytes(u32(iovs), size).set(part);
      setU32(length, size);
      Object.assign(call, { count: size, bytes: part });
      if (isTaken && segment !== undefined) {
        peer.connection.taken += size;
        if (size === segment.length) peer.reply.shift();
        else peer.reply[0] = segment.subarray(size);
      }
      return SUCCESS;
    },
    sock_send_fds(
      fd: number,
      iovs: number,
      count: number,
      fds: number,
      fdCount: number,
      sent: number,
    ) {
      if (fd !== 1) misuse(`descriptors to descriptor ${fd}`);
      if (hasLeft()) return PIPE;
      if (world.stdout === "full unix") return AGAIN;
      call.fds = Array.from({ length: fdCount }, (_, i) => u32(fds + 4 * i));
      for (const one of call.fds) connected(one);
      call.fd = fd;
      const data = take(iovs, count, undefined, sent);
      passed.push({ bytes: data, descriptors: call.fds.length });
      return SUCCESS;
    },
  };

  /** Records the calls, and has those fail that the world says. */
  const watched = (name: string): ((...args: never[]) => number) => {
    const results = (simulation.fails?.[name] ?? []).map(errno);
    const run = imports[name];
    const ofDescriptor = /^(fd_|sock_(?!open))/.test(name);
    // What a call does that fails.
    const acts = ["fd_close", "sock_connect", "poll_oneoff"].includes(name);
    return (...parameters) => {
      call = { name, parameters, at: since(clock), errno: 0 };
      if (ofDescriptor) call.fd = Number(parameters[0]);
      calls.push(call);
      if (calls.length > CALLS_MAX) misuse("too many calls");
      if (run === undefined) return misuse("the simulation has no such import");
      fault = undefined;
      for (const placed of faults) {
        const isFirst = placed.call === calls.length;
        if (!isFirst && !(placed.always === true && calls.length > placed.call)) continue;
        if (placed.name === name) fault = placed.fault;
        else if (isFirst) misuse(`the fault is of ${placed.name}`);
      }
      forced = fault?.errno ?? (results.length > 1 ? results.shift() : results[0]) ?? SUCCESS;
      call.errno = forced === SUCCESS || acts ? run(...parameters) : forced;
      if (fault !== undefined) call.fault = fault;
      if (fault?.takes !== undefined) clock = later(clock, fault.takes);
      watch?.(call);
      return call.errno;
    };
  };

  const {
    module,
    imports: wanted,
    others,
  } = program ?? useProgram(path.join(root, "dist/proxy.wasm"));
  const object: Record<string, Imports> = { ...others };
  for (const { module: from, name } of wanted) {
    if (others[from] === undefined) (object[from] ??= {})[name] = watched(name);
  }
  const instance = new WebAssembly.Instance(module, object);
  const memory = instance.exports["memory"] as WebAssembly.Memory;
  let status = -1;
  try {
    (instance.exports["_start"] as () => void)();
  } catch (error) {
    if (error !== exit) throw error;
    status = exit.status;
  }
  return {
    exit: status,
    stderr: Buffer.concat(["null", "closed"].includes(stderrKind) ? [] : stderr),
    connections,
    passed,
    ...(relayed && { relayed }),
    ...(logFd !== undefined && { log: Buffer.concat(log) }),
    calls,
    ran: since(clock),
  };
}

/** The calls of one import. */
export function callsOf({ calls }: SimulatedOutcome, name: string): Call[] {
  return calls.filter((call) => call.name === name);
}

/** The first of them. */
export function callOf(outcome: SimulatedOutcome, name: string): Call | undefined {
  return callsOf(outcome, name)[0];
}
