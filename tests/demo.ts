// npm run demo: ssh reaches a temporary sshd through the proxy, over a unix socket and over a
// multiplexer's socket, and the time that the proxy takes is measured. Nothing is left behind, even
// after an interrupt.

import path from "node:path";

import { startMultiplexer } from "./support/multiplexer-client";
import { fakeSsh } from "./support/fake-ssh";
import { proxyCommand } from "./support/proxy";
import { proxyCommandLine, shellQuote, startSshd } from "./support/sshd";
import type { Sshd } from "./support/sshd";
import { makeFolder } from "./support/scratch";
import { ensureTools } from "./support/tools";

const runs = 50;
const command = ["uname", "-sr"];

const cleanups: (() => Promise<void>)[] = [];

/** Registers for cleanUp what is starting, so that an interrupt meanwhile closes it as well. */
function closeLater<T extends { close(): Promise<void> }>(starting: Promise<T>): Promise<T> {
  cleanups.push(async () => (await starting.catch(() => undefined))?.close());
  return starting;
}

async function cleanUp(): Promise<void> {
  for (let step = cleanups.pop(); step !== undefined; step = cleanups.pop()) await step();
}

async function main(): Promise<void> {
  ensureTools(["ssh", "sshd", "ssh-keygen", "cc"]);
  // For the sockets, whose paths have to be short.
  process.env["TMPDIR"] = makeFolder("demo");
  // The host that an installed package has.
  process.env["PROXY_HOST"] ??= "standalone";
  const proxy = proxyCommand();
  const sshd = await closeLater(startSshd(proxy));
  const socket = path.join(sshd.folder, "sshd.sock");
  await sshd.listen(socket);
  const multiplexer = await closeLater(startMultiplexer(socket));

  console.log(`A temporary sshd listens, without a network. ${sshd.clientConfig} has:

    ProxyCommand ${proxyCommandLine(proxy)}
    ProxyUseFdpass yes`);
  await show("A unix socket", `unix${socket}`, sshd);
  await show(
    "A multiplexer's socket, with Firecracker's CONNECT and OK",
    `vsock-mux${multiplexer.socket("firecracker")}`,
    sshd,
  );
  await cleanUp();
  console.log("\nBoth worked. sshd, the multiplexer, keys and sockets are removed.");
}

async function show(title: string, address: string, sshd: Sshd): Promise<void> {
  const line = ["ssh", "-F", sshd.clientConfig, address, ...command].map(shellQuote).join(" ");
  console.log(`\n${title}:\n\n    $ ${line}`);
  const ran = await sshd.ssh([address, ...command]);
  if (ran.exit !== 0) throw new Error(`ssh failed: ${ran.stderr}\nsshd's log:\n${sshd.log()}`);
  console.log(`    ${ran.stdout.toString().trimEnd()}`);

  const { passed, exited, baseline } = await time(address);
  console.log(`
    ssh has the connected socket ${passed} ms after the proxy's start, and the proxy has exited after
    ${exited} ms. For comparison, /bin/true takes ${baseline} ms here. (Medians of ${runs} runs.)`);
}

/** Medians in milliseconds. ssh starts its session when it has the socket and the proxy has exited. */
async function time(address: string): Promise<Record<"passed" | "exited" | "baseline", string>> {
  const passed: number[] = [];
  const exited: number[] = [];
  const baseline: number[] = [];
  for (let run = 0; run < runs; run++) {
    const outcome = await fakeSsh([...proxyCommand(), address, "22"]);
    if (outcome.exit !== 0 || outcome.handoffNs === undefined) throw new Error(outcome.stderr);
    passed.push(outcome.handoffNs);
    exited.push(outcome.exitNs);
    baseline.push((await fakeSsh(["/bin/true"])).exitNs);
  }
  return { passed: median(passed), exited: median(exited), baseline: median(baseline) };
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
  // Failures that follow from an interrupt are not reported.
  if (interrupted) return;
  process.exitCode = 1;
  console.error(error instanceof Error ? error.message : error);
  await cleanUp();
});
