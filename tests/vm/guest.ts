// A virtual machine with a Debian of its own, and ssh's configuration for it: QEMU without KVM, behind
// vhost-device-vsock, whose multiplexer is the only way in. Nothing touches this machine's AF_VSOCK.
//
// Rules
// 1. Nothing in the image makes sshd listen but systemd-ssh-generator, which finds the vsock device.
// 2. The keys are the guest's of this run, passed as systemd credentials by the firmware's tables
//    (SMBIOS type 11): ssh.authorized_keys.root, and tmpfiles.extra for the host key. So host keys are
//    checked strictly.
// 3. What the guest writes is lost when it is powered off. A reboot ends QEMU, as it ends Firecracker:
//    vhost-device-vsock 0.3.0 serves no second start of the same machine.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { makeFolder } from "../support/scratch";
import { proxyCommand } from "../support/proxy";
import { allHosts, proxyCommandLine, runProgram } from "../support/sshd";
import type { Finished, RunOptions } from "../support/sshd";
import { tool } from "../support/tools";
import { ensureImage } from "./image";
import type { Image } from "./image";

/** What the guest's kernel has as its own CID. */
export const guestCid = 4242;

const megabytes = 1536;

export class Guest {
  readonly folder = makeFolder("vm");
  /** The multiplexer's socket. */
  readonly socket = this.inside("vm.sock");
  readonly address = `vsock-mux${this.socket}`;
  /** ssh's configuration; `guest` in it is the address, by one connection for all commands. */
  readonly clientConfig = this.inside("ssh_config");
  /** The command lines of the multiplexer and QEMU. */
  readonly commands: (readonly string[])[] = [];
  #image: Image | undefined;
  #machine: ChildProcess | undefined;
  #multiplexer: ChildProcess | undefined;
  #said = "";

  inside(name: string): string {
    return path.join(this.folder, name);
  }

  /** Makes the image, if there is none yet, keys and configurations. */
  async prepare(): Promise<void> {
    this.#image = ensureImage();
    for (const key of ["user_key", "host_key"]) {
      const words = ["-q", "-t", "ed25519", "-N", "", "-C", "guest", "-f", this.inside(key)];
      const { exit, stderr } = await runProgram([tool("ssh-keygen"), ...words]);
      if (exit !== 0) throw new Error(`ssh-keygen: ${stderr}`);
    }
    const read = (name: string): string => readFileSync(this.inside(name), "utf8");
    writeFileSync(this.inside("known_hosts"), `guest ${read("host_key.pub")}`);
    const proxy = proxyCommand("standalone");
    writeFileSync(
      this.clientConfig,
      `Host guest
    ProxyCommand ${proxyCommandLine([...proxy, "--wait", "10m", this.address], ["%p"])}
    ControlMaster auto
    ControlPath ${this.folder}/master
    ControlPersist yes

${allHosts(this.folder, proxy, "root", "guest")}`,
      { mode: 0o600 },
    );
    const credentials = {
      "ssh.authorized_keys.root": read("user_key.pub"),
      "tmpfiles.extra": `f~ /etc/ssh/ssh_host_ed25519_key 600 root root - ${encode(read("host_key"))}\n`,
    };
    for (const [name, value] of Object.entries(credentials)) {
      writeFileSync(this.inside(name), `io.systemd.credential.binary:${name}=${encode(value)}`);
    }
  }

