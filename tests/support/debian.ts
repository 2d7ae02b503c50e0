// Debian's packages of other suites than the machine's, beside the system.
//
// Rules
// - Nothing is installed: all is in the caller's folder, and stays there for the next run.
// - apt-get downloads, from the mirror that this machine is configured for, with lists and a cache
//   in that folder.
// - A program starts by its own loader with its own libraries: the machine's libc may be older.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** A line for apt's sources, with the mirror of this machine's own. */
export function sourceLine(suite: string, type: "deb" | "deb-src"): string {
  const format = ["--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"];
  const [mirror = ""] = run("apt-get", "indextargets", ...format).split("\n");
  if (mirror === "") throw new Error("apt-get has no mirror of Debian among its sources");
  return `${type} [signed-by=${keyring}] ${mirror} ${suite} main\n`;
}

/** apt-get with its lists, status and cache in `place`. */
export function prepareApt(place: string, suite: string, type: "deb" | "deb-src") {
  const inside = (file: string): string => path.join(place, file);
  for (const name of ["lists/partial", "cache/archives/partial"]) {
    mkdirSync(inside(name), { recursive: true });
  }
  writeFileSync(inside("sources.list"), sourceLine(suite, type));
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
  const apt = (...args: string[]): string => run("apt-get", "-q", ...options, ...args);
  apt("update");
  return Object.assign(apt, {
    try(cwd: string, ...args: string[]) {
      spawnSync("apt-get", ["-q", ...options, ...args], { cwd, stdio: "ignore" });
    },
  });
}

/** Unpacks packages of a suite, with those that they depend on, in `place`; gives the tree's folder. */
export function unpackPackage(place: string, suite: string, ...names: string[]): string {
  const apt = prepareApt(place, suite, "deb");
  apt("install", "-y", "--no-install-recommends", "--download-only", ...names);
  const tree = path.join(place, "tree");
  const archives = path.join(place, "cache/archives");
  for (const name of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
    run("dpkg-deb", "-x", path.join(archives, name), tree);
  }
  return tree;
}

/** The words that start a program of a tree; `folder`: of libraries, below the usual ones. */
export function programOf(tree: string, program: string, folder = ""): string[] {
  const usual = ["lib", "usr/lib"].map((name) => path.join(tree, name, "x86_64-linux-gnu"));
  const libraries = folder === "" ? usual : [...usual, path.join(usual[1] ?? "", folder)];
  const loaders = libraries.map((name) => path.join(name, "ld-linux-x86-64.so.2"));
  const loader = loaders.find(existsSync) ?? "";
  return [loader, "--library-path", libraries.join(":"), path.join(tree, program)];
}

export function run(command: string, ...args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}
