// A temporary sshd, and the real OpenSSH client for it, for the tests and the demo.
//
// Rules
// - No network: each sshd runs as `sshd -i` (sshd(8)) on one accepted unix socket, and ssh reaches it
//   through the proxy.
// - Nothing of the user's is read or written: keys, known_hosts and both configurations are in a
//   temporary folder, which `close()` removes. Only /run/sshd stays, which root's sshd requires.
// - The host key is checked strictly, so that a session with any other sshd fails.
// - It logs in as the user that runs it, root or any other.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import net from "node:net";
import os from "node:os";
import path from "node:path";

import { ensureTools, tool } from "./tools";
import { makeFolder } from "./scratch";

/** The result of a program. */
export interface Finished {
  exit: number | null;
  signal: NodeJS.Signals | null;
  stdout: Buffer;
  stderr: string;
}

export interface RunOptions {
  /** Bytes for its standard input; without them it is empty. */
  input?: Buffer;
  /**
   * After this time its process group is killed and the promise rejects (default: 60,000).
   */
  timeoutMs?: number;
  /** More of its environment. */
  env?: NodeJS.ProcessEnv;
}

/** Where to listen: a path, or a name of the abstract namespace (unix(7)). */
export type Where = string | Buffer | { abstract: string };

export interface Sshd {
  /** The temporary folder, also for sockets and files of the caller. */
  readonly folder: string;
  /** The client's configuration: `ssh -F` this. */
  readonly clientConfig: string;
  /** What `.host` stands for in that configuration: a path in the folder, for `listen`. */
  readonly hostSocket: string;
  /** The server's command line, for other kinds of connections as its stdin and stdout. */
  readonly serverCommand: readonly string[];
  /** Starts an sshd for each connection of a new unix stream socket. */
  listen(where: Where): Promise<void>;
  /** Runs the real ssh or scp; `args` follow `-F CONFIG`. */
  ssh(args: readonly string[], options?: RunOptions): Promise<Finished>;
  scp(args: readonly string[], options?: RunOptions): Promise<Finished>;
  /** The log of the servers, for failed log-ins. */
  log(): string;
  /** Ends what still runs and removes the folder. */
  close(): Promise<void>;
}

const alias = "temporary-sshd";

/** The longest path that fits sun_path with its NUL (unix(7)). */
const longestPath = 107;

/**
 * Makes keys and configurations. `proxy` is the words that start the proxy; ssh adds `%h %p %n`.
 * Lines of `serverLines` win over those that the server has by itself (sshd_config(5)).
 *
 * Where root logs in, its account must not be locked (`!` in /etc/shadow): sshd refuses that one
 * without PAM.
 */
export async function startSshd(
  proxy: readonly string[],
  serverLines: readonly string[] = [],
): Promise<Sshd> {
  ensureTools(["ssh", "scp", "ssh-keygen", "sshd"]);
  const server = tool("sshd");
  const folder = makeFolder("sshd");
  const inside = (name: string): string => path.join(folder, name);
  const servers: net.Server[] = [];
  const children = new Set<ChildProcess>();
  const serverCommand = [server, "-i", "-f", inside("sshd_config"), "-E", inside("sshd.log")];

  async function close(): Promise<void> {
    for (const listener of servers) listener.close();
    await Promise.all([...children].map(end));
    await rm(folder, { recursive: true, force: true });
  }

  try {
    await prepare(folder, proxy, serverLines);
  } catch (error) {
    await close();
    throw error;
  }

  function serve(connection: net.Socket): void {
    // sshd has the socket itself as stdin and stdout, so that nothing is copied, and a shutdown or a
    // close of either side is the real one.
    const child = spawn(server, serverCommand.slice(1), {
      stdio: [connection, connection, "ignore"],
    });
    children.add(child);
    child.once("close", () => children.delete(child));
    child.once("error", () => children.delete(child));
    connection.destroy();
  }

  return {
    folder,
    clientConfig: inside("ssh_config"),
    hostSocket: inside("host.sock"),
    serverCommand,
    async listen(where) {
      const name = bindable(where);
      const listener = net.createServer({ pauseOnConnect: true }, serve);
      listener.listen(name);
      await once(listener, "listening");
      servers.push(listener);
      if (name.startsWith("\0")) checkAbstract(name);
    },
    ssh: (args, run) => runProgram(["ssh", "-F", inside("ssh_config"), ...args], run),
    scp: (args, run) => runProgram(["scp", "-F", inside("ssh_config"), ...args], run),
    log() {
      try {
        return readFileSync(inside("sshd.log"), "utf8");
      } catch {
        return "(sshd logged nothing)";
      }
    },
    close,
  };
}

/**
 * The value of a ProxyCommand line (ssh_config(5)): `words` reach the proxy as they are, through
 * ssh's tokens and the shell that runs the line; `tokens` such as `%h` are ssh's to expand.
 */
