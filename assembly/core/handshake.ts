// The handshake with a hybrid-vsock multiplexer (Firecracker docs/vsock.md, cloud-hypervisor
// docs/vsock.md): the client sends `CONNECT <port>\n`, the multiplexer replies `OK <number>\n`, and
// from then on the connection carries the guest's bytes.
//
// Rules
// 1. No I/O and no time here. The host reports events (bytes, end of file, a passed deadline) and gets
//    a code.
// 2. The request is sent in one write. Multiplexers read a command once: Firecracker drops a
//    connection whose CONNECT comes in pieces, and forwards the bytes after its `\n`.
// 3. No byte after the reply's `\n` is ever consumed: it is the guest's, whose SSH banner may be in
//    the same segment. The host peeks first (MSG_PEEK), then takes the bytes that were consumed.
// 4. All state of a handshake is in its slot, HANDSHAKE_SIZE bytes of the caller's. So one instance
//    holds as many handshakes as its memory has room for, and none needs an allocation.
// 5. After the end of a handshake, later events change nothing and consume nothing.
//
// Theory of operation
//   The reply is a regular language, `OK [0-9]{1,10}\n` with a value of at most 2^32 - 1, so it is
//   parsed with a state for each place in the line and one number. It makes no difference how the
//   bytes are split into segments, because no state looks at more than one byte.
//
//   state    | event             | next    | code
//   ---------+-------------------+---------+---------------------------------
//   Idle     | begin             | Request | NeedMore
//   Request  | sent, all of it   | LetterO | NeedMore
//            | sent, a part      | Failed  | ShortWrite
//   LetterO  | `O`               | LetterK | NeedMore
//   LetterK  | `K`               | Space   | NeedMore
//   Space    | ` `               | Digit   | NeedMore
//   Digit    | `0` to `9`        | Digits  | NeedMore
//   Digits   | `0` to `9`, to 10 | Digits  | NeedMore, or NumberOutOfRange
//            | `\n`              | Open    | Done
//   LetterO  | end of file       | Failed  | EndOfFile
//            | deadline          | Failed  | ReplyTimeout
//   LetterK to Digits, end of file| Failed | EndWithinLine
//                      deadline  | Failed  | ReplyTimeoutWithinLine
//                      any other byte      | Failed  | BadLine (LetterO too)
//   Every other pair of state and event leaves the slot as it is.
//
// The slot, little-endian:
//
//    0  u8   state
//    1  u8   length   of the request
//    2  u16  code     Code of the state
//    4  u32  offset   bytes of the reply consumed; after BadLine and NumberOutOfRange, the offset of
//                     the wrong byte
//    8  u32  number   the value of the reply's digits

import { DIGIT_0, inMemory, putDecimal } from "./bytes";
import { Code } from "../codes";

const enum State {
  Idle = 0,
  Request = 1,
  LetterO = 2,
  LetterK = 3,
  Space = 4,
  Digit = 5,
  Digits = 6,
  Open = 7,
  Failed = 8,
}

const OF_STATE: usize = 0;
const OF_REQUEST_LENGTH: usize = 1;
const OF_CODE: usize = 2;
const OF_OFFSET: usize = 4;
const OF_NUMBER: usize = 8;

export const HANDSHAKE_SIZE: usize = 12;

/** `CONNECT 4294967295\n` */
export const REQUEST_MAX: usize = 19;
/** `OK 4294967295\n` */
export const REPLY_MAX: u32 = 14;
const PREFIX: u32 = 3;
const DIGITS_MAX: u32 = 10;

const NEWLINE: u8 = 0x0a;

/**
 * Starts a handshake for `port` in `slot`, and writes its request, 10 to 19 bytes, to `request`.
 *
 * @param slot HANDSHAKE_SIZE bytes of any content
 * @param request REQUEST_MAX bytes
 * @returns the request's length; 0 if slot or request is not within the memory
 */
