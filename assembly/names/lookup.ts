// A look-up: what machined.ts and libvirt.ts share. A machine's name goes in, the requests to a
// service and its replies go out and in, and what the machine can be reached by comes out.
//
// Rules
// 1. No I/O and no time here. The host connects to the service's socket, and reports events (bytes,
//    end of file, a passed deadline) until the code is not NeedMore.
// 2. All state of a look-up is in its slot, LOOKUP_SIZE bytes of the caller's, whatever the service
//    sends. No reply is kept: each byte is read once. Nothing is allocated. A slot may hold any bytes:
//    no length or index of it leads out of the slot and the request.
// 3. No byte after the end of a reply is consumed, and none that is wrong.
// 4. After the end of a look-up, later events change nothing and consume nothing.
// 5. What a service sends is not trusted: a reply has a greatest length, and every length in it is
//    checked against what is left. The text may hold any bytes: the host escapes it before it prints
//    it.
//
// Theory of operation
//   A look-up is a sequence of a request and its reply: one with machined, up to seven with libvirt.
//   machined.ts and libvirt.ts say which request comes next, and what a reply leads to.
//
//   code     | asks | event                 | next
//   ---------+------+-----------------------+----------------------------------------------------
//            |      | begin                 | NeedMore, asks; or BadName
//   NeedMore | yes  | the request was taken | NeedMore, does not ask
//   NeedMore | no   | a byte of a reply     | NeedMore; after the last one NeedMore, asks; or Done, or
//            |      |                       | the reason of the failure
//            |      | a wrong byte          | BadReply; ReplyTooLong
//   NeedMore | any  | end of file           | EndWithinReply
//            |      | deadline              | LookupTimeout
//   Every other pair leaves the slot as it is.
//
// The slot, little-endian:
//
//     0  u8   service     Service
//     1  u8   asks        whether a request is to be sent
//     2  u16  code
//     4  u32  offset      bytes consumed, of all replies; so the offset of the wrong byte after BadReply
//                         and ReplyTooLong, and that in the name after BadName
//     8  u32  cid         the result, if it is one
//    12  u8   target      Target: what the result is. Valid after Done
//    14  u8   nameLength
//    16  u16  textLength
//    20  u8[] name        256 bytes
//   276  u8[] text        TEXT_MAX bytes: the address that machined has, the class or service that has no
//                         known way in, or the service's own error
//   532       the fields of the service's file

import { Code } from "../codes";

/** The service that is asked. */
export const enum Service {
  Machined = 1,
  LibvirtSystem = 2,
  LibvirtSession = 3,
}

/** What a name leads to. */
export const enum Target {
  /** The AF_VSOCK address with this CID. */
  Cid = 1,
  /** The address that is the look-up's text, as a person would write it. */
  Address = 2,
  /** The socket that systemd-nspawn exports for the container. */
  Container = 3,
}

const OF_SERVICE: usize = 0;
const OF_ASKS: usize = 1;
const OF_CODE: usize = 2;
const OF_OFFSET: usize = 4;
const OF_CID: usize = 8;
const OF_TARGET: usize = 12;
const OF_NAME_LENGTH: usize = 14;
const OF_TEXT_LENGTH: usize = 16;
const OF_NAME: usize = 20;
const OF_TEXT: usize = 276;
/** Where the fields of a service begin. */
export const OF_SERVICE_FIELDS: usize = 532;

export const TEXT_MAX: u32 = 256;
export const LOOKUP_SIZE: usize = OF_SERVICE_FIELDS + 284;

/** Prepares the slot, and copies the name: 255 bytes at most. */
export function prepare(slot: usize, service: Service, name: usize, nameLength: usize): void {
  memory.fill(slot, 0, LOOKUP_SIZE);
  store<u8>(slot, <u8>service, OF_SERVICE);
  store<u8>(slot, <u8>nameLength, OF_NAME_LENGTH);
  memory.copy(slot + OF_NAME, name, nameLength);
  store<u16>(slot, <u16>Code.NeedMore, OF_CODE);
  setAsks(slot, true);
}

export function serviceOf(slot: usize): Service {
  return load<u8>(slot, OF_SERVICE);
}

/** Whether a request is to be sent. */
export function asks(slot: usize): bool {
  return load<u8>(slot, OF_ASKS) != 0;
}

export function setAsks(slot: usize, value: bool): void {
  store<u8>(slot, <u8>value, OF_ASKS);
}

export function codeOf(slot: usize): Code {
  return load<u16>(slot, OF_CODE);
}

/** Ends the look-up. */
export function end(slot: usize, code: Code): void {
  store<u16>(slot, <u16>code, OF_CODE);
}

/** Ends the look-up with a result. */
export function found(slot: usize, target: Target): void {
  setTarget(slot, target);
  end(slot, Code.Done);
}

export function setTarget(slot: usize, target: Target): void {
  store<u8>(slot, <u8>target, OF_TARGET);
}

export function offsetOf(slot: usize): u32 {
  return load<u32>(slot, OF_OFFSET);
}

export function setOffset(slot: usize, offset: u32): void {
  store<u32>(slot, offset, OF_OFFSET);
}

export function targetOf(slot: usize): Target {
  return load<u8>(slot, OF_TARGET);
}

export function cidOf(slot: usize): u32 {
  return load<u32>(slot, OF_CID);
}

export function setCid(slot: usize, cid: u32): void {
  store<u32>(slot, cid, OF_CID);
}

export function nameOf(slot: usize): usize {
  return slot + OF_NAME;
}

export function nameLengthOf(slot: usize): usize {
  return load<u8>(slot, OF_NAME_LENGTH);
}

export function textOf(slot: usize): usize {
  return slot + OF_TEXT;
}

export function textLengthOf(slot: usize): u32 {
  return load<u16>(slot, OF_TEXT_LENGTH);
}

/** Appends a byte to the text, up to TEXT_MAX bytes. */
export function appendText(slot: usize, byte: u32): void {
  const length = textLengthOf(slot);
  if (length >= TEXT_MAX) return;
  store<u8>(slot + length, <u8>byte, OF_TEXT);
  store<u16>(slot, <u16>(length + 1), OF_TEXT_LENGTH);
}

export function clearText(slot: usize): void {
  store<u16>(slot, 0, OF_TEXT_LENGTH);
}
