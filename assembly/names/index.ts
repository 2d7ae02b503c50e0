// names.wasm: asks systemd-machined or libvirt for a machine's address, without imports. The names are
// those of docs/abi.md.

import { inMemory } from "../core/bytes";
import { domainNameEnd, machineNameEnd } from "../core/name";
import { Code } from "../codes";
import * as libvirt from "./libvirt";
import * as lookup from "./lookup";
import { LOOKUP_SIZE, Service } from "./lookup";
import * as machined from "./machined";

export { LOOKUP_SIZE as lookup_size } from "./lookup";
export { REQUEST_MAX as lookup_request_max } from "./libvirt";

/**
 * Starts a look-up.
 *
 * @param slot LOOKUP_SIZE bytes of any content
 * @param service Service: 1 machined, 2 libvirt's qemu:///system, 3 its qemu:///session
 * @returns NeedMore; BadName, and the offset of the wrong byte; Fault
 */
export function lookup_begin(slot: usize, service: u32, name: usize, length: usize): Code {
  if (!inMemory(slot, LOOKUP_SIZE) || !inMemory(name, length)) return Code.Fault;
  if (service - 1 > 2) return Code.Fault;
  const isMachined = service == Service.Machined;
  const stop = isMachined ? machineNameEnd(name, length) : domainNameEnd(name, length);
  const valid = length > 0 && stop == length;
  lookup.prepare(slot, service, name, valid ? length : 0);
  if (!valid) {
    lookup.setOffset(slot, <u32>stop);
    lookup.end(slot, Code.BadName);
  } else if (isMachined) {
    machined.begin(slot);
  }
  return lookup.codeOf(slot);
}

function isOpen(slot: usize): bool {
  return inMemory(slot, LOOKUP_SIZE) && lookup.codeOf(slot) == Code.NeedMore;
}

/**
 * Writes the request that is to be sent now, at most REQUEST_MAX bytes.
 *
 * @returns its length; 0 if a reply is awaited, or the look-up has ended
 */
export function lookup_request(slot: usize, request: usize): u32 {
  if (!isOpen(slot) || !lookup.asks(slot) || !inMemory(request, libvirt.REQUEST_MAX)) return 0;
  lookup.setAsks(slot, false);
  return lookup.serviceOf(slot) == Service.Machined
    ? machined.putRequest(slot, request)
    : libvirt.putRequest(slot, request);
}

/**
 * Event: bytes have arrived.
 *
 * @returns how many of them were consumed: all, unless the look-up has ended or a request is to be sent
 */
export function lookup_receive(slot: usize, at: usize, length: u32): u32 {
  if (!isOpen(slot) || !inMemory(at, length)) return 0;
  const isMachined = lookup.serviceOf(slot) == Service.Machined;
  let consumed: u32 = 0;
  while (consumed < length && lookup.codeOf(slot) == Code.NeedMore && !lookup.asks(slot)) {
    const byte = <u32>load<u8>(at + consumed);
    if (isMachined) machined.receive(slot, byte);
    else libvirt.receive(slot, byte);
    const code = lookup.codeOf(slot);
    if (code == Code.BadReply || code == Code.ReplyTooLong) break;
    lookup.setOffset(slot, lookup.offsetOf(slot) + 1);
    consumed++;
  }
  return consumed;
}

/** Event: the service has closed the connection. */
export function lookup_eof(slot: usize): void {
  if (isOpen(slot)) lookup.end(slot, Code.EndWithinReply);
}

/** Event: the host's deadline has passed. */
export function lookup_deadline(slot: usize): void {
  if (isOpen(slot)) lookup.end(slot, Code.LookupTimeout);
}

/** NeedMore, Done, or the reason of the failure. Fault for a slot outside the memory. */
export function lookup_code(slot: usize): Code {
  return inMemory(slot, LOOKUP_SIZE) ? lookup.codeOf(slot) : Code.Fault;
}

/** The end of the module's own data: all memory from here on is the host's. */
export function heap(): usize {
  return __heap_base;
}
