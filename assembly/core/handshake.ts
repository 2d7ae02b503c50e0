// The handshake with a hybrid-vsock multiplexer (Firecracker docs/vsock.md, cloud-hypervisor
// docs/vsock.md): the client asks `CONNECT <port>\n`, the multiplexer answers `OK <number>\n`, and
// from then on the connection carries the guest's bytes.
//
// Rules
// 1. Nothing here does I/O or knows the time. The host tells what has happened (bytes, end of file,
//    a passed deadline) and is told what that means.
// 2. The request leaves in one write. Multiplexers read a command once: Firecracker drops a
//    connection whose CONNECT comes in pieces, and forwards what stands behind its `\n`.
// 3. No byte behind the answer's `\n` is consumed, ever: it is the guest's, whose SSH banner may
//    lie in the same segment. The host looks first (MSG_PEEK), then takes what was consumed.
// 4. Everything a handshake knows stands in its slot, HANDSHAKE_SIZE bytes of the caller's. So one
//    instance holds as many handshakes as its memory has room for, and none costs an allocation.
// 5. A handshake that has ended stays as it ended: later events change nothing, consume nothing.
//
// Theory of operation
//   The answer is a regular language, `OK [0-9]{1,10}\n` with a value of at most 2^32 - 1, so its
//   recogniser is a state for each place in the line and one number. How the bytes are cut into
//   segments cannot matter, because no state looks at more than one byte.
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
//            | deadline          | Failed  | Silence
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
//    4  u32  offset   bytes of the answer consumed; on BadLine and NumberOutOfRange, the place of
//                     the byte that is wrong
//    8  u32  number   what the answer's digits say

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
export const ANSWER_MAX: u32 = 14;
const PREFIX: u32 = 3;
const DIGITS_MAX: u32 = 10;

const NEWLINE: u8 = 0x0a;

/**
 * Starts a handshake for `port` in `slot`, and writes its request, 10 to 19 bytes, to `request`.
 *
 * @param slot HANDSHAKE_SIZE bytes, whatever they hold
 * @param request REQUEST_MAX bytes
 * @returns the request's length; 0 where slot or request do not lie within the memory
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

/** Event: one write has taken `count` bytes of the request. */
export function sent(slot: usize, count: u32): void {
  if (stateOf(slot) != State.Request) return;
  if (count == load<u8>(slot, OF_REQUEST_LENGTH)) enter(slot, State.LetterO, Code.NeedMore);
  else enter(slot, State.Failed, Code.ShortWrite);
}

/**
 * Event: the bytes [at, at + length) have arrived and are still in the socket.
 *
 * @returns how many of them are the handshake's: the host takes so many off the socket, no more.
 *   0 where [at, at + length) does not lie within the memory
 */
export function receive(slot: usize, at: usize, length: u32): u32 {
  if (!awaitsAnswer(slot) || !inMemory(at, length)) return 0;
  const before = offsetOf(slot);
  for (let i: u32 = 0; i < length && awaitsAnswer(slot); i++) step(slot, load<u8>(at + i));
  return offsetOf(slot) - before;
}

/** Event: the peer has closed, and every byte before that has been consumed. */
export function endOfFile(slot: usize): void {
  if (!awaitsAnswer(slot)) return;
  const early = stateOf(slot) == State.LetterO;
  enter(slot, State.Failed, early ? Code.EndOfFile : Code.EndWithinLine);
}

/** Event: the time that the host gives a handshake has passed. */
export function deadline(slot: usize): void {
  if (!awaitsAnswer(slot)) return;
  const early = stateOf(slot) == State.LetterO;
  enter(slot, State.Failed, early ? Code.ReplyTimeout : Code.ReplyTimeoutWithinLine);
}

/** How it stands: NeedMore, Done, or why it has failed. Fault for a slot outside the memory. */
export function codeOf(slot: usize): Code {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u16>(slot, OF_CODE) : Code.Fault;
}

/** Bytes of the answer consumed so far. */
export function offsetOf(slot: usize): u32 {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u32>(slot, OF_OFFSET) : 0;
}

/** The number in the answer: a port of the multiplexer's choice. Valid once Done. */
export function numberOf(slot: usize): u32 {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u32>(slot, OF_NUMBER) : 0;
}

/** The most bytes that the rest of the answer can have: no need to look at more. */
export function wantedBy(slot: usize): u32 {
  return awaitsAnswer(slot) ? ANSWER_MAX - offsetOf(slot) : 0;
}

function stateOf(slot: usize): State {
  return inMemory(slot, HANDSHAKE_SIZE) ? load<u8>(slot, OF_STATE) : State.Idle;
}

function awaitsAnswer(slot: usize): bool {
  const state = stateOf(slot);
  return state >= State.LetterO && state <= State.Digits;
}

function enter(slot: usize, state: State, code: Code): void {
  store<u8>(slot, <u8>state, OF_STATE);
  store<u16>(slot, <u16>code, OF_CODE);
}

/** One byte of the answer: it is consumed unless it cannot stand there. */
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
