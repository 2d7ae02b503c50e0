// Runs a shell script inside Debian's user-mode-linux, which boots a Linux kernel with AF_VSOCK
// loopback as an ordinary process. On the machine itself, loading vsock_loopback needs root, and CID 2
// would be the machine's own host.
//
// Rules
// 1. The guest's root file system is this machine's, through hostfs: programs, node_modules and the
//    repository are the same files, and a script's writes outside of /run and /dev are real.
// 2. Guests share only that: each has its own folder for its sockets and results.
// 3. A guest powers off after its script. At the timeout its process group is killed; if this process
//    has exited before, the guest powers off by itself.

import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { statfsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { ensureTools, tool } from "./tools";
import { allowedProcessors } from "./processors";
import { makeFolder } from "./scratch";
import { shellQuote } from "./sshd";

interface GuestOptions {
  /** Kills the guest and rejects after this time (default: 60 s). */
  timeoutMs?: number;
}

interface GuestOutcome {
  exit: number;
  stdout: string;
  stderr: string;
}

/** A line of sh that loads AF_VSOCK with a loopback transport. */
export const loadVsock =
  "for module in vsock vmw_vsock_virtio_transport_common vsock_loopback; do " +
  'insmod "/usr/lib/uml/modules/$(uname -r)/kernel/net/vmw_vsock/$module.ko" || exit; done';

const memory = 512;

/**
 * Boots a guest and runs `script` with sh as the guest's root. Rejects with the console's output if the
 * script does not come to its end.
 */
export async function runInGuest(
  script: string,
  options: GuestOptions = {},
): Promise<GuestOutcome> {
  ensureTools(["linux.uml", "insmod", "taskset"]);
  const folder = makeFolder("guest");
  try {
    const timeoutMs = options.timeoutMs ?? 60_000;
    await writeFile(path.join(folder, "script"), script);
    const init = initScript(folder, timeoutMs);
    await writeFile(path.join(folder, "init"), init, { mode: 0o755 });
    const { console, killed } = await boot(folder, timeoutMs);
    const result = (name: string) => readFile(path.join(folder, name), "utf8").catch(() => "");
    const [exit, stdout, stderr] = [
      await result("exit"),
      await result("stdout"),
      await result("stderr"),
    ];
    if (exit === "") {
      const what = killed ? `was killed after ${timeoutMs} ms` : "ended before its script";
      throw new Error(`the guest ${what}; its console said:\n${console}\n${stdout}\n${stderr}`);
    }
    return { exit: Number(exit), stdout, stderr };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function initScript(folder: string, timeoutMs: number): string {
  const folders = [path.dirname(process.execPath), "/usr/local/sbin:/usr/local/bin"];
  const variables = {
    PATH: [...folders, "/usr/sbin:/usr/bin:/sbin:/bin"].join(":"),
    HOME: "/root",
  };
  const exports = Object.entries(variables).map(([name, value]) => `${name}=${shellQuote(value)}`);
  // The kernel has mounted /dev. sysrq powers off without a program, which a container may lack.
  return `#!/bin/sh
export ${exports.join(" ")}
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
ln -s /proc/self/fd /dev/fd
ip link set lo up || ifconfig lo up
cd ${shellQuote(folder)}
(sleep ${Math.ceil(timeoutMs / 1000) + 5}; echo o >/proc/sysrq-trigger) &
sh ./script >stdout 2>stderr </dev/null
echo $? >exit
sync
echo o >/proc/sysrq-trigger
sleep 60
`;
}

/** Runs the guest to its end. */
function boot(folder: string, timeoutMs: number): Promise<{ console: string; killed: boolean }> {
  // The guest's memory is a file. A container's /dev/shm may be too small to hold it.
  const shm = freeMegabytes("/dev/shm") > 2 * memory ? "/dev/shm" : folder;
  const kernel = [`mem=${memory}M`, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw"];
  const consoles = ["con=null", "con0=fd:0,fd:1", "quiet"];
  const own = [`init=${folder}/init`, "umid=guest", `uml_dir=${folder}/uml`];
  // The guest's kernel and its processes are threads that run one at a time. Pinned to one processor,
  // they do not wake each other across processors, which is several times faster on a busy machine. The
  // choice is random, so that simultaneous guests may use different ones.
  const processors = allowedProcessors();
  const processor = processors[randomInt(processors.length)] ?? 0;
  const pin = ["-c", String(processor), tool("linux.uml")];
  const child = spawn(tool("taskset"), [...pin, ...kernel, ...consoles, ...own], {
    cwd: folder,
    env: { PATH: process.env["PATH"], TMPDIR: shm },
    stdio: ["ignore", "pipe", "pipe"],
    // A process group, as the guest's processes are processes of this machine.
    detached: true,
  });
  let console = "";
  const hear = (chunk: Buffer) => (console += chunk.toString());
  child.stdout.on("data", hear);
  child.stderr.on("data", hear);
  return new Promise((resolve, reject) => {
    let killed = false;
    const timer = setTimeout(() => {
      killed = true;
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    }, timeoutMs);
    child.on("error", reject);
    child.on("close", () => {
      clearTimeout(timer);
      resolve({ console, killed });
    });
  });
}

function freeMegabytes(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return (bavail * bsize) / 2 ** 20;
  } catch {
    return 0;
  }
}
