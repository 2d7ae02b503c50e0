// systemd-machined's io.systemd.Machine.List by varlink (https://varlink.org/Protocol): a request
// and a reply, each a JSON object with a NUL after it.
//
// Rules
// 1. The reply has at most REPLY_MAX bytes. It ends with the NUL.
// 2. A member that is kept may be there once, with a value of its type. A null is the same as no member.
//    What is not kept is skipped, whatever it is.
// 3. An error reply is an error, whatever its parameters are.
//
// Theory of operation
//   json.ts reads the reply. Two fields say where in it the reader is: `member`, the member of the
//   outer object, and `field`, the member of `parameters`. What is in neither is skipped.
//
//   member      | value                    | what is kept
//   ------------+--------------------------+---------------------------------------------
//   error       | string                   | the text, and which of ERRORS it is
//   continues   | false                    | nothing; true is an error: `more` was not asked for
//   parameters  | object                   | of its members:
//     class     | string                   | which of CLASSES it is
//     service   | string                   | which of SERVICES it is
//     vSockCid  | number, 0 to 2^32 - 1    | the CID; 2^32 - 1 (VMADDR_CID_ANY) is none
//     sshAddress| string                   | the text
//     errno     | number                   | the number, of a Linux errno
//   A value that is not allowed is wrong at its end, a number at the byte after it, and a member that is
//   missing at the NUL. The machine is reached by the first of these that it has:
//
//   class       | service        | has        | result
//   ------------+----------------+------------+-----------------------------------
//   vm          | any            | vSockCid   | Target.Cid
//   container   | systemd-nspawn |            | Target.Container
//   any         | any            | sshAddress | Target.Address
//   vm          | libvirt-qemu   |            | code UseLibvirt
//   vm          | any            |            | code NoCid
//   any other   | any            |            | code UnknownClass; the text is the class if it is not in
//               |                |            | CLASSES, else the service
//
//   error                                                        | result
//   -------------------------------------------------------------+-------------------
//   NoSuchMachine                                                | code NoSuchMachine
//   PermissionDenied, InteractiveAuthenticationRequired, System  |
//   with errno EPERM or EACCES                                   | code LookupDenied
//   any other                                                    | code ServiceError
//
// The fields of the slot, from OF_SERVICE_FIELDS on:
//
//    0  u8   member
//    1  u8   field
//    2  u16  seen     bits: 1 << member for those of the outer object, 16 << field for the others
//    4  u8   class    1 + the index in the table; 0 for none, OTHER for another. The same are
//    5  u8   service
//    6  u8   error
//    8  u32  errno
//   12  u8[] the JSON reader's record

import { NOT_DECIMAL, decimal, decimalEnd, indexOf } from "../core/bytes";
import { Code } from "../codes";
import { Event, TEXT_MAX, depthOf, isComplete, lengthOf, step, textOf } from "./json";
import {
  OF_SERVICE_FIELDS,
  Target,
  appendText,
  cidOf,
  clearText,
  codeOf,
  end,
  found,
  nameLengthOf,
  nameOf,
  offsetOf,
  setCid,
  setTarget,
  targetOf,
} from "./lookup";

const REQUEST = '{"method":"io.systemd.Machine.List","parameters":{"name":"';
const REQUEST_END = '"}}';
/** The longest reply. Those of systemd 257 have less than 1 KiB. */
const REPLY_MAX: u32 = 65536;

const MEMBERS = "error continues parameters";
const enum Member {
  None = 0,
  Error = 1,
  Continues = 2,
  Parameters = 3,
}

const FIELDS = "class service vSockCid sshAddress errno";
const enum Field {
  None = 0,
  Class = 1,
  Service = 2,
  Cid = 3,
  Address = 4,
  Errno = 5,
}

const CLASSES = "vm container";
const enum Class {
  None = 0,
  Vm = 1,
  Container = 2,
}

const SERVICES = "systemd-nspawn libvirt-qemu";
const enum Manager {
  Nspawn = 1,
  LibvirtQemu = 2,
}

