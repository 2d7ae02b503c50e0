// Builds the addon, dist/ssh-vsock-proxy.node. `npm install` of the package runs this too, where only
// the published files are there: so it is JavaScript, and needs Node, a C and a C++ compiler.
//
//     node build-addon.mjs [--optional] [--trace]
//
//     --optional  a failure is reported and the exit status is 0: the library works without the addon,
//                 and the command says what it lacks
//     --trace     the debug build, build/trace/ssh-vsock-proxy.node: SHIM_TRACE names a file to which
//                 each import is written
//
// CC and CXX name the compilers, with options if need be. node-gyp is not used: its makefiles break on
// some paths, and it downloads headers for a Node that came without them. Here the package
// node-api-headers has them: Node-API is stable (nodejs.org/api/n-api.html), so it serves every Node.

import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

import { compile, root, run, shimSources, traceSource, traceWraps } from "./compiler.mjs";

const require = createRequire(import.meta.url);

const flags = ["-O2", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", "-Wall", "-Wextra"];

const cFlags = ["-std=c11", "-D_GNU_SOURCE"];

// Exceptions as node-addon-api wants them (its doc/setup.md).
const cxxFlags = ["-std=c++17", "-fno-rtti", "-DNAPI_VERSION=8", "-DNAPI_CPP_EXCEPTIONS"];

const linkerFlags = [
  "-shared",
  "-s",
  // Functions are bound when they are first called: a run calls few of them.
  "-Wl,-z,relro,-z,lazy",
  "-Wl,--build-id=none",
];

/** The folders of node_api.h, where possible this Node's own, and of napi.h, as options. */
function includes() {
  const own = path.resolve(path.dirname(process.execPath), "../include/node");
  const isThere = existsSync(path.join(own, "node_api.h"));
  const nodeApi = isThere ? own : require("node-api-headers").include_dir;
  const nodeAddonApi = path.dirname(require.resolve("node-addon-api"));
  return ["-isystem", nodeApi, "-isystem", nodeAddonApi];
}

/**
 * Builds the addon.
 *
 * @param {string} output the file
 * @param {boolean} trace whether it is the debug build
 */
function build(output, trace) {
  mkdirSync(path.dirname(output), { recursive: true });
  const folder = mkdtempSync(`${output}.`);
  /** @type {string[]} */
  const objects = [];
  /** @param {string} source */
  const object = (source) => {
    const file = path.join(folder, `${path.basename(source)}.o`);
    objects.push(file);
    return ["-c", source, "-o", file];
  };
  try {
    for (const source of trace ? [...shimSources, traceSource] : shimSources) {
      compile("CC", "cc", [...flags, ...cFlags, ...object(source)]);
    }
    for (const name of ["addon", "arguments", "environment"]) {
      const source = `native/addon/${name}.cc`;
      compile("CXX", "c++", [...flags, ...cxxFlags, ...includes(), ...object(source)]);
    }
    const wraps = trace ? traceWraps() : [];
    const draft = path.join(folder, "addon");
    compile("CXX", "c++", [...linkerFlags, ...wraps, ...objects, "-o", draft]);
    // Whether this Node loads it.
    run(process.execPath, ["-e", "process.dlopen({ exports: {} }, process.argv[1])", draft]);
    renameSync(draft, output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const trace = process.argv.includes("--trace");
try {
  build(path.join(root, trace ? "build/trace" : "dist", "ssh-vsock-proxy.node"), trace);
} catch (/** @type {any} */ error) {
  console.error(`The addon was not built: ${error.message}`);
  if (error.code === "ENOENT") {
    console.error("It needs a C and a C++ compiler: sudo apt-get install -y gcc g++");
  }
  process.exit(process.argv.includes("--optional") ? 0 : 1);
}
