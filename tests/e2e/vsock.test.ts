// The proxy over a real AF_VSOCK: one guest kernel with loopback runs one script; each test looks at
// one result of it.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { loadVsock, runInGuest } from "../support/guest";
import { compile } from "../support/compile";
import { checkFakeSsh, parseOutcome } from "../support/fake-ssh";
import type { FakeSshOutcome } from "../support/fake-ssh";
import { all, proxyCommand } from "../support/proxy";
import { proxyCommandLine, shellQuote, startSshd } from "../support/sshd";
import type { Sshd } from "../support/sshd";
import { documentedCalls } from "../support/system-calls";

const standalone = process.env["PROXY_HOST"] === "standalone";
const AF_VSOCK = 40;
// It takes 35 s on an idle machine: each system call of the guest costs two context switches.
const timeoutMs = 600_000;

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
const big = randomBytes(all ? 50_000_000 : 5_000_000);
/** For scp and the relay. */
const small = big.subarray(0, 5_000_000);
/** Of a connection that the transport answers late; progress is shown after ten. */
const lateSeconds = all ? 15 : 3;

/** Each way to write loopback's CID, and a command there that reads `big`, or writes it back. */
const copies = [
  { address: "vsock/1", name: "slash", remote: "sha256sum" },
  { address: "vsock%1", name: "percent", remote: "cat" },
  { address: "vsock/local", name: "local", remote: "sha256sum" },
];

/** Arguments: a file to make once all ports are listened on, and the ports. */
const peers = `
import hashlib, os, socket, sys, time

def read_all(peer):
    return b"".join(iter(lambda: peer.recv(65536), b""))

def answer(port, peer):
    if port in (30, 33):
        # As sha256sum does.
        peer.sendall(hashlib.sha256(read_all(peer)).hexdigest().encode() + b"  -\\n")
        return
    peer.sendall(b"reply")
    if port != 32:
        peer.shutdown(socket.SHUT_WR)
    if port == 31:
        with open("late", "wb") as file:
            file.write(read_all(peer))
    if port == 34:
        time.sleep(0.5)

def serve(port, server):
    while True:
        peer = server.accept()[0]
        if os.fork() == 0:
            answer(port, peer)
            os._exit(0)
        peer.close()

for port in map(int, sys.argv[2:]):
    server = socket.socket(socket.AF_VSOCK)
    server.bind((socket.VMADDR_CID_ANY, port))
    server.listen()
    if os.fork() == 0:
        serve(port, server)
open(sys.argv[1], "w").close()
`;

