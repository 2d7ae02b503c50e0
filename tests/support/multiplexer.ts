// The test multiplexer: each behaviour of a hybrid-vsock multiplexer that the proxy must handle has its
// own socket. It is a process, as the real ones are:
//
//     multiplexer.ts DIR [BACKEND]
//
// listens at DIR/SCENARIO for each scenario below and joins successful connections with the unix
// socket BACKEND. On stdout it writes READY when all of them listen, and then one line of JSON for each
// connection that it has read from:
//
//     {"scenario":"firecracker","reads":["CONNECT 22\n"]}
//
// `reads` has one string for each read(2) until the connection was joined or ended. It exits at the
// end of its stdin.
//
// Sources: Firecracker's docs/vsock.md and src/vmm/src/devices/virtio/vsock/unix/muxer.rs, Cloud
// Hypervisor's docs/vsock.md, rust-vmm's vhost-device-vsock, Dragonball (kata-containers).

import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** How one multiplexer parses the command, and how it treats the connection later. */
interface Dialect {
  /**
   * Matches the command at the start of the first read, with the port in group 1. Later reads do not
   * complete it.
   */
  command: RegExp;
  /** The longest command in bytes, the newline included. */
  longest: number;
  /** A line that is not a command. All of them drop a read without a whole line. */
  malformed: "drop" | "silence";
  /** Bytes of the first read behind the command. */
  behind: "forward" | "swallow";
  /**
   * The host's end shuts its sending side down. Firecracker, and Cloud Hypervisor before 53, drop from
   * then on what the guest sends, and close at once if it has nothing unread.
   */
  halfClose: "pass on" | "deaf";
  /** The guest shuts its sending side down: with the same ones it never reaches the host. */
  guestHalfClose: "pass on" | "lost";
}

const firecracker: Dialect = {
  command: /^connect[ \t]+(\d+)[ \t\r]*\n/i,
  longest: 32,
  malformed: "drop",
  behind: "forward",
  halfClose: "deaf",
  guestHalfClose: "lost",
};

/** From version 53 on. */
const cloudHypervisor: Dialect = {
  command: /^connect (\d+)[ \t\r]*\n/i,
  longest: 32,
  malformed: "drop",
  behind: "forward",
  halfClose: "pass on",
  guestHalfClose: "pass on",
};

const vhostDeviceVsock: Dialect = {
  command: /^connect[ \t]+(\d+)[ \t\r]*\n/i,
  longest: Infinity,
  malformed: "silence",
  behind: "swallow",
  halfClose: "deaf",
  guestHalfClose: "pass on",
};

/** What all of them accept, and nothing else: the proxy must not depend on leniency. */
const strict: Dialect = {
  command: /^CONNECT (\d+)\n$/,
  longest: 32,
  malformed: "drop",
  behind: "swallow",
  halfClose: "deaf",
  guestHalfClose: "pass on",
};

type Answer =
  /** Success: the line, and then the guest's bytes. */
  | { join: (port: string) => string; pace: "line first" | "with the banner" | "byte by byte" }
  /** Failure: these bytes in one write, and then the connection ends or stays open. */
  | { say: string; then: "end" | "silence" }
  /** Failure: the connection is closed after one byte of the command. */
  | "leave it unread";

export interface Scenario {
  /** A description in one sentence. */
  plays: string;
  dialect: Dialect;
  answer: Answer;
  /** How many connections there may be: the next is accepted, and closed with its command unread. */
  slots?: number;
}

/**
 * How old a connection without an answer has to be to be closed. Firecracker and Cloud Hypervisor look
 * at it only when another connection is added (VsockMuxer's add_connection, RequestTimeout in
 * csm/connection.rs).
 */
const SILENT_MAX_MS = 2000;

/** The number of the first connection in Firecracker: its host-side ports start at 2^30. */
const hostPort = (): string => "OK 1073741824\n";

