// A line of output, built in a static buffer; report.ts and log.ts write it.
//
// Rule: untrusted bytes (addresses, options) are appended by `appendEscaped` only, so that none of
// them can act on the terminal.

import { DIGIT_0, DOT, SPACE, putDecimal } from "../core/bytes";
import { Code } from "../codes";
import { MESSAGES } from "../messages";
import { ESCAPED, UNTRUSTED_MAX } from "../printable";
import { line } from "./memory";

const NEWLINE: u8 = 0x0a;
const BACKSLASH: u32 = 0x5c;

/** The length of the line. */
export let length: usize = 0;
/** The length of its first part, which is for the log only. */
export let stampLength: usize = 0;
/** How many untrusted bytes the line may still show. */
let untrustedLeft: usize = UNTRUSTED_MAX;

export function beginLine(): void {
  length = 0;
  stampLength = 0;
  untrustedLeft = UNTRUSTED_MAX;
}

/** Ends the part of the line that is for the log only. */
export function endStamp(): void {
  stampLength = length;
}

export function endLine(): void {
  appendByte(NEWLINE);
}

export function appendByte(byte: u32): void {
  store<u8>(line + length++, <u8>byte);
}

export function append(text: string): void {
  for (let at = changetype<usize>(text); load<u8>(at) != 0; at++) appendByte(load<u8>(at));
}

export function appendMessage(code: Code): void {
  let row = MESSAGES;
  while (load<u32>(row) != code) row += 8;
  append(changetype<string>(load<usize>(row, 4)));
}

/** Appends a number in decimal. */
export function appendNumber(value: u64): void {
  length = putDecimal(line + length, value) - line;
}

/** Appends the last `digits` digits of a number, and a byte after them. */
export function appendPadded(value: u32, digits: u32, end: u32): void {
  let scale: u32 = 1;
  while (--digits > 0) scale *= 10;
  for (; scale > 0; scale /= 10) appendByte(<u32>(DIGIT_0 + ((value / scale) % 10)));
  appendByte(end);
}

/** Appends a time in milliseconds with three decimals, and its unit. */
export function appendMilliseconds(nanoseconds: u64): void {
  appendNumber(nanoseconds / 1_000_000);
  appendByte(DOT);
  appendPadded(<u32>((nanoseconds / 1000) % 1000), 3, SPACE);
  append("ms");
}

/** Appends a time in seconds with one decimal, and its unit. */
export function appendSeconds(nanoseconds: u64): void {
  appendNumber(nanoseconds / 1_000_000_000);
  appendByte(DOT);
  appendPadded(<u32>(nanoseconds / 100_000_000), 1, SPACE);
  append("s");
}

/**
 * Appends untrusted bytes: printable characters as they are, `\` as `\\`, every other byte as `\xHH`.
 * Printable are those of well-formed UTF-8 that are not in ESCAPED, so the terminal is taken to be
 * in UTF-8 mode. An empty text is shown as `''`.
 */
export function appendEscaped(at: usize, size: usize): void {
  const shown = min(size, untrustedLeft);
  const stop = at + shown;
  untrustedLeft -= shown;
  if (size == 0) append("''");
  while (at < stop) {
    const next = at + printable(at, stop);
    if (next == at) {
      const byte = <u32>load<u8>(at++);
      appendByte(BACKSLASH);
      if (byte == BACKSLASH) {
        appendByte(byte);
      } else {
        appendByte(0x78);
        appendByte(hexDigit(byte >> 4));
        appendByte(hexDigit(byte & 15));
      }
    } else {
      for (; at < next; at++) appendByte(load<u8>(at));
    }
  }
  if (shown < size) append("...");
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
