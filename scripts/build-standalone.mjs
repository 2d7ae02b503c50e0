// Builds the standalone host, dist/ssh-vsock-proxy, from the C that wasm2c makes of proxy.wasm. `npm
// install` of the package runs this too, where only the published files are: so it is JavaScript, and
// needs Node and a C compiler.
//
//     node build-standalone.mjs [OPTIONS]
//
//     --optional        after a failure, writes a script that starts the Node host instead, exit 0
//     --node-host       only writes that script: a published package is for every processor
//     --target NAME     the executable for a processor, x64 or arm64: build/NAME/ssh-vsock-proxy
//     --trace           the debug build, build/trace/ssh-vsock-proxy: SHIM_TRACE names a file to
//                       which each import is written
//     --libc            links the system's C library, statically, as for every processor that
//                       native/standalone has no start code for: build/libc/ssh-vsock-proxy
//     --program FOLDER  where proxy.c and proxy.h are, instead of dist/standalone
//     --output FILE     the executable, instead of one of the above
//
// CC names the compiler, with options if need be, instead of cc. For another processor CC_FOR_TARGET
// does, instead of Debian's cross compiler.

import { chmodSync, existsSync, mkdirSync } from "node:fs";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";

import { compile, imports, root, run, shimSources, traceSource, traceWraps } from "./compiler.mjs";

/**
 * @typedef {(args: string[]) => void} Compile
 * @typedef {{ flags: string[], files: string[], draft: string }} Inputs
 */

/**
 * The processors that need no C library: Debian's compiler, flags.
 *
 * @type {Readonly<Record<string, { compiler: string, flags: string[] }>>}
 */
const processors = {
  x64: {
    compiler: "x86_64-linux-gnu-gcc",
    // The guard is a variable: there is no thread control block, where it usually is.
    flags: ["-fPIE", "-mstack-protector-guard=global"],
  },
  arm64: {
    compiler: "aarch64-linux-gnu-gcc",
    // AArch64's small code model is position-independent as it is. With -fPIE, the stack guard's
    // address would come from a table, as a relocation.
    flags: ["-fno-pie"],
  },
};

const compilerFlags = [
  "-std=c11",
  "-D_GNU_SOURCE",
  "-DNDEBUG",
  "-Wall",
  "-Wextra",
  // wasm2c's output has labels and functions that only some modules need.
  "-Wno-unused",
  "-Inative/standalone",
  // Small is fast here: mapping the pages takes longer than running the code.
  "-Os",
  "-ffunction-sections",
  "-fdata-sections",
  "-fvisibility=hidden",
  "-fno-asynchronous-unwind-tables",
  "-fstack-protector-strong",
];

/** Without a C library, which docs/standalone.md measures. */
const aloneFlags = [
  // Set by the compilers of Ubuntu, Gentoo and Nix; it would call checking functions of glibc.
  "-U_FORTIFY_SOURCE",
];

