// What can go wrong at one call of an import, and how a world is written in one line:
//
//     vsock-mux,relay 14:sock_recv=CONNRESET 17+:sock_recv=AGAIN clock=0
//     SCENARIO [CALL[+]:IMPORT=FAULT]... [clock=NANOSECONDS] [wall=NANOSECONDS]
//
// CALL is the number of the call, 1 for the first; with `+` all later calls of that import are meant
// as well. A FAULT is an errno's name or number; `bytes:N`, so many are moved; `events:WHAT`, what
// poll_oneoff tells; `takes:NANOSECONDS`, what passes before the call returns; `end:FD:ERRNO`, how a
// relay ends. `clock` and `wall` are what the clocks show at the start.
//
// Which errnos an import answers is read from docs/abi.md. Those that make a system call answer that
// one's as well, so they are given every number that preview1 has, INTR among them: it is no answer by
// docs/abi.md, and still has to lead to a clean end. So has a number that nobody knows.

import { readFileSync } from "node:fs";
import path from "node:path";

import { root } from "../support/proxy";
import { CLOCK_MAX, errno } from "./world";
import type { Call, Events, Fault, World } from "./world";

/** A fault, and where it happens. */
export interface Placed {
  call: number;
  name: string;
  fault: Fault;
  /** Whether it happens to all later calls of the import. */
  always?: boolean;
}

/** What differs from the scenario. */
export interface Deviation {
  faults: readonly Placed[];
  clock?: bigint;
  wall?: bigint;
}

export function isPeace({ faults, clock, wall }: Deviation): boolean {
  return faults.length === 0 && clock === undefined && wall === undefined;
}

const names = new Map(Object.entries(errno).map(([name, number]) => [number as number, name]));
const UNKNOWN_ERRNO = 77;
const every = [...names.keys(), UNKNOWN_ERRNO].filter((number) => number !== errno.SUCCESS);

/** The errnos that a section of docs/abi.md names, by the import's name. */
const documented = new Map<string, number[]>(
  readFileSync(path.join(root, "docs/abi.md"), "utf8")
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [, name = "", text = ""] = /^`(\w+)`\n([^]*?)(?=^## |(?![^]))/m.exec(section) ?? [];
      const named = Array.from(text.matchAll(/`([A-Z]+)`/g), ([, word]) => errnoOf(word ?? ""));
      return [name, [...new Set(named)].filter((number) => number !== undefined)];
    }),
);

/** They answer from the process's own memory: nothing but what is documented, and rule 2's FAULT. */
const withoutSystemCall = [
  ...["args_get", "args_sizes_get", "environ_get", "environ_sizes_get"],
  ...["clock_time_get", "fd_close"],
];

const MS = 1_000_000n;
/** The longest is more than 2^32 ms, and within what a JavaScript number counts in nanoseconds. */
const spans = [60n * MS, 1500n * MS, 3_600_000n * MS, 7_200_000_000n * MS];

export function errnoOf(text: string): number | undefined {
  const number = (errno as Record<string, number>)[text];
  return number ?? (/^\d+$/.test(text) ? Number(text) : undefined);
}

export function errnoName(number: number): string {
  return names.get(number) ?? `${number}`;
}

/** What docs/abi.md says that an import answers; all numbers where it leads to a system call. */
function errnosOf(name: string, thorough: boolean): number[] {
  const usual = [...(documented.get(name) ?? []), errno.FAULT, errno.INTR, errno.IO];
  return thorough && !withoutSystemCall.includes(name) ? every : [...new Set(usual)];
}

/**
 * All that can happen to a call, which is known from a world where it went well.
 *
 * @param thorough every errno and every length; if not, those that make a difference by docs/abi.md
 */
export function faultsOf(call: Call, thorough: boolean): Fault[] {
  const { name, count = 0 } = call;
  if (name === "proc_exit") return [];
  const errnos = errnosOf(name, thorough).filter((error) => error !== call.errno);
  const faults: Fault[] = errnos.map((number) => ({ errno: number }));
  const lengths = thorough
    ? Array.from({ length: count }, (_, bytes) => bytes)
    : [0, 1, count - 1].filter((bytes, i, all) => bytes < count && all.indexOf(bytes) === i);
  if (["fd_write", "sock_send", "sock_recv"].includes(name) && call.errno === errno.SUCCESS) {
    faults.push(...lengths.map((bytes) => ({ bytes })));
  }
  if (name === "poll_oneoff") {
    const ofDescriptor: Events[] = call.fd === undefined ? [] : ["ready", "hangup", "badf", "both"];
    const events: Events[] = ["none", "clock", ...ofDescriptor];
    faults.push(...events.map((made) => ({ events: made })));
  }
  if (name === "sock_relay") {
    for (const fd of [call.parameters[0] as number, 0, 1]) {
      const some = thorough ? every : [errno.CONNRESET, errno.PIPE, errno.NOMEM, errno.IO];
      faults.push(...some.map((error) => ({ end: { fd, error } })));
    }
  }
  faults.push(...(thorough ? spans : spans.slice(1, 2)).map((takes) => ({ takes })));
  return faults;
}

