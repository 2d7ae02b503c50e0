// A line for stderr, put together in a static buffer and written in one piece if it is no longer
// than a pipe takes at once, so that what others write to the same terminal does not tear it apart.
//
// Rule: what comes from outside (addresses, options) goes through `foreign`, and only that; so no
// byte of it can act on the terminal.

import {
  errno,
  fd,
  fd_write,
  iovec,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { DIGIT_0, DOT, SPACE, putDecimal } from "../core/bytes";
import { FOREIGN_MAX, line } from "./memory";
import { Code } from "../codes";
import { MESSAGES } from "../messages";
import { ESCAPED } from "../printable";
import { waitToWrite } from "./wait";

export const STDERR: u32 = 2;
/** A pipe that can be written to has room for so much; for more, the write may wait (pipe(7)). */
const PIPE_BUF: usize = 4096;
const NEWLINE: u8 = 0x0a;
const BACKSLASH: u32 = 0x5c;

const IOVEC = memory.data(8, 4);
const WRITTEN = memory.data(4, 4);

let length: usize = 0;
/** Where what is for stderr begins: behind the log's stamp. */
let stamped: usize = 0;
/** How many bytes of foreign text the line may still show. */
let foreignLeft: usize = FOREIGN_MAX;
/** Whether stderr takes what is written. Once it did not, nobody waits for it again. */
let taken: bool = true;

/** Begins a new line, whose first part, up to `endStamp`, is for the log alone. */
export function begin(): void {
  length = 0;
  stamped = 0;
  foreignLeft = FOREIGN_MAX;
}

export function endStamp(): void {
  stamped = length;
}

/** Appends a text of ours. */
export function say(text: string): void {
  for (let at = changetype<usize>(text); load<u8>(at) != 0; at++) put(load<u8>(at));
}

/** Appends the message of a code. */
export function sayMeaning(code: Code): void {
  let row = MESSAGES;
  while (load<u32>(row) != code) row += 8;
  say(changetype<string>(load<usize>(row, 4)));
}

/** Appends a number in decimal. */
export function sayNumber(value: u64): void {
  length = putDecimal(line + length, value) - line;
}

/** Appends the last digits of a number, as many as are asked for, and a byte behind them. */
export function sayPadded(value: u32, digits: u32, end: u32): void {
  let scale: u32 = 1;
  while (--digits > 0) scale *= 10;
  for (; scale > 0; scale /= 10) put(<u32>(DIGIT_0 + ((value / scale) % 10)));
  put(end);
}

/** Appends a time in milliseconds with three decimals, and its unit. */
export function sayMilliseconds(nanoseconds: u64): void {
  sayNumber(nanoseconds / 1_000_000);
  put(DOT);
  sayPadded(<u32>((nanoseconds / 1000) % 1000), 3, SPACE);
  say("ms");
}

/** Appends a time in seconds with one decimal, and its unit. */
export function saySeconds(nanoseconds: u64): void {
  sayNumber(nanoseconds / 1_000_000_000);
  put(DOT);
  sayPadded(<u32>(nanoseconds / 100_000_000), 1, SPACE);
  say("s");
}

/**
 * Appends bytes from outside: printable characters as they are, `\` as `\\`, every other byte as
 * `\xHH`. Printable are those of well-formed UTF-8 that are not in ESCAPED, so the terminal is taken
 * to be in UTF-8 mode.
 */
export function foreign(at: usize, size: usize): void {
  const shown = min(size, foreignLeft);
  const stop = at + shown;
  foreignLeft -= shown;
  if (size == 0) say("''");
  while (at < stop) {
    const next = at + printable(at, stop);
    if (next == at) {
      const byte = <u32>load<u8>(at++);
      put(BACKSLASH);
      if (byte == BACKSLASH) {
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
  if (shown < size) say("...");
}

/** Ends the line. */
export function end(): void {
  put(NEWLINE);
}

/** Writes the whole line to a log. What that does not take is lost. */
export function writeLog(log: fd): void {
  const text = changetype<iovec>(IOVEC);
  text.buf = line;
  text.buf_len = length;
  fd_write(log, IOVEC, 1, WRITTEN);
}

/**
 * Writes the line to stderr, without its stamp. What stderr does not take within a second is lost:
 * there is no one else to tell, and ssh waits.
 */
export function writeOut(): void {
  const text = changetype<iovec>(IOVEC);
  let at = stamped;
  while (at < length && taken) {
    taken = waitToWrite(STDERR);
    if (!taken) break;
    text.buf = line + at;
    text.buf_len = min(length - at, PIPE_BUF);
    const error = fd_write(STDERR, IOVEC, 1, WRITTEN);
    if (error == errno.SUCCESS) at += load<u32>(WRITTEN);
    else taken = error == errno.AGAIN;
  }
}

function put(byte: u32): void {
  store<u8>(line + length++, <u8>byte);
}

function hexDigit(value: u32): u32 {
  return value < 10 ? DIGIT_0 + value : 0x57 + value;
}

/** The length of the printable character at `at`, 0 where there is none. */
function printable(at: usize, stop: usize): usize {
  const first = <u32>load<u8>(at);
  const size: usize = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first == BACKSLASH || at + size > stop) return 0;
  let character = first;
  if (size > 1) {
    if (first < 0xc2 || first > 0xf4) return 0;
    character &= 0x7f >> (<u32>size);
    for (let i: usize = 1; i < size; i++) {
      const byte = <u32>load<u8>(at + i);
      if ((byte & 0xc0) != 0x80) return 0;
      character = (character << 6) | (byte & 0x3f);
    }
    // Not the shortest form: not well-formed (The Unicode Standard, table 3-7).
    if (size == 3 && character < 0x800) return 0;
    if (size == 4 && character < 0x10000) return 0;
  }
  let range = ESCAPED;
  while (character > load<u32>(range, 4)) range += 8;
  return character >= load<u32>(range) ? 0 : size;
}
