// Where the command keeps what is too large, or too much the host's, for the module's own data: one
// after the other from __heap_base on. What every run writes to stands first, close to the module's
// own data: the standalone host pays for each page of 4096 bytes that is touched at all.

import { ADDRESS_SIZE } from "../core/address";
import { HANDSHAKE_SIZE, REQUEST_MAX } from "../core/handshake";

/** Of the foreign texts in one line so many bytes are shown: the longest address, and some more. */
export const FOREIGN_MAX: usize = 4160;
/** Each of them can become `\xHH`, and our own texts have the rest: all of texts.ts at once. */
const LINE_CAPACITY: usize = FOREIGN_MAX * 4 + 8192;

/** The handshake's slot. */
export const SLOT: usize = __heap_base;
/** The bytes of the handshake: its request, then its answer. */
export const EXCHANGE: usize = SLOT + HANDSHAKE_SIZE;
/** The command line, the environment, and the words of the environment's options. */
export const ARGUMENTS: usize = (EXCHANGE + REQUEST_MAX + 3) & ~3;

/** The address's record. */
export let record: usize = 0;
/** The line that is being put together. */
export let line: usize = 0;

makeRoom(0);

/**
 * Moves what stands behind ARGUMENTS to where that ends.
 *
 * @param size of what stands at ARGUMENTS
 * @returns false where the memory does not grow so far, and nothing has moved
 */
export function makeRoom(size: usize): bool {
  const behind = (ARGUMENTS + size + 3) & ~3;
  const pages = (behind + ADDRESS_SIZE + LINE_CAPACITY + 0xffff) >>> 16;
  const lacking = <i32>pages - memory.size();
  if (lacking > 0 && memory.grow(lacking) < 0) return false;
  record = behind;
  line = behind + ADDRESS_SIZE;
  return true;
}
