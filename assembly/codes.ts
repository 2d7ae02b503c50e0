// Every outcome that the core and the command can have, as numbers. They are what crosses the Wasm
// boundary, so a number, once released, keeps its meaning. The words for them stand in texts.ts, by
// these numbers.
//
// This file is read by both compilers, AssemblyScript's and TypeScript's: what stands here is
// written in what the two have in common.

/** The address families of socket_shim_v1 (docs/abi.md): WASIX's number, and Linux's. */
export enum Family {
  Unix = 3,
  Vsock = 40,
}

/** Where the fields of an address's record stand; address.ts says what they are. */
export enum Field {
  Scheme = 0,
  Port = 4,
  Cid = 8,
  Argument = 12,
  Offset = 16,
  Length = 20,
  SocketAddress = 24,
}

/** The command's exit statuses, of sysexits.h. */
export enum Exit {
  Ok = 0,
  /** The command line or the address is wrong. */
  Usage = 64,
  /** No such socket, no such machine. */
  NoHost = 68,
  /** The socket or machine is there, and refuses. */
  Unavailable = 69,
  /** A defect of this program. */
  Software = 70,
  /** A system call failed. */
  OsError = 71,
  /** A deadline has passed. */
  TempFail = 75,
  /** The peer does not speak the protocol. */
  Protocol = 76,
  NoPermission = 77,
}

/** A failure's code divided by this is the exit status that the command ends with. */
export const CODES_PER_EXIT = 100;

export enum Code {
  /** Done: an address was understood, or a handshake has ended well. */
  Done = 0,
  /** A handshake wants its next event. */
  NeedMore = 1,

  // What the command says of its steps with -v.
  Connecting = 1001,
  Connected = 1002,
  RequestSent = 1003,
  ReplyReceived = 1004,
  FdPassed = 1005,
  Relaying = 1006,
  Relayed = 1007,

  // Exit.Usage: the address and its port.
  UnknownAddress = 6401,
  EmptyPath = 6402,
  EmptyName = 6403,
  EmptyCid = 6404,
  EmptyPort = 6405,
  /** Not decimal, or with a leading zero. */
  BadCid = 6406,
  /** Above 2^32 - 1, or equal to it: VMADDR_CID_ANY, which nothing can connect to. */
  CidOutOfRange = 6407,
  /** Not decimal, or with a leading zero. */
  BadPort = 6408,
  /** Above 2^32 - 1, or equal to it: VMADDR_PORT_ANY. */
  PortOutOfRange = 6409,
  /** More than 4095 bytes, Linux's PATH_MAX without its NUL, or a part of more than 255. */
  PathTooLong = 6410,
  /** More than 107 bytes: sun_path without the NUL that makes a name abstract. */
  NameTooLong = 6411,
  /** A NUL byte in a path or name. */
  NulByte = 6412,

  // Exit.Usage: the command line.
  NoAddress = 6420,
  TooManyArguments = 6421,
  UnknownOption = 6422,
  /** An option without the value that it needs. */
  NoValue = 6423,
  /** An option with a value that it does not take. */
  UnwantedValue = 6424,
  BadDuration = 6425,
  DurationOutOfRange = 6426,
  BadPath = 6427,
  /** Descriptor 1 is no AF_UNIX stream socket, and --fdpass was given. */
  NoFdPassing = 6428,
  BadHalfClose = 6429,
  /** SSH_VSOCK_PROXY_OPTIONS: a quote that is not closed, or a backslash at the end. */
  BadQuoting = 6431,
  /** SSH_VSOCK_PROXY_OPTIONS: an address, or an option that asks for a text. */
  NotForVariable = 6432,

  // Exit.NoHost
  NoSocket = 6801,
  NotDirectory = 6802,
  SymlinkLoop = 6803,
  NotSocket = 6804,
  IsDirectory = 6805,
  NoMachine = 6806,

  // Exit.Unavailable
  Refused = 6901,
  /** AF_VSOCK: the guest's kernel has answered that nothing listens. */
  NotListening = 6902,
  /** A multiplexer: end of file before the first byte of the OK line. */
  EndOfFile = 6903,
  ResetInHandshake = 6904,
  /** An abstract socket: there is none of that name, or nobody listens on it. */
  NoSuchName = 6905,
  /** Relay: the peer takes no more of what is to be sent. */
  PeerClosed = 6906,

  // Exit.Software
  /** A pointer and length that the host gave do not lie within the memory. Nothing was written. */
  Fault = 7001,

  // Exit.OsError
  NoVsock = 7101,
  /** Only a part of the request was sent: a multiplexer wants it in one piece. */
  ShortWrite = 7102,
  ClientGone = 7103,
  DescriptorLimit = 7104,
  MemoryLimit = 7105,
  /** A system call has failed in a way that has no words of its own; goes with its errno. */
  SystemError = 7106,
  /** A path too long for sun_path, and no /proc by which to reach it. */
  NoProc = 7107,
  /** Descriptor 1 is closed, or leads to /dev/null. */
  NoStdout = 7108,
  /** Relay: descriptor 1 is a pipe or socket whose reader is gone. */
  StdoutClosed = 7109,
  // Like SystemError, these go with their errno.
  StdinFailed = 7110,
  StdoutFailed = 7111,
  NoLogFile = 7112,

  // Exit.TempFail
  /** A unix socket whose queue of connections stayed full. */
  QueueFull = 7501,
  /** AF_VSOCK: no answer at all. */
  NoAnswer = 7502,
  /** A multiplexer: the deadline has passed before the first byte of the OK line. */
  ReplyTimeout = 7503,
  /** The same within the OK line. */
  ReplyTimeoutWithinLine = 7504,
  FdPassTimeout = 7505,

  // Exit.Protocol
  WrongSocketType = 7601,
  /** A multiplexer: end of file within the OK line. */
  EndWithinLine = 7602,
  /** A byte that cannot stand where it does in an OK line. */
  BadLine = 7603,
  /** The number in the OK line is above 2^32 - 1. */
  NumberOutOfRange = 7604,

  // Exit.NoPermission
  PermissionDenied = 7701,
  /** The same where there is no file whose mode could be looked at. */
  Forbidden = 7702,
}

/** What an address means. */
export enum Scheme {
  Unix = 1,
  UnixAbstract = 2,
  Vsock = 3,
  VsockMux = 4,
  Host = 5,
}

/** The argument that an address's outcome is about. */
export enum Argument {
  Address = 0,
  Port = 1,
  Name = 2,
}