function script(sshd: Sshd, play: string): string {
  const { folder, clientConfig, serverCommand } = sshd;
  const server = serverCommand.join(" ");
  const proxy = proxyCommand().map(shellQuote).join(" ");
  return `
cd ${folder}

# fact NAME COMMAND...: keeps COMMAND's exit status and output.
fact() {
  name=$1
  shift
  "$@" >"facts/$name.stdout" 2>"facts/$name.stderr"
  echo $? >"facts/$name.exit"
}

# play NAME OPTIONS ARG...: the proxy with ARGs under fake-ssh with OPTIONS, one word.
play() {
  name=$1
  options=$2
  shift 2
  fact "$name" ${shellQuote(play)} --result "facts/$name.json" $options -- ${proxy} "$@"
}

# wait_for COMMAND...: until COMMAND succeeds, for ten seconds at most.
wait_for() {
  for i in $(seq 100); do
    "$@" 2>>waiting.log && return
    sleep 0.1
  done
  echo "timeout: $*" >&2
  cat waiting.log servers.log >&2
  exit 1
}

ssh="ssh -F ${clientConfig}"
scp="scp -q -F ${clientConfig}"

play no-vsock "" vsock/1 22
${loadVsock}
play no-listener "" vsock/1 22

mkdir -p /run/sshd /run/ssh-unix-local
socat VSOCK-LISTEN:22,fork "EXEC:${server},nofork" 2>>servers.log &
socat UNIX-LISTEN:/run/ssh-unix-local/socket,fork "EXEC:${server},nofork" 2>>servers.log &
wait_for socat -u OPEN:/dev/null VSOCK-CONNECT:1:22
wait_for test -S /run/ssh-unix-local/socket

play passed "--read 4 --read-ms 100000" vsock/1 22
play passed-host "--read 4 --read-ms 100000" vsock/host 22
play other-port "" vsock/1 23
${
  standalone
    ? `fact calls ${shellQuote(play)} --result facts/calls.json -- strace -f -qq -o facts/calls.log ${proxy} vsock/1 22`
    : ""
}
play no-transport "" vsock/4711 22
play no-hypervisor "" vsock/hypervisor 22

${copies
  .map(({ address, name, remote }) => `fact ${name} $ssh ${address} '${remote}; exit 42' <big`)
  .join("\n")}
fact host $ssh -o ${shellQuote(`ProxyCommand=${proxyCommandLine(proxyCommand())}`)} .host 'echo here'
fact scp-up $scp small vsock%1:${folder}/up
fact scp-down $scp vsock%1:${folder}/small down

# The peers of relays, each on its own port.
cat >peers.py <<'EOF'
${peers}
EOF
python3 peers.py peers.ready 30 31 32 34 2>>servers.log &
wait_for test -e peers.ready
mkfifo open
relay() {
  fact "$1" timeout 60 sh -c "$2" sh ${proxy}
}
relay relay-stdin-first '"$@" vsock/1 30 <small'
relay relay-peer-first '{ sleep 1; printf "late, but it arrives"; } | "$@" vsock/1 31'
# The other end of stdin stays open.
relay relay-peer-closes '"$@" vsock/1 32 0<>open'
relay relay-peer-leaves '"$@" vsock/1 34 0<>open'
relay relay-never 'timeout 3 "$@" --half-close=never vsock/1 30 <small'
# A machine in which sshd starts later.
(sleep 1; exec python3 peers.py late.ready 33) 2>>servers.log &
fact wait-boot timeout 100 sh -c '"$@" --wait 90s vsock/1 33 <small' sh ${proxy}
fact relay-ssh $ssh -o ProxyUseFdpass=no vsock/1 'sha256sum; exit 42' <small

# The loopback transport answers from an ordinary kernel thread. A busy process with real-time
# priority keeps it from running, so that a proxy of higher priority gets no answer. Without -1,
# ordinary threads would still get 5 % of the time (sched(7)).
echo -1 >/proc/sys/kernel/sched_rt_runtime_us
# silence SECONDS COMMAND...: COMMAND, with no answer from the transport for SECONDS.
silence() {
  chrt -r 20 sh -c '
    chrt -r 10 sh -c "while :; do :; done" & busy=$!
    (sleep "$1"; kill $busy) 2>/dev/null &
    shift
    "$@"
    status=$?
    kill $busy 2>/dev/null
    exit $status' sh "$@"
}
silent() {
  fact "$1" silence "$2" ${shellQuote(play)} --read 4 --read-ms 100000 --result "facts/$1.json" \\
    -- ${proxy} --timeout "$3" vsock/1 22
}
fact wait-late silence ${lateSeconds} ${proxy} --timeout 60s --wait 60s vsock/1 30 <small
silent silence 30 300ms
silent late 3 100s
`;
}

