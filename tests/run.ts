// npm test and npm run test:all: makes sure of the commands that the tests run, runs the test files, and
// prints a table.
//
//     npx tsx tests/run.ts [FILE or FOLDER...]     all of them, or these
//
// Rules
// - The folder is the list: every tests/*/*.test.ts runs, those of tests/e2e once for each host.
// - TEST_ALL=1 (npm run test:all) adds the AArch64 host. The suites read it as well, and run their long
//   form. PROXY_HOST=standalone, node or arm64 runs tests/e2e for that host alone.
// - Each file is a process of its own, and as many run at once as there are processors. One file alone
//   prints as it runs; of several, only failures are printed, and build/tests/log has the rest.
// - What did not pass has failed: a skipped test, too, and a file without tests.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";

import { root } from "./support/proxy";
import { makeTmpdir } from "./support/tmpdir";
import { ensureTools } from "./support/tools";

interface Job {
  file: string;
  host?: string;
}

interface Result extends Job {
  passed: number;
  failed: number;
  seconds: number;
}

/** The order in which they start: those that take longest come first. */
const folders = ["simulated", "hosts", "syscalls", "e2e", "build", "transcripts", "core", "shim"];

/**
 * These need this machine's processor: an emulated one has no AF_VSOCK, and sshfs runs in the same
 * guest, whose kernel runs this machine's programs.
 */
const nativeOnly = ["tests/e2e/clients.test.ts", "tests/e2e/vsock.test.ts"];

const tools = [
  ...["cc", "ssh", "scp", "ssh-keygen", "sshd", "socat", "linux.uml", "insmod", "chrt", "taskset"],
  ...["sftp", "ssh-add", "ssh-agent", "rsync", "git", "sshfs", "fusermount3", "ansible"],
  ...["plink", "pscp", "puttygen", "dbclient", "dropbearconvert", "python3", "paramiko", "libssh"],
  ...["strace", "prlimit", "aarch64-linux-gnu-gcc", "qemu-aarch64"],
];

/** Ten times what the longest file takes on two processors. */
const FILE_LIMIT_MS = 60 * 60_000;

function listJobs(): Job[] {
  const all = process.env["TEST_ALL"] === undefined ? [] : ["arm64"];
  const one = process.env["PROXY_HOST"];
  const hosts = one === undefined ? ["standalone", "node", ...all] : [one];
  return folders.flatMap((folder) =>
    readdirSync(path.join(root, "tests", folder))
      .filter((name) => name.endsWith(".test.ts"))
      .map((name) => `tests/${folder}/${name}`)
      .flatMap((file): Job[] => {
        if (folder !== "e2e") return [{ file }];
        const able = hosts.filter((host) => host !== "arm64" || !nativeOnly.includes(file));
        return able.map((host) => ({ file, host }));
      }),
  );
}

/** The jobs of the named files and folders; of all, where none is named. */
function selectJobs(names: readonly string[]): Job[] {
  const jobs = listJobs();
  if (names.length === 0) return jobs;
  const selected = names.flatMap((name) => {
    const wanted = path.relative(root, path.resolve(name));
    const found = jobs.filter(({ file }) => file === wanted || file.startsWith(`${wanted}/`));
    if (found.length === 0) throw new Error(`${name}: there is no such test file or folder`);
    return found;
  });
  return [...new Set(selected)];
}

function titleOf({ file, host }: Job): string {
  const suite = file.replace(/^tests\//, "").replace(/\.test\.ts$/, "");
  return host === undefined ? suite : `${suite} (${host})`;
}

/** Runs a file. `alone`: its output is shown as it comes. */
async function run(job: Job, alone: boolean): Promise<Result> {
  const start = performance.now();
  const child = spawn(
    process.execPath,
    ["--import", "tsx", "--test-reporter=spec", path.join(root, job.file)],
    {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...(job.host === undefined ? {} : { PROXY_HOST: job.host }) },
      timeout: FILE_LIMIT_MS,
      killSignal: "SIGKILL",
    },
  );
  let output = "";
  for (const [stream, shown] of [
    [child.stdout, process.stdout],
    [child.stderr, process.stderr],
  ] as const) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      output += text;
      if (alone) shown.write(text);
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });

  output = stripVTControlCharacters(output);
  const count = (word: string) =>
    Number(new RegExp(`^ℹ ${word} (\\d+)$`, "m").exec(output)?.[1] ?? 0);
  const passed = count("pass");
  const failed = Math.max(count("tests") - passed, status === 0 && passed > 0 ? 0 : 1);
  const result = { ...job, passed, failed, seconds: (performance.now() - start) / 1000 };
  const log = path.join(root, "build/tests/log", `${titleOf(job).replaceAll("/", "-")}.txt`);
  writeFileSync(log, output);
  if (!alone) {
    console.log(`${failed === 0 ? "passed" : "FAILED"}  ${row(result)}`);
    if (failed > 0) {
      const failures = output.indexOf("✖ failing tests:");
      console.log(failures < 0 ? output : output.slice(failures));
    }
  }
  return result;
}

async function runAll(jobs: readonly Job[]): Promise<Result[]> {
  const rest = [...jobs];
  const results: Result[] = [];
  const work = async (): Promise<void> => {
    for (let job; (job = rest.shift()) !== undefined;)
      results.push(await run(job, jobs.length === 1));
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  return results.sort((a, b) => order(a, jobs) - order(b, jobs));
}

function order(result: Job, jobs: readonly Job[]): number {
  return jobs.findIndex(({ file, host }) => file === result.file && host === result.host);
}

function row({ file, host, passed, failed, seconds }: Result): string {
  return line(titleOf({ file }), host ?? "", String(passed), String(failed), seconds.toFixed(1));
}

function line(suite: string, host: string, passed: string, failed: string, seconds: string) {
  const numbers = [passed.padStart(6), failed.padStart(6), seconds.padStart(7)];
  return [suite.padEnd(24), host.padEnd(10), ...numbers].join(" ");
}

async function main(): Promise<boolean> {
  const start = performance.now();
  const jobs = selectJobs(process.argv.slice(2));
  ensureTools(tools);
  makeTmpdir();
  mkdirSync(path.join(root, "build/tests/log"), { recursive: true });
  const build = ["scripts/build-standalone.mjs", "--target", "arm64"];
  if (spawnSync(process.execPath, build, { cwd: root, stdio: "inherit" }).status !== 0)
    return false;

  const results = await runAll(jobs);
  const sum = (of: (result: Result) => number) => results.map(of).reduce((a, b) => a + b, 0);
  const [passed, failed] = [sum((result) => result.passed), sum((result) => result.failed)];
  console.log(`\n${line("suite", "host", "passed", "failed", "seconds")}`);
  for (const result of results) console.log(row(result));
  console.log(line("all", "", String(passed), String(failed), sum((r) => r.seconds).toFixed(1)));
  console.log(`${((performance.now() - start) / 1000).toFixed(1)} s on the clock.`);
  for (const { file, host } of results.filter((result) => result.failed > 0)) {
    const environment = ["TEST_ALL=1 ".repeat(Number(process.env["TEST_ALL"] !== undefined))];
    if (host !== undefined) environment.push(`PROXY_HOST=${host} `);
    console.log(`Again: ${environment.join("")}npx tsx tests/run.ts ${file}`);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

// The folder of makeTmpdir is removed when this process exits.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

main().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  },
);
