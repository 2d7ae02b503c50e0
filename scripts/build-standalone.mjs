// Builds the standalone host, dist/ssh-vsock-proxy, out of what wasm2c has made of proxy.wasm. Also
// what `npm install` of the package runs, where only the published files are there: so this is
// JavaScript, and needs Node and a C compiler.
//
//     node build-standalone.mjs [OPTIONS]
//
//     --optional        a failure is told and no more: what starts the Node host is put in its place
//     --node-host       only puts that in its place: a package is for every processor
//     --target NAME     the executable for that processor, x64 or arm64: build/NAME/ssh-vsock-proxy
//     --trace           the debug build, build/trace/ssh-vsock-proxy: SHIM_TRACE names a file to
//                       which each import is written
//     --libc            links the system's C library, statically, as for every processor for which
//                       native/standalone cannot do without: build/libc/ssh-vsock-proxy
//     --program FOLDER  where proxy.c and proxy.h are, if not in dist/standalone
//     --output FILE     the executable, if not one of the above
//
// CC names the compiler, with options if need be; where it is not set it is cc. For another processor
// than this one it is Debian's cross compiler, or CC_FOR_TARGET.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";

import { compile, root, run, shimSources, traceSource, traceWraps } from "./compiler.mjs";

/** Those for which native/standalone does without a C library: Debian's compiler, flags. */
const processors = {
  x64: {
    compiler: "x86_64-linux-gnu-gcc",
    // The guard is a variable: in the thread's control block, where it is usually, nobody puts one.
    flags: ["-fPIE", "-mstack-protector-guard=global"],
  },
  arm64: {
    compiler: "aarch64-linux-gnu-gcc",
    // AArch64's small code model needs no more to run anywhere; with -fPIE, the guard of the stack
    // would be looked up in a table of addresses, each of them a relocation.
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
  // Small is fast here: what costs is not what runs, but what has to be mapped.
  "-Os",
  "-ffunction-sections",
  "-fdata-sections",
  "-fvisibility=hidden",
  "-fno-asynchronous-unwind-tables",
  "-fstack-protector-strong",
];

/** Without a C library: docs/standalone.md has what that brings. */
const aloneFlags = [
  // Some compilers set it, and then call functions of glibc's that check (Ubuntu, Gentoo, Nix).
  "-U_FORTIFY_SOURCE",
];

const linkerFlags = ["-s", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack"];

const aloneLinkerFlags = [
  "-nostdlib",
  "-static-pie",
  "-Wl,-z,relro,-z,now",
  // The kernel maps a file's pages 16 at a time (fault_around_bytes): all are in one such window.
  "-Wl,-z,max-page-size=0x10000",
  "-Wl,-T,native/standalone/layout.ld",
];

/**
 * What the linker's file still lacks. Offsets are those of the ELF64 header, of its program headers
 * and of the dynamic section (elf(5)).
 *
 * - An executable with relocations, which nobody would do (native/standalone/start.c), is refused.
 * - PT_GNU_RELRO is put where layout.ld keeps room for it: no linker writes one without a segment
 *   that is writable at first. What it names, .dynamic, is read-only from the first instruction on,
 *   and those who check for RELRO find what they look for.
 */
function finish(file) {
  const [PT_NULL, PT_DYNAMIC, PT_GNU_RELRO] = [0, 2, 0x6474e552];
  const [DT_PLTRELSZ, DT_RELASZ, DT_RELSZ, DT_RELRSZ] = [2, 8, 18, 35];
  const bytes = readFileSync(file);
  const start = Number(bytes.readBigUInt64LE(32));
  const size = bytes.readUInt16LE(54);
  const headers = Array.from({ length: bytes.readUInt16LE(56) }, (_, i) =>
    bytes.subarray(start + i * size, start + (i + 1) * size),
  );
  const find = (type) => headers.find((header) => header.readUInt32LE(0) === type);

  const dynamic = find(PT_DYNAMIC);
  const first = Number(dynamic.readBigUInt64LE(8));
  const end = first + Number(dynamic.readBigUInt64LE(32));
  for (let at = first; at < end; at += 16) {
    const tag = Number(bytes.readBigInt64LE(at));
    const value = bytes.readBigUInt64LE(at + 8);
    if ([DT_PLTRELSZ, DT_RELASZ, DT_RELSZ, DT_RELRSZ].includes(tag) && value > 0n) {
      throw new Error("this compiler has made relocations, which a static executable cannot do");
    }
  }

  const relro = find(PT_NULL);
  dynamic.copy(relro);
  relro.writeUInt32LE(PT_GNU_RELRO, 0);
  writeFileSync(file, bytes);
}

/** Compiles without a C library: `draft` is the executable. */
function buildAlone(cc, { flags, files, target, draft }) {
  const all = [...flags, ...aloneFlags, ...processors[target].flags];
  const object = `${draft}.o`;
  try {
    cc([...all, "-ffreestanding", "-c", "native/standalone/nolibc.c", "-o", object]);
    const start = ["native/standalone/start.c", object];
    cc([...all, ...linkerFlags, ...aloneLinkerFlags, ...files, ...start, "-o", draft]);
    finish(draft);
  } finally {
    rmSync(object, { force: true });
  }
}

function buildWithLibrary(cc, { flags, files, draft }) {
  cc([...flags, ...linkerFlags, "-static", ...files, "-o", draft]);
}

function build({ program, target, trace, libc, output }) {
  const generated = path.resolve(root, program ?? "dist/standalone");
  const translated = path.join(generated, "proxy.c");
  if (!existsSync(translated)) throw new Error(`${translated} is missing: run \`npm run build\``);
  const native = target === process.arch;
  const known = Object.hasOwn(processors, target);
  if (!native && !known) throw new Error(`--target ${target}: it is x64 or arm64`);
  const cc = (args) =>
    native
      ? compile("CC", "cc", args)
      : compile("CC_FOR_TARGET", processors[target].compiler, args);
  const draft = `${output}.${process.pid}`;
  const files = ["native/standalone/main.c", ...shimSources, translated];
  const flags = [...compilerFlags, `-I${generated}`];
  mkdirSync(path.dirname(output), { recursive: true });
  if (trace) {
    files.push(traceSource);
    flags.push(...traceWraps());
  }
  try {
    if (libc || !known) {
      buildWithLibrary(cc, { flags, files, draft });
    } else {
      try {
        buildAlone(cc, { flags, files, target, draft });
      } catch (error) {
        // No compiler at all, or one for another processor: there is nothing else to try.
        if (error.code === "ENOENT" || !native) throw error;
        console.error(
          `It does not build without a C library, and so is linked with one: ${error.message}`,
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

/** What stands in the executable's place where there is none. */
function startNodeHost(output) {
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
// In a checkout `npm ci` comes before `npm run build`: there is nothing to build from yet.
const tooEarly = optional && !existsSync(path.join(root, "dist/proxy.wasm"));
try {
  if (values["node-host"]) startNodeHost(output);
  else if (!tooEarly) build({ ...values, target, output });
} catch (error) {
  console.error(`The standalone executable was not built: ${error.message}`);
  if (error.code === "ENOENT") {
    console.error("It needs a C compiler: sudo apt-get install -y gcc libc6-dev");
  }
  if (!optional) process.exit(1);
  console.error("The Node host stands in its place, and takes longer to start.");
  startNodeHost(output);
}
