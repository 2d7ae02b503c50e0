// unix/PATH against real files and real listeners: paths of every length and any bytes, and what
// the proxy says of each that cannot be connected to.

import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import type { TestContext } from "node:test";

import { greeting, listen } from "../support/listener";
import type { Listener, ListenerOptions } from "../support/listener";
import { fakeSsh } from "../support/fake-ssh";
import type { Outcome, FakeSshOptions } from "../support/fake-ssh";
import { proxyCommand, root } from "../support/proxy";

const AF_UNIX = 1;

let folder: string;
before(() => {
  folder = mkdtempSync(path.join(tmpdir(), "paths-"));
  // For the proxy as another user.
  chmodSync(folder, 0o755);
});
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Puts together what is part of a path, each part text or bytes. */
function bytes(...parts: (string | Buffer)[]): Buffer {
  return Buffer.concat(parts.map((part) => Buffer.from(part)));
}

/** A folder of its own for each test, so that none meets what another has left. */
let folders = 0;
function newFolder(name: string | Buffer = ""): Buffer {
  const own = bytes(folder, `/${folders++}`, name);
  mkdirSync(own);
  return own;
}

/** A path below `start` that is `length` bytes long, and whose folders exist. */
function longPath(start: Buffer, length: number): Buffer {
  let at = bytes(start, "/");
  // The last part is short enough to be bound from its folder.
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

/** The proxy hands over a connection, and the listener is at the other end of it. */
async function reaches(address: string | Buffer, options: FakeSshOptions = {}, flags?: string[]) {
  const text = "to and fro";
  const readBytes = greeting.length + text.length;
  const talk = { write: Buffer.from(text), readBytes, readMs: 20_000 };
  const outcome = await proxy(address, { ...talk, ...options }, flags);
  assert.equal(outcome.stderr, "");
  const { exit, bytes: count, fds, socket } = outcome;
  assert.deepEqual({ exit, count, fds }, { exit: 0, count: 1, fds: 1 });
  assert.equal(socket?.family, AF_UNIX);
  // Whatever the way here needed: a queue that is waited for needs a timeout for a while.
  assert.deepEqual([socket.nonblock, socket.changed], [false, []]);
  assert.deepEqual([socket.rcvtimeoUs, socket.sndtimeoUs], [0, 0]);
  assert.equal(outcome.read?.toString(), greeting + text);
}

/** What the proxy says of a failure: one line with the address as it shall be shown. */
function says(outcome: Outcome, shown: string, exit: number, reason: RegExp): void {
  const line = outcome.stderrBytes.toString("latin1");
  assert.equal(outcome.exit, exit, line);
  assert.deepEqual([outcome.signal, outcome.bytes, outcome.fds], [null, 0, 0]);
  const start = `ssh-vsock-proxy: ${Buffer.from(shown).toString("latin1")}: `;
  assert.equal(line.slice(0, start.length), start);
  assert.match(line.slice(start.length), /^[\x20-\x7e]+\n$/);
  assert.match(line.slice(start.length), reason);
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
    "that is no UTF-8": Buffer.of(0xff, 0xfe, 0x80, 0xc3),
    "with spaces": Buffer.from(" a  b "),
    "with per cent signs": Buffer.from("%41%%%s"),
    "with control characters": Buffer.from("\x01\x1b[31m\n\r\t\x7f"),
    "with what a shell takes for its own": Buffer.from("'\"$(exit)\\`;&*?~#"),
    "of another script": Buffer.from("сокет-ソケット"),
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

  it("with two slashes", async (t) => {
    const where = bytes(newFolder(), "/s");
    await listenFor(t, where);
    await reaches(bytes("unix/", where));
  });

  it("with % for the slash before the path", async (t) => {
    const where = bytes(newFolder(), "/%s%%t");
    await listenFor(t, where);
    await reaches(bytes("unix%", where));
  });

  it("with % for each slash, and %% for %", async (t) => {
    const where = bytes(newFolder("100%"), "/s%%t");
    await listenFor(t, where);
    const written = where.toString().replaceAll("%", "%%").replaceAll("/", "%");
    await reaches(`unix${written}`);
  });

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

  it("whose queue is full when the proxy comes, and drained while it waits", async (t) => {
    const where = bytes(newFolder(), "/s");
    const listener = await listenFor(t, where, { mode: "full" });
    const timer = setTimeout(() => {
      listener.open();
    }, 1500);
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

/**
 * Someone whom a file's mode keeps out. Who is not root is that already. Root becomes nobody; where
 * nobody may not enter the folders above the proxy, root stays, without root's exemption.
 */
function unprivileged(): FakeSshOptions {
  if (process.getuid?.() !== 0) return {};
  for (const file of [...proxyCommand(), root]) {
    for (let at = path.resolve(file); at !== "/"; at = path.dirname(at)) {
      if ((statSync(at).mode & 0o001) === 0) return { dropCaps: true };
    }
  }
  return { uid: 65534, gid: 65534 };
}

describe("unix/PATH fails", { timeout: 300_000 }, () => {
  interface Failure {
    /** Makes what is at the path, or leaves it missing. */
    make?: (t: TestContext, where: Buffer) => unknown;
    /** What comes behind that path in the address. */
    behind?: string;
    exit: number;
    reason: RegExp;
    flags?: string[];
    options?: () => FakeSshOptions;
  }
  const file = (_: TestContext, where: Buffer) => {
    writeFileSync(where, "");
  };
  const mkdir = (_: TestContext, where: Buffer) => {
    mkdirSync(where);
  };
  const failures: Record<string, Failure> = {
    "a missing socket": { exit: 68, reason: /no such socket: nothing is at that path/ },
    "a missing folder": { behind: "/missing/s", exit: 68, reason: /nothing is at that path/ },
    "a file": { make: file, exit: 68, reason: /not a socket: another kind of file/ },
    "a folder": { make: mkdir, exit: 68, reason: /not a socket: a directory is at/ },
    "a path through a file": {
      make: file,
      behind: "/s",
      exit: 68,
      reason: /a part of the path is not a directory/,
    },
    "a path through a socket": {
      make: (t, where) => listenFor(t, where),
      behind: "/",
      exit: 68,
      reason: /a part of the path is not a directory/,
    },
    "a symbolic link to nothing": {
      make: (_, where) => {
        symlinkSync("missing", where);
      },
      exit: 68,
      reason: /no such socket/,
    },
    "a loop of symbolic links": {
      make: (_, where) => {
        symlinkSync(where.subarray(where.lastIndexOf("/") + 1), where);
      },
      exit: 68,
      reason: /symbolic link|symlink/,
    },
    "a datagram socket": {
      make: (t, where) => listenFor(t, where, { type: "dgram" }),
      exit: 76,
      reason: /stream/,
    },
    "a seqpacket socket": {
      make: (t, where) => listenFor(t, where, { type: "seqpacket" }),
      exit: 76,
      reason: /stream/,
    },
    "a dead socket": {
      make: (t, where) => listenFor(t, where, { mode: "dead" }),
      exit: 69,
      reason: /connection refused/,
    },
    "a socket without permission": {
      make: async (t, where) => {
        await listenFor(t, where);
        chmodSync(where, 0o000);
      },
      exit: 77,
      reason: /permission denied/,
      options: unprivileged,
    },
    "a folder without permission": {
      make: (t, where) => {
        mkdirSync(where, 0o000);
        t.after(() => {
          chmodSync(where, 0o755);
        });
      },
      behind: "/s",
      exit: 77,
      reason: /permission denied/,
      options: unprivileged,
    },
    "a full queue": {
      make: (t, where) => listenFor(t, where, { mode: "full" }),
      exit: 75,
      reason: /deadline passed/,
      flags: ["--timeout", "300ms"],
    },
  };

  for (const [what, failure] of Object.entries(failures)) {
    for (const length of [60, 400]) {
      it(`${what}, at a path of ${length} bytes or so: ${failure.exit}`, async (t) => {
        const where = longPath(newFolder(), Math.max(length, folder.length + 20));
        await failure.make?.(t, where);
        const address = bytes("unix", where, failure.behind ?? "");
        const outcome = await proxy(address, failure.options?.(), failure.flags);
        says(outcome, address.toString(), failure.exit, failure.reason);
        if (failure.exit === 75) assert.ok(outcome.exitNs >= 300_000_000, "before its deadline");
      });
    }
  }

  it("a part of 256 bytes: 64", async () => {
    const address = `unix${folder}/${"p".repeat(256)}/s`;
    says(await proxy(address), address, 64, /path too long/);
  });

  it("a part of 255 bytes is none too long: 68", async () => {
    const address = `unix${folder}/${"p".repeat(255)}`;
    says(await proxy(address), address, 68, /no such socket/);
  });

  it("a path of 4096 bytes: 64", async () => {
    const address = `unix${longPath(newFolder(), 4095).toString()}s`;
    says(await proxy(address), address, 64, /path too long/);
  });

  it("a path of 4095 bytes with nothing there: 68", async () => {
    const address = `unix${longPath(newFolder(), 4095).toString()}`;
    says(await proxy(address), address, 68, /no such socket/);
  });

  it("the address is shown as it was written, with % for the slashes", async () => {
    const address = `unix${folder}/a%b`.replaceAll("%", "%%").replaceAll("/", "%");
    says(await proxy(address), address, 68, /no such socket/);
  });

  it("the working directory is gone: 68", async () => {
    const own = newFolder().toString();
    // The shell has it as its working directory when it goes away.
    const command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", ...proxyCommand()];
    const outcome = await fakeSsh([...command, "unix/./s", "22"], { cwd: own });
    says(outcome, "unix/./s", 68, /no such socket/);
  });
});

describe("the address in an error line", { timeout: 300_000 }, () => {
  const shown: [string, Buffer, string][] = [
    ["ESC", Buffer.from("\x1b[2J"), "\\x1b[2J"],
    ["a line feed", Buffer.from("a\nssh-vsock-proxy: b"), "a\\x0assh-vsock-proxy: b"],
    ["other control characters", Buffer.from("\x01\t\r\x7f"), "\\x01\\x09\\x0d\\x7f"],
    ["a C1 control as a byte", Buffer.of(0x9b, 0x32, 0x4a), "\\x9b2J"],
    ["a C1 control as UTF-8", Buffer.from("\u009b2J"), "\\xc2\\x9b2J"],
    ["a byte that is no UTF-8", Buffer.of(0x61, 0xff), "a\\xff"],
    ["a UTF-8 character cut off", Buffer.from("é").subarray(0, 1), "\\xc3"],
    ["an overlong form", Buffer.of(0xc1, 0x9b), "\\xc1\\x9b"],
    ["a surrogate", Buffer.of(0xed, 0xa0, 0x80), "\\xed\\xa0\\x80"],
    ["a backslash", Buffer.from("\\x1b"), "\\\\x1b"],
    ["a change of direction", Buffer.from("\u202e"), "\\xe2\\x80\\xae"],
    ["printable UTF-8", Buffer.from("é ソケット 🧦"), "é ソケット 🧦"],
  ];
  for (const [what, name, text] of shown) {
    it(`shows ${what} as ${text}`, async () => {
      const outcome = await proxy(bytes("unix", folder, "/", name));
      says(outcome, `unix${folder}/${text}`, 68, /no such socket/);
    });
  }
});
