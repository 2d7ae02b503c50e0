// The proxy with every behaviour of a multiplexer (support/multiplexer.ts), as ssh sees it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "../../assembly/codes";
import { checkFakeSsh, fakeSsh } from "../support/fake-ssh";
import type { FakeSshOutcome } from "../support/fake-ssh";
import { messageOf } from "../support/messages";
import { scenarios } from "../support/multiplexer";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { proxyCommand } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { startSshd } from "../support/sshd";

/** The failure of each scenario, or the first bytes that ssh reads. */
const results: Readonly<Record<string, Code | string>> = {
  firecracker: "SSH-2.0-",
  "cloud-hypervisor": "SSH-2.0-",
  "vhost-device-vsock": "SSH-2.0-",
  dragonball: "SSH-2.0-",
  "ok-and-banner": "SSH-2.0-",
  "short-ok-and-banner": "SSH-2.0-",
  bytewise: "SSH-2.0-",
  "one-read": "SSH-2.0-",
  "line-before-banner": "hello from the guest\r\nSSH-2.0-",

  silence: Code.ReplyTimeout,
  eof: Code.EndOfFile,
  reset: Code.ResetInHandshake,
  "one-slot": "SSH-2.0-",

  crlf: Code.BadLine,
  flood: Code.BadLine,
  "error-text": Code.BadLine,
};

/** For --timeout: one that passes, and one that the test's own limit comes before. */
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

  function play(scenario: string, timeoutMs: number, readBytes = 0): Promise<FakeSshOutcome> {
    const address = `vsock-mux${multiplexer.socket(scenario)}`;
    return fakeSsh([...proxyCommand(), "--timeout", `${timeoutMs}ms`, address, "22"], {
      readBytes,
      readMs: limitMs,
      deadlineMs: limitMs,
    });
  }

  it("has a result for each scenario", () => {
    assert.deepEqual(Object.keys(results).sort(), Object.keys(scenarios).sort());
  });

  for (const [name, result] of Object.entries(results)) {
    it(`${name}: ${scenarios[name]?.plays ?? ""}`, async () => {
      const subject = `vsock-mux${multiplexer.socket(name)} port 22`;
      if (typeof result === "string") {
        const outcome = await play(name, neverMs, result.length);
        checkFakeSsh(outcome, { subject });
        assert.equal(outcome.read?.toString("latin1"), result);
      } else {
        const timeoutMs = result === Code.ReplyTimeout ? soonMs : neverMs;
        const outcome = await play(name, timeoutMs);
        if (timeoutMs === soonMs) assert.ok(outcome.exitNs >= soonMs * 1e6, outcome.stderr);
        checkFakeSsh(outcome, { subject, code: result });
      }
      // This one never reads the command, so nothing is logged.
      if (name !== "reset") {
        assert.deepEqual(await multiplexer.reads(name), ["CONNECT 22\n"]);
      }
    });
  }

  it("an answer that is no OK line, with --wait: BadLine at once", async () => {
    const address = `vsock-mux${multiplexer.socket("error-text")}`;
    const outcome = await fakeSsh([...proxyCommand(), "--wait=60s", address, "22"]);
    checkFakeSsh(outcome, { subject: `${address} port 22`, code: Code.BadLine, waitMs: 60_000 });
    assert.ok(!outcome.timedOut && !outcome.stderr.includes("gave up"), outcome.stderr);
    assert.deepEqual(await multiplexer.reads("error-text"), ["CONNECT 22\n"]);
  });

  /** Another client, which has asked. */
  function hold(scenario: string): net.Socket {
    const client = net.connect(multiplexer.socket(scenario)).on("error", () => undefined);
    client.write("CONNECT 22\n");
    return client;
  }

  it("without a slot: ResetInHandshake, and with --wait the next one that is free", async () => {
    const address = `vsock-mux${multiplexer.socket("one-slot")}`;
    // The connection of an earlier test may have the slot.
    let holder: net.Socket;
    do {
      holder = hold("one-slot");
      await Promise.race([once(holder, "data"), once(holder, "close")]);
    } while (holder.destroyed);
    const outcome = await play("one-slot", neverMs);
    checkFakeSsh(outcome, { subject: `${address} port 22`, code: Code.ResetInHandshake });
    const log = path.join(makeFolder("slots"), "log");
    const waits = fakeSsh([...proxyCommand(), "--wait=60s", `--log-file=${log}`, address]);
    const dropped = messageOf(Code.ResetInHandshake);
    while (!existsSync(log) || !readFileSync(log, "latin1").includes(dropped)) await sleep(5);
    holder.destroy();
    checkFakeSsh(await waits, { subject: `${address} port 22`, waitMs: 60_000 });
  });

  it("in silence: closes after 2 s when another connection comes", async () => {
    const address = `vsock-mux${multiplexer.socket("silence")}`;
    let ended = false as boolean;
    const waits = play("silence", neverMs).finally(() => (ended = true));
    const others: net.Socket[] = [];
    while (!ended) {
      others.push(hold("silence"));
      await sleep(100);
    }
    for (const other of others) other.destroy();
    const outcome = await waits;
    checkFakeSsh(outcome, { subject: `${address} port 22`, code: Code.EndOfFileAfterWait });
    assert.ok(outcome.exitNs >= 2000 * 1e6, outcome.stderr);
  });

  it("receives CONNECT in one read, each of 20 times", async () => {
    for (let run = 0; run < 20; run++) {
      const subject = `vsock-mux${multiplexer.socket("one-read")} port 22`;
      checkFakeSsh(await play("one-read", neverMs), { subject });
      assert.deepEqual(await multiplexer.reads("one-read"), ["CONNECT 22\n"]);
    }
  });
});
