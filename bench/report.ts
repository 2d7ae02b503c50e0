// The Markdown that `npm run bench` prints.

import {
  baseline,
  exchange,
  libvirt,
  nodeAlone,
  nodeHost,
  socat,
  standalone,
  systemd,
} from "./results";
import type { BatchRow, RelayRow, Results, RouteRow, Row, Scheme } from "./results";

/** The targets of the standalone host: maxima, but for relayOfSocat. */
const limits = {
  ofTrue: 0.35,
  ofSystemd: 0.12,
  machineOfUnix: 2,
  machineOfSystemd: 0.15,
  qemuOfLibvirt: 0.1,
  batchOfSystemd: 0.2,
  /** The minimum of the relay's throughput. */
  relayOfSocat: 1.5,
  /** For pages that are first used after a quarter. */
  relayGrowthKb: 16,
  /** Processor time per idle second. */
  relayIdleMs: 1,
};

/** The first `words` columns are aligned to the left, the others to the right. */
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

/** The other proxy for the same address. */
function theirsOf({ scheme }: Row, rows: readonly Row[]): Row | undefined {
  return scheme && find(rows, scheme === "qemu/" ? libvirt : systemd, scheme);
}

function ratio(row: Row | undefined, other: Row | undefined): number | undefined {
  return row === undefined || other === undefined ? undefined : row.medianMs / other.medianMs;
}

function times({ rows }: Results): string {
  const base = find(rows, baseline);
  return table(1, [
    [
      "spawn to exit, ms",
      ...["min", "median", "p99", `÷ ${baseline}`, "÷ theirs"],
      ...["fd passed", "first byte", "CPU, ms", "peak memory, KiB"],
    ],
    ...rows.map((row) => [
      label(row),
      ...[row.minMs, row.medianMs, row.p99Ms].map(ms),
      ratio(row, base)?.toFixed(3) ?? "",
      ratio(row, theirsOf(row, rows))?.toFixed(3) ?? "",
      ...[row.passedMs, row.firstByteMs, row.cpuMs].map(ms),
      kib(row.memoryKb),
    ]),
  ]);
}

function batches({ batchRows }: Results): string {
  return table(1, [
    [
      ...["many at once", "how many", "failed", "CPU, ms", "of each, ms", "wall, ms"],
      ...["memory, MiB", "of each, KiB", "private, KiB", "page tables, KiB"],
    ],
    ...batchRows.map((row) => {
      const each = (value: number) => (value / row.size).toFixed(1);
      const figures = [
        row.cpuMs.toFixed(2),
        (row.cpuMs / row.size).toFixed(3),
        row.wallMs.toFixed(1),
        (row.pssKb / 1024).toFixed(2),
        ...[row.pssKb, row.privateKb, row.pageTablesKb].map(each),
      ];
      // The figures of a part of the batch are not those of the whole.
      const shown = row.failed === 0 ? figures : figures.map(() => "");
      return [row.name, String(row.size), String(row.failed), ...shown];
    }),
  ]);
}

type Place = Pick<RouteRow, "direction" | "pair" | "anywhere">;

/** Between pipes, all on one processor. */
const up: Place = { direction: "up", pair: false, anywhere: false };
const down: Place = { ...up, direction: "down" };

function routeOf(row: RelayRow | undefined, place: Place): RouteRow | undefined {
  return row?.routes.find(
    ({ direction, pair, anywhere }) =>
      direction === place.direction && pair === place.pair && anywhere === place.anywhere,
  );
}

function speedRatio(row: RelayRow | undefined, rows: readonly RelayRow[], place: Place) {
  const [ours, theirs] = [row, rows.find(({ name }) => name === socat)].map((one) =>
    routeOf(one, place),
  );
  return ours === undefined || theirs === undefined ? undefined : ours.speed / theirs.speed;
}

const relayLabel = ({ name, scheme }: RelayRow) => `${name}, ${scheme ?? ""}`;

