// Where the command keeps what is too large, or too much the host's, for the module's own data: one
// after the other from __heap_base on.

import { ADDRESS_SIZE } from "./address";
import { HANDSHAKE_SIZE, REQUEST_MAX } from "./handshake";

/** Of the foreign texts in one line so many bytes are shown: the longest address, and some more. */
export const FOREIGN_MAX: usize = 4160;
/** Each of them can become `\xHH`, and our own texts have the rest. */
const LINE_CAPACITY: usize = FOREIGN_MAX * 4 + 4096;

/** The line that is being put together. */
export const LINE: usize = __heap_base;
/** The address's record. */
export const RECORD: usize = LINE + LINE_CAPACITY;
/** The handshake's slot. */
export const SLOT: usize = RECORD + ADDRESS_SIZE;
/** The bytes of the handshake: its request, then its answer. */
export const EXCHANGE: usize = SLOT + HANDSHAKE_SIZE;
/** The command line: as far as the memory goes, and further if need be. */
export const ARGUMENTS: usize = (EXCHANGE + REQUEST_MAX + 3) & ~3;
