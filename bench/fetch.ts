// npm run bench:fetch: downloads the systemd-ssh-proxy and the libvirt-ssh-proxy of Debian unstable to
// build/bench/fetched, for `npm run bench` and `npm run bench:names`. It needs apt and Debian's keys, but
// not root, and nothing is installed. Both start by their own loader, with their own C library. A loader
// that is started directly takes as long as the program itself: 2.8 ms, and 3.0 ms if a copy of the
// program names its libraries' folder.

import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

import { programOf, unpackPackage } from "../tests/support/debian";
import { ensureTools } from "../tests/support/tools";
import { root } from "../tests/support/proxy";
import { latency, makeSockets } from "./harness";
import { description, fetched } from "./others";
import type { Fetched, OtherProxy } from "./others";

function describe(name: string, command: string[]): OtherProxy {
  const archives = readdirSync(path.join(fetched, "cache/archives"));
  const [, version = "of unknown version"] =
    archives.map((file) => file.split("_")).find(([other]) => other === name) ?? [];
  const shown = command.join(" ").replaceAll(`${root}/`, "");
  const remark = `Debian's, unpacked, with its own C library, as \`${shown}\``;
  return { command, version: decodeURIComponent(version), remark };
}

/** Hands a connection over. */
async function trySystemds(command: readonly string[]): Promise<void> {
  const sockets = makeSockets();
  const argv = [...command, `unix${sockets.unix}`, "22"];
  const once = { rounds: 1, warmUp: 0, processor: -1, peers: -1 };
  await latency([{ name: "systemd-ssh-proxy", kind: "pass", argv }], sockets, once);
}

/** Prints its usage: without a name, it asks no daemon. */
function tryLibvirts([file = "", ...args]: readonly string[]): void {
  const { stdout, stderr } = spawnSync(file, args, { encoding: "utf8" });
  if (!stdout.includes("qemu:session/")) throw new Error(`libvirt-ssh-proxy: ${stderr}`);
}

async function main(): Promise<void> {
  ensureTools(["cc"]);
  console.error("Fetching Debian unstable's list of packages, and a hundred packages.");
  rmSync(fetched, { recursive: true, force: true });
  const tree = unpackPackage(fetched, "sid", "systemd", "libvirt-ssh-proxy");
  const systemds = programOf(tree, "usr/lib/systemd/systemd-ssh-proxy", "systemd");
  const libvirts = programOf(tree, "usr/lib/libvirt/libvirt-ssh-proxy");
  await trySystemds(systemds);
  tryLibvirts(libvirts);
  const found: Fetched = {
    "systemd-ssh-proxy": describe("systemd", systemds),
    "libvirt-ssh-proxy": describe("libvirt-ssh-proxy", libvirts),
  };
  for (const folder of ["lists", "cache"]) rmSync(path.join(fetched, folder), { recursive: true });
  writeFileSync(description, `${JSON.stringify(found, undefined, 2)}\n`);
  for (const [name, { version, remark }] of Object.entries(found)) {
    console.log(`${name} ${version}: ${remark}`);
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
