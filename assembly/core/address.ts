// ADDRESS [PORT [NAME]] → a socket address. docs/addresses.md has the grammar.
//
// Rules
// 1. Text is bytes: nothing is decoded, and a path is in the socket address as it was written. Our own
//    words (schemes, `.host`, names of CIDs) have any case.
// 2. The result is in a record of the caller's, of `ADDRESS_SIZE` bytes, 4-aligned; the text and the
//    record do not overlap. Nothing is kept between calls.
// 3. Every text gives a code. After Done all of the record is valid; after a failure `argument`,
//    `offset` and `port`, and `scheme` unless the code is UnknownAddress; after Fault nothing was
//    written.
//
// The record, little-endian:
//
//    0  u32  scheme     Scheme
//    4  u32  port       0 to 2^32 - 2; 22 if the address has no port
//    8  u32  cid        0 to 2^32 - 2, for Scheme.Vsock
//   12  u32  argument   Argument: the one that was taken (Address, Name), or that is wrong
//   16  u32  offset     of the wrong byte within it
//   20  u32  length     of the socket address
//   24  u8[] the socket address, as socket_shim_v1's sock_connect takes it (docs/abi.md):
//            u16 family 3 and the path, without a NUL after it; or a NUL and the abstract name;
//            or u16 family 40, u16 0, u32 port, u32 cid; or, for the name of a machine, which
//            a look-up leads to an address, u16 family 0 and the name

import { DOT, NOT_DECIMAL, PERCENT, SLASH, TOO_LARGE } from "./bytes";
import { decimal, decimalEnd, equals, inMemory, indexOf, lowerCase } from "./bytes";
import { domainNameEnd, machineNameEnd } from "./name";
import { Argument, Code, Family, Field, Scheme } from "../codes";

export const PATH_MAX: usize = 4095;
const ABSTRACT_MAX: usize = 107;
const DEFAULT_PORT: u32 = 22;

/** The names of Scheme from 1 on, in its order. `.host` has a form of its own; no name has a `/`. */
const SCHEMES = "unix unix-abstract vsock vsock-mux / machine qemu qemu:system qemu:session";
const HOST = ".host";
/** CIDs 0, 1 and 2: VMADDR_CID_HYPERVISOR, VMADDR_CID_LOCAL and VMADDR_CID_HOST. */
const CIDS = "hypervisor local host";
const LAST_NAMED_CID: u64 = 2;

const ANY: u64 = 0xffff_ffff;

const OF_PATH: usize = Field.SocketAddress + 2;

/** A whole number of 4-byte words, so that records can be in an array. */
export const ADDRESS_SIZE: usize = (OF_PATH + PATH_MAX + 3) & ~3;

export function schemeOf(record: usize): Scheme {
  return load<u32>(record, Field.Scheme);
}

export function portOf(record: usize): u32 {
  return load<u32>(record, Field.Port);
}

export function argumentOf(record: usize): Argument {
  return load<u32>(record, Field.Argument);
}

export function socketAddressOf(record: usize): usize {
  return record + Field.SocketAddress;
}

export function socketAddressLengthOf(record: usize): u32 {
  return load<u32>(record, Field.Length);
}

export function familyOf(record: usize): u16 {
  return load<u16>(record, Field.SocketAddress);
}

/** Whether the address is the name of a machine, which a look-up leads to an address. */
export function isName(record: usize): bool {
  return schemeOf(record) > Scheme.Host;
}

/** Where the path, the NUL of an abstract name, or the name of a machine begins. */
export function textOf(record: usize): usize {
  return record + OF_PATH;
}

export function textLengthOf(record: usize): u32 {
  return socketAddressLengthOf(record) - 2;
}

/**
 * Parses a command line's ADDRESS, PORT and NAME into `record`.
 *
 * @param record the result: ADDRESS_SIZE bytes
 * @param address,addressLength the ADDRESS
 * @param port,portLength the PORT; a null pointer means absent
 * @param name,nameLength ssh's %n; a null pointer means absent
 * @returns Done, Fault, or one of UnknownAddress to BadName in codes.ts
 */
