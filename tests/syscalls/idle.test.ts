// Whatever a peer does, waiting costs no processor: up to the hand-over, and in a relay, the executable
// makes the same few system calls, however long it waits. strace counts them, so that the machine's pace does not matter:
// one that spins makes thousands in a second, and one that waits never makes more than these.
//
// And an out-of-band byte of a multiplexer, which made it spin, costs no byte of the guest, wherever it is.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";

import { Code } from "../../assembly/codes";
import { makeCase } from "../support/case";
import { checkOutcome } from "../support/outcome";
import { root } from "../support/proxy";
import { tool } from "../support/tools";
import { program, startPeers } from "./scenarios";
import type { Peers } from "./scenarios";

/** What urgent-peer.py plays; it describes them. */
interface World {
  sends?: string[];
  early?: boolean;
  paced?: boolean;
  ssh?: string[] | "full";
  stderr?: "full" | "terminal";
  relay?: {
    stdin?: "pipe" | "unix" | "tcp";
    sends?: readonly string[];
    stdout?: "pipe" | "unix" | "stopped";
    stopped?: boolean;
  };
}

interface Played {
  exit: number;
  stderr: string;
  read: string | null;
}

/** More than any of the runs needs: each of its six attempts makes some 20, with the pause. */
const CALLS_MAX = 250;
/** Of an attempt, and of --wait: time to spin for. */
const timeout = "--timeout=1s";
const wait = "--wait=2500ms";
const BANNER = "SSH-2.0-a-machine\r\n";

/** The runs mostly wait. */
const group = { concurrency: 8, timeout: 300_000 };

let peers: Peers;
before(async () => {
  peers = await startPeers();
});
after(() => peers.close());

async function play(world: World, command: string[], own: string): Promise<Played> {
  const script = path.join(root, "tests/syscalls/urgent-peer.py");
  const words = [script, JSON.stringify({ path: `${own}/s`, ...world }), ...command];
  const env = { ...process.env, TERM: "xterm-256color" };
  const { stdout } = await promisify(execFile)(tool("python3"), words, { env });
  return JSON.parse(stdout) as Played;
}

/** Plays it under strace, and checks the number of system calls. */
async function playTraced(world: World, words: string[], own: string): Promise<Played> {
  const log = path.join(own, "strace");
  const strace = [tool("strace"), "-D", "-qq", "-o", log];
  const played = await play(world, [...strace, program, ...words], own);
  const calls = readFileSync(log, "latin1").split("\n");
  assert.ok(calls.length <= CALLS_MAX, `${calls.length} calls:\n${calls.slice(-9).join("\n")}`);
  return played;
}

const newFolder = (): string => mkdtempSync(path.join(peers.folder, "idle-"));

describe("waiting makes no system calls", group, () => {
  const mux = (own: string): string => `vsock-mux${own}/s`;
  const full = (): string => `unix${peers.folder}/full`;
  const absent = (own: string): string => `unix${own}/absent`;
  const unix = (own: string): string => `unix${own}/s`;
  const states: [string, (own: string) => string, string[], World, Code][] = [
    ["for a full accept queue", full, [timeout], {}, Code.QueueFull],
    ["for a silent multiplexer", mux, [timeout], {}, Code.ReplyTimeout],
    ["after an out-of-band byte", mux, [timeout], { sends: ["!x"] }, Code.ReplyTimeout],
    ["after one before CONNECT", mux, [timeout], { sends: ["!x"], early: true }, Code.ReplyTimeout],
    ["after half a line", mux, [timeout], { sends: ["+OK 10"] }, Code.ReplyTimeoutWithinLine],
    ["and one within", mux, [timeout], { sends: ["+OK 10", "!x"] }, Code.ReplyTimeoutWithinLine],
    ["and in front", mux, [timeout], { sends: ["!x", "+OK 10"] }, Code.ReplyTimeoutWithinLine],
    ["with --wait", mux, [timeout, wait], { sends: ["!x"] }, Code.ReplyTimeout],
    ["for a peer that has shut down", mux, [wait], { sends: ["end"] }, Code.EndOfFile],
    ["and was urgent before", mux, [wait], { sends: ["!x", "end"] }, Code.EndOfFile],
    ["for a socket's file", absent, [wait], {}, Code.NoSocket],
    ["while ssh has sent something", absent, [wait], { ssh: ["+x"] }, Code.NoSocket],
    ["while ssh was urgent", absent, [wait], { ssh: ["!x"] }, Code.NoSocket],
    ["for ssh to take the descriptor", unix, [timeout], { ssh: "full" }, Code.FdPassTimeout],
    ["for a full stderr", absent, ["-v", wait], { stderr: "full" }, Code.NoSocket],
    ["with progress on a full terminal", mux, [wait], { stderr: "terminal" }, Code.ReplyTimeout],
  ];
  for (const [what, addressIn, options, world, code] of states) {
    it(`${what}: ${Code[code]}`, async () => {
      const own = newFolder();
      const address = addressIn(own);
      const { stderr, exit } = await playTraced(world, [...options, address], own);
      const one = makeCase({
        name: "idle",
        subject: address.startsWith("vsock-mux") ? `${address} port 22` : address,
        waitMs: options.includes(wait) ? 2500 : 0,
        verbose: options.includes("-v"),
        world: world.stderr === undefined ? {} : { stderr: "full pipe" },
        code,
      });
      checkOutcome(one, { exit, stderr: Buffer.from(stderr, "latin1") });
    });
  }
});

