// Builds the standalone host, dist/ssh-vsock-proxy, out of what wasm2c has made of proxy.wasm. Also
// what `npm install` of the package runs, where only the published files are there: so this is
// JavaScript, and needs Node and a C compiler.
//
//     node build-standalone.mjs [--optional] [--target arm64] [--trace]
//
//     --optional       a failure is told and no more: dist/ssh-vsock-proxy then starts the Node host
//     --target arm64   the executable for that processor, as build/arm64/ssh-vsock-proxy
//     --trace          the debug build, build/trace/ssh-vsock-proxy: SHIM_TRACE names a file to
//                      which each import is written
//
// CC names the compiler; where it is not set, cc, and for another processor Debian's cross compiler.

import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

const generated = "dist/standalone";
const sources = [
  "native/standalone/main.c",
  `${generated}/proxy.c`,
  "native/shim/poll.c",
  "native/shim/preview1.c",
  "native/shim/shim.c",
  "native/shim/sockets.c",
];

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
  `-I${generated}`,
  "-Inative/standalone",
  // Small is fast here: what costs is not what runs, but what has to be mapped.
  "-Os",
  "-ffunction-sections",
  "-fdata-sections",
  "-fvisibility=hidden",
  "-fno-asynchronous-unwind-tables",
  "-fstack-protector-strong",
];

const linkerFlags = ["-s", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack"];

/** Without a C library: docs/standalone.md has what that brings. */
const aloneFlags = [
  "-nostdlib",
  "-static-pie",
  "-Wl,-z,relro,-z,now",
  // The kernel maps a file's pages 16 at a time (fault_around_bytes): all are in one such window.
  "-Wl,-z,max-page-size=0x10000",
  "-Wl,-T,native/standalone/layout.ld",
];

function run(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ended with status ${status}:\n${stdout}${stderr}`);
  return stderr;
}

/** The imports that shim.h lists. */
function imports() {
  const header = readFileSync(path.join(root, "native/shim/shim.h"), "utf8");
  return [...header.matchAll(/X\((\w+), (\w+)\)/g)].map(([, , name]) => name);
}

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

function build({ target, trace, output }) {
  if (!existsSync(path.join(root, generated, "proxy.c"))) {
    throw new Error(`${generated}/proxy.c is not there yet: \`npm run build\` makes it`);
  }
  const processor = processors[target];
  const native = target === process.arch;
  const compiler = process.env["CC"] ?? (native ? "cc" : processor.compiler);
  mkdirSync(path.dirname(output), { recursive: true });
  const draft = `${output}.${process.pid}`;
  const files = [...sources];
  const flags = [...compilerFlags];
  const links = [...linkerFlags];
  if (trace) {
    files.push("native/shim/trace.c");
    links.push(...imports().map((name) => `-Wl,--wrap=shim_${name}`));
  }
  if (processor === undefined) {
    links.push("-static");
  } else {
    flags.push(...processor.flags);
    links.push(...aloneFlags);
    const nolibc = path.join(root, "build", `nolibc-${target}.${process.pid}.o`);
    mkdirSync(path.dirname(nolibc), { recursive: true });
    // So that no loop of memcpy's becomes a call of memcpy.
    const loops = ["-ffreestanding", "-fno-tree-loop-distribute-patterns"];
    run(compiler, [...flags, ...loops, "-c", "native/standalone/nolibc.c", "-o", nolibc]);
    files.push("native/standalone/start.c", nolibc);
  }
  run(compiler, [...flags, ...links, ...files, "-o", draft]);
  if (processor !== undefined) finish(draft);
  if (native) run(draft, ["--version"]);
  renameSync(draft, output);
}

/** What stands in the executable's place where there is none. */
function startNodeHost(output) {
  writeFileSync(output, '#!/usr/bin/env node\nrequire("./cli.cjs");\n');
  chmodSync(output, 0o755);
}

const args = process.argv.slice(2);
const trace = args.includes("--trace");
const target = args.includes("--target") ? args[args.indexOf("--target") + 1] : process.arch;
const folder = trace ? "build/trace" : target === process.arch ? "dist" : `build/${target}`;
const output = path.join(root, folder, "ssh-vsock-proxy");
try {
  build({ target, trace, output });
} catch (error) {
  console.error(`The standalone executable was not built: ${error.message}`);
  if (!args.includes("--optional")) process.exit(1);
  console.error("It needs a C compiler: sudo apt-get install -y gcc libc6-dev");
  console.error("The Node host stands in its place, and takes longer to start.");
  mkdirSync(path.dirname(output), { recursive: true });
  startNodeHost(output);
}
