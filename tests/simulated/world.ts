// proxy.wasm in a world made of script: every import of the module, without a system call. It shows
// what no real peer can be made to do (a short write, a clock that jumps, an errno of choice), and
// what exactly the program asked for.
//
// The world has one clock, which moves only while the program waits or a call takes its time, and
// whatever socket is connected leads to the same peer, unless a stage of a booting machine says
// otherwise.
//
// It is strict: what docs/abi.md rules out (a descriptor that is not open, a wait without an end, a
// second socket beside one that is open) is thrown as an error.

import { readFileSync } from "node:fs";
import path from "node:path";
import { root } from "../support/proxy";

/** preview1's errnos, by their names in native/shim/errnos.h. */
export const errno = {
  SUCCESS: 0,
  TOOBIG: 1,
  ACCES: 2,
  ADDRINUSE: 3,
  ADDRNOTAVAIL: 4,
  AFNOSUPPORT: 5,
  AGAIN: 6,
  ALREADY: 7,
  BADF: 8,
  BADMSG: 9,
  BUSY: 10,
  CANCELED: 11,
  CHILD: 12,
  CONNABORTED: 13,
  CONNREFUSED: 14,
  CONNRESET: 15,
  DEADLK: 16,
  DESTADDRREQ: 17,
  DOM: 18,
  DQUOT: 19,
  EXIST: 20,
  FAULT: 21,
  FBIG: 22,
  HOSTUNREACH: 23,
  IDRM: 24,
  ILSEQ: 25,
  INPROGRESS: 26,
  INTR: 27,
  INVAL: 28,
  IO: 29,
  ISCONN: 30,
  ISDIR: 31,
  LOOP: 32,
  MFILE: 33,
  MLINK: 34,
  MSGSIZE: 35,
  MULTIHOP: 36,
  NAMETOOLONG: 37,
  NETDOWN: 38,
  NETRESET: 39,
  NETUNREACH: 40,
  NFILE: 41,
  NOBUFS: 42,
  NODEV: 43,
  NOENT: 44,
  NOEXEC: 45,
  NOLCK: 46,
  NOLINK: 47,
  NOMEM: 48,
  NOMSG: 49,
  NOPROTOOPT: 50,
  NOSPC: 51,
  NOSYS: 52,
  NOTCONN: 53,
  NOTDIR: 54,
  NOTEMPTY: 55,
  NOTRECOVERABLE: 56,
  NOTSOCK: 57,
  NOTSUP: 58,
  NOTTY: 59,
  NXIO: 60,
  OVERFLOW: 61,
  OWNERDEAD: 62,
  PERM: 63,
  PIPE: 64,
  PROTO: 65,
  PROTONOSUPPORT: 66,
  PROTOTYPE: 67,
  RANGE: 68,
  ROFS: 69,
  SPIPE: 70,
  SRCH: 71,
  STALE: 72,
  TIMEDOUT: 73,
  TXTBSY: 74,
  XDEV: 75,
  NOTCAPABLE: 76,
} as const;

const SOCKET_STREAM = 6;
const AF_UNIX = 3;
const AF_VSOCK = 40;
const CLOCK = 0;
const FD_READ = 1;
const FD_WRITE = 2;
const ABSTIME = 1;
const HANGUP = 1;
const PEEK = 1;

/** What an attempt to connect meets. */
export interface Stage {
  /** What sock_connect answers; success if not said. */
  connect?: number;
  /** How long connecting takes, in nanoseconds; "until the deadline": all that it is given. */
  takes?: "until the deadline" | number;
  /** What a multiplexer says instead of giving the world's answer; nothing if not said. */
  answer?: Buffer;
  /** What comes behind that. */
  handshake?: "silence" | "eof";
}

/** What happens to one call instead of what else would. */
export interface Fault {
  /** The call answers so, and does nothing; but a descriptor is closed whatever that answers. */
  errno?: number;
  /** sock_recv, sock_send and fd_write move so many bytes at most. */
  bytes?: number;
  /** poll_oneoff answers at once, and with these events, be they so or not. */
  events?: Events;
  /** So many nanoseconds pass before it returns. */
  takes?: bigint;
  /** sock_relay ends so. */
  end?: RelayEnd;
}

