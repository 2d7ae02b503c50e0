// Programs and libraries that read ssh's configuration themselves, with the file of docs/: each gets
// the right ProxyCommand from it, and those that connect log in. Only with TEST_ALL=1.
//
// A reader is a program `PROGRAM parse CONFIG NAME...`, which prints a line with the ProxyCommand for
// each name, expanded or not, and `PROGRAM login CONFIG NAME`, which runs `echo out; exit 7` there.
// The programs are in readers/. What Debian has no package of is built in build/readers.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, it } from "node:test";

import { ClientSite, fragment } from "./client-site";
import { readPage } from "./doc-snippets";
import { hasLineEnd, hostile, ordinary, refused } from "./names";
import { suiteSsh, suites } from "./openssh";
import { compileProgram } from "../support/compile";
import { root } from "../support/proxy";
import { shellQuote } from "../support/sshd";
import { ensureTools, tool } from "../support/tools";

/** The versions of what is not Debian's. */
const versions = {
  "ssh-config (npm)": "5.3.0",
  "kevinburke/ssh_config (Go)": ["1.2.0", "1.6.0"],
  "ssh2-config (Rust)": "0.9.0",
} as const;

interface Reader {
  /** The first words of its command line. */
  command: () => string | Promise<string>;
  /** It only parses. */
  parses?: true;
  /** Addresses that it does not take as a host, or that its tokens break: an alias is needed. */
  breaks?: RegExp;
  /** More of the environment. */
  env?: Record<string, string>;
}

const sources = path.join(__dirname, "readers");
const source = (name: string): string => shellQuote(path.join(sources, name));

const readers: Record<string, Reader> = {
  asyncssh: {
    command: () => `${tool("python3")} ${source("asyncssh_reader.py")}`,
  },
  "paramiko and Fabric": {
    command: () => `${tool("python3")} ${source("fabric_reader.py")}`,
    // paramiko expands the tokens in what it has put in for %h.
    breaks: /%r/,
  },
  "net-ssh (Ruby)": { command: () => `${tool("ruby")} ${source("net-ssh.rb")}` },
  libssh: {
    command: async () => {
      const program = path.join(root, "build/readers/libssh");
      return shellQuote(await compileProgram(program, [path.join(sources, "libssh.c")], ["-lssh"]));
    },
    breaks: /[/%]/,
    // It has one socket for both directions, as ssh has that waits for a descriptor.
    env: { SSH_VSOCK_PROXY_OPTIONS: "--stdio" },
  },
  "ssh-config (npm)": { command: buildNpm },
  "ssh2-config (Rust)": { command: buildRust, parses: true },
};
for (const version of versions["kevinburke/ssh_config (Go)"]) {
  readers[`kevinburke/ssh_config ${version} (Go)`] = {
    command: () => buildGo(version),
    parses: true,
  };
}

const addresses = [
  ...["vsock/3", "vsock%3", "unix/run/x.sock", "unix%run%x.sock", "vsock-mux/run/m.sock"],
  ...["unix-abstract/x", ".host", "machine/x", "machine%x", "machine/.host", "qemu/x", "qemu%x"],
  ...["qemu:system/x", "qemu:system%x", "qemu:session/x", "qemu:session%x"],
];
const others = ["host.example", "vsock", "qemu:x", "unix/x;y", "unix/x$y", "unix/x|y"];

/** Other files of a folder ssh_config.d. */
const neighbours = {
  // FreeIPA's clients.
  "04-ipa.conf": `Host *
    PubkeyAuthentication yes
    ProxyCommand /usr/bin/sss_ssh_knownhostsproxy -p %p %h
    GlobalKnownHostsFile /var/lib/sss/pubconf/known_hosts`,
  // Of 262.1.
  "20-systemd-ssh-proxy.conf": `Host .host machine/.host
    ProxyCommand /usr/lib/systemd/systemd-ssh-proxy unix/run/ssh-unix-local/socket %p
    ProxyUseFdpass yes
    CheckHostIP no
Host unix/* unix%* vsock/* vsock%* vsock-mux/* vsock-mux%* machine/* machine%*
    User root
    ProxyCommand /usr/lib/systemd/systemd-ssh-proxy %h %p
    ProxyUseFdpass yes
    CheckHostIP no
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null`,
  "30-libvirt-ssh-proxy.conf": `Host qemu/* qemu:system/* qemu:session/*
    ProxyCommand /usr/libexec/libvirt-ssh-proxy %h %p
    ProxyUseFdpass yes
    CheckHostIP no`,
};

