// A line for stderr, put together in a static buffer and written in one piece, so that it is not
// torn apart by what others write to the same terminal.
//
// Rule: what comes from outside (addresses, options) goes through `foreign`, and only that; so no
// byte of it can act on the terminal.

import {
  errno,
  fd_write,
  iovec,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { DIGIT_0 } from "./bytes";
import { Step, step } from "./texts";
import { waitToWrite } from "./wait";

const STDERR: u32 = 2;

/** Of a foreign text so many bytes are shown: the longest address, and some more. */
const FOREIGN_MAX: usize = 4160;
/**
 * The line stands in so many bytes at __heap_base: each of those can become `\xHH`, and the fixed
 * texts have the rest to themselves.
 */
export const LINE_CAPACITY: usize = FOREIGN_MAX * 4 + 4096;

const IOVEC = memory.data(8, 4);
const WRITTEN = memory.data(4, 4);

let length: usize = 0;

/** Appends a text of ours. */
export function say(text: string): void {
  for (let at = changetype<usize>(text); load<u8>(at) != 0; at++) put(load<u8>(at));
}

/** Appends a number in decimal. */
export function sayNumber(value: u64): void {
  let scale: u64 = 1;
  while (value / scale > 9) scale *= 10;
  for (; scale > 0; scale /= 10) put(<u8>(DIGIT_0 + ((value / scale) % 10)));
}

/** Appends a time in milliseconds with three decimals, and its unit. */
export function sayMilliseconds(nanoseconds: u64): void {
  sayNumber(nanoseconds / 1_000_000);
  const rest = (nanoseconds / 1000) % 1000;
  put(0x2e);
  put(<u8>(DIGIT_0 + rest / 100));
  put(<u8>(DIGIT_0 + ((rest / 10) % 10)));
  put(<u8>(DIGIT_0 + (rest % 10)));
  say(step(Step.Milliseconds));
}

/**
 * Appends bytes from outside: printable text as it is, `\` as `\\`, every other byte as `\xHH`.
 * Printable is ASCII from space to `~`, and well-formed UTF-8 that is no control (U+0080 to
 * U+009F) and does not direct the text around it (U+200B to U+200F, U+2028 to U+202E, U+2060 to
 * U+206F, U+061C, U+FEFF; see Unicode Technical Report 36, 2.10).
 */
export function foreign(at: usize, size: usize): void {
  const shown = min(size, FOREIGN_MAX);
  const stop = at + shown;
  while (at < stop) {
    const next = at + printable(at, stop);
    if (next == at) {
      const byte = load<u8>(at++);
      put(0x5c);
      if (byte == 0x5c) {
        put(byte);
      } else {
        put(0x78);
        put(hexDigit(byte >> 4));
        put(hexDigit(byte & 15));
      }
    } else {
      for (; at < next; at++) put(load<u8>(at));
    }
  }
  if (shown < size) for (let i = 0; i < 3; i++) put(0x2e);
}

/** Ends the line and writes it. What stderr does not take is lost: there is no one else to tell. */
export function flush(): void {
  put(0x0a);
  writeOut();
}

/** Writes what was said, without a line's end of its own. */
export function writeOut(): void {
  const text = changetype<iovec>(IOVEC);
  text.buf = __heap_base;
  text.buf_len = length;
  while (text.buf_len > 0) {
    const error = fd_write(STDERR, IOVEC, 1, WRITTEN);
    if (error == errno.SUCCESS) {
      text.buf += load<u32>(WRITTEN);
      text.buf_len -= load<u32>(WRITTEN);
    } else if (error != errno.AGAIN || !waitToWrite(STDERR)) {
      break;
    }
  }
  length = 0;
}

function put(byte: u8): void {
  store<u8>(__heap_base + length++, byte);
}

function hexDigit(value: u8): u8 {
  return value < 10 ? DIGIT_0 + value : 0x57 + value;
}

/** The length of the printable character at `at`, 0 where there is none. */
function printable(at: usize, stop: usize): usize {
  const first = <u32>load<u8>(at);
  if (first < 0x80) return first >= 0x20 && first < 0x7f && first != 0x5c ? 1 : 0;
  const size: usize = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || at + size > stop) return 0;
  let character = first & (0x7f >> (<u32>size));
  for (let i: usize = 1; i < size; i++) {
    const byte = <u32>load<u8>(at + i);
    if ((byte & 0xc0) != 0x80) return 0;
    character = (character << 6) | (byte & 0x3f);
  }
  if (character < 0xa0 || character == 0x061c || character == 0xfeff) return 0;
  if (size == 3 && character < 0x800) return 0;
  if (size == 4 && (character < 0x10000 || character > 0x10ffff)) return 0;
  if (character >= 0xd800 && character <= 0xdfff) return 0;
  if (character >= 0x200b && character <= 0x200f) return 0;
  if (character >= 0x2028 && character <= 0x202e) return 0;
  if (character >= 0x2060 && character <= 0x206f) return 0;
  return size;
}
