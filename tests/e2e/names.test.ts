// Names of machines with a real process: the services are scripted unix sockets in a runtime directory
// of the test's own. What each reply leads to is in tests/simulated/names.test.ts; the real daemons are
// asked in a guest.

import assert from "node:assert/strict";
import { once } from "node:events";
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import type { Service } from "../support/case";
import { messageOf } from "../support/messages";
import { proxyCommand } from "../support/proxy";
import { watchMemory } from "../support/processors";
import { makeFolder } from "../support/scratch";
import { startService } from "../support/service";
import type { FakeService } from "../support/service";
import {
  MACHINED,
  call,
  domain,
  libvirt,
  machine,
  machineError,
  machineRequest,
  machined,
  message,
} from "../support/services";
import { runProgram, startSshd } from "../support/sshd";
import type { Finished, Sshd } from "../support/sshd";

/** Longer than anything takes, on any machine. */
const UNTIL_MS = 100_000;
/** The system's machined, where there is one, has none of this name. */
const NAME = `No-such-VM-${process.pid}`;
const LIBVIRT = "/libvirt/libvirt-sock";

const folder = makeFolder("names");
let folders = 0;

/** A runtime directory with a service. */
async function serve(
  t: TestContext,
  script: Service,
  socket = MACHINED,
): Promise<{ directory: string; service: FakeService }> {
  const directory = path.join(folder, String(folders++));
  const service = await startService(directory + socket, script);
  t.after(() => {
    service.close();
  });
  return { directory, service };
}

const run = (directory: string, ...args: string[]): Promise<Finished> =>
  runProgram([...proxyCommand(), ...args], {
    env: { XDG_RUNTIME_DIR: directory },
    timeoutMs: UNTIL_MS,
  });

const reaches = (sshAddress: string): Service =>
  machined(NAME, machine({ class: "vm", sshAddress }));

describe("ssh logs in by a name", { timeout: 300_000 }, () => {
  let sshd: Sshd;
  before(async () => {
    sshd = await startSshd(proxyCommand());
  });
  after(() => sshd.close());

  // %h is in lower case, and %n as it is written.
  for (const separator of ["/", "%"]) {
    it(`machine${separator}NAME, with its capitals`, async (t) => {
      const socket = `${sshd.folder}/Vm${separator === "/" ? 1 : 2}.sock`;
      await sshd.listen(socket);
      const { directory, service } = await serve(t, reaches(`unix${socket}`));
      const options = { env: { XDG_RUNTIME_DIR: directory } };
      const ran = await sshd.ssh([`machine${separator}${NAME}`, "echo $((6*7))"], options);
      assert.equal(String(ran.stdout), "42\n", ran.stderr + sshd.log());
      assert.deepEqual(service.requests.map(String), [machineRequest(NAME)]);
    });
  }

  it("a container of systemd-nspawn, at the older place of its socket", async (t) => {
    const reply = machine({ class: "container", service: "systemd-nspawn" });
    const { directory } = await serve(t, machined("c1", reply));
    const place = path.join(directory, "systemd/nspawn/unix-export/c1");
    mkdirSync(place, { recursive: true });
    await sshd.listen(path.join(place, "ssh"));
    const ran = await sshd.ssh(["machine/c1", "echo $((6*7))"], {
      env: { XDG_RUNTIME_DIR: directory },
    });
    assert.equal(String(ran.stdout), "42\n", ran.stderr + sshd.log());
  });
});

