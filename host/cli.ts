#!/usr/bin/env node
// The command on Node: proxy.wasm (assembly/proxy/index.ts) with the addon's imports. It ends the
// process itself. ssh waits for every millisecond here, so nothing is loaded that is not needed.

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
