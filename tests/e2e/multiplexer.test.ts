// The proxy against every behaviour of a multiplexer (support/multiplexer.ts), as ssh would see it.
//
// A failure hands nothing over, says one line and leaves by the right code; a success leaves the
// guest's bytes in the passed socket, from the first one on.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { scenarios } from "../support/multiplexer";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { fakeSsh } from "../support/fake-ssh";
import type { Outcome } from "../support/fake-ssh";
import { proxyCommand } from "../support/proxy";
import { forgetRun } from "../support/record";
import { startSshd } from "../support/sshd";

/** sysexits.h, as the proxy uses it. */
const REFUSED = 69;
const DEADLINE = 75;
const PROTOCOL = 76;

/** What a scenario comes to: an exit code, or the first bytes that ssh reads. */
const outcomes: Readonly<Record<string, number | string>> = {
  firecracker: "SSH-2.0-",
  "cloud-hypervisor": "SSH-2.0-",
  "vhost-device-vsock": "SSH-2.0-",
  dragonball: "SSH-2.0-",
  "ok-and-banner": "SSH-2.0-",
  "short-ok-and-banner": "SSH-2.0-",
  bytewise: "SSH-2.0-",
  "one-read": "SSH-2.0-",
  max: "SSH-2.0-",
  short: "SSH-2.0-",
  "line-before-banner": "hello from the guest\r\nSSH-2.0-",

  silence: DEADLINE,
  "half-line-then-silence": DEADLINE,
  eof: REFUSED,
  reset: REFUSED,
  full: REFUSED,
  "half-line-then-eof": PROTOCOL,

  overlong: PROTOCOL,
  "ok-without-number": PROTOCOL,
  "over-u32": PROTOCOL,
  negative: PROTOCOL,
  "trailing-text": PROTOCOL,
  crlf: PROTOCOL,
  "lower-case": PROTOCOL,
  nul: PROTOCOL,
  "nul-behind-number": PROTOCOL,
  flood: PROTOCOL,
  "error-text": PROTOCOL,
};

/** What the line says, where it is not that the answer is no OK line. */
const reasons: Readonly<Record<string, RegExp>> = {
  silence: /deadline passed: no answer from the multiplexer/,
  "half-line-then-silence": /deadline passed in the middle of the multiplexer's OK line/,
  eof: /connection closed by the multiplexer: nothing listens on that port/,
  // Closed at once, it is the request that fails or the answer that ends, as it happens.
  full: /connection (closed by the multiplexer|reset: the multiplexer dropped)/,
  reset: /connection reset: the multiplexer dropped the connection/,
  "half-line-then-eof": /connection closed in the middle of the multiplexer's OK line/,
  "over-u32": /the number in the multiplexer's OK line is above 4294967295/,
};
const noOkLine = /the answer to CONNECT is not a line of OK and a number/;

/** These two never read the command, so nothing is logged. */
const unread = ["reset", "full"];

/**
 * For the proxy's --timeout: one that must pass, and one that the test's own limit comes before.
 */
const soonMs = 400;
const neverMs = 60_000;
const limitMs = 20_000;

describe("a multiplexer", { timeout: 300_000 }, () => {
  const started: { close(): Promise<void> }[] = [];
  let multiplexer: Multiplexer;

  before(async () => {
    const sshd = await startSshd(proxyCommand());
    started.push(sshd);
    const backend = `${sshd.folder}/sshd.sock`;
    await sshd.listen(backend);
    multiplexer = await startMultiplexer(backend);
    started.push(multiplexer);
  });
  after(async () => {
    for (const one of started.reverse()) await one.close();
  });

  function play(scenario: string, timeoutMs: number, readBytes = 0): Promise<Outcome> {
    const address = `vsock-mux${multiplexer.socket(scenario)}`;
    return fakeSsh([...proxyCommand(), "--timeout", `${timeoutMs}ms`, address, "22"], {
      readBytes,
      readMs: limitMs,
      deadlineMs: limitMs,
    });
  }

  /** Gives the multiplexer more time where it has not come to what it plays before the deadline. */
  async function playToDeadline(scenario: string, reason: RegExp): Promise<Outcome> {
    for (let timeoutMs = soonMs; ; timeoutMs *= 2) {
      const outcome = await play(scenario, timeoutMs);
      assert.ok(outcome.exitNs >= timeoutMs * 1e6, outcome.stderr);
      if (reason.test(outcome.stderr) || 2 * timeoutMs >= limitMs) return outcome;
      forgetRun();
      await multiplexer.reads(scenario);
    }
  }

  it("has an outcome for each scenario", () => {
    assert.deepEqual(Object.keys(outcomes).sort(), Object.keys(scenarios).sort());
  });

  for (const [name, outcome] of Object.entries(outcomes)) {
    it(`${name}: ${scenarios[name]?.plays ?? ""}`, async () => {
      if (typeof outcome === "string") {
        const got = await play(name, neverMs, outcome.length);
        assert.equal(got.stderr, "");
        assert.deepEqual([got.exit, got.signal], [0, null]);
        assert.deepEqual([got.bytes, got.fds], [1, 1]);
        assert.equal(got.read?.toString("latin1"), outcome);
      } else {
        const reason = reasons[name] ?? noOkLine;
        const got = await (outcome === DEADLINE
          ? playToDeadline(name, reason)
          : play(name, neverMs));
        const address = `vsock-mux${multiplexer.socket(name)}`;
        assertOneLine(got.stderr, `ssh-vsock-proxy: ${address} port 22: `);
        assert.match(got.stderr, reason);
        assert.deepEqual([got.exit, got.signal], [outcome, null], got.stderr);
        assert.deepEqual([got.bytes, got.fds], [0, 0]);
      }
      if (!unread.includes(name)) {
        assert.deepEqual(await multiplexer.reads(name), ["CONNECT 22\n"]);
      }
    });
  }

  it("gets CONNECT whole in the first read, time and again", async () => {
    for (let run = 0; run < 20; run++) {
      const got = await play("one-read", neverMs);
      assert.deepEqual([got.exit, got.fds], [0, 1], got.stderr);
      assert.deepEqual(await multiplexer.reads("one-read"), ["CONNECT 22\n"]);
    }
  });
});

/** One line that begins as told, says something, and has no control character. */
function assertOneLine(text: string, start: string): void {
  assert.ok(text.startsWith(start) && text.length > start.length + 1, JSON.stringify(text));
  assert.match(text, /^\P{Cc}+\n$/u, JSON.stringify(text));
}
