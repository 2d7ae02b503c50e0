// The words for the codes: the only place where they stand. What a failure is, what that means, and
// in brackets what to look at. Read by both compilers (see code.ts); ASCII only, as bytes.ts explains.

import { Code } from "./code";

/** What a failure says, without the address and without the line's end. */
export function meaning(code: Code): string {
  switch (code) {
    case Code.UnknownAddress:
      return "address not understood: it is unix/PATH, unix-abstract/NAME, vsock/CID, vsock-mux/PATH or .host";
    case Code.EmptyPath:
      return "the path is empty";
    case Code.EmptyName:
      return "the name is empty";
    case Code.EmptyCid:
      return "the CID is empty";
    case Code.EmptyPort:
      return "the port is empty";
    case Code.BadCid:
      return "not a CID: it is a decimal number without sign, space or leading zero, or hypervisor, local or host";
    case Code.CidOutOfRange:
      return "CID out of range: it is 0 to 4294967294 (4294967295 means any, and cannot be connected to)";
    case Code.BadPort:
      return "not a port: it is a decimal number without sign, space or leading zero";
    case Code.PortOutOfRange:
      return "port out of range: it is 0 to 4294967294";
    case Code.PathTooLong:
      return "path too long: Linux takes 4095 bytes, and 255 for each part";
    case Code.NameTooLong:
      return "name too long: Linux takes 107 bytes for an abstract socket";
    case Code.NulByte:
      return "a NUL byte cannot stand in it";
    case Code.NoAddress:
      return "no address given";
    case Code.TooManyArguments:
      return "too many arguments: after the options come ADDRESS, PORT and NAME";
    case Code.UnknownOption:
      return "unknown option";
    case Code.NoValue:
      return "the option needs a value";
    case Code.UnwantedValue:
      return "the option takes no value";
    case Code.BadDuration:
      return "not a duration: it is a decimal number with ms, s or m behind it, such as 500ms; without a unit, seconds";
    case Code.DurationOutOfRange:
      return "duration out of range: it is 1ms to 1440m";
    case Code.BadHostSocket:
      return "not a path: it has 1 to 4095 bytes";
    case Code.NoFdPassing:
      return "standard output is not a unix stream socket, so the connection cannot be handed over (in ssh's configuration ProxyCommand needs ProxyUseFdpass yes)";
    case Code.NoSocket:
      return "no such socket: nothing is at that path (is the machine running?)";
    case Code.NotDirectory:
      return "no such socket: a part of the path is not a directory";
    case Code.SymlinkLoop:
      return "no such socket: too many symbolic links in the path";
    case Code.NotSocket:
      return "not a socket: another kind of file is at that path";
    case Code.IsDirectory:
      return "not a socket: a directory is at that path";
    case Code.WrongSocketType:
      return "not a stream socket: a datagram or seqpacket socket is there, which cannot carry SSH";
    case Code.Refused:
      return "connection refused: nobody listens on that socket (has the process that made it ended?)";
    case Code.NobodyListens:
      return "connection reset: the machine is up, but nothing listens there (is sshd running in it?)";
    case Code.NoMachine:
      return "no such machine: nothing here reaches that CID (is it running? is the kernel's vsock transport loaded?)";
    case Code.NoVsock:
      return "this kernel has no AF_VSOCK (try: modprobe vsock)";
    case Code.QueueFull:
      return "deadline passed: the socket's queue is full, and its owner accepts nobody (does it hang?)";
    case Code.NoAnswer:
      return "deadline passed: no answer from the machine (is it still booting? has it a vsock driver?)";
    case Code.PermissionDenied:
      return "permission denied: this user may not connect there (look at the owner and mode of the socket and of the directories above it)";
    case Code.EndOfFile:
      return "connection closed: the multiplexer answers, but nothing listens on that port (is sshd running in the machine?)";
    case Code.EndWithinLine:
      return "connection closed in the middle of the multiplexer's OK line";
    case Code.Silence:
      return "deadline passed: the multiplexer is silent, so the machine is not up yet";
    case Code.SilenceWithinLine:
      return "deadline passed in the middle of the multiplexer's OK line";
    case Code.BadLine:
      return "protocol error: the answer to CONNECT is not a line of OK and a number (is this a multiplexer's socket?)";
    case Code.NumberOutOfRange:
      return "protocol error: the number in the multiplexer's OK line is above 4294967295";
    case Code.ShortWrite:
      return "the multiplexer's socket took only a part of CONNECT";
    case Code.ResetInHandshake:
      return "connection reset: the multiplexer dropped the connection (is the machine up, with sshd running in it?)";
    case Code.SshIsGone:
      return "ssh went away before the connection could be handed over";
    case Code.HandOverDeadline:
      return "deadline passed: ssh does not take the connection";
    case Code.DescriptorLimit:
      return "too many open files";
    case Code.MemoryLimit:
      return "out of memory";
    case Code.SystemError:
      return "system error: WASI preview1 errno ";
    default:
      return "internal error";
  }
}

/** The pieces of which a line is made, and what -v says of each step. */
export enum Step {
  Program,
  Port,
  Colon,
  Milliseconds,
  SeeHelp,
  Connecting,
  Connected,
  Asked,
  Answered,
  HandedOver,
}

export function step(what: Step): string {
  switch (what) {
    case Step.Program:
      return "ssh-vsock-proxy: ";
    case Step.Port:
      return " port ";
    case Step.Colon:
      return ": ";
    case Step.Milliseconds:
      return " ms";
    case Step.SeeHelp:
      return " (see --help)";
    case Step.Connecting:
      return "connecting, for at most ";
    case Step.Connected:
      return "connected";
    case Step.Asked:
      return "asked the multiplexer with CONNECT";
    case Step.Answered:
      return "the multiplexer answered OK ";
    default:
      return "handed the connection over to ssh";
  }
}

/** What --version prints: the version of package.json. */
export function version(): string {
  return "ssh-vsock-proxy 0.1.0\n";
}

/** What --help prints. */
export function help(): string {
  return `Usage: ssh-vsock-proxy [OPTIONS] ADDRESS [PORT [NAME]]
Connect to a machine and hand the connection to ssh. In ssh's configuration:

  Host unix/* unix%* unix-abstract/* unix-abstract%* vsock/* vsock%* vsock-mux/* vsock-mux%* .host
    ProxyCommand ssh-vsock-proxy %h %p %n
    ProxyUseFdpass yes
    CheckHostIP no

ADDRESS
  unix/PATH           stream socket at PATH
  unix-abstract/NAME  abstract stream socket
  vsock/CID           AF_VSOCK: a number, hypervisor, local or host
  vsock-mux/PATH      multiplexer socket of Firecracker, Cloud Hypervisor and others
  .host               this host, at /run/ssh-unix-local/socket
  With % for the first / (vsock%3, unix%run%x.sock), scp and rsync take it for a host.
PORT  of the machine, 22 if not given; unix sockets have none
NAME  ssh's %n: the address with its capitals, which %h lacks

OPTIONS
  --timeout DURATION  give up after 500ms, 5s or 2m; 5s if not given
  --host-socket PATH  what .host stands for
  --fdpass            hand the connection over or fail: never relay
  -v, --verbose       say each step on stderr
  -h, --help          this text
  -V, --version

Exit status: 0 handed over, 64 usage or address, 68 no such socket or machine,
69 refused, 71 system error, 75 deadline passed, 76 protocol, 77 permission.
`;
}
