// Bytes and numbers as text, for the parser and the command. Nothing here allocates, and nothing
// reads outside [at, end).
//
// String literals: the build turns each one in assembly/ into the address of its ASCII bytes with a
// NUL after them (scripts/asc/ascii-literals.mjs). So a `string` is a pointer, for
// `changetype<usize>` only: it has no `length`, and no method of String works on it.

export const SPACE: u8 = 0x20;
export const SLASH: u8 = 0x2f;
export const PERCENT: u8 = 0x25;
export const DASH: u8 = 0x2d;
export const DOT: u8 = 0x2e;
export const DIGIT_0: u8 = 0x30;

const U32_MAX: u64 = 0xffff_ffff;

/** The results of `decimal` if there is no number. Both are above every u32. */
export const NOT_DECIMAL: u64 = 0x1_0000_0000;
export const TOO_LARGE: u64 = 0x2_0000_0000;

/** Where the last `decimal` stopped: after the number, or at the first wrong byte. */
export let decimalEnd: usize = 0;

/**
 * Reads a strict decimal u32 from the front of [at, end): one or more digits, no sign, no space, no
 * leading zero. The caller checks at `decimalEnd` what follows the digits.
 *
 * @returns the value; NOT_DECIMAL without a digit or with a leading zero; TOO_LARGE above 2^32 - 1.
 */
export function decimal(at: usize, end: usize): u64 {
  let value: u64 = 0;
  const first = at;
  for (; at < end; at++) {
    const digit = <u32>load<u8>(at) - DIGIT_0;
    if (digit > 9) break;
    decimalEnd = at;
    if (at > first && value == 0) return NOT_DECIMAL;
    value = value * 10 + digit;
    if (value > U32_MAX) return TOO_LARGE;
  }
  decimalEnd = at;
  return at == first ? NOT_DECIMAL : value;
}

/** Writes a number in decimal, and returns its end. */
export function putDecimal(at: usize, value: u64): usize {
  let scale: u64 = 1;
  while (value / scale > 9) scale *= 10;
  for (; scale > 0; scale /= 10) store<u8>(at++, <u8>(DIGIT_0 + ((value / scale) % 10)));
  return at;
}

/** Whether [at, at + length) is within the memory, after the module's own data. */
export function inMemory(at: usize, length: usize): bool {
  return at >= __heap_base && <u64>at + <u64>length <= (<u64>memory.size()) << 16;
}

/**
 * The index of [at, at + length) among `words`, which are separated by spaces.
 *
 * @param anyCase whether capitals are as good; `words` are in lower case then
 * @returns 0 for the first, and so on; -1 if it is none of them
 */
export function indexOf(words: string, at: usize, length: usize, anyCase: bool = false): i32 {
  let word = changetype<usize>(words);
  let index = 0;
  while (true) {
    let i: usize = 0;
    for (; i < length && load<u8>(word + i) > SPACE; i++) {
      const byte = load<u8>(at + i);
      if (load<u8>(word + i) != (anyCase ? lowerCase(byte) : byte)) break;
    }
    if (i == length && load<u8>(word + i) <= SPACE) return index;
    while (load<u8>(word) > SPACE) word++;
    if (load<u8>(word++) == 0) return -1;
    index++;
  }
}

/** Whether [at, at + length) is equal to `text`, which has no space. */
export function equals(at: usize, length: usize, text: string, anyCase: bool = false): bool {
  return indexOf(text, at, length, anyCase) == 0;
}

export function isLetter(byte: u8): bool {
  return (byte | 0x20) - 0x61 < 26;
}

/** The value of a hexadecimal digit; above 15 if the byte is none. */
export function hexValue(byte: u32): u32 {
  if (byte - DIGIT_0 <= 9) return byte - DIGIT_0;
  const letter = (byte | 0x20) - 0x61;
  return letter < 6 ? letter + 10 : 16;
}

/** A byte in lower case, as OpenSSH converts %h. */
export function lowerCase(byte: u8): u8 {
  return byte - 0x41 < 26 ? byte | 0x20 : byte;
}
