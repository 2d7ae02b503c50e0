// What a failure means, written down once more and independently of assembly/: from docs/abi.md,
// docs/options.md and docs/addresses.md. The tests compare the program with this.

import { CODES_PER_EXIT, Code } from "../../assembly/codes";
import type { Case, Lookup, SchemeName, Target } from "./case";
import { errnoName } from "./errno";
import { socketsOf } from "./services";

/** Why something failed: the code, and the errno and the import that it came from, if any. */
export interface Reason {
  code: Code;
  errno?: number;
  call?: string;
  /** Of a name: what it had led to, where the line has to say that; null where it must not. */
  at?: string | null;
  /** What the message adds. */
  detail?: string;
}

/** Codes by errnos' names. */
type Table = Readonly<Record<string, Code>>;

const anyCall: Table = {
  MFILE: Code.DescriptorLimit,
  NFILE: Code.DescriptorLimit,
  NOMEM: Code.MemoryLimit,
  NOBUFS: Code.MemoryLimit,
};
const path: Table = {
  NOENT: Code.NoSocket,
  NOTDIR: Code.NotDirectory,
  LOOP: Code.SymlinkLoop,
  NOTSOCK: Code.NotSocket,
  ISDIR: Code.IsDirectory,
  NAMETOOLONG: Code.PathTooLong,
  NOTSUP: Code.NoProc,
  PROTOTYPE: Code.WrongSocketType,
  CONNREFUSED: Code.Refused,
  TIMEDOUT: Code.QueueFull,
  ACCES: Code.PermissionDenied,
  PERM: Code.PermissionDenied,
};

/** sock_open and sock_connect. */
export const connectCodes: Readonly<Record<SchemeName, Table>> = {
  unix: path,
  "vsock-mux": path,
  ".host": path,
  "unix-abstract": {
    CONNREFUSED: Code.NoSuchName,
    PROTOTYPE: Code.WrongSocketType,
    TIMEDOUT: Code.QueueFull,
    ACCES: Code.Forbidden,
    PERM: Code.Forbidden,
  },
  vsock: {
    CONNRESET: Code.NotListening,
    CONNREFUSED: Code.NotListening,
    NODEV: Code.NoMachine,
    HOSTUNREACH: Code.NoMachine,
    NETUNREACH: Code.NoMachine,
    AFNOSUPPORT: Code.NoVsock,
    TIMEDOUT: Code.NoAnswer,
    ACCES: Code.Forbidden,
    PERM: Code.Forbidden,
  },
};
/** sock_open and sock_connect at a service's socket. */
export const serviceCodes: Table = {
  ...path,
  NOENT: Code.NoService,
  NOTDIR: Code.NoService,
  CONNREFUSED: Code.ServiceRefused,
  TIMEDOUT: Code.LookupTimeout,
  ACCES: Code.LookupDenied,
  PERM: Code.LookupDenied,
};
/** sock_send and sock_recv at a service. */
export const lookupCodes: Table = {
  CONNRESET: Code.EndWithinReply,
  PIPE: Code.EndWithinReply,
  TIMEDOUT: Code.LookupTimeout,
};
/**
 * After these another service is asked. The last of those that occurred is the result where none knows
 * the name, and the message says of each service which it was.
 */
export const outcomes: ReadonlyMap<Code, string> = new Map([
  [Code.NoService, "missing"],
  [Code.ServiceRefused, "not listening"],
  [Code.LookupDenied, "permission denied"],
  [Code.NoSuchMachine, "not known there"],
  [Code.NoSuchDomain, "not known there"],
]);
/** The socket that is asked next in an attempt, after what these came to; undefined for none. */
export function nextSocket(
  lookup: Lookup,
  asked: ReadonlyMap<string, Code | undefined>,
): string | undefined {
  for (const [first = "", second = ""] of socketsOf(lookup)) {
    if (first !== "" && !asked.has(first)) return first;
    if (second !== "" && !asked.has(second) && asked.get(first) === Code.NoService) return second;
  }
  return undefined;
}

/** The result where these were asked, and none knows the name. */
export function notFound(asked: ReadonlyMap<string, Code | undefined>): Reason {
  const code = [...outcomes.keys()].findLast((one) => [...asked.values()].includes(one));
  const list = Array.from(asked, ([path, one = Code.Done]) => `${path} (${outcomes.get(one)})`);
  return {
    code: code ?? Code.NoRuntimeDirectory,
    at: null,
    detail: list.length === 0 ? "" : `; asked ${list.join(", ")}`,
  };
}

