// What a step of the command returns, and the code that an errno means, which depends on the call. An
// errno that is in no table is a SystemError, which is printed with its number.

import { errno, fd } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { Code, Scheme } from "../codes";
import { Text } from "./memory";

/** The result of a step: Done, or a failure and all that its message says. */
@unmanaged
export class Result {
  code: Code;
  /** The errno that the code is made of, SUCCESS for none, and the call that returned it. */
  errno: u32;
  call: string;
  /** The option or argument that is wrong; NO_TEXT if the failure is about the address. */
  subject: Text;
  /** The option's value, if that is the next argument; otherwise NO_TEXT. */
  value: Text;
}

export const NO_TEXT = changetype<Text>(memory.data(offsetof<Text>(), 4));

/** Its code is Done. */
export const DONE = changetype<Result>(memory.data(offsetof<Result>(), 4));

/** One record is enough: a failure ends the process, or is over when the next attempt begins. */
const failure = changetype<Result>(memory.data(offsetof<Result>(), 4));

/** A failure that comes from no call. */
export function failed(code: Code, subject: Text = NO_TEXT, value: Text = NO_TEXT): Result {
  failure.code = code;
  failure.errno = errno.SUCCESS;
  failure.call = "";
  failure.subject = subject;
  failure.value = value;
  return failure;
}

// Tables of pairs of u16, errno and code. SUCCESS ends each.

// prettier-ignore
const ANY_CALL = memory.data<u16>([
  errno.MFILE, <u16>Code.DescriptorLimit,
  errno.NFILE, <u16>Code.DescriptorLimit,
  errno.NOMEM, <u16>Code.MemoryLimit,
  errno.NOBUFS, <u16>Code.MemoryLimit,
  errno.SUCCESS,
]);
const END_OF_ANY_CALL = ANY_CALL + 16;

// prettier-ignore
const UNIX_CONNECT = memory.data<u16>([
  errno.NOENT, <u16>Code.NoSocket,
  errno.NOTDIR, <u16>Code.NotDirectory,
  errno.LOOP, <u16>Code.SymlinkLoop,
  errno.NOTSOCK, <u16>Code.NotSocket,
  errno.ISDIR, <u16>Code.IsDirectory,
  errno.NAMETOOLONG, <u16>Code.PathTooLong,
  errno.NOTSUP, <u16>Code.NoProc,
  errno.PROTOTYPE, <u16>Code.WrongSocketType,
  errno.CONNREFUSED, <u16>Code.Refused,
  errno.TIMEDOUT, <u16>Code.QueueFull,
  errno.ACCES, <u16>Code.PermissionDenied,
  errno.PERM, <u16>Code.PermissionDenied,
  errno.SUCCESS,
]);

// An abstract socket is not a file: some errnos mean something else.
// prettier-ignore
const ABSTRACT_CONNECT = memory.data<u16>([
  errno.CONNREFUSED, <u16>Code.NoSuchName,
  errno.PROTOTYPE, <u16>Code.WrongSocketType,
  errno.TIMEDOUT, <u16>Code.QueueFull,
  errno.ACCES, <u16>Code.Forbidden,
  errno.PERM, <u16>Code.Forbidden,
  errno.SUCCESS,
]);

// prettier-ignore
const VSOCK_CONNECT = memory.data<u16>([
  errno.CONNRESET, <u16>Code.NotListening,
  errno.CONNREFUSED, <u16>Code.NotListening,
  errno.NODEV, <u16>Code.NoMachine,
  errno.HOSTUNREACH, <u16>Code.NoMachine,
  errno.NETUNREACH, <u16>Code.NoMachine,
  errno.AFNOSUPPORT, <u16>Code.NoVsock,
  errno.TIMEDOUT, <u16>Code.NoAnswer,
  errno.ACCES, <u16>Code.Forbidden,
  errno.PERM, <u16>Code.Forbidden,
  errno.SUCCESS,
]);

// prettier-ignore
const HANDSHAKE = memory.data<u16>([
  errno.CONNRESET, <u16>Code.ResetInHandshake,
  errno.PIPE, <u16>Code.ResetInHandshake,
  errno.TIMEDOUT, <u16>Code.ReplyTimeout,
  errno.SUCCESS,
]);

// prettier-ignore
const LOOKUP = memory.data<u16>([
  errno.CONNRESET, <u16>Code.EndWithinReply,
  errno.PIPE, <u16>Code.EndWithinReply,
  errno.TIMEDOUT, <u16>Code.LookupTimeout,
  errno.SUCCESS,
]);

// prettier-ignore
const FD_PASSING = memory.data<u16>([
  errno.CONNRESET, <u16>Code.ClientGone,
  errno.PIPE, <u16>Code.ClientGone,
  errno.NOTCONN, <u16>Code.ClientGone,
  errno.TIMEDOUT, <u16>Code.FdPassTimeout,
  errno.SUCCESS,
]);

// prettier-ignore
const RELAY = memory.data<u16>([
  errno.CONNRESET, <u16>Code.PeerClosed,
  errno.PIPE, <u16>Code.PeerClosed,
  errno.NOTCONN, <u16>Code.PeerClosed,
  errno.SUCCESS,
]);

// prettier-ignore
const STDIN = memory.data<u16>([
  errno.BADF, <u16>Code.StdinNotReadable,
  errno.ISDIR, <u16>Code.StdinIsDirectory,
  errno.SUCCESS,
]);