export function parseAddress(
  record: usize,
  address: usize,
  addressLength: usize,
  port: usize,
  portLength: usize,
  name: usize,
  nameLength: usize,
): Code {
  if (!inMemory(record, ADDRESS_SIZE)) return Code.Fault;
  if (!inMemory(address, addressLength)) return Code.Fault;
  if (port != 0 && !inMemory(port, portLength)) return Code.Fault;
  if (name != 0 && !inMemory(name, nameLength)) return Code.Fault;

  store<u32>(record, DEFAULT_PORT, Field.Port);
  store<u32>(record, Argument.Address, Field.Argument);
  const end = address + addressLength;

  if (equals(address, addressLength, HOST, true)) return setHost(record);
  let rest = address;
  while (rest < end && load<u8>(rest) != SLASH && load<u8>(rest) != PERCENT) rest++;
  const scheme = rest < end ? 1 + indexOf(SCHEMES, address, rest - address, true) : 0;
  if (scheme == 0) return wrong(record, Code.UnknownAddress, 0);
  store<u32>(record, scheme, Field.Scheme);
  const escaped = load<u8>(rest) == PERCENT && !contains(rest, end, SLASH);
  rest++;
  if (scheme == Scheme.Machine && equals(rest, end - rest, HOST, true)) return setHost(record);

  let code: Code;
  if (scheme == Scheme.Vsock) {
    code = parseCid(record, address, rest, end);
  } else {
    // Capitals matter only here. ADDRESS may have lost them; NAME has them at the same place.
    const written = isLowerCaseOf(address, addressLength, name, nameLength) ? name : address;
    if (written == name) store<u32>(record, Argument.Name, Field.Argument);
    rest += written - address;
    const stop = written + addressLength;
    code =
      scheme > Scheme.Host
        ? parseName(record, written, rest, stop)
        : scheme == Scheme.UnixAbstract
          ? parseAbstract(record, written, rest, stop, escaped)
          : parsePath(record, written, rest, stop, escaped);
    if (scheme <= Scheme.UnixAbstract) return code;
  }
  if (code != Code.Done || port == 0) return code;
  return parsePort(record, port, port + portLength);
}

/**
 * Sets the socket address of `record` to a path, byte for byte: the option for `.host`.
 *
 * @param length 1 to PATH_MAX, checked by the caller
 */
export function setHostPath(record: usize, path: usize, length: usize): void {
  memory.copy(record + OF_PATH, path, length);
  finish(record, Family.Unix, length);
}

function setHost(record: usize): Code {
  store<u32>(record, Scheme.Host, Field.Scheme);
  setHostPath(record, changetype<usize>("/run/ssh-unix-local/socket"), 26);
  return Code.Done;
}

function wrong(record: usize, code: Code, offset: usize): Code {
  store<u32>(record, <u32>offset, Field.Offset);
  return code;
}

function wrongPort(record: usize, code: Code, offset: usize): Code {
  store<u32>(record, Argument.Port, Field.Argument);
  return wrong(record, code, offset);
}

/** ssh converts %h to lower case, but not %n (ssh_config(5), TOKENS). */
function isLowerCaseOf(lower: usize, lowerLength: usize, name: usize, nameLength: usize): bool {
  if (name == 0 || lowerLength != nameLength) return false;
  for (let i: usize = 0; i < nameLength; i++) {
    if (load<u8>(lower + i) != lowerCase(load<u8>(name + i))) return false;
  }
  return true;
}

function contains(at: usize, end: usize, byte: u8): bool {
  for (; at < end; at++) if (load<u8>(at) == byte) return true;
  return false;
}

function finish(record: usize, family: Family, length: usize): void {
  store<u16>(record, <u16>family, Field.SocketAddress);
  store<u32>(record, <u32>length + 2, Field.Length);
}

function parsePath(record: usize, text: usize, at: usize, end: usize, escaped: bool): Code {
  if (at == end) return wrong(record, Code.EmptyPath, at - text);
  let length: usize = 0;
  if (!isRooted(at, end, escaped)) {
    store<u8>(record, SLASH, OF_PATH);
    length = 1;
  }
  return unescape(record, text, at, end, escaped, length, PATH_MAX, Code.PathTooLong);
}

