// `npm run demo`: the real ssh reaches a throw-away sshd through the proxy, by a unix socket and by
// a multiplexer's, and the hand-over is timed. Nothing is left behind, by an interrupt neither.

import path from "node:path";

import { startMultiplexer } from "./support/multiplexer-client";
import { fakeSsh } from "./support/fake-ssh";
import { proxyCommand } from "./support/proxy";
import { proxyCommandLine, shellQuote, startSshd } from "./support/sshd";
import type { Sshd } from "./support/sshd";
import { ensureTools } from "./support/tools";

const runs = 50;
const command = ["uname", "-sr"];

const cleanups: (() => Promise<void>)[] = [];

/** Whatever starts is closed in the end, even where the interrupt comes while it starts. */
function closedLater<T extends { close(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  cleanups.push(async () => (await starting.catch(() => undefined))?.close());
  return starting;
}

async function cleanUp(): Promise<void> {
  for (let step = cleanups.pop(); step !== undefined; step = cleanups.pop()) await step();
}

async function main(): Promise<void> {
  ensureTools(["ssh", "sshd", "ssh-keygen", "cc"]);
  // What ssh runs once this is installed.
  process.env["PROXY_HOST"] ??= "standalone";
  const proxy = proxyCommand();
  const sshd = await closedLater(startSshd(proxy));
  const socket = path.join(sshd.folder, "sshd.sock");
  await sshd.listen(socket);
  const multiplexer = await closedLater(startMultiplexer(socket));

  console.log(`A throw-away sshd listens, without any network. ssh is told in ${sshd.clientConfig}:

    ProxyCommand ${proxyCommandLine(proxy)}
    ProxyUseFdpass yes`);
  await show("A unix socket", `unix${socket}`, sshd);
  await show(
    "A multiplexer's socket, which asks for CONNECT and answers OK as Firecracker's does",
    `vsock-mux${multiplexer.socket("firecracker")}`,
    sshd,
  );
  await cleanUp();
  console.log("\nBoth worked; sshd, multiplexer, keys and sockets are gone again.");
}

async function show(title: string, address: string, sshd: Sshd): Promise<void> {
  const line = ["ssh", "-F", sshd.clientConfig, address, ...command].map(shellQuote).join(" ");
  console.log(`\n${title}:\n\n    $ ${line}`);
  const ran = await sshd.ssh([address, ...command]);
  if (ran.exit !== 0) throw new Error(`ssh failed: ${ran.stderr}\nsshd's log:\n${sshd.log()}`);
  console.log(`    ${ran.stdout.toString().trimEnd()}`);

  const { handedOver, gone, nothing } = await time(address);
  console.log(`
    From the start of the proxy, ssh has the connection in hand after ${handedOver} ms and the proxy is
    gone after ${gone} ms. /bin/true, doing nothing, takes ${nothing} ms here. (Medians of ${runs} runs.)`);
}

/** Medians in milliseconds. ssh waits for both ends: its session starts when the proxy is gone. */
async function time(address: string): Promise<Record<"handedOver" | "gone" | "nothing", string>> {
  const handedOver: number[] = [];
  const gone: number[] = [];
  const nothing: number[] = [];
  for (let run = 0; run < runs; run++) {
    const outcome = await fakeSsh([...proxyCommand(), address, "22"]);
    if (outcome.exit !== 0 || outcome.handoffNs === undefined) throw new Error(outcome.stderr);
    handedOver.push(outcome.handoffNs);
    gone.push(outcome.exitNs);
    nothing.push((await fakeSsh(["/bin/true"])).exitNs);
  }
  return { handedOver: median(handedOver), gone: median(gone), nothing: median(nothing) };
}

function median(ns: number[]): string {
  const middle = ns.sort((a, b) => a - b)[ns.length >> 1] as number;
  return (middle / 1e6).toFixed(2);
}

let interrupted = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    interrupted = true;
    void cleanUp().finally(() => process.exit(1));
  });
}

main().catch(async (error: unknown) => {
  // What an interrupt broke is no news.
  if (interrupted) return;
  process.exitCode = 1;
  console.error(error instanceof Error ? error.message : error);
  await cleanUp();
});
