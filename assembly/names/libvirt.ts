// libvirt's remote procedure calls (libvirt's src/rpc/virnetprotocol.x and
// src/remote/remote_protocol.x), as far as they lead from a domain's name to its CID.
//
// A message is a header and a payload, in XDR (RFC 4506: big-endian, padded to 4 bytes):
//
//    0  u32  length     of the whole message
//    4  u32  program    0x20008086
//    8  u32  version    1
//   12  u32  procedure
//   16  u32  type       0 call, 1 reply, 2 event
//   20  u32  serial     of the call
//   24  u32  status     0 OK, 1 error
//   28       the payload
//
// Rules
// 1. One call at a time: a reply to another call is wrong, because the daemon was not asked. Events are
//    skipped.
// 2. A message has at most MESSAGE_MAX bytes. A length in it that is above what is left is wrong at the
//    last byte of that length.
// 3. A payload ends where its last field does. Only of an error the rest is skipped, after its message.
// 4. A domain that is off has no CID, whatever its XML says: the CID may be another machine's now.
//
// Theory of operation
//   A domain is looked up by name, then by UUID and by ID if the name has the form of one, as
//   libvirt-ssh-proxy does. `part` says what the next byte belongs to: words of the header, then words
//   and runs (texts with their padding, UUIDs) of the payload. `field` counts them, `left` is what the
//   message still has, and `run` what the run still has.
//
//   state       | call                  | reply            | next
//   ------------+-----------------------+------------------+------------------------------------
//   Open        | CONNECT_OPEN          | empty            | ByName
//               |                       | error RPC        | List, once
//   List        | AUTH_LIST             | array of i32     | Polkit if it has polkit; Open if it has none,
//               |                       |                  | as for root; else ServiceError
//   Polkit      | AUTH_POLKIT           | i32              | Open
//               |                       | error            | LookupDenied
//   ByName      | DOMAIN_LOOKUP_BY_NAME | domain           | Xml; DomainOff if its ID is -1
//               |                       | error NO_DOMAIN  | ByUuid, ById, or NoSuchDomain
//   ByUuid      | DOMAIN_LOOKUP_BY_UUID | as ByName        | as ByName
//   ById        | DOMAIN_LOOKUP_BY_ID   | as ByName        | as ByName
//   Xml         | DOMAIN_GET_XML_DESC   | string           | Done at the CID; NoCidYet or NoVsockDevice
//               |                       |                  | at the end of the document
//   any         |                       | OPERATION_DENIED,| LookupDenied
//               |                       | AUTH_FAILED or   |
//               |                       | ACCESS_DENIED    |
//               |                       | any other error  | ServiceError
//
//   The text is the message of the last error.
//
// The fields of the slot, from OF_SERVICE_FIELDS on:
//
//    0  u8   state
//    1  u8   part      Part: what the next byte belongs to
//    2  u8   field     of the header or the payload
//    3  u8   ready     how many bytes of `word` were read
//    4  u8   padding   how many bytes follow the run
//    5  u8   failed    whether the reply is an error
//    6  u8   event     whether the message is an event
//    7  u8   auth      bit n: AUTH_LIST had the type n
//    8  u32  word      the word that is being read
//   12  u32  left      bytes left of the message, from the payload on
//   16  u32  run       bytes left of a text or UUID
//   20  u32  serial    of the call
//   24  u32  error     the code of an error
//   28  u32  id        of the domain
//   32  u8[16] uuid    of the domain
//   48  u8[] the XML scanner's record

import { DASH, decimal, decimalEnd, hexValue } from "../core/bytes";
import { Code } from "../codes";
import {
  OF_SERVICE_FIELDS,
  Service,
  Target,
  appendText,
  clearText,
  codeOf,
  end,
  found,
  nameLengthOf,
  nameOf,
  serviceOf,
  setAsks,
  setCid,
} from "./lookup";
import { Found, cidOf, hasVsock, step } from "./xml";

