// What the clients of docs/clients.md need: a machine, reachable by an AF_VSOCK address that leads to
// a multiplexer's socket and by a unix socket, and homes with keys and known hosts.
//
// Rules
// 1. Nothing of the user's is read or written. Programs start with the variables of `environment`
//    alone; ssh, scp and sftp are scripts in PATH that add `-F`.
// 2. Host keys are checked: each client is seen to refuse a machine with another key
//    (`refuseStranger`).

import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import net from "node:net";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";

import { startMultiplexer } from "../support/multiplexer-client";
import type { Multiplexer } from "../support/multiplexer-client";
import { proxyCommand, root } from "../support/proxy";
import { makeFolder } from "../support/scratch";
import { runProgram, shellQuote, startSshd } from "../support/sshd";
import type { Finished, RunOptions, Sshd } from "../support/sshd";
import { tool } from "../support/tools";

export const fragment = path.join(root, "docs/00-ssh-vsock-proxy.conf");
export const { username } = os.userInfo();
export const payload = randomBytes(2_000_000);

/** A way to machine 3; `write` puts its address into a text of the page. */
interface Machine {
  name: string;
  write(text: string): string;
}

/** The folders of one test: the client's working directory, and the machine's `/srv`. */
export interface Place {
  machine: Machine;
  here: string;
  srv: string;
}

export interface LineOptions extends RunOptions {
  /** Lines before the rest of ssh_config. */
  config?: readonly string[];
  /** The known hosts and fingerprints are those of another machine. */
  stranger?: boolean;
}

export class ClientSite {
  readonly folder = makeFolder("clients");
  #sshd: Sshd | undefined;
  #multiplexer: Multiplexer | undefined;
  /** TCP on loopback, for `inner.example` and for port 5432. */
  #inner: Service | undefined;
  #echo: Service | undefined;
  /** The sockets of Ansible's ssh: here, as their paths are long. */
  readonly masters = makeFolder("masters");
  readonly sockets = { machine: "", nested: "" };
  #places = 0;

  /** `alias` is at the end of each ssh_config's first part. */
  constructor(readonly alias: readonly string[]) {}

  readonly asWritten: Machine = { name: "vsock, as written", write: (text) => text };
  readonly asUnix: Machine = {
    name: "a unix socket",
    write: (text) => writeAddress(text, `unix${this.sockets.machine}`),
  };

