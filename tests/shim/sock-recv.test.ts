import assert from "node:assert/strict";
import path from "node:path";
import { before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { errno } from "../support/errno";
import { makeFolder } from "../support/scratch";
import { Program, serve } from "./shim";

const PEEK = 1;
const WAITALL = 2;

const folder = makeFolder("shim");
const greeting = path.join(folder, "greeting");
const echo = path.join(folder, "echo");
before(async () => {
  await serve(greeting, (socket) => socket.end("hello"));
  await serve(echo, (socket) => socket.pipe(socket));
});

/** Lets the servers, which live in this process, run until there is something to read. */
async function readable(it: Program, fd: number): Promise<void> {
  for (let i = 0; i < 500 && it.receive(fd, 1, PEEK) === errno("AGAIN"); i++) await sleep(10);
}

describe("sock_recv", { timeout: 300_000 }, () => {
  it("returns the bytes that there are, and never waits", async () => {
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
  it("returns 0 bytes at the end of file", async () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.connect(fd, greeting), 0);
    await readable(it, fd);
    assert.equal(it.receive(fd, 10), "hello");
    await readable(it, fd);
    assert.equal(it.receive(fd, 10), "");
    it.shim.close();
  });
  it("returns INVAL if the socket is not connected, NOTSUP for unknown flags", () => {
    const it = new Program();
    const fd = it.open();
    assert.equal(it.receive(fd, 1), errno("INVAL"));
    assert.equal(it.receive(fd, 1, WAITALL), errno("NOTSUP"));
    it.shim.close();
  });
});