export function proxyCommandLine(
  words: readonly string[],
  tokens: readonly string[] = ["'%h'", "%p", "'%n'"],
): string {
  return [...words.map((word) => shellQuote(word).replaceAll("%", "%%")), ...tokens].join(" ");
}

/** Quotes a word for a POSIX shell, if it needs that: printed command lines stay readable. */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

async function prepare(
  folder: string,
  proxy: readonly string[],
  serverLines: readonly string[],
): Promise<void> {
  const inside = (name: string): string => path.join(folder, name);
  for (const key of ["host_key", "user_key"]) {
    const made = await runProgram([
      ...["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", alias],
      ...["-f", inside(key)],
    ]);
    if (made.exit !== 0) throw new Error(`ssh-keygen: ${made.stderr}`);
  }
  await writeFile(inside("authorized_keys"), readFileSync(inside("user_key.pub")));
  await writeFile(
    inside("known_hosts"),
    `${alias} ${readFileSync(inside("host_key.pub"), "utf8")}`,
  );

  // The folder of sshd's privilege separation is compiled in; a service unit makes it elsewhere.
  if (process.getuid?.() === 0 && mkdirSync("/run/sshd", { recursive: true }) !== undefined)
    chmodSync("/run/sshd", 0o755);

  await writeFile(
    inside("sshd_config"),
    `${serverLines.map((line) => `${line}\n`).join("")}HostKey ${inside("host_key")}
AuthorizedKeysFile ${inside("authorized_keys")}
AuthenticationMethods publickey
PermitRootLogin prohibit-password
# /tmp is writable by all users; PAM and a pid file need root.
StrictModes no
UsePAM no
PidFile none
# Without the start files of the user's shell.
SetEnv HOME=${folder}
UseDNS no
DisableForwarding yes
PermitUserRC no
PrintMotd no
PrintLastLog no
LogLevel VERBOSE
Subsystem sftp internal-sftp
`,
  );

  await writeFile(
    inside("ssh_config"),
    `Host .host
    ProxyCommand ${proxyCommandLine([...proxy, "--host-socket", inside("host.sock")])}

${allHosts(folder, proxy, os.userInfo().username, alias)}`,
    { mode: 0o600 },
  );
}

/**
 * The lines of ssh's configuration for all hosts: the proxy, the user's key and known_hosts in
 * `folder`, and nothing of the user who runs the test.
 */
export function allHosts(
  folder: string,
  proxy: readonly string[],
  user: string,
  alias: string,
): string {
  return `Host *
    ProxyCommand ${proxyCommandLine(proxy)}
    ProxyUseFdpass yes
    User ${user}
    IdentityFile ${folder}/user_key
    IdentitiesOnly yes
    IdentityAgent none
    HostKeyAlias ${alias}
    UserKnownHostsFile ${folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    CheckHostIP no
    BatchMode yes
    LogLevel ERROR
`;
}

/** The name for Node's net. Throws if Node would bind another name instead. */
function bindable(where: Where): string {
  const bytes = Buffer.from(
    typeof where === "object" && "abstract" in where ? `\0${where.abstract}` : where,
  );
  const text = bytes.toString("utf8");
  const shown = JSON.stringify(text);
  if (!Buffer.from(text).equals(bytes)) {
    throw new Error(`${shown}: Node cannot bind a path that is not UTF-8`);
  }
  if (bytes.length > longestPath + (bytes[0] === 0 ? 1 : 0)) {
    throw new Error(`${shown}: longer than sun_path, and libuv truncates silently`);
  }
  return text;
}

/**
 * libuv 1.46, Node 20's, pads an abstract name with NULs to the end of sun_path, and these are part of
 * the name, unless it has 107 bytes and fills sun_path.
 */
function checkAbstract(name: string): void {
  const bound = readFileSync("/proc/net/unix", "utf8").split("\n");
  if (!bound.some((line) => line.endsWith(` @${name.slice(1)}`))) {
    throw new Error(
      `${name.slice(1)}: this Node pads abstract names; take one of ${longestPath} bytes`,
    );
  }
}

/** Runs a program to its exit. */
export async function runProgram(
  command: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const { input, timeoutMs = 60_000, env } = options;
  // A new session, in which ssh has no terminal to prompt at, and a process group, so that the timeout
  // ends the proxy with ssh.
  const child = spawn(command[0] as string, command.slice(1), {
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, ...env },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on("data", (bytes: Buffer) => stdout.push(bytes));
  child.stderr?.on("data", (bytes: Buffer) => stderr.push(bytes));
  // A program may exit without reading its input.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(input);

  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort();
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, timeoutMs);
  try {
    const [exit, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    const said = Buffer.concat(stderr).toString("utf8");
    if (late.signal.aborted)
      throw new Error(`${command.join(" ")}: timeout after ${timeoutMs} ms; stderr: ${said}`);
    return { exit, signal, stdout: Buffer.concat(stdout), stderr: said };
  } finally {
    clearTimeout(timer);
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await closed;
  clearTimeout(timer);
}
