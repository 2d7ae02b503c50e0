// From an errno to the code that says what it means, which depends on the call that it comes from.
// What is in no table here is a SystemError, told with its number.

import { errno } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { Code, Scheme } from "./code";

// Tables of pairs, errno and code, of two i32; SUCCESS ends each.

// prettier-ignore
const ANY_CALL = memory.data<i32>([
  errno.MFILE, Code.DescriptorLimit,
  errno.NFILE, Code.DescriptorLimit,
  errno.NOMEM, Code.MemoryLimit,
  errno.NOBUFS, Code.MemoryLimit,
  errno.SUCCESS,
]);

// prettier-ignore
const UNIX_CONNECT = memory.data<i32>([
  errno.NOENT, Code.NoSocket,
  errno.NOTDIR, Code.NotDirectory,
  errno.LOOP, Code.SymlinkLoop,
  errno.NOTSOCK, Code.NotSocket,
  errno.ISDIR, Code.IsDirectory,
  errno.NAMETOOLONG, Code.PathTooLong,
  errno.NOTSUP, Code.NoProc,
  errno.PROTOTYPE, Code.WrongSocketType,
  errno.CONNREFUSED, Code.Refused,
  errno.TIMEDOUT, Code.QueueFull,
  errno.ACCES, Code.PermissionDenied,
  errno.PERM, Code.PermissionDenied,
  errno.SUCCESS,
]);

// An abstract socket is no file: the kernel means something else by the same errno.
// prettier-ignore
const ABSTRACT_CONNECT = memory.data<i32>([
  errno.CONNREFUSED, Code.NobodyHasName,
  errno.PROTOTYPE, Code.WrongSocketType,
  errno.TIMEDOUT, Code.QueueFull,
  errno.ACCES, Code.Forbidden,
  errno.PERM, Code.Forbidden,
  errno.SUCCESS,
]);

// prettier-ignore
const VSOCK_CONNECT = memory.data<i32>([
  errno.CONNRESET, Code.NobodyListens,
  errno.CONNREFUSED, Code.NobodyListens,
  errno.NODEV, Code.NoMachine,
  errno.HOSTUNREACH, Code.NoMachine,
  errno.NETUNREACH, Code.NoMachine,
  errno.AFNOSUPPORT, Code.NoVsock,
  errno.TIMEDOUT, Code.NoAnswer,
  errno.ACCES, Code.Forbidden,
  errno.PERM, Code.Forbidden,
  errno.SUCCESS,
]);

// prettier-ignore
const HANDSHAKE = memory.data<i32>([
  errno.CONNRESET, Code.ResetInHandshake,
  errno.PIPE, Code.ResetInHandshake,
  errno.TIMEDOUT, Code.Silence,
  errno.SUCCESS,
]);

// prettier-ignore
const HAND_OVER = memory.data<i32>([
  errno.CONNRESET, Code.SshIsGone,
  errno.PIPE, Code.SshIsGone,
  errno.NOTCONN, Code.SshIsGone,
  errno.TIMEDOUT, Code.HandOverDeadline,
  errno.SUCCESS,
]);

/** What may fail anywhere. */
export function systemFailure(error: errno): Code {
  return lookUp(ANY_CALL, error, Code.SystemError);
}

/** sock_open and sock_connect. */
export function connectFailure(error: errno, scheme: Scheme): Code {
  const table =
    scheme == Scheme.Vsock
      ? VSOCK_CONNECT
      : scheme == Scheme.UnixAbstract
        ? ABSTRACT_CONNECT
        : UNIX_CONNECT;
  return lookUp(table, error, systemFailure(error));
}

/** sock_send and sock_recv while the handshake runs. */
export function handshakeFailure(error: errno): Code {
  return lookUp(HANDSHAKE, error, systemFailure(error));
}

/** sock_send_fds. */
export function handOverFailure(error: errno): Code {
  return lookUp(HAND_OVER, error, systemFailure(error));
}

function lookUp(table: usize, error: errno, otherwise: Code): Code {
  for (; load<i32>(table) != errno.SUCCESS; table += 8) {
    if (load<i32>(table) == error) return load<i32>(table, 4);
  }
  return otherwise;
}
