// npm test: makes sure of the commands that the tests run, then runs every test file, those of the
// whole proxy once for each host.
//
//     tsx tests/run.ts [FILE...]     only these, on the host that PROXY_HOST names (node)

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { ensureTools } from "./support/tools";

const root = path.resolve(__dirname, "..");
const folders = ["build", "core", "e2e", "hosts", "shim", "simulated", "syscalls", "transcripts"];

/** Those that run the proxy as ssh does. */
const endToEnd = [
  ...["clients", "fd-passing", "multiplexer", "paths", "relay", "ssh", "vsock"].map(
    (name) => `e2e/${name}`,
  ),
  ...["command", "options", "wait"].map((name) => `simulated/${name}`),
];

/**
 * Those that need this machine's processor: there is no AF_VSOCK for an emulated one, and sshfs runs
 * in the same guest, whose kernel runs this machine's programs.
 */
const native = ["e2e/clients", "e2e/vsock"];

const hosts: Record<string, readonly string[]> = {
  node: endToEnd,
  standalone: endToEnd,
  arm64: endToEnd.filter((name) => !native.includes(name)),
};

const tools = ["cc", "ssh", "scp", "ssh-keygen", "sshd", "socat", "linux.uml", "insmod", "chrt"];
const clients = [
  ...["sftp", "ssh-add", "ssh-agent", "rsync", "git", "sshfs", "fusermount3", "ansible"],
  ...["plink", "pscp", "puttygen", "dbclient", "dropbearconvert", "python3", "paramiko", "libssh"],
];
const standaloneTools = ["strace", "prlimit", "aarch64-linux-gnu-gcc", "qemu-aarch64"];

function runFiles(files: readonly string[], host?: string): boolean {
  const { status } = spawnSync(
    process.execPath,
    ["--import", "tsx", "--test", "--test-reporter=spec", ...files],
    {
      cwd: root,
      stdio: "inherit",
      env: { ...process.env, ...(host === undefined ? {} : { PROXY_HOST: host }) },
    },
  );
  return status === 0;
}

function runAll(): boolean {
  const names = (files: readonly string[]) => files.map((name) => `tests/${name}.test.ts`);
  const everywhere = names(endToEnd);
  const once = folders
    .flatMap((folder) =>
      readdirSync(path.join(root, "tests", folder)).map((name) => `tests/${folder}/${name}`),
    )
    .filter((file) => file.endsWith(".test.ts") && !everywhere.includes(file));
  const build = ["scripts/build-standalone.mjs", "--target", "arm64"];
  if (spawnSync(process.execPath, build, { cwd: root, stdio: "inherit" }).status !== 0)
    return false;
  console.log("# what is the same for every host");
  const results = [runFiles(once)];
  for (const [host, files] of Object.entries(hosts)) {
    console.log(`# host: ${host}`);
    results.push(runFiles(names(files), host));
  }
  return results.every((passed) => passed);
}

const named = process.argv.slice(2);
try {
  ensureTools([...tools, ...clients, ...standaloneTools]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
process.exit((named.length > 0 ? runFiles(named) : runAll()) ? 0 : 1);
