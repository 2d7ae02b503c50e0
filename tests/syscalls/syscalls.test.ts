// The standalone executable when the kernel fails it. strace injects into every system call of every
// scenario of scenarios.ts: once every errno of its man page, once a signal, and into some a result that is
// less than was asked for. Without TEST_ALL, each call of a scenario fails with one of its errnos, a
// different one from call to call.
//
// A failure ends with the command that makes its run again.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { all } from "../support/proxy";
import { documentedCalls } from "../support/system-calls";
import { errorsOf, listedCalls } from "./errnos";
import { attempt, replay } from "./run";
import type { Attempt } from "./run";
import { scenarios, startPeers, textOf } from "./scenarios";
import type { Injection, Peers, Scenario } from "./scenarios";
import { callsOf, injectedLine } from "./verdict";

/** Runs at the same time: most of a run is waiting for other processes. */
const AT_ONCE = 8;
/** A scenario ends after this many failures. */
const FAILURES_MAX = 5;
const limit = { timeout: 900_000 };

let peers: Peers;
let made = 0;
let missed = 0;
/** The calls that some scenario makes. */
const seen = new Set<string>();

before(async () => {
  peers = await startPeers();
});
after(async () => {
  await peers.close();
  console.log(`# ${made} runs with an injection, and ${missed} that ended before theirs`);
});

/** A failure: the command that makes it again, and what that shows. */
function report(
  name: string,
  text: string | undefined,
  { wrong, stderr = Buffer.of() }: Attempt,
): string {
  return [replay(name, text), ...wrong, stderr.toString()].join("\n    ");
}

let turn = 0;
/** All of the list; without TEST_ALL the one whose turn it is. */
function chosen<T>(list: readonly T[]): readonly T[] {
  if (all || list.length === 0) return list;
  return [list[turn++ % list.length] as T];
}

/** Runs the scenario without an injection, and once for each one into each of its calls. */
async function tryAll(
  name: string,
  listed: (call: string, line: string) => readonly string[],
): Promise<void> {
  const plain = await attempt(peers, name);
  assert.equal(plain.wrong.length, 0, report(name, undefined, plain));
  const { always, only } = scenarios[name] as Scenario;
  const own = always?.map((text) => text.split(":")[0]);
  const injections = callsOf(plain.trace).flatMap(({ call, when, line }): Injection[] => {
    seen.add(call);
    // strace takes one injection for a call. The scenario's own is into the first.
    if (only?.includes(call) === false || (own?.includes(call) && when > 1)) return [];
    return listed(call, line).map((what) => ({ call, when, what }));
  });
  assert.ok(injections.length > 0, "nothing to inject");
  const failures: string[] = [];
  const spared = new Set(injections.map(({ call }) => call));
  const work = async (): Promise<void> => {
    for (let next; failures.length < FAILURES_MAX && (next = injections.shift()) !== undefined;) {
      const tried = await attempt(peers, name, textOf(next));
      made++;
      if (injectedLine(tried.trace, next) === undefined) missed++;
      else spared.delete(next.call);
      if (tried.wrong.length > 0) failures.push(report(name, textOf(next), tried));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  assert.equal(failures.length, 0, `\n${failures.join("\n")}`);
  assert.equal(spared.size, 0, `${replay(name)}: nothing was injected into ${[...spared].join()}`);
}

describe("every system call fails", limit, () => {
  it("there are errnos for every call that docs/standalone.md lists", () => {
    assert.deepEqual(listedCalls, documentedCalls());
  });
  for (const name of Object.keys(scenarios)) {
    it(name, () => tryAll(name, (call) => chosen(errorsOf(call)).map((error) => `error=${error}`)));
  }
  it("and every call is made by a scenario, but write(2), which reports a defect", () => {
    assert.deepEqual(
      documentedCalls().filter((call) => !seen.has(call)),
      ["write"],
    );
  });
});

describe("a signal arrives at each system call", limit, () => {
  for (const name of Object.keys(scenarios)) {
    it(`${name}: SIGWINCH changes nothing, SIGTERM ends it`, () =>
      tryAll(name, () => chosen(["signal=SIGWINCH", "signal=SIGTERM"])));
  }
});

describe("a system call moves less than was asked for", limit, () => {
  /** Lengths from `first` up to that of the only buffer. */
  function lengths(line: string, first: number, step: number): string[] {
    const size = Number(/iov_len=(\d+)/.exec(line)?.[1]);
    const count = Math.ceil((size - first) / step);
    return Array.from({ length: count }, (_, i) => `retval=${first + i * step}`);
  }

  it("stderr gets the rest of a line", () =>
    tryAll("refused", (call, line) => (call === "writev" ? lengths(line, 1, 10) : [])));
  it("a request that is sent in part is a failure", () =>
    tryAll("vsock-mux/", (_, line) => (line.includes('"CONNECT') ? lengths(line, 0, 1) : [])));
  it("an end of file within the reply is a failure, and one that only a look shows is none", () =>
    tryAll("vsock-mux/", (call) => (call === "recvmsg" ? ["retval=0"] : [])));
});

describe("waits that are interrupted again and again", limit, () => {
  for (const [name, call] of [
    ["silence", "ppoll"],
    ["full-queue", "connect"],
  ] as const) {
    it(`${name}: end at the deadline`, async () => {
      const storm = `${call}:error=EINTR:delay_exit=50000:when=2..40`;
      const tried = await attempt(peers, name, storm);
      assert.equal(tried.wrong.length, 0, report(name, storm, tried));
    });
  }
});
