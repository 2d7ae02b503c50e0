// The proxy with a real machine: a Debian in QEMU, reached over vsock-mux/ (npm run test:vm). Two boots:
// from outside during the first and across the reboot, inside during the second.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { messageOf } from "../support/messages";
import { exitOf } from "../support/oracle";
import { proxyCommand, root } from "../support/proxy";
import { proxyCommandLine, runProgram } from "../support/sshd";
import type { Finished } from "../support/sshd";
import { Guest } from "./guest";
import { tables } from "./inside";
import { describeWays, options } from "./ways";

const proxy = proxyCommand("standalone");
const fragment = path.join(root, "docs/00-ssh-vsock-proxy.conf");
/** A boot takes 15 s on an idle machine. */
const bootMs = 700_000;

describe("a virtual machine", { timeout: 2_400_000 }, () => {
  const guest = new Guest();
  before(() => guest.prepare());
  after(() => guest.close());

  const readLog = (name: string): string =>
    existsSync(guest.inside(name)) ? readFileSync(guest.inside(name), "utf8") : "";

  /** The steps of --log-file, with their times. */
  const steps = (log: string) =>
    Array.from(readLog(log).matchAll(/^(\S+) \[\d+\] .*? port 22: (?:[\d.]+ ms: )?(.*)$/gm)).map(
      ([, time = "", step = ""]) => ({ time: Date.parse(time), step }),
    );

  async function untilLogged(log: string, code: Code): Promise<void> {
    while (!readLog(log).includes(messageOf(code))) await sleep(10);
  }

  /** Connects with --wait, and a log; the remote command's output comes from a login. */
  function waiting(log: string, limit: string, command: string): Promise<Finished> {
    const words = [...proxy, "--wait", limit, "--log-file", guest.inside(log)];
    const line = `ProxyCommand ${proxyCommandLine(words)}`;
    return guest.ssh(["-o", line, guest.address, command], { timeoutMs: bootMs });
  }

  /** When the multiplexer first says that the guest has accepted a connection to sshd's port. */
  async function ready(): Promise<number> {
    for (;;) {
      const socket = net.connect(guest.socket);
      let answer = "";
      socket.on("error", () => undefined);
      socket.on("data", (bytes: Buffer) => {
        answer += bytes.toString();
        if (answer.includes("\n")) socket.destroy();
      });
      socket.write("CONNECT 22\n");
      await new Promise((resolve) => socket.on("close", resolve));
      if (answer.startsWith("OK ")) return Date.now();
      await sleep(20);
    }
  }

  it("--wait, started before the machine, connects within one pause of its sshd's socket", async () => {
    const connected = waiting("boot.log", "10m", "cat /proc/sys/kernel/random/boot_id");
    await untilLogged("boot.log", Code.NoSocket);
    const listening = ready();
    await guest.powerOn();
    const { exit, stderr } = await connected;
    assert.equal(exit, 0, stderr + guest.log());
    // No attempt that began after this fails, and no pause is longer than 1 s: so it connects within
    // one pause, however long this machine stopped it for.
    const isReady = await listening;
    const taken = steps("boot.log");
    const late = taken.filter(({ time, step }) => time > isReady && step.startsWith("connecting,"));
    assert.ok(late.length <= 1, readLog("boot.log"));
    const pauses = taken.flatMap(({ step }) => / again in ([\d.]+) ms$/.exec(step)?.[1] ?? []);
    assert.ok(pauses.length > 1 && pauses.every((pause) => Number(pause) <= 1000));
  });

  it("systemd-ssh-generator alone made its sshd listen", async () => {
    const unit = await guest.succeed(`systemctl show -P Listen -P FragmentPath sshd-vsock.socket`);
    assert.equal(unit, "vsock::22 (Stream)\n/run/systemd/generator/sshd-vsock.socket\n");
  });

  it("scp copies 50 MB, there and back", async () => {
    const bytes = randomBytes(50_000_000);
    const sum = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(guest.inside("big"), bytes);
    const address = guest.address.replaceAll("/", "%");
    const options = { timeoutMs: 400_000 };
    const there = await guest.scp([guest.inside("big"), `${address}:/tmp/big`], options);
    assert.deepEqual([there.exit, there.stderr], [0, ""]);
    assert.equal(await guest.succeed("sha256sum </tmp/big"), `${sum}  -\n`);
    const back = await guest.scp([`${address}:/tmp/big`, guest.inside("back")], options);
    assert.deepEqual([back.exit, back.stderr], [0, ""]);
    assert.ok(readFileSync(guest.inside("back")).equals(bytes));
    await guest.succeed("rm /tmp/big");
  });

  it("says that nothing listens while sshd is stopped", async () => {
    await guest.succeed("systemctl stop sshd-vsock.socket");
    const refused = await runProgram([...proxy, guest.address]);
    // The connection of `guest` is there still.
    await guest.succeed("systemctl start sshd-vsock.socket");
    const message = `ssh-vsock-proxy: ${guest.address} port 22: ${messageOf(Code.EndOfFile)}\n`;
    assert.deepEqual([refused.exit, refused.stderr], [69, message]);
    assert.equal(refused.stdout.toString(), "");
    const again = await guest.ssh([guest.address, "echo again"]);
    assert.equal(again.stdout.toString(), "again\n", again.stderr);
  });

  it("a reboot ends a held connection, and --wait connects to the new boot", async () => {
    const id = "cat /proc/sys/kernel/random/boot_id";
    const hold = (...options: string[]) =>
      guest.ssh(["-o", "LogLevel=INFO", ...options, guest.address, `${id}; exec sleep 1000`], {
        timeoutMs: bootMs,
      });
    const log = `--log-file=${guest.inside("held.log")}`;
    const relay = `ProxyCommand ${proxyCommandLine([...proxy, log])}`;
    const held = [hold(), hold("-o", "ProxyUseFdpass=no", "-o", relay)];
    await untilLogged("held.log", Code.Relaying);
    const old = await guest.succeed(id);
    // Until both commands run.
    await guest.succeed("while [ $(pgrep -xc sleep) -lt 2 ]; do sleep 0.1; done; systemctl reboot");
    for (const { exit, stdout, stderr } of await Promise.all(held)) {
      assert.equal(stdout.toString(), old);
      assert.equal(exit, 255);
      // ssh's words, by its version and by which end is first.
      assert.match(stderr, /(send disconnect: Broken pipe|closed by remote host\.?)\r?\n$/);
    }
    await guest.off();
    const anew = waiting("again.log", "10m", id);
    await guest.powerOn(...options);
    const { exit, stdout, stderr } = await anew;
    assert.equal(exit, 0, stderr + guest.log());
    assert.notEqual(stdout.toString(), old);
  });

  describe("inside", () => {
    before(async () => {
      await guest.scp([...proxy, "guest:/usr/local/bin/ssh-vsock-proxy"]);
      await guest.scp([fragment, "guest:/etc/ssh/ssh_config.d/"]);
      for (const name of ["user_key", "known_hosts"]) {
        await guest.scp([guest.inside(name), "guest:/root/"]);
      }
      await guest.succeed(`set -e
# systemd's, for its own proxy.
rm /etc/ssh/ssh_config.d/20-systemd-ssh-proxy.conf
useradd --create-home --uid 1000 ada
for home in /root /home/ada; do
  mkdir -p $home/.ssh
  cp /root/user_key $home/.ssh/id_ed25519
  cp /root/known_hosts $home/.ssh/
  printf 'Host *\\n HostKeyAlias guest\\n User root\\n BatchMode yes\\n LogLevel ERROR\\n' >$home/.ssh/config
done
chown -R ada: /home/ada`);
    });

    const here = (as: string | undefined, command: string): string =>
      as === undefined
        ? command
        : `runuser -u ${as} -- env HOME=/home/${as} XDG_RUNTIME_DIR=/run/user/1000 ${command}`;

    for (const { title, prepare, rows, scripts = {} } of tables) {
      describe(title, () => {
        before(() => guest.succeed(`set -e\n${prepare}`));

        for (const [name, script] of Object.entries(scripts)) {
          it(`root: ${name}`, async () => {
            await guest.succeed(`set -e\n${script}`);
          });
        }
        for (const row of rows) {
          const { address, as, code, at, leads, tokens } = row;
          const who = `${as ?? "root"}: ${address}${tokens === undefined ? "" : ` with ${tokens}`}`;
          if (leads !== undefined) {
            it(`${who} leads to ${leads}`, async () => {
              const log = "/tmp/proxy.log";
              const run = here(as, `ssh-vsock-proxy --timeout 5m --stdio --log-file ${log}`);
              await guest.succeed(`rm -f ${log}
${run} -- "${address}" </dev/null >/dev/null 2>&1 &
until grep -qs ' at ${leads} port 22: ' ${log}; do kill -0 $! || exit 1; sleep 0.1; done
kill $!`);
            });
          } else if (code === undefined) {
            it(`${who} logs in${row.in === undefined ? "" : ` to a ${row.in}`}`, async () => {
              const option = `-o ProxyCommand='ssh-vsock-proxy -- ${tokens ?? ""}'`;
              const words = `ssh -n ${tokens === undefined ? "" : option} ${address}`;
              const remote = "'systemd-detect-virt --container; exit 42'";
              const ran = await guest.run(here(as, `${words} ${remote}`));
              const where = row.in === undefined ? "none\n" : "systemd-nspawn\n";
              const { exit, stdout, stderr } = ran;
              assert.deepEqual([exit, stdout.toString(), stderr], [42, where, ""]);
            });
          } else {
            it(`${who}: ${Code[code]}`, async () => {
              // A domain without a system never answers.
              const limit = code === Code.NoAnswer ? "5s" : "1m";
              const timed = `ssh-vsock-proxy --timeout ${limit}`;
              const run = here(as, `${timed} --stdio -- "$address" </dev/null`);
              const ran = await guest.run(`address="${address}"; echo "$address"; ${run}`);
              const [exit, stdout, stderr] = [ran.exit, ran.stdout.toString(), ran.stderr];
              assert.equal(exit, exitOf(code), stderr);
              const name = stdout.trimEnd();
              const subject = at === undefined ? name : `${name} at ${at}`;
              const start = `ssh-vsock-proxy: ${subject}: ${messageOf(code)}`;
              assert.equal(stderr.slice(0, start.length), start);
              assert.match(stderr, /^.*\n$/);
              assert.equal(stdout, `${name}\n`);
            });
          }
        }
      });
    }
  });

  describe("the ways of docs/guests.md", () => {
    describeWays(guest);
  });
});
