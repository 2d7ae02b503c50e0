// The guest's disk image, and the programs that run it: built once, and kept outside the repository.
//
// Rules
// - The folder's name has a hash of this file: a changed list of packages is another image. It is
//   complete, or is not there. It may be removed at any time.
// - QEMU is trixie's, from the guest itself: bookworm's (7.2) corrupts this guest when it emulates the
//   processor. vhost-device-vsock 0.3.0 is sid's only.
// - The image has no key and no password. Each start of a guest passes its own keys (guest.ts).

import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

import { programOf, run, sourceLine, unpackPackage } from "../support/debian";
import { root } from "../support/proxy";
import { shellQuote } from "../support/sshd";
import { ensureTools, tool } from "../support/tools";

const suite = "trixie";

const packages = [
  ...["linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev", "kmod"],
  ...["openssh-server", "openssh-client", "socat", "openbsd-inetd", "strace", "python3-minimal"],
  ...["systemd-container", "dbus", "libpam-systemd", "polkitd", "qemu-system-x86"],
  ...["libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-system", "libvirt-clients"],
];

/** The modules that mount the disk; the initramfs would have hundreds, and take seconds to unpack. */
const modules = ["virtio_pci", "virtio_blk", "ext4"];

/** Shell commands for the new system's root, `$1`, before packages are installed and after. */
const before = `mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/modules"
mkdir -p "$1/usr/share/initramfs-tools/modules.d"
printf '%s\\n' ${modules.join(" ")} >"$1/usr/share/initramfs-tools/modules.d/disk"`;
const after = `rm "$1"/etc/ssh/ssh_host_*
: >"$1/etc/machine-id"
mv "$1"/boot/vmlinuz-* "$1/boot/vmlinuz"
mv "$1"/boot/initrd.img-* "$1/boot/initrd"`;

/** What runs QEMU, with the kernel. */
const outside = [
  ...["/boot/vmlinuz", "/boot/initrd", "/usr/bin/qemu-system-x86_64"],
  ...["/usr/lib/x86_64-linux-gnu", "/usr/share/qemu", "/usr/share/seabios"],
];

const unneeded = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

export interface Image {
  disk: string;
  kernel: string;
  initrd: string;
  /** The words that start QEMU, with the folders of its firmware. */
  qemu: string[];
  vhostDeviceVsock: string[];
}

export function ensureImage(): Image {
  const hash = createHash("sha256").update(readFileSync(__filename)).digest("hex");
  const cache = process.env["XDG_CACHE_HOME"] ?? path.join(os.homedir(), ".cache");
  const folder = path.join(cache, "ssh-vsock-proxy", `vm-${hash.slice(0, 12)}`);
  if (!existsSync(folder)) buildOnce(folder);
  const inside = (name: string): string => path.join(folder, name);
  const tree = inside("tree");
  const firmware = ["qemu", "seabios"].flatMap((name) => [
    "-L",
    path.join(tree, "usr/share", name),
  ]);
  return {
    disk: inside("disk"),
    kernel: path.join(tree, "boot/vmlinuz"),
    initrd: path.join(tree, "boot/initrd"),
    qemu: [...programOf(tree, "usr/bin/qemu-system-x86_64"), ...firmware],
    vhostDeviceVsock: programOf(inside("vhost-device-vsock/tree"), "usr/bin/vhost-device-vsock"),
  };
}

/** Builds it in a process that waits for any other that builds. */
function buildOnce(folder: string): void {
  const user = process.getuid?.() === 0 ? [] : ["newuidmap"];
  ensureTools(["flock", "mmdebstrap", "genext2fs", "resize2fs", ...user]);
  mkdirSync(path.dirname(folder), { recursive: true });
  const words = [process.execPath, "--import", "./tests/tsx.mjs", __filename, folder];
  const { status } = spawnSync(tool("flock"), [`${path.dirname(folder)}/lock`, ...words], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error(`${folder} was not built`);
}

function build(folder: string): void {
  console.error(`Building a virtual machine's image in ${folder}, once: it takes about a minute.
It downloads 200 MB, and is a Debian ${suite} with: ${packages.join(" ")}
Beside it, unpacked: QEMU of the same packages, and vhost-device-vsock of Debian sid.`);
  const made = mkdtempSync(`${folder}.`);
  try {
    const inside = (name: string): string => path.join(made, name);
    for (const name of ["boot", "usr/bin", "usr/lib", "usr/share"]) {
      mkdirSync(inside(`tree/${name}`), { recursive: true });
    }
    const hooks = outside.map((file) => {
      return `copy-out ${file} ${shellQuote(inside(`tree${path.dirname(file)}`))}`;
    });
    const options = [
      ...["--variant=minbase", "--format=ext2", `--include=${packages.join(",")}`],
      ...unneeded.map((files) => `--dpkgopt=path-exclude=${files}`),
      `--essential-hook=${before}`,
      ...[after, ...hooks].map((hook) => `--customize-hook=${hook}`),
    ];
    const words = [...options, suite, inside("disk"), sourceLine(suite, "deb").trimEnd()];
    const { status, stderr } = spawnSync(tool("mmdebstrap"), words, {
      encoding: "utf8",
      stdio: ["ignore", "ignore", "pipe"],
      // Readable for the user of unshare(1)'s namespace, with any umask.
      env: { ...process.env, TMPDIR: "/tmp" },
    });
    if (status !== 0) throw new Error(`mmdebstrap: exit status ${status}\n${stderr}`);
    // For what is written while the guest runs; a file of holes.
    run(tool("resize2fs"), inside("disk"), "1G");
    unpackPackage(inside("vhost-device-vsock"), "sid", "vhost-device-vsock");
    for (const name of ["lists", "cache"]) {
      rmSync(inside(`vhost-device-vsock/${name}`), { recursive: true });
    }
    renameSync(made, folder);
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

if (require.main === module) {
  const [, , folder = ""] = process.argv;
  if (!existsSync(folder)) build(folder);
}