const enum State {
  Open = 0,
  List = 1,
  Polkit = 2,
  ByName = 3,
  ByUuid = 4,
  ById = 5,
  Xml = 6,
}

/** What the next byte belongs to. */
const enum Part {
  Header = 0,
  Word = 1,
  Run = 2,
  Padding = 3,
  /** Nothing that is looked at: the rest of an error, or an event. */
  Rest = 4,
}

const OF_STATE: usize = OF_SERVICE_FIELDS;
const OF_PART: usize = OF_SERVICE_FIELDS + 1;
const OF_FIELD: usize = OF_SERVICE_FIELDS + 2;
const OF_READY: usize = OF_SERVICE_FIELDS + 3;
const OF_PADDING: usize = OF_SERVICE_FIELDS + 4;
const OF_FAILED: usize = OF_SERVICE_FIELDS + 5;
const OF_EVENT: usize = OF_SERVICE_FIELDS + 6;
const OF_AUTH: usize = OF_SERVICE_FIELDS + 7;
const OF_WORD: usize = OF_SERVICE_FIELDS + 8;
const OF_LEFT: usize = OF_SERVICE_FIELDS + 12;
const OF_RUN: usize = OF_SERVICE_FIELDS + 16;
const OF_SERIAL: usize = OF_SERVICE_FIELDS + 20;
const OF_ERROR: usize = OF_SERVICE_FIELDS + 24;
const OF_ID: usize = OF_SERVICE_FIELDS + 28;
const OF_UUID: usize = OF_SERVICE_FIELDS + 32;
const OF_XML: usize = OF_SERVICE_FIELDS + 48;

const PROGRAM: u32 = 0x20008086;
const VERSION: u32 = 1;
const HEADER_SIZE: u32 = 28;
/** The longest message: a string of REMOTE_STRING_MAX bytes, its length and the header. */
const MESSAGE_MAX: u32 = HEADER_SIZE + 4 + 4194304;
const TYPE_REPLY: u32 = 1;
const TYPE_EVENT: u32 = 2;
const STATUS_ERROR: u32 = 1;
// Types of authentication.
const AUTH_NONE: u32 = 0;
const AUTH_POLKIT: u32 = 2;
const READ_ONLY: u32 = 1;
const NOT_RUNNING: u32 = 0xffff_ffff;
const UUID_SIZE: u32 = 16;

/** Codes of libvirt's virterror.h, without their VIR_ERR_. They do not change. */
const OPERATION_DENIED: u32 = 29;
const RPC: u32 = 39;
const NO_DOMAIN: u32 = 42;
const AUTH_FAILED: u32 = 45;
const ACCESS_DENIED: u32 = 88;

/** Room for each request, of machined too, even with a name of 255 bytes, which no valid one has. */
export const REQUEST_MAX: u32 = 320;

/** The next call is that of `state`. */
function call(slot: usize, state: State): void {
  store<u8>(slot, <u8>state, OF_STATE);
  setAsks(slot, true);
}

function procedureOf(state: State): u32 {
  switch (state) {
    case State.Open:
      return 1;
    case State.List:
      return 66;
    case State.Polkit:
      return 70;
    case State.ByName:
      return 23;
    case State.ByUuid:
      return 24;
    case State.ById:
      return 22;
  }
  return 14;
}

