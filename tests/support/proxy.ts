// The command under test. One suite runs against every host of the proxy; PROXY_HOST picks it.
// With PROXY_TRACE it is the host's debug build, and what it does is recorded (record.ts).

import { existsSync } from "node:fs";
import path from "node:path";

import { tool } from "./tools";

export const root = path.resolve(__dirname, "../..");

/** The folder for the records, where there shall be any. */
export const traceFolder = process.env["PROXY_TRACE"];
const built = path.join(root, traceFolder === undefined ? "dist" : "build/trace");

const hosts: Record<string, () => string[]> = {
  node: () => [process.execPath, path.join(built, "cli.cjs")],
  standalone: () => [path.join(built, "ssh-vsock-proxy")],
  /** The standalone host for AArch64, in user-mode emulation. */
  arm64: () => [tool("qemu-aarch64"), path.join(root, "build/arm64/ssh-vsock-proxy")],
};

/** The words that start the proxy, as an argument vector; to be followed by its own arguments. */
export function proxyCommand(name = process.env["PROXY_HOST"] ?? "node"): string[] {
  const command = hosts[name]?.();
  if (command === undefined) {
    throw new Error(`PROXY_HOST=${name}: it must be one of ${Object.keys(hosts).join(", ")}`);
  }
  const program = command[command.length - 1] as string;
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`);
  return command;
}
