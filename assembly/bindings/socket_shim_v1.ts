// The imports that preview1 lacks: sockets that are opened and connected here, and descriptors that
// are passed on. docs/abi.md specifies them; native/shim implements them. The file's name is the
// name of the import module.

import { fd, timestamp } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

type ptr<T> = usize;

// Each answers preview1's errno, as a u32: AssemblyScript takes nobody's word for the upper half of a
// u16, and would clear it wherever one is compared.

export type socktype = u32;

export namespace socktype {
  export const STREAM: socktype = 6;
}

/** What relay asks of the socket's sending side at the end of the input. */
export type relayflags = u32;

export namespace relayflags {
  /** Shut it down, so that the peer sees an end of file. */
  export const HALF_CLOSE: relayflags = 1;
}

/** How a relay has ended. */
@unmanaged
export class relay_end {
  /** The descriptor that something went wrong with. */
  fd: fd;
  /** What went wrong, SUCCESS where nothing did. */
  error: u32;
}

/** A log that has been opened. */
@unmanaged
export class log_file {
  fd: fd;
  /** The number of the process that writes to it. */
  process: u32;
}

/** Open a file to append a log to, and make it if it is not there. */
export declare function log_open(
  /** Input: The path. */
  path: ptr<u8>,
  /** Input: The length of the path in bytes. */
  path_len: usize,
  /** Output: The file and the process. */
  log: ptr<log_file>,
): u32;

/** Open a socket. */
export declare function sock_open(
  /** Input: The address family, of Family in code.ts. */
  family: u32,
  /** Input: The type, with the numbers that preview1 gives the types of files. */
  type: socktype,
  /** Output: The socket. */
  socket: ptr<fd>,
): u32;

/** Connect a socket, waiting no longer than the deadline. */
export declare function sock_connect(
  /** Input: A socket that sock_open has given. */
  socket: fd,
  /** Input: The address: u16 family, and what the family has. */
  address: ptr<u8>,
  /** Input: The length of the address in bytes. */
  address_len: usize,
  /** Input: The time on the monotonic clock, in nanoseconds, at which to give up; 0 for never. */
  deadline: timestamp,
): u32;

/** Get the address that a socket is bound to, in the form that sock_connect takes. */
export declare function sock_addr_local(
  /** Input: The socket. */
  socket: fd,
  /** Input: Where the address goes. */
  address: ptr<u8>,
  /** Input: How many bytes of it are wanted. */
  address_cap: usize,
  /** Output: The length that the address has, whatever part of it was wanted. */
  address_len: ptr<usize>,
): u32;

/** Pass bytes on both ways between a connected socket and two descriptors, until both have ended. */
export declare function sock_relay(
  /** Input: The socket. */
  socket: fd,
  /** Input: What is read and sent. */
  input: fd,
  /** Input: What is received is written here. */
  output: fd,
  /** Input: Of relayflags. */
  flags: relayflags,
  /** Output: How it has ended. */
  end: ptr<relay_end>,
): u32;

/** Send bytes together with descriptors (SCM_RIGHTS) over a unix socket. */
export declare function sock_send_fds(
  /** Input: The socket to send over. */
  socket: fd,
  /** Input: The bytes, a list of ciovec. */
  data: usize,
  /** Input: The number of ciovecs. */
  data_len: usize,
  /** Input: The descriptors. */
  fds: ptr<fd>,
  /** Input: The number of descriptors. */
  fds_len: usize,
  /** Output: The number of bytes sent. */
  sent: ptr<usize>,
): u32;