describe("readers of ssh's configuration", { timeout: 900_000 }, () => {
  const page = readPage(path.join(root, "docs/clients.md"));
  const [, , alias, keepChecks] = page.take("Configuration", 1, 1, 3, 2);
  const [, [aliases]] = page.take("Capitals, spaces and aliases", 3, 4);
  const shipped = readFileSync(fragment, "utf8");
  const site = new ClientSite(alias);

  before(async () => {
    ensureTools([
      "python3",
      "asyncssh",
      "fabric",
      "ruby",
      "net-ssh",
      "libssh",
      "cc",
      "go",
      "cargo",
    ]);
    await site.start();
  });
  after(() => site.close());

  for (const [title, { command, parses, breaks, env = {} }] of Object.entries(readers)) {
    it(title, async () => {
      const program = await command();
      const place = site.makePlace(site.asWritten);
      const names = ["vm3", ...addresses, ...others];
      const words = names.map(shellQuote).join(" ");
      const said = (await site.succeed(`${program} parse "$CONFIG" ${words}`, place)).toString();
      const lines = said.split("\n").slice(0, -1);
      assert.equal(lines.length, names.length, said);
      for (const [i, name] of names.entries()) {
        const found = lines[i]?.trim().replace("%h", name).replace("%p", "22");
        const target = name === "vm3" ? "vsock/3" : `-- ${name}`;
        const right = others.includes(name) ? "" : `ssh-vsock-proxy ${target} 22`;
        if (breaks?.test(name) === true) assert.ok(right === "" || found !== right, name);
        else assert.equal(found, right);
      }
      if (parses === true) return;
      for (const name of ["vm3", "vsock/3"].filter((name) => breaks?.test(name) !== true)) {
        const ran = await site.run(`${program} login "$CONFIG" ${name}`, place, { env });
        assert.equal(ran.exit, 7, ran.stderr);
        assert.equal(ran.stdout.toString(), "out\n");
      }
    });
  }

  for (const suite of Object.keys(suites) as (keyof typeof suites)[]) {
    /** The values of some settings for a name. */
    function settings(config: string, name: string, ...wanted: readonly string[]): string[] {
      const file = path.join(site.folder, "suite_config");
      writeFileSync(file, config);
      const words = ["-F", file, "-G", "--", name];
      const { stdout, stderr } = spawnSync(suiteSsh(suite), words, { encoding: "utf8" });
      assert.match(stdout, /^hostname /m, stderr);
      const values = new Map(stdout.split("\n").map((line) => [line.split(" ", 1)[0], line]));
      return wanted.map((each) => values.get(each)?.slice(each.length + 1) ?? "");
    }
    const proxy = ["proxycommand", "proxyusefdpass"];
    const ours = ["ssh-vsock-proxy -- %h %p", "yes"];

    it(`the OpenSSH of ${suite} reads it, and among its neighbours`, async () => {
      const place = site.makePlace(site.asWritten);
      const folder = path.join(place.here, "ssh_config.d");
      mkdirSync(folder);
      for (const [name, text] of Object.entries(neighbours)) {
        writeFileSync(path.join(folder, name), `${text}\n`);
      }
      const file = path.join(folder, path.basename(fragment));
      writeFileSync(file, shipped);
      const include = `Include ${folder}/*.conf`;
      for (const config of [shipped, include]) {
        for (const name of addresses)
          assert.deepEqual(settings(config, name, ...proxy), ours, name);
        for (const name of ["host.example", "unix/x[y"]) {
          assert.notEqual(settings(config, name, ...proxy)[0], ours[0], name);
        }
      }
      const checks = ["stricthostkeychecking", "userknownhostsfile"];
      for (const name of addresses) {
        const off = /^(unix|vsock|vsock-mux|machine)[/%]/.test(name);
        const [strict, known, user] = settings(include, name, ...checks, "user");
        assert.equal(strict, off ? "false" : "ask", name);
        if (off) assert.equal(user, "root", name);
        assert.equal(known === "/dev/null", off, name);
      }
      writeFileSync(file, `${shipped}${keepChecks.map((line) => `${line}\n`).join("")}`);
      for (const name of addresses) assert.equal(settings(include, name, ...checks)[0], "ask");
      writeFileSync(file, shipped);
      const ssh = `SHELL=/bin/sh ${shellQuote(suiteSsh(suite))} -F "$CONFIG"`;
      for (const [name, config] of [
        ["vm3", []],
        ["vsock/3", [include]],
        ["vsock%3", [include]],
      ] as const) {
        await site.exitStatus(`${ssh} ${name}`, place, { config });
      }
    });

    it(`the OpenSSH of ${suite} refuses hostile names`, () => {
      for (const name of hostile.filter(hasLineEnd).concat(Array.from("'$`;&|<>(){}\\ \t\r\x7f"))) {
        const words = ["-G", "--", `unix/${name}`];
        const { stderr } = spawnSync(suiteSsh(suite), words, { encoding: "utf8" });
        assert.match(stderr, /^hostname contains invalid characters/, JSON.stringify(name));
      }
      // "final" has ssh read the configuration again, and Host then looks at what HostName gave.
      const named = (name: string): string =>
        `Host vm3\n    HostName "${name.replaceAll("%", "%%")}"\nMatch final all\n    LogLevel INFO\n`;
      for (const block of [shipped, shipped.replace(/^Host .*/m, aliases)]) {
        for (const name of ordinary) {
          assert.deepEqual(settings(named(name) + block, "vm3", ...proxy), ours, name);
        }
        for (const c of refused) {
          const found = settings(named(`unix/x${c}y`) + block, "vm3", ...proxy);
          assert.deepEqual(found, ["", "no"], JSON.stringify(c));
        }
      }
    });
  }
});

