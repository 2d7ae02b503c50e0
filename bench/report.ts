// The Markdown that `npm run bench` prints.

import { baseline, nodeAlone, nodeHost, standalone, systemd } from "./results";
import type { CrowdRow, Results, Row, Scheme } from "./results";

/** What the standalone host is to keep; the largest value that will do. */
const limits = { ofTrue: 0.35, ofSystemd: 0.12, crowdOfSystemd: 0.2 };

/** `words`: how many columns are words, which start on the left; the others are numbers. */
function table(words: number, rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const lines = rows.map((row) =>
    row.map((cell, i) => {
      const width = widths[i] ?? 0;
      return i < words ? cell.padEnd(width) : cell.padStart(width);
    }),
  );
  const rule = widths.map((width, i) =>
    i < words ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  lines.splice(1, 0, rule);
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

export function label({ name, scheme, relay }: Row): string {
  return `${name}${scheme === undefined ? "" : `, ${scheme}`}${relay ? " †" : ""}`;
}

const ms = (value: number | undefined) => value?.toFixed(3) ?? "";
const kib = (value: number) => String(Math.round(value));

function find(rows: readonly Row[], name: string, scheme?: Scheme): Row | undefined {
  return rows.find((row) => row.name === name && row.scheme === scheme);
}

function ratio(row: Row | undefined, other: Row | undefined): number | undefined {
  return row === undefined || other === undefined ? undefined : row.medianMs / other.medianMs;
}

function times({ rows }: Results): string {
  const base = find(rows, baseline);
  return table(1, [
    [
      "spawn to exit, ms",
      ...["min", "median", "p99", `÷ ${baseline}`, `÷ ${systemd}`],
      ...["handed over", "first byte", "CPU, ms", "peak memory, KiB"],
    ],
    ...rows.map((row) => [
      label(row),
      ...[row.minMs, row.medianMs, row.p99Ms].map(ms),
      ratio(row, base)?.toFixed(3) ?? "",
      (row.scheme && ratio(row, find(rows, systemd, row.scheme))?.toFixed(3)) ?? "",
      ...[row.handedOverMs, row.firstByteMs, row.cpuMs].map(ms),
      kib(row.memoryKb),
    ]),
  ]);
}

function crowds({ crowdRows }: Results): string {
  return table(1, [
    [
      ...["many at once", "how many", "failed", "CPU, ms", "of each, ms", "wall, ms"],
      ...["memory, MiB", "of each, KiB", "private, KiB", "page tables, KiB"],
    ],
    ...crowdRows.map((row) => {
      const each = (value: number) => (value / row.size).toFixed(1);
      const figures = [
        row.cpuMs.toFixed(2),
        (row.cpuMs / row.size).toFixed(3),
        row.wallMs.toFixed(1),
        (row.pssKb / 1024).toFixed(2),
        ...[row.pssKb, row.privateKb, row.pageTablesKb].map(each),
      ];
      // What part of a crowd takes is no figure for the whole.
      const shown = row.failed === 0 ? figures : figures.map(() => "");
      return [row.name, String(row.size), String(row.failed), ...shown];
    }),
  ]);
}

interface Target {
  what: string;
  /** What was found; undefined where something is missing that it takes. */
  value: string | undefined;
  met: boolean;
}

function atMost(what: string, value: number | undefined, limit: number): Target {
  return {
    what: `${what} ≤ ${limit}`,
    value: value?.toFixed(3),
    met: value !== undefined && value <= limit,
  };
}

function crowdTargets(rows: readonly CrowdRow[]): Target[] {
  const most = Math.max(...rows.map(({ size }) => size));
  const of = (name: string) => rows.find((row) => row.size === most && row.name === name);
  const [ours, theirs] = [of(standalone), of(systemd)];
  if (ours === undefined) return [];
  const comparable = ours.failed === 0 && theirs?.failed === 0;
  const cpu = comparable ? ours.cpuMs / theirs.cpuMs : undefined;
  return [
    {
      what: `${most} at once without a failure`,
      value: `${ours.failed} failed`,
      met: ours.failed === 0,
    },
    atMost(`${most} at once: CPU ÷ ${systemd}'s`, cpu, limits.crowdOfSystemd),
  ];
}

function targets({ rows, crowdRows, smallAddressSpace }: Results): string {
  const schemes: Scheme[] = ["unix/", "vsock-mux/"];
  const base = find(rows, baseline);
  const all: Target[] = [
    ...schemes.map((scheme) =>
      atMost(
        `${scheme}: ÷ ${baseline}`,
        ratio(find(rows, standalone, scheme), base),
        limits.ofTrue,
      ),
    ),
    ...schemes.map((scheme) =>
      atMost(
        `${scheme}: ÷ ${systemd}`,
        ratio(find(rows, standalone, scheme), find(rows, systemd, scheme)),
        limits.ofSystemd,
      ),
    ),
    ...schemes.map((scheme) => {
      const [ours = NaN, theirs = NaN] = [find(rows, standalone, scheme), base].map(
        (row) => row?.memoryKb,
      );
      return {
        what: `${scheme}: peak memory ≤ ${baseline}'s`,
        value: `${kib(ours)} KiB and ${kib(theirs)} KiB`,
        met: ours <= theirs,
      };
    }),
    ...crowdTargets(crowdRows),
    {
      what: "runs under `ulimit -v 65536`",
      value: smallAddressSpace ?? "a connection handed over",
      met: smallAddressSpace === null,
    },
  ];
  return list(
    all.map(({ what, value, met }) =>
      value === undefined
        ? `${what}: not measured`
        : `${what}: ${value}: ${met ? "met" : "NOT met"}`,
    ),
  );
}

function list(points: readonly string[]): string {
  return points.map((point) => `- ${point}`).join("\n");
}

function conditions(results: Results): string {
  const { machine, load, processor, peers, rounds, warmUp, rows, systemdRemark } = results;
  const node = find(rows, nodeAlone);
  const share = node === undefined ? NaN : (100 * node.cpuMs) / node.medianMs;
  const busy = share < 90 ? ", which lengthens long runs more than short ones" : "";
  return list([
    results.versions.join(", "),
    `${machine}, load average ${load.toFixed(1)}; \`${nodeAlone}\` had the processor for ${share.toFixed(0)} % of its time, others for the rest${busy}`,
    `${systemd}: ${systemdRemark ?? "not found. `npm run bench:fetch` brings Debian's newest; or SYSTEMD_SSH_PROXY names one"}`,
    `${rounds} runs of each, interleaved, after ${warmUp} for warm-up; each directly after one of the same command that does not count`,
    peers === processor
      ? `all on processor ${processor}: the commands, what plays ssh, and what answers. So the work of what answers is in the times; but where it is on another processor (\`--peers\`), waking it adds more to all of them, 0.1 ms on a virtual machine`
      : `the commands and what plays ssh on processor ${processor}, what answers on processor ${peers}`,
  ]);
}

export function report(results: Results): string {
  const parts = [
    conditions(results),
    times(results),
    "† ssh does not wait for a relay's end: its times are those until the first byte of the server's greeting is there. Peak memory: VmHWM at the exit, by ptrace.",
  ];
  if (results.crowdRows.length > 0) {
    parts.push(
      crowds(results),
      `On vsock-mux/; the multiplexer answers nobody before all are waiting. Medians of ${results.crowds} crowds each, all on processor ${results.processor}; the failures of all. Memory while all wait: the proportional set size, for which a page that several map counts once; in it what is private to each; beside it the page tables of each. The ${nodeHost} stops at 100: 500 would take 3 GiB.`,
    );
  }
  parts.push(`Targets of the ${standalone} host:`, targets(results));
  return parts.join("\n\n");
}
