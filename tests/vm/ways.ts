// Every script and option of docs/guests.md for the guest, with a real one: each makes an sshd listen
// there, and ssh logs in from outside.

import assert from "node:assert/strict";
import path from "node:path";
import { before, it } from "node:test";

import { Code } from "../../assembly/codes";
import { readPage } from "../e2e/doc-snippets";
import { messageOf } from "../support/messages";
import { proxyCommand, root } from "../support/proxy";
import { proxyCommandLine, runProgram, shellQuote } from "../support/sshd";
import { tool } from "../support/tools";
import { guestCid } from "./guest";
import type { Guest } from "./guest";

const proxy = proxyCommand("standalone");
const page = readPage(path.join(root, "docs/guests.md"));
const exported = "/run/host/unix-export";

/** What follows a name in one of the page's lines. */
function valueOf(line: string, name: string): string {
  const value = new RegExp(`${name}([^' ]+)`).exec(line)?.[1];
  assert.ok(value !== undefined, line);
  return value;
}

const [[append, smbios]] = page.take("systemd 256 and newer", 2);
const kernelWord = `systemd.ssh_listen=${valueOf(append, "systemd.ssh_listen=")}`;
const credential = valueOf(smbios, "-smbios ");

/** What the guest is to be started with, for its kernel and for QEMU. */
export const options = [kernelWord, ["-smbios", credential]] as const;

/** For a guest that runs, with the proxy in it. Afterwards it listens no more as it did. */
export function describeWays(guest: Guest): void {
  before(async () => {
    await guest.succeed(`mkdir -p ${exported}`);
  });

  /** Logs in by a ProxyCommand. */
  async function assertLogin(command: string, ...options: readonly string[]): Promise<void> {
    const words = ["-o", `ProxyCommand ${command}`, ...options, guest.address, "echo in"];
    const { exit, stdout, stderr } = await guest.ssh(words, { timeoutMs: 200_000 });
    assert.deepEqual([exit, stdout.toString()], [0, "in\n"], stderr + guest.log());
  }

  const waiting = proxyCommandLine([...proxy, "--wait", "2m"]);

  for (const listen of [kernelWord, credential]) {
    it(listen, async () => {
      await assertLogin(waiting, "-p", valueOf(listen, "listen=vsock::"));
    });
  }

  it("systemd.ssh_auto=no", async () => {
    const units = await guest.succeed(`mkdir -p /run/units && cd /run/units
export SYSTEMD_PROC_CMDLINE='systemd.ssh_auto=no ${kernelWord}'
/usr/lib/systemd/system-generators/systemd-ssh-generator . . .
echo *.socket`);
    assert.equal(units, "sshd-extra.socket\n");
  });

  for (const [title, where] of [
    ["Older systemd, in a virtual machine", "vsock"],
    ["Without systemd, in a virtual machine", "vsock"],
    ["An sshd that listens on TCP", "vsock"],
    ["Older systemd, in a container", "unix"],
    ["Without systemd, in a container", "unix"],
    ["inetd, in a container", "unix"],
  ] as const) {
    const script = page.takeProgram(title);
    it(title, async () => {
      // The connection of `guest` is there still.
      await guest.succeed(`set -e
systemctl stop 'sshd-*.socket' 'openbsd-inetd*'
pkill -x socat || true
rm -f ${exported}/ssh
systemctl start ssh`);
      if (where === "vsock") {
        const { exit, stderr } = await runProgram([...proxy, guest.address]);
        assert.equal(exit, 69, stderr);
        await guest.succeed(`set -e\n${script}`);
        await assertLogin(waiting);
      } else {
        await guest.succeed(`set -e\n${script}`);
        const ssh = [tool("ssh"), "-F", guest.clientConfig, "guest"].map(shellQuote).join(" ");
        const relay = `${ssh} ssh-vsock-proxy --wait 2m --stdio unix${exported}/ssh`;
        await assertLogin(relay, "-o", "ProxyUseFdpass=no");
      }
    });
  }

  it("QEMU runs with the page's options for vhost-device-vsock", () => {
    const [, , [multiplexer], [qemu]] = page.take("QEMU", 1, 1, 1, 1, 1);
    const write = (word: string): string =>
      word
        .replaceAll("/run/vm", guest.folder)
        .replace("=4711", `=${guestCid}`)
        .replace("size=2G", "size=1536M");
    for (const [index, line] of [multiplexer, qemu].entries()) {
      for (const word of line
        .split(" ")
        .slice(1)
        .filter((word) => word !== "...")) {
        assert.ok(guest.commands[index]?.includes(write(word)), write(word));
      }
    }
  });

  it("virsh adds a device to a domain of libvirt", async () => {
    const [[line]] = page.take("libvirt", 1, 1);
    assert.ok(messageOf(Code.NoVsockDevice).includes(line.replace("debian", "NAME")), line);
    const xml = await guest.succeed(`set -e
cat >/run/domain.xml <<'END'
<domain type='qemu'><name>debian</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices/></domain>
END
virsh -q define /run/domain.xml
${line} >/dev/null
virsh dumpxml --inactive --xpath //vsock/cid debian`);
    assert.equal(xml.trim(), `<cid auto="yes"/>`);
  });

  it("what is left of the page is for managers that are not run here", () => {
    assert.deepEqual(page.untaken(), [
      "Firecracker",
      "Cloud Hypervisor",
      "crosvm",
      "systemd-nspawn",
      "systemd-vmspawn",
    ]);
  });
}