describe("a relay that waits makes no system calls", group, () => {
  const [never, linger] = ["--half-close=never", "--linger=60s"];
  const ok = "+OK 5\n";
  const full = { stdin: "tcp", sends: ["fill"], stopped: true } as const;
  const states: [
    what: string,
    relay: World["relay"] & object,
    sends: string[],
    words?: string[],
  ][] = [
    ["for either side", {}, []],
    ["with an urgent byte of the peer", {}, ["!x"]],
    ["with one behind others", {}, ["+ab", "!x"]],
    ["with one towards a socket", { stdout: "unix" }, ["!x"]],
    ["with one towards a stopped reader", { stdout: "stopped" }, ["+ab", "!x"]],
    ["with one of the peer that then ends", {}, ["!x", "end"]],
    ["with one of a unix socket as stdin", { stdin: "unix", sends: ["!x"] }, []],
    ["with one of a TCP socket as stdin", { stdin: "tcp", sends: ["!x"] }, []],
    ["with one behind others of it", { stdin: "tcp", sends: ["+ab", "!x"] }, []],
    ["with one of it, and a stopped peer", { ...full, sends: ["!x", "fill"] }, []],
    ["with one of each", { stdin: "tcp", sends: ["!x"], stdout: "unix" }, ["!x"]],
    ["with one of stdin before its end", { stdin: "tcp", sends: ["!x", "end"] }, []],
    ["after the end of stdin", { sends: ["end"] }, []],
    ["after it, with --half-close=never", { sends: ["end"] }, [], [never]],
    ["after it, with --linger", { sends: ["end"] }, [], [linger]],
    ["after it, and an urgent byte", { sends: ["end"] }, ["!x"], [never, linger]],
    ["after that of the peer", {}, ["end"]],
    ["after that of the peer, for room", full, ["end"]],
    ["for a stopped reader", { stdout: "stopped" }, ["fill"]],
    ["for it, after the end of stdin", { stdout: "stopped", sends: ["end"] }, ["fill"], [linger]],
    ["for it, after the end of the peer", { stdout: "stopped" }, ["+ab", "end"]],
    ["for it, and a stopped peer", { stdout: "stopped", ...full }, ["fill"]],
    ["over vsock-mux, after the end of stdin", { sends: ["end"] }, [ok]],
    ["over vsock-mux, with an urgent byte", { sends: ["end"] }, [ok, "!x"]],
  ];
  for (const [what, relay, sends, words = []] of states) {
    it(what, async () => {
      const own = newFolder();
      const mux = sends.includes(ok);
      const command = ["--stdio", ...words, `${mux ? "vsock-mux" : "unix"}${own}/s`];
      const played = await playTraced({ sends, early: !mux, relay }, command, own);
      // It has waited to the end.
      assert.deepEqual(played, { exit: -9, stderr: "", read: null });
    });
  }
});

describe("an out-of-band byte", group, () => {
  // Not two of them: with the second, the kernel makes the first one an ordinary byte, unless it was
  // passed over before.
  const orders: [string, string[]][] = [
    ["before the OK line", ["!x", "+OK 5\n", `+${BANNER}`]],
    ["within it", ["+OK ", "!x", `+5\n${BANNER}`]],
    ["before its newline", ["+OK 5", "!x", `+\n${BANNER}`]],
    ["after it", ["+OK 5\n", "!x", `+${BANNER}`]],
  ];
  for (const [where, sends] of orders) {
    for (const how of ["at once", "one by one"]) {
      it(`${where}, ${how}`, async () => {
        const own = newFolder();
        const world = { sends: [...sends, "end"], paced: how === "one by one" };
        const command = [program, "--timeout=20s", `vsock-mux${own}/s`];
        assert.deepEqual(await play(world, command, own), { exit: 0, stderr: "", read: BANNER });
      });
    }
  }
});
