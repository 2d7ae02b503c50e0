// Passing the descriptor, as ssh sees it: one byte and one descriptor, or nothing and one line.
// Source: sshconnect.c (ssh_proxy_fdpass_connect) and monitor_fdpass.c (mm_receive_fd) of
// openssh-portable.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { checkFakeSsh, fakeSsh } from "../support/fake-ssh";
import type { FakeSshOptions, FakeSshOutcome } from "../support/fake-ssh";
import { greeting, listen } from "../support/listener";
import type { Listener } from "../support/listener";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { proxyCommand } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { tool } from "../support/tools";

describe("fd passing", { timeout: 600_000 }, () => {
  const folder = makeFolder("fd-passing");
  const [near, far] = [path.join(folder, "s"), path.join(folder, "d".repeat(200), "s")];
  const listeners: Listener[] = [];
  let multiplexer: Multiplexer;

  before(async () => {
    mkdirSync(path.dirname(far));
    for (const socket of [near, far]) listeners.push(await listen(socket));
    multiplexer = await startMultiplexer(near);
  });
  after(async () => {
    await multiplexer.close();
    for (const listener of listeners) await listener.close();
  });

  const routes = {
    unix: () => [`unix${near}`],
    "unix, a long path": () => [`unix${far}`],
    "vsock-mux": () => [`vsock-mux${multiplexer.socket("firecracker")}`, "22"],
  };
  type Route = keyof typeof routes;
  const subject = (route: Route) => routes[route]().join(" port ");

  function proxy(route: Route, options?: FakeSshOptions, flags: string[] = []) {
    return fakeSsh([...proxyCommand(), ...flags, ...routes[route]()], options);
  }

  const text = "a request";
  const readBytes = greeting.length + text.length;
  const talk = { write: Buffer.from(text), readBytes, readMs: 20_000 };

  /** The listener is the peer of the passed socket. */
  function passes(outcome: FakeSshOutcome, route: Route, verbose = false): void {
    checkFakeSsh(outcome, { subject: subject(route), verbose });
    assert.equal(outcome.read?.toString(), greeting + text);
  }

  function fails(outcome: FakeSshOutcome, code: Code): void {
    checkFakeSsh(outcome, { subject: subject("unix"), code });
  }

  for (const route of Object.keys(routes) as Route[]) {
    it(`${route}: one byte and one blocking socket with unchanged options`, async () => {
      passes(await proxy(route, talk), route);
    });

    it(`${route}: only 0, 1, 2, the socket and the host's own descriptors are open`, async () => {
      const options = { ...talk, hold: "blocked", deadlineMs: 60_000 } as const;
      const outcome = await proxy(route, options, ["--timeout", "60s"]);
      passes(outcome, route);
      const { 0: stdin, 1: stdout = "", ...others } = outcome.openFds ?? {};
      assert.equal(stdin, stdout);
      delete others[2];
      const own = proxyCommand()[0] === process.execPath ? openFdsOfNode() : [];
      const rest = Object.values(others).map(kindOf);
      for (const kind of own) if (rest.includes(kind)) rest.splice(rest.indexOf(kind), 1);
      assert.deepEqual(rest, ["socket"]);
      assert.ok(!Object.values(others).includes(stdout), "fd 1 is open twice");
    });
  }

  it("the queue towards ssh stays full: 75", async () => {
    const outcome = await proxy("unix", { hold: "exit" }, ["--timeout", "300ms"]);
    fails(outcome, Code.FdPassTimeout);
    assert.ok(outcome.exitNs >= 300_000_000);
  });

  for (const hold of [undefined, "blocked"] as const) {
    it(`ssh exits ${hold ? "while" : "before"} the descriptor is passed: 71, no signal`, async () => {
      const options = hold === undefined ? { gone: true } : { gone: true, hold };
      fails(await proxy("unix", options, ["--timeout", "20s"]), Code.ClientGone);
    });
  }

  for (const stdout of ["dgram", "seqpacket", "tcp", "pipe", "tty", "file", "closed"] as const) {
    const code = stdout === "closed" ? Code.NoStdout : Code.NoFdPassing;
    it(`--fdpass, and fd 1 is ${stdout}: ${Code[code]}, without a connection`, async () => {
      const before = await listeners[0]?.accepted();
      fails(await proxy("unix", { stdout }, stdout === "closed" ? [] : ["--fdpass"]), code);
      assert.equal(await listeners[0]?.accepted(), before);
    });
  }

  for (const [options, ...flags] of [
    [{ stderr: "closed" }],
    [{ stdin: "null" }, "--fdpass"],
    [{ stdin: "closed" }, "--fdpass"],
    [{ stdin: "closed", stderr: "closed" }, "--fdpass"],
  ] as const) {
    it(`passes the descriptor with ${[JSON.stringify(options), ...flags].join(" ")}`, async () => {
      passes(await proxy("unix", { ...talk, ...options }, [...flags]), "unix");
    });
  }

  for (const stdin of ["null", "closed"] as const) {
    it(`fd 0 is ${stdin}, and fd 1 a unix socket: relays`, async () => {
      const { exit, fds, passed, stderr } = await proxy("unix", { stdin });
      const bytes = Buffer.concat(passed.map((message) => message.bytes)).toString();
      assert.deepEqual([exit, fds, bytes, stderr], [0, 0, greeting, ""]);
    });
  }

  // How programs give a command its descriptors: what reaches them, after they have sent `text`.
  const parents: [string, () => string[], string][] = [
    [
      "Node's pipes, which are two socketpairs",
      () => [process.execPath, "-e", nodeParent],
      "bytes",
    ],
    ["Python's pipes", () => [tool("python3"), "-c", pythonParent], "bytes"],
    ["a shell's pipes", () => ["/bin/sh", "-c", shellParent], "bytes"],
    [
      "socat, which gives one as ssh",
      () => ["/bin/sh", "-c", socatParent, tool("socat"), path.join(folder, "hold")],
      "\0",
    ],
  ];
  for (const [what, parent, expected] of parents) {
    it(`${what}: ${expected === "bytes" ? "relays" : "passes the descriptor"}`, () => {
      const [program = "", ...words] = [...parent(), text, ...proxyCommand(), ...routes.unix()];
      const ran = spawnSync(program, words, { encoding: "latin1", timeout: 60_000 });
      const stdout = expected === "bytes" ? greeting + text : expected;
      assert.deepEqual([ran.status, ran.stdout, ran.stderr], [0, stdout, ""]);
    });
  }

  it("-v: four steps", async () => {
    const outcome = await proxy("vsock-mux", talk, ["-v"]);
    passes(outcome, "vsock-mux", true);
    assert.equal(outcome.stderr.split("\n").length, 5, outcome.stderr);
  });

  it("-v, and stderr is closed: passes the descriptor", async () => {
    passes(await proxy("vsock-mux", { ...talk, stderr: "closed" }, ["-v"]), "vsock-mux", true);
  });

  it("a failure with stderr closed: the exit status, and no byte elsewhere", async () => {
    const command = [...proxyCommand(), `unix${folder}/missing`, "22"];
    const { exit, signal, bytes, fds } = await fakeSsh(command, { stderr: "closed" });
    assert.deepEqual({ exit, signal, bytes, fds }, { exit: 68, signal: null, bytes: 0, fds: 0 });
  });
});