  /** Starts the machine, with more words for its kernel and for QEMU. It boots for 15 s or more. */
  async powerOn(kernelWords = "", qemuWords: readonly string[] = []): Promise<void> {
    if (this.#image === undefined) throw new Error("prepare() comes first");
    const { qemu, vhostDeviceVsock, disk, kernel, initrd } = this.#image;
    const device = this.inside("vhost.sock");
    // Killed, vhost-device-vsock leaves its sockets behind.
    for (const socket of [device, this.socket]) rmSync(socket, { force: true });
    // With the default, 64 KiB, it loses packets of the guest of more than 32 KiB.
    const options = `guest-cid=${guestCid},socket=${device},uds-path=${this.socket},tx-buffer-size=16384`;
    this.#multiplexer = this.#spawn([...vhostDeviceVsock, "--vm", options]);
    while (!existsSync(device)) {
      if (this.#multiplexer.exitCode !== null) throw new Error(`no multiplexer: ${this.#said}`);
      await sleep(10);
    }
    const credentials = ["ssh.authorized_keys.root", "tmpfiles.extra"];
    this.#machine = this.#spawn([
      ...qemu,
      ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
      ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", String(megabytes)],
      ...["-object", `memory-backend-memfd,id=memory,size=${megabytes}M,share=on`],
      ...["-machine", "q35,memory-backend=memory"],
      ...["-kernel", kernel, "-initrd", initrd],
      ...["-append", `root=/dev/vda rw console=ttyS0 quiet mitigations=off ${kernelWords}`],
      ...["-drive", `file=${disk.replaceAll(",", ",,")},format=raw,if=virtio,snapshot=on`],
      ...["-chardev", `socket,id=vsock,path=${device}`],
      ...["-device", "vhost-user-vsock-pci,chardev=vsock"],
      ...["-serial", `file:${this.inside("console")}`],
      ...credentials.flatMap((name) => ["-smbios", `type=11,path=${this.inside(name)}`]),
      ...qemuWords,
    ]);
  }

  #spawn(words: readonly string[]): ChildProcess {
    this.commands.push(words);
    // It ends with this process, however that ends.
    const last = ["--pdeathsig", "KILL", ...words];
    const child = spawn(tool("setpriv"), last, { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.on("data", (bytes: Buffer) => (this.#said += bytes.toString()));
    return child;
  }

  /** Waits until the guest has powered itself off. */
  async off(): Promise<void> {
    await ended(this.#machine);
    this.#multiplexer?.kill("SIGKILL");
    await ended(this.#multiplexer);
  }

  /** ssh and scp; `args` follow `-F CONFIG`. */
  ssh(args: readonly string[], options?: RunOptions): Promise<Finished> {
    return runProgram([tool("ssh"), "-F", this.clientConfig, ...args], options);
  }

  scp(args: readonly string[], options?: RunOptions): Promise<Finished> {
    return runProgram([tool("scp"), "-q", "-F", this.clientConfig, ...args], options);
  }

  /** Runs a script with sh as the guest's root. */
  run(script: string, options: RunOptions = {}): Promise<Finished> {
    const input = Buffer.from(script);
    return this.ssh(["guest", "sh"], { timeoutMs: 400_000, ...options, input });
  }

  /** The same for one that must succeed; gives its output. */
  async succeed(script: string, options?: RunOptions): Promise<string> {
    const { exit, stdout, stderr } = await this.run(script, options);
    if (exit !== 0)
      throw new Error(`exit status ${exit}: ${script}\n${stderr}${stdout.toString()}`);
    return stdout.toString();
  }

  /** The console, and what QEMU and the multiplexer said, for failures. */
  log(): string {
    const console = this.inside("console");
    return `${existsSync(console) ? readFileSync(console, "utf8") : ""}\n${this.#said}`;
  }

  async close(): Promise<void> {
    if (existsSync(this.inside("master"))) await this.ssh(["-O", "exit", "guest"]);
    this.#machine?.kill("SIGKILL");
    await this.off();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function encode(text: string): string {
  return Buffer.from(text).toString("base64");
}

async function ended(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  await once(child, "exit");
}

/** Runs a machine until this process is interrupted, to try things in. */
async function main(): Promise<void> {
  const guest = new Guest();
  process.once("SIGINT", () => process.exit(1));
  process.once("SIGTERM", () => process.exit(1));
  await guest.prepare();
  await guest.powerOn();
  console.log(`ssh -F ${guest.clientConfig} guest`);
  await guest.off();
}

if (require.main === module) void main();
