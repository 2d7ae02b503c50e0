// npm run fuzz -- coverage: which branches of assembly/ the corpora and the transcripts reach, each of
// them taken and not taken.
//
// They are counted where they are written: branches.mjs puts a call before each condition while asc
// compiles, and what Wasm and wasm2c add (bounds checks, the depth of the stack) comes later and has
// none. The core's are those of address.ts, handshake.ts and bytes.ts; the rest is the command's.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { root } from "../support/proxy";
import { build, folder, modules, targets, type Target } from "./build";

/** So much is to be reached of either, in percent. */
const LEAST = 98;

interface Branch {
  file: string;
  line: number;
  column: number;
  function: string;
  text: string;
  taken: number;
  notTaken: number;
}

const branchesFolder = path.join(folder, "branches");

/** Compiles a module whose branches are counted, and lists them. */
function compile(name: "core" | "proxy"): Branch[] {
  const list = path.join(branchesFolder, `${name}.json`);
  mkdirSync(branchesFolder, { recursive: true });
  const asc = path.join(path.dirname(require.resolve("assemblyscript/package.json")), "bin/asc.js");
  execFileSync(
    process.execPath,
    [
      ...[asc, `assembly/${name}/index.ts`, "--target", name],
      ...["--outFile", path.join(branchesFolder, `${name}.wasm`)],
      ...["--transform", "./scripts/asc/ascii-literals.mjs"],
      ...["--transform", "./tests/fuzz/branches.mjs"],
    ],
    { cwd: root, env: { ...process.env, BRANCHES: list }, stdio: ["ignore", "inherit", "pipe"] },
  );
  const branches = JSON.parse(readFileSync(list, "utf8")) as Omit<Branch, "taken" | "notTaken">[];
  return branches.map((branch) => ({ ...branch, taken: 0, notTaken: 0 }));
}

/** Runs a target over all of its inputs, and adds up what they reach. */
function count(target: Target, inputs: string, branches: Branch[]): number {
  const executable = build(target, "branches");
  const counts = path.join(branchesFolder, `${target}.counts`);
  const files = readdirSync(inputs).map((name) => path.join(inputs, name));
  // A command line has its limits.
  for (let at = 0; at < files.length; at += 500) {
    const { status, stderr } = spawnSync(executable, files.slice(at, at + 500), {
      cwd: root,
      env: { ...process.env, ASAN_OPTIONS: "detect_leaks=0", FUZZ_BRANCHES: counts },
      encoding: "utf8",
      maxBuffer: 64 << 20,
    });
    if (status !== 0) throw new Error(`${target} fails on its own corpus:\n${stderr}`);
    const lines = readFileSync(counts, "utf8").split("\n");
    branches.forEach((branch, id) => {
      const [taken = 0, notTaken = 0] = (lines[id] ?? "").split(" ").map(Number);
      branch.taken += taken;
      branch.notTaken += notTaken;
    });
  }
  return files.length;
}

const directions = (branches: readonly Branch[]): number => 2 * branches.length;

const reached = (branches: readonly Branch[]): number =>
  branches.reduce((sum, { taken, notTaken }) => sum + Number(taken > 0) + Number(notTaken > 0), 0);

function percent(branches: readonly Branch[]): number {
  return (100 * reached(branches)) / directions(branches);
}

const figures = (branches: readonly Branch[]): string =>
  `${String(reached(branches)).padStart(4)} of ${String(directions(branches)).padStart(3)}`;

function report(branches: readonly Branch[]): void {
  for (const file of new Set(branches.map((branch) => branch.file))) {
    const ofFile = branches.filter((branch) => branch.file === file);
    console.log(`${file.padEnd(32)}${figures(ofFile)}`);
    for (const name of new Set(ofFile.map((branch) => branch.function))) {
      const ofFunction = ofFile.filter((branch) => branch.function === name);
      console.log(`  ${name.padEnd(30)}${figures(ofFunction)}`);
    }
  }
  for (const { file, line, column, text, taken, notTaken } of branches) {
    if (taken > 0 && notTaken > 0) continue;
    const never = taken + notTaken === 0 ? "reached" : taken === 0 ? "true" : "false";
    console.log(`never ${never}: ${file}:${line}:${column} ${text}`);
  }
}

/**
 * Prints the branches of both modules, function by function.
 *
 * @param inputsOf the folder of a target's inputs
 * @returns whether they are covered
 */
export function coverage(inputsOf: (target: Target) => string): boolean {
  let covered = true;
  const core = new Set<string>();
  for (const name of ["core", "proxy"] as const) {
    const branches = compile(name);
    const counts = targets
      .filter((target) => modules[target] === name)
      .map((target) => `${count(target, inputsOf(target), branches)} inputs of ${target}`);
    // The core is part of the command, which takes not all of its ways.
    const own = branches.filter(({ file }) => !core.has(file));
    for (const { file } of own) if (name === "core") core.add(file);
    report(own);
    console.log(
      `${name}.wasm, ${counts.join(", ")}: ${figures(own).trim()} branches, ` +
        `${percent(own).toFixed(1)} %\n`,
    );
    covered = percent(own) >= LEAST && covered;
  }
  if (!covered) console.error(`The branches of both are to be covered by ${LEAST} %.`);
  return covered;
}
