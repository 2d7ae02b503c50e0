// The build is reproducible: the same files give the same bytes. The working tree's files are copied
// twice, without anything built and with everything else different: the folder, the files' times, the
// umask, TMPDIR, the time zone and the locale. Both copies are built, and every file of their dist/
// is compared with that of the checkout: the modules, wasm2c's C, the executable, the addon, cli.cjs,
// index.js and the types. All three share the compilers and node_modules.
//
// One copy is at a path with a space and of more than sun_path's 108 bytes: no path may be too odd.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { readdirSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { root } from "../support/proxy";

interface Tree {
  folder: string;
  env: NodeJS.ProcessEnv;
  umask: string;
  /** When the files were changed last, in seconds since 1970. */
  time: number;
}

const trees: readonly Tree[] = [
  { folder: "a", env: { TZ: "UTC", LC_ALL: "C" }, umask: "022", time: 1_000_000_000 },
  {
    folder: `another/and deeper/${"long".repeat(27)}`,
    env: {
      TZ: "Asia/Kathmandu",
      LANG: "tr_TR.UTF-8",
      LC_ALL: "tr_TR.UTF-8",
      TMPDIR: "temporary files",
    },
    umask: "077",
    time: 1_700_000_000,
  },
];

/** What is in the checkout and not ignored, committed or not. */
function sources(): string[] {
  const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"];
  const { status, stdout, stderr } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  assert.equal(status, 0, stderr);
  return stdout.split("\0").filter((file) => file !== "" && existsSync(path.join(root, file)));
}

function plant(folder: string, time: number): void {
  for (const file of sources()) {
    const copy = path.join(folder, file);
    mkdirSync(path.dirname(copy), { recursive: true });
    copyFileSync(path.join(root, file), copy);
    utimesSync(copy, time, time);
  }
  symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"));
}

async function build(folder: string, { env, umask }: Tree): Promise<void> {
  const temporary = env["TMPDIR"] === undefined ? tmpdir() : path.join(folder, "..", env["TMPDIR"]);
  mkdirSync(temporary, { recursive: true });
  const command = ["-c", 'umask "$0" && exec "$@"', umask, process.execPath, "scripts/build.mjs"];
  const child = spawn("/bin/sh", command, {
    cwd: folder,
    env: { ...process.env, ...env, TMPDIR: temporary },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (bytes: Buffer) => said.push(bytes));
  }
  const [status] = (await once(child, "close")) as [number | null];
  assert.equal(status, 0, `the build in ${folder} fails:\n${Buffer.concat(said).toString()}`);
}

/** SHA-256 of each file below a tree's dist/. */
function hashes(folder: string): Map<string, string> {
  const dist = path.join(folder, "dist");
  const files = readdirSync(dist, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dist, path.join(entry.parentPath, entry.name)))
    .sort();
  return new Map(
    files.map((file) => {
      const bytes = readFileSync(path.join(dist, file));
      return [file, createHash("sha256").update(bytes).digest("hex")];
    }),
  );
}

describe("the build", { timeout: 600_000 }, () => {
  const top = mkdtempSync(path.join(tmpdir(), "reproducible-"));
  const folders = trees.map(({ folder }) => path.join(top, folder));
  let checkout: Map<string, string>;
  let built: Map<string, string>[];
  let differs = false;
  before(async () => {
    await Promise.all(
      trees.map(async (tree, i) => {
        const folder = folders[i] as string;
        plant(folder, tree.time);
        await build(folder, tree);
      }),
    );
    checkout = hashes(root);
    built = folders.map(hashes);
  });
  after(() => {
    if (!differs) rmSync(top, { recursive: true });
  });

  it("makes the modules", (t) => {
    for (const file of ["core.wasm", "names.wasm", "proxy.wasm"]) {
      assert.ok(checkout.has(file), `dist/${file} is missing`);
      t.diagnostic(`${checkout.get(file)} ${file}`);
    }
  });

  const others: [string, () => [string, Map<string, string>][]][] = [
    [
      "in two clean trees",
      () => built.map((map, i): [string, Map<string, string>] => [folders[i] as string, map]),
    ],
    [
      "in a clean tree and in the checkout",
      () => [
        [folders[0] as string, built[0] as Map<string, string>],
        [root, checkout],
      ],
    ],
  ];
  for (const [where, pair] of others) {
    it(`makes the same ${where}`, () => {
      const [[one, ours], [other, theirs]] = pair() as [
        [string, Map<string, string>],
        [string, Map<string, string>],
      ];
      const files = [...new Set([...ours.keys(), ...theirs.keys()])];
      const unequal = files.filter((file) => ours.get(file) !== theirs.get(file));
      differs ||= unequal.length > 0;
      const told = unequal.map((file) => {
        const paths = [one, other].map((folder) => `'${path.join(folder, "dist", file)}'`);
        return `dist/${file}: cmp -l ${paths.join(" ")} | head`;
      });
      assert.equal(told.join("\n"), "", "these differ (is dist/ what `npm run build` makes now?)");
    });
  }
});
