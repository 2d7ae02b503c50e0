// The two hosts run one program, and a deterministic one: each of many arbitrary cases leads to the
// same imports on both, in the same order, with the same arguments and results, bit by bit. compare.ts
// says how, and replays one case.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import type { HostCase } from "../support/draft";
import { makeCase, unixTarget } from "../support/case";
import { loadVsock, runInGuest } from "../support/guest";
import { exitStatuses } from "../support/oracle";
import { all, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { shellQuote } from "../support/sshd";
import { vsockCases } from "./vsock-cases";
import { compareAnswers, compareMany, hosts, prepare, summaryOf } from "./compare";
import { Lockstep, answerIn, linesOf, requestOf, scriptOf } from "./lockstep";
import type { Answer } from "./lockstep";

const SEED = 1;
/** Enough for every exit status; with TEST_ALL for every combination that once mattered. */
const COUNT = all ? 1000 : 100;

before(prepare);

describe("both hosts in lock-step", { timeout: 900_000 }, () => {
  it(`do the same in ${COUNT} cases`, async (t) => {
    const [tally, failures] = await compareMany(SEED, COUNT);
    t.diagnostic(`seed ${SEED}`);
    for (const line of summaryOf(tally)) t.diagnostic(line);
    assert.deepEqual(failures, []);
    assert.deepEqual([...tally.exits.keys()].sort(), exitStatuses);
  });

  it("do the same with AF_VSOCK, in the guest", async () => {
    const folder = makeFolder("lockstep");
    const requests = vsockCases.flatMap((one) =>
      Object.values(hosts).map((command) => requestOf(command, scriptOf(one))),
    );
    writeFileSync(path.join(folder, "requests"), `${requests.join("\n")}\n`);
    const player = shellQuote(path.join(root, "tests/hosts/lockstep.py"));
    // Sockets and FIFOs of the guest's own, and not of this machine's file system.
    const play = `TMPDIR=/run python3 ${player} --vsock <${shellQuote(folder)}/requests`;
    const { exit, stdout, stderr } = await runInGuest(`${loadVsock}\n${play}\n`, {
      timeoutMs: 600_000,
    });
    assert.deepEqual({ exit, stderr }, { exit: 0, stderr: "" });
    const answers = stdout.trimEnd().split("\n").map(answerIn);
    assert.equal(answers.length, requests.length);
    const names = Object.keys(hosts);
    vsockCases.forEach((one, i) => {
      const own = names.map((name, j) => [name, answers[i * names.length + j] as Answer] as const);
      compareAnswers(one, new Map(own));
    });
  });
});

/** A descriptor passed behind a multiplexer, and everything that a clock gets into. */
const sample: HostCase = {
  ...makeCase({
    name: "sample",
    args: ["-v", "--log-file", "./log", "vsock-mux/./peer"],
    target: { ...unixTarget("vsock-mux", "./peer"), port: 22 },
    subject: "vsock-mux/./peer port 22",
    verbose: true,
    log: { path: "./log", subject: "./log" },
    world: { attempts: [{ reply: ["OK 7\nSSH"] }] },
    code: Code.Done,
  }),
  form: 0,
};

/** What one host could do otherwise in it. */
const changes: Record<string, (answer: Answer) => Answer> = {
  "another exit status": (answer) => ({ ...answer, exit: 71 }),
  "another argument": inTrace(/family=3/, () => "family=40"),
  "another pointer": inTrace(/ret_fd=\d+/, oneMore),
  "another errno": inTrace(/(?<=^sock_connect .* -> )0/, () => "6"),
  "another byte sent": inTrace(/=434f4e4e/, () => "=434f4e4f"),
  "a byte less received": inTrace(/(?<=received=4f4b2037)0a/, () => ""),
  "an import more": (answer) => ({ ...answer, trace: answer.trace.flatMap(twice) }),
  "an import less": (answer) => ({ ...answer, trace: answer.trace.slice(0, -1) }),
  "another order": (answer) => ({ ...answer, trace: answer.trace.toReversed() }),
  "a deadline one nanosecond later": inTrace(/ deadline=\d+/, oneMore),
  "a wait one nanosecond longer": inTrace(/\.timeout=\d+/, oneMore),
  "a clock that goes back": inTrace(/(?<=^clock_time_get clock=1 .*\*ret_time=)\d+$/, () => "1"),
  "a wrong time in the log": inText(/\d ms/, (digit) => `${(digit + 1) % 10} ms`),
  "a wrong date in the log": inText(/\d\.\d{3}Z/, (digit) => `${(digit + 1) % 10}.000Z`),
  "another process in the log": (answer) => ({ ...answer, pid: answer.pid + 1 }),
  "a letter on stderr without a write": (answer) => ({ ...answer, stderr: "78" }),
  "a byte on stdout": (answer) => ({ ...answer, stdout: "01" }),
  "a second descriptor": (answer) => ({ ...answer, passed: [{ bytes: "00", fds: 2 }] }),
  "a missing byte of the guest's": (answer) => ({
    ...answer,
    remaining: answer.remaining.slice(2),
  }),
  "a byte less for the peer": ({ peers: [peer], ...answer }) => ({
    ...answer,
    peers: [{ received: "", sent: peer?.sent ?? "" }],
  }),
};

function twice(line: string): string[] {
  return line.startsWith("sock_open") ? [line, line] : [line];
}

/** A number that is greater by one. */
function oneMore(field: string): string {
  return field.replace(/\d+/, (digits) => `${BigInt(digits) + 1n}`);
}

/** Changes the first line that matches. */
function inTrace(what: RegExp, by: (match: string) => string): (answer: Answer) => Answer {
  return (answer) => {
    const at = answer.trace.findIndex((line) => what.test(line));
    const trace = answer.trace.map((line, i) => (i === at ? line.replace(what, by) : line));
    return { ...answer, trace };
  };
}

/** Changes a text that is written to the log. */
function inText(what: RegExp, by: (digit: number) => string): (answer: Answer) => Answer {
  return inTrace(/(?<=^fd_write fd=3 .*\.bytes=)\w+/, (bytes) => {
    const text = Buffer.from(bytes, "hex").toString("latin1");
    const changed = text.replace(what, (match) => by(Number(match.slice(0, 1))));
    return Buffer.from(changed, "latin1").toString("hex");
  });
}

describe("the comparison notices", () => {
  let answer: Answer;
  before(async () => {
    const player = new Lockstep();
    answer = await player.play(hosts.standalone, scriptOf(sample));
    await player.end();
    assert.equal(answer.exit, 0);
  });

  for (const [what, change] of Object.entries(changes)) {
    it(what, () => {
      const changed = change(answer);
      assert.notDeepEqual(changed, answer);
      assert.throws(() => {
        compareAnswers(
          sample,
          new Map([
            ["one", answer],
            ["other", changed],
          ]),
        );
      }, /differs/);
    });
  }
  it("the same fault of both hosts, by the rules that hold for every run", () => {
    const both = { ...answer, stdout: "01" };
    assert.throws(() => {
      compareAnswers(
        sample,
        new Map([
          ["one", both],
          ["other", both],
        ]),
      );
    }, /descriptor 1|bytes/);
  });
  it("but not when it is", () => {
    const later = (time: string) => `${BigInt(time) + 86_400_123_456_789n}`;
    const times = /(?<=^clock_time_get clock=1 .*\*ret_time=| deadline=|\.timeout=)\d+/g;
    const trace = answer.trace.map((line) => line.replaceAll(times, later));
    assert.notDeepEqual(trace, answer.trace);
    assert.deepEqual(linesOf(sample, { ...answer, trace }), linesOf(sample, answer));
  });
});
