// The words for the codes: the only place where they stand. What a failure is, what that means, and
// in brackets what to look at. Read by both compilers (see code.ts); ASCII only, as bytes.ts explains.

/**
 * What the build packs the other texts of this file with, put here by it (scripts/asc/pack-texts.mjs):
 * pairs of bytes, the first for the byte 0x80 and so on.
 */
export const PAIRS = "";

/** A line for each code of code.ts that a person can meet: its number, and what it says. */
export const MEANINGS = `1001 connecting
1002 connected
1003 connected, and asked the multiplexer with CONNECT
1004 the multiplexer answered OK
1005 handed the connection over to ssh
1006 relaying between it and standard input and output
1007 relayed: both sides have ended
6401 address not understood: it is unix/PATH, unix-abstract/NAME, vsock/CID, vsock-mux/PATH or .host
6402 the path is empty
6403 the name is empty
6404 the CID is empty
6405 the port is empty
6406 not a CID: decimal, without sign, space or leading zero; or hypervisor, local, host
6407 CID out of range: it is 0 to 4294967294
6408 not a port: decimal, without sign, space or leading zero
6409 port out of range: it is 0 to 4294967294
6410 path too long: Linux takes 4095 bytes, and 255 for each part
6411 name too long: Linux takes 107 bytes for an abstract socket
6412 a NUL byte cannot stand in it
6420 no address given
6421 too many arguments: after the options come ADDRESS, PORT and NAME
6422 unknown option
6423 the option needs a value
6424 the option takes no value
6425 not a duration: a decimal number and ms, s or m, such as 500ms; without a unit, seconds
6426 duration out of range: it is 1ms to 1440m
6427 not a path: it has 1 to 4095 bytes
6428 standard output is not a unix stream socket (ProxyCommand needs ProxyUseFdpass yes)
6429 it is auto, always or never
6431 a quote is not closed, or nothing follows a backslash
6432 not allowed there
6801 no such socket: nothing is at that path (is the machine running?)
6802 no such socket: a part of the path is not a directory
6803 no such socket: too many symbolic links in the path
6804 not a socket: another kind of file is at that path
6805 not a socket: a directory is at that path
6806 no such machine: nothing here reaches that CID (is it running? is the kernel's vsock transport loaded?)
6901 connection refused: nobody listens on that socket (has its owner ended?)
6902 connection reset: the machine is up, but nothing listens there (is sshd running in it?)
6903 connection closed by the multiplexer: nothing listens on that port (is sshd running in it?)
6904 connection reset: the multiplexer dropped the connection (is the machine up yet?)
6905 connection refused: nobody listens under that abstract name (is it one of this network namespace?)
6906 connection closed by the machine before it took everything
7001 internal error: a pointer outside the memory
7101 this kernel has no AF_VSOCK (try: modprobe vsock)
7102 the multiplexer's socket took only a part of CONNECT
7103 nobody waits for the connection any more (has ssh ended?)
7104 too many open files
7105 out of memory
7106 system error
7107 path too long for a socket's address, and no /proc to reach it by
7108 standard output is closed, or /dev/null (see --stdio)
7109 nobody reads standard output any more
7110 standard input cannot be read
7111 standard output takes no more (is the disk full?)
7112 the log file cannot be opened for appending
7501 deadline passed: the socket's queue is full, and its owner accepts nobody (does it hang?)
7502 deadline passed: no answer from the machine (is it still booting? has it a vsock driver?)
7503 deadline passed: no answer from the multiplexer (is the machine up yet?)
7504 deadline passed in the middle of the multiplexer's OK line
7505 deadline passed: ssh does not take the connection
7601 not a stream socket, but a datagram or seqpacket socket
7602 connection closed in the middle of the multiplexer's OK line
7603 protocol error: the answer to CONNECT is not a line of OK and a number (is this a multiplexer's socket?)
7604 protocol error: the number in the multiplexer's OK line is above 4294967295
7701 permission denied: this user may not connect there (look at the mode of the socket and of the directories above)
7702 permission denied: a sandbox or security module of this system forbids it
`;

/** What --version prints: the version of package.json. */
export const VERSION = "ssh-vsock-proxy 0.1.0\n";

/** What --help prints. */
export const HELP = `Usage: ssh-vsock-proxy [OPTIONS] ADDRESS [PORT [NAME]]
Connect to a machine, and hand the connection to ssh or relay it. In ssh's configuration:
  ProxyCommand ssh-vsock-proxy '%h' %p '%n'
  ProxyUseFdpass yes

ADDRESS
  unix/PATH           stream socket at PATH
  unix-abstract/NAME  abstract stream socket
  vsock/CID           AF_VSOCK: a number, hypervisor, local or host
  vsock-mux/PATH      multiplexer of Firecracker, Cloud Hypervisor and others
  .host               this host
  For scp and rsync with % for /: vsock%3, unix%run%x.sock
PORT  22 if not given
NAME  ssh's %n: the address with its capitals

OPTIONS, also from SSH_VSOCK_PROXY_OPTIONS
  --timeout DURATION  what one attempt may take: 500ms, 5s, 2m; 5s if not given
  --wait DURATION     try again for so long while the machine boots
  --fdpass            hand the connection over or fail
  --stdio             relay it over stdin and stdout
  --half-close WHEN   pass the end of stdin on: always, never, or auto (not by vsock-mux)
  --host-socket PATH  what .host stands for
  --log-file PATH     append each step with its time
  -v, --verbose       say each step on stderr
  -h, --help          this text
  -V, --version

Exit status: 0 done, 64 usage or address, 68 no such socket or machine, 69 refused,
70 defect, 71 system error, 75 deadline passed, 76 protocol, 77 permission.
`;
