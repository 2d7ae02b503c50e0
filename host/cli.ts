#!/usr/bin/env node
// The command: proxy.wasm with the addon's imports. Every millisecond here is one that ssh waits, so
// nothing is loaded that it does not need; what the command does stands in assembly/proxy.ts, and it
// ends the process from there.

import { readFileSync } from "node:fs";
import { Exit } from "../assembly/code";
import proxyWasm from "../dist/proxy.wasm";
import { loadAddon } from "./addon";

function fail(what: unknown, status: Exit): never {
  process.stderr.write(`ssh-vsock-proxy: ${what instanceof Error ? what.message : String(what)}\n`);
  process.exit(status);
}

/**
 * This process's arguments as the bytes that they are. Node's own argv is decoded, and loses what is
 * not UTF-8; /proc/self/cmdline loses everything where something has set process.title. So each is
 * taken from there if it is what Node has decoded, and from Node if nothing can have been lost.
 */
function rawArguments(): Buffer[] {
  const decoded = process.argv.slice(2);
  const bytes = readFileSync("/proc/self/cmdline", "latin1").split("\0").slice(0, -1);
  const raw = bytes.slice(bytes.length - decoded.length).map((arg) => Buffer.from(arg, "latin1"));
  return decoded.map((arg, i) => {
    if (raw[i]?.toString() === arg) return raw[i];
    if (!arg.includes("\ufffd")) return Buffer.from(arg);
    throw new Error("an argument is not UTF-8, and its bytes are lost (is process.title set?)");
  });
}

function run(): void {
  let shim;
  try {
    const { Shim } = loadAddon();
    shim = new Shim([Buffer.from("ssh-vsock-proxy"), ...rawArguments()]);
  } catch (error) {
    fail(error, Exit.OsError);
  }
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(proxyWasm), shim.imports);
    shim.attach(exports["memory"] as WebAssembly.Memory);
    (exports["_start"] as () => void)();
  } catch (error) {
    fail(
      `internal error: ${error instanceof Error ? error.message : String(error)}`,
      Exit.Software,
    );
  }
  fail("internal error: the program ended without an exit status", Exit.Software);
}

run();
