// npm run bench:fetch: downloads the systemd-ssh-proxy of Debian unstable to build/bench/systemd, for
// `npm run bench`. It needs apt and Debian's keys, but not root: apt gets its own lists, cache and state
// there, and nothing is installed.

import { execFileSync } from "node:child_process";
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
import { description, fetched } from "./systemd";
import type { SystemdSshProxy } from "./systemd";

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

/** Puts the packages' files below `tree`, and gives the version of the first one. */
function unpack(...names: string[]): string {
  run("apt-get", [...options, "download", ...names], packages);
  const files = names.map((name) => {
    const file = readdirSync(packages).find((entry) => entry.startsWith(`${name}_`));
    return path.join(packages, file ?? name);
  });
  for (const file of files) run("dpkg-deb", ["-x", file, tree]);
  return run("dpkg-deb", ["-f", files[0] ?? "", "Version"]).trim();
}

/** The folders below `tree` that hold a file like this. */
function foldersWith(name: RegExp): string[] {
  const files = readdirSync(tree, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => name.test(path.basename(file)) && statSync(path.join(tree, file)).isFile())
    .map((file) => path.join(tree, path.dirname(file)));
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

async function main(): Promise<void> {
  ensureTools(["cc"]);
  prepare();
  console.error("Fetching the list of Debian unstable's packages, and two of these.");
  run("apt-get", [...options, "update"]);
  const version = unpack("systemd", "libsystemd-shared");

  const program = path.join(tree, "usr/lib/systemd/systemd-ssh-proxy");
  // The loader of the program (PT_INTERP) is started directly, with the library's folder. It takes as
  // long as the program itself: 2.8 ms, and 3.0 ms if a copy of the program names the folder.
  const interpreter = /\/lib\d*\/ld-linux[\w.-]+/.exec(readFileSync(program, "latin1"))?.[0];
  if (interpreter === undefined) throw new Error(`${program} names no loader`);
  const libraries = foldersWith(/^libsystemd-shared-.*\.so$/);
  const start = (loader: string, folders: readonly string[]) => {
    return [loader, "--library-path", folders.join(":"), program];
  };

  let command = start(interpreter, libraries);
  let libc = "this machine's C library";
  let failure = await trial(command);
  if (failure !== undefined) {
    console.error(`With this machine's C library: ${failure}\nFetching Debian's, too.`);
    const libcVersion = unpack("libc6");
    const [folder = ""] = foldersWith(/^libc\.so\.6$/);
    const loader = path.join(folder, path.basename(interpreter));
    command = start(loader, [...libraries, folder]);
    libc = `its own C library (${libcVersion})`;
    failure = await trial(command);
  }
  if (failure !== undefined)
    throw new Error(`systemd-ssh-proxy ${version} does not run: ${failure}`);

  const shown = command.join(" ").replaceAll(`${root}/`, "");
  const remark = `Debian's, unpacked, with ${libc}, as \`${shown}\``;
  const found: SystemdSshProxy = { command, version, remark };
  for (const folder of [apt, packages]) rmSync(folder, { recursive: true });
  writeFileSync(description, `${JSON.stringify(found, undefined, 2)}\n`);
  console.log(`systemd-ssh-proxy ${version} has passed a descriptor.\n${remark}`);
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
