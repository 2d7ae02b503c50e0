// The external commands that the demo, the tests and the checks run, and how to get them on Debian
// and Ubuntu.
//
//     tsx tests/support/tools.ts NAME...     installs what is missing, or says how to

import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

interface Tool {
  packages: readonly string[];
  purpose: string;
  /** Where it is no command: a file that the package puts there. */
  file?: string;
}

const table: Readonly<Record<string, Tool>> = {
  ssh: { packages: ["openssh-client"], purpose: "the client that runs the proxy" },
  scp: { packages: ["openssh-client"], purpose: "copies files through the proxy" },
  "ssh-keygen": { packages: ["openssh-client"], purpose: "makes throw-away keys" },
  sshd: { packages: ["openssh-server"], purpose: "the throw-away server" },
  socat: { packages: ["socat"], purpose: "puts sshd behind AF_VSOCK" },
  ncat: { packages: ["ncat"], purpose: "is a relay that the benchmark compares with" },
  "linux.uml": { packages: ["user-mode-linux"], purpose: "a kernel with AF_VSOCK loopback" },
  insmod: { packages: ["kmod"], purpose: "loads that kernel's vsock modules" },
  chrt: { packages: ["util-linux"], purpose: "keeps the vsock loopback from answering" },
  taskset: { packages: ["util-linux"], purpose: "pins the guest to its processors" },
  // gcc only recommends the C library's headers.
  cc: { packages: ["gcc", "libc6-dev"], purpose: "compiles the test programs" },
  prlimit: { packages: ["util-linux"], purpose: "runs the standalone host at its limits" },
  strace: { packages: ["strace"], purpose: "lists the system calls of the standalone host" },
  "aarch64-linux-gnu-gcc": {
    packages: ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
    purpose: "compiles the standalone host for AArch64",
  },
  "qemu-aarch64": { packages: ["qemu-user"], purpose: "runs what is compiled for AArch64" },
  sftp: { packages: ["openssh-client"], purpose: "copies files through the proxy" },
  "ssh-add": { packages: ["openssh-client"], purpose: "fills a throw-away agent" },
  "ssh-agent": { packages: ["openssh-client"], purpose: "is the agent to forward" },
  rsync: { packages: ["rsync"], purpose: "copies files through the proxy" },
  git: { packages: ["git"], purpose: "clones through the proxy" },
  sshfs: { packages: ["sshfs"], purpose: "mounts a folder through the proxy, in the guest" },
  fusermount3: { packages: ["fuse3"], purpose: "ends that mount" },
  ansible: { packages: ["ansible-core"], purpose: "is a client that runs ssh" },
  plink: { packages: ["putty-tools"], purpose: "is a client without descriptor passing" },
  pscp: { packages: ["putty-tools"], purpose: "copies files as plink does" },
  puttygen: { packages: ["putty-tools"], purpose: "makes a key PuTTY's" },
  dbclient: { packages: ["dropbear-bin"], purpose: "is a client without descriptor passing" },
  dropbearconvert: { packages: ["dropbear-bin"], purpose: "makes a key Dropbear's" },
  // Debian's Python, whatever other one is in front of it in PATH.
  python3: { packages: ["python3"], purpose: "runs paramiko", file: "/usr/bin/python3" },
  paramiko: {
    packages: ["python3-paramiko"],
    purpose: "is a client without descriptor passing",
    file: "/usr/lib/python3/dist-packages/paramiko/__init__.py",
  },
  libssh: {
    packages: ["libssh-dev"],
    purpose: "is a client without descriptor passing",
    file: "/usr/include/libssh/libssh.h",
  },
  clang: { packages: ["clang"], purpose: "compiles the fuzz targets" },
  libfuzzer: {
    packages: ["libclang-rt-14-dev"],
    purpose: "is what clang links them with",
    file: "/usr/lib/clang/14/lib/linux/libclang_rt.fuzzer-x86_64.a",
  },
  "clang-format": { packages: ["clang-format"], purpose: "checks the layout of C and C++" },
  "clang-tidy": { packages: ["clang-tidy"], purpose: "lints C and C++" },
};

/** Where administrators' commands are; an ordinary user's PATH often lacks these. */
const administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

