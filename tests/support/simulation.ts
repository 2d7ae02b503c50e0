// proxy.wasm in a world made of script: every import of the module, without a system call. It shows
// what no real peer can be made to do (a short write, a clock that jumps, an errno of choice), and
// what exactly the program asked for.
//
// The world has one clock, which moves only while the program waits, and whatever socket is connected
// leads to the same peer.

import { readFileSync } from "node:fs";
import path from "node:path";
import { root } from "./proxy";

/** preview1's errnos that the worlds speak of. */
export const errno = {
  SUCCESS: 0,
  ACCES: 2,
  ADDRNOTAVAIL: 4,
  AFNOSUPPORT: 5,
  AGAIN: 6,
  BADF: 8,
  CONNREFUSED: 14,
  CONNRESET: 15,
  FAULT: 21,
  HOSTUNREACH: 23,
  INVAL: 28,
  IO: 29,
  ISDIR: 31,
  LOOP: 32,
  MFILE: 33,
  NAMETOOLONG: 37,
  NETUNREACH: 40,
  NFILE: 41,
  NOBUFS: 42,
  NODEV: 43,
  NOENT: 44,
  NOMEM: 48,
  NOSPC: 51,
  NOTCONN: 53,
  NOTDIR: 54,
  NOTSOCK: 57,
  NOTSUP: 58,
  PERM: 63,
  PIPE: 64,
  PROTOTYPE: 67,
  TIMEDOUT: 73,
} as const;

const SOCKET_STREAM = 6;
const AF_UNIX = 3;
const CLOCK = 0;
const FD_READ = 1;
const FD_WRITE = 2;
const PEEK = 1;

export interface World {
  /** What the peer sends: segments, each of which is there once the one before was taken. */
  answer?: Buffer[];
  /** What comes behind the last segment; silence if not said. */
  end?: "eof" | "silence";
  /** What an import answers, by name: an errno for each call, the last one for all later calls. */
  fails?: Record<string, number[]>;
  /** How many bytes of a request one sock_send takes; all if not said. */
  sendTakes?: number;
  /** How many bytes one fd_write takes; all if not said. */
  writeTakes?: number;
  /** How many bytes one sock_recv gives without PEEK; all that are asked for if not said. */
  recvGives?: number;
  /** Whether descriptor 2 never gets ready to be written to. */
  stderrIsStuck?: boolean;
  /** Whether two seconds pass in every wait, whatever is ready: a machine that stalls. */
  stalls?: boolean;
  /** Descriptor 1: its preview1 file type and address family; a unix stream socket if not said. */
  stdout?: { filetype: number; family: number };
  /** Whether descriptor 2 is a terminal. */
  terminal?: boolean;
  /** What the clock of the wall shows at the start, in nanoseconds since 1970; in 2026 if not said. */
  wall?: bigint;
  /** The environment: `NAME=VALUE`. */
  environment?: (string | Buffer)[];
  /** What sock_relay says of how it ended: the descriptor that failed, and its errno. */
  relayEnd?: { fd: number; error: number };
}

/** A descriptor that the program has opened: its number, and how often it was closed. */
export interface Opened {
  fd: number;
  closed: number;
}

export interface Outcome {
  exit: number;
  stderr: Buffer;
  /** The imports in the order of the calls. */
  calls: string[];
  /** The family that was opened, and the address that was connected to. */
  family?: number;
  address?: Buffer;
  /** The deadline given to sock_connect, in nanoseconds after the start. */
  deadline?: number;
  /** All that was sent over the socket, a buffer for each call. */
  sent: Buffer[];
  /** What was taken from the socket, without what was only looked at. */
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
  /** How long the program has waited, in nanoseconds. */
  waited: number;
}

class Exit extends Error {
  constructor(readonly status: number) {
    super("exit");
  }
}

const START = 1_000_000_000n;
const MOMENT = 10_000_000n;
/** More calls than any scenario needs: whoever makes more has lost his way. */
const CALLS_MAX = 10_000;
/** 2026-11-23T08:15:39.123Z */
const WALL = 1_795_421_739_123_000_000n;
const PROCESS = 4711;
const CHARACTER_DEVICE = 2;
const REALTIME = 0;

let compiled: WebAssembly.Module | undefined;

