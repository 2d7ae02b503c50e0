// The names of machines, as they may reach a service, a path or a message.

import { DASH, DIGIT_0, DOT, SLASH, SPACE } from "./bytes";

/** Linux's HOST_NAME_MAX: machined takes host names. */
const MACHINE_MAX: usize = 64;
/** A domain's name is that of a file, NAME.xml. */
const DOMAIN_MAX: usize = 250;

/**
 * Checks the name of one of machined's machines: letters, digits, `.`, `-` and `_`, no `.` at the front
 * or after another.
 *
 * @returns the offset of the first wrong byte; the length if there is none and it is not too long
 */
export function machineNameEnd(at: usize, length: usize): usize {
  let before: u8 = DOT;
  for (let i: usize = 0; i < length; i++) {
    const byte = load<u8>(at + i);
    const allowed =
      (byte | 0x20) - 0x61 < 26 ||
      byte - DIGIT_0 < 10 ||
      byte == DASH ||
      byte == 0x5f ||
      (byte == DOT && before != DOT);
    if (!allowed || i == MACHINE_MAX) return i;
    before = byte;
  }
  return length;
}

/**
 * Checks the name of a libvirt domain, which may have any bytes but `/` and control characters.
 *
 * @returns the offset of the first wrong byte; the length if there is none and it is not too long
 */
export function domainNameEnd(at: usize, length: usize): usize {
  for (let i: usize = 0; i < length; i++) {
    const byte = load<u8>(at + i);
    if (byte < SPACE || byte == 0x7f || byte == SLASH || i == DOMAIN_MAX) return i;
  }
  return length;
}
