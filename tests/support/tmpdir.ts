// A folder for temporary files, private and with a short, plain path.

import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";

/**
 * Sets TMPDIR to a new folder, which is removed at the end of this process. The folder is in TMPDIR, or
 * in /tmp if that path is longer than what the names of unix sockets (unix(7): 107 bytes) leave room
 * for, or would need quotes in ssh_config. It is also where tsx looks for files that it compiled before,
 * which nobody else must have put there.
 */
export function makeTmpdir(): void {
  const parent = /^\/[\w./+-]{0,29}$/.test(os.tmpdir()) ? os.tmpdir() : "/tmp";
  const folder = mkdtempSync(path.join(parent, "proxy-"));
  // Some tests run the proxy as another user, who has to reach the sockets in it.
  chmodSync(folder, 0o711);
  process.env["TMPDIR"] = folder;
  process.once("exit", () => {
    rmSync(folder, { recursive: true, force: true });
  });
}
