// Sockets: sock_open to sock_send_fds over real unix sockets. AF_VSOCK is tested in a guest
// (tests/e2e/vsock.test.ts).

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import net from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";
import { root } from "../support/proxy";
import { errno } from "../support/errno";
import { AT, Program } from "../support/shim";

/** Linux's, on every architecture that Node has. */
const O_CLOEXEC = 0o2000000;

const PEEK = 1;
const WAITALL = 2;

const folder = mkdtempSync(path.join(tmpdir(), "ssh-vsock-proxy-"));
const greeting = path.join(folder, "greeting");
const echo = path.join(folder, "echo");
const servers: net.Server[] = [];

async function serve(where: string, each: (socket: net.Socket) => void): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined); // The tests leave without a word.
    each(socket);
  });
  server.listen(where);
  servers.push(server);
  await once(server, "listening");
}

before(async () => {
  await serve(greeting, (socket) => socket.end("hello"));
  await serve(echo, (socket) => socket.pipe(socket));
});

after(() => {
  for (const server of servers) server.close();
  rmSync(folder, { recursive: true });
});

/** Lets the servers, which live in this process, do their part until there is something to read. */
async function readable(it: Program, fd: number): Promise<void> {
  for (let i = 0; i < 500 && it.receive(fd, 1, PEEK) === errno("AGAIN"); i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

describe("sock_open", () => {
  it("answers AFNOSUPPORT and PROTOTYPE for what it does not know", () => {
    const it = new Program();
    for (const family of [0, 1, 2, 4, 39, 0xffff_ffff]) {
      assert.equal(it.call("sock_open", family, 6, AT.result), errno("AFNOSUPPORT"));
    }
    for (const type of [0, 1, 5, 7]) {
      assert.equal(it.call("sock_open", 3, type, AT.result), errno("PROTOTYPE"));
    }
  });
});

describe("a socket", { timeout: 300_000 }, () => {
  it("is opened close-on-exec", () => {
    /** This process's sockets: what /proc calls each, and its descriptor. */
    const sockets = (): Map<string, string> => {
      const links = readdirSync("/proc/self/fd").map((fd): [string, string] => {
        try {
          return [readlinkSync(`/proc/self/fd/${fd}`), fd];
        } catch {
          return ["", fd]; // The one by which the folder was read.
        }
      });
      return new Map(links.filter(([link]) => link.startsWith("socket:")));
    };
    const it = new Program();
    const before = sockets();
    it.open();
    const opened = [...sockets()].filter(([link]) => !before.has(link));
    assert.equal(opened.length, 1);
    const info = readFileSync(`/proc/self/fdinfo/${opened[0]?.[1]}`, "utf8");
    const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)?.[1] ?? "", 8);
    assert.equal(flags & O_CLOEXEC, O_CLOEXEC);
    it.shim.close();
  });
  it("is never one of 0 to 2, even where these are closed", () => {
    const script = `
      const fs = require("node:fs");
      const { Program } = require(${JSON.stringify(path.join(root, "tests/support/shim.ts"))});
      fs.closeSync(0);
      fs.closeSync(2);
      const it = new Program();
      const fd = it.open();
      const error = it.connect(fd, process.argv[1]);
      const long = it.connect(it.open(), process.argv[1].replace("/", "/./".repeat(100)));
      const taken = [0, 2].filter((fd) => fs.existsSync("/proc/self/fd/" + fd));
      console.log(error, long, taken.length, it.receive(fd, 1) !== 8);`;
    const args = ["--import", "tsx", "-e", script, greeting];
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
    return new Promise<void>((resolve, reject) => {
      let output = "";
      child.stdout.on("data", (text: Buffer) => (output += text.toString()));
      child.on("close", () => {
        if (output === "0 0 0 true\n") resolve();
        else reject(new Error(`it said ${JSON.stringify(output)}`));
      });
    });
  });
});

