// A reader of one JSON object (RFC 8259) that is given a byte at a time.
//
// Rules
// 1. Strict: no comment, no trailing comma, no leading zero, no byte below 0x20 and no malformed UTF-8
//    in a string, no lone surrogate. The first wrong byte is an error.
// 2. Bounded: at most DEPTH_MAX open containers, and the first TEXT_MAX bytes of a text. A caller that
//    skips a value keeps nothing of it.
// 3. All state is in JSON_SIZE bytes of the caller's, which are zero at the start.
//
// Theory of operation
//   `step` takes a byte and returns an event, at most one. A number has no end of its own: the event
//   Number comes with the first byte behind it, which is not consumed; the caller gives it again.
//   The text of a key, a string (decoded) or a number (as written) is in the record until the next
//   value or key begins. A surrogate that is alone is wrong at the last digit of its escape.
//
//   state             | byte                   | next                 | event
//   ------------------+------------------------+----------------------+--------------------------
//   Start             | `{`                    | FirstKey             | ObjectBegin
//   FirstKey, Key     | `"`                    | String               |
//   Colon             | `:`                    | Value                |
//   Value, FirstValue | `{`, `[`               | FirstKey, FirstValue | ObjectBegin, ArrayBegin
//                     | `"`                    | String               |
//                     | `-`, `0`, `1` to `9`   | Minus, Zero, Integer |
//                     | `t`, `f`, `n`          | Literal              |
//   Next              | `,`                    | Key, or Value        |
//   Next, FirstKey    | `}` of an object       | Next, or Complete    | ContainerEnd
//   Next, FirstValue  | `]` of an array        | Next                 | ContainerEnd
//   String            | `"`                    | Colon, or Next       | Key, or String
//                     | `\`                    | Escape               |
//   Escape            | one of `"\/bfnrt`      | String               |
//                     | `u`                    | Hex                  |
//   Hex               | the fourth digit       | String, or Pair      |
//   Pair, PairU       | `\`, `u`               | PairU, Hex           |
//   Literal           | the last letter        | Next                 | True, False or Null
//   Minus             | `0`, `1` to `9`        | Zero, Integer        |
//   Zero, Integer     | `.`                    | Point                |
//   Point             | a digit                | Fraction             |
//   Zero to Fraction  | `e`, `E`               | Exponent             |
//   Exponent          | `+`, `-`               | Sign                 |
//   Exponent, Sign    | a digit                | Power                |
//   Zero to Power     | one that ends a number | Next                 | Number
//   Letters, digits and characters that continue a state leave it; so does white space in Start to
//   Next, and in Complete. Every other byte is Wrong.
//
// The record, little-endian:
//
//    0  u8    state
//    1  u8    depth     how many containers are open
//    2  u16   objects   bit d - 1: whether the container at depth d is an object
//    4  u8    literal   the literal that is being read
//    5  u8    place     how many bytes of the literal, or digits of \uXXXX, were read
//    6  u8    more      how many bytes the UTF-8 sequence still needs
//    7  u8[2] the range of the next one of them
//    9  u8    isKey     whether the string is a key
//   10  u16   unit      the value of \uXXXX so far
//   12  u16   lead      the surrogate that waits for its second half; 0 for none
//   14  u16   length    of the text; TEXT_MAX + 1 if it was cut
//   16  u8[]  text

import { DASH, DIGIT_0, DOT, SPACE, hexValue } from "../core/bytes";

export const JSON_SIZE: usize = 16 + 256;
export const TEXT_MAX: u32 = 255;
const DEPTH_MAX: u32 = 16;

/** What a byte has ended or begun. */
export const enum Event {
  /** Nothing yet. */
  None = 0,
  /** A member's name; its value follows. */
  Key = 1,
  String = 2,
  /** The byte was not consumed. */
  Number = 3,
  True = 4,
  False = 5,
  Null = 6,
  ObjectBegin = 7,
  ArrayBegin = 8,
  ContainerEnd = 9,
  /** The byte is not allowed here. */
  Wrong = 10,
}

