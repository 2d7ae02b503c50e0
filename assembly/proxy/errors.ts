// From an errno to the code that says what it means, which depends on the call that it comes from.
// What is in no table here is a SystemError, told with its number.

import { errno, fd } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { Code, Scheme } from "../codes";

// Tables of pairs, errno and code, of two u16; SUCCESS ends each.

// prettier-ignore
const ANY_CALL = memory.data<u16>([
  errno.MFILE, <u16>Code.DescriptorLimit,
  errno.NFILE, <u16>Code.DescriptorLimit,
  errno.NOMEM, <u16>Code.MemoryLimit,
  errno.NOBUFS, <u16>Code.MemoryLimit,
  errno.SUCCESS,
]);
const END_OF_ALL = ANY_CALL + 16;

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

// An abstract socket is no file: the kernel means something else by the same errno.
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
const HAND_OVER = memory.data<u16>([
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
const STDOUT = memory.data<u16>([
  errno.CONNRESET, <u16>Code.StdoutClosed,
  errno.PIPE, <u16>Code.StdoutClosed,
  errno.SUCCESS,
]);

/** The errno that the last failure was made of, and the call that it came from. */
export let failedErrno: u32 = errno.SUCCESS;
export let failedCall: string = "";

/** poll_oneoff. */
export function waitFailure(error: u32): Code {
  return failure(ANY_CALL, error, "poll_oneoff", Code.SystemError);
}

/** sock_open and sock_connect. */
export function connectFailure(error: u32, scheme: Scheme, call: string): Code {
  const table =
    scheme == Scheme.Vsock
      ? VSOCK_CONNECT
      : scheme == Scheme.UnixAbstract
        ? ABSTRACT_CONNECT
        : UNIX_CONNECT;
  return failure(table, error, call, Code.SystemError);
}

/** sock_send and sock_recv while the handshake runs. */
export function handshakeFailure(error: u32, call: string): Code {
  return failure(HANDSHAKE, error, call, Code.SystemError);
}

/** sock_send_fds. */
export function handOverFailure(error: u32): Code {
  return failure(HAND_OVER, error, "sock_send_fds", Code.SystemError);
}

/** log_open. */
export function logFailure(error: u32): Code {
  return failure(ANY_CALL, error, "log_open", Code.NoLogFile);
}

/** What sock_relay says of the socket, of descriptor 0 or of descriptor 1. */
export function relayFailure(error: u32, descriptor: fd): Code {
  const isSocket = descriptor > 1;
  const table = isSocket ? RELAY : descriptor == 0 ? ANY_CALL : STDOUT;
  const otherwise: Code = isSocket ? Code.SystemError : Code.StdinFailed + descriptor;
  return failure(table, error, "sock_relay", otherwise);
}

/**
 * Whether it may be otherwise in a moment, while a machine boots, so that it is worth trying again:
 * never where a person has to do something about it.
 */
export function passes(code: Code): bool {
  return (
    code == Code.NoSocket ||
    code == Code.NoMachine ||
    (code >= Code.Refused && code <= Code.NoSuchName) ||
    (code >= Code.QueueFull && code <= Code.ReplyTimeoutWithinLine) ||
    code == Code.EndWithinLine
  );
}

function failure(table: usize, error: u32, call: string, otherwise: Code): Code {
  failedErrno = error;
  failedCall = call;
  while (true) {
    for (; load<u16>(table) != errno.SUCCESS; table += 4) {
      if (load<u16>(table) == error) return load<u16>(table, 2);
    }
    if (table == END_OF_ALL) return otherwise;
    table = ANY_CALL;
  }
}
