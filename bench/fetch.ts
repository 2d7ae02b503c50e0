// npm run bench:fetch: downloads the systemd-ssh-proxy and the libvirt-ssh-proxy of Debian unstable to
// build/bench/fetched, for `npm run bench` and `npm run bench:names`. It needs apt and Debian's keys, but
// not root: apt gets its own lists, cache and state there, and nothing is installed.

import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

import { ensureTools } from "../tests/support/tools";
import { root } from "../tests/support/proxy";
import { latency, makeSockets } from "./harness";
import { description, fetched } from "./others";
import type { Fetched, OtherProxy } from "./others";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
const source = `deb [signed-by=${keyring}] http://deb.debian.org/debian sid main\n`;

const apt = path.join(fetched, "apt");
const packages = path.join(fetched, "packages");
const tree = path.join(fetched, "root");

const options = [
  `Dir::Etc::SourceList=${apt}/sources.list`,
  "Dir::Etc::SourceParts=/dev/null",
  `Dir::State::Lists=${apt}/lists`,
  `Dir::State::Status=${apt}/status`,
  `Dir::Cache=${apt}/cache`,
  "Acquire::Languages=none",
  // Root's apt would fetch as another user, which may not write here.
  "APT::Sandbox::User=root",
].flatMap((option) => ["-o", option]);

function run(command: string, args: readonly string[], cwd = fetched): string {
  try {
    return execFileSync(command, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  } catch (error) {
    const { code, stderr, message } = error as Error & { code?: string; stderr?: string };
    const what = code === "ENOENT" ? "it is missing, and with it Debian's tools" : stderr;
    throw new Error(`${command}: ${what ?? message}`, { cause: error });
  }
}

function prepare(): void {
  if (!existsSync(keyring)) {
    throw new Error(`${keyring} is missing: run \`sudo apt-get install debian-archive-keyring\``);
  }
  rmSync(fetched, { recursive: true, force: true });
  for (const folder of [`${apt}/lists/partial`, `${apt}/cache/archives/partial`, packages, tree]) {
    mkdirSync(folder, { recursive: true });
  }
  writeFileSync(`${apt}/sources.list`, source);
  writeFileSync(`${apt}/status`, "");
}

/** Puts the packages' files below `tree`, and gives the version of the last one. */
function unpack(...names: string[]): string {
  run("apt-get", [...options, "download", ...names], packages);
  return extract(packages, names);
}

/** The same, with all that the package depends on. */
function unpackWithLibraries(name: string): string {
  // Of apt's status file nothing is installed, so this is everything.
  const install = ["install", "--yes", "--download-only", "--no-install-recommends", name];
  run("apt-get", [...options, ...install]);
  const archives = `${apt}/cache/archives`;
  const files = readdirSync(archives).filter((file) => file.endsWith(".deb"));
  const others = files.map((file) => file.slice(0, file.indexOf("_")));
  return extract(archives, [...others, name]);
}

function extract(folder: string, names: readonly string[]): string {
  const files = names.map((name) => {
    const file = readdirSync(folder).find((entry) => entry.startsWith(`${name}_`));
    return path.join(folder, file ?? name);
  });
  for (const file of files) run("dpkg-deb", ["-x", file, tree]);
  return run("dpkg-deb", ["-f", files.at(-1) ?? "", "Version"]).trim();
}

/** The folders below `tree` that hold a file like this. */
function foldersWith(name: RegExp): string[] {
  const files = readdirSync(tree, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => name.test(path.basename(file)) && statSync(path.join(tree, file)).isFile())
    .map((file) => path.join(tree, path.dirname(file)));
}

/**
 * The loader of the program (PT_INTERP), to be started directly, with the libraries' folders. It takes
 * as long as the program itself: 2.8 ms, and 3.0 ms if a copy of the program names the folder.
 */
function loaderOf(program: string): string {
  const loader = /\/lib\d*\/ld-linux[\w.-]+/.exec(readFileSync(program, "latin1"))?.[0];
  if (loader === undefined) throw new Error(`${program} names no loader`);
  return loader;
}

function start(loader: string, folders: readonly string[], program: string): string[] {
  return [loader, "--library-path", folders.join(":"), program];
}

/** The same, with the C library below `tree`. */
function startAlone(folders: readonly string[], program: string): string[] {
  const [folder = ""] = foldersWith(/^libc\.so\.6$/);
  const loader = path.join(folder, path.basename(loaderOf(program)));
  return start(loader, [...folders, folder], program);
}

function describe(command: string[], version: string, libc: string): OtherProxy {
  const shown = command.join(" ").replaceAll(`${root}/`, "");
  return { command, version, remark: `Debian's, unpacked, with ${libc}, as \`${shown}\`` };
}

/** Whether the command hands over a connection; gives what went wrong. */
async function trial(command: readonly string[]): Promise<string | undefined> {
  try {
    const sockets = makeSockets();
    const argv = [...command, `unix${sockets.unix}`, "22"];
    const once = { rounds: 1, warmUp: 0, processor: -1, peers: -1 };
    await latency([{ name: "systemd-ssh-proxy", kind: "pass", argv }], sockets, once);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

async function fetchSystemds(): Promise<OtherProxy> {
  const version = unpack("libsystemd-shared", "systemd");
  const program = path.join(tree, "usr/lib/systemd/systemd-ssh-proxy");
  const libraries = foldersWith(/^libsystemd-shared-.*\.so$/);
  let command = start(loaderOf(program), libraries, program);
  let libc = "this machine's C library";
  let failure = await trial(command);
  if (failure !== undefined) {
    console.error(`With this machine's C library: ${failure}\nFetching Debian's, too.`);
    libc = `its own C library (${unpack("libc6")})`;
    command = startAlone(libraries, program);
    failure = await trial(command);
  }
  if (failure !== undefined)
    throw new Error(`systemd-ssh-proxy ${version} does not run: ${failure}`);
  console.log(`systemd-ssh-proxy ${version} has passed a descriptor.`);
  return describe(command, version, libc);
}

function fetchLibvirts(): OtherProxy {
  const version = unpackWithLibraries("libvirt-ssh-proxy");
  const program = path.join(tree, "usr/lib/libvirt/libvirt-ssh-proxy");
  const command = startAlone([], program);
  const [file = "", ...args] = command;
  // Without a name it prints its usage, and asks no daemon.
  const { stdout, stderr } = spawnSync(file, args, { encoding: "utf8" });
  if (!stdout.includes("qemu:session/")) {
    throw new Error(`libvirt-ssh-proxy ${version} does not run: ${stderr}`);
  }
  console.log(`libvirt-ssh-proxy ${version} has printed its usage.`);
  return describe(command, version, "its own C library");
}

async function main(): Promise<void> {
  ensureTools(["cc"]);
  prepare();
  console.error("Fetching the list of Debian unstable's packages, and some sixty of these.");
  run("apt-get", [...options, "update"]);
  const found: Fetched = {
    "systemd-ssh-proxy": await fetchSystemds(),
    "libvirt-ssh-proxy": fetchLibvirts(),
  };
  for (const folder of [apt, packages]) rmSync(folder, { recursive: true });
  writeFileSync(description, `${JSON.stringify(found, undefined, 2)}\n`);
  for (const { remark } of Object.values(found)) console.log(remark);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
