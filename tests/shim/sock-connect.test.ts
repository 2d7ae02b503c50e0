// AF_VSOCK is tested in a guest (tests/e2e/vsock.test.ts).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { AT, Program, serve } from "./shim";

const folder = makeFolder("shim");
const greeting = path.join(folder, "greeting");
before(() => serve(greeting, (socket) => socket.end("hello")));

describe("sock_connect", { timeout: 300_000 }, () => {
  const connects = (name: string): number => {
    const it = new Program();
    const error = it.connect(it.open(), name);
    it.shim.close();
    return error;
  };
  it("connects to a path", () => {
    assert.equal(connects(greeting), 0);
  });
  it("connects to an abstract name of any length", async (t) => {
    // Node pads abstract names to 107 bytes. The machine's programs share them, so a free one is
    // searched for.
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
        if error.errno != errno("EADDRINUSE"):
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
      const tooEarly = closed.then(() => assert.fail("the listener has exited"));
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
  it("returns different errnos for a missing path, a file, a folder and a file within a path", () => {
    writeFileSync(path.join(folder, "file"), "");
    assert.equal(connects(path.join(folder, "nope")), errno("NOENT"));
    assert.equal(connects(path.join(folder, "file")), errno("NOTSOCK"));
    assert.equal(connects(folder), errno("ISDIR"));
    assert.equal(connects(path.join(folder, "file/x")), errno("NOTDIR"));
    assert.equal(connects("\0no socket has this name"), errno("CONNREFUSED"));
  });
  it("returns the same for paths longer than sun_path", () => {
    const far = folder + "/.".repeat(100);
    assert.equal(connects(`${far}/greeting`), 0);
    assert.equal(connects(`${far}/nope`), errno("NOENT"));
    assert.equal(connects(`${far}/file`), errno("NOTSOCK"));
    assert.equal(connects(far), errno("ISDIR"));
    assert.equal(connects("/" + "x".repeat(4094)), errno("NAMETOOLONG"));
    assert.equal(connects("/" + "x".repeat(4095)), errno("NAMETOOLONG"));
    assert.equal(connects("\0" + "x".repeat(108)), errno("NAMETOOLONG"));
  });
  it("returns INVAL for a malformed address, AFNOSUPPORT for another family", () => {
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
    // An AF_VSOCK address of the wrong length, and one whose second word is not 0.
    assert.equal(connect(40, 0, 0, 0, 22, 0, 0, 0, 1, 0, 0), errno("INVAL"));
    assert.equal(connect(40, 0, 1, 0, 22, 0, 0, 0, 1, 0, 0, 0), errno("INVAL"));
    it.shim.close();
  });
});
