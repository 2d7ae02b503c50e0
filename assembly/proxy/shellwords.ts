// The words of SSH_VSOCK_PROXY_OPTIONS, by a shell's rules without its substitutions (docs/options.md):
// blanks (space, tab, newline) separate words; '...' quotes everything; "..." quotes all but the
// backslash, which quotes the next byte, as it does outside of quotes.

const DOUBLE_QUOTE: u32 = 0x22;
const SINGLE_QUOTE: u32 = 0x27;
const BACKSLASH: u32 = 0x5c;

/** The result of `splitWords` if a quote is not closed, or no byte follows a backslash. */
export const BAD_QUOTING: i32 = -1;

/**
 * Splits the text at `from`, which ends with a NUL, into words. They overwrite the text, each with a
 * NUL after it: no word is longer than its quoted form.
 *
 * @param pointers receives a u32 pointer to each word: room for one per two bytes of the text
 * @returns the number of words, or BAD_QUOTING
 */
export function splitWords(from: usize, pointers: usize): i32 {
  let to = from;
  let count = 0;
  while (true) {
    while (isBlank(load<u8>(from))) from++;
    if (load<u8>(from) == 0) return count;
    store<u32>(pointers + (count++ << 2), <u32>to);
    let quote: u32 = 0;
    while (true) {
      let byte = <u32>load<u8>(from);
      if (byte == 0 || (quote == 0 && isBlank(byte))) break;
      from++;
      if (byte == quote) {
        quote = 0;
      } else if (quote == 0 && (byte == DOUBLE_QUOTE || byte == SINGLE_QUOTE)) {
        quote = byte;
      } else {
        if (byte == BACKSLASH && quote != SINGLE_QUOTE) {
          byte = load<u8>(from);
          if (byte == 0) return BAD_QUOTING;
          from++;
        }
        store<u8>(to++, <u8>byte);
      }
    }
    if (quote != 0) return BAD_QUOTING;
    // The NUL may overwrite the byte that ends the word, so that is read first.
    if (load<u8>(from) != 0) from++;
    store<u8>(to++, 0);
  }
}

function isBlank(byte: u32): bool {
  return byte == 0x20 || byte == 0x09 || byte == 0x0a;
}