const linkerFlags = ["-s", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack"];

const aloneLinkerFlags = [
  "-nostdlib",
  "-static-pie",
  // The kernel maps up to 16 pages of a file at a fault (fault_around_bytes): all are in one window.
  "-Wl,-z,max-page-size=0x10000",
  "-Wl,-T,native/standalone/layout.ld",
];

/**
 * Writes imports.h, which makes wasm2c's names for the imports names of the shim's: each function is
 * the shim's own, and either module's instance is the shim. If the declarations of wasm2c and shim.h
 * differ, main.c does not compile; without an import, nothing links.
 *
 * @param {string} file
 */
function writeImports(file) {
  /** @param {string} module */
  const prefix = (module) => `w2c_${module.replaceAll("_", "__")}`;
  const names = imports();
  const lines = [
    ...new Set(names.map(({ module }) => `#define ${prefix(module)} shim`)),
    ...names.map(({ module, name }) => `#define ${prefix(module)}_${name} shim_${name}`),
  ];
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${lines.join("\n")}\n`);
  renameSync(draft, file);
}

/**
 * Throws if a function of the program can call itself. Calls are not counted while it runs
 * (native/standalone/wasm-rt.h), so the depth of its stack must be bounded.
 *
 * @param {string} program C that wasm2c has made
 */
function refuseRecursion(program) {
  /** @type {Map<string, string[]>} */
  const calls = new Map();
  const functions = /^\w+ (w2c_proxy_\w+)\([^)]*\) \{\n([^]*?)^\}/gm;
  for (const [, name = "", body = ""] of program.matchAll(functions)) {
    if (body.includes("CALL_INDIRECT")) throw new Error(`${name} calls through a table`);
    calls.set(name, body.match(/\bw2c_proxy_\w+(?=\()/g) ?? []);
  }
  if (calls.size === 0) throw new Error("no function was found in what wasm2c has made");
  const finished = new Set();
  /** @param {string} name @param {string[]} callers */
  const visit = (name, callers) => {
    if (callers.includes(name)) throw new Error(`${[...callers, name].join(" calls ")}`);
    if (finished.has(name)) return;
    for (const called of calls.get(name) ?? []) visit(called, [...callers, name]);
    finished.add(name);
  };
  for (const name of calls.keys()) visit(name, []);
}

/**
 * Compiles without a C library.
 *
 * @param {Compile} cc
 * @param {string[]} targetFlags
 * @param {Inputs} inputs
 */
function buildAlone(cc, targetFlags, { flags, files, draft }) {
  const all = [...flags, ...aloneFlags, ...targetFlags];
  const object = `${draft}.o`;
  try {
    cc([...all, "-ffreestanding", "-c", "native/standalone/nolibc.c", "-o", object]);
    const start = ["native/standalone/start.c", object];
    cc([...all, ...linkerFlags, ...aloneLinkerFlags, ...files, ...start, "-o", draft]);
  } finally {
    rmSync(object, { force: true });
  }
}

/**
 * Compiles with the system's C library.
 *
 * @param {Compile} cc
 * @param {Inputs} inputs
 */
function buildWithLibrary(cc, { flags, files, draft }) {
  cc([...flags, ...linkerFlags, "-static", ...files, "-o", draft]);
}

/**
 * Builds the executable.
 *
 * @param {{ program?: string, target: string, trace: boolean, libc: boolean, output: string }} options
 */
function build({ program, target, trace, libc, output }) {
  const generated = path.resolve(root, program ?? "dist/standalone");
  const translated = path.join(generated, "proxy.c");
  if (!existsSync(translated)) throw new Error(`${translated} is missing: run \`npm run build\``);
  refuseRecursion(readFileSync(translated, "utf8"));
  const native = target === process.arch;
  const processor = Object.hasOwn(processors, target) ? processors[target] : undefined;
  if (!native && !processor) throw new Error(`--target ${target}: it is x64 or arm64`);
  /** @type {Compile} */
  const cc = (args) =>
    native || !processor
      ? compile("CC", "cc", args)
      : compile("CC_FOR_TARGET", processor.compiler, args);
  const draft = `${output}.${process.pid}`;
  const files = ["native/standalone/main.c", ...shimSources, translated];
  const flags = [...compilerFlags, `-I${generated}`, "-include", "imports.h"];
  mkdirSync(path.dirname(output), { recursive: true });
  writeImports(path.join(generated, "imports.h"));
  if (trace) {
    files.push(traceSource);
    flags.push(...traceWraps());
  }
  try {
    if (libc || !processor) {
      buildWithLibrary(cc, { flags, files, draft });
    } else {
      try {
        buildAlone(cc, processor.flags, { flags, files, draft });
      } catch (/** @type {any} */ error) {
        // There is no compiler, or it is for another processor.
        if (error.code === "ENOENT" || !native) throw error;
        console.error(
          `Linking with a C library, because without one the build failed: ${error.message}`,
        );
        buildWithLibrary(cc, { flags, files, draft });
      }
    }
    if (native && program === undefined) run(draft, ["--version"]);
    chmodSync(draft, 0o755);
    renameSync(draft, output);
  } finally {
    rmSync(draft, { force: true });
  }
}

/**
 * Writes the script that starts the Node host, in the executable's place.
 *
 * @param {string} output
 */
function writeNodeHostScript(output) {
  const draft = `${output}.${process.pid}`;
  mkdirSync(path.dirname(output), { recursive: true });
  writeFileSync(draft, '#!/usr/bin/env node\nrequire("./cli.cjs");\n');
  chmodSync(draft, 0o755);
  renameSync(draft, output);
}

const { values } = parseArgs({
  options: {
    optional: { type: "boolean", default: false },
    "node-host": { type: "boolean", default: false },
    target: { type: "string" },
    trace: { type: "boolean", default: false },
    libc: { type: "boolean", default: false },
    program: { type: "string" },
    output: { type: "string" },
  },
});
const { optional, target = process.arch, trace, libc } = values;
const variant = [trace && "trace", libc && "libc", values.target].filter(Boolean);
const folder = variant.length === 0 ? "dist" : `build/${variant.join("-")}`;
const output = path.resolve(values.output ?? path.join(root, folder, "ssh-vsock-proxy"));
// `npm ci` in a checkout runs this before `npm run build` has made the sources.
const tooEarly = optional && !existsSync(path.join(root, "dist/proxy.wasm"));
try {
  if (values["node-host"]) writeNodeHostScript(output);
  else if (!tooEarly) build({ ...values, target, output });
} catch (/** @type {any} */ error) {
  console.error(`The standalone executable was not built: ${error.message}`);
  if (error.code === "ENOENT") {
    console.error("It needs a C compiler: sudo apt-get install -y gcc libc6-dev");
  }
  if (!optional) process.exit(1);
  console.error("The command runs the Node host instead, which takes longer to start.");
  writeNodeHostScript(output);
}
