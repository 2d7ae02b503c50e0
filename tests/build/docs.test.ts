// The documentation agrees with --help and the configuration file, and its links lead to files and
// headings.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { it } from "node:test";

import { root } from "../support/proxy";

const read = (file: string) => readFileSync(path.join(root, file), "utf8");
const all = (text: string, pattern: RegExp) =>
  Array.from(text.matchAll(pattern), ([match]) => match);

const help = spawnSync(path.join(root, "dist/ssh-vsock-proxy"), ["--help"], { encoding: "utf8" });
const options = all(help.stderr, /(?<=^ {2}(-\w, )?)--?[\w-]+/gm).sort();

it("docs/options.md lists the options of --help", () => {
  const rows = all(read("docs/options.md"), /^\| `-.*?\|/gm).join();
  assert.deepEqual(all(rows, /(?<=`)--?[\w-]+/g).sort(), options);
});

it("the manual page lists the options of --help", () => {
  const entries = all(read("man/ssh-vsock-proxy.1"), /(?<=^\.It Fl ).*/gm).join("\n");
  const names = all(entries, /(?<=^|, )[\w-]+/gm).map((name) => `-${name}`);
  assert.deepEqual(names.sort(), options);
});

it("the Match of docs/clients.md has the words and lines of the configuration file", () => {
  const file = read("docs/00-ssh-vsock-proxy.conf").replace(/^#.*\n/gm, "");
  const [names = "", ...lines] = file.split("\n");
  const words = all(names.replace(/^Host /, ""), /"[^"]*"(?= )|\S+/g);
  // Older OpenSSH cannot have a quote in quotes.
  assert.equal(words.pop(), '!*\\"*');
  const list = words.map((word) => word.replace(/^"(.*)"$/, "$1")).join();
  const block = [`Match host "${list}"`, ...lines.slice(0, -1)].map((line) => `    ${line}\n`);
  assert.ok(read("docs/clients.md").includes(block.join("")), block.join(""));
});

it("--help and the manual page have the ProxyCommand of the configuration file", () => {
  const file = "00-ssh-vsock-proxy.conf";
  const [line = ""] = all(read(`docs/${file}`), /(?<=^ +)ProxyCommand.*/gm);
  assert.ok(help.stderr.includes(`  ${line}\n`), line);
  assert.ok(read("man/ssh-vsock-proxy.1").includes(line.replace(" ", "=")), line);
  assert.ok(read("man/ssh-vsock-proxy.1").includes(file), file);
});

it("relative links lead to files, and their fragments to headings", () => {
  const files = execFileSync("git", ["ls-files", "*.md"], { cwd: root, encoding: "utf8" });
  const broken = files
    .trimEnd()
    .split("\n")
    .flatMap((file) => {
      const links = all(read(file), /(?<=\]\()(?!https?:)[^)]+/g);
      return links.filter((link) => !leads(file, link)).map((link) => `${file}: ${link}`);
    });
  assert.deepEqual(broken, []);
});

function leads(file: string, link: string): boolean {
  const [target = "", fragment] = link.split("#");
  const found = target === "" ? file : path.join(path.dirname(file), target);
  if (!existsSync(path.join(root, found))) return false;
  return fragment === undefined || headings(found).includes(fragment);
}

/** The fragments that lead to a file's headings, as GitHub makes them. */
function headings(file: string): string[] {
  return all(read(file), /(?<=^#+ ).*/gm).map((title) =>
    title
      .toLowerCase()
      .replace(/[^\w -]/g, "")
      .replaceAll(" ", "-"),
  );
}