const ERRORS =
  "io.systemd.Machine.NoSuchMachine org.varlink.service.PermissionDenied io.systemd.InteractiveAuthenticationRequired io.systemd.System";
const enum Failure {
  NoSuchMachine = 1,
  Denied = 2,
  NeedsAuthentication = 3,
  System = 4,
}
/** Linux's EPERM and EACCES, which are the errno of io.systemd.System. */
const EPERM: u32 = 1;
const EACCES: u32 = 13;

/** A word that is not in its table. */
const OTHER: u32 = 255;

/** VMADDR_CID_ANY: no CID. */
const CID_ANY: u32 = 0xffff_ffff;

const OF_MEMBER: usize = OF_SERVICE_FIELDS;
const OF_FIELD: usize = OF_SERVICE_FIELDS + 1;
const OF_SEEN: usize = OF_SERVICE_FIELDS + 2;
const OF_CLASS: usize = OF_SERVICE_FIELDS + 4;
const OF_MANAGER: usize = OF_SERVICE_FIELDS + 5;
const OF_FAILURE: usize = OF_SERVICE_FIELDS + 6;
const OF_ERRNO: usize = OF_SERVICE_FIELDS + 8;
const OF_JSON: usize = OF_SERVICE_FIELDS + 12;

/** Prepares the slot for the reply. */
export function begin(slot: usize): void {
  setCid(slot, CID_ANY);
}

/** Writes the request, and returns its length. */
export function putRequest(slot: usize, at: usize): u32 {
  const first = at;
  at = put(at, changetype<usize>(REQUEST));
  memory.copy(at, nameOf(slot), nameLengthOf(slot));
  at = put(at + nameLengthOf(slot), changetype<usize>(REQUEST_END));
  store<u8>(at, 0);
  return <u32>(at + 1 - first);
}

function put(at: usize, text: usize): usize {
  for (; load<u8>(text) != 0; text++) store<u8>(at++, load<u8>(text));
  return at;
}

/** Reads one byte of the reply. */
export function receive(slot: usize, byte: u32): void {
  if (offsetOf(slot) == REPLY_MAX) return end(slot, Code.ReplyTooLong);
  const json = slot + OF_JSON;
  if (byte == 0) return isComplete(json) ? finish(slot) : end(slot, Code.BadReply);
  let event = step(json, byte);
  if (event == Event.Number) {
    scalar(slot, json, event);
    if (codeOf(slot) != Code.NeedMore) return;
    event = step(json, byte);
  }
  handle(slot, json, event);
}

function handle(slot: usize, json: usize, event: Event): void {
  const depth = depthOf(json);
  switch (event) {
    case Event.Wrong:
      return end(slot, Code.BadReply);
    case Event.Key:
      if (depth == 1) {
        key(slot, json, OF_MEMBER, MEMBERS, 1);
      } else if (depth == 2 && load<u8>(slot, OF_MEMBER) == Member.Parameters) {
        key(slot, json, OF_FIELD, FIELDS, 16);
      }
      return;
    case Event.ObjectBegin:
      if (depth == 2 && load<u8>(slot, OF_MEMBER) == Member.Parameters) return;
    // falls through
    case Event.ArrayBegin:
      if (isKept(slot, depth - 1)) end(slot, Code.BadReply);
      return;
    case Event.String:
    case Event.True:
    case Event.False:
      scalar(slot, json, event);
  }
}

/** Enters a member of one of the two objects. Each that is kept may be there once. */
function key(slot: usize, json: usize, where: usize, names: string, bit: u32): void {
  const index = 1 + indexOf(names, textOf(json), lengthOf(json));
  store<u8>(slot + where, <u8>index);
  if (index == 0) return;
  const seen = <u32>load<u16>(slot, OF_SEEN);
  bit <<= <u32>index;
  if (seen & bit) end(slot, Code.BadReply);
  store<u16>(slot, <u16>(seen | bit), OF_SEEN);
}