describe("sock_connect", { timeout: 300_000 }, () => {
  const connects = (name: string): number => {
    const it = new Program();
    const error = it.connect(it.open(), name);
    it.shim.close();
    return error;
  };
  it("reaches a path", () => {
    assert.equal(connects(greeting), 0);
  });
  it("reaches an abstract name of any length", async (t) => {
    // Node pads abstract names to 107 bytes, and so cannot bind another. The machine's programs share
    // them: it is the first one that is free.
    const python = `
import errno, os, socket, string, sys
listener = socket.socket(socket.AF_UNIX)
length = int(sys.argv[1])
rest = str(os.getpid()).rjust(length, "n")[-length:][1:]
for first in string.ascii_letters + string.digits:
    name = (first + rest).encode()
    try:
        listener.bind(b"\\0" + name)
        break
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
listener.listen()
sys.stdout.buffer.write(name)
sys.stdout.flush()
listener.accept()[0].sendall(name)`;
    for (const length of [1, 20, 106, 107]) {
      const server = spawn("python3", ["-c", python, `${length}`], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      t.after(() => server.kill());
      const closed = once(server, "close");
      const tooEarly = closed.then(() => assert.fail("nobody listens"));
      const said = once(server.stdout, "data") as Promise<[Buffer]>;
      const name = (await Promise.race([said, tooEarly]))[0].toString();
      assert.equal(name.length, length);
      const it = new Program();
      const fd = it.open();
      assert.equal(it.connect(fd, `\0${name}`), 0);
      await closed;
      assert.equal(it.receive(fd, 200), name);
      it.shim.close();
    }
  });
  it("tells a missing path, a file, a folder and a file within a path apart", () => {
    writeFileSync(path.join(folder, "file"), "");
    assert.equal(connects(path.join(folder, "nope")), errno("NOENT"));
    assert.equal(connects(path.join(folder, "file")), errno("NOTSOCK"));
    assert.equal(connects(folder), errno("ISDIR"));
    assert.equal(connects(path.join(folder, "file/x")), errno("NOTDIR"));
    assert.equal(connects("\0nobody has this name"), errno("CONNREFUSED"));
  });
  it("does the same for paths that do not fit sun_path", () => {
    const far = folder + "/.".repeat(100);
    assert.equal(connects(`${far}/greeting`), 0);
    assert.equal(connects(`${far}/nope`), errno("NOENT"));
    assert.equal(connects(`${far}/file`), errno("NOTSOCK"));
    assert.equal(connects(far), errno("ISDIR"));
    assert.equal(connects("/" + "x".repeat(4094)), errno("NAMETOOLONG"));
    assert.equal(connects("/" + "x".repeat(4095)), errno("NAMETOOLONG"));
    assert.equal(connects("\0" + "x".repeat(108)), errno("NAMETOOLONG"));
  });
  it("answers INVAL for what is no address, AFNOSUPPORT for other families", () => {
    const it = new Program();
    const fd = it.open();
    const connect = (...bytes: number[]): number => {
      it.bytes(AT.address, bytes.length).set(bytes);
      return it.call("sock_connect", fd, AT.address, bytes.length, 0n);
    };
    assert.equal(connect(), errno("INVAL"));
    assert.equal(connect(3), errno("INVAL"));
    assert.equal(connect(3, 0), errno("INVAL"));
    assert.equal(connect(3, 0, 0x61, 0, 0x62), errno("INVAL"));
    assert.equal(connect(2, 0, 1, 2, 3), errno("AFNOSUPPORT"));
    // AF_VSOCK's form, on a unix socket: refused for its length or its second word.
    assert.equal(connect(40, 0, 0, 0, 22, 0, 0, 0, 1, 0, 0), errno("INVAL"));
    assert.equal(connect(40, 0, 1, 0, 22, 0, 0, 0, 1, 0, 0, 0), errno("INVAL"));
    it.shim.close();
  });
});

describe("sock_send, sock_recv", { timeout: 300_000 }, () => {
  it("carry bytes, and never wait", async () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.connect(fd, echo), 0);
    assert.equal(it.receive(fd, 10), errno("AGAIN"));
    assert.equal(it.send(fd, "ping"), 0);
    assert.equal(it.result, 4);
    await readable(it, fd);
    assert.equal(it.receive(fd, 10, PEEK), "ping");
    assert.equal(it.receive(fd, 2), "pi");
    assert.equal(it.receive(fd, 10), "ng");
    it.shim.close();
  });
  it("give 0 bytes at the end of file", async () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.connect(fd, greeting), 0);
    await readable(it, fd);
    assert.equal(it.receive(fd, 10), "hello");
    await readable(it, fd);
    assert.equal(it.receive(fd, 10), "");
    it.shim.close();
  });
  it("answer NOTCONN or PIPE, and no signal, on a socket that is not connected", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.send(fd, "x"), errno("NOTCONN"));
    assert.equal(it.receive(fd, 1), errno("INVAL"));
    it.shim.close();
  });
  it("answer NOTSUP for flags that they do not know", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.receive(fd, 1, WAITALL), errno("NOTSUP"));
    it.iovec(1);
    assert.equal(it.call("sock_send", fd, AT.iovs, 1, 1, AT.result), errno("NOTSUP"));
    it.shim.close();
  });
});

