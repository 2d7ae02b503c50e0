// No name makes the configuration of docs/ run a command: with every character that a shell reads,
// in each shell, from the command line, through git's URLs and from a HostName. Only with TEST_ALL=1.
//
// - `ssh` is one that checks no name (openssh.ts). SHELL says which shell runs the ProxyCommand.
// - Each run starts in an empty folder, in which the hostile parts of a name would make a file.
// - What the configuration refuses falls through to a ProxyCommand that fails, and is not looked up.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { before, describe, it } from "node:test";

import { fragment } from "./client-site";
import { readPage } from "./doc-snippets";
import { commands, hasLineEnd, hostile, ordinary, refused } from "./names";
import { releasedSsh } from "./openssh";
import { root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { shellQuote } from "../support/sshd";
import { ensureTools, tool } from "../support/tools";

const shells = ["dash", "bash", "zsh", "fish", "tcsh", "ksh"];

/** These read on behind a line end if the line before it has failed, as by these characters. */
const readOn = { fish: "*?", tcsh: '*?"' };

describe("the configuration of docs/ and shells", { timeout: 900_000 }, () => {
  const folder = makeFolder("fragment");
  const inside = (name: string): string => path.join(folder, name);
  const here = inside("here");
  const page = readPage(path.join(root, "docs/clients.md"));
  const [, [aliases]] = page.take("Capitals, spaces and aliases", 3, 4);
  const typed = readFileSync(fragment, "utf8");
  const withName = typed.replace("%h %p", "%h %p %n");
  const byHostName = typed.replace(/^Host .*/m, aliases);
  let ssh: string;

  before(() => {
    ensureTools([...shells, "git", "make", "cc"]);
    ssh = releasedSsh();
    mkdirSync(inside("bin"));
    const script = (name: string, text: string): void => {
      writeFileSync(inside(`bin/${name}`), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    };
    script("ssh-vsock-proxy", `printf '%s\\n' "$@" >${folder}/words`);
    script("pwn", ": >pwned");
    script("released-ssh", `exec ${shellQuote(ssh)} -F ${folder}/ssh_config "$@"`);
  });

  /** What the proxy was started with, and the files that were made. */
  function run(block: string, command: readonly string[], shell = "dash") {
    writeFileSync(inside("ssh_config"), `${block}\nHost *\n    ProxyCommand false\n`);
    rmSync(inside("words"), { force: true });
    rmSync(here, { recursive: true, force: true });
    mkdirSync(here);
    const { status, stderr } = spawnSync(command[0] ?? "", command.slice(1), {
      cwd: here,
      encoding: "utf8",
      timeout: 60_000,
      stdio: ["ignore", "ignore", "pipe"],
      env: { PATH: `${folder}/bin:/usr/bin:/bin`, HOME: folder, SHELL: tool(shell) },
    });
    assert.notEqual(status, null, stderr);
    const started = existsSync(inside("words"));
    const [end, ...words] = started ? readFileSync(inside("words"), "utf8").split("\n") : ["--"];
    // So that no word of a name is an option.
    assert.equal(end, "--");
    return {
      words: started ? words.join("\n") : undefined,
      made: readdirSync(here).filter((name) => name !== "sub"),
    };
  }

  const type = (block: string, name: string, shell?: string) =>
    run(block, [ssh, "-F", inside("ssh_config"), "--", name], shell);

  for (const [title, block] of Object.entries({ "%h %p": typed, "%h %p %n": withName })) {
    for (const shell of shells) {
      it(`${shell} runs nothing but the proxy: ${title}`, () => {
        for (const name of ordinary) {
          const { words } = type(block, name, shell);
          const [address, port] = (words ?? "").split("\n");
          assert.deepEqual([address, port], [name, "22"]);
        }
        const reads = (name: string): boolean => hasLineEnd(name) && shell in readOn;
        for (const name of hostile.filter((name) => !reads(name))) {
          const { words, made } = type(block, name, shell);
          assert.deepEqual(made, [], JSON.stringify(name));
          if (refused.some((c) => name.includes(c))) {
            assert.equal(words, undefined, JSON.stringify(name));
          }
        }
      });
    }
  }

  for (const shell of shells) {
    it(`${shell} runs commands without the words with !`, () => {
      const open = typed.replace(/^(Host .*? \.host).*/m, "$1");
      assert.ok(commands.some((name) => type(open, `unix/x${name}`, shell).made.length > 0));
    });
  }

  for (const [shell, failing] of Object.entries(readOn)) {
    it(`${shell} runs what is behind a line end, as the page says`, () => {
      for (const c of '*?"') {
        const made = failing.includes(c) ? ["pwned"] : [];
        assert.deepEqual(type(typed, `unix/x${c}\npwn`, shell).made, made, c);
      }
      assert.deepEqual(type(typed, "unix/x\npwn", shell).made, []);
    });
  }

  it("a carriage return in fish and a # in tcsh change the words, as the page says", () => {
    const option = "--log-file=made";
    assert.equal(type(typed, `unix/x\r${option}`, "fish").words, `unix/x\n${option}\n22\n`);
    assert.equal(type(typed, "unix/x#y", "tcsh").words, "unix/x\n");
  });

  it("a HostName runs nothing but the proxy", () => {
    const named = (name: string): string =>
      `Host vm3\n    HostName "${name.replaceAll("%", "%%")}"\n${byHostName}`;
    for (const name of ordinary) {
      // ssh takes a name without a % and a : for a host's.
      const host = /[%:]/.test(name) ? name : name.toLowerCase();
      assert.equal(type(named(name), "vm3").words, `${host}\n22\n`);
    }
    for (const name of hostile.filter((name) => !/["\n]/.test(name))) {
      assert.deepEqual(type(named(name), "vm3").made, [], JSON.stringify(name));
    }
  });

  /** Fetches the submodule of a new repository from a URL. */
  function submodule(block: string, url: string) {
    const lines = [
      "git init -q sub && cd sub",
      "git config -f .gitmodules submodule.s.path s",
      `git config -f .gitmodules submodule.s.url '${url.replaceAll("'", "%27")}'`,
      `git update-index --add --cacheinfo 160000,${"1".repeat(40)},s && git add .gitmodules`,
      "GIT_SSH=released-ssh GIT_SSH_VARIANT=ssh git submodule --quiet update --init",
    ];
    return run(block, ["sh", "-c", lines.join(" && ")]);
  }

  it("a URL runs nothing but the proxy", () => {
    assert.equal(submodule(typed, "ssh://unix%25run%25a/r").words, "unix%run%a\n22\n");
    for (const name of commands) {
      const host = encodeURIComponent(`unix%x${name}`);
      assert.deepEqual(submodule(typed, `ssh://${host}/r`).made, [], JSON.stringify(name));
    }
    assert.equal(run(typed, ["released-ssh", "ssh://vsock%253"]).words, undefined);
  });

  it("a URL reaches a local socket, unless the words with % are removed", () => {
    const narrow = typed.replaceAll(/ (unix|unix-abstract|vsock-mux)%\*/g, "");
    for (const [url, words] of [
      ["ssh://unix%25tmp%25x.sock/r", "unix%tmp%x.sock\n22\n"],
      ["ssh://vsock-mux%25run%25m.sock:4711/r", "vsock-mux%run%m.sock\n4711\n"],
    ] as const) {
      assert.equal(submodule(typed, url).words, words);
      assert.equal(submodule(narrow, url).words, undefined);
    }
    assert.equal(submodule(narrow, "ssh://vsock%253/r").words, "vsock%3\n22\n");
    assert.equal(type(narrow, "unix/tmp/x").words, "unix/tmp/x\n22\n");
    // git decodes the slash before it looks for the end of the host.
    assert.equal(submodule(narrow, "ssh://unix%2Ftmp%2Fx.sock/r").words, undefined);
  });
});