function find(name: string): string | undefined {
  const fixed = table[name]?.file;
  if (fixed !== undefined) return existsSync(fixed) ? fixed : undefined;
  const folders = (process.env["PATH"] ?? "")
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder));
  for (const folder of [...folders, ...administrators]) {
    const file = path.join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      if (statSync(file).isFile()) return file;
    } catch {
      continue;
    }
  }
  return undefined;
}

/** The absolute path of a command of the table, or of the file that stands for a library there. */
export function tool(name: string): string {
  describe(name);
  const file = find(name);
  if (file === undefined) throw new Error(`${name} is missing: ${howToInstall([name])}`);
  return file;
}

function describe(name: string): Tool {
  const entry = table[name];
  if (entry === undefined) throw new Error(`${name} is not in the table of tests/support/tools.ts`);
  return entry;
}

function packagesOf(names: readonly string[]): string[] {
  return [...new Set(names.flatMap((name) => describe(name).packages))];
}

function howToInstall(names: readonly string[]): string {
  return `run \`sudo apt-get install -y --no-install-recommends ${packagesOf(names).join(" ")}\``;
}

/**
 * Makes sure that the named commands can be run, and libraries used. What is missing is installed
 * where we are root and there is apt-get; elsewhere this throws an Error that names the one command
 * to run.
 */
export function ensureTools(names: readonly string[]): void {
  names.forEach(describe);
  const missing = names.filter((name) => find(name) === undefined);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || find("apt-get") === undefined) {
    throw new Error(`${missing.join(", ")} missing: ${howToInstall(missing)}`);
  }
  for (const name of missing) {
    const { packages, purpose } = describe(name);
    console.error(`Installing ${packages.join(" and ")} for ${name}: ${purpose}.`);
  }
  install(packagesOf(missing));
  const still = missing.filter((name) => find(name) === undefined);
  if (still.length > 0)
    throw new Error(`apt-get succeeded, but ${still.join(", ")} is still missing`);
}

function install(packages: readonly string[]): void {
  const build = path.resolve(__dirname, "../../build");
  mkdirSync(build, { recursive: true });
  // Several test files may get here at the same time, and `apt-get update` waits for nobody.
  const lock = ["flock", path.join(build, "apt.lock")];
  const options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
  const permit = packages.includes("openssh-server") ? forbidSshdToStart() : () => {};
  try {
    // Where the update fails, lists that are there already may do.
    const update = apt([...lock, "apt-get", "update"]);
    const done = apt([...lock, "apt-get", "install", ...options, ...packages]);
    if (done.status === 0) return;
    process.stderr.write(update.output + done.output);
    throw new Error(`apt-get install ${packages.join(" ")} failed: ${howItEnded(done)}`);
  } finally {
    permit();
  }
}

interface Ending {
  status: number | null;
  signal: NodeJS.Signals | null;
  error?: Error | undefined;
  output: string;
}

function apt(command: readonly string[]): Ending {
  const { status, signal, error, stdout, stderr } = spawnSync(
    command[0] as string,
    command.slice(1),
    {
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      stdio: ["ignore", "pipe", "pipe"],
      encoding: "utf8",
      maxBuffer: 64 * 1024 * 1024,
    },
  );
  return { status, signal, error, output: `${stdout}${stderr}` };
}

function howItEnded({ status, signal, error }: Ending): string {
  return error?.message ?? (signal === null ? `exit status ${status}` : signal);
}

/**
 * Keeps the package's installation from opening a port 22 that nobody asked for. This file is what
 * openssh-server's init script, ssh.service and ssh.socket look at (seen in 1:9.2p1-2), so it
 * works with and without systemd, where RUNLEVEL=1 or a policy-rc.d work with one of them, or would
 * be in the way of other packages' services. Gives the function that takes it away again.
 */
function forbidSshdToStart(): () => void {
  const file = "/etc/ssh/sshd_not_to_be_run";
  if (existsSync(file)) return () => {};
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, "");
  return () => {
    rmSync(file, { force: true });
  };
}

if (require.main === module) {
  try {
    ensureTools(process.argv.slice(2));
  } catch (error) {
    console.error((error as Error).message);
    process.exitCode = 1;
  }
}
