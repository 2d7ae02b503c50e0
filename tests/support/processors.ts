// The processors that this process may run on, in a container not all of the machine; and the
// processor time of processes.

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
