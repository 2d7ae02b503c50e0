// The build puts a Wasm module's bytes in the place of its import (scripts/build.mjs).

declare module "*.wasm" {
  const bytes: Uint8Array<ArrayBuffer>;
  export default bytes;
}