const enum State {
  Start = 0,
  Value = 1,
  /** A value or `]`. */
  FirstValue = 2,
  /** A key or `}`. */
  FirstKey = 3,
  Key = 4,
  Colon = 5,
  /** `,` or the end of the container. */
  Next = 6,
  String = 7,
  Escape = 8,
  Hex = 9,
  /** `\` and `u` of the second surrogate. */
  Pair = 10,
  PairU = 11,
  Literal = 12,
  /** After the object. */
  Complete = 13,
  // Numbers. Those from Zero on may be their end.
  Minus = 14,
  Point = 15,
  Exponent = 16,
  Sign = 17,
  Zero = 18,
  Integer = 19,
  Fraction = 20,
  Power = 21,
}

const OF_DEPTH: usize = 1;
const OF_OBJECTS: usize = 2;
const OF_LITERAL: usize = 4;
const OF_PLACE: usize = 5;
const OF_MORE: usize = 6;
const OF_LOW: usize = 7;
const OF_HIGH: usize = 8;
const OF_IS_KEY: usize = 9;
const OF_UNIT: usize = 10;
const OF_LEAD: usize = 12;
const OF_LENGTH: usize = 14;
const OF_TEXT: usize = 16;

const QUOTE: u32 = 0x22;
const BACKSLASH: u32 = 0x5c;

export function depthOf(json: usize): u32 {
  return load<u8>(json, OF_DEPTH);
}

export function isComplete(json: usize): bool {
  return load<u8>(json) == State.Complete;
}

export function textOf(json: usize): usize {
  return json + OF_TEXT;
}

/** The length of the text; TEXT_MAX + 1 if it was cut. */
export function lengthOf(json: usize): u32 {
  return load<u16>(json, OF_LENGTH);
}

/** Reads one byte. */
export function step(json: usize, byte: u32): Event {
  const state: State = load<u8>(json);
  switch (state) {
    case State.String:
      return stringByte(json, byte);
    case State.Escape:
      return escapedByte(json, byte);
    case State.Hex:
      return hexByte(json, byte);
    case State.Pair:
      return byte == BACKSLASH ? enter(json, State.PairU) : Event.Wrong;
    case State.PairU:
      return byte == 0x75 ? beginHex(json) : Event.Wrong;
    case State.Literal:
      return literalByte(json, byte);
  }
  if (state >= State.Minus) return numberByte(json, state, byte);
  if (byte == SPACE || byte == 0x0a || byte == 0x0d || byte == 0x09) return Event.None;
  switch (state) {
    case State.Start:
      return byte == 0x7b ? open(json, true) : Event.Wrong;
    case State.FirstKey:
      if (byte == 0x7d) return close(json);
    // falls through
    case State.Key:
      return byte == QUOTE ? beginString(json, true) : Event.Wrong;
    case State.Colon:
      return byte == 0x3a ? enter(json, State.Value) : Event.Wrong;
    case State.Next:
      if (byte == 0x2c) return enter(json, inObject(json) ? State.Key : State.Value);
      return byte == (inObject(json) ? 0x7d : 0x5d) ? close(json) : Event.Wrong;
    case State.FirstValue:
      if (byte == 0x5d) return close(json);
    // falls through
    case State.Value:
      return beginValue(json, byte);
  }
  return Event.Wrong;
}

function enter(json: usize, state: State): Event {
  store<u8>(json, <u8>state);
  return Event.None;
}

/** Whether the innermost open container is an object. */
function inObject(json: usize): bool {
  return ((load<u16>(json, OF_OBJECTS) >>> (depthOf(json) - 1)) & 1) != 0;
}