/** Whether the value that begins in a container at `depth` is one that is kept. */
function isKept(slot: usize, depth: u32): bool {
  const member: Member = load<u8>(slot, OF_MEMBER);
  if (depth == 1) return member != Member.None;
  return depth == 2 && member == Member.Parameters && load<u8>(slot, OF_FIELD) != Field.None;
}

/** A string, number, true or false. */
function scalar(slot: usize, json: usize, event: Event): void {
  if (!isKept(slot, depthOf(json))) return;
  const isString = event == Event.String;
  if (depthOf(json) == 1) {
    const member: Member = load<u8>(slot, OF_MEMBER);
    if (member == Member.Error && isString) {
      classify(slot, json, OF_FAILURE, ERRORS);
      keepText(slot, json);
    } else if (member != Member.Continues || event != Event.False) {
      end(slot, Code.BadReply);
    }
    return;
  }
  const field: Field = load<u8>(slot, OF_FIELD);
  if (field == Field.Cid || field == Field.Errno) {
    const stop = textOf(json) + lengthOf(json);
    const number = event == Event.Number ? decimal(textOf(json), stop) : NOT_DECIMAL;
    if (number >= NOT_DECIMAL || decimalEnd != stop) return end(slot, Code.BadReply);
    if (field == Field.Cid) setCid(slot, <u32>number);
    else store<u32>(slot, <u32>number, OF_ERRNO);
    return;
  }
  if (!isString) return end(slot, Code.BadReply);
  let tells: bool;
  if (field == Field.Address) {
    if (lengthOf(json) > TEXT_MAX) return end(slot, Code.BadReply);
    tells = lengthOf(json) > 0;
  } else {
    tells = targetOf(slot) != Target.Address;
    if (field == Field.Class) {
      tells &= classify(slot, json, OF_CLASS, CLASSES);
    } else {
      tells &= classify(slot, json, OF_MANAGER, SERVICES) && load<u8>(slot, OF_CLASS) != OTHER;
    }
  }
  if (!tells || load<u8>(slot, OF_FAILURE) != 0) return;
  keepText(slot, json);
  if (field == Field.Address) setTarget(slot, Target.Address);
}

/** Keeps which of `words` the text is, from 1 on; returns whether it is OTHER. */
function classify(slot: usize, json: usize, where: usize, words: string): bool {
  const index = indexOf(words, textOf(json), lengthOf(json));
  store<u8>(slot + where, <u8>(index < 0 ? OTHER : index + 1));
  return index < 0;
}

/** Keeps the text, cut at TEXT_MAX. */
function keepText(slot: usize, json: usize): void {
  const length = min(lengthOf(json), TEXT_MAX);
  clearText(slot);
  for (let i: usize = 0; i < length; i++) appendText(slot, load<u8>(textOf(json) + i));
}

/** The reply is complete. */
function finish(slot: usize): void {
  const failure = load<u8>(slot, OF_FAILURE);
  if (failure != 0) return end(slot, codeOfFailure(slot, failure));
  const kind = load<u8>(slot, OF_CLASS);
  const manager = load<u8>(slot, OF_MANAGER);
  if (kind == Class.None) return end(slot, Code.BadReply);
  if (kind == Class.Vm && cidOf(slot) != CID_ANY) return found(slot, Target.Cid);
  if (kind == Class.Container && manager == Manager.Nspawn) return found(slot, Target.Container);
  if (targetOf(slot) == Target.Address) return end(slot, Code.Done);
  if (kind != Class.Vm) return end(slot, Code.UnknownClass);
  end(slot, manager == Manager.LibvirtQemu ? Code.UseLibvirt : Code.NoCid);
}

function codeOfFailure(slot: usize, failure: Failure): Code {
  if (failure == Failure.NoSuchMachine) return Code.NoSuchMachine;
  const errno = load<u32>(slot, OF_ERRNO);
  const denied =
    failure == Failure.Denied ||
    failure == Failure.NeedsAuthentication ||
    (failure == Failure.System && (errno == EPERM || errno == EACCES));
  return denied ? Code.LookupDenied : Code.ServiceError;
}
