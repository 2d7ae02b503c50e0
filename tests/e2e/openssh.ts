// Other versions of OpenSSH's client than the machine's, beside it: Debian's packages of several
// suites, unpacked, and one that was never patched, compiled.
//
// All is in build/openssh.

import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

import { prepareApt, programOf, run, unpackPackage } from "../support/debian";
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
    const tree = download(suite, (place) => unpackPackage(place, suite, "openssh-client"));
    const line = programOf(tree, "usr/bin/ssh").map(shellQuote).join(" ");
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
    const apt = download("released", (place) => prepareApt(place, released.suite, "deb-src"));
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

function download<Result>(name: string, into: (place: string) => Result): Result {
  const place = path.join(folder, name);
  console.error(`Downloading OpenSSH with apt-get to ${place}`);
  return into(place);
}

function checked(program: string, version: string): string {
  const { stderr } = spawnSync(program, ["-V"], { encoding: "utf8" });
  if (!stderr.startsWith(version)) throw new Error(`${program} is not ${version}: ${stderr}`);
  return program;
}