// Each sends its first argument to the command that follows, and prints what that answers.
const nodeParent = `
  const [text, program, ...words] = process.argv.slice(1);
  const child = child_process.spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
  child.stdout.pipe(process.stdout);
  child.stdin.end(text);
  child.on("close", (code) => (process.exitCode = code));`;
const pythonParent = `
import subprocess, sys
done = subprocess.run(sys.argv[2:], input=sys.argv[1].encode(), stdout=subprocess.PIPE)
sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode)`;
const shellParent = 'printf %s "$0" | "$@" | cat';
// Sends nothing: the command may have exited. Its own words are socat and a path for a FIFO, which
// holds stdin open. EXEC would split the path of a checkout at a space.
const socatParent = `
  mkfifo "$1" && exec 0<>"$1" && A=$3 B=$4 C=\${5-} "$0" - 'SYSTEM:IFS=; exec $A $B $C'`;

/** The kind of a descriptor's target, without its number. */
function kindOf(target: string): string {
  return target.replace(/:\[\d+\]$/, "");
}

/** The kinds of descriptors that Node opens for itself: epoll, eventfd, pipes. */
function openFdsOfNode(): string[] {
  const script = `
    const folder = "/proc/self/fd";
    for (const fd of fs.readdirSync(folder)) {
      try { if (fd > 2) console.log(fs.readlinkSync(folder + "/" + fd)); } catch {}
    }`;
  const { stdout } = spawnSync(process.execPath, ["-e", script], { encoding: "utf8" });
  const kinds = stdout.trimEnd().split("\n").map(kindOf);
  assert.ok(kinds.length > 1 && !kinds.includes("socket"), kinds.join());
  return kinds;
}
