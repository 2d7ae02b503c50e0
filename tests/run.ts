// npm test and npm run test:all: makes sure of the commands that the tests run, runs the test files, and
// prints a table.
//
//     node --import ./tests/tsx.mjs tests/run.ts [FILE or FOLDER...]    these, or all
//
// Rules
// - The folder is the list: every tests/*/*.test.ts runs, those of tests/e2e once for each host.
//   PROXY_HOST=standalone, node or arm64 limits tests/e2e to that host. Only tests/vm has to be named:
//   it downloads a system.
// - TEST_ALL=1 (npm run test:all) adds the AArch64 host, the files of `allOnly` and the short
//   benchmark. The suites read it as well, and run their long form.
// - Each file is a process of its own; as many run at once as there are processors. One file alone
//   prints as it runs. Of several, only failures are printed; build/tests/log has all output.
// - What did not pass has failed: a skipped test, too, and a file without tests.

import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { stripVTControlCharacters } from "node:util";

import { all, root } from "./support/proxy";
import { makeFolder } from "./support/scratch";
import { ensureTools } from "./support/tools";

interface Job {
  file: string;
  host?: string | undefined;
}

interface Result extends Job {
  passed: number;
  failed: number;
  seconds: number;
}

/** In the order in which they start: the longest first. */
const folders = ["simulated", "hosts", "syscalls", "e2e", "build", "transcripts", "core", "shim"];

/** The short benchmark. It is one test, which passes if the exit status is 0. */
const benchmark: Job = { file: "bench/run.ts" };

/**
 * These need this machine's processor: an emulated one has no AF_VSOCK, and sshfs runs in the same
 * guest, whose kernel runs this machine's programs.
 */
const nativeOnly = ["tests/e2e/clients.test.ts", "tests/e2e/vsock.test.ts"];

/** These test no host of the proxy, and take other toolchains: once, and only with TEST_ALL=1. */
const allOnly = ["tests/e2e/fragment.test.ts", "tests/e2e/readers.test.ts"];

const tools = [
  ...["cc", "ssh", "scp", "ssh-keygen", "sshd", "socat", "linux.uml", "insmod", "chrt", "taskset"],
  ...["sftp", "ssh-add", "ssh-agent", "rsync", "git", "sshfs", "fusermount3", "ansible"],
  ...["plink", "pscp", "puttygen", "dbclient", "dropbearconvert", "python3", "paramiko", "libssh"],
  ...["strace", "prlimit", "aarch64-linux-gnu-gcc", "qemu-aarch64"],
];

/** Several times what the longest file takes on two processors. */
const FILE_LIMIT_MS = 30 * 60_000;

function listJobs(names: readonly string[]): Job[] {
  const one = process.env["PROXY_HOST"];
  const hosts = one === undefined ? ["standalone", "node", ...(all ? ["arm64"] : [])] : [one];
  return (names.length === 0 ? folders : [...folders, "vm"]).flatMap((folder) =>
    readdirSync(path.join(root, "tests", folder))
      .filter((name) => name.endsWith(".test.ts"))
      .map((name) => `tests/${folder}/${name}`)
      .flatMap((file): Job[] => {
        if (allOnly.includes(file)) return all ? [{ file, host: hosts[0] }] : [];
        if (folder !== "e2e") return [{ file }];
        const able = hosts.filter((host) => host !== "arm64" || !nativeOnly.includes(file));
        return able.map((host) => ({ file, host }));
      }),
  );
}

/** The jobs of the named files and folders. */
function selectJobs(names: readonly string[]): Job[] {
  const jobs = listJobs(names);
  const selected = names.flatMap((name) => {
    const wanted = path.relative(root, path.resolve(name));
    const found = jobs.filter(({ file }) => file === wanted || file.startsWith(`${wanted}/`));
    if (!all && allOnly.includes(wanted)) throw new Error(`${name}: only with TEST_ALL=1`);
    if (found.length === 0) throw new Error(`${name}: no such test file or folder`);
    return found;
  });
  return [...new Set(selected)];
}

