// Builds everything into dist/: the three modules, the addon, cli.cjs, index.js and its types, and
// the standalone host, ssh-vsock-proxy, with the C that wasm2c generates from proxy.wasm.

import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);

/**
 * Runs a program of Node's.
 *
 * @param {string} script
 * @param {string[]} args
 */
function node(script, ...args) {
  execFileSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
}

/**
 * Compiles a module.
 *
 * @param {"core" | "names" | "proxy"} name
 */
function wasm(name) {
  // asc looks for a transform that asconfig.json names in node_modules only, so it is named here.
  node(
    path.join(path.dirname(require.resolve("assemblyscript/package.json")), "bin/asc.js"),
    `assembly/${name}/index.ts`,
    "--target",
    name,
    "--transform",
    "./scripts/asc/ascii-literals.mjs",
  );
}

rmSync(path.join(root, "dist"), { recursive: true, force: true });
mkdirSync(path.join(root, "dist"));
wasm("core");
wasm("names");
wasm("proxy");
node("scripts/build-addon.mjs");
mkdirSync(path.join(root, "dist/standalone"));
node(
  path.join(path.dirname(require.resolve("wabt/package.json")), "bin/wasm2c"),
  "dist/proxy.wasm",
  "--module-name=proxy",
  "--output=dist/standalone/proxy.c",
);
node("scripts/build-standalone.mjs", "--optional");
await build({
  absWorkingDir: root,
  entryPoints: ["host/cli.ts", "host/index.ts"],
  outdir: "dist",
  bundle: true,
  platform: "node",
  target: "node20",
  format: "cjs",
  // Inlined as base64: one file less, and as fast (docs/architecture.md).
  loader: { ".wasm": "binary" },
  logLevel: "warning",
});
// For a .cjs file Node searches no package.json, which saves time (docs/architecture.md). cli.js is
// the usual name.
renameSync(path.join(root, "dist/cli.js"), path.join(root, "dist/cli.cjs"));
chmodSync(path.join(root, "dist/cli.cjs"), 0o755);
symlinkSync("cli.cjs", path.join(root, "dist/cli.js"));
node(
  path.join(path.dirname(require.resolve("typescript/package.json")), "bin/tsc"),
  "--project",
  "tsconfig.types.json",
);
