// The memory after the module's static data, from __heap_base on: the large buffers, and those whose
// size depends on the host's arguments. What every run writes comes first, close to the static data:
// in the standalone host each page of 4096 bytes that is touched costs a page fault. So the static
// data begins at 8 (memoryBase in asconfig.json), not at asc's 1024.

import { ADDRESS_SIZE, PATH_MAX } from "../core/address";
import { HANDSHAKE_SIZE, REQUEST_MAX } from "../core/handshake";
import { REQUEST_MAX as LOOKUP_REQUEST_MAX } from "../names/libvirt";
import { LOOKUP_SIZE } from "../names/lookup";
import { UNTRUSTED_MAX } from "../printable";

/** Each untrusted byte can become `\xHH`. The longest text of ours, the help, has less than 4096 bytes. */
const LINE_CAPACITY: usize = UNTRUSTED_MAX * 4 + 4096;

/** The path of a socket and its scheme; an address that a service has is shorter. */
const TARGET_TEXT_CAPACITY: usize = PATH_MAX + 5;
/** Holds most replies. */
export const LOOKUP_BUFFER_SIZE: usize = 4096;

export const handshakeSlot: usize = __heap_base;
/** The bytes of the handshake: its request, then its reply. */
export const ioBuffer: usize = handshakeSlot + HANDSHAKE_SIZE;
/** The command line, the environment, and the words of the environment's options. */
export const ARGUMENTS: usize = (ioBuffer + REQUEST_MAX + 3) & ~3;

export let addressRecord: usize = 0;
/** The line of output that is being built. */
export let line: usize = 0;

// Those of a look-up: what it leads to, as text and as a record; its slot; what is sent and received.
export let targetText: usize = 0;
export let targetRecord: usize = 0;
export let lookupSlot: usize = 0;
export let lookupRequest: usize = 0;
export let lookupBuffer: usize = 0;

reserve(0);

/**
 * Reserves the memory at ARGUMENTS, and moves what comes after it.
 *
 * @param size in bytes
 * @returns false if the memory cannot grow so far; nothing has moved then
 */
export function reserve(size: usize): bool {
  const behind = (ARGUMENTS + size + 3) & ~3;
  const text = behind + ADDRESS_SIZE + LINE_CAPACITY;
  const record = text + TARGET_TEXT_CAPACITY;
  const slot = record + ADDRESS_SIZE;
  const request = slot + LOOKUP_SIZE;
  const buffer = request + LOOKUP_REQUEST_MAX;
  const pages = (buffer + LOOKUP_BUFFER_SIZE + 0xffff) >>> 16;
  const lacking = <i32>pages - memory.size();
  if (lacking > 0 && memory.grow(lacking) < 0) return false;
  addressRecord = behind;
  line = behind + ADDRESS_SIZE;
  targetText = text;
  targetRecord = record;
  lookupSlot = slot;
  lookupRequest = request;
  lookupBuffer = buffer;
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
