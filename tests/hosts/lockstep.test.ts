// The hosts are one program, and a deterministic one: each of 1,000 generated scripts leads to the
// same imports on both, in the same order, with the same arguments and answers, bit by bit, and on the
// same host again. tests/hosts/scripts.ts has the scripts, and plays one alone.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";

import { compareAll, hosts, makeScript, prepare, summaryOf } from "./scripts";
import type { Comparison } from "./scripts";
import { Lockstep, outcomeOf } from "./lockstep";
import type { Answer, Script } from "./lockstep";

const SEED = 1;
const COUNT = 1000;
/** Each of them comes up; 70 would be a defect of the program. */
const EXITS = [0, 64, 68, 69, 71, 75, 76, 77];

/** So many differences are told in full. */
const TOLD = 5;

const hex = (text: string) => Buffer.from(text).toString("hex");

/** A hand-over behind a multiplexer, with all that a clock gets into. */
const sample: Script = {
  arguments: ["-v", "--log-file", "./log", "vsock-mux/./peer"].map(hex),
  environment: [],
  stdin: { kind: "null", content: "", ends: true },
  stdout: "unix",
  stderr: "pipe",
  socket: hex("./peer"),
  attempts: [{ place: "listens", connected: [], asked: ["read", hex("OK 7\n")] }],
  relay: null,
  leaves: 0,
  timeout: 5000,
  wait: 0,
};

/** What one host could do otherwise in it. */
const changes: Record<string, (answer: Answer) => Answer> = {
  "another exit status": (answer) => ({ ...answer, exit: 71 }),
  "another argument": inTrace(/family=3/, () => "family=40"),
  "another pointer": inTrace(/ret_fd=\d+/, oneMore),
  "another answer": inTrace(/(?<=^sock_connect .* -> )0/, () => "6"),
  "another byte sent": inTrace(/=434f4e4e/, () => "=434f4e4f"),
  "another piece": inTrace(/(?<=received=4f4b2037)0a/, () => ""),
  "an import more": (answer) => ({ ...answer, trace: answer.trace.flatMap(twice) }),
  "an import less": (answer) => ({ ...answer, trace: answer.trace.slice(0, -1) }),
  "a deadline later by a nanosecond": inTrace(/ deadline=\d+/, oneMore),
  "a wait longer by a nanosecond": inTrace(/\.timeout=\d+/, oneMore),
  "a clock that goes back": inTrace(/(?<=^clock_time_get clock=1 .*\*ret_time=)\d+$/, () => "1"),
  "a time in the log that has not passed": inText(/\d ms/, (digit) => `${(digit + 1) % 10} ms`),
  "a second in the log that was none": inText(/\d\.\d{3}Z/, (digit) => `${(digit + 1) % 10}.000Z`),
  "another process in the log": (answer) => ({ ...answer, pid: answer.pid + 1 }),
  "a letter on stderr that it has not written": (answer) => ({ ...answer, stderr: "78" }),
  "another byte on stdout": (answer) => ({ ...answer, stdout: "01" }),
  "a second descriptor handed over": (answer) => ({ ...answer, descriptors: 2 }),
  "a byte of the guest's that is missing": (answer) => ({
    ...answer,
    behind: answer.behind.slice(2),
  }),
  "a byte less for the peer": (answer) => ({ ...answer, received: answer.received.slice(2) }),
};

function twice(line: string): string[] {
  return line.startsWith("sock_open") ? [line, line] : [line];
}

/** A number that is larger by one. */
function oneMore(field: string): string {
  return field.replace(/\d+/, (digits) => `${BigInt(digits) + 1n}`);
}

/** Changes the first line in which there is something to change. */
function inTrace(what: RegExp, by: (match: string) => string): (answer: Answer) => Answer {
  return (answer) => {
    const at = answer.trace.findIndex((line) => what.test(line));
    const trace = answer.trace.map((line, i) => (i === at ? line.replace(what, by) : line));
    return { ...answer, trace };
  };
}

/** The same in a text that is written to the log. */
function inText(what: RegExp, by: (digit: number) => string): (answer: Answer) => Answer {
  return inTrace(/(?<=^fd_write fd=3 .*\.bytes=)\w+/, (bytes) => {
    const text = Buffer.from(bytes, "hex").toString("latin1");
    return hex(text.replace(what, (match) => by(Number(match.slice(0, 1)))));
  });
}

describe("the hosts in lock-step", { timeout: 900_000 }, () => {
  let results: Comparison[];
  before(() => {
    prepare();
  });

  it(`do the same in ${COUNT} scripts, and do it again`, async (t) => {
    results = await compareAll(
      SEED,
      Array.from({ length: COUNT }, (_, i) => i),
    );
    for (const line of summaryOf(SEED, results)) t.diagnostic(line);
    const differences = results.flatMap(({ difference }) => difference ?? []);
    const told = differences.slice(0, TOLD).join("\n");
    assert.equal(differences.length, 0, `${differences.length} scripts differ, so these:\n${told}`);
  });
  it("come to every exit status", () => {
    assert.deepEqual([...new Set(results.map(({ exit }) => exit))].sort(), EXITS);
  });
  it("play scripts that are made of the seed and a number alone", () => {
    for (let number = 0; number < COUNT; number++) {
      assert.deepEqual(makeScript(SEED, number), makeScript(SEED, number));
    }
    assert.notDeepEqual(makeScript(SEED, 0), makeScript(SEED + 1, 0));
  });

  describe("would differ", () => {
    let answer: Answer;
    before(async () => {
      const lockstep = new Lockstep();
      answer = await lockstep.play(hosts["the standalone host"], sample);
      lockstep.end();
      assert.equal(answer.exit, 0);
    });

    for (const [what, change] of Object.entries(changes)) {
      it(`by ${what}`, () => {
        const changed = change(answer);
        assert.notDeepEqual(changed, answer);
        assert.notDeepEqual(outcomeOf(changed, sample).lines, outcomeOf(answer, sample).lines);
      });
    }
    it("but not by when it is", () => {
      const later = (time: string) => `${BigInt(time) + 86_400_123_456_789n}`;
      const trace = answer.trace.map((line) =>
        line.replaceAll(
          /(?<=^clock_time_get clock=1 .*\*ret_time=| deadline=|\.timeout=)\d+/g,
          later,
        ),
      );
      assert.notDeepEqual(trace, answer.trace);
      assert.deepEqual(outcomeOf({ ...answer, trace }, sample), outcomeOf(answer, sample));
    });
  });
});
