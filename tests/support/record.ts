// What each run of the proxy comes to, kept so that hosts can be compared run by run
// (tests/hosts/compare.test.ts). With PROXY_TRACE=FOLDER the suites run the debug builds (proxy.ts), and
// each run leaves a file in FOLDER, named for its test file and numbered within it. Without it,
// nothing here does anything.

import { chmodSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

import { proxyCommand } from "./proxy";

const traceFolder = process.env["PROXY_TRACE"];

/** Text and bytes alike as latin1: a character for each byte. */
export interface RunRecord {
  /** The command line, in which the host's own words are `ssh-vsock-proxy`. */
  command: string;
  /** How the command ended: the proxy, or the ssh that has started it. */
  exit: number | string | null;
  stderr: string;
  /** The imports, as native/trace/trace.c writes them. */
  trace: string;
}

export interface Run {
  /** What the proxy's environment needs to have. */
  readonly env: NodeJS.ProcessEnv;
  end(exit: RunRecord["exit"], stderr: string | Buffer): void;
}

const unrecorded: Run = { env: {}, end: () => undefined };

let runs = 0;

function file(number: number, suffix: string): string {
  const suite = path.basename(process.argv[1] ?? "", ".test.ts");
  return path.join(traceFolder ?? "", `${suite}.${String(number).padStart(4, "0")}.${suffix}`);
}

/** To be called before `command` starts, which runs the proxy now or later. */
export function beginRun(command: readonly (string | Buffer)[]): Run {
  if (traceFolder === undefined) return unrecorded;
  const traceFile = file(runs + 1, "trace");
  writeFileSync(traceFile, "");
  // The proxy may run as another user.
  chmodSync(traceFile, 0o666);
  return {
    env: { SHIM_TRACE: traceFile },
    end(exit, stderr) {
      keepRun(command, exit, stderr, readFileSync(traceFile));
      rmSync(traceFile);
    },
  };
}

/** Keeps a run of which all is known already. */
export function keepRun(
  command: readonly (string | Buffer)[],
  exit: RunRecord["exit"],
  stderr: string | Buffer,
  trace: Buffer,
): void {
  if (traceFolder === undefined) return;
  const text = (bytes: string | Buffer) => Buffer.from(bytes).toString("latin1");
  // As a shell's words, and as they are.
  const own = [proxyCommand().map((word) => JSON.stringify(word)), proxyCommand()];
  const record: RunRecord = {
    command: own.reduce(
      (line, words) => line.replaceAll(words.join(" "), "ssh-vsock-proxy"),
      command.map(text).join(" "),
    ),
    exit,
    stderr: text(stderr),
    trace: text(trace),
  };
  writeFileSync(file(++runs, "json"), JSON.stringify(record));
}

/** The last run does not count: it did not come to what was to be tested. */
export function forgetRun(): void {
  if (traceFolder !== undefined) rmSync(file(runs--, "json"));
}

/** The runs that a test file has left in a folder, in their order. */
export function readRuns(folder: string, suite: string): RunRecord[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith(`${suite}.`) && name.endsWith(".json"))
    .sort()
    .map((name) => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as RunRecord);
}