/** Writes the request, and returns its length. */
export function putRequest(slot: usize, at: usize): u32 {
  const state: State = load<u8>(slot, OF_STATE);
  const serial = load<u32>(slot, OF_SERIAL) + 1;
  store<u32>(slot, serial, OF_SERIAL);
  let next = putWord(at + 4, PROGRAM);
  next = putWord(next, VERSION);
  next = putWord(next, procedureOf(state));
  next = putWord(next, 0);
  next = putWord(next, serial);
  next = putWord(next, 0);
  switch (state) {
    case State.Open: {
      const system = serviceOf(slot) == Service.LibvirtSystem;
      const uri = system ? "qemu:///system" : "qemu:///session";
      next = putWord(next, 1);
      next = putString(next, changetype<usize>(uri), system ? 14 : 15);
      next = putWord(next, READ_ONLY);
      break;
    }
    case State.ByName:
      next = putString(next, nameOf(slot), nameLengthOf(slot));
      break;
    case State.ByUuid:
      next = putUuid(slot, next);
      break;
    case State.ById:
      next = putWord(next, load<u32>(slot, OF_ID));
      break;
    case State.Xml:
      // The daemon looks at the UUID only.
      next = putString(next, nameOf(slot), nameLengthOf(slot));
      next = putUuid(slot, next);
      next = putWord(next, load<u32>(slot, OF_ID));
      next = putWord(next, 0);
  }
  putWord(at, <u32>(next - at));
  return <u32>(next - at);
}

function putWord(at: usize, value: u32): usize {
  store<u32>(at, bswap(value));
  return at + 4;
}

function putString(at: usize, text: usize, length: usize): usize {
  at = putWord(at, <u32>length);
  const padded = (length + 3) & ~3;
  memory.fill(at, 0, padded);
  memory.copy(at, text, length);
  return at + padded;
}

function putUuid(slot: usize, at: usize): usize {
  memory.copy(at, slot + OF_UUID, UUID_SIZE);
  return at + UUID_SIZE;
}

/** Reads one byte of a reply. */
export function receive(slot: usize, byte: u32): void {
  const part: Part = load<u8>(slot, OF_PART);
  if (part != Part.Header) store<u32>(slot, load<u32>(slot, OF_LEFT) - 1, OF_LEFT);
  switch (part) {
    case Part.Header:
    case Part.Word:
      wordByte(slot, byte, part);
      break;
    case Part.Run:
      runByte(slot, byte);
      break;
    case Part.Padding: {
      const padding = load<u8>(slot, OF_PADDING) - 1;
      store<u8>(slot, padding, OF_PADDING);
      if (byte != 0) end(slot, Code.BadReply);
      else if (padding == 0) endOfRun(slot);
    }
  }
  if (codeOf(slot) == Code.NeedMore && load<u8>(slot, OF_PART) != Part.Header) {
    if (load<u32>(slot, OF_LEFT) == 0) endOfMessage(slot);
  }
}

function wordByte(slot: usize, byte: u32, part: Part): void {
  const value = (load<u32>(slot, OF_WORD) << 8) | byte;
  store<u32>(slot, value, OF_WORD);
  const ready: u32 = (load<u8>(slot, OF_READY) + 1) & 3;
  store<u8>(slot, <u8>ready, OF_READY);
  if (ready != 0) return;
  const field = load<u8>(slot, OF_FIELD);
  store<u8>(slot, field + 1, OF_FIELD);
  const allowed =
    part == Part.Header ? headerWord(slot, field, value) : payloadWord(slot, field, value);
  if (!allowed) end(slot, Code.BadReply);
}

/** @returns whether the value is allowed there */
function headerWord(slot: usize, field: u32, value: u32): bool {
  const isEvent = load<u8>(slot, OF_EVENT) != 0;
  switch (field) {
    case 0:
      store<u32>(slot, value - HEADER_SIZE, OF_LEFT);
      return value >= HEADER_SIZE && value <= MESSAGE_MAX;
    case 1:
      return value == PROGRAM;
    case 2:
      return value == VERSION;
    case 3:
      // Only an event may have another one. Its type comes next.
      store<u8>(slot, <u8>(value != procedureOf(load<u8>(slot, OF_STATE))), OF_EVENT);
      return true;
    case 4:
      store<u8>(slot, <u8>(value == TYPE_EVENT), OF_EVENT);
      return value == TYPE_EVENT || (value == TYPE_REPLY && !isEvent);
    case 5:
      return isEvent || value == load<u32>(slot, OF_SERIAL);
  }
  store<u8>(slot, <u8>value, OF_FAILED);
  store<u8>(slot, 0, OF_FIELD);
  store<u8>(slot, <u8>(isEvent ? Part.Rest : Part.Word), OF_PART);
  return value <= STATUS_ERROR;
}