/** sock_send and sock_recv of the handshake. */
export const handshakeCodes: Table = {
  CONNRESET: Code.ResetInHandshake,
  PIPE: Code.ResetInHandshake,
  TIMEDOUT: Code.ReplyTimeout,
};
/** sock_send_fds. */
export const fdPassingCodes: Table = {
  CONNRESET: Code.ClientGone,
  PIPE: Code.ClientGone,
  NOTCONN: Code.ClientGone,
  TIMEDOUT: Code.FdPassTimeout,
};
/** sock_relay, of the socket and of descriptor 1. */
const peerCodes: Table = {
  CONNRESET: Code.PeerClosed,
  PIPE: Code.PeerClosed,
  NOTCONN: Code.PeerClosed,
};
const stdinCodes: Table = { BADF: Code.StdinNotReadable, ISDIR: Code.StdinIsDirectory };
const stdoutCodes: Table = {
  CONNRESET: Code.StdoutClosed,
  PIPE: Code.StdoutClosed,
  BADF: Code.StdoutNotWritable,
  NOSPC: Code.StdoutFull,
  DQUOT: Code.StdoutFull,
  FBIG: Code.StdoutTooLarge,
};
const logCodes: Table = {
  NOTCAPABLE: Code.LogIsStdio,
  NOENT: Code.LogNoDirectory,
  NOTDIR: Code.LogNotDirectory,
  ISDIR: Code.LogIsDirectory,
  LOOP: Code.LogSymlinkLoop,
  NAMETOOLONG: Code.LogNameTooLong,
  ACCES: Code.LogForbidden,
  PERM: Code.LogForbidden,
  ROFS: Code.LogReadOnly,
  NXIO: Code.LogNoReader,
  NODEV: Code.LogNoReader,
  NOSPC: Code.LogDiskFull,
  DQUOT: Code.LogDiskFull,
};

/**
 * What lines name: the address as it is written, its port, and the path or abstract name that is tried,
 * unless the address ends in it.
 */
export function subjectOf(written: Buffer, { address, port }: Target, show = escapeBytes): string {
  const named = address.subarray(address[2] === 0 ? 3 : 2);
  const isShown = address[0] !== 3 || written.subarray(-named.length).equals(named);
  const subject = `${show(written)}${port === undefined ? "" : ` port ${port}`}`;
  return isShown ? subject : `${subject} at ${show(named)}`;
}

/**
 * All that a line may name: the subject, and of a name what it has led to so far, the socket of a
 * service or the target.
 */