/** Runs the command with the given arguments (its own name is added) in the given world. */
export function simulate(args: (string | Buffer)[], world: World = {}): Outcome {
  compiled ??= new WebAssembly.Module(
    new Uint8Array(readFileSync(path.join(root, "dist/proxy.wasm"))),
  );
  const argv = ["ssh-vsock-proxy", ...args].map((arg) =>
    Buffer.concat([typeof arg === "string" ? Buffer.from(arg) : arg, Buffer.from([0])]),
  );
  const answer = [...(world.answer ?? [])];
  const environment = (world.environment ?? []).map((variable) =>
    Buffer.concat([Buffer.from(variable as string), Buffer.from([0])]),
  );
  const stdout = world.stdout ?? { filetype: SOCKET_STREAM, family: AF_UNIX };
  const outcome: Outcome = {
    exit: -1,
    stderr: Buffer.alloc(0),
    calls: [],
    sent: [],
    taken: Buffer.alloc(0),
    handedOver: [],
    relays: [],
    log: Buffer.alloc(0),
    sockets: [],
    attempts: [],
    waited: 0,
  };
  let clock = START;
  let logFd: number | undefined;
  /** The lowest number that is free. */
  const nextFd = (): number => {
    const taken = outcome.sockets.filter(({ closed }) => closed === 0).map(({ fd }) => fd);
    let fd = 3;
    while (taken.includes(fd) || fd === logFd) fd++;
    return fd;
  };

  const view = (): DataView => new DataView(memory.buffer);
  const bytes = (at: number, length: number): Buffer => Buffer.from(memory.buffer, at, length);
  const gather = (iovs: number, count: number): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        bytes(view().getUint32(iovs + 8 * i, true), view().getUint32(iovs + 8 * i + 4, true)),
      ),
    );

  const putSizes = (list: Buffer[], count: number, size: number): number => {
    view().setUint32(count, list.length, true);
    view().setUint32(size, Buffer.concat(list).length, true);
    return errno.SUCCESS;
  };
  const putTexts = (list: Buffer[], pointers: number, texts: number): number => {
    for (const text of list) {
      view().setUint32(pointers, texts, true);
      bytes(texts, text.length).set(text);
      pointers += 4;
      texts += text.length;
    }
    return errno.SUCCESS;
  };

  const imports: Record<string, (...args: never[]) => number> = {
    args_sizes_get: (count: number, size: number) => putSizes(argv, count, size),
    args_get: (pointers: number, texts: number) => putTexts(argv, pointers, texts),
    environ_sizes_get: (count: number, size: number) => putSizes(environment, count, size),
    environ_get: (pointers: number, texts: number) => putTexts(environment, pointers, texts),
    clock_time_get(id: number, _precision: bigint, time: number) {
      const wall = (world.wall ?? WALL) + clock - START;
      view().setBigUint64(time, id === REALTIME ? wall : clock, true);
      return errno.SUCCESS;
    },
    fd_close(fd: number) {
      const socket = outcome.sockets.findLast((opened) => opened.fd === fd);
      if (socket === undefined) throw new Error(`fd_close of descriptor ${fd}`);
      socket.closed++;
      return errno.SUCCESS;
    },
    fd_fdstat_get(fd: number, stat: number) {
      const stderrType = world.terminal === true ? CHARACTER_DEVICE : 0;
      view().setUint8(stat, fd === 2 ? stderrType : stdout.filetype);
      return errno.SUCCESS;
    },
    fd_write(fd: number, iovs: number, count: number, written: number) {
      if (fd === logFd) {
        outcome.log = Buffer.concat([outcome.log, gather(iovs, count)]);
        return errno.SUCCESS;
      }
      if (fd !== 2) throw new Error(`fd_write to descriptor ${fd}`);
      const data = gather(iovs, count).subarray(0, world.writeTakes);
      outcome.stderr = Buffer.concat([outcome.stderr, data]);
      view().setUint32(written, data.length, true);
      return errno.SUCCESS;
    },
    poll_oneoff(subscriptions: number, events: number, count: number, ready: number) {
      let written = 0;
      const put = (i: number, type: number): void => {
        bytes(events + 32 * written, 32).fill(0);
        view().setUint8(events + 32 * written + 10, type);
        view().setBigUint64(
          events + 32 * written,
          view().getBigUint64(subscriptions + 48 * i, true),
          true,
        );
        written++;
      };
      // Writing is always possible; reading, where a segment or the end is there. To learn so of a
      // socket takes a moment, and so whoever only asks and never gets on meets his deadline.
      const readable = answer.length > 0 || world.end === "eof";
      const isStderr = count > 1 && view().getUint32(subscriptions + 16, true) === 2;
      const isReady = (i: number): boolean => {
        const type = view().getUint8(subscriptions + 48 * i + 8);
        const writable = !isStderr || world.stderrIsStuck !== true;
        return (type === FD_WRITE && writable) || (type === FD_READ && readable);
      };
      const due = (i: number): bigint => view().getBigUint64(subscriptions + 48 * i + 24, true);
      const all = Array.from({ length: count }, (_, i) => i);
      const clocks = all.filter((i) => view().getUint8(subscriptions + 48 * i + 8) === CLOCK);
      if (world.stalls === true) clock += 2_000_000_000n;
      if (all.some(isReady)) clock += isStderr ? 0n : MOMENT;
      else for (const i of clocks) if (due(i) > clock) clock = due(i);
      for (const i of all) if (isReady(i)) put(i, view().getUint8(subscriptions + 48 * i + 8));
      for (const i of clocks) if (due(i) <= clock) put(i, CLOCK);
      view().setUint32(ready, written, true);
      return errno.SUCCESS;
    },
    proc_exit(status: number): never {
      throw new Exit(status);
    },
    log_open(path: number, length: number, file: number) {
      outcome.logPath = Buffer.from(bytes(path, length));
      logFd = nextFd();
      view().setUint32(file, logFd, true);
      view().setUint32(file + 4, PROCESS, true);
      return errno.SUCCESS;
    },
    sock_open(family: number, _type: number, ret: number) {
      const fd = nextFd();
      outcome.family = family;
      outcome.sockets.push({ fd, closed: 0 });
      view().setUint32(ret, fd, true);
      return errno.SUCCESS;
    },
    sock_relay(socket: number, input: number, output: number, flags: number, end: number) {
      outcome.relays.push({ socket, in: input, out: output, flags });
      view().setUint32(end, world.relayEnd?.fd ?? 0, true);
      view().setUint32(end + 4, world.relayEnd?.error ?? 0, true);
      return errno.SUCCESS;
    },
    sock_connect(_fd: number, address: number, length: number, deadline: bigint) {
      outcome.address = Buffer.from(bytes(address, length));
      outcome.deadline = Number(deadline - START);
      return errno.SUCCESS;
    },
    sock_addr_local(_fd: number, address: number, capacity: number, length: number) {
      if (capacity >= 2) view().setUint16(address, stdout.family, true);
      view().setUint32(length, 2, true);
      return errno.SUCCESS;
    },
    sock_send(_fd: number, iovs: number, count: number, _flags: number, sent: number) {
      const data = Buffer.from(gather(iovs, count).subarray(0, world.sendTakes));
      outcome.sent.push(data);
      view().setUint32(sent, data.length, true);
      return errno.SUCCESS;
    },
    sock_recv(_fd: number, iovs: number, _count: number, flags: number, length: number) {
      const segment = answer[0];
      if (segment === undefined && world.end !== "eof") return errno.AGAIN;
      let size = Math.min(segment?.length ?? 0, view().getUint32(iovs + 4, true));
      if ((flags & PEEK) === 0) size = Math.min(size, world.recvGives ?? size);
      const part = Buffer.from(segment?.subarray(0, size) ?? []);
      bytes(view().getUint32(iovs, true), size).set(part);
      view().setUint32(length, size, true);
      if ((flags & PEEK) === 0 && segment !== undefined) {
        outcome.taken = Buffer.concat([outcome.taken, part]);
        if (size === segment.length) answer.shift();
        else answer[0] = segment.subarray(size);
      }
      return errno.SUCCESS;
    },
    sock_send_fds(
      _fd: number,
      iovs: number,
      count: number,
      fds: number,
      fdCount: number,
      sent: number,
    ) {
      const data = Buffer.from(gather(iovs, count));
      const passed = Array.from({ length: fdCount }, (_, i) => view().getUint32(fds + 4 * i, true));
      outcome.handedOver.push({ bytes: data, fds: passed });
      view().setUint32(sent, data.length, true);
      return errno.SUCCESS;
    },
  };

  /** Counts the calls, and lets those fail that the world says. */
  const watched = (name: string): ((...args: never[]) => number) => {
    const answers = [...(world.fails?.[name] ?? [])];
    return (...parameters) => {
      outcome.calls.push(name);
      if (name === "sock_connect") outcome.attempts.push(Number(clock - START));
      if (outcome.calls.length > CALLS_MAX) throw new Error(`too many calls, the last to ${name}`);
      const error = answers.length > 1 ? answers.shift() : answers[0];
      if (error !== undefined && error !== errno.SUCCESS) return error;
      const run = imports[name];
      if (run === undefined) throw new Error(`the world has no ${name}`);
      return run(...parameters);
    };
  };

  const object: Record<string, Record<string, (...args: never[]) => number>> = {};
  for (const { module, name } of WebAssembly.Module.imports(compiled)) {
    (object[module] ??= {})[name] = watched(name);
  }
  const instance = new WebAssembly.Instance(compiled, object);
  const memory = instance.exports["memory"] as WebAssembly.Memory;
  try {
    (instance.exports["_start"] as () => void)();
  } catch (error) {
    if (!(error instanceof Exit)) throw error;
    outcome.exit = error.status;
  }
  outcome.waited = Number(clock - START);
  return outcome;
}
