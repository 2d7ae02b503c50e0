// The kinds of descriptor that the relay's stdin and stdout can be, besides two pipes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess, StdioOptions } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { makePipe } from "../support/pipes";
import { proxyCommand } from "../support/proxy";
import { tool } from "../support/tools";
import { Peers, block, collect, failed, pump, settle, start } from "./relay";
import type { Ended } from "./relay";
import { shellQuote } from "../support/sshd";

const clean = { exit: 0, signal: null, stderr: "" };

describe("stdin and stdout of the relay", { timeout: 300_000 }, () => {
  const peers = new Peers();
  const { folder } = peers;
  const address = peers.address();
  before(() => peers.start());
  after(() => peers.close());

  /** Runs the relay with a peer that sends everything back. */
  async function echo(args: string[], stdio: StdioOptions): Promise<Ended & { out: string }> {
    const { child, ended } = start(args, stdio);
    const peer = await peers.connection(ended);
    peer.pipe(peer);
    let out = "";
    child.stdout?.setEncoding("latin1").on("data", (part: string) => (out += part));
    child.stdin?.end("hello");
    return { ...(await ended), out };
  }
  const file = (text: string) => {
    const name = path.join(folder, "file");
    writeFileSync(name, text);
    return name;
  };

  it("unix sockets, as from libuv, with --stdio", async () => {
    const outcome = await echo(["--stdio", address], ["pipe", "pipe", "pipe"]);
    assert.deepEqual(outcome, { ...clean, out: "hello" });
  });

  it("a socket that is read slowly", async () => {
    const { child, ended } = start(["--stdio", address], ["pipe", "pipe", "pipe"]);
    const peer = await peers.connection(ended);
    const sent = pump(peer, 8 * block.length);
    const hash = createHash("sha256");
    const stdout = child.stdout as net.Socket;
    stdout.on("data", (part: Buffer) => {
      hash.update(part);
      stdout.pause();
      setTimeout(() => stdout.resume(), 2);
    });
    await once(stdout, "end");
    child.stdin?.end();
    peer.resume();
    assert.equal(hash.digest("hex"), await sent);
    assert.deepEqual(await ended, clean);
  });

  it("one socket for both, whose other end closes with unread bytes", async () => {
    const server = net.createServer({ pauseOnConnect: true });
    server.listen(path.join(folder, "client"));
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[net.Socket]>;
    const both = net.connect(path.join(folder, "client"));
    const [client] = await accepted;
    const { child, ended } = start(["--stdio", address], [both, both, "pipe"]);
    both.destroy();
    const peer = await peers.connection(ended);
    client.write("the last words");
    const [words] = (await once(peer.resume(), "data")) as [Buffer];
    assert.equal(words.toString(), "the last words");
    peer.write("never read");
    await settle(child.pid as number);
    client.destroy();
    await once(peer, "end");
    peer.end();
    assert.deepEqual(await ended, clean);
    server.close();
  });

  it("files, one opened for appending", async () => {
    const input = openSync(file("x".repeat(300_000)), "r");
    const output = path.join(folder, "output");
    writeFileSync(output, "before ");
    const append = openSync(output, "a");
    const outcome = await echo([address], [input, append, "pipe"]);
    closeSync(input);
    closeSync(append);
    assert.deepEqual(outcome, { ...clean, out: "" });
    assert.equal(readFileSync(output, "latin1"), `before ${"x".repeat(300_000)}`);
  });

  it("a file towards /dev/null, with --stdio", async () => {
    const input = openSync(file("x".repeat(300_000)), "r");
    const args = ["--stdio", address];
    assert.deepEqual(await echo(args, [input, "ignore", "pipe"]), { ...clean, out: "" });
    closeSync(input);
  });

  it("a TCP socket, whose read would block", async () => {
    const server = net.createServer((socket) => {
      socket.write("from TCP");
      socket.once("data", (reply: Buffer) => socket.end(`, and again: ${reply.toString()}`));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const connect = `exec 3<>/dev/tcp/127.0.0.1/${port}; exec "$@" <&3 >&3`;
    const shell = ["bash", "-c", connect, "bash", ...proxyCommand()];
    const { ended } = start([address], ["ignore", "ignore", "pipe"], shell);
    const peer = await peers.connection(ended);
    const received = collect(peer);
    await once(peer.resume(), "data");
    peer.write("reply");
    await once(peer, "end");
    peer.end();
    assert.deepEqual(await ended, clean);
    assert.equal((await received).toString(), "from TCP, and again: reply");
    server.close();
  });

  describe("a socket with urgent bytes (MSG_OOB): what lies behind them arrives, in order", () => {
    const script = path.join(__dirname, "urgent.py");
    const texts = `1,2,3,4,${"x".repeat(1_000_000)}5,6.`;
    /** The urgent bytes are left out, but for those that a later one has made ordinary. */
    const without = (bytes: Buffer): string => bytes.toString("latin1").replaceAll("!", "");

    for (const kind of ["tcp", "tcp-nonblocking", "unix"]) {
      it(`${kind}, as stdin`, async () => {
        const command = [tool("python3"), script, "stdin", kind, ...proxyCommand()];
        const { ended } = start(["--stdio", address], ["ignore", "ignore", "pipe"], command);
        const peer = await peers.connection(ended);
        const received = collect(peer);
        await Promise.race([once(peer.resume(), "end"), ended]);
        peer.end();
        assert.deepEqual(await ended, clean);
        assert.equal(without(await received), texts);
      });
    }

    /** Runs the relay with a peer that sends them. @returns all of stdout */
    async function output(stdout: "pipe" | number, read: (child: ChildProcess) => Promise<Buffer>) {
      const name = path.join(folder, `urgent-${process.pid}-${served++}`);
      const server = spawn(tool("python3"), [script, "listen", name]);
      await once(server.stdout, "data");
      const { child, ended } = start(["--stdio", `unix${name}`], ["ignore", stdout, "pipe"]);
      const bytes = await read(child);
      assert.deepEqual(await ended, clean);
      return without(bytes);
    }
    let served = 0;

    it("the peer's, towards a pipe", async () => {
      const { read, write } = makePipe();
      const stdout = new net.Socket({ fd: read, readable: true, writable: false });
      const got = await output(write, () => {
        closeSync(write);
        return collect(stdout);
      });
      assert.equal(got, texts);
    });
    it("the peer's, towards a socket", async () => {
      assert.equal(await output("pipe", (child) => collect(child.stdout as net.Socket)), texts);
    });
  });

  it("a terminal: lines as typed, and Ctrl-D for the end", async () => {
    const line = [...proxyCommand(), address].map(shellQuote).join(" ");
    const script = ["script", "-qefc", line, "/dev/null"];
    const { child, ended } = start([], ["pipe", "pipe", "pipe"], script);
    const peer = await peers.connection(ended);
    const received = collect(peer);
    let screen = "";
    child.stdout?.setEncoding("latin1").on("data", (part: string) => (screen += part));
    child.stdin?.write("typed\n");
    const [typed] = (await once(peer.resume(), "data")) as [Buffer];
    assert.equal(typed.toString(), "typed\n");
    peer.write("shown\n");
    child.stdin?.write("\x04");
    await once(peer, "end");
    peer.end();
    assert.deepEqual(await ended, clean);
    assert.match(screen, /shown\r\n/);
    assert.equal((await received).toString(), "typed\n");
  });

  type Wrong = [what: string, stdin: string, stdout: string, code: Code];
  const kinds = { $F: "a file", $P: "a pipe", "/dev/null": "/dev/null", "/dev/ptmx": "a terminal" };
  // What cannot be used, and the code that says so.
  const wrong: Wrong[] = [
    ["a folder as stdin", "<.", "", Code.StdinIsDirectory],
    ...Object.entries(kinds).flatMap(([name, kind]): Wrong[] => [
      [`${kind} as stdin, open for writing`, `0>"${name}"`, "", Code.StdinNotReadable],
      [`${kind} as stdout, open for reading`, "", `1<"${name}"`, Code.StdoutNotWritable],
    ]),
    ["a full device as stdout", "", ">/dev/full", Code.StdoutFull],
    ["a file as stdout that may not grow", "", '>"$F"', Code.StdoutTooLarge],
  ];
  for (const [what, stdin, stdout, code] of wrong) {
    it(`${what}: ${Code[code]}`, async () => {
      const limit = code === Code.StdoutTooLarge ? "ulimit -f 0;" : "";
      // Both ends of the pipe stay open.
      const pipe = 'P=$0.pipe; [ -p "$P" ] || mkfifo "$P"; exec 3<>"$P";';
      const script = `F=$0; ${pipe} ${limit} exec "$@" ${stdin} ${stdout}`;
      const shell = ["sh", "-c", script, file("full"), ...proxyCommand()];
      const { child, ended } = start(["--stdio", address], ["pipe", "pipe", "pipe"], shell);
      const peer = await peers.connection(ended);
      // The others fail without a byte to relay.
      if (stdout.startsWith(">")) peer.write("more");
      failed(await ended, address, code);
      child.stdin?.destroy();
      peer.destroy();
    });
  }

  it("stdin closed: the peer sees the end at once", async () => {
    const shell = ["sh", "-c", 'exec "$@" <&-', "sh", ...proxyCommand()];
    const { ended } = start(["--stdio", address], ["ignore", "pipe", "pipe"], shell);
    const peer = await peers.connection(ended);
    await once(peer.resume(), "end");
    peer.end();
    assert.deepEqual(await ended, clean);
  });

  it("a file as stdout, and --fdpass: NoFdPassing", async () => {
    const stdout = openSync(file(""), "w");
    const { ended } = start(["--fdpass", address], ["ignore", stdout, "pipe"]);
    closeSync(stdout);
    failed(await ended, address, Code.NoFdPassing);
    peers.assertNone();
  });
});
