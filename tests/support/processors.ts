// The processors that this process may run on, which in a container are not all that there are.

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
