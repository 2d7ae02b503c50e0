// Every command, configuration and program of docs/clients.md, as it stands there, with the real
// clients and a real sshd.
//
// Machine 3 is there by each client twice:
// - as it is written. A script in PATH, `ssh-vsock-proxy`, starts the proxy under test with a
//   multiplexer's socket where `vsock/3` is asked for: AF_VSOCK itself is for guests alone
//   (support/guest.ts). So a client gets to read what its user types.
// - as a unix socket, whose address is written in its place: a long one, with capitals.
// In both, `user` is who runs the tests, and `/srv` a folder of the test's own.
//
// sshfs runs in a guest, with its kernel's AF_VSOCK and FUSE: not every machine has /dev/fuse, and a
// mount that a test leaves behind would be the machine's.
//
// Rules
// 1. Nothing of the user's is read or written. Programs start without an environment but for what
//    `environment` has; ssh, scp and sftp are scripts in PATH that say `-F`.
// 2. Host keys are checked: each client is seen to refuse a machine that has another one than is
//    known (`refuseStranger`).
// 3. Runs are not recorded (support/record.ts). What the proxy does is the same as in other suites,
//    and one line here may start it several times.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { ensureTools, tool } from "../support/tools";
import { loadVsock, runInGuest } from "../support/guest";
import { startMultiplexer } from "../support/multiplexer-client";
import { readPage } from "../support/doc-snippets";
import { compile } from "../support/fake-ssh";
import { proxyCommand, root } from "../support/proxy";
import { runProgram, shellQuote, startSshd } from "../support/sshd";
import type { Finished, RunOptions, Sshd } from "../support/sshd";

const page = readPage(path.join(root, "docs/clients.md"));
const fragment = path.join(root, "docs/20-ssh-vsock-proxy.conf");
const { username } = os.userInfo();
const payload = randomBytes(2_000_000);

/** Where machine 3 is, and how its address is written in a text of the page. */
interface Machine {
  name: string;
  write(text: string): string;
}

/** A folder for one test: `here` is the client's, `srv` the machine's `/srv`. */
interface Place {
  machine: Machine;
  here: string;
  srv: string;
}

interface LineOptions extends RunOptions {
  /** Configuration of ssh's before all other. */
  config?: readonly string[];
  /** Known hosts and fingerprints are another machine's. */
  stranger?: boolean;
}

