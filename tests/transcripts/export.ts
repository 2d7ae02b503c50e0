// npm run transcripts: writes the JSON form of tests/transcripts, for runtimes other than Node.
// README.md describes it.
//
//     node --import ./tests/tsx.mjs tests/transcripts/export.ts [FILE]    default: build/transcripts.json

import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { root } from "../support/proxy";
import { readTranscripts } from "./reader";

const [file = path.join(root, "build/transcripts.json")] = process.argv.slice(2);
try {
  const transcripts = readTranscripts();
  mkdirSync(path.dirname(file), { recursive: true });
  // Renamed, so that a reader never sees half a file.
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(transcripts, null, 1)}\n`);
  renameSync(draft, file);
  const counts = (["address", "handshake", "lookup", "command"] as const).map(
    (kind) => `${transcripts[kind].length} ${kind}`,
  );
  console.log(`${path.relative(root, file)}: ${counts.join(", ")}`);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
