import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, it } from "node:test";
import { root } from "../support/proxy";
import { errno } from "../support/errno";
import { AT, Program } from "./shim";

describe("sock_send_fds", () => {
  it("returns INVAL for no descriptors and for more than 16", () => {
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
  it("returns INVAL without a byte to send", () => {
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
  it("returns INVAL for a socket of another family, and for a file", () => {
    // Descriptor 0 of the child is a TCP connection, or a file.
    const script = `
      const { Program, AT } = require(${JSON.stringify(require.resolve("./shim"))});
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
    const args = ["-c", python, process.execPath, "--import", "./tests/tsx.mjs", "-e", script];
    const { stdout, stderr } = spawnSync("python3", args, { cwd: root, encoding: "utf8" });
    assert.equal(stdout, `${errno("INVAL")}\n${errno("INVAL")}\n`, stderr);
  });
  it("returns NOTCONN if the socket is not connected", () => {
    const it = new Program();
    const fd = it.open();
    it.iovec(1);
    it.view.setUint32(AT.fds, fd, true);
    assert.equal(it.call("sock_send_fds", fd, AT.iovs, 1, AT.fds, 1, AT.result), errno("NOTCONN"));
    it.shim.close();
  });
});
