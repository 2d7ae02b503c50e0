// How much of untrusted text (addresses, options) is printed, and which of its characters as they are.
// The command and the library escape the others, so that no text can act on a terminal or look like
// another text.
//
// This file is read by both compilers, AssemblyScript's and TypeScript's.

/** At most this many untrusted bytes are shown per line: the longest path, and some more. */
export const UNTRUSTED_MAX = 4160;

/**
 * The first and last of the characters that are escaped, in ascending order:
 *
 * - controls (general category Cc), which act on the terminal;
 * - line and paragraph separators (Zl, Zp);
 * - Default_Ignorable_Code_Point of Unicode 17.0 (DerivedCoreProperties.txt), for which nothing is
 *   drawn, or which reorder the text around them (Unicode Technical Report 36, 2.10). It includes
 *   the unassigned characters that are reserved for more of them;
 * - interlinear annotation (U+FFF9 to U+FFFB), which moves the text that it encloses;
 * - surrogates, and numbers that four bytes have room for but Unicode does not: not well-formed.
 *
 * Everything else takes up a cell of the terminal and is printed: the format characters that are
 * drawn (U+0600 to U+0605, U+06DD, U+070F, and others that are not ignorable), private use, for which
 * fonts for terminals have symbols, and what is not assigned yet.
 *
 * In TypeScript these are rows of two numbers; in AssemblyScript, the address of u32 pairs. The last
 * row lies above every character, so a search for the first row that ends after one finds one.
 */
// prettier-ignore
export const ESCAPED = [
  [0x00, 0x1f],
  [0x7f, 0x9f],
  [0xad, 0xad],
  [0x34f, 0x34f],
  [0x61c, 0x61c],
  [0x115f, 0x1160],
  [0x17b4, 0x17b5],
  [0x180b, 0x180f],
  [0x200b, 0x200f],
  [0x2028, 0x202e],
  [0x2060, 0x206f],
  [0x3164, 0x3164],
  [0xd800, 0xdfff],
  [0xfe00, 0xfe0f],
  [0xfeff, 0xfeff],
  [0xffa0, 0xffa0],
  [0xfff0, 0xfffb],
  [0x1bca0, 0x1bca3],
  [0x1d173, 0x1d17a],
  [0xe0000, 0xe0fff],
  [0x110000, 0x1fffff],
] as const;
