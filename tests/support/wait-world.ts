// A simulated world (simulation.ts) in which a machine boots: what becomes of an attempt depends on
// its number and on the time, and connecting may take time. It also tells when each thing was done.
//
// simulation.ts keeps its imports to itself, so this stands between them and the module: for one
// run, whoever makes an instance gets one whose imports are watched.

import { errno, simulate } from "./simulation";
import type { Outcome, World } from "./simulation";

/** What an attempt meets. */
export interface Stage {
  /** What sock_connect answers; success if not said. */
  connect?: number;
  /** Whether connecting takes all the time that it is given, or until so many nanoseconds. */
  takes?: "until the deadline" | number;
  /** What a multiplexer says instead of giving the world's answer; nothing if not said. */
  answer?: Buffer;
  /** What comes behind that; the world's `end` needs to be an end of file for both to be seen. */
  handshake?: "silence" | "eof";
}

export interface Watched extends Outcome {
  /** The deadlines of the attempts, like all times here in nanoseconds after the start. */
  deadlines: number[];
  /** When sockets were closed, in the order of the calls. */
  closes: number[];
  /** What was written to stderr, call by call. */
  writes: { at: number; text: string }[];
}

type Import = (...args: never[]) => number;
type Imports = Record<string, Record<string, Import>>;

const START = 1_000_000_000n;
const CLOCK = 0;
const FD_READ = 1;
const PEEK = 1;
/** An eventtype that there is none of: the world never calls it ready. */
const NOTHING = 255;
const TAG = 8;
const TIMEOUT = 24;
/** Of the module's memory so much is borrowed, and given back as it was. */
const SCRATCH = 256;

/** Runs the command as `simulate` does; `stage` tells of the attempt that is made now. */
export function simulateBoot(
  args: (string | Buffer)[],
  world: World = {},
  stage: (attempt: number, now: number) => Stage = () => ({}),
): Watched {
  const watched = {
    deadlines: [] as number[],
    closes: [] as number[],
    writes: [] as Watched["writes"],
  };
  let memory: WebAssembly.Memory;
  let now: Stage = {};
  /** What of the stage's answer was not taken yet. */
  let answer: Buffer = Buffer.alloc(0);

  const watch = (imports: Imports): Imports => {
    const all = Object.assign({}, ...Object.values(imports)) as Record<string, Import>;
    const call = (name: string, ...parameters: (number | bigint)[]): number =>
      (all[name] as Import)(...(parameters as never[]));
    const borrow = <T>(use: (view: DataView) => T): T => {
      const bytes = new Uint8Array(memory.buffer, 0, SCRATCH);
      const before = bytes.slice();
      bytes.fill(0);
      const result = use(new DataView(memory.buffer, 0, SCRATCH));
      bytes.set(before);
      return result;
    };
    const clock = (): bigint =>
      borrow((view) => {
        call("clock_time_get", 1, 0n, 0);
        return view.getBigUint64(0, true);
      });
    const advance = (until: bigint): void => {
      borrow((view) => {
        view.setUint8(TAG, CLOCK);
        view.setBigUint64(TIMEOUT, until, true);
        call("poll_oneoff", 0, 64, 1, 128);
      });
    };
    const time = (): number => Number(clock() - START);

    const watching: Record<string, Import> = {
      sock_connect(fd: number, address: number, length: number, deadline: bigint) {
        now = stage(watched.deadlines.length, time());
        answer = now.answer ?? Buffer.alloc(0);
        watched.deadlines.push(Number(deadline - START));
        const error = call("sock_connect", fd, address, length, deadline);
        if (now.takes !== undefined) {
          const until = now.takes === "until the deadline" ? deadline : START + BigInt(now.takes);
          advance(until < deadline ? until : deadline);
        }
        return now.connect ?? error;
      },
      fd_close(fd: number) {
        watched.closes.push(time());
        return call("fd_close", fd);
      },
      fd_write(fd: number, iovs: number, count: number, written: number) {
        const view = new DataView(memory.buffer);
        const at = view.getUint32(iovs, true);
        const text = Buffer.from(memory.buffer, at, view.getUint32(iovs + 4, true)).toString();
        if (fd === 2) watched.writes.push({ at: time(), text });
        return call("fd_write", fd, iovs, count, written);
      },
      poll_oneoff(subscriptions: number, events: number, count: number, ready: number) {
        const view = new DataView(memory.buffer);
        const type = view.getUint8(subscriptions + TAG);
        const hides = now.handshake === "silence" && answer.length === 0 && type === FD_READ;
        if (hides) view.setUint8(subscriptions + TAG, NOTHING);
        const result = call("poll_oneoff", subscriptions, events, count, ready);
        if (hides) view.setUint8(subscriptions + TAG, type);
        return result;
      },
      sock_recv(
        fd: number,
        iovs: number,
        count: number,
        flags: number,
        length: number,
        out: number,
      ) {
        if (now.handshake === undefined) {
          return call("sock_recv", fd, iovs, count, flags, length, out);
        }
        if (now.handshake === "silence" && answer.length === 0) return errno.AGAIN;
        const view = new DataView(memory.buffer);
        const part = answer.subarray(0, view.getUint32(iovs + 4, true));
        new Uint8Array(memory.buffer).set(part, view.getUint32(iovs, true));
        view.setUint32(length, part.length, true);
        if ((flags & PEEK) === 0) answer = answer.subarray(part.length);
        return errno.SUCCESS;
      },
    };
    return Object.fromEntries(
      Object.entries(imports).map(([module, functions]) => [
        module,
        Object.fromEntries(
          Object.entries(functions).map(([name, plain]) => [name, watching[name] ?? plain]),
        ),
      ]),
    );
  };

  const { Instance } = WebAssembly;
  WebAssembly.Instance = class extends Instance {
    constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
      super(module, watch(imports as Imports));
      memory = this.exports["memory"] as WebAssembly.Memory;
    }
  };
  try {
    return Object.assign(simulate(args, world), watched);
  } finally {
    WebAssembly.Instance = Instance;
  }
}
