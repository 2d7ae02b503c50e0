// npm test: makes sure of the commands that the tests run, then runs every test file, or those that
// are named. Ends with the exit status of node's test runner.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import path from "node:path";
import { ensureTools } from "./tools";

const root = path.resolve(__dirname, "..");
const folders = ["tests", "tests/shim"];

const named = process.argv.slice(2);
const files = folders.flatMap((folder) =>
  readdirSync(path.join(root, folder))
    .filter((name) => name.endsWith(".test.ts"))
    .map((name) => path.join(folder, name)),
);

try {
  ensureTools(["cc", "ssh", "scp", "ssh-keygen", "sshd", "socat", "linux.uml", "insmod", "chrt"]);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
const run = spawnSync(
  process.execPath,
  ["--import", "tsx", "--test", "--test-reporter=spec", ...(named.length > 0 ? named : files)],
  { cwd: root, stdio: "inherit" },
);
process.exit(run.status ?? 1);