function open(json: usize, object: bool): Event {
  const depth = depthOf(json);
  if (depth == DEPTH_MAX) return Event.Wrong;
  const bit: u32 = 1 << depth;
  const objects = <u32>load<u16>(json, OF_OBJECTS);
  store<u16>(json, <u16>(object ? objects | bit : objects & ~bit), OF_OBJECTS);
  store<u8>(json, <u8>(depth + 1), OF_DEPTH);
  enter(json, object ? State.FirstKey : State.FirstValue);
  return object ? Event.ObjectBegin : Event.ArrayBegin;
}

function close(json: usize): Event {
  const depth = depthOf(json) - 1;
  store<u8>(json, <u8>depth, OF_DEPTH);
  enter(json, depth == 0 ? State.Complete : State.Next);
  return Event.ContainerEnd;
}

function beginValue(json: usize, byte: u32): Event {
  if (byte == 0x7b || byte == 0x5b) return open(json, byte == 0x7b);
  if (byte == QUOTE) return beginString(json, false);
  store<u16>(json, 0, OF_LENGTH);
  if (byte == DASH || byte - DIGIT_0 <= 9) {
    append(json, byte);
    return enter(json, byte == DASH ? State.Minus : byte == DIGIT_0 ? State.Zero : State.Integer);
  }
  const literal: u32 = byte == 0x74 ? Event.True : byte == 0x66 ? Event.False : Event.Null;
  if (literal == Event.Null && byte != 0x6e) return Event.Wrong;
  store<u8>(json, <u8>literal, OF_LITERAL);
  store<u8>(json, 1, OF_PLACE);
  return enter(json, State.Literal);
}

function literalByte(json: usize, byte: u32): Event {
  const literal: Event = load<u8>(json, OF_LITERAL);
  const text = literal == Event.True ? "true" : literal == Event.False ? "false" : "null";
  const place = changetype<usize>(text) + load<u8>(json, OF_PLACE);
  if (byte != load<u8>(place)) return Event.Wrong;
  store<u8>(json, load<u8>(json, OF_PLACE) + 1, OF_PLACE);
  if (load<u8>(place, 1) != 0) return Event.None;
  enter(json, State.Next);
  return literal;
}

function numberByte(json: usize, state: State, byte: u32): Event {
  const digit = byte - DIGIT_0 <= 9;
  let next: State = State.Next;
  switch (state) {
    case State.Minus:
      if (digit) next = byte == DIGIT_0 ? State.Zero : State.Integer;
      break;
    case State.Integer:
      if (digit) next = State.Integer;
    // falls through
    case State.Zero:
      if (byte == DOT) next = State.Point;
      else if ((byte | 0x20) == 0x65) next = State.Exponent;
      break;
    case State.Point:
      if (digit) next = State.Fraction;
      break;
    case State.Fraction:
      if (digit) next = State.Fraction;
      else if ((byte | 0x20) == 0x65) next = State.Exponent;
      break;
    case State.Exponent:
      if (byte == 0x2b || byte == DASH) next = State.Sign;
    // falls through
    case State.Sign:
    case State.Power:
      if (digit) next = State.Power;
  }
  if (next == State.Next && state < State.Zero) return Event.Wrong;
  enter(json, next);
  if (next == State.Next) return Event.Number;
  append(json, byte);
  return Event.None;
}

function beginString(json: usize, isKey: bool): Event {
  store<u8>(json, <u8>isKey, OF_IS_KEY);
  store<u16>(json, 0, OF_LENGTH);
  store<u8>(json, 0, OF_MORE);
  store<u16>(json, 0, OF_LEAD);
  return enter(json, State.String);
}