/**
 * What can go wrong from a call on, every time: a peer that takes and gives nothing, waits that end
 * for no reason. But where stderr is said to be ready, it has room (docs/abi.md).
 */
export function lastingFaultsOf({ name }: Call, { stderrIsStuck }: World): Fault[] {
  if (["sock_send", "sock_recv", "sock_send_fds"].includes(name)) return [{ errno: errno.AGAIN }];
  if (name !== "poll_oneoff" || stderrIsStuck === true) return [];
  return [{ events: "none" }, { events: "ready" }];
}

/** What a clock can show at the start: its ends, and the places where signs change. */
export const clocks: readonly bigint[] = [
  ...[0n, 1n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n],
  CLOCK_MAX - 3_600_000n * MS,
];

/**
 * Where the times to wait for lie beyond the clock's end. Progress that is due then is due for ever,
 * so that --wait is left out of the last minute of 584 years.
 */
export const lastClocks: readonly bigint[] = [60_000n, 5000n, 1000n, 300n, 1n, 0n].map(
  (ms) => CLOCK_MAX - ms * MS,
);

/** The world of a scenario, and what happens in it. */
export function deviate(world: World, { faults, clock, wall }: Deviation): World {
  return {
    ...world,
    ...(clock === undefined ? {} : { start: clock }),
    ...(wall === undefined ? {} : { wall }),
    fault(call, name) {
      let found: Fault | undefined;
      for (const placed of faults) {
        if (placed.call === call || (placed.always === true && call > placed.call)) {
          if (placed.name === name) found = placed.fault;
          else if (placed.call === call) {
            throw new Error(`call ${call} is to ${name}, not to ${placed.name}`);
          }
        }
      }
      return found;
    },
  };
}

// ---- a world in one line

function faultText(fault: Fault): string {
  if (fault.errno !== undefined) return errnoName(fault.errno);
  if (fault.bytes !== undefined) return `bytes:${fault.bytes}`;
  if (fault.events !== undefined) return `events:${fault.events}`;
  if (fault.takes !== undefined) return `takes:${fault.takes.toString()}`;
  return `end:${fault.end?.fd ?? ""}:${errnoName(fault.end?.error ?? 0)}`;
}

function readFault(text: string): Fault | undefined {
  const [kind = "", value = "", error = ""] = text.split(":");
  const number = errnoOf(kind);
  if (number !== undefined) return { errno: number };
  if (kind === "bytes") return { bytes: Number(value) };
  if (kind === "events") return { events: value as Events };
  if (kind === "takes") return { takes: BigInt(value) };
  return kind === "end" ? { end: { fd: Number(value), error: errnoOf(error) ?? 0 } } : undefined;
}

export function worldText(scenario: string, { faults, clock, wall }: Deviation): string {
  return [
    scenario,
    ...faults.map(
      ({ call, always, name, fault }) =>
        `${call}${always === true ? "+" : ""}:${name}=${faultText(fault)}`,
    ),
    ...(clock === undefined ? [] : [`clock=${clock.toString()}`]),
    ...(wall === undefined ? [] : [`wall=${wall.toString()}`]),
  ].join(" ");
}

/** Reads what worldText has written. */
export function readWorld(text: string): { scenario: string; deviation: Deviation } {
  const [scenario = "", ...words] = text.trim().split(/\s+/);
  const faults: Placed[] = [];
  const deviation: Deviation = { faults };
  for (const word of words) {
    const [, clock, start] = /^(clock|wall)=(\d+)$/.exec(word) ?? [];
    if (start !== undefined) {
      Object.assign(deviation, { [clock as string]: BigInt(start) });
      continue;
    }
    const [, call, lasting, name = "", what = ""] = /^(\d+)(\+?):(\w+)=(\S+)$/.exec(word) ?? [];
    const fault = readFault(what);
    if (fault === undefined) throw new Error(`${word}: it is not CALL:IMPORT=FAULT`);
    faults.push({ call: Number(call), name, fault, always: lasting === "+" });
  }
  return { scenario, deviation };
}
