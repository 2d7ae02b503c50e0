// npm run bench:names: asks systemd-ssh-proxy and libvirt-ssh-proxy for machines by name, and this proxy
// for the same ones, and prints both answers side by side, in Markdown. machined is scripted; libvirtd is
// the real one, with domains that are off and one that is on. It needs root, for mounts that only its own
// processes see, `npm run bench:fetch`, libvirtd and QEMU.
//
// Rules
// 1. No AF_VSOCK socket can be made (without-vsock.c): a CID may be another machine's. So "has the CID"
//    is the failure of that call.
// 2. /run, and libvirt's configuration and state, are empty folders of this program's own. The processes
//    that it leaves end with it: it is the first of its own set.

import assert from "node:assert/strict";
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { fakeSsh } from "../tests/support/fake-ssh";
import { listen } from "../tests/support/listener";
import { root } from "../tests/support/proxy";
import { makeFolder } from "../tests/support/scratch";
import { ensureTools, tool } from "../tests/support/tools";
import { latency, withoutVsock } from "./harness";
import { findLibvirtSshProxy, findSystemdSshProxy } from "./others";
import type { OtherProxy } from "./others";
import { median } from "./results";

const ours = [path.join(root, "dist/ssh-vsock-proxy")];
/** An ordinary user's and group's number. */
const ordinary = 65534;

// ---- the namespace

/** Runs this file again, with mounts and processes of its own. */
function enter(): number {
  if (process.getuid?.() !== 0) throw new Error("it needs root, for mounts of its own");
  const words = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", process.execPath];
  const argv = [...words, ...process.execArgv, __filename, "--inside"];
  const { status } = spawnSync(tool("unshare"), argv, { stdio: "inherit" });
  return status ?? 1;
}

const libvirtFolders = [
  "/etc/libvirt",
  "/var/lib/libvirt",
  "/var/cache/libvirt",
  "/var/log/libvirt",
];

function hideTheSystem(folder: string): void {
  for (const place of ["/run", ...libvirtFolders.filter(existsSync)]) {
    execFileSync("mount", ["-t", "tmpfs", "tmpfs", place]);
  }
  // Those of libvirt's QEMU, which Debian makes in a package that also starts the daemon.
  const lines = {
    passwd: "libvirt-qemu:x:64055:64055::/:/bin/false\n",
    group: "libvirt-qemu:x:64055:\nkvm:x:64056:\n",
  };
  for (const [name, line] of Object.entries(lines)) {
    const copy = path.join(folder, name);
    copyFileSync(`/etc/${name}`, copy);
    appendFileSync(copy, line);
    execFileSync("mount", ["--bind", copy, `/etc/${name}`]);
  }
}

// ---- a run of a proxy

interface Trial {
  /** The first arguments of this proxy only. */
  options?: readonly string[];
  args: readonly string[];
  /** The third argument of this proxy only. */
  name?: string;
  env?: NodeJS.ProcessEnv;
  asUser?: boolean;
  limitMs?: number;
}

/** EAFNOSUPPORT, in the words of each. */
const noVsock = /Address family not supported|this kernel has no AF_VSOCK/;

/** What a proxy did, in a few words. */
async function outcome(command: readonly string[], trial: Trial): Promise<string> {
  const { args, env, asUser = false, limitMs = 10_000 } = trial;
  const ids = [`--reuid=${ordinary}`, `--regid=${ordinary}`, "--clear-groups"];
  const asOther = asUser ? [tool("setpriv"), ...ids] : [];
  const argv = [...asOther, ...(await withoutVsock()), ...command, ...args];
  const found = await fakeSsh(argv, {
    env: { PATH: process.env["PATH"], HOME: "/nonexistent", ...env },
    deadlineMs: limitMs,
  });
  if (found.timedOut) return `no end within ${limitMs / 1000} s`;
  const peer = found.socket?.peerPath?.toString().replace(/\0$/, "");
  const runtime = env?.["XDG_RUNTIME_DIR"] ?? "\0";
  const seconds = Math.round(found.exitNs / 1e9);
  const late = seconds < 2 ? "" : ` after ${seconds} s`;
  if (found.exit === 0 && peer !== undefined) {
    return `connects to ${peer.replace(runtime, "RUNTIME")}`;
  }
  if (noVsock.test(found.stderr)) return "has the CID";
  const lines = found.stderr.trim().split("\n").map(shorten);
  const said = lines.filter((line) => line !== "").join("; ");
  return `${said === "" ? "no message" : said.replaceAll(runtime, "RUNTIME")}${late} (${found.exit ?? found.signal})`;
}

