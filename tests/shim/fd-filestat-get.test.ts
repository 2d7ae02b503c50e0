import assert from "node:assert/strict";
import { statSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { root } from "../support/proxy";
import { inChild } from "./shim";

describe("fd_filestat_get", () => {
  const types: [what: string, redirection: string, error: number, type: number][] = [
    ["a regular file", "< package.json", errno("SUCCESS"), 4],
    ["a character device", "< /dev/zero", errno("SUCCESS"), 2],
    ["a directory", "< .", errno("SUCCESS"), 3],
    ["a stream socket", "", errno("SUCCESS"), 6],
    ["/dev/null", "< /dev/null", errno("BADF"), 0],
    ["a closed descriptor", "<&-", errno("BADF"), 0],
  ];
  for (const [what, redirection, error, type] of types) {
    it(`returns errno ${error} and type ${type} for ${what}`, async () => {
      const script = `
        const it = new Program();
        const error = it.call("fd_filestat_get", 0, 1024);
        console.error(error, it.view.getUint8(1024 + 16));`;
      assert.equal((await inChild(script, redirection)).stderr, `${error} ${type}\n`);
    });
  }

  it("returns the device, the number and the size that fstat(2) returns", async () => {
    const file = path.join(root, "package.json");
    const script = `
      const it = new Program();
      it.call("fd_filestat_get", 0, 1024);
      const [dev, ino, , nlink, size] = [0, 8, 16, 24, 32].map((at) => it.view.getBigUint64(1024 + at, true));
      console.error([dev, ino, nlink, size].join());`;
    const { dev, ino, nlink, size } = statSync(file, { bigint: true });
    const child = inChild(script, "< package.json");
    assert.equal((await child).stderr, `${[dev, ino, nlink, size].join()}\n`);
  });
});
