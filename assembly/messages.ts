// All texts of the command. A failure's message says what happened, what it means, and in brackets
// what to check.
//
// This file is read by both compilers, AssemblyScript's and TypeScript's. ASCII only: the build turns
// the texts into bytes (scripts/asc/ascii-literals.mjs).

import { Code } from "./codes";

/**
 * The message of each code from 1001 on, in the order of the numbers. In TypeScript these are rows of
 * a code and a string; in AssemblyScript, the address of u32 pairs, a code and the address of its
 * text, with a zero after the last.
 */
// prettier-ignore
export const MESSAGES = [
  [Code.Connecting, "connecting"],
  [Code.Connected, "connected"],
  [Code.RequestSent, "connected, and asked the multiplexer with CONNECT"],
  [Code.ReplyReceived, "the multiplexer answered OK"],
  [Code.FdPassed, "handed the connection over to ssh"],
  [Code.Relaying, "relaying between it and standard input and output"],
  [Code.Relayed, "relayed: the connection has ended"],
  [Code.Asked, "connected, and asked the service for the machine's address"],
  [Code.Answered, "the service answered with this address"],
  [Code.UnknownAddress, "address not understood: it is unix/PATH, unix-abstract/NAME, vsock/CID, vsock-mux/PATH, machine/NAME, qemu/NAME or .host"],
  [Code.EmptyPath, "the path is empty"],
  [Code.EmptyName, "the name is empty"],
  [Code.EmptyCid, "the CID is empty"],
  [Code.EmptyPort, "the port is empty"],
  [Code.BadCid, "not a CID: decimal, without sign, space or leading zero; or hypervisor, local, host"],
  [Code.CidOutOfRange, "CID out of range: it is 0 to 4294967294"],
  [Code.BadPort, "not a port: decimal, without sign, space or leading zero"],
  [Code.PortOutOfRange, "port out of range: it is 0 to 4294967294"],
  [Code.PathTooLong, "path too long: Linux takes 4095 bytes, and 255 for each part"],
  [Code.NameTooLong, "name too long: Linux takes 107 bytes for an abstract socket"],
  [Code.NulByte, "a NUL byte cannot stand in it"],
  [Code.BadName, "not a machine's name: machine/ takes 64 letters, digits, - and _, and single dots within; qemu/ takes 250 bytes without slash or control character"],
  [Code.NoAddress, "no address given"],
  [Code.TooManyArguments, "too many arguments: after the options come ADDRESS, PORT and NAME"],
  [Code.UnknownOption, "unknown option"],
  [Code.NoValue, "the option needs a value"],
  [Code.UnwantedValue, "the option takes no value"],
  [Code.BadDuration, "not a duration: a decimal number and ms, s or m, such as 500ms; without a unit, seconds"],
  [Code.DurationOutOfRange, "duration out of range: it is 1ms to 1440m"],
  [Code.BadPath, "not a path: it has 1 to 4095 bytes"],
  [Code.NoFdPassing, "standard output is not a unix stream socket (ProxyCommand needs ProxyUseFdpass yes)"],
  [Code.BadHalfClose, "it is auto, always or never"],
  [Code.BadQuoting, "a quote is not closed, or nothing follows a backslash"],
  [Code.NotForVariable, "not allowed there"],
  [Code.LogIsStdio, "the log file is standard input or output itself, which belongs to the connection (choose another, or -v for standard error)"],
  [Code.NoSocket, "no such socket: nothing is at that path (is the machine running?)"],
  [Code.NotDirectory, "no such socket: a part of the path is not a directory"],
  [Code.SymlinkLoop, "no such socket: too many symbolic links in the path"],
  [Code.NotSocket, "not a socket: another kind of file is at that path"],
  [Code.IsDirectory, "not a socket: a directory is at that path"],
  [Code.NoMachine, "no such machine: nothing here reaches that CID (is it running? is the kernel's vsock transport loaded?)"],
  [Code.NoSuchMachine, "no such machine: systemd-machined has none of that name (is it running? see machinectl list)"],
  [Code.NoSuchDomain, "no such domain: libvirt has none of that name, UUID or ID (see virsh list --all)"],
  [Code.Refused, "connection refused: nobody listens on that socket (has its owner ended?)"],
  [Code.NotListening, "connection reset: the machine is up, but nothing listens there (is sshd running in it?)"],
  [Code.EndOfFile, "connection closed by the multiplexer: nothing listens on that port, or the machine has ended (is sshd running in it?)"],
  [Code.ResetInHandshake, "connection reset: the multiplexer dropped the connection (is the machine up yet? are the 1023 connections that it may have in use?)"],
  [Code.NoSuchName, "connection refused: nobody listens under that abstract name (is it one of this network namespace?)"],
  [Code.PeerClosed, "connection closed by the machine before it took everything"],
  [Code.EndOfFileAfterWait, "connection closed by the multiplexer after a wait: the machine is not up yet, has ended, or nothing listens on that port (is sshd running in it?)"],
  [Code.NoCid, "the machine has no CID and no address in systemd-machined, so nothing says how to reach it"],
  [Code.UseLibvirt, "the machine is libvirt's, which tells systemd-machined no CID (use qemu/NAME, with the name in virsh list)"],
  [Code.UnknownClass, "no way to the machine's sshd is known: it is neither a virtual machine nor a container of systemd-nspawn, but:"],
  [Code.OtherAddress, "systemd-machined has an address that is not vsock/CID, nor unix/PATH or vsock-mux/PATH with an absolute path:"],
  [Code.NoVsockDevice, "the domain has no vsock device (add one: echo \"<vsock><cid auto='yes'/></vsock>\" | virsh attach-device NAME /dev/stdin --config, and restart it)"],
  [Code.NoRuntimeDirectory, "the environment has no usable XDG_RUNTIME_DIR, below which the user's libvirt listens"],
  [Code.DomainOff, "the domain is off, and its CID may be another machine's now (see virsh start)"],
  [Code.NoCidYet, "the domain has a vsock device without a CID: libvirt chooses one when the domain starts"],
  [Code.NoContainerSocket, "no such socket: sshd in the container does not listen at /run/host/unix-export/ssh (is it running? has it systemd 256 or newer?)"],
  [Code.NoService, "no such service: its socket is missing (is it installed and running?)"],
  [Code.ServiceRefused, "connection refused: the service does not listen on its socket (is it running?)"],
  [Code.Fault, "internal error: a pointer outside the memory"],
  [Code.NoVsock, "this kernel has no AF_VSOCK (try: modprobe vsock)"],
  [Code.ShortWrite, "the multiplexer's socket took only a part of CONNECT"],
  [Code.ClientGone, "nobody waits for the connection any more (has ssh ended?)"],
  [Code.DescriptorLimit, "too many open files"],
  [Code.MemoryLimit, "out of memory"],
  [Code.SystemError, "system error"],
  [Code.NoProc, "path too long for a socket's address, and no /proc to reach it by"],
  [Code.NoStdout, "standard output is closed, or /dev/null (see --stdio)"],
  [Code.StdoutClosed, "nobody reads standard output any more"],
  [Code.StdinFailed, "standard input cannot be read"],
  [Code.StdoutFailed, "standard output cannot be written to"],
  [Code.NoLogFile, "the log file cannot be opened for appending"],
  [Code.StdinNotReadable, "standard input is not open for reading (what is it redirected from?)"],
  [Code.StdinIsDirectory, "standard input is a directory"],
  [Code.StdoutNotWritable, "standard output is not open for writing (what is it redirected to?)"],
  [Code.StdoutFull, "standard output takes no more: the disk is full, or the user's quota of it"],
  [Code.StdoutTooLarge, "standard output takes no more: the file is as large as it may be (see ulimit -f)"],
  [Code.LogNoDirectory, "no such log file, and it cannot be created: a directory above it is missing"],
  [Code.LogNotDirectory, "no such log file: a part of the path is not a directory"],
  [Code.LogIsDirectory, "not a log file: a directory is at that path"],
  [Code.LogSymlinkLoop, "no such log file: too many symbolic links in the path"],
  [Code.LogNameTooLong, "the log file's path is too long: Linux takes 255 bytes for each part"],
  [Code.LogForbidden, "permission denied: this user may not append to that log file (look at the mode of the file and of the directories above; in one like /tmp it must be the user's own)"],
  [Code.LogReadOnly, "the log file is on a read-only file system"],
  [Code.LogNoReader, "the log file is a FIFO without a reader, a socket, or a missing device"],
  [Code.LogDiskFull, "the log file cannot be created: the disk is full, or the user's quota of it"],
  [Code.QueueFull, "deadline passed: the socket's accept queue is full (is the server hung?)"],
  [Code.NoAnswer, "deadline passed: no answer from the machine (is it still booting? has it a vsock driver?)"],
  [Code.ReplyTimeout, "deadline passed: no answer from the multiplexer (is the machine up yet?)"],
  [Code.ReplyTimeoutWithinLine, "deadline passed in the middle of the multiplexer's OK line"],
  [Code.FdPassTimeout, "deadline passed: ssh does not take the connection"],
  [Code.LookupTimeout, "deadline passed: the service does not answer (is it hung?)"],
  [Code.WrongSocketType, "not a stream socket, but a datagram or seqpacket socket"],
  [Code.EndWithinLine, "connection closed in the middle of the multiplexer's OK line"],
  [Code.BadLine, "protocol error: the answer to CONNECT is not a line of OK and a number (is this a multiplexer's socket?)"],
  [Code.NumberOutOfRange, "protocol error: the number in the multiplexer's OK line is above 4294967295"],
  [Code.BadReply, "protocol error: the service's reply is malformed, at byte"],
  [Code.ReplyTooLong, "protocol error: the service's reply is too long"],
  [Code.ServiceError, "the service answered with an error:"],
  [Code.EndWithinReply, "connection closed by the service before the end of its reply"],
  [Code.PermissionDenied, "permission denied: this user may not connect there (look at the mode of the socket and of the directories above)"],
  [Code.Forbidden, "permission denied: a sandbox or security module of this system forbids it"],
  [Code.LookupDenied, "permission denied: this user may not ask the service (look at the mode of its socket, and at polkit's rules)"],
] as const;

