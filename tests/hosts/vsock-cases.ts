// The cases that both hosts play with AF_VSOCK, in the guest.

import { Code } from "../../assembly/codes";
import type { HostCase } from "../support/draft";
import { makeCase, vsockTarget } from "../support/case";
import type { Case, Stdin, World } from "../support/case";

const BANNER = "SSH-2.0-guest\r\n";
const PORT = 1022;

function vsockCase(name: string, options: string[], what: Partial<Case> = {}, cid = 1): HostCase {
  const one = makeCase({
    name,
    args: [...options, `vsock/${cid}`, `${PORT}`],
    target: vsockTarget(cid, PORT),
    subject: `vsock/${cid} port ${PORT}`,
    code: Code.Done,
    ...what,
  });
  return { ...one, form: 0 };
}

const input: Stdin = { kind: "pipe", content: "x".repeat(50_000) };
const greets: World = { attempts: [{ reply: [BANNER] }] };

export const vsockCases: readonly HostCase[] = [
  vsockCase("passes", [], { world: greets }),
  vsockCase("passes,-v,--log-file", ["-v", "--log-file=./log"], {
    verbose: true,
    log: { path: "./log", subject: "./log" },
    world: greets,
  }),
  vsockCase("nothing-listens", [], {
    code: Code.NotListening,
    world: { attempts: [{ connect: "CONNRESET" }] },
  }),
  vsockCase(
    "no-machine",
    ["-v"],
    { verbose: true, code: Code.NoMachine, world: { attempts: [{ connect: "NODEV" }] } },
    4711,
  ),
  vsockCase("boots", ["--wait=10m"], {
    waitMs: 600_000,
    world: { attempts: [{ connect: "CONNRESET" }, { connect: "CONNRESET" }, {}] },
  }),
  vsockCase("client-exits", ["--wait=10m", "--timeout=2s"], {
    waitMs: 600_000,
    timeoutMs: 2000,
    code: Code.ClientGone,
    world: { attempts: [{ connect: "CONNRESET" }], clientExits: { afterAttempt: 2 } },
  }),
  vsockCase("relay", [], {
    world: { stdout: "pipe", stdin: input, relay: { first: BANNER, until: "end", last: "bye" } },
  }),
  vsockCase("relay,--half-close=never", ["--half-close=never"], {
    halfClose: false,
    world: { stdout: "file", stdin: input, relay: { first: "", until: 50_000, last: "bye" } },
  }),
];
