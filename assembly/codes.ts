// The numbers that cross the Wasm boundary: outcomes of the core and the command, and the layout of
// an address's record. Once released, a number keeps its meaning. messages.ts has the message of each
// code.
//
// This file is read by both compilers, AssemblyScript's and TypeScript's.

/** The address families of socket_shim_v1 (docs/abi.md): WASIX's number, and Linux's. */
export enum Family {
  /** Linux's AF_UNSPEC: no socket address yet, but the name of a machine. */
  Unspecified = 0,
  Unix = 3,
  Vsock = 40,
}

/** Offsets of the fields of an address's record; assembly/core/address.ts documents them. */
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
  /** There is no such socket or machine. */
  NoHost = 68,
  /** The socket or machine is there, but refuses. */
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

/** A failure's code divided by this is the command's exit status. */
export const CODES_PER_EXIT = 100;

export enum Code {
  /** An address was parsed, or a handshake has succeeded. */
  Done = 0,
  /** A handshake needs its next event. */
  NeedMore = 1,

  // The steps that the command prints with -v.
  Connecting = 1001,
  Connected = 1002,
  RequestSent = 1003,
  ReplyReceived = 1004,
  FdPassed = 1005,
  Relaying = 1006,
  Relayed = 1007,
  Asked = 1008,
  Answered = 1009,

  // Exit.Usage: the address and its port.
  UnknownAddress = 6401,
  EmptyPath = 6402,
  EmptyName = 6403,
  EmptyCid = 6404,
  EmptyPort = 6405,
  /** Not decimal, or with a leading zero. */
  BadCid = 6406,
  /** 2^32 - 1, VMADDR_CID_ANY, to which nothing can connect; or above. */
  CidOutOfRange = 6407,
  /** Not decimal, or with a leading zero. */
  BadPort = 6408,
  /** 2^32 - 1, VMADDR_PORT_ANY; or above. */
  PortOutOfRange = 6409,
  /** More than 4095 bytes, Linux's PATH_MAX without its NUL, or a part of more than 255. */
  PathTooLong = 6410,
  /** More than 107 bytes: sun_path without the NUL that makes a name abstract. */
  NameTooLong = 6411,
  /** A NUL byte in a path or name. */
  NulByte = 6412,
  /** A machine's name with a byte that is not allowed, or that is too long. */
  BadName = 6413,

  // Exit.Usage: the command line.
  NoAddress = 6420,
  TooManyArguments = 6421,
  UnknownOption = 6422,
  /** An option without its value. */
  NoValue = 6423,
  /** An option with a value, which it does not take. */
  UnwantedValue = 6424,
  BadDuration = 6425,
  DurationOutOfRange = 6426,
  BadPath = 6427,
  /** --fdpass, and descriptor 1 is not an AF_UNIX stream socket. */
  NoFdPassing = 6428,
  BadHalfClose = 6429,
  /** SSH_VSOCK_PROXY_OPTIONS: a quote that is not closed, or a backslash at the end. */
  BadQuoting = 6431,
  /** SSH_VSOCK_PROXY_OPTIONS: an address, --help or --version. */
  NotForVariable = 6432,
  /** --log-file: the file is descriptor 0 or 1. */
  LogIsStdio = 6433,

  // Exit.NoHost
  NoSocket = 6801,
  NotDirectory = 6802,
  SymlinkLoop = 6803,
  NotSocket = 6804,
  IsDirectory = 6805,
  NoMachine = 6806,
  /** systemd-machined knows no machine of that name. */
  NoSuchMachine = 6807,
  /** libvirt has no domain of that name, UUID or ID. */
  NoSuchDomain = 6808,

