// The external commands and libraries of the tests, the demo and the checks, and how to install them on
// Debian and Ubuntu.
//
//     node --import ./tests/tsx.mjs tests/support/tools.ts NAME...
//
//     installs what is missing, or prints how to

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

/** Their packages. With --no-install-recommends, gcc comes without the C library's headers. */
const packages: Readonly<Record<string, readonly string[]>> = {
  "aarch64-linux-gnu-gcc": ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
  ansible: ["ansible-core"],
  asyncssh: ["python3-asyncssh"],
  bash: ["bash"],
  borg: ["borgbackup"],
  cargo: ["cargo"],
  cc: ["gcc", "libc6-dev"],
  chrt: ["util-linux"],
  clang: ["clang"],
  "clang-format": ["clang-format"],
  "clang-tidy": ["clang-tidy"],
  clush: ["clustershell"],
  dash: ["dash"],
  dbclient: ["dropbear-bin"],
  dropbearconvert: ["dropbear-bin"],
  fabric: ["python3-fabric"],
  fish: ["fish"],
  flock: ["util-linux"],
  fusermount3: ["fuse3"],
  genext2fs: ["genext2fs"],
  git: ["git"],
  go: ["golang-go"],
  insmod: ["kmod"],
  ksh: ["ksh"],
  libfuzzer: ["libclang-rt-dev"],
  libssh: ["libssh-dev"],
  libvirtd: ["libvirt-daemon", "libvirt-daemon-driver-qemu"],
  "linux.uml": ["user-mode-linux"],
  make: ["make"],
  mmdebstrap: ["mmdebstrap", "debian-archive-keyring"],
  ncat: ["ncat"],
  "net-ssh": ["ruby-net-ssh", "ruby-ed25519", "ruby-bcrypt-pbkdf"],
  newuidmap: ["uidmap"],
  paramiko: ["python3-paramiko"],
  "parallel-ssh": ["pssh"],
  plink: ["putty-tools"],
  prlimit: ["util-linux"],
  pscp: ["putty-tools"],
  puttygen: ["putty-tools"],
  python3: ["python3"],
  "qemu-aarch64": ["qemu-user"],
  "qemu-system-x86_64": ["qemu-system-x86"],
  resize2fs: ["e2fsprogs"],
  rsync: ["rsync"],
  ruby: ["ruby"],
  scp: ["openssh-client"],
  sftp: ["openssh-client"],
  setpriv: ["util-linux"],
  socat: ["socat"],
  ssh: ["openssh-client"],
  "ssh-add": ["openssh-client"],
  "ssh-agent": ["openssh-client"],
  "ssh-keygen": ["openssh-client"],
  sshd: ["openssh-server"],
  sshfs: ["sshfs"],
  strace: ["strace"],
  "systemd-socket-activate": ["systemd"],
  taskset: ["util-linux"],
  tcsh: ["tcsh"],
  unshare: ["util-linux"],
  virsh: ["libvirt-clients"],
  zsh: ["zsh"],
};

/** The files of those that are not looked up in PATH. */
const files: Readonly<Record<string, () => string>> = {
  asyncssh: () => "/usr/lib/python3/dist-packages/asyncssh/__init__.py",
  fabric: () => "/usr/lib/python3/dist-packages/fabric/__init__.py",
  libfuzzer: () => path.join(clangResources(), "lib/linux/libclang_rt.fuzzer-x86_64.a"),
  libssh: () => "/usr/include/libssh/libssh.h",
  "net-ssh": () => "/var/lib/dpkg/info/ruby-net-ssh.list",
  paramiko: () => "/usr/lib/python3/dist-packages/paramiko/__init__.py",
  // Debian's Python, which has Debian's paramiko, even if another one comes first in PATH.
  python3: () => "/usr/bin/python3",
};

/** Where administrators' commands are; an ordinary user's PATH often lacks these. */
const administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

function clangResources(): string {
  const { status, stdout } = spawnSync("clang", ["-print-resource-dir"], { encoding: "utf8" });
  return status === 0 ? stdout.trim() : "";
}

function find(name: string): string | undefined {
  const file = files[name]?.();
  if (file !== undefined) return existsSync(file) ? file : undefined;
  const folders = (process.env["PATH"] ?? "")
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder));
  return [...folders, ...administrators].map((folder) => path.join(folder, name)).find(isCommand);
}

function isCommand(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

function packagesOf(names: readonly string[]): string[] {
  const found = names.map((name) => {
    const entry = packages[name];
    if (entry === undefined) throw new Error(`${name} is not in tests/support/tools.ts`);
    return entry;
  });
  return [...new Set(found.flat())];
}

function missingError(names: readonly string[]): Error {
  return new Error(
    `missing: ${names.join(", ")}. To install:\n` +
      `    sudo apt-get install -y --no-install-recommends ${packagesOf(names).join(" ")}`,
  );
}

/** The absolute path of a command, or of a library's file. */
export function tool(name: string): string {
  const file = find(name);
  if (file === undefined) throw missingError([name]);
  return file;
}

/**
 * Makes sure that the named commands and libraries are there. As root, where there is apt-get, it
 * installs the missing ones and says so; otherwise it throws an Error with the command that does.
 */
export function ensureTools(names: readonly string[]): void {
  // A name that the table lacks is a mistake even where the command exists.
  packagesOf(names);
  const missing = names.filter((name) => find(name) === undefined);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || find("apt-get") === undefined) throw missingError(missing);
  install(packagesOf(missing));
  const still = missing.filter((name) => find(name) === undefined);
  if (still.length > 0) throw missingError(still);
}

function install(wanted: readonly string[]): void {
  console.error(`Installing with apt-get: ${wanted.join(" ")}`);
  // openssh-server starts sshd on port 22 unless this file is there: its init script, ssh.service and
  // ssh.socket look at it (1:9.2p1-2), so it works with and without systemd.
  const noSshd = "/etc/ssh/sshd_not_to_be_run";
  const forbid = wanted.includes("openssh-server") && !existsSync(noSshd);
  if (forbid) {
    mkdirSync(path.dirname(noSshd), { recursive: true });
    writeFileSync(noSshd, "");
  }
  try {
    // If the update fails, the lists that are there may do.
    const update = aptGet("update");
    const options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
    const installed = aptGet("install", ...options, ...wanted);
    if (!installed.succeeded) throw new Error(update.output + installed.output);
  } finally {
    if (forbid) rmSync(noSshd, { force: true });
  }
}

function aptGet(...args: readonly string[]): { succeeded: boolean; output: string } {
  const { status, error, stdout, stderr } = spawnSync("apt-get", args, {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (error !== undefined) throw error;
  const command = `apt-get ${args.join(" ")}: exit status ${status}\n`;
  return { succeeded: status === 0, output: `${command}${stdout}${stderr}` };
}

if (require.main === module) {
  try {
    ensureTools(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
