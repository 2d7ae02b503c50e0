// Other versions of OpenSSH's client than the machine's, beside it: Debian's packages of several
// suites, unpacked, and one that was never patched, compiled.
//
// Rules
// - Nothing is installed: all is in build/openssh, and stays there for the next run.
// - apt-get downloads, from the mirror that this machine is configured for, with lists and a cache
//   in that folder.

import { createHash } from "node:crypto";
import { execFileSync, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";

import { root } from "../support/proxy";
import { shellQuote } from "../support/sshd";

/**
 * Debian's suites and the versions of OpenSSH in them. sid's grows, so its number has no end; all
 * have the check of 9.6 for names on the command line, the older ones as a patch of Debian's.
 */
export const suites = {
  bullseye: "OpenSSH_8.4",
  bookworm: "OpenSSH_9.2",
  trixie: "OpenSSH_10.0",
  sid: "OpenSSH_1",
} as const;

/** As OpenSSH released it: no check of names. Debian's source has it. */
const released = {
  suite: "bullseye",
  version: "OpenSSH_8.4p1",
  source: "openssh_8.4p1.orig.tar.gz",
  sha256: "5a01d22e407eb1c05ba8a8f7c654d388a13e9f226e4ed33bd38748dafa1d2b24",
} as const;

const folder = path.join(root, "build/openssh");

/** The file of a script that runs the `ssh` of a suite. */
export function suiteSsh(suite: keyof typeof suites): string {
  const script = path.join(folder, suite, "ssh");
  if (!existsSync(script)) {
    const apt = prepareApt(suite, suite, "deb");
    apt("install", "-y", "--no-install-recommends", "--download-only", "openssh-client");
    const tree = path.join(folder, suite, "tree");
    const archives = path.join(folder, suite, "cache/archives");
    for (const name of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
      run("dpkg-deb", "-x", path.join(archives, name), tree);
    }
    // Its own loader and libraries: the machine's libc may be older.
    const libraries = ["lib", "usr/lib"].map((name) => path.join(tree, name, "x86_64-linux-gnu"));
    const loaders = libraries.map((name) => path.join(name, "ld-linux-x86-64.so.2"));
    const words = [loaders.find(existsSync) ?? "", "--library-path", libraries.join(":")];
    const line = [...words, path.join(tree, "usr/bin/ssh")].map(shellQuote).join(" ");
    writeFileSync(`${script}.new`, `#!/bin/sh\nexec ${line} "$@"\n`, { mode: 0o755 });
    renameSync(`${script}.new`, script);
  }
  return checked(script, suites[suite]);
}

/** The file of the released `ssh`. */
export function releasedSsh(): string {
  const place = path.join(folder, "released");
  const program = path.join(place, "ssh");
  if (!existsSync(program)) {
    const apt = prepareApt("released", released.suite, "deb-src");
    // It fails where the mirror lacks the signature beside the source: what counts is the sum.
    apt.try(place, "source", "--download-only", "openssh");
    const tarball = path.join(place, released.source);
    const sum = createHash("sha256").update(readFileSync(tarball)).digest("hex");
    if (sum !== released.sha256) throw new Error(`${tarball} has the SHA-256 sum ${sum}`);
    run("tar", "-xzf", tarball, "-C", place);
    const tree = path.join(place, "openssh-8.4p1");
    console.error(`Compiling ${released.version}'s ssh in ${tree}`);
    const options = "--without-openssl --without-zlib";
    run("sh", "-c", `cd ${shellQuote(tree)} && CFLAGS='-O0 -w' ./configure -q ${options}`);
    run("make", "-s", "-C", tree, "-j2", "ssh");
    renameSync(path.join(tree, "ssh"), program);
  }
  return checked(program, released.version);
}

function prepareApt(name: string, suite: string, type: "deb" | "deb-src") {
  const place = path.join(folder, name);
  const inside = (file: string): string => path.join(place, file);
  for (const name of ["lists/partial", "cache/archives/partial"]) {
    mkdirSync(inside(name), { recursive: true });
  }
  // The mirror of this machine's own sources.
  const format = ["--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"];
  const [mirror = ""] = run("apt-get", "indextargets", ...format).split("\n");
  if (mirror === "") throw new Error("apt-get has no mirror of Debian among its sources");
  const keys = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
  writeFileSync(inside("sources.list"), `${type} [${keys}] ${mirror} ${suite} main\n`);
  writeFileSync(inside("status"), "");
  const options = Object.entries({
    "Dir::Etc::SourceList": inside("sources.list"),
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::State::Lists": inside("lists"),
    "Dir::State::Status": inside("status"),
    "Dir::Cache": inside("cache"),
    "Acquire::Languages": "none",
    "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    "APT::Sandbox::User": "root",
  }).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  console.error(`Downloading OpenSSH of ${suite} with apt-get to ${place}`);
  const apt = (...args: string[]): string => run("apt-get", "-q", ...options, ...args);
  apt("update");
  return Object.assign(apt, {
    try(cwd: string, ...args: string[]) {
      spawnSync("apt-get", ["-q", ...options, ...args], { cwd, stdio: "ignore" });
    },
  });
}

function checked(program: string, version: string): string {
  const { stderr } = spawnSync(program, ["-V"], { encoding: "utf8" });
  if (!stderr.startsWith(version)) throw new Error(`${program} is not ${version}: ${stderr}`);
  return program;
}

function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