export function begin(slot: usize, port: u32, request: usize): u32 {
  if (!inMemory(slot, HANDSHAKE_SIZE) || !inMemory(request, REQUEST_MAX)) return 0;
  memory.copy(request, changetype<usize>("CONNECT "), 8);
  const end = putDecimal(request + 8, port);
  store<u8>(end, NEWLINE);
  const length = <u32>(end - request) + 1;

  store<u32>(slot, 0, OF_OFFSET);
  store<u32>(slot, 0, OF_NUMBER);
  store<u8>(slot, <u8>length, OF_REQUEST_LENGTH);
  enter(slot, State.Request, Code.NeedMore);
  return length;
}

/** Event: one write has sent `count` bytes of the request. */
export function sent(slot: usize, count: u32): void {
  if (stateOf(slot) != State.Request) return;
  if (count == load<u8>(slot, OF_REQUEST_LENGTH)) enter(slot, State.LetterO, Code.NeedMore);
  else enter(slot, State.Failed, Code.ShortWrite);
}

/**
 * Event: the bytes [at, at + length) have arrived and are still in the socket.
 *
 * @returns how many of them belong to the handshake: the host takes exactly these from the socket.
 *   0 if [at, at + length) is not within the memory
 */
export function receive(slot: usize, at: usize, length: u32): u32 {
  if (!awaitsReply(slot) || !inMemory(at, length)) return 0;
  const before = offsetOf(slot);
  for (let i: u32 = 0; i < length && awaitsReply(slot); i++) step(slot, load<u8>(at + i));
  return offsetOf(slot) - before;
}

/** Event: the peer has closed, and every byte before that has been consumed. */
export function endOfFile(slot: usize): void {
  if (!awaitsReply(slot)) return;
  const early = stateOf(slot) == State.LetterO;
  enter(slot, State.Failed, early ? Code.EndOfFile : Code.EndWithinLine);
}

/** Event: the host's deadline for the handshake has passed. */
export function deadline(slot: usize): void {
  if (!awaitsReply(slot)) return;
  const early = stateOf(slot) == State.LetterO;
  enter(slot, State.Failed, early ? Code.ReplyTimeout : Code.ReplyTimeoutWithinLine);
}

/** NeedMore, Done, or the reason of the failure. Fault for a slot outside the memory. */
export function codeOf(slot: usize): Code {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u16>(slot, OF_CODE) : Code.Fault;
}

/** Bytes of the reply consumed so far. */
export function offsetOf(slot: usize): u32 {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u32>(slot, OF_OFFSET) : 0;
}

/** The number in the reply: a port that the multiplexer has chosen. Valid after Done. */
export function numberOf(slot: usize): u32 {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u32>(slot, OF_NUMBER) : 0;
}

/** The greatest length of the rest of the reply. */
export function wantedBy(slot: usize): u32 {
  return awaitsReply(slot) ? REPLY_MAX - offsetOf(slot) : 0;
}

function stateOf(slot: usize): State {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u8>(slot, OF_STATE) : State.Idle;
}

function awaitsReply(slot: usize): bool {
  const state = stateOf(slot);
  return state >= State.LetterO && state <= State.Digits;
}

function enter(slot: usize, state: State, code: Code): void {
  store<u8>(slot, <u8>state, OF_STATE);
  store<u16>(slot, <u16>code, OF_CODE);
}

/** Consumes one byte of the reply if it is allowed there. */
function step(slot: usize, byte: u32): void {
  const offset = load<u32>(slot, OF_OFFSET);
  const state = stateOf(slot);
  if (state >= State.Digit) {
    const digit = byte - DIGIT_0;
    if (digit <= 9 && offset < PREFIX + DIGITS_MAX) {
      const number = <u64>load<u32>(slot, OF_NUMBER) * 10 + digit;
      if (number > 0xffff_ffff) return enter(slot, State.Failed, Code.NumberOutOfRange);
      store<u32>(slot, <u32>number, OF_NUMBER);
      enter(slot, State.Digits, Code.NeedMore);
    } else if (byte == NEWLINE && state == State.Digits) {
      enter(slot, State.Open, Code.Done);
    } else {
      return enter(slot, State.Failed, Code.BadLine);
    }
  } else {
    const expected: u32 = state == State.LetterO ? 0x4f : state == State.LetterK ? 0x4b : 0x20;
    if (byte != expected) return enter(slot, State.Failed, Code.BadLine);
    enter(slot, state + 1, Code.NeedMore);
  }
  store<u32>(slot, offset + 1, OF_OFFSET);
}