const says = (
  text: string,
  then: "end" | "silence" = "silence",
): Pick<Scenario, "dialect" | "answer"> => ({
  dialect: strict,
  answer: { say: text, then },
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

  // Success in other pieces and with other numbers.
  "ok-and-banner": {
    plays: "The OK line and the guest's first bytes are one write, and may be one read.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "with the banner" },
  },
  "short-ok-and-banner": {
    plays: "The same with a short OK line: most of the bytes of the longest line are the guest's.",
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
  "line-before-banner": {
    plays: "The guest sends a line before its identification (RFC 4253, 4.2).",
    dialect: strict,
    answer: { join: () => "OK 5\nhello from the guest\r\n", pace: "line first" },
  },

  // No answer.
  silence: {
    plays: "The guest is not up: no answer, until after 2 s another connection comes.",
    ...says(""),
  },
  eof: {
    plays: "Nothing listens on that port: end of file without an answer.",
    ...says("", "end"),
  },
  reset: {
    plays: "The connection is closed with the command unread: ECONNRESET.",
    dialect: strict,
    answer: "leave it unread",
  },
  "one-slot": {
    plays: "One connection at once, where Firecracker and Cloud Hypervisor have 1023.",
    dialect: firecracker,
    answer: { join: hostPort, pace: "line first" },
    slots: 1,
  },

  // Wrong answers; tests/transcripts/handshake has the others. The connection stays open, so that only
  // the bytes can be the reason to fail.
  crlf: {
    plays: "A carriage return before the newline: no multiplexer sends one.",
    ...says("OK 5\r\n"),
  },
  flood: { plays: "Four megabytes without a newline.", ...says("OK".repeat(2 << 20)) },
  "error-text": {
    plays: "A text, with an escape sequence that must not reach the terminal.",
    ...says("ERR \x1b[2Jno such port\r\n", "end"),
  },
};

async function play(
  client: net.Socket,
  name: string,
  { dialect, answer }: Scenario,
  backend: string | undefined,
  silent: Map<net.Socket, number>,
): Promise<void> {
  // The client may close at any time.
  client.on("error", () => client.destroy());
  if (answer === "leave it unread") {
    // A close with bytes unread is what makes the kernel answer ECONNRESET (unix_release_sock in
    // net/unix/af_unix.c). Node reads all or nothing; dd reads one byte and exits.
    spawn("dd", ["bs=1", "count=1"], { stdio: [client, "ignore", "ignore"] });
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
    else if (answer.then === "silence") silent.set(client, performance.now());
    if (answer.then === "end") client.destroySoon();
    return;
  }

  const guest = net.connect({ path: backend ?? "", allowHalfOpen: true });
  guest.on("error", () => {
    client.destroySoon();
  });
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
  guest.pipe(client, { end: dialect.guestHalfClose === "pass on" });
  client.pipe(guest);
  if (dialect.halfClose === "deaf") client.once("end", leave);
  // Until the guest closes both sides, a write of nothing succeeds (unix_stream_sendmsg in
  // net/unix/af_unix.c). Its error closes the client, too.
  const look = (): void => {
    if (guest.destroyed) return;
    guest.write("");
    setTimeout(look, 5);
  };
  guest.once("end", look);
}

function firstRead(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.once("data", (bytes) => {
      socket.pause();
      resolve(bytes);
    });
    socket.once("close", () => {
      reject(new Error("the guest closed without a byte"));
    });
  });
}

async function main(folder: string, backend: string | undefined): Promise<void> {
  const servers: net.Server[] = [];
  for (const [name, scenario] of Object.entries(scenarios)) {
    const open = new Set<net.Socket>();
    const silent = new Map<net.Socket, number>();
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
      if (open.size >= (scenario.slots ?? Infinity)) {
        client.destroy();
        return;
      }
      for (const [other, since] of silent) {
        if (performance.now() - since >= SILENT_MAX_MS) other.destroy();
      }
      open.add(client);
      client.once("close", () => {
        open.delete(client);
        silent.delete(client);
      });
      play(client, name, scenario, backend, silent).catch(() => client.destroy());
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
