import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { inChild } from "./shim";

describe("fd_fdstat_get", () => {
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
        const error = it.call("fd_fdstat_get", 0, 1024);
        console.error(error, it.view.getUint8(1024));`;
      assert.equal((await inChild(script, redirection)).stderr, `${error} ${type}\n`);
    });
  }
});
