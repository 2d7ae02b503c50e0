// The shim's imports in the form that V8 instantiates fastest. While it compiles a module, V8 also
// compiles, for each signature among the imports, the way out to a JavaScript function with exactly
// as many parameters. The addon's functions have none in V8's eyes, so it would throw that work away
// and do it again for them: 0.9 ms for proxy.wasm, where these take 0.15 (Node 20).

import type { Shim } from "./addon";

type Import = (...args: unknown[]) => unknown;

/** By the number of parameters, a function that has so many and passes them on. */
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
