// From the name of a machine to an address. The services that may know it are asked one after the
// other, over a connection to each (names/ has what they say). The first that knows it decides.
//
// Rules
// 1. What a name leads to is a text, as a person would type it, and goes through the same parser.
//    But it cannot be a name again, so a look-up ends.
// 2. The next service is asked if one has no such machine, or cannot be asked: its socket is missing,
//    does not listen, or may not be used by this user. Every other failure is the result.
// 3. No service is started. Where systemd listens on a service's socket, connecting starts it; that is
//    the administrator's choice.

import {
  errno,
  eventtype,
  fd,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { isName, parseAddress, schemeOf, textLengthOf, textOf } from "../core/address";
import { SLASH, putDecimal } from "../core/bytes";
import { Code, Scheme } from "../codes";
import * as names from "../names/index";
import * as lookup from "../names/lookup";
import { Service, Target, cidOf, targetOf } from "../names/lookup";
import { DONE, Result, failed, lookupFailure, waitFailure } from "./errors";
import { receive, send, transferred, waitFor } from "./io";
import {
  LOOKUP_BUFFER_SIZE,
  addressRecord,
  lookupBuffer,
  lookupRequest,
  lookupSlot,
  targetRecord,
  targetText,
} from "./memory";
import { port, runtimeDirectory } from "./options";

/** Added to a Service: the socket is in the user's runtime directory, not in the system's. */
const OF_USER: u32 = 16;

/** The services and their sockets, in the order in which they are asked. */
// prettier-ignore
const SERVICES = [
  [Service.Machined | OF_USER, "/systemd/machine/io.systemd.Machine"],
  [Service.Machined, "/systemd/machine/io.systemd.Machine"],
  [Service.LibvirtSystem, "/libvirt/virtqemud-sock-ro"],
  [Service.LibvirtSystem, "/libvirt/libvirt-sock-ro"],
  [Service.LibvirtSession | OF_USER, "/libvirt/virtqemud-sock"],
  [Service.LibvirtSession | OF_USER, "/libvirt/libvirt-sock"],
] as const;
const ROW_SIZE: usize = 8;

/** The rows that a scheme asks: bit n stands for row n. */
// prettier-ignore
const ROWS = memory.data<u8>([
  0b000011, // Scheme.Machine
  0b111100, // Scheme.Qemu
  0b001100, // Scheme.QemuSystem
  0b110000, // Scheme.QemuSession
]);
export const ROWS_MAX: usize = 6;

/** Of each row, the code with which its service could not help; Done if it was not asked. */
const OUTCOMES = memory.data(12, 2);

/** The row of the service that is asked. */
let row: usize = 0;
/** The length of `targetText`; 0 until something is connected to. */
export let targetLength: usize = 0;

/** What is connected to: the address itself, or for a name first the services, then what it leads to. */
export function target(): usize {
  return isName(addressRecord) ? targetRecord : addressRecord;
}

/** Begins an attempt: no service was asked. */
export function beginLookUp(): void {
  targetLength = 0;
  memory.fill(OUTCOMES, 0, ROWS_MAX * 2);
  row = -1;
}

function serviceOf(row: usize): u32 {
  return load<u32>(SERVICES + row * ROW_SIZE);
}

/** Makes the socket of the next service the target; false if there is none. */
export function nextService(): bool {
  const rows: usize = load<u8>(ROWS + (schemeOf(addressRecord) - Scheme.Machine));
  while (++row < ROWS_MAX) {
    if (((rows >>> row) & 1) == 0) continue;
    if (serviceOf(row) >= OF_USER && runtimeDirectory.at == 0) continue;
    // The second socket of a service is for where the first is missing.
    const isOther = row > 0 && serviceOf(row) == serviceOf(row - 1);
    if (isOther && outcomeOf(row - 1) != Code.NoService) continue;
    setService(row);
    return true;
  }
  return false;
}

/** Makes the socket of a service the target. */
export function setService(index: usize): void {
  row = index;
  putSocketOf(load<usize>(SERVICES + index * ROW_SIZE, 4));
  parseTarget();
}

/** Starts the exchange with the service that was connected to, and sends it the first request. */
export function beginExchange(socket: fd, deadline: u64): Result {
  const name = textOf(addressRecord);
  names.lookup_begin(lookupSlot, serviceOf(row) & ~OF_USER, name, textLengthOf(addressRecord));
  return sendRequest(socket, deadline);
}

/**
 * Receives what there is of the reply, and sends the next request once that is complete.
 *
 * @param socket the connection to the service
 * @param until when to return at the latest: the deadline or earlier
 * @param deadline when the look-up fails
 */
export function exchange(socket: fd, until: u64, deadline: u64): Result {
  const waited = waitFor(socket, eventtype.FD_READ, until);
  const expired = waited == errno.TIMEDOUT;
  if (waited != errno.SUCCESS && !expired) return waitFailure(waited);
  const error = receive(socket, lookupBuffer, LOOKUP_BUFFER_SIZE, 0);
  if (error == errno.SUCCESS) {
    let at = lookupBuffer;
    const end = at + transferred();
    if (at == end) names.lookup_eof(lookupSlot);
    while (at < end && names.lookup_code(lookupSlot) == Code.NeedMore) {
      at += names.lookup_receive(lookupSlot, at, <u32>(end - at));
      const result = sendRequest(socket, deadline);
      if (result.code != Code.Done) return result;
    }
  } else if (error != errno.AGAIN) {
    return lookupFailure(error, "sock_recv");
  }
  // A service may send without an end.
  if (expired && until == deadline) names.lookup_deadline(lookupSlot);
  return DONE;
}

/** Sends the request that is due, if one is. */
function sendRequest(socket: fd, deadline: u64): Result {
  const length = names.lookup_request(lookupSlot, lookupRequest);
  for (let sent: u32 = 0; sent < length; sent += transferred()) {
    let error = send(socket, lookupRequest + sent, length - sent, 0, deadline);
    if (error == errno.SUCCESS && transferred() == 0) error = errno.PIPE;
    if (error != errno.SUCCESS) return lookupFailure(error, "sock_send");
  }
  return DONE;
}

/** Keeps why the service could not help, if the next one is to be asked. */
export function keepOutcome(code: Code): bool {
  store<u16>(OUTCOMES + (row << 1), <u16>code);
  return rankOf(code) > 0;
}

/** Of a row: the code with which its service could not help; Done if it was not asked. */
export function outcomeOf(row: usize): Code {
  return load<u16>(OUTCOMES + (row << 1));
}

/** Which of several outcomes is told first; 0 for a failure after which no other service is asked. */
export function rankOf(code: Code): u32 {
  switch (code) {
    case Code.NoService:
      return 1;
    case Code.ServiceRefused:
      return 2;
    case Code.LookupDenied:
      return 3;
    case Code.NoSuchMachine:
    case Code.NoSuchDomain:
      return 4;
  }
  return 0;
}

/** The result after the last service. */
export function notFound(): Result {
  let code: Code = Code.NoRuntimeDirectory;
  targetLength = 0;
  for (let i: usize = 0; i < ROWS_MAX; i++) {
    if (rankOf(outcomeOf(i)) > rankOf(code)) code = outcomeOf(i);
  }
  return failed(code);
}

/** Makes what the name leads to the target. */
export function takeAnswer(): Result {
  switch (targetOf(lookupSlot)) {
    case Target.Container:
      setContainerSocket(false);
      return DONE;
    case Target.Cid:
      targetLength = 0;
      put(changetype<usize>("vsock/"));
      targetLength = putDecimal(targetText + targetLength, cidOf(lookupSlot)) - targetText;
      break;
    default:
      targetLength = 0;
      putBytes(lookup.textOf(lookupSlot), lookup.textLengthOf(lookupSlot));
  }
  const code = parseTarget();
  const scheme = schemeOf(targetRecord);
  const hasPath = scheme == Scheme.Unix || scheme == Scheme.VsockMux;
  // A service cannot mean the working directory of this process.
  const isReachable = hasPath ? load<u8>(textOf(targetRecord)) == SLASH : scheme == Scheme.Vsock;
  if (code == Code.Done && isReachable) return DONE;
  targetLength = 0;
  return failed(Code.OtherAddress);
}

/** Whether the target is the socket of a container. */
export function isContainer(): bool {
  return isName(addressRecord) && targetOf(lookupSlot) == Target.Container;
}

/** Makes the socket of sshd that systemd-nspawn exports the target; `old`: where 257 has it. */
export function setContainerSocket(old: bool): void {
  putSocketOf(changetype<usize>(old ? "/systemd/nspawn/unix-export/" : "/systemd/nspawn/"));
  putBytes(textOf(addressRecord), textLengthOf(addressRecord));
  put(changetype<usize>(old ? "/ssh" : "/unix-export/ssh"));
  parseTarget();
}

function parseTarget(): Code {
  return parseAddress(targetRecord, targetText, targetLength, port.at, port.length, 0, 0);
}

/** Begins targetText with the path of a file in the runtime directory of the service that is asked. */
function putSocketOf(path: usize): void {
  targetLength = 0;
  put(changetype<usize>("unix/"));
  if (serviceOf(row) >= OF_USER) putBytes(runtimeDirectory.at, runtimeDirectory.length);
  else put(changetype<usize>("/run"));
  put(path);
}

function put(text: usize): void {
  for (; load<u8>(text) != 0; text++) store<u8>(targetText + targetLength++, load<u8>(text));
}

function putBytes(at: usize, length: usize): void {
  memory.copy(targetText + targetLength, at, length);
  targetLength += length;
}