/** @returns whether the value is allowed there */
function payloadWord(slot: usize, field: u32, value: u32): bool {
  const left = load<u32>(slot, OF_LEFT);
  if (load<u8>(slot, OF_FAILED) != 0) return errorWord(slot, field, value);
  const state: State = load<u8>(slot, OF_STATE);
  switch (state) {
    case State.List:
      if (field == 0) return value <= 64 && value * 4 == left;
      if (value <= AUTH_POLKIT) {
        store<u8>(slot, load<u8>(slot, OF_AUTH) | ((<u8>1) << (<u8>value)), OF_AUTH);
      }
      return true;
    case State.Polkit:
      return left == 0;
    case State.ByName:
    case State.ByUuid:
    case State.ById:
      // Its name, which the UUID follows, and its ID.
      if (field == 0) return beginRun(slot, value);
      store<u32>(slot, value, OF_ID);
      return left == 0;
    case State.Xml:
      return beginRun(slot, value);
  }
  // CONNECT_OPEN's reply is empty.
  return false;
}

/** Of an error: its code, its domain, and the message, which may be absent. */
function errorWord(slot: usize, field: u32, value: u32): bool {
  if (field == 0) {
    store<u32>(slot, value, OF_ERROR);
    clearText(slot);
  }
  if (field < 2) return true;
  if (field == 3) return beginRun(slot, value);
  if (value == 0) store<u8>(slot, <u8>Part.Rest, OF_PART);
  return value <= 1;
}

/** The next `length` bytes are a text, then come those that pad it. */
function beginRun(slot: usize, length: u32): bool {
  const padding: u32 = (4 - (length & 3)) & 3;
  if (<u64>length + padding > load<u32>(slot, OF_LEFT)) return false;
  store<u32>(slot, length, OF_RUN);
  store<u8>(slot, <u8>padding, OF_PADDING);
  store<u8>(slot, <u8>Part.Run, OF_PART);
  if (length == 0) endOfRun(slot);
  return true;
}

function runByte(slot: usize, byte: u32): void {
  const run = load<u32>(slot, OF_RUN) - 1;
  store<u32>(slot, run, OF_RUN);
  const state: State = load<u8>(slot, OF_STATE);
  if (load<u8>(slot, OF_FAILED) != 0) {
    appendText(slot, byte);
  } else if (state == State.Xml) {
    const result = step(slot + OF_XML, byte);
    if (result == Found.Cid) {
      setCid(slot, cidOf(slot + OF_XML));
      return found(slot, Target.Cid);
    }
    if (result == Found.End) {
      return end(slot, hasVsock(slot + OF_XML) ? Code.NoCidYet : Code.NoVsockDevice);
    }
    if (result == Found.Wrong) return end(slot, Code.BadReply);
  } else if (load<u8>(slot, OF_FIELD) == 2) {
    store<u8>(slot + (~run & (UUID_SIZE - 1)), <u8>byte, OF_UUID);
  }
  if (run > 0) return;
  if (load<u8>(slot, OF_PADDING) > 0) store<u8>(slot, <u8>Part.Padding, OF_PART);
  else endOfRun(slot);
}

function endOfRun(slot: usize): void {
  const state: State = load<u8>(slot, OF_STATE);
  if (load<u8>(slot, OF_FAILED) != 0) {
    store<u8>(slot, <u8>Part.Rest, OF_PART);
  } else if (state == State.Xml) {
    // The text ended before the document did.
    end(slot, Code.BadReply);
  } else if (load<u8>(slot, OF_FIELD) == 1) {
    // A domain's name; the UUID has no length before it.
    store<u8>(slot, 2, OF_FIELD);
    if (load<u32>(slot, OF_LEFT) < UUID_SIZE) return end(slot, Code.BadReply);
    store<u32>(slot, UUID_SIZE, OF_RUN);
    store<u8>(slot, <u8>Part.Run, OF_PART);
  } else {
    store<u8>(slot, <u8>Part.Word, OF_PART);
  }
}

