// The standalone executable as a file: how it is built and hardened, which system calls it can make,
// and how it ends at a limit. The end-to-end tests cover what it does (PROXY_HOST=standalone).

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { before, describe, it } from "node:test";
import loadWabt from "wabt";

import { tool } from "../support/tools";
import { listen } from "../support/listener";
import { fakeSsh } from "../support/fake-ssh";
import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { documentedCalls } from "../support/system-calls";
import { translate } from "../support/wasm2c";

const program = path.join(root, "dist/ssh-vsock-proxy");

const folder = makeFolder("standalone");

/** Runs scripts/build-standalone.mjs. */
function build(args: string[], env: NodeJS.ProcessEnv = {}) {
  const script = path.join(root, "scripts/build-standalone.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  return { status, output: stdout + stderr };
}

/** What readelf prints of a file: its type, program headers, dynamic section and relocations. */
function readelf(file: string): string {
  const env = { ...process.env, LC_ALL: "C" };
  return spawnSync("readelf", ["-hldrW", file], { encoding: "utf8", env }).stdout;
}

/** The segments of a file that are mapped into memory. */
function loadSegments(file: string): { fileSize: number; flags: string }[] {
  const lines = readelf(file).matchAll(/^ +LOAD +(?:0x\w+ +){3}(0x\w+) +0x\w+ +([RWE ]{3}) /gm);
  return [...lines].map(([, size, flags = ""]) => ({ fileSize: Number(size), flags }));
}

interface Build {
  file: string;
  /** What runs it on another processor. */
  emulator: () => string[];
  compiler: string;
  objdump: string;
  /**
   * An instruction that writes to the register of a call's number, with the number if it is a
   * constant; and the instruction that calls the kernel.
   */
  number: RegExp;
  call: RegExp;
}

const builds: Record<string, Build> = {
  x64: {
    file: program,
    emulator: () => [],
    compiler: "cc",
    objdump: "objdump",
    number: /\tmov +\$0x([0-9a-f]+),%eax$|,%[er]?a[xl]$/,
    call: /\t(syscall|sysenter|int +\$0x80)/,
  },
  arm64: {
    file: path.join(root, "build/arm64/ssh-vsock-proxy"),
    emulator: () => [tool("qemu-aarch64")],
    compiler: "aarch64-linux-gnu-gcc",
    objdump: "aarch64-linux-gnu-objdump",
    number: /\tmov\tx8, #0x([0-9a-f]+)|\t\w+\t[wx]8, /,
    call: /\tsvc\t/,
  },
};

const overrun = `
#include "proxy.h"
void wasm2c_proxy_instantiate(w2c_proxy *it, struct shim *one, struct shim *other) {
    (void)it, (void)one, (void)other;
}
void w2c_proxy_0x5Fstart(w2c_proxy *it) {
    volatile char room[8];
    volatile char *at = room;
    for (int i = 0; i < 64; i++) *at++ = (char)it->w2c_memory.size;
}
`;

for (const [processor, { file, emulator, compiler, objdump, number, call }] of Object.entries(
  builds,
)) {
  describe(`the executable for ${processor}`, () => {
    before(() => {
      if (file !== program) assert.deepEqual(build(["--target", processor]).output, "");
    });

    it("has at most 64 KiB", () => {
      assert.ok(statSync(file).size <= 65536, `${statSync(file).size} bytes`);
    });

    it("is position-independent, without interpreter, library or relocation", () => {
      const headers = readelf(file);
      assert.match(headers, /^ +Type: +DYN /m);
      assert.match(headers, /^There are no relocations in this file\.$/m);
      assert.doesNotMatch(headers, /INTERP|\(NEEDED\)|RELASZ|RELRSZ/);
    });

    it("maps no memory writable and executable, and no part of the file writable", () => {
      const segments = loadSegments(file);
      assert.equal(segments.length, 2);
      for (const { flags, fileSize } of segments) {
        assert.doesNotMatch(flags, /WE/);
        if (flags.includes("W")) assert.equal(fileSize, 0);
      }
    });

    it("has a stack that is not executable", () => {
      assert.match(readelf(file), /^ +GNU_STACK +(?:0x\w+ +){5}RW {2}/m);
    });

    it("contains exactly the system calls that docs/standalone.md lists", () => {
      const headers = spawnSync(compiler, ["-E", "-dM", "-xc", "-"], {
        input: "#include <asm/unistd.h>\n",
        encoding: "utf8",
      }).stdout;
      // On AArch64 some name another macro: `#define __NR_fstat __NR3264_fstat`.
      const macros = new Map(
        [...headers.matchAll(/^#define (__NR\w*) (\w+)$/gm)].map(([, name = "", value = ""]) => [
          name,
          value,
        ]),
      );
      const names = new Map(
        [...macros]
          .filter(([name]) => name.startsWith("__NR_"))
          .map(([name, value]) => [Number(macros.get(value) ?? value), name.slice(5)]),
      );
      const code = spawnSync(objdump, ["-d", "--no-show-raw-insn", file], { encoding: "utf8" });
      const found = new Set<string>();
      let last: string | undefined;
      for (const line of code.stdout.split("\n")) {
        // After a jump or a label the register's value is unknown.
        if (/>:$|\t(ret|j\w+|b|b\.\w+|cbn?z)\b/.test(line)) last = undefined;
        const written = number.exec(line);
        if (written !== null) last = written[1];
        if (!call.test(line)) continue;
        assert.ok(last !== undefined, `a system call of unknown number: ${line}`);
        found.add(names.get(parseInt(last, 16)) ?? `number ${last}`);
        last = undefined;
      }
      assert.deepEqual([...found].sort(), documentedCalls());
    });

    it("detects a stack overrun", async () => {
      // Compiled in place of wasm2c's output, with the same options.
      const own = mkdtempSync(path.join(folder, "overrun-"));
      copyFileSync(path.join(root, "dist/standalone/proxy.h"), path.join(own, "proxy.h"));
      await writeFile(path.join(own, "proxy.c"), overrun);
      const run = path.join(own, "overrun");
      const made = build(["--target", processor, "--program", own, "--output", run]);
      assert.deepEqual(made, { status: 0, output: "" });
      const [command, ...args] = [...emulator(), run];
      const { status, stderr } = spawnSync(command, args, { encoding: "utf8" });
      assert.deepEqual(
        { status, stderr },
        { status: 70, stderr: "ssh-vsock-proxy: internal error: stack overrun\n" },
      );
    });
  });
}

describe("the standalone executable at a limit", { timeout: 300_000 }, () => {
  it("runs in a 16 KiB stack, long paths included", async () => {
    const address = `unix${folder}/${"d".repeat(200)}/s`;
    // The environment is on the stack too, and the kernel leaves up to 8 KiB of it empty.
    const command = [tool("prlimit"), "--stack=16384", program, address];
    const { exit, signal, stderr } = await fakeSsh(command, { env: {} });
    assert.deepEqual({ exit, signal }, { exit: 68, signal: null }, stderr);
  });
  it("keeps its exit status if stderr's file is at its size limit", () => {
    const script = `exec "$0" --fsize=0 "$1" unix${folder}/none 2>>"$2"`;
    const args = ["-c", script, tool("prlimit"), program, path.join(folder, "full")];
    const { status, signal } = spawnSync("/bin/sh", args, { stdio: ["ignore", "pipe", "pipe"] });
    // spawn's stdout is a socket, as ssh's.
    assert.deepEqual({ status, signal }, { status: 68, signal: null });
  });
  it("keeps its exit status if stderr is closed at the other end", () => {
    // The reader is this shell, which has exec'd away from the FIFO before the proxy starts.
    const script = `mkfifo "$2" && exec 3<>"$2" 4>"$2" 3<&- && { "$0" unix/x 2>&4; echo $? >"$1"; }`;
    const file = path.join(folder, "status");
    spawnSync("/bin/sh", ["-c", script, program, file, path.join(folder, "fifo")]);
    assert.equal(readFileSync(file, "utf8"), "68\n");
  });
});

describe("a Wasm trap in the standalone executable", () => {
  // Bodies of a command that imports from both interfaces, as proxy.wasm does.
  const traps: Record<string, string> = {
    unreachable: "unreachable",
    "a load beyond the memory": "i32.const 65533 i32.load drop",
    "a store beyond the memory": "i32.const -1 i32.const 1 i32.store8",
    "a copy beyond the memory": "i32.const 1 i32.const 65530 i32.const 7 memory.copy",
    "a division by zero": "i32.const 1 i32.const 0 call $zero i32.div_u drop",
    "a quotient that is too large":
      "i32.const 0x80000000 i32.const 0 call $zero i32.const 1 i32.sub i32.div_s drop",
    "a number that is no integer": "f64.const nan i32.trunc_f64_s drop",
  };
  const source = (body: string) => `(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (import "socket_shim_v1" "sock_open" (func $open (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $zero (param i32) (result i32) local.get 0)
    (func $start (export "_start") ${body} ${body === "" ? "" : "i32.const 0 call $exit"}))`;

  async function compile(body: string): Promise<{ wasm: Uint8Array; file: string }> {
    const wabt = await loadWabt();
    const wasm = wabt.parseWat("trap.wat", source(body)).toBinary({}).buffer;
    const own = mkdtempSync(path.join(folder, "trap-"));
    await writeFile(path.join(own, "trap.wasm"), wasm);
    translate(path.join(own, "trap.wasm"), "proxy", own);
    const file = path.join(own, "trap");
    assert.deepEqual(build(["--program", own, "--output", file]), { status: 0, output: "" });
    return { wasm, file };
  }

  it("no recursion: the build refuses it", async () => {
    await assert.rejects(compile("call $start"), (error: assert.AssertionError) =>
      /w2c_proxy_\S+ calls w2c_proxy_/.test((error.actual as { output: string }).output),
    );
  });

  for (const [what, body] of Object.entries(traps)) {
    it(`${what}: exit 70 and V8's message`, async () => {
      const { wasm, file } = await compile(body);
      const { instance } = await WebAssembly.instantiate(wasm as Uint8Array<ArrayBuffer>, {
        wasi_snapshot_preview1: { proc_exit: () => undefined },
        socket_shim_v1: { sock_open: () => 0 },
      });
      let message = "";
      assert.throws(instance.exports["_start"] as () => void, (error: Error) => {
        message = error.message;
        return true;
      });
      const { status, signal, stdout, stderr } = spawnSync(file, { encoding: "utf8" });
      assert.deepEqual(
        { status, signal, stdout, stderr },
        {
          status: 70,
          signal: null,
          stdout: "",
          stderr: `ssh-vsock-proxy: internal error: ${message}\n`,
        },
      );
    });
  }

  it("an end without an exit status: exit 70", async () => {
    const { file } = await compile("");
    const { status, stderr } = spawnSync(file, { encoding: "utf8" });
    assert.equal(status, 70);
    assert.match(stderr, /^ssh-vsock-proxy: internal error: the program ended without[^\n]*\n$/);
  });
});

describe("building the standalone executable", () => {
  it("without a C compiler reports that, and installs the Node host instead", () => {
    const dist = path.join(folder, "without");
    mkdirSync(dist);
    for (const name of ["cli.cjs", "ssh-vsock-proxy.node"]) {
      copyFileSync(path.join(root, "dist", name), path.join(dist, name));
    }
    const file = path.join(dist, "ssh-vsock-proxy");
    const { status, output } = build(["--optional", "--output", file], { CC: "no-such-compiler" });
    assert.equal(status, 0);
    assert.match(output, /was not built: no-such-compiler: no such command/);
    assert.match(output, /apt-get install -y gcc libc6-dev/);
    const said = spawnSync(file, ["unix/nowhere/s"], { encoding: "utf8" });
    assert.equal(said.status, 68);
    assert.match(said.stderr, /^ssh-vsock-proxy: unix\/nowhere\/s: no such socket/);
    // Without the addon too, the command says how to build it.
    rmSync(path.join(dist, "ssh-vsock-proxy.node"));
    const lost = spawnSync(file, ["unix/nowhere/s"], { encoding: "utf8" });
    assert.equal(lost.status, 71);
    assert.match(lost.stderr, /the native addon did not load: [^]*apt-get install/);
    assert.equal(build(["--output", file], { CC: "no-such-compiler" }).status, 1);
  });

  it("works with a compiler that sets _FORTIFY_SOURCE, and with options in CC", async () => {
    // As Ubuntu's gcc does.
    const compiler = path.join(folder, "cautious");
    await writeFile(compiler, '#!/bin/sh\nexec cc -D_FORTIFY_SOURCE=2 "$@"\n', { mode: 0o755 });
    const file = path.join(folder, "fortified");
    const made = build(["--output", file], { CC: `${compiler} -pipe` });
    assert.deepEqual(made, { status: 0, output: "" });
    assert.equal(loadSegments(file).length, 2);
  });

  it("links a C library if it cannot be built without one", () => {
    // A linker that cannot take layout.ld would fail in the same way.
    const compiler = path.join(folder, "unable");
    const script = 'case "$*" in *nostdlib*) exit 1 ;; esac; exec cc "$@"';
    writeFileSync(compiler, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const file = path.join(folder, "linked");
    const { status, output } = build(["--output", file], { CC: compiler });
    assert.equal(status, 0, output);
    assert.match(output, /^Linking with a C library, because without one the build failed: /);
    assert.equal(spawnSync(file, ["--version"]).status, 0);
  });

  it("with the system's C library makes the same command", async () => {
    const file = path.join(folder, "libc");
    assert.deepEqual(build(["--libc", "--output", file]), { status: 0, output: "" });
    const listener = await listen(path.join(folder, "libc.sock"));
    try {
      const outcome = await fakeSsh([file, `unix${folder}/libc.sock`]);
      assert.deepEqual([outcome.exit, outcome.fds, outcome.stderr], [0, 1, ""]);
    } finally {
      await listener.close();
    }
  });
});