function parseAbstract(record: usize, text: usize, at: usize, end: usize, escaped: bool): Code {
  if (at == end) return wrong(record, Code.EmptyName, at - text);
  store<u8>(record, 0, OF_PATH);
  return unescape(record, text, at, end, escaped, 1, ABSTRACT_MAX + 1, Code.NameTooLong);
}

/** The name of a machine has no `/`, so a `%` in it is itself. */
function parseName(record: usize, text: usize, at: usize, end: usize): Code {
  const length = end - at;
  if (length == 0) return wrong(record, Code.EmptyName, at - text);
  const isMachine = schemeOf(record) == Scheme.Machine;
  const valid = isMachine ? machineNameEnd(at, length) : domainNameEnd(at, length);
  if (valid != length) return wrong(record, Code.BadName, at + valid - text);
  memory.copy(record + OF_PATH, at, length);
  finish(record, Family.Unspecified, length);
  return Code.Done;
}

/** Whether a path begins with `/` or `./`, and so gets no `/` in front. */
function isRooted(at: usize, end: usize, escaped: bool): bool {
  if (load<u8>(at) == DOT) at++;
  if (at == end) return false;
  const byte = load<u8>(at);
  if (byte == SLASH) return true;
  // `%` means `/`, `%%` means `%`.
  return escaped && byte == PERCENT && (at + 1 == end || load<u8>(at + 1) != PERCENT);
}

/** Appends the rest of the text to the `length` bytes that the path has, and unescapes `%`. */
function unescape(
  record: usize,
  text: usize,
  at: usize,
  end: usize,
  escaped: bool,
  length: usize,
  longest: usize,
  tooLong: Code,
): Code {
  for (; at < end; at++) {
    let byte = load<u8>(at);
    if (byte == 0) return wrong(record, Code.NulByte, at - text);
    if (length == longest) return wrong(record, tooLong, at - text);
    if (escaped && byte == PERCENT) {
      if (at + 1 < end && load<u8>(at + 1) == PERCENT) at++;
      else byte = SLASH;
    }
    store<u8>(record + length, byte, OF_PATH);
    length++;
  }
  finish(record, Family.Unix, length);
  return Code.Done;
}

function parseCid(record: usize, text: usize, at: usize, end: usize): Code {
  const length = end - at;
  if (length == 0) return wrong(record, Code.EmptyCid, at - text);
  let cid: u64 = indexOf(CIDS, at, length, true);
  if (cid > LAST_NAMED_CID) {
    cid = decimal(at, end);
    if (cid != TOO_LARGE && (cid == NOT_DECIMAL || decimalEnd != end)) {
      return wrong(record, Code.BadCid, decimalEnd - text);
    }
    if (cid >= ANY) return wrong(record, Code.CidOutOfRange, at - text);
  }
  store<u32>(record, <u32>cid, Field.Cid);
  store<u16>(record, <u16>Family.Vsock, Field.SocketAddress);
  store<u16>(record, 0, Field.SocketAddress + 2);
  store<u32>(record, DEFAULT_PORT, Field.SocketAddress + 4);
  store<u32>(record, <u32>cid, Field.SocketAddress + 8);
  store<u32>(record, 12, Field.Length);
  return Code.Done;
}

function parsePort(record: usize, at: usize, end: usize): Code {
  if (at == end) return wrongPort(record, Code.EmptyPort, 0);
  const port = decimal(at, end);
  if (port != TOO_LARGE && (port == NOT_DECIMAL || decimalEnd != end)) {
    return wrongPort(record, Code.BadPort, decimalEnd - at);
  }
  if (port >= ANY) return wrongPort(record, Code.PortOutOfRange, 0);
  store<u32>(record, <u32>port, Field.Port);
  if (schemeOf(record) == Scheme.Vsock) store<u32>(record, <u32>port, Field.SocketAddress + 4);
  return Code.Done;
}
