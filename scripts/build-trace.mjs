// Builds the debug builds of both hosts into build/trace, where SHIM_TRACE names a file to which each
// import is written (native/trace/trace.c): ssh-vsock-proxy, cli.cjs and the addon. `npm run build`
// comes before: what differs from its hosts is trace.c, and nothing else.
//
// The addon is linked out of the objects of the release build. The functions of trace.c tell by
// their names which ones they stand before. Several test files may build at the same time, and run
// what another one has built: each renames files of its own.

import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = path.join(root, "build/trace");

function run(command, args) {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
  });
  if (error !== undefined) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ended with status ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** Where node-gyp has put the objects of the addon's sources. */
function objects() {
  const [target] = JSON.parse(readFileSync(path.join(root, "binding.gyp"), "utf8")).targets;
  return target.sources.map(
    (source) => `build/Release/obj.target/${target.target_name}/${source.replace(/\.\w+$/, ".o")}`,
  );
}

/** Makes a file of the folder by `make(DRAFT)`. */
function put(name, make) {
  const draft = path.join(folder, `${name}.${process.pid}`);
  make(draft);
  renameSync(draft, path.join(folder, name));
}

function buildAddon(addon) {
  const trace = `${addon}.o`;
  const compiler = process.env["CC"] ?? "cc";
  const language = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-fvisibility=hidden"];
  run(compiler, [...language, "-Wall", "-Wextra", "-c", "native/trace/trace.c", "-o", trace]);
  const functions = run("nm", ["--defined-only", "--format=posix", trace]);
  const wraps = [...functions.matchAll(/^__wrap_(\w+) T/gm)].map(
    ([, name]) => `-Wl,--wrap=${name}`,
  );
  const files = [...objects(), trace];
  run(process.env["CXX"] ?? "c++", ["-shared", "-pthread", ...wraps, ...files, "-o", addon]);
  rmSync(trace);
}

try {
  mkdirSync(folder, { recursive: true });
  run(process.execPath, ["scripts/build-standalone.mjs", "--trace"]);
  put("ssh-vsock-proxy.node", buildAddon);
  put("cli.cjs", (cli) => {
    copyFileSync(path.join(root, "dist/cli.cjs"), cli);
  });
} catch (error) {
  console.error(`The debug builds were not built: ${error.message}`);
  console.error("They need what `npm run build` makes.");
  process.exit(1);
}