  async start(): Promise<void> {
    for (const folder of ["bin", "there", "places"]) mkdirSync(path.join(this.folder, folder));
    this.#sshd = await startSshd(proxyCommand(), [
      "DisableForwarding no",
      `SetEnv PATH=${this.#searchPath()} HOME=${this.folder}/there GIT_CONFIG_GLOBAL=/dev/null`,
    ]);
    this.sockets.machine = `${this.sshd.folder}/Machine.sock`;
    this.sockets.nested = `${this.sshd.folder}/nested.sock`;
    for (const socket of Object.values(this.sockets)) await this.sshd.listen(socket);
    this.#multiplexer = await startMultiplexer(this.sockets.machine);
    this.#inner = await serveTcp((connection) => {
      const end = net.connect(this.sockets.nested);
      end.on("error", () => connection.destroy());
      connection.pipe(end).pipe(connection);
    });
    this.#echo = await serveTcp((connection) => connection.pipe(connection));
    this.#writePrograms(this.#multiplexer.socket("firecracker"));
    await this.#makeHome("home", path.join(this.sshd.folder, "host_key.pub"));
    // The user's key serves as another host's.
    await this.#makeHome("stranger", path.join(this.sshd.folder, "user_key.pub"));
  }

  async close(): Promise<void> {
    for (const one of [this.#echo, this.#inner, this.#multiplexer, this.#sshd]) await one?.close();
  }

  get sshd(): Sshd {
    assert.ok(this.#sshd);
    return this.#sshd;
  }

  get inner(): Service {
    assert.ok(this.#inner);
    return this.#inner;
  }

  #searchPath(): string {
    return `${this.folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`;
  }

  /** The scripts that come first in PATH. */
  #writePrograms(multiplexed: string): void {
    const script = (name: string, text: string): void => {
      writeFileSync(path.join(this.folder, "bin", name), `#!/bin/sh\n${text}`, { mode: 0o755 });
    };
    for (const name of ["ssh", "scp", "sftp"]) {
      script(name, `exec ${shellQuote(tool(name))} -F "\${CONFIG:?}" "$@"\n`);
    }
    const cases = {
      "vsock/3": `vsock-mux${multiplexed}`,
      "vsock%3": writeAddress("vsock%3", `vsock-mux${multiplexed}`),
      "unix/run/nested.sock": `unix${this.sockets.nested}`,
      "unix/run/My VM.sock": `vsock-mux${multiplexed}`,
    };
    script(
      "ssh-vsock-proxy",
      `echo "$*" >>${this.folder}/proxy.log
for word; do
    shift
    case $word in
${Object.entries(cases)
  .map(([written, meant]) => `    ${shellQuote(written)}) word=${shellQuote(meant)} ;;`)
  .join("\n")}
    esac
    set -- "$@" "$word"
done
exec ${proxyCommand().map(shellQuote).join(" ")} "$@"
`,
    );
  }

  /** Makes a home for the clients, where `hostKey` is the known key of each machine. */
  async #makeHome(name: string, hostKey: string): Promise<void> {
    const folder = path.join(this.folder, name, ".ssh");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    for (const suffix of ["", ".pub"]) {
      const key = readFileSync(path.join(this.sshd.folder, `user_key${suffix}`));
      writeFileSync(path.join(folder, `id_ed25519${suffix}`), key, { mode: 0o600 });
    }
    const [type, key] = readFileSync(hostKey, "utf8").split(" ");
    const addresses = ["vsock/3", "vsock%3"].flatMap((text) => [text, this.asUnix.write(text)]);
    const names = ["vm3", "vsock/1", "vsock%1", "nested", "127.0.0.1", ...addresses].flatMap(
      (host) => {
        const known = host.includes("/") ? host.toLowerCase() : host;
        return [known, `[${known}]:2222`, `[${known}]:${this.inner.port}`];
      },
    );
    const lines = names.map((host) => `${host} ${type} ${key}\n`);
    writeFileSync(path.join(folder, "known_hosts"), lines.join(""));
    writeFileSync(path.join(this.folder, name, "vm3.pub"), readFileSync(hostKey));
    const { stdout } = await runProgram(["ssh-keygen", "-lf", hostKey]);
    writeFileSync(
      path.join(this.folder, name, "fingerprint"),
      stdout.toString().split(" ")[1] as string,
    );
  }

  makePlace(machine: Machine): Place {
    const folder = path.join(this.folder, "places", String(++this.#places));
    const place = { machine, here: path.join(folder, "here"), srv: path.join(folder, "srv") };
    for (const each of [place.here, place.srv]) mkdirSync(each, { recursive: true });
    writeFileSync(path.join(place.here, "disk.img"), payload);
    return place;
  }

  /** A text of the page with this test's names. */
  write(text: string, place: Place, home = "home"): string {
    return place.machine
      .write(text)
      .replaceAll("/srv", place.srv)
      .replace(/(?<!\w)user(?=@|"|$)/gm, username)
      .replaceAll(
        "SHA256:FINGERPRINT",
        readFileSync(path.join(this.folder, home, "fingerprint"), "utf8"),
      )
      .replaceAll("127.0.0.1:5432", `127.0.0.1:${this.#echo?.port}`);
  }

  #environment(place: Place, home: string): Record<string, string> {
    return {
      CONFIG: path.join(place.here, "ssh_config"),
      HOME: path.join(this.folder, home),
      PATH: this.#searchPath(),
      LC_ALL: "C.UTF-8",
      NODE_PATH: path.join(root, "node_modules"),
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_AUTHOR_NAME: "a",
      GIT_AUTHOR_EMAIL: "a@example",
      GIT_COMMITTER_NAME: "a",
      GIT_COMMITTER_EMAIL: "a@example",
      ANSIBLE_CONFIG: path.join(this.folder, "ansible.cfg"),
      ANSIBLE_HOME: path.join(place.here, "ansible"),
      ANSIBLE_SSH_CONTROL_PATH_DIR: this.masters,
      ANSIBLE_REMOTE_TEMP: path.join(place.srv, "ansible"),
      // An ordinary user's sshd may not be allowed to allocate a terminal.
      ANSIBLE_SSH_USETTY: "False",
    };
  }

  /** A script for sh that runs a line of the page; writes the configurations that it reads. */
  script(line: string, place: Place, options: LineOptions = {}): string {
    const home = options.stranger === true ? "stranger" : "home";
    const shipped = readFileSync(fragment, "utf8");
    // The unix socket's path has capitals: the name as typed, as the page says.
    const isUnix = place.machine === this.asUnix;
    const addresses = isUnix ? shipped.replace("%h %p", "%h %p %n") : shipped;
    const own = `
Host inner.example second.example
    HostName 127.0.0.1
    Port ${this.inner.port}

${addresses}
Host *
    User ${username}
    IdentityFile ${this.folder}/${home}/.ssh/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile ${this.folder}/${home}/.ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
`;
    const first = [...(options.config ?? []), ...this.alias].join("\n");
    writeFileSync(path.join(place.here, "ssh_config"), `${this.write(first, place)}\n${own}`);
    writeFileSync(path.join(this.folder, "ansible.cfg"), "");
    writeFileSync(
      path.join(place.here, "vm3.pub"),
      readFileSync(path.join(this.folder, home, "vm3.pub")),
    );
    const variables = { ...this.#environment(place, home), ...options.env };
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    const words = ["env", "-i", ...settings, "sh", "-c", this.write(line, place, home)];
    return `cd ${place.here} && exec ${words.map(shellQuote).join(" ")}`;
  }

  async run(line: string, place: Place, options: LineOptions = {}): Promise<Finished> {
    const { input, timeoutMs } = options;
    return runProgram(["sh", "-c", this.script(line, place, options)], {
      ...(input === undefined ? {} : { input }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  /** Runs a line, which must succeed, and gives its stdout. */
  async succeed(line: string, place: Place, options?: LineOptions): Promise<Buffer> {
    const ran = await this.run(line, place, options);
    const said = `${this.write(line, place)}: ${ran.stderr}${ran.stdout.toString().slice(0, 2000)}`;
    assert.equal(ran.exit, 0, said + this.sshd.log());
    return ran.stdout;
  }

  /** Runs a line whose remote shell exits with 7, which must be the line's exit status. */
  async exitStatus(line: string, place: Place, options?: LineOptions): Promise<void> {
    const ran = await this.run(line, place, {
      ...options,
      input: Buffer.from("echo out; exit 7\n"),
    });
    assert.equal(ran.exit, 7, ran.stderr + this.sshd.log());
    assert.match(ran.stdout.toString(), /(^|\n)out\n$/);
  }

  assertSent(place: Place): void {
    assertCarried(path.join(place.srv, "disk.img"));
  }

  /** Runs a line that copies disk.img there, and one that copies it back as copy.img. */
  async carry(there: string, back: string, place: Place): Promise<void> {
    await this.succeed(there, place);
    this.assertSent(place);
    await this.succeed(back, place);
    assertCarried(path.join(place.here, "copy.img"));
  }

  /** Runs a line with another key in known_hosts: it reports that, and copies nothing. */
  async refuseStranger(line: string, place: Place, says: RegExp): Promise<void> {
    const ran = await this.run(line, place, { stranger: true });
    assert.notEqual(ran.exit, 0);
    assert.match(ran.stderr + ran.stdout.toString(), says);
    assert.deepEqual(readdirSync(place.srv), []);
  }

  proxyRuns(): string[] {
    const log = path.join(this.folder, "proxy.log");
    return existsSync(log) ? readFileSync(log, "utf8").split("\n").slice(0, -1) : [];
  }
}

/** Replaces `vsock/3`, in each of the forms that the page uses. */
function writeAddress(text: string, address: string): string {
  const [, scheme = "", rest = ""] = /^([\w-]+)\/(.*)$/.exec(address) ?? [];
  const percent = `${scheme}%${rest.replaceAll("%", "%%").replaceAll("/", "%")}`;
  return text
    .replaceAll("vsock%253", percent.replaceAll("%", "%25"))
    .replaceAll("vsock%%3", percent.replaceAll("%", "%%"))
    .replaceAll("vsock%3", percent)
    .replaceAll("vsock/3", address);
}

interface Service {
  readonly port: number;
  connections(): number;
  close(): Promise<void>;
}

async function serveTcp(serve: (connection: net.Socket) => void): Promise<Service> {
  const open = new Set<net.Socket>();
  let connections = 0;
  const server = net.createServer({ allowHalfOpen: true }, (connection) => {
    connections++;
    open.add(connection);
    connection.on("close", () => open.delete(connection));
    connection.on("error", () => undefined);
    serve(connection);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    async close() {
      for (const connection of open) connection.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

export function assertCarried(file: string): void {
  assertSame(readFileSync(file));
}

export function assertSame(bytes: Buffer): void {
  assert.equal(bytes.length, payload.length);
  assert.ok(bytes.equals(payload), "not the payload");
}
