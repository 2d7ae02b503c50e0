// From an errno to the code that says what it means, which depends on where it comes from. What is
// in no table here is a SystemError, told with its number.

import { errno } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { Code, Scheme } from "./code";

/** What may fail anywhere. */
export function systemFailure(error: errno): Code {
  switch (error) {
    case errno.MFILE:
    case errno.NFILE:
      return Code.DescriptorLimit;
    case errno.NOMEM:
    case errno.NOBUFS:
      return Code.MemoryLimit;
    default:
      return Code.SystemError;
  }
}

/** sock_open and sock_connect. */
export function connectFailure(error: errno, scheme: Scheme): Code {
  switch (error) {
    case errno.NOENT:
      return Code.NoSocket;
    case errno.NOTDIR:
      return Code.NotDirectory;
    case errno.LOOP:
      return Code.SymlinkLoop;
    case errno.NOTSOCK:
      return Code.NotSocket;
    case errno.ISDIR:
      return Code.IsDirectory;
    case errno.NAMETOOLONG:
      return Code.PathTooLong;
    case errno.PROTOTYPE:
      return Code.WrongSocketType;
    case errno.CONNREFUSED:
      return Code.Refused;
    case errno.CONNRESET:
      return Code.NobodyListens;
    case errno.NODEV:
    case errno.HOSTUNREACH:
    case errno.NETUNREACH:
    case errno.ADDRNOTAVAIL:
      return Code.NoMachine;
    case errno.AFNOSUPPORT:
      return Code.NoVsock;
    case errno.TIMEDOUT:
      return scheme == Scheme.Vsock ? Code.NoAnswer : Code.QueueFull;
    case errno.ACCES:
    case errno.PERM:
      return Code.PermissionDenied;
    default:
      return systemFailure(error);
  }
}

/** sock_send and sock_recv while the handshake runs. */
export function handshakeFailure(error: errno): Code {
  switch (error) {
    case errno.CONNRESET:
    case errno.PIPE:
      return Code.ResetInHandshake;
    default:
      return systemFailure(error);
  }
}

/** sock_send_fds. */
export function handOverFailure(error: errno): Code {
  switch (error) {
    case errno.CONNRESET:
    case errno.PIPE:
    case errno.NOTCONN:
      return Code.SshIsGone;
    case errno.TIMEDOUT:
      return Code.HandOverDeadline;
    default:
      return systemFailure(error);
  }
}
