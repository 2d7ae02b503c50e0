// What can go wrong at one call of an import, and how a simulated world is written in one line:
//
//     vsock-mux,relay 14:sock_recv=CONNRESET 17+:sock_recv=AGAIN clock=0
//     CASE [CALL[+]:IMPORT=FAULT]... [clock=NANOSECONDS] [wall=NANOSECONDS]
//
// CALL is the number of the call, 1 for the first; `+`: all later calls of that import as well. FAULT
// is an errno's name or number; `bytes:N`, how many are moved; `events:WHAT`, what poll_oneoff
// returns; `takes:NANOSECONDS`, what passes before the call returns; `end:FD:ERRNO`, how a relay
// ends. `clock` and `wall` are what the monotonic and the realtime clock show at the start.
//
// Which errnos an import returns is read from docs/abi.md. Those that make a system call return that
// call's as well, so they get every number of preview1; INTR, which docs/abi.md excludes, and a number
// that has no name have to lead to a clean end, too.

import { readFileSync } from "node:fs";
import path from "node:path";

import type { Call } from "../support/calls";
import type { Case, Events, Fault, PlacedFault, World } from "../support/case";
import { errno, errnoName, errnos } from "../support/errno";
import { root } from "../support/proxy";
import { CLOCK_MAX } from "./world";

/** What is injected into the world of a case. */
export interface Injection {
  faults: readonly PlacedFault[];
  clock?: bigint;
  wall?: bigint;
}

/** 76 is NOTCAPABLE, which Linux has no error for; 77 is none. */
const every = [...errnos, 76, 77];

function isErrno(text: string): boolean {
  return every.some((number) => errnoName(number) === text);
}

/** An errno's name or number. */
function readErrno(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text);
  return text === "SUCCESS" || isErrno(text) ? errno(text) : undefined;
}

/** The errnos that a section of docs/abi.md names, by the import's name. */
const documented = new Map<string, number[]>(
  readFileSync(path.join(root, "docs/abi.md"), "utf8")
    .split(/^### /m)
    .slice(1)
    .map((section) => {
      const [, name = "", text = ""] = /^`(\w+)`\n([^]*?)(?=^## |(?![^]))/m.exec(section) ?? [];
      const named = Array.from(text.matchAll(/`([A-Z]+)`/g), ([, word]) => word ?? "");
      return [name, [...new Set(named.filter(isErrno).map(errno))]];
    }),
);

/** They make no system call: they return what is documented, and rule 2's FAULT. */
const withoutSystemCall = [
  ...["args_get", "args_sizes_get", "environ_get", "environ_sizes_get"],
  ...["clock_time_get", "fd_close"],
];

const MS = 1_000_000n;
/** The longest is more than 2^32 ms, and within what a JavaScript number counts in nanoseconds. */
const spans = [60n * MS, 1500n * MS, 3_600_000n * MS, 7_200_000_000n * MS];

/** What docs/abi.md says that an import returns; all numbers where it makes a system call. */
function errnosOf(name: string, thorough: boolean): number[] {
  const usual = [...(documented.get(name) ?? []), ...["FAULT", "INTR", "IO"].map(errno)];
  return thorough && !withoutSystemCall.includes(name) ? every : [...new Set(usual)];
}

/**
 * All that can go wrong at a call, which went well in another run.
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
  if (["fd_write", "sock_send", "sock_recv"].includes(name) && call.errno === 0) {
    faults.push(...lengths.map((bytes) => ({ bytes })));
  }
  if (name === "poll_oneoff") {
    const ofDescriptor: Events[] = call.fd === undefined ? [] : ["ready", "hangup", "badf", "both"];
    const events: Events[] = ["none", "clock", ...ofDescriptor];
    faults.push(...events.map((made) => ({ events: made })));
  }
  if (name === "sock_relay") {
    for (const fd of [call.parameters[0] as number, 0, 1]) {
      const some = thorough ? every : ["CONNRESET", "PIPE", "NOMEM", "IO"].map(errno);
      faults.push(...some.map((error) => ({ end: { fd, error } })));
    }
  }
  faults.push(...(thorough ? spans : spans.slice(1, 2)).map((takes) => ({ takes })));
  return faults;
}

/**
 * What can go wrong at each call from one on: a peer or stderr that takes and gives nothing, waits that
 * end for no reason. But where stderr is said to be ready, it has room (docs/abi.md).
 */
export function lastingFaultsOf({ name }: Call, { stderr }: World): Fault[] {
  if (["sock_send", "sock_recv", "sock_send_fds"].includes(name))
    return [{ errno: errno("AGAIN") }];
  if (name === "fd_write") return [{ bytes: 0 }];
  if (name !== "poll_oneoff" || stderr === "full pipe") return [];
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

export function inject(one: Case, { faults, clock, wall }: Injection): Case {
  const simulation = {
    ...one.world.simulation,
    faults,
    ...(clock !== undefined && { clockNs: clock }),
    ...(wall !== undefined && { wallNs: wall }),
  };
  return { ...one, world: { ...one.world, simulation } };
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
  const number = readErrno(kind);
  if (number !== undefined) return { errno: number };
  if (kind === "bytes") return { bytes: Number(value) };
  if (kind === "events") return { events: value as Events };
  if (kind === "takes") return { takes: BigInt(value) };
  return kind === "end" ? { end: { fd: Number(value), error: readErrno(error) ?? 0 } } : undefined;
}

export function worldText(name: string, { faults, clock, wall }: Injection): string {
  return [
    name,
    ...faults.map(({ call, always, name: of, fault }) => {
      return `${call}${always === true ? "+" : ""}:${of}=${faultText(fault)}`;
    }),
    ...(clock === undefined ? [] : [`clock=${clock.toString()}`]),
    ...(wall === undefined ? [] : [`wall=${wall.toString()}`]),
  ].join(" ");
}

/** Reads what worldText has written. */
export function readWorld(text: string): { name: string; injection: Injection } {
  const [name = "", ...words] = text.trim().split(/\s+/);
  const faults: PlacedFault[] = [];
  const injection: Injection = { faults };
  for (const word of words) {
    const [, clock, start] = /^(clock|wall)=(\d+)$/.exec(word) ?? [];
    if (start !== undefined) {
      Object.assign(injection, { [clock as string]: BigInt(start) });
      continue;
    }
    const [, call, always, of = "", what = ""] = /^(\d+)(\+?):(\w+)=(\S+)$/.exec(word) ?? [];
    const fault = readFault(what);
    if (fault === undefined) throw new Error(`${word} is not CALL:IMPORT=FAULT`);
    faults.push({ call: Number(call), name: of, fault, always: always === "+" });
  }
  return { name, injection };
}