describe("the clients of docs/clients.md", { timeout: 600_000 }, () => {
  const closing: (() => unknown)[] = [];
  let site: string;
  let sshd: Sshd;
  /** TCP on loopback: what `inner.example` and port 5432 stand for. */
  let inner: Service;
  let echo: Service;
  const sockets = { machine: "", nested: "" };

  const asWritten: Machine = { name: "vsock, as written", write: (text) => text };
  const asUnix: Machine = {
    name: "a unix socket",
    write: (text) => writeAddress(text, `unix${sockets.machine}`),
  };
  const machines = [asWritten, asUnix];

  const [configured, alias] = page.take("Configuration", 4, 2);
  /** Takes the page's configuration out of force: ssh keeps the value that it finds first. */
  const unconfigured = ["Host *", "    ProxyCommand none", "    ProxyUseFdpass no"];

  before(async () => {
    ensureTools([
      ...["ssh", "scp", "sftp", "ssh-keygen", "ssh-add", "ssh-agent", "sshd", "rsync", "git"],
      ...["sshfs", "fusermount3", "socat", "ansible", "plink", "pscp", "puttygen", "dbclient"],
      ...["dropbearconvert", "python3", "paramiko", "libssh", "cc"],
    ]);
    site = mkdtempSync(path.join(os.tmpdir(), "ssh-vsock-proxy-clients-"));
    closing.push(() => {
      rmSync(site, { recursive: true, force: true });
    });
    for (const folder of ["bin", "there", "places"]) mkdirSync(path.join(site, folder));
    sshd = await startSshd(proxyCommand(), [
      "DisableForwarding no",
      `SetEnv PATH=${searchPath()} HOME=${site}/there GIT_CONFIG_GLOBAL=/dev/null`,
    ]);
    closing.push(() => sshd.close());
    sockets.machine = `${sshd.folder}/Machine.sock`;
    sockets.nested = `${sshd.folder}/nested.sock`;
    for (const socket of Object.values(sockets)) await sshd.listen(socket);
    const multiplexer = await startMultiplexer(sockets.machine);
    closing.push(() => multiplexer.close());
    inner = await serveTcp((connection) => {
      const end = net.connect(sockets.nested);
      end.on("error", () => connection.destroy());
      connection.pipe(end).pipe(connection);
    });
    closing.push(() => inner.close());
    echo = await serveTcp((connection) => connection.pipe(connection));
    closing.push(() => echo.close());
    writePrograms(multiplexer.socket("firecracker"));
    await makeHome("home", path.join(sshd.folder, "host_key.pub"));
    // The user's own key as that of a host is as good as any other.
    await makeHome("stranger", path.join(sshd.folder, "user_key.pub"));
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  function searchPath(): string {
    return `${site}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
  }

  /** The scripts that come first in PATH. */
  function writePrograms(multiplexed: string): void {
    const write = (name: string, text: string): void => {
      writeFileSync(path.join(site, "bin", name), `#!/bin/sh\n${text}`, { mode: 0o755 });
    };
    for (const name of ["ssh", "scp", "sftp"]) {
      write(name, `exec ${shellQuote(tool(name))} -F "\${CONFIG:?}" "$@"\n`);
    }
    const cases = {
      "vsock/3": `vsock-mux${multiplexed}`,
      "vsock%3": writeAddress("vsock%3", `vsock-mux${multiplexed}`),
      "unix/run/nested.sock": `unix${sockets.nested}`,
    };
    write(
      "ssh-vsock-proxy",
      `echo "$*" >>${site}/proxy.log
for word; do
    shift
    case $word in
${Object.entries(cases)
  .map(([written, meant]) => `    ${written}) word=${shellQuote(meant)} ;;`)
  .join("\n")}
    esac
    set -- "$@" "$word"
done
exec ${proxyCommand().map(shellQuote).join(" ")} "$@"
`,
    );
  }

  /** A home for the clients, to which the machines' host key is the one of `hostKey`. */
  async function makeHome(name: string, hostKey: string): Promise<void> {
    const folder = path.join(site, name, ".ssh");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const suffix of ["", ".pub"]) {
      const key = readFileSync(path.join(sshd.folder, `user_key${suffix}`));
      writeFileSync(path.join(folder, `id_ed25519${suffix}`), key, { mode: 0o600 });
    }
    const [type, key] = readFileSync(hostKey, "utf8").split(" ");
    const addresses = ["vsock/3", "vsock%3"].flatMap((text) => [text, asUnix.write(text)]);
    const names = ["vm3", "vsock/1", "vsock%1", "nested", "127.0.0.1", ...addresses].flatMap(
      (host) => {
        const known = host.includes("/") ? host.toLowerCase() : host;
        return [known, `[${known}]:2222`, `[${known}]:${inner.port}`];
      },
    );
    const lines = names.map((host) => `${host} ${type} ${key}\n`);
    writeFileSync(path.join(folder, "known_hosts"), lines.join(""));
    writeFileSync(path.join(site, name, "vm3.pub"), readFileSync(hostKey));
    const { stdout } = await runProgram(["ssh-keygen", "-lf", hostKey]);
    writeFileSync(path.join(site, name, "fingerprint"), stdout.toString().split(" ")[1] as string);
  }

  let places = 0;
  function makePlace(machine: Machine): Place {
    const folder = path.join(site, "places", String(++places));
    const place = { machine, here: path.join(folder, "here"), srv: path.join(folder, "srv") };
    for (const each of [place.here, place.srv]) mkdirSync(each, { recursive: true });
    writeFileSync(path.join(place.here, "disk.img"), payload);
    return place;
  }

  /** A text of the page with the test's own names. */
  function write(text: string, place: Place, home = "home"): string {
    return place.machine
      .write(text)
      .replaceAll("/srv", place.srv)
      .replace(/(?<!\w)user(?=@|"|$)/gm, username)
      .replaceAll("SHA256:FINGERPRINT", readFileSync(path.join(site, home, "fingerprint"), "utf8"))
      .replaceAll("127.0.0.1:5432", `127.0.0.1:${echo.port}`);
  }

  function environment(place: Place, home: string): Record<string, string> {
    return {
      CONFIG: path.join(place.here, "ssh_config"),
      HOME: path.join(site, home),
      PATH: searchPath(),
      LC_ALL: "C.UTF-8",
      NODE_PATH: path.join(root, "node_modules"),
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_AUTHOR_NAME: "a",
      GIT_AUTHOR_EMAIL: "a@example",
      GIT_COMMITTER_NAME: "a",
      GIT_COMMITTER_EMAIL: "a@example",
      ANSIBLE_CONFIG: path.join(site, "ansible.cfg"),
      ANSIBLE_HOME: path.join(place.here, "ansible"),
      ANSIBLE_SSH_CONTROL_PATH_DIR: path.join(place.here, "masters"),
      ANSIBLE_REMOTE_TEMP: path.join(place.srv, "ansible"),
      // An ordinary user's sshd may not be able to give out a terminal.
      ANSIBLE_SSH_USETTY: "False",
    };
  }

  /** A script for sh that runs a line of the page, and makes ready what it needs. */
  function script(line: string, place: Place, options: LineOptions = {}): string {
    const home = options.stranger === true ? "stranger" : "home";
    const own = `
Host inner.example second.example
    HostName 127.0.0.1
    Port ${inner.port}

# What is included here is a part of this.
Host *
    Include "${fragment}"

Host *
    User ${username}
    IdentityFile ${site}/${home}/.ssh/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile ${site}/${home}/.ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
`;
    const first = [...(options.config ?? []), ...alias].join("\n");
    writeFileSync(path.join(place.here, "ssh_config"), `${write(first, place)}\n${own}`);
    writeFileSync(path.join(site, "ansible.cfg"), "");
    writeFileSync(path.join(place.here, "vm3.pub"), readFileSync(path.join(site, home, "vm3.pub")));
    const variables = { ...environment(place, home), ...options.env };
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    const words = ["env", "-i", ...settings, "sh", "-c", write(line, place, home)];
    return `cd ${place.here} && exec ${words.map(shellQuote).join(" ")}`;
  }

  async function run(line: string, place: Place, options: LineOptions = {}): Promise<Finished> {
    const { input, timeoutMs } = options;
    return runProgram(["sh", "-c", script(line, place, options)], {
      ...(input === undefined ? {} : { input }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  /** Runs a line, which must succeed, and gives what it wrote to stdout. */
  async function succeed(line: string, place: Place, options?: LineOptions): Promise<Buffer> {
    const ran = await run(line, place, options);
    const said = `${write(line, place)}: ${ran.stderr}${ran.stdout.toString().slice(0, 2000)}`;
    assert.equal(ran.exit, 0, said + sshd.log());
    return ran.stdout;
  }

  /** Runs a command as the last line of a shell's input: its exit status is the client's. */
  async function exitStatus(line: string, place: Place, options?: LineOptions): Promise<void> {
    const ran = await run(line, place, { ...options, input: Buffer.from("echo out; exit 7\n") });
    assert.equal(ran.exit, 7, ran.stderr + sshd.log());
    assert.match(ran.stdout.toString(), /(^|\n)out\n$/);
  }

  function assertSent(place: Place): void {
    assertCarried(path.join(place.srv, "disk.img"));
  }

  /** Runs one line that carries disk.img there, and one that carries it back as copy.img. */
  async function carry(there: string, back: string, place: Place): Promise<void> {
    await succeed(there, place);
    assertSent(place);
    await succeed(back, place);
    assertCarried(path.join(place.here, "copy.img"));
  }

  /** Runs a line where known_hosts has another key: it says so, and carries nothing. */
  async function refuseStranger(line: string, place: Place, says: RegExp): Promise<void> {
    const ran = await run(line, place, { stranger: true });
    assert.notEqual(ran.exit, 0);
    assert.match(ran.stderr + ran.stdout.toString(), says);
    assert.deepEqual(readdirSync(place.srv), []);
  }

  function proxyRuns(): string[] {
    const log = path.join(site, "proxy.log");
    return existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : [];
  }

  it("are told the configuration that there is to copy", () => {
    const rules = readFileSync(fragment, "utf8").split("\n");
    assert.deepEqual(
      configured,
      rules.filter((line) => line !== "" && !line.startsWith("#")),
    );
  });

  for (const machine of machines) {
    describe(machine.name, () => {
      const [[shell, there, back]] = page.take("ssh", 3);
      it("ssh", async () => {
        const place = makePlace(machine);
        await exitStatus(shell, place);
        await carry(there, back, place);
      });

      for (const title of ["scp", "sftp", "rsync"]) {
        const [lines] = page.take(title, 2);
        it(title, async () => {
          await carry(...lines, makePlace(machine));
        });
      }

      const [clones, [byCommand]] = page.take("git", 3, 1);
      it("git", async () => {
        await git(makePlace(machine));
      });

      async function git(place: Place): Promise<void> {
        await succeed(
          `git init -q -b main first && mv disk.img first && cd first && git add . &&
           git commit -qm first && git clone -q --bare . /srv/project.git`,
          place,
        );
        const [byAddress, byUrl, push] = clones;
        const clone = async (line: string, folder: string, options?: LineOptions) => {
          await succeed(line, place, options);
          assertCarried(path.join(place.here, folder, "disk.img"));
        };
        await clone(byAddress, "project");
        await clone(byUrl, "by-url");
        await clone(byCommand, "by-command", { config: unconfigured });
        await succeed("git -C project commit -q --allow-empty -m second", place);
        await succeed(push, place);
        const heads = await succeed(
          "git -C project rev-parse HEAD && git -C /srv/project.git rev-parse main",
          place,
        );
        const [pushed, arrived] = heads.toString().trim().split("\n");
        assert.equal(arrived, pushed);
        const count = await succeed("git -C /srv/project.git rev-list --count main", place);
        assert.equal(count.toString(), "2\n");
      }

      const [jumps, always, nested] = page.take("ProxyJump", 4, 2, 3);
      it("ProxyJump", async () => {
        const place = makePlace(machine);
        const [shell, uname, copy, hops] = jumps;
        const through = async (count: number, what: () => Promise<unknown>) => {
          const [connections, runs] = [inner.connections(), proxyRuns().length];
          await what();
          assert.equal(inner.connections(), connections + count);
          assert.equal(proxyRuns().length, runs + 1);
        };
        await through(1, () => exitStatus(shell, place));
        await through(1, async () => {
          assert.equal((await succeed(uname, place)).toString(), "Linux\n");
        });
        await through(1, () => succeed(copy, place));
        assertSent(place);
        await through(2, () => exitStatus(hops, place));
        await through(1, () => exitStatus("ssh inner.example", place, { config: always }));
      });

      it("onwards from a machine, by relay", async () => {
        const place = makePlace(machine);
        const runs = proxyRuns().length;
        await exitStatus("ssh nested", place, { config: nested });
        const [outer, further, ...others] = proxyRuns().slice(runs);
        assert.match(outer ?? "", /^(vsock|unix)%.* 22 /);
        assert.equal(further, "--stdio unix/run/nested.sock");
        assert.deepEqual(others, []);
        const options = { config: nested, input: payload };
        assertSame(await succeed("ssh nested cat", place, options));
      });

      const [[forward]] = page.take("ssh -W", 1);
      it("ssh -W", async () => {
        const place = makePlace(machine);
        assertSame(await succeed(forward, place, { input: payload }));
      });

      const [[putty, ...puttyLines]] = page.take("PuTTY", 3);
      it("PuTTY", async () => {
        const place = makePlace(machine);
        await succeed(putty, place);
        await refuseStranger(puttyLines[0], place, /host key/i);
        await carry(...puttyLines, place);
        const line = puttyLines[0].replace(/ 'cat .*/, " 'echo out; exit 7'");
        await exitStatus(line, place);
      });

      const [[dropbear, ...dropbearLines]] = page.take("dbclient", 3);
      it("dbclient", async () => {
        const place = makePlace(machine);
        await succeed(dropbear, place);
        await refuseStranger(dropbearLines[0], place, /host key mismatch/i);
        await carry(...dropbearLines, place);
        const line = dropbearLines[0].replace(/ 'cat .*/, " 'echo out; exit 7'");
        await exitStatus(line, place);
      });

      for (const [title, file, interpreter, says] of [
        ["paramiko", "client.py", () => tool("python3"), /BadHostKeyException/],
        ["ssh2 (npm)", "client.js", () => process.execPath, /Host denied \(verification failed\)/],
      ] as const) {
        const program = page.takeProgram(title);
        it(title, async () => {
          const place = makePlace(machine);
          const line = `${shellQuote(interpreter())} ${file}`;
          writeFileSync(path.join(place.here, file), write(program, place));
          await refuseStranger(line, place, says);
          const ran = await run(line, place);
          assert.equal(ran.exit, 7, ran.stderr);
          assert.equal(ran.stdout.toString(), "Linux\n");
          assertSent(place);
          assertCarried(path.join(place.here, "copy.img"));
        });
      }
    });
  }

  for (const [line, says] of [
    ["scp vsock/3:/srv/disk.img .", /cannot stat 'vsock\/3:/],
    ["scp scp://vsock%253//srv/disk.img .", /invalid uri/],
    ["sftp vsock/3:/srv/disk.img", /^ssh-vsock-proxy: vsock\/3:\/.* port 22: not a CID/m],
    ["rsync -a vsock/3:/srv/disk.img .", /change_dir ".*\/vsock\/3:/],
    ["git clone vsock/3:/srv/project.git", /'vsock\/3:.*' does not appear to be a git repository/],
    ["ssh -J vsock/3 inner.example true", /Invalid -J argument/],
    ["ssh -J vsock%3 inner.example true", /unknown key %3/],
    ["ssh -J vsock%%3,inner.example second.example true", /unknown key %3/],
    ["pscp -batch vsock/3:/srv/disk.img .", /Local to local copy not supported/],
  ] as const) {
    it(`do not take ${line}, as the page says`, async () => {
      const ran = await run(line, makePlace(asWritten));
      assert.notEqual(ran.exit, 0);
      assert.match(ran.stderr, says);
    });
  }

  it("ssh refuses another machine", async () => {
    const place = makePlace(asWritten);
    await refuseStranger("ssh vm3 'cat >/srv/disk.img' <disk.img", place, /IDENTIFICATION HAS/);
  });

  const [master, [check, exit]] = page.take("ControlMaster", 4, 2);
  it("ControlMaster", async () => {
    const place = makePlace(asWritten);
    const folder = path.join(site, "control");
    mkdirSync(folder);
    // ssh takes ~ from the user database, not from HOME.
    const config = master.map((line) => line.replace("~/.ssh", folder));
    const runs = proxyRuns().length;
    assert.equal((await run(check, place, { config })).exit, 255);
    await succeed("ssh vsock/3 true", place, { config });
    assert.equal(proxyRuns().length, runs + 1);
    assert.match(readdirSync(folder).join(), /^[0-9a-f]{40}$/);
    assert.match((await run(check, place, { config })).stderr, /^Master running/);
    await exitStatus("ssh vsock/3", place, { config });
    assertSame(await succeed("ssh vsock/3 cat", place, { config, input: payload }));
    assert.equal(proxyRuns().length, runs + 1, "a second session has run the proxy");
    await succeed(exit, place, { config });
    assert.equal((await run(check, place, { config })).exit, 255);

    // Without it the same configuration runs the proxy for each session.
    await succeed("ssh -o ControlMaster=no vsock/3 true", place, { config });
    assert.equal(proxyRuns().length, runs + 2);

    const log = path.join(site, "control.log");
    const env = { SSH_VSOCK_PROXY_OPTIONS: `--log-file ${log}` };
    const failed = await run("ssh unix/nowhere true", place, {
      config: config.map((line) => line.replace("vsock/*", "*")),
      env,
    });
    assert.equal(failed.exit, 255);
    const error = /^.*ssh-vsock-proxy: unix\/nowhere: no such socket/m;
    assert.doesNotMatch(failed.stderr, error);
    assert.match(readFileSync(log, "utf8"), error);

    for (const token of ["%h", "%n"]) {
      const other = config.map((line) => line.replace("%C", token));
      const ran = await run("ssh vsock/3 true", place, { config: other });
      assert.equal(ran.exit, 255);
      assert.match(ran.stderr, /unix_listener: cannot bind to path .*: No such file or directory/);
    }
  });

  const [[agentLine]] = page.take("Agent forwarding", 1);
  it("agent forwarding", async () => {
    const socket = path.join(site, "agent");
    const agent = spawn(tool("ssh-agent"), ["-D", "-a", socket], { stdio: "ignore" });
    const ended = once(agent, "exit");
    try {
      const place = makePlace(asWritten);
      const env = { SSH_AUTH_SOCK: socket };
      const key = path.join(site, "home/.ssh/id_ed25519");
      await succeed(`until [ -S "$SSH_AUTH_SOCK" ]; do sleep 0.05; done`, place, { env });
      await succeed(`ssh-add -q ${key}`, place, { env });
      const { stdout } = await runProgram(["ssh-keygen", "-lf", `${key}.pub`]);
      assert.equal(String(await succeed(agentLine, place, { env })), String(stdout));
      const without = await run(agentLine.replace(" -A", ""), place, { env });
      assert.equal(without.exit, 2);
      assert.match(without.stderr, /Could not open a connection to your authentication agent/);
    } finally {
      agent.kill();
      await ended;
    }
  });

  const [hosts, common, ansible] = page.take("Ansible", 2, 2, 3);
  for (const [machine, inventory] of [
    [asWritten, hosts],
    [asUnix, [...hosts, ...common]],
  ] as const) {
    it(`Ansible, ${machine.name}`, async () => {
      const place = makePlace(machine);
      const config = inventory === hosts ? [] : unconfigured;
      writeFileSync(path.join(place.here, "inventory.ini"), write(inventory.join("\n"), place));
      const masters = path.join(place.here, "masters");
      mkdirSync(masters);
      const [ping, copy, fetch] = ansible;
      const runs = proxyRuns().length;
      try {
        assert.match((await succeed(ping, place, { config })).toString(), /"ping": "pong"/);
        await succeed(copy, place, { config });
        assertSent(place);
        await succeed(fetch, place, { config });
        assertCarried(path.join(place.here, "copy.img"));
        const failing = "ansible -i inventory.ini machines -m raw -a 'echo out; exit 7'";
        const ran = await run(failing, place, { config });
        assert.equal(ran.exit, 2);
        assert.match(ran.stdout.toString(), /^vm3 \| FAILED \| rc=7 >>\nout\r?\n/);
        assert.equal(proxyRuns().length, runs + 1);
      } finally {
        for (const name of readdirSync(masters)) {
          await succeed(`ssh -S ${masters}/${name} -O exit vm3`, place);
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
    const program = shellQuote(await compile("libssh-client", "-lssh"));
    const place = makePlace(asWritten);
    const there = `${program} ${username} 'cat >/srv/disk.img' <disk.img`;
    await refuseStranger(there, place, /host key not known/);
    await carry(there, `${program} ${username} 'cat /srv/disk.img' >copy.img`, place);
    await exitStatus(`${program} ${username} sh`, place);
  });

  const [[relay]] = page.take("Clients without descriptor passing", 1);
  it("any other client", async () => {
    const place = makePlace(asWritten);
    // OpenSSH's own, without descriptor passing.
    const proxy = `-o ProxyUseFdpass=no -o 'ProxyCommand=${relay}'`;
    assertSame(await succeed(`ssh ${proxy} vm3 cat`, place, { input: payload }));
    await exitStatus(`ssh ${proxy} vm3`, place);
  });

  const [[mount, unmount]] = page.take("sshfs", 2);
  it("sshfs, in a guest", { timeout: 180_000 }, async () => {
    const write = (text: string) => text.replaceAll(/vsock([/%])3/g, "vsock$11");
    const place = makePlace({ name: "loopback's", write });
    const mounts = [mount, mount.replace("vsock/3", "vsock%3")];
    const [slash, percent, end] = [...mounts, unmount].map((line) => script(line, place));
    const server = sshd.serverCommand.join(" ");
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
    assert.deepEqual(guest, { exit: 0, stdout: "1\n0\n1\n0\n", stderr: "" });
    assertSent(place);
    assertCarried(path.join(place.here, "copy.img"));
  });

  it("leave no section of the page untested", () => {
    assert.deepEqual(page.untaken(), []);
  });
});

/** `vsock/3` as another address, in each of the ways in which the page writes it. */
function writeAddress(text: string, address: string): string {
  const [, scheme = "", rest = ""] = /^([\w-]+)\/(.*)$/.exec(address) ?? [];
  const percent = `${scheme}%${rest.replaceAll("%", "%%").replaceAll("/", "%")}`;
  return text
    .replaceAll("vsock%253", percent.replaceAll("%", "%25"))
    .replaceAll("vsock%%3", percent.replaceAll("%", "%%"))
    .replaceAll("vsock%3", percent)
    .replaceAll("vsock/3", address);
}

interface Service {
  readonly port: number;
  connections(): number;
  close(): Promise<void>;
}

async function serveTcp(serve: (connection: net.Socket) => void): Promise<Service> {
  const open = new Set<net.Socket>();
  let connections = 0;
  const server = net.createServer({ allowHalfOpen: true }, (connection) => {
    connections++;
    open.add(connection);
    connection.on("close", () => open.delete(connection));
    connection.on("error", () => undefined);
    serve(connection);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    async close() {
      for (const connection of open) connection.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function assertCarried(file: string): void {
  assertSame(readFileSync(file));
}

function assertSame(bytes: Buffer): void {
  assert.equal(bytes.length, payload.length);
  assert.ok(bytes.equals(payload), "other bytes than the payload's");
}
