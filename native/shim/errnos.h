// The errno table: preview1's numbers (witx of wasi_snapshot_preview1, `errno`) beside Linux's
// names.
//
// ERRNOS(X) lists X(name, number, linux). shim_errno maps the Linux errors that are not listed, for
// which preview1 has no number. NOTCAPABLE is not in the list: no Linux error means it. log_open
// returns it for a file that it must not write to.

#ifndef SHIM_ERRNOS_H
#define SHIM_ERRNOS_H

#define ERRNOS(X)                          \
    X(TOOBIG, 1, E2BIG)                    \
    X(ACCES, 2, EACCES)                    \
    X(ADDRINUSE, 3, EADDRINUSE)            \
    X(ADDRNOTAVAIL, 4, EADDRNOTAVAIL)      \
    X(AFNOSUPPORT, 5, EAFNOSUPPORT)        \
    X(AGAIN, 6, EAGAIN)                    \
    X(ALREADY, 7, EALREADY)                \
    X(BADF, 8, EBADF)                      \
    X(BADMSG, 9, EBADMSG)                  \
    X(BUSY, 10, EBUSY)                     \
    X(CANCELED, 11, ECANCELED)             \
    X(CHILD, 12, ECHILD)                   \
    X(CONNABORTED, 13, ECONNABORTED)       \
    X(CONNREFUSED, 14, ECONNREFUSED)       \
    X(CONNRESET, 15, ECONNRESET)           \
    X(DEADLK, 16, EDEADLK)                 \
    X(DESTADDRREQ, 17, EDESTADDRREQ)       \
    X(DOM, 18, EDOM)                       \
    X(DQUOT, 19, EDQUOT)                   \
    X(EXIST, 20, EEXIST)                   \
    X(FAULT, 21, EFAULT)                   \
    X(FBIG, 22, EFBIG)                     \
    X(HOSTUNREACH, 23, EHOSTUNREACH)       \
    X(IDRM, 24, EIDRM)                     \
    X(ILSEQ, 25, EILSEQ)                   \
    X(INPROGRESS, 26, EINPROGRESS)         \
    X(INTR, 27, EINTR)                     \
    X(INVAL, 28, EINVAL)                   \
    X(IO, 29, EIO)                         \
    X(ISCONN, 30, EISCONN)                 \
    X(ISDIR, 31, EISDIR)                   \
    X(LOOP, 32, ELOOP)                     \
    X(MFILE, 33, EMFILE)                   \
    X(MLINK, 34, EMLINK)                   \
    X(MSGSIZE, 35, EMSGSIZE)               \
    X(MULTIHOP, 36, EMULTIHOP)             \
    X(NAMETOOLONG, 37, ENAMETOOLONG)       \
    X(NETDOWN, 38, ENETDOWN)               \
    X(NETRESET, 39, ENETRESET)             \
    X(NETUNREACH, 40, ENETUNREACH)         \
    X(NFILE, 41, ENFILE)                   \
    X(NOBUFS, 42, ENOBUFS)                 \
    X(NODEV, 43, ENODEV)                   \
    X(NOENT, 44, ENOENT)                   \
    X(NOEXEC, 45, ENOEXEC)                 \
    X(NOLCK, 46, ENOLCK)                   \
    X(NOLINK, 47, ENOLINK)                 \
    X(NOMEM, 48, ENOMEM)                   \
    X(NOMSG, 49, ENOMSG)                   \
    X(NOPROTOOPT, 50, ENOPROTOOPT)         \
    X(NOSPC, 51, ENOSPC)                   \
    X(NOSYS, 52, ENOSYS)                   \
    X(NOTCONN, 53, ENOTCONN)               \
    X(NOTDIR, 54, ENOTDIR)                 \
    X(NOTEMPTY, 55, ENOTEMPTY)             \
    X(NOTRECOVERABLE, 56, ENOTRECOVERABLE) \
    X(NOTSOCK, 57, ENOTSOCK)               \
    X(NOTSUP, 58, EOPNOTSUPP)              \
    X(NOTTY, 59, ENOTTY)                   \
    X(NXIO, 60, ENXIO)                     \
    X(OVERFLOW, 61, EOVERFLOW)             \
    X(OWNERDEAD, 62, EOWNERDEAD)           \
    X(PERM, 63, EPERM)                     \
    X(PIPE, 64, EPIPE)                     \
    X(PROTO, 65, EPROTO)                   \
    X(PROTONOSUPPORT, 66, EPROTONOSUPPORT) \
    X(PROTOTYPE, 67, EPROTOTYPE)           \
    X(RANGE, 68, ERANGE)                   \
    X(ROFS, 69, EROFS)                     \
    X(SPIPE, 70, ESPIPE)                   \
    X(SRCH, 71, ESRCH)                     \
    X(STALE, 72, ESTALE)                   \
    X(TIMEDOUT, 73, ETIMEDOUT)             \
    X(TXTBSY, 74, ETXTBSY)                 \
    X(XDEV, 75, EXDEV)

#define SHIM_ERRNO(name, number, linux) SHIM_##name = (number),
enum { SHIM_SUCCESS = 0, ERRNOS(SHIM_ERRNO) SHIM_NOTCAPABLE = 76 };
#undef SHIM_ERRNO

#endif