/** Behind the message of a path without capitals that was not found; a form of the address follows. */
export const CAPITALS = "; if it has capitals, ssh keeps them in the form ";

/** What --version prints; the build puts in the version of package.json. */
export const VERSION = "ssh-vsock-proxy @VERSION@\n";

/** What --help prints. */
export const HELP = `Usage: ssh-vsock-proxy [OPTIONS] ADDRESS [PORT [NAME]]
Connect to a machine, and pass the socket to ssh or relay the bytes. In ssh's configuration:
  ProxyCommand ssh-vsock-proxy -- %h %p
  ProxyUseFdpass yes

ADDRESS
  unix/PATH           stream socket at PATH
  unix-abstract/NAME  abstract stream socket
  vsock/CID           AF_VSOCK: a number, hypervisor, local or host
  vsock-mux/PATH      multiplexer of Firecracker, Cloud Hypervisor and others
  machine/NAME        machine of systemd-machined
  qemu/NAME           libvirt's domain; also qemu:system/, qemu:session/
  .host               this host
  For scp and rsync with % for /: vsock%3, unix%run%x.sock
PORT  22 if not given
NAME  ssh's %n: the address with its capitals

OPTIONS, also from SSH_VSOCK_PROXY_OPTIONS
  --timeout DURATION  time limit of one attempt: 500ms, 5s, 2m; 5s if not given
  --wait DURATION     how long to retry while a machine boots
  --fdpass            pass the socket or fail
  --stdio             relay over stdin and stdout
  --half-close WHEN   pass on the end of stdin: always, never, or auto (not over vsock-mux)
  --linger DURATION   after stdin has ended, how long a relay waits for the next byte
  --host-socket PATH  the socket of .host
  --log-file PATH     append each step and failure to PATH
  -v, --verbose       print each step on stderr
  -h, --help          print this text
  -V, --version       print the version

Exit status: 0 done, 64 usage or address, 68 no such socket or machine, 69 refused,
70 defect, 71 system error, 75 deadline passed, 76 protocol, 77 permission.
`;