/** A byte of a string. UTF-8: The Unicode Standard, table 3-7. */
function stringByte(json: usize, byte: u32): Event {
  const more = load<u8>(json, OF_MORE);
  if (more > 0) {
    if (byte < load<u8>(json, OF_LOW) || byte > load<u8>(json, OF_HIGH)) return Event.Wrong;
    expectBytes(json, more - 1, 0x80, 0xbf);
  } else if (byte >= 0x80) {
    if (byte < 0xc2 || byte > 0xf4) return Event.Wrong;
    const low: u32 = byte == 0xe0 ? 0xa0 : byte == 0xf0 ? 0x90 : 0x80;
    const high: u32 = byte == 0xed ? 0x9f : byte == 0xf4 ? 0x8f : 0xbf;
    expectBytes(json, byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1, low, high);
  } else if (byte == QUOTE) {
    const isKey = load<u8>(json, OF_IS_KEY) != 0;
    enter(json, isKey ? State.Colon : State.Next);
    return isKey ? Event.Key : Event.String;
  } else if (byte == BACKSLASH) {
    return enter(json, State.Escape);
  } else if (byte < SPACE) {
    return Event.Wrong;
  }
  append(json, byte);
  return Event.None;
}

function expectBytes(json: usize, more: u32, low: u32, high: u32): void {
  store<u8>(json, <u8>more, OF_MORE);
  store<u8>(json, <u8>low, OF_LOW);
  store<u8>(json, <u8>high, OF_HIGH);
}

function escapedByte(json: usize, byte: u32): Event {
  if (byte == 0x75) return beginHex(json);
  let character: u32;
  if (byte == QUOTE || byte == BACKSLASH || byte == 0x2f) character = byte;
  else if (byte == 0x62) character = 0x08;
  else if (byte == 0x66) character = 0x0c;
  else if (byte == 0x6e) character = 0x0a;
  else if (byte == 0x72) character = 0x0d;
  else if (byte == 0x74) character = 0x09;
  else return Event.Wrong;
  append(json, character);
  return enter(json, State.String);
}

function beginHex(json: usize): Event {
  store<u8>(json, 0, OF_PLACE);
  store<u16>(json, 0, OF_UNIT);
  return enter(json, State.Hex);
}

/** A digit of \uXXXX. Two of them, a high and a low surrogate, are one character (RFC 8259, 7). */
function hexByte(json: usize, byte: u32): Event {
  const digit = hexValue(byte);
  if (digit > 15) return Event.Wrong;
  const unit = ((<u32>load<u16>(json, OF_UNIT)) << 4) | digit;
  store<u16>(json, <u16>unit, OF_UNIT);
  const place: u32 = load<u8>(json, OF_PLACE) + 1;
  store<u8>(json, <u8>place, OF_PLACE);
  if (place < 4) return Event.None;
  const lead = <u32>load<u16>(json, OF_LEAD);
  const isLow = unit >>> 10 == 0xdc00 >>> 10;
  if (isLow != (lead != 0)) return Event.Wrong;
  if (unit >>> 10 == 0xd800 >>> 10) {
    store<u16>(json, <u16>unit, OF_LEAD);
    return enter(json, State.Pair);
  }
  store<u16>(json, 0, OF_LEAD);
  appendCharacter(json, isLow ? 0x10000 + ((lead - 0xd800) << 10) + (unit - 0xdc00) : unit);
  return enter(json, State.String);
}

/** Appends a character in UTF-8. */
function appendCharacter(json: usize, character: u32): void {
  if (character < 0x80) return append(json, character);
  if (character < 0x800) {
    append(json, 0xc0 | (character >>> 6));
  } else {
    if (character < 0x10000) {
      append(json, 0xe0 | (character >>> 12));
    } else {
      append(json, 0xf0 | (character >>> 18));
      append(json, 0x80 | ((character >>> 12) & 0x3f));
    }
    append(json, 0x80 | ((character >>> 6) & 0x3f));
  }
  append(json, 0x80 | (character & 0x3f));
}

function append(json: usize, byte: u32): void {
  const length = lengthOf(json);
  if (length > TEXT_MAX) return;
  if (length < TEXT_MAX) store<u8>(json + length, <u8>byte, OF_TEXT);
  store<u16>(json, <u16>(length + 1), OF_LENGTH);
}
