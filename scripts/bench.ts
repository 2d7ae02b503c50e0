// npm run bench: how long ssh waits for the proxy, from the spawn to the exit with the descriptor
// handed over, next to what a process costs at all and what Node costs at all.
//
//     tsx scripts/bench.ts [RUNS]      100 runs of each command unless told
//
// Rules
// - All commands are run by the same program (tests/support/play-ssh.c), which does what ssh does,
//   on one processor; what answers them runs on the others.
// - They take turns, so that whatever else the machine does falls on all of them alike, and what
//   counts is the ratio of the medians.
// - The environment holds PATH and HOME alone: NODE_EXTRA_CA_CERTS makes Node 20 start 2.5 times
//   slower.

import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

import { playSsh } from "../tests/support/play-ssh";
import type { Outcome } from "../tests/support/play-ssh";
import { allowedProcessors } from "../tests/support/processors";
import { proxyCommand, root } from "../tests/support/proxy";
import { ensureTools } from "./tools";

const warmUps = 10;

interface Candidate {
  name: string;
  command: string[];
  handsOver: boolean;
  outcomes: Outcome[];
}

/** A unix socket whose connections are answered by `talk` and kept until the other side ends. */
async function serve(file: string, talk: (connection: net.Socket) => void): Promise<net.Server> {
  const server = net.createServer((connection) => {
    connection.on("error", () => undefined);
    talk(connection);
    connection.resume();
  });
  server.listen(file);
  await once(server, "listening");
  return server;
}

async function measure(candidate: Candidate, processor: number | undefined): Promise<Outcome> {
  const { PATH, HOME } = process.env;
  const outcome = await playSsh(candidate.command, {
    env: { PATH, HOME },
    ...(processor === undefined ? {} : { processor }),
  });
  const expected = candidate.handsOver ? 1 : 0;
  if (outcome.exit !== 0 || outcome.fds !== expected || outcome.bytes !== expected) {
    const { exit, signal, fds, bytes, stderr } = outcome;
    const what = JSON.stringify({ exit, signal, fds, bytes });
    throw new Error(`${candidate.name} went wrong: ${what} ${stderr}`);
  }
  return outcome;
}

/** The value below or at which `part` of the values are (nearest rank). */
function quantile(values: number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? NaN;
}

function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))),
  );
  const rule = widths.map((width, i) =>
    i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  lines.splice(1, 0, rule);
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function report(candidates: Candidate[], base: Candidate): string {
  const ms = (nanoseconds: number) => (nanoseconds / 1e6).toFixed(2);
  const exits = (candidate: Candidate) => candidate.outcomes.map(({ exitNs }) => exitNs);
  const baseMedian = quantile(exits(base), 0.5);
  const rows = candidates.map((candidate) => {
    const times = exits(candidate);
    const handoffs = candidate.outcomes.flatMap(({ handoffNs }) => handoffNs ?? []);
    return [
      candidate.name,
      ms(Math.min(...times)),
      ms(quantile(times, 0.5)),
      ms(quantile(times, 0.99)),
      (quantile(times, 0.5) / baseMedian).toFixed(3),
      candidate.handsOver ? ms(quantile(handoffs, 0.5)) : "",
    ];
  });
  const head = ["spawn to exit, ms", "min", "median", "p99", `÷ ${base.name}`, "handed over"];
  return table([head, ...rows]);
}

async function main(): Promise<void> {
  const runs = Number(process.argv[2] ?? 100);
  if (!Number.isInteger(runs) || runs < 1) throw new Error("usage: tsx scripts/bench.ts [RUNS]");
  ensureTools(["cc", "taskset"]);

  const folder = mkdtempSync(path.join(os.tmpdir(), "bench-"));
  const servers: net.Server[] = [];
  try {
    const plain = path.join(folder, "unix");
    const multiplexer = path.join(folder, "multiplexer");
    servers.push(await serve(plain, () => undefined));
    servers.push(
      await serve(multiplexer, (connection) => {
        connection.once("data", () => connection.write("OK 1073741824\n"));
      }),
    );
    const proxy = proxyCommand();
    const candidate = (name: string, command: string[], handsOver: boolean): Candidate => {
      return { name, command, handsOver, outcomes: [] };
    };
    const base = candidate("node -e 0", [process.execPath, "-e", "0"], false);
    const candidates = [
      candidate("/bin/true", ["/bin/true"], false),
      base,
      candidate("proxy, unix/", [...proxy, `unix${plain}`, "22"], true),
      candidate("proxy, vsock-mux/", [...proxy, `vsock-mux${multiplexer}`, "22"], true),
    ];

    // The last one: interrupts and others' work are often on the first.
    const processors = allowedProcessors();
    const processor = processors.length > 1 ? processors.at(-1) : undefined;
    for (let run = -warmUps; run < runs; run++) {
      // Each round starts with another one, so that nobody always follows the same one.
      const first = (run + warmUps) % candidates.length;
      for (const next of [...candidates.slice(first), ...candidates.slice(0, first)]) {
        const outcome = await measure(next, processor);
        if (run >= 0) next.outcomes.push(outcome);
      }
    }

    const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
      version: string;
    };
    const host = process.env["PROXY_HOST"] ?? "node";
    const pinned = processor === undefined ? "not pinned" : `pinned to processor ${processor}`;
    const load = os.loadavg()[0]?.toFixed(1);
    console.log(
      `ssh-vsock-proxy ${version} (host: ${host}), Node ${process.version}, Linux ${os.release()}`,
    );
    console.log(`${os.cpus()[0]?.model}, ${processors.length} processors, load ${load}`);
    console.log(`${runs} interleaved runs each after ${warmUps} for warm-up, ${pinned}\n`);
    console.log(report(candidates, base));
  } finally {
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
