// Loads tsx, and with it every program here that is written in TypeScript:
//
//     node --import ./tests/tsx.mjs FILE
//
// Below TMPDIR, tsx runs compiled code from a folder with a predictable name, whoever owns it, connects
// to a socket in it and removes another folder (tsx 4.23). It looks at TMPDIR while it is loaded, so it
// finds a folder of the checkout there.

import { fileURLToPath } from "node:url";

const { TMPDIR } = process.env;
process.env.TMPDIR = fileURLToPath(new URL("../build", import.meta.url));
await import("tsx");
if (TMPDIR === undefined) delete process.env.TMPDIR;
else process.env.TMPDIR = TMPDIR;
