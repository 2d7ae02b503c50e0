// What only a direct call shows; the relay itself is tested in tests/e2e/relay.test.ts.

import assert from "node:assert/strict";
import { statSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";
import { root } from "../support/proxy";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { AT, inChild, Program, serve } from "./shim";

const folder = makeFolder("shim");
const count = path.join(folder, "count");
before(() =>
  serve(count, (socket) => {
    let input = "";
    socket.on("data", (bytes: Buffer) => (input += bytes.toString()));
    socket.on("end", () => socket.end(`${input.length}`));
  }),
);

/** Relays between descriptors 0 and 1 of a child and the socket, with RELAY_HALF_CLOSE. */
function relay(redirection: string) {
  const script = `
    const it = new Program();
    const fd = it.open();
    it.connect(fd, process.argv[1]);
    const error = it.call("sock_relay", fd, 0, 1, 1, AT.result);
    console.error(error, it.result, it.view.getUint32(AT.result + 4, true));`;
  return inChild(script, redirection, [count]);
}

describe("sock_relay", { timeout: 300_000 }, () => {
  it("returns after the end of both directions, with no descriptor and errno 0", async () => {
    const { stdout, stderr } = await relay("< package.json");
    assert.deepEqual(
      [stdout, stderr],
      [`${statSync(path.join(root, "package.json")).size}`, "0 0 0\n"],
    );
  });
  it("returns the descriptor that failed and its errno", async () => {
    assert.equal((await relay("< .")).stderr, `0 0 ${errno("ISDIR")}\n`);
    assert.equal((await relay("</dev/null >/dev/full")).stderr, `0 1 ${errno("NOSPC")}\n`);
  });
  it("returns NOTSUP for unknown flags, BADF for an unknown descriptor, NOTSOCK for a file", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.call("sock_relay", fd, 0, 1, 2, AT.result), errno("NOTSUP"));
    assert.equal(it.call("sock_relay", fd, 9, 1, 0, AT.result), errno("BADF"));
    assert.equal(it.call("sock_relay", fd, 0, 9, 0, AT.result), errno("BADF"));
    it.bytes(AT.address, 9).write("/dev/zero");
    assert.equal(it.call("log_open", AT.address, 9, AT.result), 0);
    assert.equal(it.call("sock_relay", it.result, 0, 1, 0, AT.result), errno("NOTSOCK"));
    it.shim.close();
  });
});
