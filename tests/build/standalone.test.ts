// The standalone executable as a thing of its own: how it is built and hardened, which system calls
// it can make, and that nothing ends it by a signal. What it does is every end-to-end suite's matter
// (PROXY_HOST=standalone).

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
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import loadWabt from "wabt";

import { ensureTools, tool } from "../support/tools";
import { listen } from "../support/listener";
import type { Listener } from "../support/listener";
import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { DF_BIND_NOW, DT, ET_DYN, PF, PT, readElf } from "../support/elf";
import { fakeSsh } from "../support/fake-ssh";
import type { FakeSshOptions } from "../support/fake-ssh";
import { root } from "../support/proxy";
import { documentedCalls, tracedCalls } from "../support/system-calls";

const program = path.join(root, "dist/ssh-vsock-proxy");

let folder: string;
before(() => {
  ensureTools(["cc", "strace", "prlimit", "aarch64-linux-gnu-gcc", "qemu-aarch64"]);
  folder = mkdtempSync(path.join(tmpdir(), "standalone-"));
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs scripts/build-standalone.mjs; gives what it printed, and its status. */
function build(args: string[], env: NodeJS.ProcessEnv = {}) {
  const script = path.join(root, "scripts/build-standalone.mjs");
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  return { status, output: stdout + stderr };
}

interface Build {
  file: string;
  /** What runs it, where this processor does not. */
  emulator: () => string[];
  compiler: string;
  objdump: string;
  /**
   * What writes to the register in which the kernel expects a call's number, with that number if it
   * is one; and how the kernel is called.
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

    it("is position-independent and needs no other file", () => {
      const { type, segments, dynamic } = readElf(file);
      assert.equal(type, ET_DYN);
      assert.ok(!segments.some((segment) => segment.type === PT.INTERP));
      assert.equal(dynamic.get(DT.NEEDED), undefined);
    });

    it("has no relocation, which nobody would do", () => {
      const { dynamic } = readElf(file);
      for (const tag of [DT.PLTRELSZ, DT.RELASZ, DT.RELSZ, DT.RELRSZ]) {
        assert.deepEqual(dynamic.get(tag) ?? [], []);
      }
    });

    it("maps nothing that can be both written and run, and no byte of the file to be written", () => {
      const segments = readElf(file).segments.filter(({ type }) => type === PT.LOAD);
      assert.equal(segments.length, 2);
      for (const { flags, fileSize } of segments) {
        assert.notEqual(flags & (PF.W | PF.X), PF.W | PF.X);
        if ((flags & PF.W) !== 0) assert.equal(fileSize, 0);
      }
    });

    it("has a stack that cannot be run", () => {
      const stack = readElf(file).segments.find(({ type }) => type === PT.GNU_STACK);
      assert.equal(stack?.flags, PF.R | PF.W);
    });

    it("has full RELRO: what it names is never writable, and all is bound", () => {
      const { segments, dynamic } = readElf(file);
      const relro = segments.find(({ type }) => type === PT.GNU_RELRO);
      const section = segments.find(({ type }) => type === PT.DYNAMIC);
      assert.ok(relro !== undefined && section !== undefined);
      assert.deepEqual([relro.address, relro.size], [section.address, section.size]);
      const around = segments.find(
        ({ type, address, size }) =>
          type === PT.LOAD && address <= relro.address && relro.address < address + size,
      );
      assert.equal((around?.flags ?? PF.W) & PF.W, 0);
      assert.equal((dynamic.get(DT.FLAGS)?.[0] ?? 0) & DF_BIND_NOW, DF_BIND_NOW);
    });

    it("contains no system call but those that docs/standalone.md lists, and each of them", () => {
      const headers = spawnSync(compiler, ["-E", "-dM", "-xc", "-"], {
        input: "#include <asm/unistd.h>\n",
        encoding: "utf8",
      }).stdout;
      // On AArch64 some are other macros: `#define __NR_fstat __NR3264_fstat`.
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
        // Where one comes from elsewhere, nothing is known of the register.
        if (/>:$|\t(ret|j\w+|b|b\.\w+|cbn?z)\b/.test(line)) last = undefined;
        const written = number.exec(line);
        if (written !== null) last = written[1];
        if (!call.test(line)) continue;
        assert.ok(last !== undefined, `whose call is this? ${line}`);
        found.add(names.get(parseInt(last, 16)) ?? `number ${last}`);
        last = undefined;
      }
      assert.deepEqual([...found].sort(), documentedCalls());
    });

    it("notices when its stack is overrun", async () => {
      // In the place of wasm2c's output, and so compiled as that is.
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

describe("the system calls of the standalone executable", { timeout: 300_000 }, () => {
  let listener: Listener;
  let multiplexer: Multiplexer;
  before(async () => {
    listener = await listen(path.join(folder, "s"));
    multiplexer = await startMultiplexer(path.join(folder, "s"));
  });
  after(async () => {
    await multiplexer.close();
    await listener.close();
  });

  const far = (): string => path.join(folder, "d".repeat(200), "s");
  const cases: Record<string, () => { args: string[]; exit: number }> = {
    "unix/": () => ({ args: [`unix${folder}/s`, "22"], exit: 0 }),
    "unix/, a long path": () => ({ args: [`unix${far()}`], exit: 68 }),
    "unix/, a file": () => ({ args: [`unix${program}`], exit: 68 }),
    "unix-abstract/": () => ({ args: ["unix-abstract/nobody"], exit: 69 }),
    ".host": () => ({ args: ["--host-socket", `${folder}/s`, ".host"], exit: 0 }),
    "vsock-mux/": () => ({ args: [`vsock-mux${multiplexer.socket("firecracker")}`], exit: 0 }),
    "-v": () => ({ args: ["-v", `unix${folder}/s`], exit: 0 }),
    "--help": () => ({ args: ["--help"], exit: 0 }),
    "arguments that the memory grows for": () => ({
      args: [...Array<string>(20_000).fill("--timeout=5s"), `unix${folder}/s`],
      exit: 0,
    }),
  };
  for (const [what, make] of Object.entries(cases)) {
    it(`${what}: none but those of the list`, async () => {
      const { args, exit } = make();
      const log = path.join(folder, "strace");
      const strace = [tool("strace"), "-f", "-qq", "-o", log];
      const outcome = await fakeSsh([...strace, program, ...args]);
      assert.equal(outcome.exit, exit, outcome.stderr);
      const [first, ...calls] = tracedCalls(log);
      assert.equal(first, "execve");
      assert.ok(calls.includes("exit_group"));
      assert.deepEqual(
        calls.filter((name) => !documentedCalls().includes(name)),
        [],
      );
    });
  }

  // Each with what its way through the relay needs: splice alone; a pipe of its own and a buffer.
  const relays: Record<string, string> = {
    "relay between pipes": ": | strace | cat",
    "relay from a file to a file": 'strace <"$0" >"$1/output"',
  };
  for (const [what, line] of Object.entries(relays)) {
    it(`${what}: none but those of the list`, () => {
      const log = path.join(folder, "strace");
      const words = `"$2" -f -qq -o "$1/strace" "$0" --stdio --log-file "$1/log" "unix$1/s"`;
      const script = line.replace("strace", words);
      const arguments_ = ["-c", script, program, folder, tool("strace")];
      const options = { encoding: "latin1", timeout: 60_000 } as const;
      const { status, stderr } = spawnSync("/bin/sh", arguments_, options);
      assert.deepEqual([status, stderr], [0, ""]);
      const calls = tracedCalls(log).slice(1);
      assert.ok(calls.includes("splice") && calls.includes("getpid"), calls.join());
      assert.deepEqual(
        calls.filter((name) => !documentedCalls().includes(name)),
        [],
      );
    });
  }
});

describe("the standalone executable at a limit", { timeout: 300_000 }, () => {
  const limited = (limits: string[], args: string[], options?: FakeSshOptions) =>
    fakeSsh([tool("prlimit"), ...limits, program, ...args], options);
  const fails = (outcome: Awaited<ReturnType<typeof fakeSsh>>, reason: RegExp) => {
    const { exit, signal, bytes, stderr } = outcome;
    assert.deepEqual({ exit, signal, bytes }, { exit: 71, signal: null, bytes: 0 }, stderr);
    assert.match(stderr, /^ssh-vsock-proxy: [^\n]*\n$/);
    assert.match(stderr, reason);
  };

  it("hands over within 64 MiB of address space", async () => {
    const listener = await listen(path.join(folder, "near"));
    try {
      const outcome = await limited(["--as=67108864"], [`unix${folder}/near`]);
      assert.deepEqual([outcome.exit, outcome.fds], [0, 1], outcome.stderr);
    } finally {
      await listener.close();
    }
  });
  it("says that memory has run out, where the arguments need more than there is", async () => {
    const args = Array<string>(15).fill("x".repeat(120_000));
    fails(await limited(["--as=3000000"], args), /out of memory/);
  });
  it("says that there are too many open files", async () => {
    fails(await limited(["--nofile=3"], [`unix${folder}/none`]), /too many open files/);
  });
  it("says so of the second file that a long path needs", async () => {
    const address = `unix${folder}/${"d".repeat(200)}/s`;
    fails(await limited(["--nofile=4"], [address]), /too many open files/);
  });
  it("does with a stack of 16 KiB, for the longest way that there is to connect, too", async () => {
    const address = `unix${folder}/${"d".repeat(200)}/s`;
    // The environment lies on the stack as well, and the kernel leaves up to 8 KiB of it empty.
    const { exit, signal, stderr } = await limited(["--stack=16384"], [address], { env: {} });
    assert.deepEqual({ exit, signal }, { exit: 68, signal: null }, stderr);
  });
  it("keeps its exit status where stderr's file must not grow", () => {
    const script = `exec "$0" --fsize=0 "$1" unix${folder}/none 2>>"$2"`;
    const args = ["-c", script, tool("prlimit"), program, path.join(folder, "full")];
    const { status, signal } = spawnSync("/bin/sh", args, { stdio: ["ignore", "pipe", "pipe"] });
    // spawn's stdout is a socket, as ssh's.
    assert.deepEqual({ status, signal }, { status: 68, signal: null });
  });
  it("keeps its exit status where nobody reads stderr", () => {
    // The pipe's reader has ended by then.
    const script = `{ sleep 0.3; "$0" unix/x; echo $? >"$1"; } 2>&1 | :`;
    const file = path.join(folder, "status");
    spawnSync("/bin/sh", ["-c", script, program, file]);
    assert.equal(readFileSync(file, "utf8"), "68\n");
  });
});

describe("a Wasm trap in the standalone executable", () => {
  // Each a command with both interfaces, as proxy.wasm, that fails in its own way.
  const traps: Record<string, string> = {
    unreachable: "unreachable",
    "a load beyond the memory": "i32.const 65533 i32.load drop",
    "a store beyond the memory": "i32.const -1 i32.const 1 i32.store8",
    "a copy beyond the memory": "i32.const 1 i32.const 65530 i32.const 7 memory.copy",
    "a division by zero": "i32.const 1 i32.const 0 call $zero i32.div_u drop",
    "a quotient that is too large":
      "i32.const 0x80000000 i32.const 0 call $zero i32.const 1 i32.sub i32.div_s drop",
    "a number that is no integer": "f64.const nan i32.trunc_f64_s drop",
    "a recursion without end": "call $start",
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
    const wasm2c = path.join(path.dirname(require.resolve("wabt/package.json")), "bin/wasm2c");
    const args = ["trap.wasm", "--module-name=proxy", "--output=proxy.c"];
    const made = spawnSync(process.execPath, [wasm2c, ...args], { cwd: own, encoding: "utf8" });
    assert.equal(made.status, 0, made.stderr);
    const file = path.join(own, "trap");
    assert.deepEqual(build(["--program", own, "--output", file]), { status: 0, output: "" });
    return { wasm, file };
  }

  for (const [what, body] of Object.entries(traps)) {
    it(`${what}: exit 70, and a line in V8's words`, async () => {
      const { wasm, file } = await compile(body);
      const { instance } = await WebAssembly.instantiate(wasm as Uint8Array<ArrayBuffer>, {
        wasi_snapshot_preview1: { proc_exit: () => undefined },
        socket_shim_v1: { sock_open: () => 0 },
      });
      let words = "";
      assert.throws(instance.exports["_start"] as () => void, (error: Error) => {
        words = error.message;
        return true;
      });
      const { status, signal, stdout, stderr } = spawnSync(file, { encoding: "utf8" });
      assert.deepEqual(
        { status, signal, stdout, stderr },
        {
          status: 70,
          signal: null,
          stdout: "",
          stderr: `ssh-vsock-proxy: internal error: ${words}\n`,
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
  it("without a C compiler says so, and the Node host stands in its place", () => {
    const dist = path.join(folder, "without");
    mkdirSync(dist);
    for (const name of ["cli.cjs", "ssh-vsock-proxy.node"]) {
      copyFileSync(path.join(root, "dist", name), path.join(dist, name));
    }
    const file = path.join(dist, "ssh-vsock-proxy");
    const { status, output } = build(["--optional", "--output", file], { CC: "no-such-compiler" });
    assert.equal(status, 0);
    assert.match(output, /was not built: no-such-compiler: .*ENOENT/);
    assert.match(output, /apt-get install -y gcc libc6-dev/);
    const said = spawnSync(file, ["unix/nowhere/s"], { encoding: "utf8" });
    assert.equal(said.status, 68);
    assert.match(said.stderr, /^ssh-vsock-proxy: unix\/nowhere\/s: no such socket/);
    // Where the addon could not be built either, the command says what can be done.
    rmSync(path.join(dist, "ssh-vsock-proxy.node"));
    const lost = spawnSync(file, ["unix/nowhere/s"], { encoding: "utf8" });
    assert.equal(lost.status, 71);
    assert.match(lost.stderr, /the native addon did not load: [^]*apt-get install/);
    assert.equal(build(["--output", file], { CC: "no-such-compiler" }).status, 1);
  });

  it("works with a compiler that has functions of glibc's check, and with options in CC", async () => {
    // As Ubuntu's gcc does on its own.
    const compiler = path.join(folder, "cautious");
    await writeFile(compiler, '#!/bin/sh\nexec cc -D_FORTIFY_SOURCE=2 "$@"\n', { mode: 0o755 });
    const file = path.join(folder, "fortified");
    const made = build(["--output", file], { CC: `${compiler} -pipe` });
    assert.deepEqual(made, { status: 0, output: "" });
    assert.equal(readElf(file).segments.filter(({ type }) => type === PT.LOAD).length, 2);
  });

  it("links a C library where it does not do without", () => {
    // A linker that knows no ASSERT and no layout of ours would fail in the same way.
    const compiler = path.join(folder, "unable");
    const script = 'case "$*" in *nostdlib*) exit 1 ;; esac; exec cc "$@"';
    writeFileSync(compiler, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const file = path.join(folder, "linked");
    const { status, output } = build(["--output", file], { CC: compiler });
    assert.equal(status, 0, output);
    assert.match(output, /^It does not build without a C library, and so is linked with one: /);
    assert.equal(spawnSync(file, ["--version"]).status, 0);
  });

  it("against the system's C library gives the same command", async () => {
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
