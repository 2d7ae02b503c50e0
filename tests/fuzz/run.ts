// npm run fuzz: fuzzes the parser of addresses, the handshake and the look-up with libFuzzer, in core.wasm
// and names.wasm, translated to C by wasm2c, and the command with fast-check, in the simulation. What has
// to hold is in the first lines of address.c, handshake.c, lookup.c and tests/simulated/fuzz.ts.
//
//     npm run fuzz -- [TARGET] [--seconds N]      address, handshake, lookup or command; 60 s, shared by all
//     npm run fuzz -- TARGET INPUT...             but for command: these inputs, a file or in
//                                                 hexadecimal, one after the other: what happens
//     npm run fuzz -- command --seed N [--path PATH]    a certain run; with PATH, one input: what happens
//     npm run fuzz -- coverage                    which branches of assembly/ the tests reach
//     npm run fuzz -- pack                        writes tests/fuzz/corpus anew, with what was found since
//
// libFuzzer begins with tests/fuzz/corpus, the transcripts, and what former runs found worth keeping
// (build/fuzz/corpus). The result of each of these inputs is compared with a model (tests/core/model.ts,
// lookup-model.ts). A finding is minimised, and kept in build/fuzz/findings.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { checkInput } from "../core/model";
import { fuzz as fuzzCommand, replayInput } from "../simulated/fuzz";
import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { readTranscripts } from "../transcripts/reader";
import { build, folder, targets, type Target } from "./build";
import { coverage } from "./coverage";
import { packedInputs, packInputs, writeTranscripts } from "./inputs";

/** Longer inputs show nothing that shorter ones do not, and take their time. */
const longest: Readonly<Record<Target, number>> = {
  address: 128,
  handshake: 64,
  lookup: 512,
};

/**
 * Each of these costs a tenth of the time, and does not pay where there is as little to reach as in the
 * core: Entropic, which weighs inputs by how rare it is what they reach, and the search for smaller
 * inputs that reach the same, which `pack` makes anyway.
 */
const thrift = ["-entropic=0", "-reduce_inputs=0"];

/** How often a look-up takes an edge says little: it does so for each byte. */
const thriftInMerging: Readonly<Record<Target, readonly string[]>> = {
  address: [],
  handshake: [],
  lookup: ["-use_counters=0"],
};

/** Inputs of up to so many bytes are shown in hexadecimal. */
const SHOWN_MAX = 512;

/** Transcripts may be longer, and are not to be cut. */
const MERGED_MAX = 8192;

/** An input that takes longer hangs, however slow the machine is. */
const TIMEOUT_SECONDS = 60;
const MINIMISING_SECONDS = 5;

const environment = {
  ...process.env,
  // The names of libFuzzer's temporary files are predictable.
  TMPDIR: makeFolder("fuzz"),
  // Nothing here allocates but libFuzzer, and it is not what is tested.
  ASAN_OPTIONS: [
    ...["detect_leaks=0", "malloc_context_size=0", "max_malloc_fill_size=0"],
    ...["quarantine_size_mb=0", "thread_local_quarantine_size_kb=0"],
  ].join(":"),
};

const shown = (file: string): string => path.relative(root, file);

function putInputs(inputs: readonly Buffer[], to: string): void {
  mkdirSync(to, { recursive: true });
  for (const input of inputs) {
    writeFileSync(path.join(to, createHash("sha1").update(input).digest("hex")), input);
  }
}

/** Writes the seeds into a folder. */
function putSeeds(target: Target, to: string): void {
  putInputs([...packedInputs(target), ...writeTranscripts(readTranscripts())[target]], to);
}

/** The folder in which libFuzzer keeps what it finds, with the seeds. */
function fillCorpus(target: Target): string {
  const corpus = path.join(folder, "corpus", target);
  putSeeds(target, corpus);
  return corpus;
}

/** A folder with the repository's own inputs alone. */
function seedsAlone(target: Target): string {
  const seeds = path.join(folder, "seeds", target);
  rmSync(seeds, { recursive: true, force: true });
  putSeeds(target, seeds);
  return seeds;
}

