#!/usr/bin/env node
// The command: proxy.wasm with the addon's imports. Every millisecond here is one that ssh waits, so
// nothing is loaded that it does not need; what the command does stands in assembly/proxy/index.ts, and it
// ends the process from there.

import { Exit } from "../assembly/codes";
import proxyWasm from "../dist/proxy.wasm";
import { loadAddon } from "./addon";
import { importsOf } from "./imports";

function fail(what: unknown, status: Exit): never {
  process.stderr.write(`ssh-vsock-proxy: ${what instanceof Error ? what.message : String(what)}\n`);
  process.exit(status);
}

function run(): void {
  let shim;
  try {
    const addon = loadAddon();
    const args = addon.rawArguments(process.argv.slice(2));
    shim = new addon.Shim([Buffer.from("ssh-vsock-proxy"), ...args]);
  } catch (error) {
    fail(error, Exit.OsError);
  }
  try {
    const { exports } = new WebAssembly.Instance(
      new WebAssembly.Module(proxyWasm),
      importsOf(shim),
    );
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
