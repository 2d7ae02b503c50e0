// The numbers and structures of preview1 (witx of wasi_snapshot_preview1) and socket_shim_v1
// (docs/abi.md) that the shim reads and writes. A structure has its size in bytes, and a field the
// offset where it begins.

#ifndef SHIM_WASI_H
#define SHIM_WASI_H

#include <stdint.h>

/** iovec and ciovec: u32 buf, u32 buf_len. */
enum { IOVEC_BUF = 0, IOVEC_BUF_LEN = 4, IOVEC_SIZE = 8 };

enum { CLOCKID_REALTIME = 0, CLOCKID_MONOTONIC = 1 };

/** subscription: u64 userdata, u8 type; then for a clock id to flags, for a descriptor its number. */
enum {
    SUBSCRIPTION_USERDATA = 0,
    SUBSCRIPTION_TYPE = 8,
    SUBSCRIPTION_FD = 16,
    SUBSCRIPTION_CLOCK_ID = 16,
    SUBSCRIPTION_CLOCK_TIMEOUT = 24,
    SUBSCRIPTION_CLOCK_PRECISION = 32,
    SUBSCRIPTION_CLOCK_FLAGS = 40,
    SUBSCRIPTION_SIZE = 48,
};
enum { SUBCLOCKFLAGS_ABSTIME = 1 };

/** event: u64 userdata, u16 error, u8 type; for a descriptor u64 nbytes, u16 flags. */
enum {
    EVENT_USERDATA = 0,
    EVENT_ERROR = 8,
    EVENT_TYPE = 10,
    EVENT_NBYTES = 16,
    EVENT_FLAGS = 24,
    EVENT_SIZE = 32,
};
enum { EVENTTYPE_CLOCK = 0, EVENTTYPE_FD_READ = 1, EVENTTYPE_FD_WRITE = 2 };
enum { EVENTRWFLAGS_HANGUP = 1 };

/** filestat: u64 dev, u64 ino, u8 filetype; then u64 nlink, size, atim, mtim, ctim. */
enum {
    FILESTAT_DEV = 0,
    FILESTAT_INO = 8,
    FILESTAT_FILETYPE = 16,
    FILESTAT_NLINK = 24,
    FILESTAT_SIZE_OF_FILE = 32,
    FILESTAT_ATIM = 40,
    FILESTAT_MTIM = 48,
    FILESTAT_CTIM = 56,
    FILESTAT_SIZE = 64,
};
enum {
    FILETYPE_UNKNOWN = 0,
    FILETYPE_BLOCK_DEVICE = 1,
    FILETYPE_CHARACTER_DEVICE = 2,
    FILETYPE_DIRECTORY = 3,
    FILETYPE_REGULAR_FILE = 4,
    FILETYPE_SOCKET_DGRAM = 5,
    FILETYPE_SOCKET_STREAM = 6,
};

enum { RIFLAGS_RECV_PEEK = 1 };
enum { ROFLAGS_RECV_DATA_TRUNCATED = 1 };

// socket_shim_v1. Linux's numbers for families and types differ: AF_UNIX is 1 there.

enum { FAMILY_UNIX = 3, FAMILY_VSOCK = 40 };
enum { SOCKTYPE_STREAM = 6 };
/** An address: u16 family; then a path or name, or for vsock u16 0, u32 port, u32 cid. */
enum { ADDRESS_REST = 2, VSOCK_ADDRESS_PORT = 4, VSOCK_ADDRESS_CID = 8, VSOCK_ADDRESS_SIZE = 12 };

enum { RELAY_HALF_CLOSE = 1 };
/** How a relay ended: u32 fd, u32 error. */
enum { RELAY_END_FD = 0, RELAY_END_ERROR = 4, RELAY_END_SIZE = 8 };

/** What log_open returns: u32 fd, u32 process. */
enum { LOG_FD = 0, LOG_PROCESS = 4, LOG_SIZE = 8 };

#endif
