// Builds everything into dist/: core.wasm, proxy.wasm, the addon, cli.cjs, index.js and its types, and
// ssh-vsock-proxy, the standalone host, with the C that wasm2c makes of proxy.wasm.

import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { mergeSegments } from "./asc/merge-segments.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);

function node(script, ...args) {
  execFileSync(process.execPath, [script, ...args], { cwd: root, stdio: "inherit" });
}

function wasm(name) {
  // The transform stands here and not in asconfig.json because asc looks for one that a
  // configuration names in node_modules alone.
  node(
    path.join(path.dirname(require.resolve("assemblyscript/package.json")), "bin/asc.js"),
    `assembly/${name}/index.ts`,
    "--target",
    name,
    "--transform",
    "./scripts/asc/ascii-literals.mjs",
  );
  const file = path.join(root, `dist/${name}.wasm`);
  writeFileSync(file, mergeSegments(readFileSync(file)));
}

rmSync(path.join(root, "dist"), { recursive: true, force: true });
mkdirSync(path.join(root, "dist"));
wasm("core");
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
  // Inlined as base64: one file less to lose, and as fast (docs/architecture.md).
  loader: { ".wasm": "binary" },
  logLevel: "warning",
});
// Node looks for no package.json above a .cjs file, which saves time (docs/architecture.md). In a
// checkout the usual name leads to it.
renameSync(path.join(root, "dist/cli.js"), path.join(root, "dist/cli.cjs"));
chmodSync(path.join(root, "dist/cli.cjs"), 0o755);
symlinkSync("cli.cjs", path.join(root, "dist/cli.js"));
node(
  path.join(path.dirname(require.resolve("typescript/package.json")), "bin/tsc"),
  "--project",
  "tsconfig.types.json",
);