it("--wait: machined, the machine and its socket come one after the other", async (t) => {
  const directory = path.join(folder, "waits");
  const log = path.join(folder, "waits.log");
  const socket = path.join(folder, "vm.sock");
  const ended = run(directory, "--wait=90s", `--log-file=${log}`, "--stdio", `machine/${NAME}`);
  const said = async (code: Code, where = ""): Promise<void> => {
    const line = `${where}: `;
    const end = performance.now() + UNTIL_MS;
    for (;;) {
      const text = readLog(log);
      if (text.some((one) => one.includes(line) && one.includes(messageOf(code)))) return;
      assert.ok(performance.now() < end, `timeout: ${Code[code]}\n${text.join("\n")}`);
      await sleep(5);
    }
  };
  const at = directory + MACHINED;
  await said(Code.NoService, ` at ${at}`);
  const unknown = machineError("io.systemd.Machine.NoSuchMachine");
  const service = await startService(at, machined(NAME, unknown));
  t.after(() => {
    service.close();
  });
  await said(Code.NoSuchMachine, ` at ${at}`);
  service.script = reaches(`unix${socket}`);
  await said(Code.NoSocket, ` at ${socket}`);
  const peer = net.createServer((client) => client.end("hello"));
  peer.listen(socket);
  const { exit, stdout, stderr } = await ended;
  peer.close();
  assert.deepEqual([exit, String(stdout), stderr], [0, "hello", ""]);
  assert.ok(service.requests.length > 2);
  for (const request of service.requests) assert.equal(String(request), machineRequest(NAME));
});

function readLog(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch {
    return [];
  }
}

describe("a failure names the socket that it comes from", { timeout: 300_000 }, () => {
  const failures: [string, number, Code, Service, string, string][] = [
    [
      "a domain that is off",
      69,
      Code.DomainOff,
      libvirt([call.open("session"), call.byName("My VM", { reply: domain("My VM", -1) })]),
      LIBVIRT,
      "qemu:session/My VM",
    ],
    ["a reply that is cut short", 76, Code.EndWithinReply, cutShort(), MACHINED, "machine/vm"],
    ["silence", 75, Code.LookupTimeout, machined("vm", ""), MACHINED, "machine/vm"],
  ];
  for (const [title, exit, code, script, socket, address] of failures) {
    it(title, async (t) => {
      const { directory } = await serve(t, script, socket);
      const started = performance.now();
      const ran = await run(directory, "--timeout=300ms", address);
      assert.equal(
        ran.stderr,
        `ssh-vsock-proxy: ${address} at ${directory}${socket}: ${messageOf(code)}\n`,
      );
      assert.deepEqual([ran.exit, ran.stdout.length], [exit, 0]);
      if (code === Code.LookupTimeout) assert.ok(performance.now() - started >= 300);
    });
  }
});

function cutShort(): Service {
  return machined("vm", '{"parameters":{', { end: "eof" });
}

describe("a hostile service", { timeout: 300_000 }, () => {
  const open = libvirt([call.open("session")]).exchange?.[0]?.[0] ?? "";
  const event = message({ procedure: 318, serial: 0, type: 2 }, Buffer.alloc(1 << 20));

  it("that sends without an end is left at the deadline", async (t) => {
    const exchange = [[open, Array<Buffer>(1_000_000).fill(event)]] as const;
    const { directory } = await serve(t, { exchange }, LIBVIRT);
    const ran = await run(directory, "--timeout=500ms", "qemu:session/vm");
    assert.equal(ran.exit, 75, ran.stderr);
    assert.ok(ran.stderr.includes(messageOf(Code.LookupTimeout)), ran.stderr);
  });

  it("that sends 24 MiB costs no more memory", async (t) => {
    const exchange = [[open, Array<Buffer>(24).fill(event)]] as const;
    const { directory, service } = await serve(t, { exchange, end: "eof" }, LIBVIRT);
    const [program = "", ...words] = proxyCommand();
    const child = spawn(program, [...words, "--timeout=60s", "qemu:session/vm"], {
      env: { ...process.env, XDG_RUNTIME_DIR: directory },
      stdio: ["ignore", "pipe", "ignore"],
    });
    const memory = watchMemory(child.pid as number);
    service.sent = memory.look;
    const [exit] = (await once(child, "close")) as [number];
    assert.equal(exit, 76);
    // Node's own memory is its garbage collector's matter.
    if (words.length === 0) memory.assertConstant(64);
  });

  it("that sends a megabyte in place of a reply is left at once", async (t) => {
    const { directory } = await serve(t, machined("vm", `{"x":"${"x".repeat(1 << 20)}`));
    const ran = await run(directory, "--timeout=60s", "machine/vm");
    assert.equal(ran.exit, 76);
    assert.ok(ran.stderr.includes(messageOf(Code.ReplyTooLong)), ran.stderr);
  });
});
