// The hosts are one program: in every run of the end-to-end suites the Node host and the standalone
// host end with the same exit code, say the same on stderr, and call the same imports in the same
// order with the same arguments and the same answers. Their debug builds record that
// (native/trace/trace.c, support/record.ts), each suite running once for each host, and here the
// runs are compared, the first with the first and so on.
//
// What differs from one run of one host to the next is masked first (support/canonical.ts):
// - Names that are made up anew: mkdtemp's folders, a process's number in an abstract name. They
//   are as long each time.
// - What the clock shows, and the process's number: a log's line begins with both. A time that the
//   program waits for stays: it is told by the clock's last answer, to the nanosecond. Of the lines
//   of -v, the time that they begin with.
// - How far a peer had come when the program looked, where that is a race by what the peer plays:
//   the pieces in which a multiplexer's answer arrives (what is taken of it stays, byte for byte),
//   whether the guest's bytes were there behind it, whether the end of a peer that leaves was seen
//   by the request or behind it, and, of any socket, by this wait or only by the read that follows.
// - A wait that ends without an event, before its time. The kernel may wake anybody for nothing.
// - Whether a relay for ssh, which ends it by SIGHUP, has come to its end before; and whether a peer
//   that closed with bytes unread was first met as a reset or as a broken pipe.
// - Of `ssh -v`, ssh's own words.
// Nothing else is: not even the addresses in the program's memory, because it is one program.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { canonical, hungUp } from "../support/canonical";
import { compile } from "../support/fake-ssh";
import { root } from "../support/proxy";
import { readRuns } from "../support/record";
import type { RunRecord } from "../support/record";

/** timeout(1)'s exit status. */
const TIMED_OUT = 124;

type Host = "node" | "standalone";

/**
 * The suites that start the proxy, the slowest first: they run side by side. Not wait.test.ts, since
 * how many attempts there are depends on the machine's pace, and not clients.test.ts, where most of
 * what clients do with the proxy is theirs to choose from run to run.
 */
const suites = [
  ...["vsock", "ssh", "relay", "handover", "paths", "multiplexer", "options", "command"],
] as const;
type Suite = (typeof suites)[number];

/** What of one host's runs is compared, in their order. */
type Recording = Promise<RunRecord[]>;

/** What a host could do otherwise in a run that succeeds, in one that fails, and in inPieces. */
const changes: Record<
  "success" | "failure" | "pieces",
  Record<string, (run: RunRecord) => RunRecord>
> = {
  success: {
    "another status for proc_exit": inTrace(/proc_exit status=0/, "proc_exit status=1"),
    "another argument": inTrace(/sock_open family=3/, "sock_open family=40"),
    "another address": inTrace(/(\*address=0300)2f/, "$12e"),
    "another argument on the command line": inTrace(/3232\n/, "3233\n"),
    "another pointer": inTrace(/ret_stat=(\d)/, "ret_stat=1$1"),
    "another deadline, by a nanosecond": inTrace(/deadline=\d+/, oneMore),
    "another end of a wait": inTrace(/timeout=\d+/, oneMore),
    "another errno": inTrace(/(sock_connect .* -> )0/, "$16"),
    "another byte sent": inTrace(/=434f4e4e/, "=434f4e4f"),
    "a byte more sent": inTrace(/(=434f4e4e\w+)/, "$100"),
    "another byte received": inTrace(/received=4f/, "received=4e"),
    "another descriptor passed": inTrace(/fds\[0\]=3/, "fds[0]=1"),
    "an import more": inTrace(/(fd_fdstat_get .*\n)/, "$1$1"),
    "an import less": inTrace(/fd_fdstat_get .*\n/, ""),
    "another order": inTrace(/(args_sizes_get .*\n)(environ_sizes_get .*\n)/, "$2$1"),
    "one more look at the clock": inTrace(/(clock_time_get .*\n)/, "$1$1"),
    "a wait more": inTrace(/(poll_oneoff .*\n)/, "$1$1"),
    "a wait less": inTrace(/poll_oneoff .*\n/, ""),
    "an end that is missing": inTrace(/proc_exit .*\n/, ""),
    "a trace that is missing": inTrace(/[^]*/, ""),
  },
  failure: {
    "another exit code": (run) => ({ ...run, exit: 71 }),
    "another letter on stderr": inStderr("closed", "closeD"),
    "a letter more on stderr": inStderr("\n", ".\n"),
  },
  pieces: {
    "another byte in one of several pieces": inTrace(/(flags=0 .*received=)4b/, "$14c"),
    "a piece that is not taken": inTrace(/sock_recv .* flags=0 .*received=4b\n/, ""),
    "a piece that is taken without a look": inTrace(/sock_recv .* flags=1 .*received=4b\n/, ""),
    "a look for more than is missing": inTrace(/buf_len=13 /, "buf_len=14 "),
    "another buffer for one of several pieces": inTrace(/buf=(\d+) (.*buf_len=13 )/, "buf=9 $2"),
    "a wait less for one of several pieces": inTrace(/poll_oneoff .*\n(.*buf_len=13 )/, "$1"),
  },
};

