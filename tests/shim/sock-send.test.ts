// What sock_send sends is tested with sock_recv.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { errno } from "../support/errno";
import { AT, Program } from "./shim";

describe("sock_send", () => {
  it("returns NOTCONN if the socket is not connected, NOTSUP for flags", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.send(fd, "x"), errno("NOTCONN"));
    assert.equal(it.call("sock_send", fd, AT.iovs, 1, 1, AT.result), errno("NOTSUP"));
    it.shim.close();
  });
});
