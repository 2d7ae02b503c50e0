// The processors that this process may run on, in a container not all of the machine; and the
// processor time and the memory of processes.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** Their numbers, as for taskset(1): Cpus_allowed_list of proc(5). */
export function allowedProcessors(): number[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** The fields of a process's stat (proc(5)) from the third on, behind its name. */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** User and system time of a process, in clock ticks of 10 ms (fields 14 and 15). */
export function cpuTicks(pid: number): number {
  const fields = statFields(pid);
  return Number(fields[11]) + Number(fields[12]);
}

/** Whether a process waits for an event: it is not running or ready to run (field 3). */
export function isAsleep(pid: number): boolean {
  return statFields(pid)[0] === "S";
}

/** Samples of the resident memory of a process, in KiB. The kernel and the loader may add pages. */
export function watchMemory(pid: number): {
  look: () => void;
  assertConstant: (most?: number) => void;
} {
  const seen: number[] = [];
  return {
    look() {
      // statm and status are inexact, and may show 0 (proc(5)).
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
      seen.push(Number(/^Rss: +(\d+) kB$/m.exec(text)?.[1]));
    },
    assertConstant(most = 256) {
      const early = seen[Math.floor(seen.length / 4)] ?? 0;
      const last = seen.at(-1) ?? 0;
      assert.ok(seen.length > 3 && early > 0, `seen: ${seen.join()}`);
      assert.ok(last - early <= most, `${early} KiB became ${last} KiB`);
    },
  };
}
