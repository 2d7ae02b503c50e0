// Runs replay-core.c: core.wasm and names.wasm as wasm2c translates them, with all transcripts of them.

import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { root } from "../support/proxy";
import { translate } from "../support/wasm2c";
import type { AddressCase, HandshakeCase, LookupCase, Transcripts } from "./reader";

const run = promisify(execFile);

/** What is wrong with a case, and how its reply was cut. */
interface CoreFailure {
  place: string;
  segments: string;
  what: string;
}

/** Writes what replay-core.c includes to `folder`: the modules in C, and cases.h. */
export function writeCases(folder: string, { address, handshake, lookup }: Transcripts): void {
  mkdirSync(folder, { recursive: true });
  for (const name of ["core", "names"] as const) {
    translate(path.join(root, `dist/${name}.wasm`), name, folder);
  }
  const tables = [
    `static const struct address addresses[] = {${address.map(addressInC).join(",\n")}};\n`,
    `static const struct handshake handshakes[] = {${handshake.map(handshakeInC).join(",\n")}};\n`,
    `static const struct lookup lookups[] = {${lookup.map(lookupInC).join(",\n")}};\n`,
  ];
  writeFileSync(path.join(folder, "cases.h"), tables.join("\n"));
}

/** Compiles the program in `folder` and runs it; replies of up to `every` bytes are cut in every way. */
export async function replayCore(
  folder: string,
  transcripts: Transcripts,
  every: number,
): Promise<{ failures: CoreFailure[]; replays: number }> {
  writeCases(folder, transcripts);
  const program = path.join(folder, "replay-core");
  // wasm2c's output has unused labels.
  const flags = ["-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-O2", "-Wall", "-Wextra", "-Wno-unused"];
  const folders = [`-I${path.join(root, "native/standalone")}`, `-I${folder}`];
  const modules = ["core.c", "names.c"].map((name) => path.join(folder, name));
  const sources = [path.join(__dirname, "replay-core.c"), ...modules];
  const compiler = process.env["CC"] ?? "cc";
  await run(compiler, [...flags, "-Werror", ...folders, "-o", program, ...sources]);
  const { stdout } = await run(program, [String(every)]);
  const lines = stdout.trimEnd().split("\n");
  const replays = Number(lines.pop());
  const failures = lines.map((line) => {
    const [, place = "", segments = "", what = line] = /^(\S+) (\S+) (.*)$/.exec(line) ?? [];
    return { place, segments, what };
  });
  return { failures, replays };
}

function bytesInC(hex: string | undefined): string {
  if (hex === undefined) return "{0, NULL}";
  // Octal, because a hexadecimal escape in C has no end.
  const octal = [...Buffer.from(hex, "hex")].map(
    (byte) => `\\${byte.toString(8).padStart(3, "0")}`,
  );
  return `{${octal.length}, "${octal.join("")}"}`;
}

function addressInC({ file, line, address, port, name, outcome }: AddressCase): string {
  const { code, scheme, port: number, cid, argument, offset, socketAddress } = outcome;
  const fields = [scheme, number, cid, argument, offset].map((field) => field ?? "NONE");
  const texts = [address, port, name].map(bytesInC).join(", ");
  const result = `${code}, {${fields.join(", ")}}, ${bytesInC(socketAddress ?? "")}`;
  return `{"${file}:${line}", {${texts}}, ${result}}`;
}

function handshakeInC({ file, line, port, sent, answer, end, outcome }: HandshakeCase): string {
  const { request, code, consumed, number = 0 } = outcome;
  const texts = `${bytesInC(answer)}, ${bytesInC(request)}`;
  const numbers = [port, sent, code, consumed, number].join(", ");
  return `{"${file}:${line}", ${texts}, ${numbers}, ${end === "eof"}}`;
}

function lookupInC({ file, line, service, name, answer, end, outcome }: LookupCase): string {
  const { code, consumed, target, cid, text, request } = outcome;
  const texts = [answer, name, request, text].map(bytesInC).join(", ");
  const fields = [target, cid].map((field) => field ?? "NONE");
  const numbers = [service, code, consumed, ...fields].join(", ");
  return `{"${file}:${line}", ${texts}, ${numbers}, ${end === "eof"}}`;
}
