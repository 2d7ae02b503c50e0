// Private folders for the sockets and files of a test.

import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

/** Of the 108 bytes of sun_path (unix(7)); a ControlPath takes 73 more (`%C` and ssh's suffix). */
const longestParent = 24;

/**
 * Makes a folder in which a socket's path fits sun_path and needs no quotes in a shell, in
 * ssh_config or on a kernel's command line: below TMPDIR if its path allows that, otherwise below
 * /tmp. It is removed when this process exits.
 */
export function makeFolder(name: string): string {
  const preferred = realpathSync(tmpdir());
  const suits = preferred.length <= longestParent && /^[\w./+-]+$/.test(preferred);
  const folder = mkdtempSync(path.join(suits ? preferred : "/tmp", `${name}-`));
  process.once("exit", () => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