/** How a relay has ended: the descriptor that something went wrong with, and its errno. */
export interface RelayEnd {
  fd: number;
  error: number;
}

/** Of the descriptor: that it is ready, hung up, unknown; of the clock: that its time has come. */
export type Events = "none" | "ready" | "hangup" | "badf" | "clock" | "both";

export interface World {
  /** What the peer sends: segments, each of which is there once the one before was taken. */
  answer?: Buffer[];
  /** What comes behind the last segment; silence if not said. */
  end?: "eof" | "silence";
  /** What the attempt to connect meets that is made now, the how manieth call, and when. */
  stage?: (attempt: number, now: number) => Stage;
  /** What an import answers, by name: an errno for each call, the last one for all later calls. */
  fails?: Record<string, number[]>;
  /** What happens to a call, by its number, 1 for the first, and its name. */
  fault?: (call: number, name: string) => Fault | undefined;
  /** How many bytes of a request one sock_send takes; all if not said. */
  sendTakes?: number;
  /** How many bytes one fd_write takes; all if not said. */
  writeTakes?: number;
  /** How many bytes one sock_recv gives without PEEK; all that are asked for if not said. */
  recvGives?: number;
  /** Whether descriptor 2 never gets ready to be written to. */
  stderrIsStuck?: boolean;
  /** The same of descriptor 1, which is to take the connection. */
  stdoutIsStuck?: boolean;
  /** The same of the connected socket. */
  peerIsStuck?: boolean;
  /** Whether two seconds pass in every wait, whatever is ready: a machine that stalls. */
  stalls?: boolean;
  /** Descriptor 1: its preview1 file type and address family; a unix stream socket if not said. */
  stdout?: { filetype: number; family: number };
  /** When whoever has descriptor 1's other end leaves, in nanoseconds after the start. */
  leaves?: number;
  /** When he says something, which nobody reads. */
  speaks?: number;
  /** Whether descriptor 2 is a terminal. */
  terminal?: boolean;
  /** What the monotonic clock shows at the start, in nanoseconds; a second if not said. */
  start?: bigint;
  /** What the clock of the wall shows at the start, in nanoseconds since 1970; in 2026 if not said. */
  wall?: bigint;
  /** The environment: `NAME=VALUE`. */
  environment?: (string | Buffer)[];
  /** What sock_relay says of how it ended; that all went well, if not said. */
  relayEnd?: RelayEnd;
  /** Sees each call once it has returned. */
  watch?: (call: Call, memory: ArrayBuffer) => void;
}

/** A call of an import. Times are in nanoseconds after the start. */
export interface Call {
  name: string;
  parameters: readonly (number | bigint)[];
  at: number;
  errno: number;
  /** What it is about, where that is a descriptor: of poll_oneoff the first that it asks of. */
  fd?: number;
  /** How many bytes it has moved, or how many events there were. */
  count?: number;
  /**
   * poll_oneoff: what is asked of the descriptor, when its clock is due; whether it tells of the
   * descriptor, that it hung up, and that the time has come. sock_connect: its deadline.
   */
  type?: number;
  until?: number;
  ready?: boolean;
  hungUp?: boolean;
  due?: boolean;
  /** sock_relay: how it ended. */
  end?: RelayEnd;
  /** What happened to it. */
  fault?: Fault;
}

/** A socket that the program has opened: its number, how often it was closed, what came of it. */
export interface Opened {
  fd: number;
  closed: number;
  connected: boolean;
  /** What was sent over it, a buffer for each call. */
  sent: Buffer[];
  /** What was taken from it, without what was only looked at. */
  taken: Buffer[];
}

