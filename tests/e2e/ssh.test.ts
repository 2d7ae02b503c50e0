// The real ssh and scp reach a real sshd through the proxy, by fd passing, over every scheme that
// needs no virtual machine.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { all, proxyCommand, root } from "../support/proxy";
import { proxyCommandLine, startSshd } from "../support/sshd";
import type { Finished, Sshd } from "../support/sshd";

/** How `ssh -v` reports a line before the identification (seen in OpenSSH 9.2p1). */
const lineBeforeIdentification = /kex_exchange_identification: banner line \d+: .*/g;

/** It fills sun_path, as Node 20 requires (support/sshd.ts). */
const abstractName = `ssh-vsock-proxy-${process.pid}-`.padEnd(107, "x");

/** Random, so that no two parts of it are equal. */
const payload = randomBytes(all ? 50_000_000 : 2_000_000);

const multiplexers = [
  "firecracker",
  "cloud-hypervisor",
  "vhost-device-vsock",
  "dragonball",
  "ok-and-banner",
  "short-ok-and-banner",
  "bytewise",
];

describe("ssh", { timeout: 900_000 }, () => {
  const started: { close(): Promise<void> }[] = [];
  let sshd: Sshd;
  let multiplexer: Multiplexer;
  let socket: string;

  before(async () => {
    sshd = await startSshd(proxyCommand());
    started.push(sshd);
    // Always with a capital.
    socket = `${sshd.folder}/Sshd.sock`;
    await sshd.listen(socket);
    await sshd.listen({ abstract: abstractName });
    await sshd.listen(sshd.hostSocket);
    multiplexer = await startMultiplexer(socket);
    started.push(multiplexer);
  });
  after(async () => {
    for (const one of started.reverse()) await one.close();
  });

  const routes: Record<string, () => string> = {
    "unix/PATH": () => `unix${socket}`,
    "unix%PATH": () => `unix%${socket}`,
    "unix%a%b": () => percent("unix", socket),
    "unix-abstract/NAME": () => `unix-abstract/${abstractName}`,
    "unix-abstract%NAME": () => `unix-abstract%${abstractName}`,
    ".host": () => ".host",
    "vsock-mux%a%b": () => percent("vsock-mux", multiplexer.socket("firecracker")),
  };
  for (const name of multiplexers) {
    routes[`vsock-mux/PATH, ${name}`] = () => `vsock-mux${multiplexer.socket(name)}`;
  }

  for (const [name, host] of Object.entries(routes)) {
    it(`copies ${payload.length} bytes there and back over ${name}`, async () => {
      const options = { input: payload, timeoutMs: 120_000 };
      const ran = await sshd.ssh(["-v", host(), "cat; echo err >&2; exit 7"], options);
      assert.equal(ran.exit, 7, ran.stderr + sshd.log());
      assert.equal(sha256(ran.stdout), sha256(payload));
      assert.match(ran.stderr, /^err$/m);
      // The first byte that ssh reads is the identification's.
      assert.match(ran.stderr, /Remote protocol version 2\.0, remote software version OpenSSH_/);
      assert.deepEqual(ran.stderr.match(lineBeforeIdentification), null);
    });
  }

  it("reports a line before the identification", async () => {
    const host = `vsock-mux${multiplexer.socket("line-before-banner")}`;
    const ran = await sshd.ssh(["-v", host, "true"]);
    assert.equal(ran.exit, 0, ran.stderr);
    assert.deepEqual(ran.stderr.match(lineBeforeIdentification), [
      "kex_exchange_identification: banner line 0: hello from the guest",
    ]);
  });

  for (const [name, host] of [
    ["unix%a%b", () => percent("unix", socket)],
    ["vsock-mux%a%b", () => percent("vsock-mux", multiplexer.socket("vhost-device-vsock"))],
  ] as const) {
    it(`scp copies both ways over ${name}`, async () => {
      const file = (end: string): string => `${sshd.folder}/${name.slice(0, 4)}.${end}`;
      writeFileSync(file("sent"), payload);
      for (const [from, to] of [
        [file("sent"), `${host()}:${file("there")}`],
        [`${host()}:${file("there")}`, file("back")],
      ] as const) {
        const copied = await sshd.scp(["-q", from, to], { timeoutMs: 120_000 });
        assert.equal(copied.exit, 0, copied.stderr + sshd.log());
      }
      assert.equal(sha256(readFileSync(file("there"))), sha256(payload));
      assert.equal(sha256(readFileSync(file("back"))), sha256(payload));
    });
  }

  it("reaches a path with capitals because %n keeps what %h loses", async () => {
    const host = `unix${socket}`;
    const alone = `ProxyCommand=${proxyCommandLine(proxyCommand(), ["%h", "%p"])}`;
    const lost = await sshd.ssh(["-o", alone, host, "true"]);
    assertFailed(lost, host.toLowerCase());
    const kept = await sshd.ssh([host, "true"]);
    assert.equal(kept.exit, 0, kept.stderr);
  });

  /**
   * Ways to write a path with capitals: the host as typed, HostName, and the resulting %h. ssh
   * lower-cases a host without a `%`; only then %n is needed.
   */
  const spellings: Record<string, () => [host: string, hostName: string | undefined, h: string]> = {
    "unix/PATH": () => [`unix${socket}`, undefined, `unix${socket.toLowerCase()}`],
    "unix%/PATH": () => [`unix%${socket}`, undefined, `unix%${socket}`],
    "unix%a%b": () => [percent("unix", socket), undefined, percent("unix", socket)],
    "unix/PATH, HostName %h": () => [`unix${socket}`, "%h", `unix${socket.toLowerCase()}`],
    "an alias, HostName unix%%/PATH": () => ["Alias", `unix%%${socket}`, `unix%${socket}`],
    "an alias, HostName unix%%a%%b": () => {
      const address = percent("unix", socket);
      return ["Alias", address.replaceAll("%", "%%"), address];
    },
    "an address that HostName makes another": () => [
      "unix/nowhere/Sshd.sock",
      `unix%%${socket}`,
      `unix%${socket}`,
    ],
  };
  for (const [name, spelling] of Object.entries(spellings)) {
    it(`keeps the capitals of ${name}`, async () => {
      const [host, hostName, expected] = spelling();
      const options = named(hostName);
      assert.equal(hostNameOf([...options, host]), expected);
      const ran = await sshd.ssh([...options, host, "true"]);
      assert.equal(ran.exit, 0, ran.stderr);
    });
  }

  it("has lost the capitals of HostName unix/PATH, and keeps wrong ones that were typed", async () => {
    const options = named(`unix${socket}`);
    const lost = `unix${socket.toLowerCase()}`;
    assert.equal(hostNameOf([...options, "alias"]), lost);
    assertFailed(await sshd.ssh([...options, "alias", "true"]), lost);
    const loud = `unix${socket.toUpperCase()}`;
    assert.equal(hostNameOf([loud]), lost);
    assertFailed(await sshd.ssh([loud, "true"]), loud);
  });

  /** The option for a configuration with HostName. */
  function named(hostName: string | undefined): string[] {
    if (hostName === undefined) return [];
    const config = path.join(sshd.folder, "named_config");
    writeFileSync(config, `Include ${sshd.clientConfig}\nHost *\n    HostName ${hostName}\n`);
    return ["-F", config];
  }

  /** The value of %h, according to `ssh -G`. */
  function hostNameOf(args: readonly string[]): string | undefined {
    const words = ["-F", sshd.clientConfig, "-G", ...args];
    const { stdout } = spawnSync("ssh", words, { encoding: "utf8" });
    return /^hostname (.*)$/m.exec(stdout)?.[1];
  }

  it("reaches a path with spaces by an alias", async () => {
    const spaced = `${sshd.folder}/with two spaces`;
    await sshd.listen(spaced);
    const ran = await sshd.ssh(["-o", `HostName="unix%%${spaced}"`, "alias", "true"]);
    assert.equal(ran.exit, 0, ran.stderr);
  });

  it("the ssh_config to copy matches every form of an address, and nothing else", () => {
    const fragment = path.join(root, "docs/00-ssh-vsock-proxy.conf");
    const command = (...args: string[]): string | undefined => {
      const { stdout } = spawnSync("ssh", ["-F", fragment, "-G", ...args], { encoding: "utf8" });
      assert.ok(stdout.includes("\nhostname "), args.join(" "));
      const says = (line: string): boolean => stdout.includes(`\n${line}\n`);
      if (!says("proxyusefdpass yes") || !says("checkhostip no")) return undefined;
      return /^proxycommand (.*)$/m.exec(stdout)?.[1];
    };
    const expected = "ssh-vsock-proxy -- %h %p";
    const forms = [
      "unix/a/b",
      "unix%a%b",
      "unix-abstract/a",
      "unix-abstract%a",
      "vsock/3",
      "vsock%3",
    ];
    for (const form of [...forms, "vsock-mux/a/b", "vsock-mux%a%b", ".host", "unix/A"]) {
      assert.equal(command(form), expected, form);
    }
    for (const other of ["host.example", "unix.example", "vsock", "x.host", "local", "unix/a[b"]) {
      assert.equal(command(other), undefined, other);
    }
  });

  it("shows the failure, with the address as written", async () => {
    const host = `unix${sshd.folder}/Missing.sock`;
    assertFailed(await sshd.ssh([host, "true"]), host);
  });

  it("shows the failure of a multiplexer, with the port", async () => {
    const host = `vsock-mux${multiplexer.socket("eof")}`;
    assertFailed(await sshd.ssh(["-p", "2222", host, "true"]), host, 2222);
    assert.deepEqual(await multiplexer.reads("eof"), ["CONNECT 2222\n"]);
  });

  it("ends a wait for a silent guest, which has no timeout in ssh", async () => {
    const host = `vsock-mux${multiplexer.socket("silence")}`;
    const patient = `ProxyCommand=${proxyCommandLine([...proxyCommand(), "--timeout", "1100ms"])}`;
    // ssh's own, which it does not look at before the proxy has exited.
    const own = ["-o", "ConnectTimeout=1"];
    assertFailed(await sshd.ssh([...own, "-o", patient, host, "true"]), host);
  });
});

/** ssh fails, and its stderr has one line of the proxy. */
function assertFailed(ran: Finished, address: string, port = 22): void {
  assert.equal(ran.exit, 255, ran.stderr);
  assert.equal(ran.stdout.length, 0);
  const lines = ran.stderr.split(/\r?\n/).filter((line) => line.startsWith("ssh-vsock-proxy:"));
  assert.equal(lines.length, 1, ran.stderr);
  const [line = ""] = lines;
  const start = `ssh-vsock-proxy: ${address}`;
  assert.ok(line.startsWith(start), line);
  assert.match(line.slice(start.length), new RegExp(`^( port ${port})?: \\S`));
}

/** An address that is not a local path to scp. */
function percent(scheme: string, socketPath: string): string {
  return scheme + socketPath.replaceAll("%", "%%").replaceAll("/", "%");
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