  // Exit.Unavailable
  Refused = 6901,
  /** AF_VSOCK: the guest's kernel reports that nothing listens on the port. */
  NotListening = 6902,
  /** A multiplexer: end of file before the first byte of the OK line. */
  EndOfFile = 6903,
  ResetInHandshake = 6904,
  /** No abstract socket of that name exists, or it does not listen. */
  NoSuchName = 6905,
  /** Relay: the peer has closed before it took everything. */
  PeerClosed = 6906,
  /** EndOfFile, a second or more after connecting began. */
  EndOfFileAfterWait = 6907,
  /** A virtual machine without a CID and without an address. */
  NoCid = 6908,
  /** The same, and libvirt's: libvirt has the CID. */
  UseLibvirt = 6909,
  /** A machine of a class or service that has no known way to its sshd. */
  UnknownClass = 6910,
  /** The address that machined has is none of unix/, vsock/ and vsock-mux/, or its path is relative. */
  OtherAddress = 6911,
  NoVsockDevice = 6912,
  /** There is no XDG_RUNTIME_DIR, so the user's services cannot be found. */
  NoRuntimeDirectory = 6913,
  DomainOff = 6914,
  /** A vsock device whose CID is chosen at the start. */
  NoCidYet = 6915,
  /** systemd-nspawn exports no socket of sshd from the container. */
  NoContainerSocket = 6916,
  /** The socket of machined or libvirt is missing. */
  NoService = 6917,
  /** It is there, but nothing listens on it. */
  ServiceRefused = 6918,

  // Exit.Software
  /** A pointer and length from the host are not within the memory. Nothing was written. */
  Fault = 7001,

  // Exit.OsError
  NoVsock = 7101,
  /** Only a part of the request was sent. A multiplexer needs it in one piece. */
  ShortWrite = 7102,
  ClientGone = 7103,
  DescriptorLimit = 7104,
  MemoryLimit = 7105,
  /** A system call failed with an errno that has no code; printed with the errno. */
  SystemError = 7106,
  /** A path too long for sun_path, and no /proc, through which longer ones are reached. */
  NoProc = 7107,
  /** Descriptor 1 is closed or /dev/null. */
  NoStdout = 7108,
  /** Relay: descriptor 1 is a pipe or socket whose reader has closed. */
  StdoutClosed = 7109,
  // Like SystemError, these are printed with their errno.
  StdinFailed = 7110,
  StdoutFailed = 7111,
  NoLogFile = 7112,
  // Relay: what is wrong with descriptor 0 or 1.
  StdinNotReadable = 7120,
  StdinIsDirectory = 7121,
  StdoutNotWritable = 7122,
  StdoutFull = 7123,
  StdoutTooLarge = 7124,
  // The log file.
  LogNoDirectory = 7125,
  LogNotDirectory = 7126,
  LogIsDirectory = 7127,
  LogSymlinkLoop = 7128,
  LogNameTooLong = 7129,
  LogForbidden = 7130,
  LogReadOnly = 7131,
  LogNoReader = 7132,
  LogDiskFull = 7133,

  // Exit.TempFail
  /** The accept queue of a unix socket stayed full. */
  QueueFull = 7501,
  /** AF_VSOCK: no answer. */
  NoAnswer = 7502,
  /** A multiplexer: the deadline has passed before the first byte of the OK line. */
  ReplyTimeout = 7503,
  /** The same within the OK line. */
  ReplyTimeoutWithinLine = 7504,
  FdPassTimeout = 7505,
  /** machined or libvirt did not reply in time. */
  LookupTimeout = 7506,

  // Exit.Protocol
  WrongSocketType = 7601,
  /** A multiplexer: end of file within the OK line. */
  EndWithinLine = 7602,
  /** A byte that is not allowed at its place in an OK line. */
  BadLine = 7603,
  /** The number in the OK line is above 2^32 - 1. */
  NumberOutOfRange = 7604,
  /** A reply of machined or libvirt that is malformed. */
  BadReply = 7605,
  ReplyTooLong = 7606,
  /** An error reply that has no code of its own; its text says which. */
  ServiceError = 7607,
  /** End of file within a reply. */
  EndWithinReply = 7608,

  // Exit.NoPermission
  PermissionDenied = 7701,
  /** The same for a socket that is not a file and has no mode. */
  Forbidden = 7702,
  /** machined or libvirt refuses the look-up. */
  LookupDenied = 7703,
}

/** The kind of an address. */
export enum Scheme {
  Unix = 1,
  UnixAbstract = 2,
  Vsock = 3,
  VsockMux = 4,
  Host = 5,
  // Names, which a look-up leads to an address: of systemd-machined's machines, and of libvirt's domains.
  Machine = 6,
  Qemu = 7,
  QemuSystem = 8,
  QemuSession = 9,
}

/** The argument that was taken, or that is wrong. */
export enum Argument {
  Address = 0,
  Port = 1,
  Name = 2,
}