describe("sock_addr_local", () => {
  it("gives the family, and 0 bytes of path for a socket without a name", () => {
    const it = new Program();
    assert.equal(it.call("sock_addr_local", it.open(), AT.address, 100, AT.result), 0);
    assert.equal(it.result, 2);
    assert.deepEqual(it.bytes(AT.address, 2), Buffer.from([3, 0]));
    it.shim.close();
  });
  it("writes no more than was asked for, and tells the whole length", () => {
    const it = new Program();
    const fd = it.open();
    it.bytes(AT.address, 4).fill(0xaa);
    assert.equal(it.call("sock_addr_local", fd, AT.address, 1, AT.result), 0);
    assert.equal(it.result, 2);
    assert.deepEqual(it.bytes(AT.address, 2), Buffer.from([3, 0xaa]));
    it.shim.close();
  });
});

describe("sock_send_fds", () => {
  it("answers INVAL for no descriptors and for more than 16", () => {
    const it = new Program();
    const fd = it.open();
    it.iovec(1);
    for (const count of [0, 17, 0x4000_0001, 0xffff_ffff]) {
      assert.equal(
        it.call("sock_send_fds", fd, AT.iovs, 1, AT.fds, count, AT.result),
        errno("INVAL"),
      );
    }
    it.shim.close();
  });
  it("answers INVAL without a byte, which alone can carry a descriptor", () => {
    const it = new Program();
    const fd = it.open();
    it.view.setUint32(AT.fds, fd, true);
    it.iovec(0);
    for (const count of [0, 1]) {
      assert.equal(
        it.call("sock_send_fds", fd, AT.iovs, count, AT.fds, 1, AT.result),
        errno("INVAL"),
      );
    }
    it.shim.close();
  });
  it("answers INVAL for a socket that is no unix socket, and for what is no socket", () => {
    // Descriptor 0 of the child is a TCP connection, or a file.
    const script = `
      const { Program, AT } = require(${JSON.stringify(path.join(root, "tests/support/shim.ts"))});
      const it = new Program();
      it.iovec(1);
      it.view.setUint32(AT.fds, it.open(), true);
      console.log(it.call("sock_send_fds", 0, AT.iovs, 1, AT.fds, 1, AT.result));`;
    const python = `
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
for stdin in (client, open("/dev/null")):
    subprocess.run(sys.argv[1:], stdin=stdin, check=True)`;
    const args = ["-c", python, process.execPath, "--import", "tsx", "-e", script];
    const { stdout, stderr } = spawnSync("python3", args, { cwd: root, encoding: "utf8" });
    assert.equal(stdout, `${errno("INVAL")}\n${errno("INVAL")}\n`, stderr);
  });
  it("answers NOTCONN on a socket without a peer", () => {
    const it = new Program();
    const fd = it.open();
    it.iovec(1);
    it.view.setUint32(AT.fds, fd, true);
    assert.equal(it.call("sock_send_fds", fd, AT.iovs, 1, AT.fds, 1, AT.result), errno("NOTCONN"));
    it.shim.close();
  });
});
