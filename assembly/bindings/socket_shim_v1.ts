// The imports that preview1 lacks: opening and connecting sockets, and passing descriptors.
// docs/abi.md specifies them; native/shim implements them. The file's name is the name of the import
// module.

import { fd, timestamp } from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

type ptr<T> = usize;

// Each returns an errno of preview1, as a u32: AssemblyScript does not trust the upper half of a u16
// result, and clears it at each comparison.
//
// wasi-shim also has @unsafe on functions and @inline on constants. Here they would change no byte of
// proxy.wasm, and eslint and prettier do not parse a decorator in these places.

export type socktype = u32;

export namespace socktype {
  export const STREAM: socktype = 6;
}

/** Options of sock_relay. */
export type relayflags = u32;

export namespace relayflags {
  /** At the end of the input, shut the socket down for writing: the peer sees an end of file. */
  export const HALF_CLOSE: relayflags = 1;
}

/** The result of a relay. */
@unmanaged
export class relay_end {
  /** The descriptor that failed; 0 if none did. */
  fd: fd;
  /** Its errno; SUCCESS if none did. */
  error: u32;
}

/** An open log. */
@unmanaged
export class log_file {
  fd: fd;
  /** The ID of this process, for the lines of the log. */
  process: u32;
}

/** Open a file to append a log to, and create it if it does not exist. */
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
  /** Input: The address family, of Family in codes.ts. */
  family: u32,
  /** Input: The type, by the numbers of preview1's filetype. */
  type: socktype,
  /** Output: The socket. */
  socket: ptr<fd>,
): u32;

/** Connect a socket, and wait no longer than the deadline. */
export declare function sock_connect(
  /** Input: A socket that sock_open has given. */
  socket: fd,
  /** Input: The address: u16 family, then what the family defines. */
  address: ptr<u8>,
  /** Input: The length of the address in bytes. */
  address_len: usize,
  /** Input: The time on the monotonic clock, in nanoseconds, of the deadline; 0 for none. */
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
  /** Output: The length of the whole address. */
  address_len: ptr<usize>,
): u32;

/** Relay bytes between a connected socket and two descriptors, until both directions have ended. */
export declare function sock_relay(
  /** Input: The socket. */
  socket: fd,
  /** Input: The descriptor whose bytes are sent. */
  input: fd,
  /** Input: The descriptor that received bytes are written to. */
  output: fd,
  /** Input: The options. */
  flags: relayflags,
  /** Input: The time to wait for a byte of the peer after the input's end; u64.MAX_VALUE: for ever. */
  linger: timestamp,
  /** Output: The result. */
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
