// The test multiplexer: every behaviour of a hybrid-vsock multiplexer that the proxy must cope
// with, each behind a socket of its own. It is a process of its own, as the real ones are:
//
//     multiplexer.ts DIR [BACKEND]
//
// listens at DIR/SCENARIO for every scenario below and joins the connections that succeed with the
// unix socket BACKEND. On stdout it says READY when all of them listen, and then, for each
// connection it has read from, one line of JSON:
//
//     {"scenario":"firecracker","reads":["CONNECT 22\n"]}
//
// `reads` is what came before the connection was joined or ended, one string for each read(2). It
// ends with its stdin.
//
// Sources: Firecracker's docs/vsock.md and src/vmm/src/devices/virtio/vsock/unix/muxer.rs, Cloud
// Hypervisor's docs/vsock.md, rust-vmm's vhost-device-vsock, Dragonball (kata-containers).

import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** How one multiplexer takes the command, and what becomes of the connection later. */
interface Dialect {
  /**
   * Matches the command at the start of the first read, its port in group 1. A later read never
   * completes it.
   */
  command: RegExp;
  /** The longest command in bytes, the newline included. */
  longest: number;
  /** A line that is no command. What holds no whole line is dropped by all of them. */
  malformed: "drop" | "silence";
  /** Bytes of the first read that lie behind the command. */
  behind: "forward" | "swallow";
  /** The host's end shuts its sending side down. */
  halfClose: "pass on" | "kill";
}

const firecracker: Dialect = {
  command: /^connect[ \t]+(\d+)[ \t\r]*\n/i,
  longest: 32,
  malformed: "drop",
  behind: "forward",
  halfClose: "kill",
};

const cloudHypervisor: Dialect = {
  command: /^connect (\d+)[ \t\r]*\n/i,
  longest: 32,
  malformed: "drop",
  behind: "forward",
  halfClose: "pass on",
};

const vhostDeviceVsock: Dialect = {
  command: /^connect[ \t]+(\d+)[ \t\r]*\n/i,
  longest: Infinity,
  malformed: "silence",
  behind: "swallow",
  halfClose: "kill",
};

/**
 * What all of them take, and not a byte more: the proxy has no reason to lean on anybody's
 * leniency.
 */
const strict: Dialect = {
  command: /^CONNECT (\d+)\n$/,
  longest: 32,
  malformed: "drop",
  behind: "swallow",
  halfClose: "kill",
};

type Answer =
  /** Success: the line, and then the guest's bytes. */
  | { join: (port: string) => string; pace: "line first" | "with the banner" | "byte by byte" }
  /** Failure: these bytes in one write, and then the connection ends or stays open. */
  | { say: string; then: "end" | "silence" }
  /** Failure before the command has been read whole. */
  | { refuse: "unread" | "at once" };

export interface Scenario {
  /** What it plays, in a sentence. */
  plays: string;
  dialect: Dialect;
  answer: Answer;
}

/** The first number that Firecracker gives out: its host-side ports start at 2^30. */
const hostPort = (): string => "OK 1073741824\n";

const says = (
  text: string,
  then: "end" | "silence" = "silence",
): Pick<Scenario, "dialect" | "answer"> => ({
  dialect: strict,
  answer: { say: text, then },
});

const joins = (line: string): Pick<Scenario, "dialect" | "answer"> => ({
  dialect: strict,
  answer: { join: () => line, pace: "line first" },
});

export const scenarios: Readonly<Record<string, Scenario>> = {
  // The multiplexers themselves.
  firecracker: {
    plays: "Firecracker: an OK line of 14 bytes with the host-side port.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "line first" },
  },
  "cloud-hypervisor": {
    plays: "Cloud Hypervisor: one space in the command, and a half-close that is passed on.",
    dialect: cloudHypervisor,
    answer: { join: hostPort, pace: "line first" },
  },
  "vhost-device-vsock": {
    plays:
      "vhost-device-vsock: the OK line has the guest's port; bytes behind the command are lost.",
    dialect: vhostDeviceVsock,
    answer: { join: (port) => `OK ${port}\n`, pace: "line first" },
  },
  dragonball: {
    plays: "Dragonball, kata's: as Firecracker.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "line first" },
  },

  // How the same success may arrive.
  "ok-and-banner": {
    plays: "The OK line and the guest's first bytes leave in one write: they may come in one read.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "with the banner" },
  },
  "short-ok-and-banner": {
    plays:
      "The same with a short OK line: most of the bytes that may be looked at are the guest's.",
    dialect: vhostDeviceVsock,
    answer: { join: (port) => `OK ${port}\n`, pace: "with the banner" },
  },
  bytewise: {
    plays: "The OK line comes one byte at a time, with pauses.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "byte by byte" },
  },
  "one-read": {
    plays: "The command must be exactly `CONNECT PORT` and a newline, whole in the first read.",
    dialect: strict,
    answer: { join: hostPort, pace: "line first" },
  },
  max: { plays: "The largest number: 2^32-1.", ...joins("OK 4294967295\n") },
  short: { plays: "The shortest OK line.", ...joins("OK 0\n") },
  "line-before-banner": {
    plays: "The guest says a line before its identification, as RFC 4253 section 4.2 allows.",
    ...joins("OK 5\nhello from the guest\r\n"),
  },

  // No answer, or half of one.
  silence: { plays: "The guest is not up: nothing is ever said.", ...says("") },
  eof: { plays: "Nobody listens on that port: the end, without a word.", ...says("", "end") },
  reset: {
    plays: "The connection is closed with the command unread: ECONNRESET.",
    dialect: strict,
    answer: { refuse: "unread" },
  },
  full: {
    plays: "1023 connections exist already: the next one is accepted and closed at once.",
    dialect: strict,
    answer: { refuse: "at once" },
  },
  "half-line-then-eof": { plays: "The line breaks off.", ...says("OK 10", "end") },
  "half-line-then-silence": { plays: "The line is never finished.", ...says("OK 10") },

  // Answers that are none. The connection stays open, so that only the bytes can give them away.
  overlong: { plays: "More digits than any u32 has.", ...says("OK 10737418240000000\n") },
  "ok-without-number": { plays: "No number.", ...says("OK \n") },
  "over-u32": { plays: "2^32: one more than a u32 holds.", ...says("OK 4294967296\n") },
  negative: { plays: "A sign.", ...says("OK -1\n") },
  "trailing-text": { plays: "Text behind the number.", ...says("OK 5 x\n") },
  crlf: {
    plays: "A carriage return before the newline: no multiplexer sends one.",
    ...says("OK 5\r\n"),
  },
  "lower-case": { plays: "ok in small letters.", ...says("ok 5\n") },
  nul: { plays: "Nothing but NUL bytes.", ...says("\0\0\0\0\0\0\0\0\n") },
  "nul-behind-number": { plays: "A NUL where the newline belongs.", ...says("OK 5\0\n") },
  flood: { plays: "Four megabytes without a newline.", ...says("OK".repeat(2 << 20)) },
  "error-text": {
    plays: "Words, with an escape sequence that must not reach the user's terminal.",
    ...says("ERR \x1b[2Jno such port\r\n", "end"),
  },
};

