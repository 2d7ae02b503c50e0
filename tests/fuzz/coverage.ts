// npm run fuzz -- coverage: which branches of assembly/ the tests reach, each of them taken and not
// taken.
//
// They are counted in the source: branches.mjs puts a call before each condition while asc compiles.
// What Wasm and wasm2c add later (bounds checks, the depth of the stack) has none. Those of assembly/core
// and assembly/names are counted by the inputs of the fuzz targets; all others are the command's, by the
// simulated cases with a fault at each call, and the transcripts.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { root } from "../support/proxy";
import { CASES } from "../simulated/cases";
import { clocks, faultsOf, inject } from "../simulated/injections";
import { simulate, useProgram } from "../simulated/world";
import { readTranscripts } from "../transcripts/reader";
import { build, folder, moduleOf, targets, type Target } from "./build";

/** How much has to be reached of each, in percent. */
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
function compile(name: "core" | "names" | "proxy"): Branch[] {
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

/** Runs the command in simulated worlds, and adds up what they reach; returns how many they are. */
function countSimulated(branches: readonly Branch[]): number {
  useProgram(path.join(branchesFolder, "proxy.wasm"), {
    coverage: {
      branch(id: number, taken: number): number {
        const branch = branches[id] as Branch;
        if (taken === 0) branch.notTaken++;
        else branch.taken++;
        return taken;
      },
    },
  });
  let worlds = 0;
  for (const one of CASES) {
    const { calls } = simulate(one.args, one.world, one.environment);
    for (const wall of one.log === undefined ? [] : clocks) {
      simulate(one.args, inject(one, { faults: [], wall }).world, one.environment);
      worlds++;
    }
    calls.forEach((at, i) => {
      for (const fault of faultsOf(at, false)) {
        const { world } = inject(one, { faults: [{ call: i + 1, name: at.name, fault }] });
        simulate(one.args, world, one.environment);
        worlds++;
      }
    });
  }
  const bytes = (hex: string): Buffer => Buffer.from(hex, "hex");
  const { address, command } = readTranscripts();
  for (const { address: word, port, name } of address) {
    simulate([word, port, name].filter((arg) => arg !== undefined).map(bytes));
  }
  for (const { arguments: args, environment, answer, end } of command) {
    const attempts = [{ reply: [bytes(answer)], end }];
    simulate(args.map(bytes), { attempts }, environment.map(bytes));
  }
  return worlds + CASES.length + address.length + command.length;
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
 * Prints the branches of the modules, function by function.
 *
 * @param inputsOf the folder of a target's inputs
 * @returns whether they are covered
 */
export function coverage(inputsOf: (target: Target) => string): boolean {
  const results: [string, readonly Branch[]][] = [];
  const [core, names] = [compile("core"), compile("names")];
  for (const name of ["core", "names"] as const) {
    const branches = name === "core" ? core : names;
    const inputs = targets
      .filter((target) => moduleOf(target) === name)
      .map((target) => `${count(target, inputsOf(target), branches)} of ${target}`);
    const own = branches.filter(({ file }) => file.startsWith(`assembly/${name}/`));
    results.push([`${name}.wasm, inputs: ${inputs.join(" and ")}`, own]);
  }
  // Some of what assembly/core shares is used by names.wasm alone.
  const placeOf = ({ file, line, column }: Branch): string => `${file}:${line}:${column}`;
  const shared = new Map(names.map((branch) => [placeOf(branch), branch]));
  for (const branch of core) {
    branch.taken += shared.get(placeOf(branch))?.taken ?? 0;
    branch.notTaken += shared.get(placeOf(branch))?.notTaken ?? 0;
  }
  const proxy = compile("proxy");
  const worlds = countSimulated(proxy);
  const others = proxy.filter(({ file }) => !/^assembly\/(core|names)\//.test(file));
  results.push([`proxy.wasm, ${worlds} simulated worlds`, others]);
  for (const [what, branches] of results) {
    report(branches);
    const rate = percent(branches).toFixed(1);
    console.log(`${what}: ${figures(branches).trim()} branches, ${rate} %\n`);
  }
  const covered = results.every(([, branches]) => percent(branches) >= LEAST);
  if (!covered) console.error(`The branches of each are to be covered by ${LEAST} %.`);
  return covered;
}
