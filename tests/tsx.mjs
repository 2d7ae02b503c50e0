// Loads tsx, and with it every program here that is written in TypeScript:
//
//     node --import ./tests/tsx.mjs FILE
//
// tsx 4.23 uses a folder with a predictable name below TMPDIR, without a check of its owner: it runs the
// compiled code in it, and connects to a socket in it. It reads TMPDIR while it is loaded. So TMPDIR is
// a folder of the checkout during that time.

import { fileURLToPath } from "node:url";

const { TMPDIR } = process.env;
process.env.TMPDIR = fileURLToPath(new URL("../build", import.meta.url));
await import("tsx");
if (TMPDIR === undefined) delete process.env.TMPDIR;
else process.env.TMPDIR = TMPDIR;
