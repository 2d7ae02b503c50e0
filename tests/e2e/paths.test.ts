// unix/PATH with real files and listeners: paths of any length and any bytes, and each failure to
// connect.

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { describe, it } from "node:test";
import type { TestContext } from "node:test";

import { Code } from "../../assembly/codes";
import { checkFakeSsh, fakeSsh } from "../support/fake-ssh";
import type { FakeSshOptions } from "../support/fake-ssh";
import { greeting, listen } from "../support/listener";
import type { Listener, ListenerOptions } from "../support/listener";
import { proxyCommand } from "../support/proxy";
import { makeFolder } from "../support/scratch";

const folder = makeFolder("paths");

/** Joins the parts of a path. */
function bytes(...parts: (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}

let folders = 0;
/** A new folder for each test. */
function newFolder(name: string | Buffer = ""): Buffer {
  const own = bytes(folder, `/${folders++}`, name);
  mkdirSync(own);
  return own;
}

/** A path of `length` bytes below `start`, whose folders exist. */
function longPath(start: Buffer, length: number): Buffer {
  let at = bytes(start, "/");
  // The last part fits sun_path, so that it can be bound from its folder.
  while (length - at.length > 100) {
    const part = Math.min(255, length - at.length - 60);
    at = bytes(at, "d".repeat(part), "/");
  }
  const whole = bytes(at, "s".repeat(length - at.length));
  mkdirSync(at, { recursive: true });
  assert.equal(whole.length, length);
  return whole;
}

async function listenFor(
  t: TestContext,
  where: Buffer,
  options?: ListenerOptions,
): Promise<Listener> {
  const listener = await listen(where, options);
  t.after(() => listener.close());
  return listener;
}

function proxy(address: string | Buffer, options?: FakeSshOptions, flags: string[] = []) {
  return fakeSsh([...proxyCommand(), ...flags, address, "22"], options);
}

/** The descriptor is passed, and the listener is its peer. */
async function reaches(address: string | Buffer, options: FakeSshOptions = {}, flags?: string[]) {
  const text = "a request";
  const readBytes = greeting.length + text.length;
  const talk = { write: Buffer.from(text), readBytes, readMs: 20_000 };
  const outcome = await proxy(address, { ...talk, ...options }, flags);
  // Waiting for a queue takes a timeout of the socket, which may not stay.
  checkFakeSsh(outcome, { subject: address.toString() });
  assert.equal(outcome.read?.toString(), greeting + text);
}

describe("unix/PATH reaches a socket", { timeout: 300_000 }, () => {
  for (const length of [107, 108, 109, 4095]) {
    it(`at a path of ${length} bytes`, async (t) => {
      const where = longPath(newFolder(), length);
      await listenFor(t, where);
      await reaches(bytes("unix", where));
    });
  }

  const names: Record<string, Buffer> = {
    "not in UTF-8": Buffer.of(0xff, 0xfe, 0x80, 0xc3),
    "with spaces": Buffer.from(" a  b "),
    "with percent signs": Buffer.from("%41%%%s"),
    "with control characters": Buffer.from("\x01\x1b[31m\n\r\t\x7f"),
    "with shell metacharacters": Buffer.from("'\"$(exit)\\`;&*?~#"),
    "in other scripts": Buffer.from("сокет-ソケット"),
  };
  for (const [what, name] of Object.entries(names)) {
    for (const length of ["short", "long"]) {
      it(`at a ${length} path ${what}`, async (t) => {
        const own = newFolder(name);
        const below = length === "short" ? own : parent(longPath(own, 300));
        const where = bytes(below, "/", name);
        await listenFor(t, where);
        await reaches(bytes("unix", where));
      });
    }
  }

  it("relative to the working directory, with ./", async (t) => {
    const cwd = newFolder();
    await listenFor(t, bytes(cwd, "/s"));
    await reaches("unix/./s", { cwd: cwd.toString() });
  });

  it("relative to the working directory, with ./ and a long path", async (t) => {
    const cwd = newFolder();
    const where = longPath(cwd, 500);
    await listenFor(t, where);
    const below = where.subarray(cwd.length);
    await reaches(bytes("unix/.", below), { cwd: cwd.toString() });
  });

  it("through a symbolic link", async (t) => {
    const own = newFolder();
    await listenFor(t, bytes(own, "/s"));
    symlinkSync("s", bytes(own, "/link"));
    await reaches(bytes("unix", own, "/link"));
  });

  it("whose queue is full at first, and drained during the attempt", async (t) => {
    const where = bytes(newFolder(), "/s");
    const listener = await listenFor(t, where, { mode: "full" });
    const timer = setTimeout(() => {
      listener.open();
    }, 1000);
    t.after(() => {
      clearTimeout(timer);
    });
    await reaches(bytes("unix", where), {}, ["--timeout", "20s"]);
  });
});

/** The folder of a path. */
function parent(where: Buffer): Buffer {
  return where.subarray(0, where.lastIndexOf("/"));
}

describe("unix/PATH fails", { timeout: 300_000 }, () => {
  interface Failure {
    /** Makes what is at the path. */
    make?: (t: TestContext, where: Buffer) => unknown;
    /** What follows that path in the address. */
    behind?: string;
    code: Code;
    flags?: string[];
    options?: FakeSshOptions;
  }
  const isRoot = process.getuid?.() === 0;
  const file = (_: TestContext, where: Buffer) => {
    writeFileSync(where, "");
  };
  const mkdir = (_: TestContext, where: Buffer) => {
    mkdirSync(where);
  };
  const failures: Record<string, Failure> = {
    "a missing socket": { code: Code.NoSocket },
    "a missing folder": { behind: "/missing/s", code: Code.NoSocket },
    "a file": { make: file, code: Code.NotSocket },
    "a folder": { make: mkdir, code: Code.IsDirectory },
    "a path through a file": { make: file, behind: "/s", code: Code.NotDirectory },
    "a path through a socket": {
      make: (t, where) => listenFor(t, where),
      behind: "/",
      code: Code.NotDirectory,
    },
    "a dangling symbolic link": {
      make: (_, where) => {
        symlinkSync("missing", where);
      },
      code: Code.NoSocket,
    },
    "a loop of symbolic links": {
      make: (_, where) => {
        symlinkSync(where.subarray(where.lastIndexOf("/") + 1), where);
      },
      code: Code.SymlinkLoop,
    },
    "a datagram socket": {
      make: (t, where) => listenFor(t, where, { type: "dgram" }),
      code: Code.WrongSocketType,
    },
    "a seqpacket socket": {
      make: (t, where) => listenFor(t, where, { type: "seqpacket" }),
      code: Code.WrongSocketType,
    },
    "a socket without a listener": {
      make: (t, where) => listenFor(t, where, { mode: "dead" }),
      code: Code.Refused,
    },
    "a socket without permission": {
      make: async (t, where) => {
        await listenFor(t, where);
        chmodSync(where, 0o000);
      },
      code: Code.PermissionDenied,
      options: { dropCaps: isRoot },
    },
    "a folder without permission": {
      make: (t, where) => {
        mkdirSync(where, 0o000);
        t.after(() => {
          chmodSync(where, 0o755);
        });
      },
      behind: "/s",
      code: Code.PermissionDenied,
      options: { dropCaps: isRoot },
    },
    "a full queue": {
      make: (t, where) => listenFor(t, where, { mode: "full" }),
      code: Code.QueueFull,
      flags: ["--timeout", "300ms"],
    },
  };

  /** A machine that boots may come to these, so --wait tries again. */
  const transient = [Code.NoSocket, Code.Refused, Code.QueueFull];

  for (const [what, failure] of Object.entries(failures)) {
    for (const length of [60, 400]) {
      const waitMs = length === 400 && !transient.includes(failure.code) ? 60_000 : 0;
      const waits = waitMs > 0 ? `, --wait=${waitMs}ms` : "";
      it(`${what}, a path of ${length} bytes or more${waits}: ${Code[failure.code]}`, async (t) => {
        const where = longPath(newFolder(), Math.max(length, folder.length + 20));
        await failure.make?.(t, where);
        const address = bytes("unix", where, failure.behind ?? "");
        const flags = [...(failure.flags ?? []), ...(waitMs > 0 ? [`--wait=${waitMs}ms`] : [])];
        const outcome = await proxy(address, failure.options, flags);
        checkFakeSsh(outcome, { subject: address.toString(), code: failure.code, waitMs });
        assert.ok(!outcome.timedOut && !outcome.stderr.includes("gave up"), outcome.stderr);
        const atDeadline = failure.code === Code.QueueFull;
        assert.ok(!atDeadline || outcome.exitNs >= 300_000_000, "before its deadline");
      });
    }
  }

  const limits: Record<string, () => string> = {
    "a part of 255 bytes": () => `${folder}/${"p".repeat(255)}`,
    "a path of 4095 bytes": () => String(longPath(newFolder(), 4095)),
  };
  for (const [what, where] of Object.entries(limits)) {
    it(`${what}: NoSocket`, async () => {
      const subject = `unix${where()}`;
      checkFakeSsh(await proxy(subject), { subject, code: Code.NoSocket });
    });
  }

  it("a removed working directory: NoSocket", async () => {
    const own = newFolder().toString();
    const command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", ...proxyCommand()];
    const outcome = await fakeSsh([...command, "unix/./s", "22"], { cwd: own });
    checkFakeSsh(outcome, { subject: "unix/./s", code: Code.NoSocket });
  });
});