// prettier-ignore
const STDOUT = memory.data<u16>([
  errno.CONNRESET, <u16>Code.StdoutClosed,
  errno.PIPE, <u16>Code.StdoutClosed,
  errno.BADF, <u16>Code.StdoutNotWritable,
  errno.NOSPC, <u16>Code.StdoutFull,
  errno.DQUOT, <u16>Code.StdoutFull,
  errno.FBIG, <u16>Code.StdoutTooLarge,
  errno.SUCCESS,
]);

// prettier-ignore
const LOG = memory.data<u16>([
  errno.NOTCAPABLE, <u16>Code.LogIsStdio,
  errno.NOENT, <u16>Code.LogNoDirectory,
  errno.NOTDIR, <u16>Code.LogNotDirectory,
  errno.ISDIR, <u16>Code.LogIsDirectory,
  errno.LOOP, <u16>Code.LogSymlinkLoop,
  errno.NAMETOOLONG, <u16>Code.LogNameTooLong,
  errno.ACCES, <u16>Code.LogForbidden,
  errno.PERM, <u16>Code.LogForbidden,
  errno.ROFS, <u16>Code.LogReadOnly,
  errno.NXIO, <u16>Code.LogNoReader,
  errno.NODEV, <u16>Code.LogNoReader,
  errno.NOSPC, <u16>Code.LogDiskFull,
  errno.DQUOT, <u16>Code.LogDiskFull,
  errno.SUCCESS,
]);

/** A failure of poll_oneoff. */
export function waitFailure(error: u32): Result {
  return callFailed(ANY_CALL, error, "poll_oneoff", Code.SystemError);
}

/** A failure of sock_open or sock_connect. */
export function connectFailure(error: u32, scheme: Scheme, call: string): Result {
  const table =
    scheme == Scheme.Vsock
      ? VSOCK_CONNECT
      : scheme == Scheme.UnixAbstract
        ? ABSTRACT_CONNECT
        : UNIX_CONNECT;
  return callFailed(table, error, call, Code.SystemError);
}

/** A failure of sock_send or sock_recv during the handshake. */
export function handshakeFailure(error: u32, call: string): Result {
  return callFailed(HANDSHAKE, error, call, Code.SystemError);
}

/** A failure of sock_send or sock_recv at a service that is asked for an address. */
export function lookupFailure(error: u32, call: string): Result {
  return callFailed(LOOKUP, error, call, Code.SystemError);
}

/** Whether nothing is at a socket's path. */
export function isMissing(code: Code): bool {
  return code == Code.NoSocket || code == Code.NotDirectory;
}

/** Turns a failure to connect to a service's socket into one of the service. */
export function serviceFailure(failure: Result): Result {
  if (isMissing(failure.code)) failure.code = Code.NoService;
  else if (failure.code == Code.Refused) failure.code = Code.ServiceRefused;
  else if (failure.code == Code.PermissionDenied) failure.code = Code.LookupDenied;
  else if (failure.code == Code.QueueFull) failure.code = Code.LookupTimeout;
  return failure;
}

/** A failure of sock_send_fds. */
export function fdPassingFailure(error: u32): Result {
  return callFailed(FD_PASSING, error, "sock_send_fds", Code.SystemError);
}

/** A failure of log_open. */
export function logFailure(error: u32, path: Text): Result {
  const failure = callFailed(LOG, error, "log_open", Code.NoLogFile);
  failure.subject = path;
  return failure;
}

/** A failure of sock_relay, at the socket, descriptor 0 or descriptor 1. */
export function relayFailure(error: u32, descriptor: fd): Result {
  const isSocket = descriptor > 1;
  const table = isSocket ? RELAY : descriptor == 0 ? STDIN : STDOUT;
  const otherwise: Code = isSocket ? Code.SystemError : Code.StdinFailed + descriptor;
  return callFailed(table, error, "sock_relay", otherwise);
}

/** Whether `--wait` retries after a failure: transient while a machine boots. */
export function isRetryable(code: Code): bool {
  return (
    code == Code.NoSocket ||
    (code >= Code.NoMachine && code <= Code.NoSuchDomain) ||
    (code >= Code.Refused && code <= Code.NoSuchName) ||
    code == Code.EndOfFileAfterWait ||
    (code >= Code.DomainOff && code <= Code.ServiceRefused) ||
    (code >= Code.QueueFull && code <= Code.ReplyTimeoutWithinLine) ||
    code == Code.LookupTimeout ||
    code == Code.EndWithinLine ||
    code == Code.EndWithinReply
  );
}

/** Whether the message of a code needs the errno and the call to be understood. */
export function needsErrno(code: Code): bool {
  return code == Code.SystemError || (code >= Code.StdinFailed && code <= Code.NoLogFile);
}

function callFailed(table: usize, error: u32, call: string, otherwise: Code): Result {
  const failure = failed(codeOf(table, error, otherwise));
  failure.errno = error;
  failure.call = call;
  return failure;
}

function codeOf(table: usize, error: u32, otherwise: Code): Code {
  while (true) {
    for (; load<u16>(table) != errno.SUCCESS; table += 4) {
      if (load<u16>(table) == error) return load<u16>(table, 2);
    }
    if (table == END_OF_ANY_CALL) return otherwise;
    table = ANY_CALL;
  }
}
