// The shim's imports in the form that V8 instantiates fastest. When V8 compiles a module, it also
// compiles, for each signature among the imports, a wrapper for calling a JavaScript function with
// exactly that many parameters. The addon's functions have a `length` of 0, so V8 would discard these
// wrappers and compile others: 0.9 ms for proxy.wasm instead of 0.15 ms (Node 20).

import type { Shim } from "./addon";

type Import = (...args: unknown[]) => unknown;

/** By the number of parameters: wraps a call in a function with exactly that many. */
const exactly: ((call: Import) => Import)[] = [
  (call) => () => call(),
  (call) => (a) => call(a),
  (call) => (a, b) => call(a, b),
  (call) => (a, b, c) => call(a, b, c),
  (call) => (a, b, c, d) => call(a, b, c, d),
  (call) => (a, b, c, d, e) => call(a, b, c, d, e),
  (call) => (a, b, c, d, e, f) => call(a, b, c, d, e, f),
];

/** The import object for an instance over `shim`. */
export function importsOf(shim: Shim): WebAssembly.Imports {
  const result: WebAssembly.Imports = {};
  for (const [module, functions] of Object.entries(shim.imports)) {
    const exact: WebAssembly.ModuleImports = (result[module] = {});
    for (const [name, call] of Object.entries(functions) as [string, Import][]) {
      exact[name] = exactly[call.length]?.(call) ?? call;
    }
  }
  return result;
}