/** A folder of build/ with the result of `build`, which is made once. */
function built(name: string, build: (folder: string) => void): string {
  const folder = path.join(root, "build/readers", name);
  if (existsSync(path.join(folder, "done"))) return folder;
  console.error(`Installing ${name} in ${folder}`);
  mkdirSync(folder, { recursive: true });
  build(folder);
  writeFileSync(path.join(folder, "done"), "");
  return folder;
}

function run(cwd: string, command: string, ...words: readonly string[]): void {
  execFileSync(command, words, { cwd, stdio: ["ignore", "ignore", "inherit"] });
}

function buildNpm(): string {
  const wanted = `ssh-config@${versions["ssh-config (npm)"]}`;
  const folder = built(wanted, (folder) => {
    run(folder, "npm", "install", "--silent", "--no-save", "--prefix", folder, wanted);
  });
  const module = path.join(folder, "node_modules/ssh-config/dist/ssh-config.js");
  return `env SSH_CONFIG=${shellQuote(module)} ${shellQuote(process.execPath)} ${source("ssh-config.mjs")}`;
}

function buildGo(version: string): string {
  const folder = built(`ssh_config-${version}`, (folder) => {
    copyFileSync(path.join(sources, "ssh_config.go"), path.join(folder, "main.go"));
    const go = tool("go");
    if (!existsSync(path.join(folder, "go.mod"))) run(folder, go, "mod", "init", "reader");
    run(folder, go, "get", `github.com/kevinburke/ssh_config@v${version}`);
    run(folder, go, "build", "-o", "reader");
  });
  return shellQuote(path.join(folder, "reader"));
}

function buildRust(): string {
  const version = versions["ssh2-config (Rust)"];
  const folder = built(`ssh2-config-${version}`, (folder) => {
    mkdirSync(path.join(folder, "src"), { recursive: true });
    copyFileSync(path.join(sources, "ssh2_config.rs"), path.join(folder, "src/main.rs"));
    const manifest = ["[package]", 'name = "reader"', 'edition = "2021"', "[dependencies]"];
    manifest.push(`ssh2-config = "=${version}"`, "[workspace]");
    writeFileSync(path.join(folder, "Cargo.toml"), manifest.join("\n"));
    copyFileSync(path.join(sources, "ssh2_config.lock"), path.join(folder, "Cargo.lock"));
    run(folder, tool("cargo"), "build", "--quiet", "--locked");
  });
  return shellQuote(path.join(folder, "target/debug/reader"));
}