export interface Outcome {
  exit: number;
  stderr: Buffer;
  /** What was written to it, call by call. */
  writes: { at: number; text: string }[];
  /** The imports in the order of the calls: their names, and all of them. */
  calls: string[];
  trace: Call[];
  /** The family that was opened, and the address that was connected to. */
  family?: number;
  address?: Buffer;
  /** The deadline given to sock_connect, in nanoseconds after the start. */
  deadline?: number;
  /** The same for each attempt. */
  deadlines: number[];
  /** All that was sent over sockets, a buffer for each call. */
  sent: Buffer[];
  /** What was taken from sockets, without what was only looked at. */
  taken: Buffer;
  /** What was handed over: the bytes, and the numbers of the descriptors. */
  handedOver: { bytes: Buffer; fds: number[] }[];
  /** What was relayed between what, with which flags. */
  relays: { socket: number; in: number; out: number; flags: number }[];
  /** The path of the log, and all that was written to it. */
  logPath?: Buffer;
  log: Buffer;
  /** The sockets, in the order in which they were opened. */
  sockets: Opened[];
  /** When, in nanoseconds after the start, each attempt to connect was made. */
  attempts: number[];
  /** When sockets were closed. */
  closes: number[];
  /** How long the program has run, in nanoseconds. */
  waited: number;
}

/** What proc_exit throws: one for all, because making one takes longer than many a world. */
class Exit extends Error {
  status = -1;
}
const exit = new Exit("proc_exit");

const START = 1_000_000_000n;
const MOMENT = 10_000_000n;
export const CLOCK_MAX = 2n ** 64n - 1n;
/** More calls than any scenario needs: whoever makes more has lost his way. */
const CALLS_MAX = 10_000;
/** 2026-11-23T08:15:39.123Z */
const WALL = 1_795_421_739_123_000_000n;
const PROCESS = 4711;
const CHARACTER_DEVICE = 2;
const REALTIME = 0;
const MONOTONIC = 1;
const FIRST_OPENED = 3;
const WRITE_MAX = 4096;

interface Compiled {
  module: WebAssembly.Module;
  imports: WebAssembly.ModuleImportDescriptor[];
}
let compiled: Compiled | undefined;

/** proxy.wasm, compiled once. */
function proxy(): Compiled {
  if (compiled !== undefined) return compiled;
  const bytes = new Uint8Array(readFileSync(path.join(root, "dist/proxy.wasm")));
  const module = new WebAssembly.Module(bytes);
  return (compiled = { module, imports: WebAssembly.Module.imports(module) });
}

/** Texts as args_get and environ_get give them. */
function withNul(texts: readonly (string | Buffer)[]): Buffer[] {
  return texts.map((text) =>
    Buffer.concat([typeof text === "string" ? Buffer.from(text) : text, Buffer.of(0)]),
  );
}

/** The clock shows 64 bits. */
function later(clock: bigint, span: bigint): bigint {
  return clock + span < CLOCK_MAX ? clock + span : CLOCK_MAX;
}

/** One subscription of poll_oneoff. */
interface Subscription {
  at: number;
  type: number;
  /** Of a clock: when it is due. */
  due?: bigint;
  fd?: number;
}

