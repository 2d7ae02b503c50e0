// The processors that this process may run on, which in a container are not all that there are; and
// what a process does with one.

import { readFileSync } from "node:fs";

/** Their numbers, as taskset(1) takes them: Cpus_allowed_list of proc(5). */
export function allowedProcessors(): number[] {
  const status = readFileSync("/proc/self/status", "utf8");
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "0";
  return list.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

/** The fields of a process's stat from the third on (proc(5)); what precedes is its name. */
function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** User and system time of a process, in clock ticks of 10 ms (fields 14 and 15). */
export function cpuTicks(pid: number): number {
  const fields = statFields(pid);
  return Number(fields[11]) + Number(fields[12]);
}

/** Whether a process waits for an event, and neither runs nor would if it could (field 3). */
export function isAsleep(pid: number): boolean {
  return statFields(pid)[0] === "S";
}