describe("AF_VSOCK", { timeout: timeoutMs + 60_000 }, () => {
  let sshd: Sshd;
  const cleanUps: (() => Promise<void>)[] = [];

  before(async () => {
    sshd = await startSshd(proxyCommand());
    cleanUps.push(() => sshd.close());
    await mkdir(path.join(sshd.folder, "facts"));
    await writeFile(path.join(sshd.folder, "big"), big);
    await writeFile(path.join(sshd.folder, "small"), small);
    const guest = await runInGuest(script(sshd, await compile("fake-ssh")), { timeoutMs });
    assert.deepEqual(guest, { exit: 0, stdout: "", stderr: "" });
  });
  after(async () => {
    for (const cleanUp of cleanUps) await cleanUp();
  });

  /** The result of a command of the script. */
  async function fact(name: string) {
    const read = (what: string) => readFile(path.join(sshd.folder, "facts", `${name}.${what}`));
    const [exit, stdout, stderr] = [await read("exit"), await read("stdout"), await read("stderr")];
    return { exit: Number(exit), stdout, stderr: stderr.toString() };
  }

  async function played(name: string): Promise<FakeSshOutcome> {
    const { exit, stderr } = await fact(name);
    assert.equal(exit, 0, stderr);
    const json = await readFile(path.join(sshd.folder, "facts", `${name}.json`), "utf8");
    return parseOutcome(json, Buffer.from(stderr));
  }

  async function refused(name: string, subject: string, code: Code): Promise<void> {
    checkFakeSsh(await played(name), { subject, code });
  }

  async function passed(name: string, subject: string, cid = 1): Promise<void> {
    const outcome = await played(name);
    const peer = { peerCid: cid, peerPort: 22, connectTimeoutUs: 2_000_000 };
    checkFakeSsh(outcome, { subject }, { family: AF_VSOCK, ...peer });
    assert.equal(outcome.read?.toString(), "SSH-");
  }

  for (const { address, name, remote } of copies) {
    it(`ssh ${address} runs a command, copies ${big.length} bytes and returns the exit status`, async () => {
      const { exit, stdout, stderr } = await fact(name);
      assert.deepEqual({ exit, stderr }, { exit: 42, stderr: "" });
      const expected = remote === "cat" ? big : Buffer.from(`${sha256(big)}  -\n`);
      assert.ok(stdout.equals(expected));
    });
  }

  it("ssh .host reaches /run/ssh-unix-local/socket", async () => {
    const here = Buffer.from("here\n");
    assert.deepEqual(await fact("host"), { exit: 0, stdout: here, stderr: "" });
  });

  for (const way of ["up", "down"]) {
    it(`scp vsock%1: copies a file ${way}`, async () => {
      assert.deepEqual(await fact(`scp-${way}`), { exit: 0, stdout: Buffer.of(), stderr: "" });
      assert.ok((await readFile(path.join(sshd.folder, way))).equals(small));
    });
  }

  const digest = Buffer.from(`${sha256(small)}  -\n`);

  it("relay: passes the end of stdin on, and then the answer", async () => {
    assert.deepEqual(await fact("relay-stdin-first"), { exit: 0, stdout: digest, stderr: "" });
  });

  it("relay: the peer closes its sending side first, and still receives", async () => {
    const reply = Buffer.from("reply");
    assert.deepEqual(await fact("relay-peer-first"), { exit: 0, stdout: reply, stderr: "" });
    const late = await readFile(path.join(sshd.folder, "late"), "utf8");
    assert.equal(late, "late, but it arrives");
  });

  it("relay: exits when the peer has closed, though stdin stays open", async () => {
    const reply = Buffer.from("reply");
    assert.deepEqual(await fact("relay-peer-closes"), { exit: 0, stdout: reply, stderr: "" });
  });

  it("relay: exits when the peer closes after its sending side", async () => {
    const reply = Buffer.from("reply");
    assert.deepEqual(await fact("relay-peer-leaves"), { exit: 0, stdout: reply, stderr: "" });
  });

  it("relay: --half-close=never keeps the end of stdin from the peer", async () => {
    // timeout(1)'s own exit status.
    assert.deepEqual(await fact("relay-never"), { exit: 124, stdout: Buffer.of(), stderr: "" });
  });

  it("--wait: connects when a server listens", async () => {
    const { exit, stdout, stderr } = await fact("wait-boot");
    assert.equal(exit, 0, stderr);
    assert.ok(stdout.equals(digest));
    // Progress is shown if this takes 10 s.
    assert.match(stderr, /^(ssh-vsock-proxy: waiting for .*\n)*$/);
  });

  it("--wait: takes a late answer, and shows progress until then", async () => {
    const { exit, stdout, stderr } = await fact("wait-late");
    assert.equal(exit, 0, stderr);
    assert.ok(stdout.equals(digest));
    const lines =
      /^(ssh-vsock-proxy: waiting for vsock\/1 port 30, \d+\.\d s of 60\.0 s: connecting\n)*$/;
    assert.match(stderr, lines);
    assert.ok(lateSeconds < 10 || stderr !== "");
  });

  it("relays for an ssh without ProxyUseFdpass", async () => {
    assert.deepEqual(await fact("relay-ssh"), { exit: 42, stdout: digest, stderr: "" });
  });

  it("passes one byte and one blocking socket with unchanged options", () =>
    passed("passed", "vsock/1 port 22"));

  if (standalone) {
    it("makes no system call that docs/standalone.md does not list", async () => {
      const { exit, stderr } = await fact("calls");
      assert.equal(exit, 0, stderr);
      const log = await readFile(path.join(sshd.folder, "facts/calls.log"), "utf8");
      const names = log.matchAll(/^\d+ +(\w+)\(/gm);
      const [first, ...calls] = Array.from(names, ([, name = ""]) => name);
      assert.deepEqual([first, calls.at(-1)], ["execve", "exit_group"]);
      assert.deepEqual(
        calls.filter((name) => !documentedCalls().includes(name)),
        [],
      );
    });
  }

  // Without a transport to the hypervisor the kernel loops CID 2 back (vsock_use_local_transport).
  it("vsock/host is CID 2", () => passed("passed-host", "vsock/host port 22", 2));

  for (const [name, subject, code] of [
    ["no-vsock", "vsock/1 port 22", Code.NoVsock],
    ["no-listener", "vsock/1 port 22", Code.NotListening],
    ["other-port", "vsock/1 port 23", Code.NotListening],
    ["no-transport", "vsock/4711 port 22", Code.NoMachine],
    ["no-hypervisor", "vsock/hypervisor port 22", Code.NoMachine],
  ] as const) {
    it(`${name}: ${Code[code]}`, () => refused(name, subject, code));
  }

  it("silence: NoAnswer after --timeout", async () => {
    await refused("silence", "vsock/1 port 22", Code.NoAnswer);
    assert.ok((await played("silence")).exitNs >= 300_000_000);
  });

  it("takes a late answer within --timeout", async () => {
    await passed("late", "vsock/1 port 22");
    assert.ok(((await played("late")).handoffNs ?? 0) >= 1_500_000_000);
  });
});