/** Runs the command with the given arguments (its own name is added) in the given world. */
export function simulate(args: readonly (string | Buffer)[], world: World = {}): Outcome {
  const { module, imports: wanted } = proxy();
  const argv = withNul(["ssh-vsock-proxy", ...args]);
  const environment = withNul(world.environment ?? []);
  const stdout = world.stdout ?? { filetype: SOCKET_STREAM, family: AF_UNIX };
  const start = world.start ?? START;
  const outcome: Outcome = {
    exit: -1,
    stderr: Buffer.alloc(0),
    writes: [],
    calls: [],
    trace: [],
    deadlines: [],
    sent: [],
    taken: Buffer.alloc(0),
    handedOver: [],
    relays: [],
    log: Buffer.alloc(0),
    sockets: [],
    attempts: [],
    closes: [],
    waited: 0,
  };
  const [stderr, log]: [Buffer[], Buffer[]] = [[], []];
  let clock = start;
  let logFd: number | undefined;
  /** What the peer still sends: the world's own, and what a stage has instead. */
  const answer = [...(world.answer ?? [])];
  let peer: { answer: Buffer[]; end: "eof" | "silence" | undefined } = { answer, end: world.end };
  /** When the connection that is being made stands. */
  let stands: bigint | undefined;
  /** The call that runs now, and what happens to it. */
  let call: Call = { name: "", parameters: [], at: 0, errno: 0 };
  let fault: Fault | undefined;
  /** What the call is to answer, SUCCESS if it is to do what it does. */
  let given = 0;

  const since = (time: bigint): number => Number(time - start);
  const misuse = (what: string): never => {
    throw new Error(`${what}, in call ${outcome.trace.length}, to ${call.name}`);
  };
  const openSocket = (fd: number): Opened => {
    call.fd = fd;
    const socket = outcome.sockets.at(-1);
    if (socket?.fd !== fd || socket.closed > 0) return misuse(`descriptor ${fd} is no open socket`);
    return socket;
  };
  const connected = (fd: number): Opened => {
    const socket = openSocket(fd);
    return socket.connected ? socket : misuse(`descriptor ${fd} is not connected`);
  };
  const leftAt = world.leaves === undefined ? undefined : start + BigInt(world.leaves);
  const speaksAt = world.speaks === undefined ? undefined : start + BigInt(world.speaks);
  const isOver = (): boolean => peer.answer.length === 0 && peer.end === "eof";
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
  /** A copy of what a list of buffers leads to. */
  const gather = (iovs: number, count: number): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, (_, i) => bytes(u32(iovs + 8 * i), u32(iovs + 8 * i + 4))),
    );
  /** As much of a list of buffers as one call takes. */
  const take = (iovs: number, count: number, most: number | undefined, ret: number): Buffer => {
    const data = gather(iovs, count).subarray(0, fault?.bytes ?? most);
    call.count = data.length;
    setU32(ret, data.length);
    return data;
  };

  const putSizes = (list: Buffer[], count: number, size: number): number => {
    setU32(count, list.length);
    setU32(
      size,
      list.reduce((sum, text) => sum + text.length, 0),
    );
    return errno.SUCCESS;
  };
  const putTexts = (list: Buffer[], pointers: number, texts: number): number => {
    for (const text of list) {
      setU32(pointers, texts);
      bytes(texts, text.length).set(text);
      pointers += 4;
      texts += text.length;
    }
    return errno.SUCCESS;
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
  /** From when on there is something to say of a descriptor; never if that is undefined. */
  const readyAt = ({ type, fd }: Subscription): bigint | undefined => {
    if (fd === 2) return type === FD_WRITE && world.stderrIsStuck !== true ? clock : undefined;
    if (fd === 1 && type === FD_READ) {
      if (leftAt === undefined || speaksAt === undefined) return leftAt ?? speaksAt;
      return speaksAt < leftAt ? speaksAt : leftAt;
    }
    if (fd === 1) return world.stdoutIsStuck === true ? leftAt : clock;
    openSocket(fd as number);
    if (type === FD_WRITE) return world.peerIsStuck === true ? undefined : clock;
    return peer.answer.length > 0 || peer.end === "eof" ? clock : undefined;
  };

  const imports: Record<string, (...args: never[]) => number> = {
    args_sizes_get: (count: number, size: number) => putSizes(argv, count, size),
    args_get: (pointers: number, texts: number) => putTexts(argv, pointers, texts),
    environ_sizes_get: (count: number, size: number) => putSizes(environment, count, size),
    environ_get: (pointers: number, texts: number) => putTexts(environment, pointers, texts),
    clock_time_get(id: number, _precision: bigint, time: number) {
      const wall = (world.wall ?? WALL) + clock - start;
      view().setBigUint64(time, id === REALTIME ? wall : clock, true);
      return errno.SUCCESS;
    },
    fd_close(fd: number) {
      openSocket(fd).closed++;
      outcome.closes.push(since(clock));
      return given;
    },
    fd_fdstat_get(fd: number, stat: number) {
      call.fd = fd;
      const stderrType = world.terminal === true ? CHARACTER_DEVICE : 0;
      view().setUint8(stat, fd === 2 ? stderrType : stdout.filetype);
      return errno.SUCCESS;
    },
    fd_write(fd: number, iovs: number, count: number, written: number) {
      call.fd = fd;
      if (fd === logFd) {
        log.push(take(iovs, count, undefined, written));
        return errno.SUCCESS;
      }
      if (fd !== 2) misuse(`a write to descriptor ${fd}`);
      if (world.stderrIsStuck === true) return errno.AGAIN;
      const data = take(iovs, count, world.writeTakes, written);
      if (data.length > WRITE_MAX) misuse(`${data.length} bytes at once`);
      stderr.push(data);
      outcome.writes.push({ at: since(clock), text: data.toString() });
      return errno.SUCCESS;
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
      if (given !== errno.SUCCESS) return given;
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
      if (world.stalls === true) clock = later(clock, 2_000_000_000n);
      if (fault?.events !== undefined) {
        clock = later(clock, asked?.fd === 2 ? 0n : MOMENT);
        const { events: made } = fault;
        if (asked !== undefined && ["ready", "hangup", "badf", "both"].includes(made)) {
          put(asked, made === "badf" ? errno.BADF : 0, made === "hangup" ? HANGUP : 0);
        }
        // That the time has come, it always tells.
        if (made === "clock" || made === "both" || timer.due <= clock) put(timer);
        setU32(ready, call.count);
        return errno.SUCCESS;
      }
      // To learn of a descriptor takes a moment, and so whoever only asks and never gets on meets his
      // deadline; but stderr is not waited for in peace.
      if (times !== undefined && times <= clock) {
        clock = later(clock, asked?.fd === 2 ? 0n : MOMENT);
      } else {
        const next = times !== undefined && times < timer.due ? times : timer.due;
        if (next > clock) clock = next;
      }
      if (asked !== undefined && times !== undefined && times <= clock) {
        // The peer that has sent its last is gone.
        const hangsUp = asked.fd === 1 ? hasLeft() : asked.type === FD_READ && isOver();
        put(asked, 0, hangsUp ? HANGUP : 0);
      }
      if (timer.due <= clock) put(timer);
      setU32(ready, call.count);
      return errno.SUCCESS;
    },
    proc_exit(status: number): never {
      exit.status = status;
      throw exit;
    },
    log_open(path: number, length: number, file: number) {
      outcome.logPath = Buffer.from(bytes(path, length));
      call.fd = logFd = FIRST_OPENED;
      setU32(file, logFd);
      setU32(file + 4, PROCESS);
      return errno.SUCCESS;
    },
    sock_open(family: number, type: number, ret: number) {
      if (type !== SOCKET_STREAM) misuse(`a socket of type ${type}`);
      if (outcome.sockets.some(({ closed }) => closed === 0)) misuse("a second socket");
      const fd = logFd === undefined ? FIRST_OPENED : logFd + 1;
      call.fd = fd;
      outcome.family = family;
      outcome.sockets.push({ fd, closed: 0, connected: false, sent: [], taken: [] });
      stands = undefined;
      setU32(ret, fd);
      return errno.SUCCESS;
    },
    sock_relay(socket: number, input: number, output: number, flags: number, end: number) {
      connected(socket);
      outcome.relays.push({ socket, in: input, out: output, flags });
      const well = { fd: 0, error: errno.SUCCESS };
      const ended = hasLeft() ? { fd: 1, error: errno.PIPE } : well;
      call.end = fault?.end ?? world.relayEnd ?? ended;
      setU32(end, call.end.fd);
      setU32(end + 4, call.end.error);
      return errno.SUCCESS;
    },
    sock_connect(fd: number, address: number, length: number, deadline: bigint) {
      const socket = openSocket(fd);
      if (socket.connected) misuse(`descriptor ${fd} is connected already`);
      const until = BigInt.asUintN(64, deadline);
      if (until === 0n) misuse("a connection without a deadline");
      const stage = world.stage?.(outcome.deadlines.length, since(clock)) ?? {};
      outcome.address = Buffer.from(bytes(address, length));
      outcome.deadline = since(until);
      outcome.attempts.push(since(clock));
      outcome.deadlines.push(since(until));
      call.until = since(until);
      peer =
        stage.handshake === undefined
          ? { answer, end: world.end }
          : { answer: stage.answer === undefined ? [] : [stage.answer], end: stage.handshake };
      if (stage.takes !== undefined) {
        const all = stage.takes === "until the deadline";
        stands = all ? until : (stands ?? clock + BigInt(stage.takes));
        const next = stands < until ? stands : until;
        if (next > clock) clock = next;
        if (stands > until) return fault?.errno ?? errno.TIMEDOUT;
      }
      let error: number = fault?.errno ?? stage.connect ?? given;
      // A unix socket is connected, or not, before the time is looked at.
      const isLate = outcome.family === AF_VSOCK && until <= clock && stage.takes === undefined;
      if (error === errno.SUCCESS && isLate) error = errno.TIMEDOUT;
      socket.connected = error === errno.SUCCESS;
      return error;
    },
    sock_addr_local(fd: number, address: number, capacity: number, length: number) {
      call.fd = fd;
      if (capacity >= 2) view().setUint16(address, stdout.family, true);
      setU32(length, 2);
      return errno.SUCCESS;
    },
    sock_send(fd: number, iovs: number, count: number, _flags: number, sent: number) {
      const socket = connected(fd);
      if (world.peerIsStuck === true) return errno.AGAIN;
      const data = take(iovs, count, world.sendTakes, sent);
      socket.sent.push(data);
      outcome.sent.push(data);
      return errno.SUCCESS;
    },
    sock_recv(fd: number, iovs: number, _count: number, flags: number, length: number) {
      const socket = connected(fd);
      const segment = peer.answer[0];
      if (segment === undefined && peer.end !== "eof") return errno.AGAIN;
      const isTaken = (flags & PEEK) === 0;
      const most = fault?.bytes ?? (isTaken ? world.recvGives : undefined) ?? Infinity;
      const size = Math.min(segment?.length ?? 0, u32(iovs + 4), most);
      const part = Buffer.from(segment?.subarray(0, size) ?? []);
      bytes(u32(iovs), size).set(part);
      setU32(length, size);
      call.count = size;
      if (isTaken && segment !== undefined) {
        socket.taken.push(part);
        if (size === segment.length) peer.answer.shift();
        else peer.answer[0] = segment.subarray(size);
      }
      return errno.SUCCESS;
    },
    sock_send_fds(
      fd: number,
      iovs: number,
      count: number,
      fds: number,
      fdCount: number,
      sent: number,
    ) {
      call.fd = fd;
      if (fd !== 1) misuse(`descriptors to descriptor ${fd}`);
      if (hasLeft()) return errno.PIPE;
      if (world.stdoutIsStuck === true) return errno.AGAIN;
      const passed = Array.from({ length: fdCount }, (_, i) => u32(fds + 4 * i));
      for (const one of passed) connected(one);
      call.fd = fd;
      const data = take(iovs, count, undefined, sent);
      outcome.handedOver.push({ bytes: data, fds: passed });
      return errno.SUCCESS;
    },
  };

  /** Keeps account of the calls, and has those fail that the world says. */
  const watched = (name: string): ((...args: never[]) => number) => {
    const answers = [...(world.fails?.[name] ?? [])];
    const run = imports[name];
    const ofDescriptor = /^(fd_|sock_(?!open))/.test(name);
    // What a call does that fails.
    const acts = ["fd_close", "sock_connect", "poll_oneoff"].includes(name);
    return (...parameters) => {
      call = { name, parameters, at: since(clock), errno: 0 };
      if (ofDescriptor) call.fd = Number(parameters[0]);
      outcome.calls.push(name);
      outcome.trace.push(call);
      if (outcome.calls.length > CALLS_MAX) misuse("too many calls");
      if (run === undefined) return misuse("the world has no such import");
      fault = world.fault?.(outcome.calls.length, name);
      given = fault?.errno ?? (answers.length > 1 ? answers.shift() : answers[0]) ?? errno.SUCCESS;
      call.errno = given === errno.SUCCESS || acts ? run(...parameters) : given;
      if (fault !== undefined) call.fault = fault;
      if (fault?.takes !== undefined) clock = later(clock, fault.takes);
      world.watch?.(call, memory.buffer);
      return call.errno;
    };
  };

  const object: Record<string, Record<string, (...args: never[]) => number>> = {};
  for (const { module: from, name } of wanted) {
    (object[from] ??= {})[name] = watched(name);
  }
  const instance = new WebAssembly.Instance(module, object);
  const memory = instance.exports["memory"] as WebAssembly.Memory;
  try {
    (instance.exports["_start"] as () => void)();
  } catch (error) {
    if (error !== exit) throw error;
    outcome.exit = exit.status;
  } finally {
    outcome.waited = since(clock);
    outcome.stderr = Buffer.concat(stderr);
    outcome.log = Buffer.concat(log);
    outcome.taken = Buffer.concat(outcome.sockets.flatMap(({ taken }) => taken));
  }
  return outcome;
}
