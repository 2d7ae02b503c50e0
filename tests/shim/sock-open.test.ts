import assert from "node:assert/strict";
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { AT, inChild, Program, serve } from "./shim";

/** Linux's, on every architecture of Node. */
const O_CLOEXEC = 0o2000000;

describe("sock_open", { timeout: 300_000 }, () => {
  it("returns AFNOSUPPORT and PROTOTYPE for unknown families and types", () => {
    const it = new Program();
    for (const family of [0, 1, 2, 4, 39, 0xffff_ffff]) {
      assert.equal(it.call("sock_open", family, 6, AT.result), errno("AFNOSUPPORT"));
    }
    for (const type of [0, 1, 5, 7]) {
      assert.equal(it.call("sock_open", 3, type, AT.result), errno("PROTOTYPE"));
    }
  });
  it("opens close-on-exec", () => {
    /** This process's sockets by their names in /proc. */
    const sockets = (): Map<string, string> => {
      const links = readdirSync("/proc/self/fd").map((fd): [string, string] => {
        try {
          return [readlinkSync(`/proc/self/fd/${fd}`), fd];
        } catch {
          return ["", fd]; // Of the folder itself.
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
  it("never returns one of 0 to 2, even if these are closed", async () => {
    const greeting = path.join(makeFolder("shim"), "greeting");
    await serve(greeting, (socket) => socket.end("hello"));
    const script = `
      const fs = require("node:fs");
      fs.closeSync(0);
      fs.closeSync(2);
      const it = new Program();
      const fd = it.open();
      const error = it.connect(fd, process.argv[1]);
      const long = it.connect(it.open(), process.argv[1].replace("/", "/./".repeat(100)));
      const taken = [0, 2].filter((fd) => fs.existsSync("/proc/self/fd/" + fd));
      console.log(error, long, taken.length, it.receive(fd, 1) !== 8);`;
    assert.equal((await inChild(script, "", [greeting])).stdout, "0 0 0 true\n");
  });
});
