// The memory after the module's static data, from __heap_base on: the large buffers, and those whose
// size depends on the host's arguments. What every run writes comes first, close to the static data:
// in the standalone host each page of 4096 bytes that is touched costs a page fault. So the static
// data begins at 8 (memoryBase in asconfig.json), not at asc's 1024.

import { ADDRESS_SIZE } from "../core/address";
import { HANDSHAKE_SIZE, REQUEST_MAX } from "../core/handshake";
import { UNTRUSTED_MAX } from "../printable";

/** Each untrusted byte can become `\xHH`. The longest text of ours, the help, has less than 4096 bytes. */
const LINE_CAPACITY: usize = UNTRUSTED_MAX * 4 + 4096;

export const handshakeSlot: usize = __heap_base;
/** The bytes of the handshake: its request, then its reply. */
export const ioBuffer: usize = handshakeSlot + HANDSHAKE_SIZE;
/** The command line, the environment, and the words of the environment's options. */
export const ARGUMENTS: usize = (ioBuffer + REQUEST_MAX + 3) & ~3;

export let addressRecord: usize = 0;
/** The line of output that is being built. */
export let line: usize = 0;

reserve(0);

/**
 * Reserves the memory at ARGUMENTS, and moves addressRecord and line after it.
 *
 * @param size in bytes
 * @returns false if the memory cannot grow so far; nothing has moved then
 */
export function reserve(size: usize): bool {
  const behind = (ARGUMENTS + size + 3) & ~3;
  const pages = (behind + ADDRESS_SIZE + LINE_CAPACITY + 0xffff) >>> 16;
  const lacking = <i32>pages - memory.size();
  if (lacking > 0 && memory.grow(lacking) < 0) return false;
  addressRecord = behind;
  line = behind + ADDRESS_SIZE;
  return true;
}

/** A part of the command line or of the environment variable; `at` is 0 if it was not given. */
@unmanaged
export class Text {
  at: usize;
  length: usize;
  /** Whether it is from SSH_VSOCK_PROXY_OPTIONS. */
  inVariable: bool;
}
