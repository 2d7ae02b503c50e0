// proxy.wasm in a world made of script: every import of the module, without a system call. It shows
// what no real peer can be made to do (a short write, a clock that jumps, an errno of choice), and
// what exactly the program asked for.
//
// The world has one clock, which moves only while the program waits, and one socket.

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
const SOCKET = 3;

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
  const stdout = world.stdout ?? { filetype: SOCKET_STREAM, family: AF_UNIX };
  const outcome: Outcome = {
    exit: -1,
    stderr: Buffer.alloc(0),
    calls: [],
    sent: [],
    taken: Buffer.alloc(0),
    handedOver: [],
    waited: 0,
  };
  let clock = START;

  const view = (): DataView => new DataView(memory.buffer);
  const bytes = (at: number, length: number): Buffer => Buffer.from(memory.buffer, at, length);
  const gather = (iovs: number, count: number): Buffer =>
    Buffer.concat(
      Array.from({ length: count }, (_, i) =>
        bytes(view().getUint32(iovs + 8 * i, true), view().getUint32(iovs + 8 * i + 4, true)),
      ),
    );

  const imports: Record<string, (...args: never[]) => number> = {
    args_sizes_get(count: number, size: number) {
      view().setUint32(count, argv.length, true);
      view().setUint32(size, Buffer.concat(argv).length, true);
      return errno.SUCCESS;
    },
    args_get(pointers: number, texts: number) {
      for (const arg of argv) {
        view().setUint32(pointers, texts, true);
        bytes(texts, arg.length).set(arg);
        pointers += 4;
        texts += arg.length;
      }
      return errno.SUCCESS;
    },
    clock_time_get(_clock: number, _precision: bigint, time: number) {
      view().setBigUint64(time, clock, true);
      return errno.SUCCESS;
    },
    fd_fdstat_get(_fd: number, stat: number) {
      view().setUint8(stat, stdout.filetype);
      return errno.SUCCESS;
    },
    fd_write(fd: number, iovs: number, count: number, written: number) {
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
      const isStderr = view().getUint32(subscriptions + 16, true) === 2;
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
    sock_open(family: number, _type: number, fd: number) {
      outcome.family = family;
      view().setUint32(fd, SOCKET, true);
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
