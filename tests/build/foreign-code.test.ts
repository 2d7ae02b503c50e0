// What the development tools could run of others: what another local user has made in TMPDIR before us,
// and the install scripts of dependencies.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";

import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";

const temporary = makeFolder("tsx");
const program = path.join(temporary, "program.ts");

/** What the program prints. */
async function run(loader: string): Promise<string> {
  const child = spawn(process.execPath, ["--import", loader, program], {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, TMPDIR: temporary, TSX_DISABLE_CACHE: "" },
  });
  return text(child.stdout);
}

/** The files and folders below TMPDIR, their times and contents. */
function planted(): string[] {
  return readdirSync(temporary, { recursive: true, encoding: "utf8" }).map((name) => {
    const file = path.join(temporary, name);
    const status = statSync(file);
    const content = status.isFile() ? readFileSync(file, "latin1") : "";
    return `${name} ${status.mtimeMs} ${status.ctimeMs} ${content}`;
  });
}

describe("tests/tsx.mjs", () => {
  it("neither runs nor touches what was planted in TMPDIR", async () => {
    writeFileSync(program, `const word: string = "own";\nconsole.log(word);\n`);
    const cache = path.join(temporary, `tsx-${process.geteuid?.()}`);
    assert.equal(await run("tsx"), "own\n");
    for (const name of readdirSync(cache)) {
      const file = path.join(cache, name);
      writeFileSync(file, readFileSync(file, "utf8").replaceAll("own", "planted"));
    }
    assert.equal(await run("tsx"), "planted\n", "tsx runs no planted code: nothing is tested");

    mkdirSync(path.join(temporary, "tsx"));
    let connections = 0;
    const server = net.createServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    server.unref();
    server.listen(path.join(cache, `${process.pid}.pipe`));
    await once(server, "listening");
    const before = planted();
    // The first run may compile, the second has its cache.
    for (let i = 0; i < 2; i++) assert.equal(await run("./tests/tsx.mjs"), "own\n");
    assert.deepEqual(planted(), before);
    assert.equal(connections, 0);
  });

  it("starts every program", () => {
    const files = execFileSync("git", ["ls-files", "-z", "--cached"], { cwd: root });
    const wrong =
      /\bnpx["', ]+tsx\b|--import["',= ]+tsx\b|\btsx (?=(tests|bench)\/)|"(tsx\/|tsx"[,)])/;
    const found = files
      .toString()
      .split("\0")
      .filter((name) => name !== "" && !name.startsWith("tests/build/foreign-code.test.ts"))
      .filter((name) => wrong.test(readFileSync(path.join(root, name), "utf8")));
    assert.deepEqual(found, ["tests/tsx.mjs"]);
  });
});

it("package.json denies every install script of a dependency", () => {
  const read = (name: string) => JSON.parse(readFileSync(path.join(root, name), "utf8")) as unknown;
  const { packages } = read("package-lock.json") as {
    packages: Record<string, { hasInstallScript?: boolean }>;
  };
  const { allowScripts } = read("package.json") as { allowScripts: Record<string, boolean> };
  const scripts = Object.entries(packages)
    .filter(([folder, { hasInstallScript }]) => folder !== "" && hasInstallScript === true)
    .map(([folder]) => [folder.replace(/^.*node_modules\//, ""), false]);
  assert.deepEqual(allowScripts, Object.fromEntries(scripts));
});
