// Builds the addon, dist/ssh-vsock-proxy.node. Also what `npm install` of the package runs, where
// only the published files are there: so this is JavaScript, and needs Node, node-gyp and a compiler.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The folder whose include/node came with this Node; undefined where the headers are elsewhere. */
function bundledHeaders() {
  const prefix = path.resolve(path.dirname(process.execPath), "..");
  return existsSync(path.join(prefix, "include/node/node_api.h")) ? prefix : undefined;
}

/** node-gyp's own, or where the package is installed without development tools, npm's. */
function nodeGyp() {
  try {
    return createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
  } catch {
    const npms = process.env["npm_config_node_gyp"];
    if (npms !== undefined) return npms;
    throw new Error("node-gyp is missing: run this by npm (`npm rebuild ssh-vsock-proxy`)");
  }
}

function build() {
  const headers = bundledHeaders();
  const args = [nodeGyp(), "configure", "build"];
  if (headers === undefined) {
    console.log("This Node came without its headers: node-gyp downloads them.");
  } else {
    args.push(`--nodedir=${headers}`);
  }
  const { status, error, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined) throw error;
  // What a compiler says of its progress is of use to nobody until it fails.
  if (status !== 0) throw new Error(`node-gyp ended with status ${status}:\n${stdout}${stderr}`);
  mkdirSync(path.join(root, "dist"), { recursive: true });
  copyFileSync(
    path.join(root, "build/Release/ssh-vsock-proxy.node"),
    path.join(root, "dist/ssh-vsock-proxy.node"),
  );
}

// With --optional, as `npm install` runs it, a failure is told and no more: the library does without
// the addon, and the command says itself what it lacks.
try {
  build();
} catch (error) {
  console.error(`The addon was not built: ${error instanceof Error ? error.message : error}`);
  console.error(
    "It needs gcc, g++, make, python3: sudo apt-get install -y build-essential python3",
  );
  process.exit(process.argv.includes("--optional") ? 0 : 1);
}
