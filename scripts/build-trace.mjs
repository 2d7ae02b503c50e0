// Builds the debug builds of both hosts into build/trace, where SHIM_TRACE names a file to which each
// import is written (native/trace/trace.c): ssh-vsock-proxy, cli.cjs and the addon. Run after
// `npm run build`.
//
// Test files may build at the same time and run the result, so each file is made under another name.

import { copyFileSync, mkdirSync, renameSync } from "node:fs";
import path from "node:path";

import { root, run } from "./compiler.mjs";

const folder = path.join(root, "build/trace");
const draft = path.join(folder, `cli.cjs.${process.pid}`);
try {
  mkdirSync(folder, { recursive: true });
  run(process.execPath, ["scripts/build-standalone.mjs", "--trace"]);
  run(process.execPath, ["scripts/build-addon.mjs", "--trace"]);
  copyFileSync(path.join(root, "dist/cli.cjs"), draft);
  renameSync(draft, path.join(folder, "cli.cjs"));
} catch (/** @type {any} */ error) {
  console.error(`The debug builds were not built: ${error.message}`);
  console.error("They need what `npm run build` makes.");
  process.exit(1);
}
