// The imports that preview1 lacks: sockets that are opened and connected here, and descriptors that
// are passed on. docs/abi.md specifies them; native/shim implements them. The file's name is the
// name of the import module.

import {
  errno,
  fd,
  timestamp,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";

type ptr<T> = usize;

export type socktype = u32;

export namespace socktype {
  export const STREAM: socktype = 6;
}

/** Open a socket. */
export declare function sock_open(
  /** Input: The address family, of Family in code.ts. */
  family: u32,
  /** Input: The type, with the numbers that preview1 gives the types of files. */
  type: socktype,
  /** Output: The socket. */
  socket: ptr<fd>,
): errno;

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
): errno;

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
): errno;

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
): errno;