function filesIn(corpus: string): string[] {
  return readdirSync(corpus).map((name) => path.join(corpus, name));
}

/** Runs libFuzzer: what it says, and whether all went well. */
async function libFuzzer(
  executable: string,
  args: readonly string[],
): Promise<{ passed: boolean; log: string }> {
  const child = spawn(executable, args, {
    cwd: root,
    env: environment,
    stdio: ["ignore", 1, "pipe"],
  });
  let log = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (log += text));
  const status = await new Promise((resolve) => child.once("close", resolve));
  return { passed: status === 0, log };
}

/** What the sanitizers, libFuzzer or the target itself say of a finding, in a line. */
function headline(log: string): string {
  const lines = [
    /^finding: (.*)$/m,
    /^.*runtime error: .*$/m,
    /^==\d+==\s*ERROR: (.*)$/m,
    /^ALARM: .*$/m,
  ];
  for (const line of lines) {
    const [whole, text] = line.exec(log) ?? [];
    if (whole !== undefined) return text ?? whole;
  }
  return "it ended without saying why";
}

const logOf = (target: Target): string => path.join(folder, `${target}.log`);

function tellFinding(target: Target, what: string, file: string): void {
  const input = readFileSync(file);
  // Where there is room for it, the input itself: the folder may be gone when somebody reads this.
  const named = input.length <= SHOWN_MAX ? input.toString("hex") : shown(file);
  console.error(`\n${target}: ${what}`);
  console.error(`All that was said is in ${shown(logOf(target))}, the input in ${shown(file)}.`);
  console.error(`To see what happens with its ${input.length} bytes:`);
  console.error(`    npm run fuzz -- ${target} ${named}`);
}

async function minimise(executable: string, file: string): Promise<string> {
  const smaller = `${file}.min`;
  await libFuzzer(executable, [
    ...["-minimize_crash=1", `-max_total_time=${MINIMISING_SECONDS}`],
    ...[`-timeout=${TIMEOUT_SECONDS}`, `-exact_artifact_path=${smaller}`, file],
  ]);
  return existsSync(smaller) ? smaller : file;
}

/** How the core and its model differ on an input. */
function disagreement(target: Target, file: string): string | undefined {
  try {
    checkInput(target, readFileSync(file));
    return undefined;
  } catch (error) {
    return `the core and its model disagree: ${(error as Error).message}`;
  }
}

async function fuzz(target: Target, seconds: number): Promise<boolean> {
  const executable = build(target);
  const corpus = fillCorpus(target);
  const findings = path.join(folder, "findings");
  mkdirSync(findings, { recursive: true });
  console.log(`${target}: fuzzing for ${seconds} s`);
  const { passed, log } = await libFuzzer(executable, [
    ...[`-max_total_time=${seconds}`, `-timeout=${TIMEOUT_SECONDS}`, "-print_final_stats=1"],
    ...[`-max_len=${longest[target]}`, ...thrift],
    `-dict=${path.join(root, `tests/fuzz/${target}.dict`)}`,
    `-artifact_prefix=${findings}/${target}-`,
    corpus,
  ]);
  writeFileSync(logOf(target), log);
  if (!passed) {
    const [, file] = /Test unit written to (\S+)/.exec(log) ?? [];
    if (file === undefined) {
      console.error(`${log}\n${target}: libFuzzer has failed, and kept no input`);
      return false;
    }
    tellFinding(target, headline(log), await minimise(executable, file));
    return false;
  }
  const number = (pattern: RegExp): number => Number(pattern.exec(log)?.[1] ?? 0);
  const executions = number(/number_of_executed_units: *(\d+)/);
  const inputs = filesIn(corpus);
  const wrong = inputs.filter((file) => disagreement(target, file) !== undefined);
  const [first] = wrong;
  if (first !== undefined) {
    tellFinding(target, disagreement(target, first) ?? "", first);
    console.error(`So it is on ${wrong.length} of ${inputs.length} inputs.`);
    return false;
  }
  if (executions === 0) {
    console.error(`${log}\n${target}: nothing was executed`);
    return false;
  }
  console.log(
    `${target}: ${executions.toLocaleString("en")} executions, ` +
      `${number(/average_exec_per_sec: *(\d+)/).toLocaleString("en")} a second, ` +
      `${number(/DONE +cov: (\d+)/)} edges of the translation, ` +
      `${inputs.length} inputs kept, the model agrees: no finding`,
  );
  return true;
}