function relays({ relayRows }: Results): string {
  return table(1, [
    [
      "relay",
      ...["up, GB/s", "down, GB/s", `÷ ${socat}, up`, "down", "CPU up, s/GiB", "down"],
      ...["memory at ¼, KiB", "at the end", "most", "CPU in 1 s: idle, ms"],
      ...["output not read", "nothing read"],
    ],
    ...relayRows.map((row) => {
      const routes = [up, down].map((place) => routeOf(row, place));
      const most = (key: "quarterKb" | "lastKb" | "mostKb") =>
        kib(Math.max(...routes.map((route) => route?.[key] ?? NaN)));
      const { connected, unread, blocked } = row.idling;
      return [
        relayLabel(row),
        ...routes.map((route) => route?.speed.toFixed(2) ?? ""),
        ...[up, down].map((place) => speedRatio(row, relayRows, place)?.toFixed(2) ?? ""),
        ...routes.map((route) => route?.cpuPerGib.toFixed(3) ?? ""),
        ...[most("quarterKb"), most("lastKb"), most("mostKb")],
        ...[connected, unread, blocked].map(ms),
      ];
    }),
  ]);
}

/** The same on any processor, and with a socket pair. */
function relaysElsewhere({ relayRows }: Results): string {
  const places: [string, Place][] = [
    ["any processor, up, GB/s", { ...up, anywhere: true }],
    ["any processor, down, GB/s", { ...down, anywhere: true }],
    ["socket pair, up, GB/s", { ...up, pair: true }],
    ["socket pair, down, GB/s", { ...down, pair: true }],
  ];
  return table(1, [
    ["relay", ...places.flatMap(([title]) => [title, `÷ ${socat}`])],
    ...relayRows.map((row) => [
      relayLabel(row),
      ...places.flatMap(([, place]) => [
        routeOf(row, place)?.speed.toFixed(2) ?? "",
        speedRatio(row, relayRows, place)?.toFixed(2) ?? "",
      ]),
    ]),
  ]);
}

function relayRemark({ transfers, transferBytes, processor, peers }: Results): string {
  const size = `${transferBytes / 2 ** 20} MiB`;
  const where =
    processor === peers
      ? `All on processor ${processor}: the relay, the writer and the reader. So a relay's speed includes all three, and no wake-up of an idle processor, which on a virtual machine costs more than the relay and differs from run to run`
      : `The relay on processor ${processor}, the writer and the reader on processor ${peers}`;
  return [
    `Medians of ${transfers} transfers of ${size} each, interleaved, after one for warm-up, from the first byte that arrives to the last; without the start, also in the CPU time.`,
    "Up is from descriptor 0 to the socket, down from the socket to descriptor 1, both pipes, as ssh without fd passing gives them; written and read in 64 KiB.",
    `${where}. Any processor: the kernel places the three. Socket pair: both descriptors are one unix socket, as programs on libuv give their children; on the processor of the first table.`,
    `${socat} uses 8 KiB by default. Memory: resident, VmHWM for the peak, the larger of both directions, without the buffers of pipes and sockets.`,
  ].join(" ");
}