describe("the Node host and the standalone host", { timeout: 900_000 }, () => {
  const recordings = new Map<Suite, Record<Host, Recording>>();
  let folder: string;

  before(async () => {
    const build = [path.join(root, "scripts/build-trace.mjs")];
    const built = spawnSync(process.execPath, build, { encoding: "utf8" });
    assert.equal(built.status, 0, built.stderr);
    await Promise.all([compile("fake-ssh"), compile("listener")]);
    folder = mkdtempSync(path.join(tmpdir(), "hosts-"));
    // The proxy may run as another user, and finds its trace in there.
    chmodSync(folder, 0o755);
    const whenFree = atMost(availableParallelism());
    for (const suite of suites) {
      const start = (host: Host) => {
        const recording = whenFree(() => record(suite, host, path.join(folder, host)));
        // A failure is told by the suite's own test, which may not wait for it yet.
        recording.catch(() => undefined);
        return recording;
      };
      recordings.set(suite, { node: start("node"), standalone: start("standalone") });
    }
  });
  after(async () => {
    const all = [...recordings.values()].flatMap((recording) => Object.values(recording));
    await Promise.allSettled(all);
    rmSync(folder, { recursive: true, force: true });
  });

  async function runs(suite: Suite): Promise<Record<Host, RunRecord[]>> {
    const recording = recordings.get(suite);
    assert.ok(recording);
    return { node: await recording.node, standalone: await recording.standalone };
  }

  for (const suite of suites) {
    it(`do the same in every run of ${suite}.test.ts`, async (t) => {
      const { node, standalone } = await runs(suite);
      assert.ok(node.length > 0, "nothing was recorded");
      for (let i = 0; i < Math.max(node.length, standalone.length); i++) {
        const [one, other] = [node[i], standalone[i]];
        const { command } = canonical((one ?? other) as RunRecord);
        await t.test(`${i + 1}: ${shorten(command)}`, () => {
          assert.ok(one !== undefined, "the standalone host alone has run it");
          assert.ok(other !== undefined, "the Node host alone has run it");
          assertSame(one, other);
        });
      }
    });
  }

  describe("would differ", () => {
    let base: Record<keyof typeof changes, RunRecord>;
    before(async () => {
      const { node } = await runs("multiplexer");
      const play = (scenario: string): RunRecord =>
        node.find(({ command }) => command.includes(`/${scenario} `)) ?? assert.fail(scenario);
      const success = play("firecracker");
      base = { success, failure: play("eof"), pieces: inPieces(success) };
    });

    for (const [kind, table] of Object.entries(changes)) {
      for (const [what, change] of Object.entries(table)) {
        it(`by ${what}`, () => {
          const run = base[kind as keyof typeof changes];
          const changed = change(run);
          assert.notDeepEqual(changed, run);
          assert.throws(() => {
            assertSame(run, changed);
          }, assert.AssertionError);
        });
      }
    }
    it("but not by the pieces in which bytewise answers", () => {
      const whole = { ...base.success, command: base.pieces.command };
      assertSame(whole, base.pieces);
    });
  });
});

/** Starts jobs, so many at once. */
function atMost(count: number): <T>(job: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let free = count;
  return async (job) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await job();
    } finally {
      const next = waiting.shift();
      if (next === undefined) free++;
      else next();
    }
  };
}

/** Runs a suite, which must pass, and gives what it has recorded. */
async function record(suite: Suite, host: Host, folder: string): Recording {
  mkdirSync(folder, { recursive: true });
  const env: NodeJS.ProcessEnv = { ...process.env, PROXY_HOST: host, PROXY_TRACE: folder };
  // Without it, the suite is a run of tests of its own, and not a part of this one.
  delete env["NODE_TEST_CONTEXT"];
  const file = path.join(root, "tests", `${suite}.test.ts`);
  const child = spawn(process.execPath, ["--import", "tsx", "--test-reporter=tap", file], {
    cwd: root,
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes: Buffer) => said.push(bytes));
  }
  const [status] = (await once(child, "close")) as [number | null];
  assert.equal(status, 0, `${suite}.test.ts fails on ${host}:\n${Buffer.concat(said).toString()}`);
  return readRuns(folder, suite);
}

/** Whether a relay was ended, whose import then never comes back: by us, by timeout(1), by ssh. */
function endsBySignal({ command, exit }: RunRecord): boolean {
  return exit === null || exit === TIMED_OUT || hungUp.test(command);
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}

function assertSame(one: RunRecord, other: RunRecord): void {
  const run = canonical(one);
  assert.match(
    run.imports.at(-1) ?? "",
    endsBySignal(one) ? /^sock_connect / : /^proc_exit status=\d+$/,
    "its trace ends too early",
  );
  assert.deepEqual(canonical(other), run);
}

/** A time that is later by a nanosecond. */
function oneMore(field: string): string {
  return field.replace(/\d+/, (digits) => `${BigInt(digits) + 1n}`);
}

function inTrace(what: RegExp, by: string | typeof oneMore): (run: RunRecord) => RunRecord {
  return (run) => ({ ...run, trace: run.trace.replace(what, by as string) });
}

function inStderr(what: string, by: string): (run: RunRecord) => RunRecord {
  return (run) => ({ ...run, stderr: run.stderr.replace(what, by) });
}

/** A run with Firecracker as if it had been one with bytewise, each byte of whose answer came alone. */
function inPieces(run: RunRecord): RunRecord {
  const piece = (line: string, room: number, hex: string): string =>
    line
      .replace(/buf_len=\d+/, `buf_len=${room}`)
      .replace(/\*ret_len=\d+/, `*ret_len=${hex.length / 2}`)
      .replace(/received=\w+/, `received=${hex}`);
  const round = /(poll_oneoff .*\n)(sock_recv .* flags=1 .*\n)(sock_recv .* flags=0 .*\n)/;
  const [all = "", wait = "", look = "", take = ""] = round.exec(run.trace) ?? [];
  const bytes = /received=(\w+)/.exec(take)?.[1]?.match(/../g) ?? [];
  const rounds = bytes.map(
    (byte, i) => wait + piece(look, bytes.length - i, byte) + piece(take, 1, byte),
  );
  return {
    ...run,
    command: run.command.replace("/firecracker ", "/bytewise "),
    trace: run.trace.replace(all, rounds.join("")),
  };
}
