// Every command, configuration and program of docs/clients.md, with the real clients and a real sshd.
//
// Each client reaches machine 3 in the first of these ways, and in the long form in both:
// - by the address of the page. A script in PATH, `ssh-vsock-proxy`, starts the proxy under test with
//   a multiplexer's socket for `vsock/3`: AF_VSOCK itself is for guests (support/guest.ts).
// - by a unix socket, whose long address with capitals replaces that of the page.
// In both, `user` is the user that runs the tests, and `/srv` a folder of the test.
//
// sshfs runs in a guest, with its kernel's AF_VSOCK and FUSE: not every machine has /dev/fuse, and a
// mount that a test leaves behind would be the machine's.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout } from "node:timers/promises";
import { after, before, describe, it } from "node:test";

import { ClientSite, assertCarried, assertSame, payload, username } from "./client-site";
import type { LineOptions, Place } from "./client-site";
import { compile } from "../support/compile";
import { readPage } from "./doc-snippets";
import { loadVsock, runInGuest } from "../support/guest";
import { all, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { runProgram, shellQuote } from "../support/sshd";
import { ensureTools, tool } from "../support/tools";

const page = readPage(path.join(root, "docs/clients.md"));

describe("the clients of docs/clients.md", { timeout: 600_000 }, () => {
  const [, , alias] = page.take("Configuration", 1, 1, 3, 2);
  /** Disables the page's configuration: ssh uses the first value that it finds. */
  const unconfigured = ["Host *", "    ProxyCommand none", "    ProxyUseFdpass no"];
  const site = new ClientSite(alias);
  const machines = all ? [site.asWritten, site.asUnix] : [site.asWritten];

  before(() => site.start());
  after(() => site.close());

  for (const machine of machines) {
    describe(machine.name, () => {
      const [[shell, there, back], [withShell]] = page.take("ssh", 3, 1);
      it("ssh", async () => {
        const place = site.makePlace(machine);
        await site.exitStatus(shell, place);
        await site.carry(there, back, place);
        const env = { SHELL: "/usr/sbin/nologin" };
        assert.equal((await site.run(shell, place, { env })).exit, 255);
        await site.exitStatus(withShell, place, { env });
      });

      for (const title of ["scp", "sftp", "rsync"]) {
        const [lines] = page.take(title, 2);
        it(title, async () => {
          await site.carry(...lines, site.makePlace(machine));
        });
      }

      const [clones, [byCommand]] = page.take("git", 3, 1);
      it("git", async () => {
        await git(site.makePlace(machine));
      });

      async function git(place: Place): Promise<void> {
        await site.succeed(
          `git init -q -b main first && mv disk.img first && cd first && git add . &&
           git commit -qm first && git clone -q --bare . /srv/project.git`,
          place,
        );
        const [byAddress, byUrl, push] = clones;
        const clone = async (line: string, folder: string, options?: LineOptions) => {
          await site.succeed(line, place, options);
          assertCarried(path.join(place.here, folder, "disk.img"));
        };
        await clone(byAddress, "project");
        await clone(byUrl, "by-url");
        await clone(byCommand, "by-command", { config: unconfigured });
        await site.succeed("git -C project commit -q --allow-empty -m second", place);
        await site.succeed(push, place);
        const heads = await site.succeed(
          "git -C project rev-parse HEAD && git -C /srv/project.git rev-parse main",
          place,
        );
        const [pushed, arrived] = heads.toString().trim().split("\n");
        assert.equal(arrived, pushed);
        const count = await site.succeed("git -C /srv/project.git rev-list --count main", place);
        assert.equal(count.toString(), "2\n");
      }

      const [jumps, always, nested] = page.take("ProxyJump", 4, 2, 3);
      it("ProxyJump", async () => {
        const place = site.makePlace(machine);
        const [shell, uname, copy, hops] = jumps;
        const through = async (count: number, what: () => Promise<unknown>) => {
          const [connections, runs] = [site.inner.connections(), site.proxyRuns().length];
          await what();
          assert.equal(site.inner.connections(), connections + count);
          assert.equal(site.proxyRuns().length, runs + 1);
        };
        await through(1, () => site.exitStatus(shell, place));
        await through(1, async () => {
          assert.equal((await site.succeed(uname, place)).toString(), "Linux\n");
        });
        await through(1, () => site.succeed(copy, place));
        site.assertSent(place);
        await through(2, () => site.exitStatus(hops, place));
        await through(1, () => site.exitStatus("ssh inner.example", place, { config: always }));
      });

      it("ProxyJump from a machine, by relay", async () => {
        const place = site.makePlace(machine);
        const runs = site.proxyRuns().length;
        await site.exitStatus("ssh nested", place, { config: nested });
        const [outer, further, ...others] = site.proxyRuns().slice(runs);
        assert.match(outer ?? "", /^-- (vsock|unix)%.* 22( |$)/);
        assert.equal(further, "--stdio unix/run/nested.sock");
        assert.deepEqual(others, []);
        const options = { config: nested, input: payload };
        assertSame(await site.succeed("ssh nested cat", place, options));
      });

      const [[forward]] = page.take("ssh -W", 1);
      it("ssh -W", async () => {
        const place = site.makePlace(machine);
        assertSame(await site.succeed(forward, place, { input: payload }));
      });

      const [[putty, ...puttyLines]] = page.take("PuTTY", 3);
      it("PuTTY", async () => {
        const place = site.makePlace(machine);
        await site.succeed(putty, place);
        await site.refuseStranger(puttyLines[0], place, /host key/i);
        await site.carry(...puttyLines, place);
        const line = puttyLines[0].replace(/ 'cat .*/, " 'echo out; exit 7'");
        await site.exitStatus(line, place);
      });

      const [[dropbear, ...dropbearLines]] = page.take("dbclient", 3);
      it("dbclient", async () => {
        const place = site.makePlace(machine);
        await site.succeed(dropbear, place);
        await site.refuseStranger(dropbearLines[0], place, /host key mismatch/i);
        await site.carry(...dropbearLines, place);
        const line = dropbearLines[0].replace(/ 'cat .*/, " 'echo out; exit 7'");
        await site.exitStatus(line, place);
      });

      for (const [title, file, interpreter, says] of [
        ["paramiko", "client.py", () => tool("python3"), /BadHostKeyException/],
        ["ssh2 (npm)", "client.js", () => process.execPath, /Host denied \(verification failed\)/],
      ] as const) {
        const program = page.takeProgram(title);
        it(title, async () => {
          const place = site.makePlace(machine);
          const line = `${shellQuote(interpreter())} ${file}`;
          writeFileSync(path.join(place.here, file), site.write(program, place));
          await site.refuseStranger(line, place, says);
          const ran = await site.run(line, place);
          assert.equal(ran.exit, 7, ran.stderr);
          assert.equal(ran.stdout.toString(), "Linux\n");
          site.assertSent(place);
          assertCarried(path.join(place.here, "copy.img"));
        });
      }
    });
  }

  for (const [line, says] of [
    ["scp vsock/3:/srv/disk.img .", /cannot stat 'vsock\/3:/],
    ["scp -v -o 'ProxyCommand=false %h' qemu:system/vm:/srv/disk.img .", /exec false qemu\r?$/m],
    ["scp scp://vsock%253//srv/disk.img .", /invalid uri/],
    ["sftp vsock/3:/srv/disk.img", /^ssh-vsock-proxy: vsock\/3:\/.* port 22: not a CID/m],
    ["rsync -a vsock/3:/srv/disk.img .", /change_dir ".*\/vsock\/3:/],
    ["git clone vsock/3:/srv/project.git", /'vsock\/3:.*' does not appear to be a git repository/],
    [
      `GIT_SSH_COMMAND="ssh -v -o 'ProxyCommand=false %h'" git clone ssh://qemu%3Asystem%25vm/srv`,
      /exec false qemu:system%vm\r?$/m,
    ],
    ["ssh -J vsock/3 inner.example true", /Invalid -J argument/],
    ["ssh -J vsock%3 inner.example true", /unknown key %3/],
    ["ssh -J vsock%%3,inner.example second.example true", /unknown key %3/],
    ["pscp -batch vsock/3:/srv/disk.img .", /Local to local copy not supported/],
  ] as const) {
    it(`reject ${line}, as the page says`, async () => {
      const ran = await site.run(line, site.makePlace(site.asWritten));
      assert.notEqual(ran.exit, 0);
      assert.match(ran.stderr, says);
    });
  }

  it("ssh refuses another host key", async () => {
    const place = site.makePlace(site.asWritten);
    await site.refuseStranger(
      "ssh vm3 'cat >/srv/disk.img' <disk.img",
      place,
      /IDENTIFICATION HAS/,
    );
  });

  const [spaced, matched] = page.take("Capitals, spaces and aliases", 3, 4);
  it("capitals, spaces and aliases", async () => {
    const place = site.makePlace(site.asWritten);
    for (const [name, config, run] of [
      ["vm3", spaced, "unix/run/My VM.sock 22"],
      ["vm4", ["Host vm4", "    HostName vsock%%3", ...matched], "-- vsock%3 22"],
      ["VSOCK/3", matched, "-- vsock/3 22"],
    ] as const) {
      await site.exitStatus(`ssh ${name}`, place, { config });
      assert.equal(site.proxyRuns().at(-1), run);
    }
  });

  it("known_hosts cannot have every path, and has small letters", async () => {
    const place = site.makePlace(site.asWritten);
    const known = path.join(place.here, "known");
    const connect = (check: string, name: string) =>
      site.run(
        `ssh -o StrictHostKeyChecking=${check} -o UserKnownHostsFile=${known} \
             -o HashKnownHosts=no -o 'HostName="${name}"' vm3 true`,
        place,
      );
    for (const c of all ? "=.@?*#|, " : "=?, ") {
      rmSync(known, { force: true });
      const name = `unix%%/run/VM${c}1`;
      const first = (await connect("accept-new", name)).exit;
      const second = (await connect("yes", name)).exit;
      assert.deepEqual(
        [first, second],
        "=.".includes(c) ? [0, 0] : [", ".includes(c) ? 0 : 255, 255],
        c,
      );
      if (c === "=") assert.match(readFileSync(known, "utf8"), /^unix%\/run\/vm=1 /);
    }
    const edited = await site.run(`ssh-keygen -R other -f ${known}`, place);
    assert.match(edited.stderr, /is not a valid known_hosts file/);
    assert.match((await site.run("ssh 'unix/run/a b'", place)).stderr, /invalid characters/);
  });

  const added = page.takeProgram("What ssh adds").trim().split("\n");
  it("ssh adds two lines to a failure", async () => {
    const place = site.makePlace(site.asWritten);
    for (const [config, first] of [
      [[], /^ssh-vsock-proxy: unix\/nowhere: no such socket/],
      [["Host *", "    ProxyCommand false"], undefined],
    ] as const) {
      const ran = await site.run("ssh unix/nowhere", place, { config });
      assert.equal(ran.exit, 255);
      const lines = ran.stderr.trim().split(/\r?\n/);
      if (first !== undefined) assert.match(lines.shift() ?? "", first);
      assert.deepEqual(lines, added);
    }
  });

  const [master, [check, exit]] = page.take("ControlMaster", 4, 2);
  it("ControlMaster", async () => {
    const place = site.makePlace(site.asWritten);
    const folder = makeFolder("control");
    // ssh takes ~ from the user database, not from HOME.
    const config = master.map((line) => line.replace("~/.ssh", folder));
    const runs = site.proxyRuns().length;
    assert.equal((await site.run(check, place, { config })).exit, 255);
    await site.succeed("ssh vsock/3 true", place, { config });
    assert.equal(site.proxyRuns().length, runs + 1);
    assert.match(readdirSync(folder).join(), /^[0-9a-f]{40}$/);
    assert.match((await site.run(check, place, { config })).stderr, /^Master running/);
    await site.exitStatus("ssh vsock/3", place, { config });
    assertSame(await site.succeed("ssh vsock/3 cat", place, { config, input: payload }));
    assert.equal(site.proxyRuns().length, runs + 1, "a second session runs the proxy");
    await site.succeed(exit, place, { config });
    assert.equal((await site.run(check, place, { config })).exit, 255);

    // Without ControlMaster each session runs the proxy.
    await site.succeed("ssh -o ControlMaster=no vsock/3 true", place, { config });
    assert.equal(site.proxyRuns().length, runs + 2);

    const log = path.join(site.folder, "control.log");
    const env = { SSH_VSOCK_PROXY_OPTIONS: `--log-file ${log}` };
    const failed = await site.run("ssh unix/nowhere true", place, {
      config: config.map((line) => line.replace("vsock/*", "*")),
      env,
    });
    assert.equal(failed.exit, 255);
    const error = /^.*ssh-vsock-proxy: unix\/nowhere: no such socket/m;
    assert.doesNotMatch(failed.stderr, error);
    assert.match(readFileSync(log, "utf8"), error);

    for (const token of ["%h", "%n"]) {
      const other = config.map((line) => line.replace("%C", token));
      const ran = await site.run("ssh vsock/3 true", place, { config: other });
      assert.equal(ran.exit, 255);
      assert.match(ran.stderr, /unix_listener: cannot bind to path .*: No such file or directory/);
    }
  });

  const [[agentLine]] = page.take("Agent forwarding", 1);
  it("agent forwarding", async () => {
    const socket = path.join(site.folder, "agent");
    const agent = spawn(tool("ssh-agent"), ["-D", "-a", socket], { stdio: "ignore" });
    const ended = once(agent, "exit");
    try {
      const place = site.makePlace(site.asWritten);
      const env = { SSH_AUTH_SOCK: socket };
      const key = path.join(site.folder, "home/.ssh/id_ed25519");
      await site.succeed(`until [ -S "$SSH_AUTH_SOCK" ]; do sleep 0.05; done`, place, { env });
      await site.succeed(`ssh-add -q ${key}`, place, { env });
      const { stdout } = await runProgram(["ssh-keygen", "-lf", `${key}.pub`]);
      assert.equal(String(await site.succeed(agentLine, place, { env })), String(stdout));
      const without = await site.run(agentLine.replace(" -A", ""), place, { env });
      assert.equal(without.exit, 2);
      assert.match(without.stderr, /Could not open a connection to your authentication agent/);
    } finally {
      agent.kill();
      await ended;
    }
  });

  const [hosts, common, ansible] = page.take("Ansible", 2, 2, 3);
  for (const machine of machines) {
    const inventory = machine === site.asUnix ? [...hosts, ...common] : hosts;
    it(`Ansible, ${machine.name}`, async () => {
      const place = site.makePlace(machine);
      const config = inventory === hosts ? [] : unconfigured;
      writeFileSync(
        path.join(place.here, "inventory.ini"),
        site.write(inventory.join("\n"), place),
      );
      const { masters } = site;
      const [ping, copy, fetch] = ansible;
      const runs = site.proxyRuns().length;
      try {
        assert.match((await site.succeed(ping, place, { config })).toString(), /"ping": "pong"/);
        await site.succeed(copy, place, { config });
        site.assertSent(place);
        await site.succeed(fetch, place, { config });
        assertCarried(path.join(place.here, "copy.img"));
        if (all) {
          const failing = "ansible -i inventory.ini machines -m raw -a 'echo out; exit 7'";
          const ran = await site.run(failing, place, { config });
          assert.equal(ran.exit, 2);
          assert.match(ran.stdout.toString(), /^vm3 \| FAILED \| rc=7 >>\nout\r?\n/);
        }
        assert.equal(site.proxyRuns().length, runs + 1);
      } finally {
        for (const name of readdirSync(masters)) {
          await site.succeed(`ssh -S ${masters}/${name} -O exit vm3`, place);
        }
      }
    });
  }

  const libssh = page.takeProgram("libssh");
  it("libssh", async () => {
    const source = readFileSync(path.join(root, "tests/support/libssh-client.c"), "utf8");
    const lines = source.split("\n").map((line) => line.trim());
    for (const line of libssh.split("\n").filter((line) => line !== "")) {
      assert.ok(lines.includes(line), line);
    }
    const program = shellQuote(await compile("libssh-client"));
    const place = site.makePlace(site.asWritten);
    const there = `${program} ${username} 'cat >/srv/disk.img' <disk.img`;
    await site.refuseStranger(there, place, /host key not known/);
    await site.carry(there, `${program} ${username} 'cat /srv/disk.img' >copy.img`, place);
    await site.exitStatus(`${program} ${username} sh`, place);
  });

  const [[clush, pssh, borg]] = page.take("Other programs that start ssh", 3);
  if (all) {
    it("other programs that start ssh", async () => {
      ensureTools(["clush", "parallel-ssh", "borg"]);
      const place = site.makePlace(site.asWritten);
      assert.equal((await site.succeed(clush, place)).toString(), "vsock/3: Linux\n");
      assert.match((await site.succeed(pssh, place)).toString(), /\[SUCCESS\] vsock\/3\nLinux\n/);
      await site.succeed(borg, place);
      assert.ok(readdirSync(path.join(place.srv, "backup")).includes("config"));
    });
  }

  const [ports] = page.take("Local ports", 2);
  it("local ports", async () => {
    const place = site.makePlace(site.asWritten);
    if (all) ensureTools(["systemd-socket-activate"]);
    for (const line of all ? ports : ports.slice(0, 1)) {
      const port = await freePort();
      const own = line.replace(/(?<=LISTEN:|127.0.0.1:)8443/, String(port));
      const runs = site.proxyRuns().length;
      const server = spawn("sh", ["-c", site.script(own, place)], {
        detached: true,
        stdio: "ignore",
      });
      const ended = once(server, "exit");
      try {
        for (let i = 0; i < 2; i++) assert.match(await firstLine(port), /^SSH-2\.0-OpenSSH/);
        assert.deepEqual(site.proxyRuns().slice(runs), Array(2).fill("--stdio vsock/3 8443"));
      } finally {
        if (server.pid !== undefined) process.kill(-server.pid);
        await ended;
      }
    }
  });

  const [[relay]] = page.take("Clients without descriptor passing", 1);
  it("other clients, by relay", async () => {
    const place = site.makePlace(site.asWritten);
    // OpenSSH's own, without descriptor passing.
    const proxy = `-o ProxyUseFdpass=no -o 'ProxyCommand=${relay}'`;
    assertSame(await site.succeed(`ssh ${proxy} vm3 cat`, place, { input: payload }));
    await site.exitStatus(`ssh ${proxy} vm3`, place);
  });

  const [[mount, unmount]] = page.take("sshfs", 2);
  it("sshfs, in a guest", { timeout: 180_000 }, async () => {
    const write = (text: string) => text.replaceAll(/vsock([/%])3/g, "vsock$11");
    const place = site.makePlace({ name: "loopback's", write });
    const mounts = [mount, mount.replace("vsock/3", "vsock%3")];
    const [slash, percent, end] = [...mounts, unmount].map((line) => site.script(line, place));
    const server = site.sshd.serverCommand.join(" ");
    const guest = await runInGuest(
      `${loadVsock}
insmod "/usr/lib/uml/modules/$(uname -r)/kernel/fs/fuse/fuse.ko" || exit
mkdir -p /run/sshd
socat VSOCK-LISTEN:22,fork "EXEC:${server},nofork" &
cd ${place.here}
for i in $(seq 100); do
  socat -u OPEN:/dev/null VSOCK-CONNECT:1:22 2>/dev/null && break
  sleep 0.1
done
mkdir mnt || exit
mounted() {
  grep -c ' fuse.sshfs ' /proc/mounts
}
(${slash}) && mounted && cp disk.img mnt/disk.img && (${end}) || exit
mounted
(${percent}) && mounted && cp mnt/disk.img copy.img && (${end}) || exit
mounted
exit 0
`,
      { timeoutMs: 170_000 },
    );
    assert.equal(guest.exit, 0, guest.stderr + site.sshd.log());
    assert.deepEqual([guest.stdout, guest.stderr], ["1\n0\n1\n0\n", ""]);
    site.assertSent(place);
    assertCarried(path.join(place.here, "copy.img"));
  });

  it("each section of the page is tested", () => {
    assert.deepEqual(page.untaken(), []);
  });
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** The first bytes of a connection to a local port, once something listens there. */
async function firstLine(port: number): Promise<string> {
  for (;;) {
    const connection = net.connect(port, "127.0.0.1");
    try {
      const [bytes] = (await once(connection, "data")) as [Buffer];
      return bytes.toString();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ECONNREFUSED") throw error;
      await setTimeout(50);
    } finally {
      connection.destroy();
    }
  }
}
