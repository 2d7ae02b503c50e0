#!/usr/bin/env node
// The command: proxy.wasm with the addon's imports. Every millisecond here is one that ssh waits, so
// nothing is loaded that it does not need; what the command does stands in assembly/proxy.ts, and it
// ends the process from there.

import { loadAddon } from "./addon";
import proxyWasm from "../dist/proxy.wasm";

/** EX_SOFTWARE and EX_OSERR of sysexits.h. */
const EXIT_SOFTWARE = 70;
const EXIT_OS_ERROR = 71;

function fail(what: unknown, status: number): never {
  process.stderr.write(`ssh-vsock-proxy: ${what instanceof Error ? what.message : String(what)}\n`);
  process.exit(status);
}

function run(): void {
  let shim;
  try {
    const addon = loadAddon();
    // Node's own argv is decoded: a path that is not UTF-8 would not survive it.
    shim = new addon.Shim(addon.lastArguments(process.argv.length - 1));
  } catch (error) {
    fail(error, EXIT_OS_ERROR);
  }
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(proxyWasm), shim.imports);
    shim.attach(exports["memory"] as WebAssembly.Memory);
    (exports["_start"] as () => void)();
  } catch (error) {
    fail(
      `internal error: ${error instanceof Error ? error.message : String(error)}`,
      EXIT_SOFTWARE,
    );
  }
  fail("internal error: the program ended without an exit status", EXIT_SOFTWARE);
}

run();
