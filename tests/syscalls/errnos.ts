// The errnos of each system call of the standalone executable, from the ERRORS sections of man-pages
// 6.03, and of the pages that they refer to: those of the protocols for sockets, write(2) for
// writev(2).
//
// The sections are complete. They have errors that the executable cannot cause, such as fcntl(2)'s
// EDEADLK for locks: a security module, a seccomp filter or a file system may return any errno.

/** unix(7) and vsock(7), for every call on their sockets. */
const sockets =
  "EACCES EADDRINUSE EADDRNOTAVAIL EBADF ECONNREFUSED ECONNRESET EFAULT EINVAL EISCONN ENFILE ENOENT " +
  "ENOMEM ENOPROTOOPT ENOTCONN EOPNOTSUPP EPERM EPIPE EPROTONOSUPPORT EPROTOTYPE ESOCKTNOSUPPORT " +
  "ESRCH ETOOMANYREFS";
/** path_resolution(7). */
const paths = "EACCES ELOOP ENAMETOOLONG ENOENT ENOTDIR";
const option = "EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK";
const status = "EACCES EBADF EFAULT EINVAL ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR EOVERFLOW";
const mapping = "EACCES EAGAIN EBADF EEXIST EINVAL ENFILE ENODEV ENOMEM EOVERFLOW EPERM ETXTBSY";
const read = "EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR";
const write = "EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE";

const table: Readonly<Record<string, string>> = {
  clock_gettime: "EACCES EFAULT EINVAL ENODEV EOPNOTSUPP EPERM",
  close: "EBADF EINTR EIO ENOSPC EDQUOT",
  connect:
    "EACCES EPERM EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNREFUSED EFAULT " +
    `EINPROGRESS EINTR EISCONN ENETUNREACH ENOTSOCK EPROTOTYPE ETIMEDOUT ${sockets} ${paths}`,
  dup3: "EBADF EBUSY EINTR EINVAL EMFILE",
  // exit_group(2): "This system call does not return."
  exit_group: "",
  fcntl: "EACCES EAGAIN EBADF EBUSY EDEADLK EFAULT EINTR EINVAL EMFILE ENOLCK ENOTDIR EPERM",
  fstat: status,
  fstatfs: "EBADF EFAULT EINTR EIO ENOMEM ENOSYS EOVERFLOW",
  // geteuid(2) and getpid(2): "These functions are always successful."
  geteuid: "",
  getpid: "",
  getsockname: "EBADF EFAULT EINVAL ENOBUFS ENOTSOCK",
  getsockopt: option,
  ioctl: "EBADF EFAULT EINVAL ENOTTY",
  mmap: mapping,
  munmap: mapping,
  newfstatat: status,
  openat:
    "EACCES EBADF EBUSY EDQUOT EEXIST EFAULT EFBIG EINTR EINVAL EISDIR ELOOP EMFILE ENAMETOOLONG " +
    "ENFILE ENODEV ENOENT ENOMEM ENOSPC ENOTDIR ENXIO EOPNOTSUPP EOVERFLOW EPERM EROFS ETXTBSY " +
    "EWOULDBLOCK",
  pipe2: "EFAULT EINVAL EMFILE ENFILE ENOPKG",
  ppoll: "EFAULT EINTR EINVAL ENOMEM",
  readlinkat: "EACCES EBADF EINVAL EIO ELOOP ENAMETOOLONG ENOENT ENOMEM ENOTDIR",
  readv: `EINVAL EOPNOTSUPP ${read}`,
  recvmsg: "EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK " + sockets,
  rt_sigaction: "EFAULT EINVAL",
  sendmsg:
    "EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE " +
    `ENOBUFS ENOMEM ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE ${sockets}`,
  setsockopt: option,
  shutdown: "EBADF EINVAL ENOTCONN ENOTSOCK",
  socket: `EACCES EAFNOSUPPORT EINVAL EMFILE ENFILE ENOBUFS ENOMEM EPROTONOSUPPORT ${sockets}`,
  // Not on the page: errors of the socket or file, and of signals.
  splice: "EAGAIN EBADF EINVAL ENOMEM ESPIPE ECONNRESET EINTR EIO EPIPE",
  write,
  writev: `EINVAL EOPNOTSUPP ${write}`,
};

/** Two names of one number, of which strace(1) knows the second. */
const sameNumber: Readonly<Record<string, string>> = { EWOULDBLOCK: "EAGAIN" };

/** The calls of the table, in alphabetical order. */
export const listedCalls: readonly string[] = Object.keys(table).sort();

/** The errnos of `call`, each once. */
export function errorsOf(call: string): string[] {
  const names = table[call]?.split(" ").filter((name) => name !== "");
  if (names === undefined) throw new Error(`no errnos are listed for ${call}`);
  return [...new Set(names.map((name) => sameNumber[name] ?? name))];
}
