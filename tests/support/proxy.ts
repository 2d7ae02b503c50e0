// The command under test. One suite runs against every host of the proxy; PROXY_HOST selects it.

import { existsSync } from "node:fs";
import path from "node:path";

import { tool } from "./tools";

// What the user has set for Node, ssh and the proxy does not apply, and tools write English.
for (const name of ["NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "SSH_AUTH_SOCK"]) {
  // eslint-disable-next-line @typescript-eslint/no-dynamic-delete
  delete process.env[name];
}
delete process.env["SSH_VSOCK_PROXY_OPTIONS"];
process.env["LC_ALL"] = "C.UTF-8";

export const root = path.resolve(__dirname, "../..");

const hosts: Record<string, () => string[]> = {
  node: () => [process.execPath, path.join(root, "dist/cli.cjs")],
  standalone: () => [path.join(root, "dist/ssh-vsock-proxy")],
  /** The standalone host for AArch64, in user-mode emulation. */
  arm64: () => [tool("qemu-aarch64"), path.join(root, "build/arm64/ssh-vsock-proxy")],
};

/** The first words of the proxy's command line. */
export function proxyCommand(name = process.env["PROXY_HOST"] ?? "node"): string[] {
  const command = hosts[name]?.();
  if (command === undefined) {
    throw new Error(`PROXY_HOST=${name}: it must be one of ${Object.keys(hosts).join(", ")}`);
  }
  const program = command[command.length - 1] as string;
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`);
  return command;
}

/**
 * Whether the long forms run as well (npm run test:all): every scheme with large transfers, and the
 * tests that `npm test` leaves to one host.
 */
export const all = process.env["TEST_ALL"] !== undefined;