async function play(
  client: net.Socket,
  name: string,
  { dialect, answer }: Scenario,
  backend: string | undefined,
): Promise<void> {
  // Whatever a client breaks off is part of the play.
  client.on("error", () => client.destroy());
  if ("refuse" in answer) {
    // A close with bytes unread is what makes the kernel answer ECONNRESET (unix_release_sock in
    // net/unix/af_unix.c). Node reads all there is or nothing; dd takes one byte and leaves.
    if (answer.refuse === "unread") {
      spawn("dd", ["bs=1", "count=1"], { stdio: [client, "ignore", "ignore"] });
    }
    client.destroy();
    return;
  }

  const reads: Buffer[] = [];
  const report = (): void => {
    const line = { scenario: name, reads: reads.map((bytes) => bytes.toString("latin1")) };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  };
  const collect = (bytes: Buffer): number => reads.push(bytes);
  const leave = (): net.Socket => client.destroy();
  client.on("data", collect);
  client.once("end", leave);
  client.once("close", report);
  client.resume();
  await Promise.race([once(client, "data"), once(client, "close")]);

  const first = reads[0]?.toString("latin1") ?? "";
  const command = dialect.command.exec(first);
  const port = command?.[1] ?? "";
  const length = command?.[0].length ?? 0;
  if (command === null || length > dialect.longest || Number(port) > 0xffffffff) {
    if (!first.includes("\n") || dialect.malformed === "drop") client.destroy();
    return;
  }

  if ("say" in answer) {
    if (answer.say !== "") client.write(answer.say, "latin1");
    if (answer.then === "end") client.destroySoon();
    return;
  }

  const guest = net.connect({ path: backend ?? "", allowHalfOpen: true });
  guest.on("error", () => client.destroy());
  client.once("close", () => guest.destroy());
  await once(guest, "connect");
  const line = Buffer.from(answer.join(port));
  if (answer.pace === "line first") {
    client.write(line);
  } else if (answer.pace === "with the banner") {
    const banner = await firstRead(guest);
    client.write(Buffer.concat([line, banner]));
  } else {
    for (const byte of line) {
      client.write(Buffer.of(byte));
      await sleep(15);
    }
  }

  client.off("data", collect);
  client.off("end", leave);
  client.off("close", report);
  client.pause();
  report();
  const behind = Buffer.concat(reads).subarray(length);
  if (behind.length > 0 && dialect.behind === "forward") guest.write(behind);
  guest.pipe(client);
  client.pipe(guest);
  // Killed at once, where Firecracker may take 2 s: no reply slips through by luck.
  if (dialect.halfClose === "kill") client.once("end", leave);
}

function firstRead(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.once("data", (bytes) => {
      socket.pause();
      resolve(bytes);
    });
    socket.once("close", () => {
      reject(new Error("the guest left without a word"));
    });
  });
}

async function main(folder: string, backend: string | undefined): Promise<void> {
  const servers: net.Server[] = [];
  for (const [name, scenario] of Object.entries(scenarios)) {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
      play(client, name, scenario, backend).catch(() => client.destroy());
    });
    server.listen(path.join(folder, name));
    await once(server, "listening");
    servers.push(server);
  }
  process.stdout.write("READY\n");
  process.stdin.resume();
  await once(process.stdin, "end");
  // Closing is what removes their paths.
  for (const server of servers) server.close();
  process.exit();
}

if (require.main === module) {
  const [folder, backend] = process.argv.slice(2);
  if (folder === undefined) throw new Error("usage: multiplexer.ts DIR [BACKEND]");
  void main(folder, backend);
}