interface Target {
  what: string;
  /** Undefined if it was not measured. */
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

function atLeast(what: string, value: number | undefined, limit: number): Target {
  return {
    what: `${what} ≥ ${limit}`,
    value: value?.toFixed(2),
    met: value !== undefined && value >= limit,
  };
}

function relayTargets(rows: readonly RelayRow[]): Target[] {
  const ours = rows.filter(({ name }) => name === standalone);
  return ours.flatMap((row): Target[] => {
    const what = `relay, ${row.scheme ?? ""}`;
    const { relayOfSocat, relayGrowthKb, relayIdleMs } = limits;
    const growth = Math.max(...row.routes.map(({ growthKb }) => growthKb));
    const { connected, unread, blocked } = row.idling;
    const idle = Math.max(connected, unread, blocked);
    return [
      ...[up, down].map((place) => {
        const value = speedRatio(row, rows, place);
        return atLeast(`${what}, ${place.direction}: ÷ ${socat}`, value, relayOfSocat);
      }),
      {
        what: `${what}: memory from a quarter to the end ≤ ${relayGrowthKb} KiB more`,
        value: `${kib(growth)} KiB more`,
        met: growth <= relayGrowthKb,
      },
      atMost(`${what}: CPU per idle second, ms,`, idle, relayIdleMs),
    ];
  });
}

function nameTargets(rows: readonly Row[]): Target[] {
  const [unix, machine, qemu] = (["unix/", "machine/", "qemu/"] as const).map((scheme) =>
    find(rows, standalone, scheme),
  );
  const asked = find(rows, exchange, "machine/");
  const reference = (unix?.medianMs ?? NaN) + (asked?.medianMs ?? NaN);
  const ofReference = (machine?.medianMs ?? NaN) / reference;
  const ofSystemd = ratio(machine, find(rows, systemd, "machine/"));
  const ofLibvirt = ratio(qemu, find(rows, libvirt, "qemu/"));
  return [
    atMost(`machine/: ÷ (unix/ + ${exchange})`, ofReference, limits.machineOfUnix),
    atMost(`machine/: ÷ ${systemd}`, ofSystemd, limits.machineOfSystemd),
    atMost(`qemu/: ÷ ${libvirt}`, ofLibvirt, limits.qemuOfLibvirt),
  ];
}

function batchTargets(rows: readonly BatchRow[]): Target[] {
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
    atMost(`${most} at once: CPU ÷ ${systemd}'s`, cpu, limits.batchOfSystemd),
  ];
}

function targets({ rows, batchRows, relayRows, smallAddressSpace }: Results): string {
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
    ...nameTargets(rows),
    ...batchTargets(batchRows),
    ...relayTargets(relayRows),
    {
      what: "runs under `ulimit -v 65536`",
      value: smallAddressSpace ?? "a descriptor passed",
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
  const { machine, load, processor, peers, rounds, warmUp, rows } = results;
  const node = find(rows, nodeAlone);
  const share = node === undefined ? NaN : (100 * node.cpuMs) / node.medianMs;
  const busy = share < 90 ? ", which lengthens long runs more than short ones" : "";
  return list([
    results.versions.join(", "),
    `${machine}, load average ${load.toFixed(1)}; \`${nodeAlone}\` used the processor for ${share.toFixed(0)} % of its time${busy}`,
    ...[[systemd, results.systemdRemark] as const, [libvirt, results.libvirtRemark] as const].map(
      ([name, remark]) => {
        const variable = name.toUpperCase().replaceAll("-", "_");
        const missing = `not found. \`npm run bench:fetch\` downloads Debian's newest, or set ${variable}`;
        return `${name}: ${remark ?? missing}`;
      },
    ),
    `${rounds} runs of each, interleaved, after ${warmUp} for warm-up; each directly after a run of the same command that does not count`,
    peers === processor
      ? `all on processor ${processor}: the commands, ssh's side and the peers. So the peers' work is in the times; on another processor (\`--peers\`), waking them adds more, 0.1 ms on a virtual machine`
      : `the commands and ssh's side on processor ${processor}, the peers on processor ${peers}`,
  ]);
}

export function report(results: Results): string {
  const parts = [
    conditions(results),
    times(results),
    "† ssh does not wait for a relay's exit: its times end with the first byte of the server's greeting. Peak memory: VmHWM at the exit, by ptrace. Theirs: systemd-ssh-proxy, and libvirt-ssh-proxy for qemu/. machine/ asks a scripted machined for a container, and connects to its socket. qemu/ asks a scripted libvirtd for a domain's CID, and fails because no AF_VSOCK socket can be made.",
  ];
  if (results.batchRows.length > 0) {
    parts.push(
      batches(results),
      `On vsock-mux/; the multiplexer answers when all are waiting. Medians of ${results.batches} batches each, all on processor ${results.processor}; the sum of the failures. Memory while all wait: the proportional set size, which counts a shared page once, and the private part of it; the page tables besides. The ${nodeHost} stops at 100: 500 would take 3 GiB.`,
    );
  }
  if (results.relayRows.length > 0) {
    parts.push(relays(results), relaysElsewhere(results), relayRemark(results));
  }
  parts.push(`Targets of the ${standalone} host:`, targets(results));
  return parts.join("\n\n");
}