function replay(target: Target, inputs: readonly string[]): boolean {
  const executable = build(target);
  const results = inputs.map((input) => {
    let file = input;
    if (!existsSync(input) && /^([0-9a-f]{2})+$/.test(input)) {
      file = path.join(folder, `${target}.input`);
      writeFileSync(file, Buffer.from(input, "hex"));
    }
    if (!existsSync(file)) throw new Error(`${file}: no such file`);
    const { status, stderr } = spawnSync(executable, [path.resolve(file)], {
      cwd: root,
      env: { ...environment, FUZZ_EXPLAIN: "1" },
      encoding: "utf8",
    });
    // What libFuzzer says of itself is left out.
    const own = stderr.replace(/^(INFO|Running|Executed|\*\*\*|.*: Running \d).*\n/gm, "");
    const what = disagreement(target, file);
    console.log(`${input}:\n${own}`);
    const passed = status === 0 && what === undefined;
    console.log(passed ? "no finding" : `finding: ${what ?? headline(stderr)}`);
    return passed;
  });
  return results.every((passed) => passed);
}

/** Writes a corpus of the repository anew: the few inputs that reach, with the transcripts, what the many do. */
async function pack(target: Target): Promise<void> {
  const executable = build(target);
  const corpus = fillCorpus(target);
  const merged = path.join(folder, `merged-${target}`);
  rmSync(merged, { recursive: true, force: true });
  putInputs(writeTranscripts(readTranscripts())[target], merged);
  const known = new Set(readdirSync(merged));
  const { passed, log } = await libFuzzer(executable, [
    ...["-merge=1", `-max_len=${MERGED_MAX}`, ...thriftInMerging[target], merged, corpus],
  ]);
  if (!passed) throw new Error(`${log}\n${target}: merging failed`);
  const found = readdirSync(merged).filter((name) => !known.has(name));
  const inputs = found.map((name) => readFileSync(path.join(merged, name)));
  packInputs(target, inputs);
  console.log(`${target}: ${inputs.length} inputs of ${readdirSync(corpus).length}`);
}

/** The command, for a time; or one input of it again. */
function runCommand(seconds: number, seed: number, path?: string): boolean {
  if (path !== undefined) return replayInput(seed, path);
  console.log(`command: fuzzing for ${seconds} s with seed ${seed}`);
  const { runs, failure } = fuzzCommand({ seed, seconds });
  if (failure !== undefined) console.error(`\ncommand: ${failure}`);
  else console.log(`command: ${runs} runs: no finding`);
  return failure === undefined;
}

async function main(args: string[]): Promise<boolean> {
  const { values, positionals } = parseArgs({
    args,
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: `${Date.now() % 2 ** 31}` },
      path: { type: "string" },
    },
    allowPositionals: true,
  });
  const seconds = Number(values.seconds);
  const [first, ...files] = positionals;
  if (!Number.isInteger(seconds) || seconds < 1) throw new Error("--seconds wants a number");
  if (first === "coverage") return coverage(seedsAlone);
  if (first === "pack") {
    for (const target of targets) await pack(target);
    return true;
  }
  const all = [...targets, "command"] as const;
  const chosen = all.filter((target) => first === undefined || target === first);
  const [target] = chosen;
  if (target === undefined) {
    throw new Error(`${first}: it is ${all.join(", ")}, coverage or pack`);
  }
  if (files.length > 0 && target !== "command") return replay(target, files);
  let passed = true;
  for (const each of chosen) {
    const share = Math.max(1, Math.round(seconds / chosen.length));
    const passes =
      each === "command"
        ? runCommand(share, Number(values.seed), values.path)
        : await fuzz(each, share);
    passed = passes && passed;
  }
  return passed;
}

main(process.argv.slice(2)).then(
  (passed) => {
    process.exitCode = passed ? 0 : 1;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  },
);