/** How many words and runs the payload of a reply has at least. */
function fieldsOf(state: State): u32 {
  if (state == State.Open) return 0;
  return state == State.List || state == State.Polkit ? 1 : 3;
}

function endOfMessage(slot: usize): void {
  const part: Part = load<u8>(slot, OF_PART);
  const state: State = load<u8>(slot, OF_STATE);
  const fields = load<u8>(slot, OF_FIELD);
  const isEvent = load<u8>(slot, OF_EVENT) != 0;
  const failed = load<u8>(slot, OF_FAILED) != 0;
  store<u8>(slot, <u8>Part.Header, OF_PART);
  store<u8>(slot, 0, OF_FIELD);
  if (isEvent) return;
  const complete = failed
    ? part == Part.Rest
    : fields >= fieldsOf(state) && load<u8>(slot, OF_READY) == 0;
  if (!complete) end(slot, Code.BadReply);
  else if (failed) endOfError(slot, state, load<u32>(slot, OF_ERROR));
  else endOfReply(slot, state);
}

function endOfReply(slot: usize, state: State): void {
  switch (state) {
    case State.Open:
      return call(slot, State.ByName);
    case State.List: {
      const types: u32 = load<u8>(slot, OF_AUTH);
      if (types >= 1 << AUTH_POLKIT) return call(slot, State.Polkit);
      if ((types & (1 << AUTH_NONE)) == 0) return end(slot, Code.ServiceError);
      return call(slot, State.Open);
    }
    case State.Polkit:
      return call(slot, State.Open);
  }
  if (load<u32>(slot, OF_ID) == NOT_RUNNING) return end(slot, Code.DomainOff);
  call(slot, State.Xml);
}

function endOfError(slot: usize, state: State, error: u32): void {
  if (state == State.Open && error == RPC && load<u8>(slot, OF_AUTH) == 0) {
    return call(slot, State.List);
  }
  const looksUp = state >= State.ByName && state <= State.ById;
  if (looksUp && error == NO_DOMAIN) return callNext(slot, state);
  const denied =
    state == State.Polkit ||
    error == OPERATION_DENIED ||
    error == AUTH_FAILED ||
    error == ACCESS_DENIED;
  end(slot, denied ? Code.LookupDenied : Code.ServiceError);
}

/** Looks the domain up by what else its name may be. */
function callNext(slot: usize, state: State): void {
  if (state == State.ByName && readUuid(slot)) return call(slot, State.ByUuid);
  const stop = nameOf(slot) + nameLengthOf(slot);
  const id = decimal(nameOf(slot), stop);
  if (state == State.ById || id > 0x7fff_ffff || decimalEnd != stop) {
    return end(slot, Code.NoSuchDomain);
  }
  store<u32>(slot, <u32>id, OF_ID);
  call(slot, State.ById);
}

/** Reads the name as a UUID: 32 hexadecimal digits, or with a `-` after 8, 12, 16 and 20 of them. */
function readUuid(slot: usize): bool {
  const length = nameLengthOf(slot);
  if (length != 32 && length != 36) return false;
  let digits: usize = 0;
  let value: u32 = 0;
  for (let i: usize = 0; i < length; i++) {
    const byte = <u32>load<u8>(nameOf(slot) + i);
    if (length == 36 && (i == 8 || i == 13 || i == 18 || i == 23)) {
      if (byte != DASH) return false;
      continue;
    }
    const digit = hexValue(byte);
    if (digit > 15) return false;
    value = (value << 4) | digit;
    if (digits++ & 1) store<u8>(slot + (digits >>> 1) - 1, <u8>value, OF_UUID);
  }
  return true;
}
