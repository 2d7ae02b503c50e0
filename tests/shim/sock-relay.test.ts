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

/** A peer that ends first, and takes everything. */
const greeting = path.join(folder, "greeting");
before(() => serve(greeting, (socket) => socket.end("hello").resume()));

/** Relays between descriptors 0 and 1 of a child and the socket, with RELAY_HALF_CLOSE. */
function relay(redirection: string, before = "") {
  const script = `
    ${before}
    const it = new Program();
    const fd = it.open();
    it.connect(fd, process.argv[1]);
    const error = it.call("sock_relay", fd, 0, 1, 1, -1n, AT.result);
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
    // The standalone host leaves them closed where there is no /dev/null.
    for (const fd of [0, 1]) {
      const closed = await relay("</dev/null", `require("node:fs").closeSync(${fd});`);
      assert.equal(closed.stderr, `0 ${fd} ${errno("BADF")}\n`);
    }
  });
  it("returns NOTSUP for unknown flags, BADF for an unknown descriptor, NOTSOCK for a file", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.call("sock_relay", fd, 0, 1, 2, -1n, AT.result), errno("NOTSUP"));
    assert.equal(it.call("sock_relay", fd, 9, 1, 0, -1n, AT.result), errno("BADF"));
    assert.equal(it.call("sock_relay", fd, 0, 9, 0, -1n, AT.result), errno("BADF"));
    it.bytes(AT.address, 9).write("/dev/zero");
    assert.equal(it.call("log_open", AT.address, 9, AT.result), 0);
    assert.equal(it.call("sock_relay", it.result, 0, 1, 0, -1n, AT.result), errno("NOTSOCK"));
    it.shim.close();
  });

  // Rule 1 of docs/abi.md: the program reaches no descriptor but its own, also once the relay has
  // closed some of them and their numbers are free.
  describe("leaves nothing behind by which the program reaches another file", () => {
    /**
     * Relays between `ends` of a child, JavaScript, and the socket; then the child opens files of its
     * own, and the program writes to all its numbers, and closes them.
     */
    async function reach(ends: string, limit = "") {
      const script = `
        const fs = require("node:fs");
        const it = new Program();
        const open = (file) => {
          it.bytes(AT.address, file.length).write(file);
          it.call("log_open", AT.address, file.length, AT.result);
          return it.result;
        };
        const connect = () => {
          const fd = it.open();
          if (it.connect(fd, process.argv[1]) !== 0) throw new Error("not connected");
          return fd;
        };
        const log = process.argv[1] + ".log";
        const fd = connect();
        const [input, output] = ${ends};
        ${limit}
        const error = it.call("sock_relay", fd, input, output, 1, -1n, AT.result);
        globalThis.fill?.forEach(fs.closeSync);
        const ends = [0, 1].map((n) => fs.readlinkSync("/proc/self/fd/" + n).replace(/:.*/, ""));
        const files = [0, 1, 2, 3].map((i) => fs.openSync(process.argv[1] + i, "w+"));
        it.iovec(1);
        for (let n = 0; n < 12; n++) if (n !== 2) it.call("fd_write", n, AT.iovs, 1, AT.flags);
        for (let n = 0; n < 12; n++) it.call("fd_close", n);
        const sizes = files.map((file) => fs.fstatSync(file).size);
        const free = Array.from({ length: 9 }, () => it.call("sock_open", 3, 6, AT.flags));
        console.error(JSON.stringify({
          error, ends, files: files.every((file) => file > 2), sizes,
          free: free.filter((error) => error === 0).length,
        }));`;
      const output = path.join(folder, "output");
      return JSON.parse(
        (await inChild(script, `< package.json > ${output}`, [greeting])).stderr,
      ) as {
        error: number;
        ends: string[];
      };
    }
    const safe = { error: 0, files: true, sizes: [0, 0, 0, 0], free: 8 };
    const [file, output] = [path.join(root, "package.json"), path.join(folder, "output")];
    const [nothing, socket] = ["/dev/null", "socket"];

    const cases: [what: string, ends: string, stdio: [string, string]][] = [
      ["descriptors 0 and 1", "[0, 1]", [file, nothing]],
      ["a file that it has opened, as out", "[0, open(log)]", [file, output]],
      ["a file that it has opened, as in", "[open(log), open(log)]", [file, output]],
      ["a file as both", "((log) => [log, log])(open(log))", [file, output]],
      ["the socket as in", "[fd, open(log)]", [file, output]],
      ["the socket as out", "[connect(), fd]", [file, output]],
      ["the socket as both", "[fd, fd]", [file, output]],
      ["descriptor 0 as both", "[0, 0]", [file, output]],
    ];
    for (const [what, ends, stdio] of cases) {
      it(what, async () => {
        assert.deepEqual(await reach(ends), { ...safe, ends: stdio });
      });
    }

    it("descriptors 0 and 1, where /dev/null cannot be opened", async () => {
      const limit = `
        globalThis.fill = [];
        for (;;) {
          try { fill.push(fs.openSync("/", "r")); } catch { break; }
        }`;
      const { ends, ...rest } = await reach("[0, 1]", limit);
      assert.deepEqual({ ends, ...rest }, { ...safe, ends: [file, socket] });
    });
  });
});