/** Runs a file; `show`: prints its output as it comes. */
async function run({ file, host }: Job, show: boolean): Promise<Result> {
  const start = performance.now();
  const args = file === benchmark.file ? [file, "--quick"] : ["--test-reporter=spec", file];
  const child = spawn(process.execPath, ["--import", "./tests/tsx.mjs", ...args], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...(host === undefined ? {} : { PROXY_HOST: host }) },
    timeout: FILE_LIMIT_MS,
    killSignal: "SIGKILL",
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      output += text;
      if (show) process.stdout.write(text);
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });

  output = stripVTControlCharacters(output);
  const count = (what: string) =>
    Number(new RegExp(`^ℹ ${what} (\\d+)$`, "m").exec(output)?.[1] ?? 0);
  const passed = file === benchmark.file ? Number(status === 0) : count("pass");
  const failed = Math.max(count("tests") - passed, status === 0 && passed > 0 ? 0 : 1);
  const seconds = (performance.now() - start) / 1000;
  const result = { file, host, passed, failed, seconds };
  const name = [nameOf(file).replaceAll("/", "-"), ...(host === undefined ? [] : [host]), "txt"];
  writeFileSync(path.join(root, "build/tests/log", name.join(".")), output);
  if (!show) {
    console.log(`${failed === 0 ? "passed" : "FAILED"}  ${row(result)}`);
    const failures = output.indexOf("✖ failing tests:");
    if (failed > 0)
      console.log(failures < 0 ? `${output}exit status ${status}` : output.slice(failures));
  }
  return result;
}

async function runAll(jobs: readonly Job[], show: boolean): Promise<Result[]> {
  const results: Result[] = [];
  const rest = jobs.entries();
  const work = async (): Promise<void> => {
    for (const [i, job] of rest) results[i] = await run(job, show);
  };
  await Promise.all(Array.from({ length: os.availableParallelism() }, work));
  return results;
}

function nameOf(file: string): string {
  return file.replace(/^tests\//, "").replace(/(\.test)?\.ts$/, "");
}

function row({ file, host = "", passed, failed, seconds }: Result): string {
  return line(nameOf(file), host, String(passed), String(failed), seconds.toFixed(1));
}

function line(suite: string, host: string, ...numbers: readonly string[]): string {
  return [suite.padEnd(24), host.padEnd(10), ...numbers.map((text) => text.padStart(7))].join(" ");
}

async function main(names: readonly string[]): Promise<boolean> {
  const start = performance.now();
  const jobs = names.length === 0 ? listJobs([]) : selectJobs(names);
  ensureTools(tools);
  // Nothing stays of what the tests start, and no other user knows the names of its files.
  process.env["TMPDIR"] = makeFolder("proxy");
  // Some tests run the proxy as another user, who has to reach the sockets in it.
  chmodSync(process.env["TMPDIR"], 0o711);
  mkdirSync(path.join(root, "build/tests/log"), { recursive: true });
  if (jobs.some(({ file, host }) => host === "arm64" || file.startsWith("tests/build/"))) {
    const build = ["scripts/build-standalone.mjs", "--target", "arm64"];
    if (spawnSync(process.execPath, build, { cwd: root, stdio: "inherit" }).status !== 0)
      return false;
  }

  const results = await runAll(jobs, jobs.length === 1);
  // What is measured needs the machine to itself.
  if (all && names.length === 0) results.push(await run(benchmark, false));

  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  console.log(`\n${line("suite", "host", "passed", "failed", "seconds")}`);
  for (const result of results) console.log(row(result));
  const seconds = (performance.now() - start) / 1000;
  console.log(line("total, by the clock", "", String(passed), String(failed), seconds.toFixed(1)));
  for (const { file, host } of results.filter((result) => result.failed > 0)) {
    const command = file === benchmark.file ? `${file} --quick` : `tests/run.ts ${file}`;
    const environment = `${all ? "TEST_ALL=1 " : ""}${host === undefined ? "" : `PROXY_HOST=${host} `}`;
    console.log(`To run it again: ${environment}node --import ./tests/tsx.mjs ${command}`);
  }
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

// exit() runs the handlers that remove temporary folders.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

main(process.argv.slice(2)).then(
  (passed) => process.exit(passed ? 0 : 1),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  },
);