export function subjectsOf({ subject, lookup, target }: Case): Set<string> {
  const led = lookup ? socketsOf(lookup).flat() : [];
  if (lookup && target) led.push(...targetTexts(target));
  return new Set([subject, ...led.map((text) => `${subject} at ${escapeBytes(latin1(text))}`)]);
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** A target that a name has led to, as lines name it: at its first place, and at its older one. */
export function targetTexts({ scheme, address, port, older }: Target): string[] {
  if (scheme === "vsock") return [`vsock/${address.readUInt32LE(8)} port ${port}`];
  const path = address.toString("latin1", 2);
  if (scheme === "vsock-mux") return [`vsock-mux${path} port ${port}`];
  return older === undefined ? [path] : [path, older.toString("latin1", 2)];
}

/**
 * What a failure adds of capitals, which ssh may have converted: the address has none, and no `%`, and
 * its path, with a letter, was not found. NAME, if it was taken, has them all.
 */
export function capitalsHint(code: Code, { subject, args, lookup }: Case): string {
  if (lookup !== undefined) {
    const isUnknown = code === Code.NoSuchMachine || code === Code.NoSuchDomain;
    const isTaken = args.filter((word) => String(word).toLowerCase() === subject).length > 1;
    if (!isUnknown || isTaken || !/^(machine|qemu)\/[^%A-Z]*[a-z][^%A-Z]*$/.test(subject))
      return "";
    return `; if it has capitals, ssh keeps them in the form ${lookup.scheme}%VM`;
  }
  const [, address = "", scheme, path = ""] =
    /^((unix|unix-abstract|vsock-mux)\/(.*?))(?: port \d+)?$/.exec(subject) ?? [];
  if (scheme === undefined || ![Code.NoSocket, Code.NotDirectory, Code.NoSuchName].includes(code)) {
    return "";
  }
  const lower = args.map((word) => String(word).toLowerCase());
  const isTaken = lower.filter((word) => word === address).length > 1;
  const shown = path.replaceAll(/\\x../g, "");
  if (isTaken || /[%A-Z]/.test(address) || !/[a-z]/.test(shown)) return "";
  const form = scheme === "unix-abstract" ? "%VM" : "%/run/VM.sock";
  return `; if it has capitals, ssh keeps them in the form ${scheme}${form}`;
}

/** What --wait tries again: docs/options.md, "Waiting for a machine". */
export const retryable: readonly Code[] = [
  ...[Code.NoSocket, Code.Refused, Code.QueueFull, Code.NoSuchName],
  ...[Code.NotListening, Code.NoMachine, Code.NoAnswer],
  ...[Code.EndOfFile, Code.EndOfFileAfterWait, Code.EndWithinLine, Code.ResetInHandshake],
  ...[Code.ReplyTimeout, Code.ReplyTimeoutWithinLine],
  ...[Code.NoSuchMachine, Code.NoSuchDomain, Code.NoService, Code.ServiceRefused],
  ...[Code.DomainOff, Code.NoCidYet, Code.NoContainerSocket],
  ...[Code.LookupTimeout, Code.EndWithinReply],
];

/** The exit statuses of docs/addresses.md, but 70, a defect of the program. */
export const exitStatuses: readonly number[] = [0, 64, 68, 69, 71, 75, 76, 77];

export function exitOf(code: Code): number {
  return Math.floor(code / CODES_PER_EXIT);
}

/** Why an import failed with an errno. */
export function reasonOf(
  error: number,
  call: string,
  table: Table = {},
  otherwise: Code = Code.SystemError,
): Reason {
  const name = errnoName(error);
  return { code: table[name] ?? anyCall[name] ?? otherwise, errno: error, call };
}

/** Why log_open failed. */
export function logReason(error: number): Reason {
  return reasonOf(error, "log_open", logCodes, Code.NoLogFile);
}

/** Why a relay failed, by the descriptor that sock_relay names. */
export function relayReason(error: number, fd: number): Reason {
  if (fd > 1) return reasonOf(error, "sock_relay", peerCodes);
  return fd === 0
    ? reasonOf(error, "sock_relay", stdinCodes, Code.StdinFailed)
    : reasonOf(error, "sock_relay", stdoutCodes, Code.StdoutFailed);
}

/** The OK line of a reply, with its newline; as much of it as there is. */
export function replyLine(reply: string): string {
  return /^[^\n]*\n?/.exec(reply)?.[0] ?? "";
}

export function isOkLine(line: string): boolean {
  const [, number] = /^OK (\d{1,10})\n$/.exec(line) ?? [];
  return number !== undefined && Number(number) <= 0xffff_ffff;
}

/** The result of a handshake with a multiplexer that sends this and then ends or is silent. */
export function handshakeCode(reply: string, end: "eof" | "silence"): Code {
  const line = replyLine(reply);
  const [, digits] = /^OK (\d{10})/.exec(line) ?? [];
  if (Number(digits) > 0xffff_ffff) return Code.NumberOutOfRange;
  if (isOkLine(line)) return Code.Done;
  // What could still become an OK line.
  if (!/^(O?|OK|OK \d{0,10})$/.test(line)) return Code.BadLine;
  if (end === "eof") return line === "" ? Code.EndOfFile : Code.EndWithinLine;
  return line === "" ? Code.ReplyTimeout : Code.ReplyTimeoutWithinLine;
}

/**
 * Bytes as a line on stderr shows them: `\xHH` for each byte that is not printable UTF-8. Here they
 * are UTF-8 all together, or none of those above 0x7f is.
 */
export function escapeBytes(bytes: Buffer): string {
  const isUtf8 = Buffer.from(bytes.toString()).equals(bytes);
  const encoding = isUtf8 ? "utf8" : "latin1";
  const escaped = isUtf8 ? /[\p{Cc}\p{Cf}\\]/gu : /[^\x20-\x5b\x5d-\x7e]/g;
  return bytes.toString(encoding).replaceAll(escaped, (letter) => {
    if (letter === "\\") return "\\\\";
    return Buffer.from(letter, encoding).toString("hex").replaceAll(/../g, "\\x$&");
  });
}

export function check(holds: boolean, complaint: string): asserts holds {
  if (!holds) throw new Error(complaint);
}