/** Without the program's name, the address, the hint, and the place in libvirt's source. */
function shorten(line: string): string {
  return line
    .replace(/^ssh-vsock-proxy: .+?: /, "")
    .replace(/( \(is | \(see | \(use |; asked | \(add ).*$/, "")
    .replace(/^ERROR \w+:\d+ : /, "");
}

type Cells = readonly [what: string, theirs: string, ours: string];

async function compare(what: string, theirs: OtherProxy, trial: Trial): Promise<Cells> {
  const { options = [], name } = trial;
  const third = name === undefined ? [] : [name];
  return [
    what,
    await outcome(theirs.command, trial),
    await outcome([...ours, ...options], { ...trial, args: [...trial.args, ...third] }),
  ];
}

function table(title: string, rows: readonly Cells[]): string {
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const lines = [["asked", title, "ssh-vsock-proxy"], ["---", "---", "---"], ...rows].map(
    (cells) => `| ${cells.map(cell).join(" | ")} |`,
  );
  return lines.join("\n");
}

// ---- machined

const reply = (parameters: object) => JSON.stringify({ parameters });
const failure = (error: string, parameters = {}) => JSON.stringify({ error, parameters });
const vm = (more: object) =>
  reply({ name: "foo", class: "vm", service: "systemd-vmspawn", ...more });
const container = { name: "foo", class: "container", service: "systemd-nspawn" };
const noSuchMachine = failure("io.systemd.Machine.NoSuchMachine");
const service = "systemd/machine/io.systemd.Machine";

/**
 * What a service does: it replies, or has no such machine if another name is asked for; it is silent, or
 * hangs up; its socket is dead, or missing.
 */
type Behaviour = { reply: string; name?: string } | "silent" | "ends" | "dead" | "missing";

function replyTo(request: Buffer, { reply, name }: { reply: string; name?: string }): string {
  return name === undefined || request.includes(`"name":"${name}"`) ? reply : noSuchMachine;
}

async function listenAs(folder: string, behaviour: Behaviour): Promise<() => Promise<void>> {
  const file = path.join(folder, service);
  mkdirSync(path.dirname(file), { recursive: true });
  if (behaviour === "missing") return () => Promise.resolve();
  if (behaviour === "dead") {
    const listener = await listen(file, { mode: "dead" });
    return async () => {
      await listener.close();
      rmSync(file, { force: true });
    };
  }
  const server = net.createServer((socket) => {
    ignoreErrors(socket);
    socket.on("data", (request) => {
      if (behaviour === "silent" || request.at(-1) !== 0) return;
      if (behaviour === "ends") socket.end();
      else socket.write(`${replyTo(request, behaviour)}\0`);
    });
  });
  await once(server.listen(file), "listening");
  return async () => {
    server.close();
    await Promise.resolve();
    rmSync(file, { force: true });
  };
}

interface MachineRow {
  what: string;
  address?: string;
  port?: string;
  name?: string;
  user?: Behaviour;
  system?: Behaviour;
  limitMs?: number;
}

const user = (reply: string): Pick<MachineRow, "user"> => ({ user: { reply } });
const system = (reply: string): Pick<MachineRow, "system"> => ({ system: { reply } });

const machineRows: readonly MachineRow[] = [
  { what: "`vSockCid` a number", ...user(vm({ vSockCid: 4242 })) },
  { what: "no `vSockCid`", ...user(vm({})) },
  { what: "`vSockCid` 4294967295", ...user(vm({ vSockCid: 4294967295 })) },
  { what: "`vSockCid` a string", ...user(vm({ vSockCid: "4242" })) },
  { what: "`vSockCid` null", ...user(vm({ vSockCid: null })) },
  { what: "`vSockCid` negative", ...user(vm({ vSockCid: -1 })) },
  { what: "`vSockCid` 4294967296", ...user(vm({ vSockCid: 4294967296 })) },
  {
    what: "no `vSockCid`, `sshAddress` a vsock address",
    ...user(vm({ sshAddress: "vsock/4242" })),
  },
  {
    what: "no `vSockCid`, `sshAddress` a unix address",
    ...user(vm({ sshAddress: "unix/run/ssh" })),
  },
  { what: "no `vSockCid`, `sshAddress` an IP", ...user(vm({ sshAddress: "192.0.2.1" })) },
  { what: "no `vSockCid`, `sshAddress` a name", ...user(vm({ sshAddress: "machine/foo" })) },
  {
    what: "libvirt's, no `vSockCid`",
    ...user(reply({ name: "foo", class: "vm", service: "libvirt-qemu" })),
  },
  { what: "no `class`", ...user(reply({ name: "foo", vSockCid: 4242 })) },
  { what: "no `parameters`", ...user("{}") },
  { what: "container of systemd-nspawn, user's", ...user(reply(container)) },
  { what: "container of systemd-nspawn, system's", ...system(reply(container)) },
  {
    what: "the same, sshd exported where 257 does it",
    address: "machine/old",
    ...system(reply({ ...container, name: "old" })),
  },
  {
    what: "the same, sshd not exported",
    address: "machine/bar",
    ...user(reply({ ...container, name: "bar" })),
  },
  {
    what: "container of another service",
    ...user(reply({ ...container, service: "libvirt-lxc" })),
  },
  { what: "class `host`", ...user(reply({ name: "foo", class: "host" })) },
  {
    what: "NoSuchMachine, then the system's",
    ...user(noSuchMachine),
    ...system(vm({ vSockCid: 4 })),
  },
  { what: "NoSuchMachine from both", ...user(noSuchMachine), ...system(noSuchMachine) },
  { what: "no user's socket", user: "missing", ...system(vm({ vSockCid: 4 })) },
  { what: "the user's socket without a listener", user: "dead", ...system(vm({ vSockCid: 4 })) },
  { what: "no socket of both", user: "missing", system: "missing" },
  { what: "PermissionDenied", ...user(failure("org.varlink.service.PermissionDenied")) },
  { what: "errno 13", ...user(failure("io.systemd.System", { origin: "linux", errno: 13 })) },
  {
    what: "InvalidParameter",
    ...user(failure("org.varlink.service.InvalidParameter", { parameter: "name" })),
  },
  { what: "MethodNotFound", ...user(failure("org.varlink.service.MethodNotFound")) },
  {
    what: "InteractiveAuthenticationRequired",
    ...user(failure("io.systemd.InteractiveAuthenticationRequired")),
  },
  {
    what: "`continues`",
    ...user(
      JSON.stringify({ parameters: { name: "foo", class: "vm", vSockCid: 4 }, continues: true }),
    ),
  },
  { what: "`vSockCid` twice", ...user('{"parameters":{"class":"vm","vSockCid":4,"vSockCid":5}}') },
  { what: "garbage", ...user("garbage") },
  { what: "an array", ...user("[1]") },
  { what: "the end of file", user: "ends" },
  { what: "silence", user: "silent", limitMs: 60_000 },
  {
    what: "`machine/../x`, a container",
    address: "machine/../x",
    ...user(reply({ ...container, name: "../x" })),
  },
  {
    what: "`ssh machine/Foo`: `%h` is in lower case",
    name: "machine/Foo",
    user: { reply: vm({ vSockCid: 4 }), name: "Foo" },
  },
  {
    what: "`ssh machine%Foo`",
    address: "machine%Foo",
    name: "machine%Foo",
    user: { reply: vm({ vSockCid: 4 }), name: "Foo" },
  },
  { what: "`machine/.host`", address: "machine/.host" },
  { what: "port `abc`", port: "abc", ...user(vm({ vSockCid: 4 })) },
  { what: "port `022`", port: "022", ...user(vm({ vSockCid: 4 })) },
];

function ignoreErrors(socket: net.Socket): void {
  socket.on("error", () => undefined);
}

const exported = (name: string) => `systemd/nspawn/${name}/unix-export/ssh`;

async function compareMachines(theirs: OtherProxy, runtime: string): Promise<Cells[]> {
  const sockets = [
    path.join(runtime, exported("foo")),
    path.join(runtime, exported("../x")),
    path.join("/run", exported("foo")),
    "/run/systemd/nspawn/unix-export/old/ssh",
    "/run/ssh",
    "/run/ssh-unix-local/socket",
  ];
  for (const file of sockets) {
    mkdirSync(path.dirname(file), { recursive: true });
    await once(net.createServer(ignoreErrors).listen(file), "listening");
  }
  const none = { reply: noSuchMachine };
  const cells: Cells[] = [];
  for (const row of machineRows) {
    const { what, address = "machine/foo", port = "22", name, limitMs } = row;
    const stop = [
      await listenAs(runtime, row.user ?? none),
      await listenAs("/run", row.system ?? none),
    ];
    const env = { XDG_RUNTIME_DIR: runtime };
    cells.push(
      await compare(what, theirs, {
        args: [address, port],
        env,
        ...(name === undefined ? {} : { name }),
        ...(limitMs === undefined ? {} : { limitMs }),
      }),
    );
    for (const one of stop) await one();
  }
  return cells;
}

// ---- libvirt

const domainXml = (name: string, vsock: string, more = "") => `<domain type="qemu">
  <name>${name}</name><memory>65536</memory>${more}
  <os><type>hvm</type></os><devices>${vsock}</devices>
</domain>`;

const cid = (attributes: string) => `<vsock model="virtio"><cid ${attributes}/></vsock>`;

/** Not libvirt's own: it has the elements' names. */
const decoy = `<metadata><devices xmlns="https://example.org/"><vsock><cid address="99"/></vsock></devices></metadata>`;

const domains: Readonly<Record<string, string>> = {
  MyVM: domainXml("MyVM", cid('auto="no" address="77"')),
  auto: domainXml("auto", cid('auto="yes"')),
  plain: domainXml("plain", ""),
  decoy: domainXml("decoy", "", decoy),
  on: domainXml("on", ""),
};

async function until(done: () => boolean, failure: () => string): Promise<void> {
  const limit = Date.now() + 60_000;
  while (!done()) {
    if (Date.now() > limit) throw new Error(failure());
    await sleep(50);
  }
}

function virsh(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(tool("virsh"), ["-c", "qemu:///system", ...args], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`virsh ${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}

/** Starts libvirtd, with the domains; gives what ends it. */
async function startLibvirt(folder: string): Promise<() => Promise<void>> {
  mkdirSync("/run/libvirt", { recursive: true });
  writeFileSync(
    "/etc/libvirt/qemu.conf",
    'user = "root"\ngroup = "root"\nsecurity_driver = "none"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = "file"\n',
  );
  const config = path.join(folder, "libvirtd.conf");
  writeFileSync(
    config,
    'auth_unix_ro = "none"\nauth_unix_rw = "none"\nunix_sock_ro_perms = "0777"\n',
  );
  const log = path.join(folder, "libvirtd.log");
  const daemon = spawn(tool("libvirtd"), ["--config", config], {
    stdio: ["ignore", "ignore", openSync(log, "w")],
  });
  const ended = once(daemon, "exit");
  await until(
    () => existsSync("/run/libvirt/libvirt-sock"),
    () => `libvirtd does not listen:\n${readFileSync(log, "utf8")}`,
  );
  for (const [name, xml] of Object.entries(domains)) {
    const file = path.join(folder, `${name}.xml`);
    writeFileSync(file, xml);
    virsh("define", file);
  }
  virsh("start", "--paused", "on");
  return async () => {
    virsh("destroy", "on");
    daemon.kill();
    await ended;
  };
}

/** The programs that run here, this one and its own left out. */
function daemons(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
      } catch {
        return "";
      }
    })
    .filter((name) => /^(libvirtd|virtqemud)$/.test(name));
}

/** An ordinary user, without a daemon of its own and without the system's. */
async function withoutDaemons(theirs: OtherProxy, trial: Trial): Promise<Cells> {
  const started: string[] = [];
  const run = async (command: readonly string[]) => {
    const before = daemons().length;
    const found = await outcome(command, trial);
    const now = daemons();
    started.push(now.length > before ? `; ${now.at(-1) ?? ""} runs now` : "");
    return found;
  };
  const [second, first] = [await run(ours), await run(theirs.command)];
  return [
    "ordinary user, no daemon runs",
    `${first}${started[1] ?? ""}`,
    `${second}${started[0] ?? ""}`,
  ];
}

async function compareDomains(theirs: OtherProxy, folder: string): Promise<Cells[]> {
  const stop = await startLibvirt(folder);
  const runtime = path.join(folder, "user");
  mkdirSync(runtime);
  chownSync(runtime, ordinary, ordinary);
  chmodSync(folder, 0o711);
  const [uuid, id] = [virsh("domuuid", "MyVM"), virsh("domid", "on")];
  const asUser = { asUser: true, env: { XDG_RUNTIME_DIR: runtime, HOME: runtime } };
  const trials: [string, Trial][] = [
    ["off, CID in its configuration", { args: ["qemu/MyVM", "22"] }],
    ["the same by UUID", { args: [`qemu/${uuid}`, "22"] }],
    ["off, CID chosen at its start", { args: ["qemu/auto", "22"] }],
    ["off, no vsock device", { args: ["qemu/plain", "22"] }],
    ["off, another's `vsock` in its metadata", { args: ["qemu/decoy", "22"] }],
    ["on, no vsock device", { args: ["qemu/on", "22"] }],
    ["the same by ID", { args: [`qemu/${id}`, "22"] }],
    ["no such domain", { args: ["qemu/none", "22"] }],
    ["`ssh qemu/MyVM`: `%h` is in lower case", { args: ["qemu/myvm", "22"], name: "qemu/MyVM" }],
    ["`ssh qemu:system/MyVM`", { args: ["qemu:system/MyVM", "22"] }],
    ["`scp qemu%MyVM:`", { args: ["qemu%MyVM", "22"], name: "qemu%MyVM" }],
    ["port `abc`", { args: ["qemu/MyVM", "abc"] }],
    ["port `022`", { args: ["qemu/MyVM", "022"] }],
    ["port 4294967296", { args: ["qemu/MyVM", "4294967296"] }],
    ["`qemu/`", { args: ["qemu/", "22"] }],
    ["ordinary user, `qemu:system/on`", { args: ["qemu:system/on", "22"], ...asUser }],
  ];
  const cells: Cells[] = [];
  for (const [what, trial] of trials) cells.push(await compare(what, theirs, trial));
  chmodSync("/run/libvirt/libvirt-sock-ro", 0);
  const closed = { args: ["qemu:system/on", "22"], ...asUser };
  cells.push(await compare("ordinary user, socket not open to it", theirs, closed));
  chmodSync("/run/libvirt/libvirt-sock-ro", 0o777);
  cells.push(...(await time(theirs)));
  await stop();
  for (const name of readdirSync("/run/libvirt")) {
    if (name.startsWith("libvirt-sock")) rmSync(path.join("/run/libvirt", name));
  }
  cells.push(await compare("root, no daemon runs", theirs, { args: ["qemu/on", "22"] }));
  cells.push(await withoutDaemons(theirs, { args: ["qemu/on", "22"], ...asUser }));
  return cells;
}

/** Spawn to exit, with libvirtd: a domain without a vsock device, for which both have the same to do. */
async function time(theirs: OtherProxy): Promise<Cells[]> {
  const commands = [theirs.command, ours].map((command, i) => {
    return { name: String(i), kind: "failed" as const, argv: [...command, "qemu/on", "22"] };
  });
  const options = {
    rounds: 100,
    warmUp: 5,
    processor: -1,
    peers: -1,
    within: await withoutVsock(),
  };
  const [first = NaN, second = NaN] = (await latency(commands, undefined, options)).map((runs) =>
    median(runs.map(({ endedMs }) => endedMs)),
  );
  const ms = (value: number) => `${value.toFixed(2)} ms`;
  return [["the time of that: on, no vsock device", ms(first), ms(second)]];
}

async function main(): Promise<void> {
  ensureTools(["cc", "unshare", "setpriv", "libvirtd", "virsh", "qemu-system-x86_64"]);
  if (!process.argv.includes("--inside")) {
    process.exitCode = enter();
    return;
  }
  const systemds = findSystemdSshProxy();
  const libvirts = findLibvirtSshProxy();
  assert.ok(systemds && libvirts, "run `npm run bench:fetch` first");
  const folder = makeFolder("names");
  hideTheSystem(folder);
  const runtime = path.join(folder, "run");
  mkdirSync(runtime);
  const machines = await compareMachines(systemds, runtime);
  console.log(`${table(`systemd-ssh-proxy ${systemds.version}`, machines)}\n`);
  const found = await compareDomains(libvirts, folder);
  console.log(table(`libvirt-ssh-proxy ${libvirts.version}`, found));
}

main()
  .catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  })
  // The listeners end with this process.
  .finally(() => {
    process.exit();
  });
