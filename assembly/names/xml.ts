// A scanner of the XML that libvirt writes for a domain. It looks for one attribute,
// /domain/devices/vsock/cid/@address, and is given a byte at a time.
//
// Rules
// 1. The scanner stops at the match: nothing behind it is read.
// 2. Comments, CDATA sections, processing instructions, text and the values of other attributes are
//    skipped. A document type declaration, which could define entities, is wrong: libvirt writes none.
//    No entity is resolved: one in the address is wrong.
// 3. Elements are counted, not remembered, so the depth is not limited. The name of an end tag is
//    not compared: the document is libvirt's own, and what is nested wrongly cannot match.
// 4. What is not well-formed is wrong only where a parser could read another structure from it: a `<`
//    in a tag, a value without quotes, `--` in a comment, anything but `domain` as the root.
// 5. All state is in XML_SIZE bytes of the caller's, which are zero at the start.
//
// Theory of operation
//   `matched` counts the open elements, from the root on, that are those of the path. A new element
//   can match only if all elements that are open have matched; when one of them closes, its match
//   ends. In the tag of the fourth, `cid`, the attribute is compared.
//
//   state             | byte                    | next              | result
//   ------------------+-------------------------+-------------------+-------------------------------
//   Content           | `<`                     | Open              |
//   Open              | one of a name           | Name              |
//                     | `/`, in the root        | EndName           |
//                     | `!`, `?`                | Bang, Instruction |
//   Name              | none of a name          | as in Tag         | Wrong for a root but `domain`
//   Tag               | one of a name           | Attribute         |
//   Tag, AfterValue   | white space             | Tag               |
//                     | `>`, `/`                | Content, Slash    |
//   Attribute, Equals | white space             | Equals            |
//                     | `=`                     | Quote             |
//   Quote             | `"`, `'`                | Value             |
//   Value             | the same quote          | AfterValue        | Cid at the end of the address
//   Slash, EndName    | `>`                     | Content           | End if the root has ended
//   Bang              | `-`; `[`, in the root   | BangDash, CdataName |
//   BangDash          | `-`                     | Comment           |
//   CdataName         | the last one of `CDATA[` | Cdata            |
//   Comment, Cdata,   | the last one of `-->`,  | Content           |
//   Instruction       | `]]>`, `?>`             |                   |
//   Bytes of a name, a value and what is skipped leave the state; so do text and white space in the
//   root, and white space before it. Every other byte is Wrong, and in the address each that is not a
//   digit of a number from CID_MIN to CID_MAX.
//
// The record, little-endian:
//
//    0  u8   state
//    1  u8   matched
//    2  u8   same     whether the name so far is the one that is looked for
//    3  u8   place    how many bytes of the name, or of the end of what is skipped, were read
//    4  u8   quote    of the attribute's value
//    5  u8   isVsock  whether a vsock element was found
//    6  u8   isCid    whether the attribute is the one that is looked for
//    8  u32  depth    how many elements are open
//   12  u32  cid

import { DASH, DIGIT_0, SLASH, SPACE } from "../core/bytes";

export const XML_SIZE: usize = 16;

/** What a byte has led to. */
export const enum Found {
  /** Nothing yet. */
  More = 0,
  /** The CID. */
  Cid = 1,
  /** The end of the document, without a CID. */
  End = 2,
  /** The byte is not allowed here. */
  Wrong = 3,
}

const enum State {
  /** Between tags. */
  Content = 0,
  /** After `<`. */
  Open = 1,
  /** In the name of a start tag. */
  Name = 2,
  /** In a start tag, before an attribute or its end. */
  Tag = 3,
  Attribute = 4,
  /** Before the attribute's `=`, and before the quote. */
  Equals = 5,
  Quote = 6,
  Value = 7,
  /** After the attribute's closing quote: a space must come before the next one. */
  AfterValue = 8,
  /** After the `/` of an empty element. */
  Slash = 9,
  EndName = 10,
  /** After `<!`, and after `<!-`. */
  Bang = 11,
  BangDash = 12,
  Comment = 13,
  /** In `<![CDATA[`. */
  CdataName = 14,
  Cdata = 15,
  /** Between `<?` and `?>`. */
  Instruction = 16,
}

const OF_MATCHED: usize = 1;
const OF_SAME: usize = 2;
const OF_PLACE: usize = 3;
const OF_QUOTE: usize = 4;
const OF_IS_VSOCK: usize = 5;
const OF_IS_CID: usize = 6;
const OF_DEPTH: usize = 8;
const OF_CID: usize = 12;

const LESS: u32 = 0x3c;
const GREATER: u32 = 0x3e;

/** The depths of `vsock` and `cid`, counted from 1. */
const VSOCK: u32 = 3;
const CID: u32 = 4;
/** CIDs 0 to 2 are no machine's, and the last one is VMADDR_CID_ANY. */
const CID_MIN: u64 = 3;
const CID_MAX: u64 = 0xffff_fffe;

export function cidOf(xml: usize): u32 {
  return load<u32>(xml, OF_CID);
}

/** Whether the domain has a vsock device. Valid after Found.End. */
export function hasVsock(xml: usize): bool {
  return load<u8>(xml, OF_IS_VSOCK) != 0;
}

/** Reads one byte. After a result other than More it must not be called again. */
export function step(xml: usize, byte: u32): Found {
  const state: State = load<u8>(xml);
  switch (state) {
    case State.Content:
      if (byte == LESS) return enter(xml, State.Open);
      return load<u32>(xml, OF_DEPTH) > 0 || isBlank(byte) ? Found.More : Found.Wrong;
    case State.Open:
      return openByte(xml, byte);
    case State.Name:
      if (isNameByte(byte)) return compare(xml, byte);
      return beginElement(xml) ? tagByte(xml, byte, true) : Found.Wrong;
    case State.Tag:
      return tagByte(xml, byte, true);
    case State.AfterValue:
      return tagByte(xml, byte, false);
    case State.Attribute:
      if (isNameByte(byte)) return compare(xml, byte);
      store<u8>(xml, <u8>isSame(xml), OF_IS_CID);
    // falls through
    case State.Equals:
      if (byte == 0x3d) return enter(xml, State.Quote);
      return isBlank(byte) ? enter(xml, State.Equals) : Found.Wrong;
    case State.Quote:
      if (isBlank(byte)) return Found.More;
      if (byte != 0x22 && byte != 0x27) return Found.Wrong;
      store<u8>(xml, <u8>byte, OF_QUOTE);
      return enter(xml, State.Value);
    case State.Value:
      return valueByte(xml, byte);
    case State.Slash:
      return byte == GREATER ? endElement(xml) : Found.Wrong;
    case State.EndName:
      if (byte == GREATER) return endElement(xml);
      return byte == LESS ? Found.Wrong : Found.More;
    case State.Bang:
      if (byte == DASH) return enter(xml, State.BangDash);
      return byte == 0x5b && load<u32>(xml, OF_DEPTH) > 0
        ? enter(xml, State.CdataName)
        : Found.Wrong;
    case State.BangDash:
      return byte == DASH ? enter(xml, State.Comment) : Found.Wrong;
    case State.CdataName: {
      const place = load<u8>(xml, OF_PLACE);
      if (byte != load<u8>(changetype<usize>("CDATA[") + place)) return Found.Wrong;
      store<u8>(xml, place + 1, OF_PLACE);
      return place == 5 ? enter(xml, State.Cdata) : Found.More;
    }
  }
  return skippedByte(xml, state, byte);
}

function enter(xml: usize, state: State): Found {
  store<u8>(xml, <u8>state);
  store<u8>(xml, 0, OF_PLACE);
  return Found.More;
}

function isBlank(byte: u32): bool {
  return byte == SPACE || byte == 0x0a || byte == 0x09 || byte == 0x0d;
}

/** A byte of a name (XML 1.0, 2.3); what is not ASCII counts as one. */
function isNameByte(byte: u32): bool {
  if ((byte | 0x20) - 0x61 < 26 || byte >= 0x80 || byte == 0x5f) return true;
  return byte - DASH <= 1 || byte - DIGIT_0 <= 10;
}

/** The first byte of a tag, a comment, a CDATA section or an instruction. */
function openByte(xml: usize, byte: u32): Found {
  if (byte == 0x21) return enter(xml, State.Bang);
  if (byte == 0x3f) return enter(xml, State.Instruction);
  const depth = load<u32>(xml, OF_DEPTH);
  if (byte == SLASH) return depth > 0 ? enter(xml, State.EndName) : Found.Wrong;
  return beginName(xml, State.Name, load<u8>(xml, OF_MATCHED) == depth && depth < CID, byte);
}

/** In a start tag, before an attribute or the end. */
function tagByte(xml: usize, byte: u32, isAllowed: bool): Found {
  if (isBlank(byte)) return enter(xml, State.Tag);
  if (byte == GREATER) return enter(xml, State.Content);
  if (byte == SLASH) return enter(xml, State.Slash);
  if (!isAllowed) return Found.Wrong;
  const inCid = load<u8>(xml, OF_MATCHED) == CID && load<u32>(xml, OF_DEPTH) == CID;
  return beginName(xml, State.Attribute, inCid, byte);
}

function beginName(xml: usize, state: State, compares: bool, byte: u32): Found {
  if (!isNameByte(byte)) return Found.Wrong;
  enter(xml, state);
  store<u8>(xml, <u8>compares, OF_SAME);
  return compare(xml, byte);
}

/** The name that is compared: the next element of the path, and then the attribute. */
function wanted(xml: usize): usize {
  const matched = load<u8>(xml, OF_MATCHED);
  if (matched == 0) return changetype<usize>("domain");
  if (matched == 1) return changetype<usize>("devices");
  if (matched == 2) return changetype<usize>("vsock");
  return changetype<usize>(matched == 3 ? "cid" : "address");
}

function compare(xml: usize, byte: u32): Found {
  if (load<u8>(xml, OF_SAME) != 0) {
    const place = load<u8>(xml, OF_PLACE);
    if (byte != load<u8>(wanted(xml) + place)) store<u8>(xml, 0, OF_SAME);
    store<u8>(xml, place + 1, OF_PLACE);
  }
  return Found.More;
}

/** Whether the whole name is the one that is wanted. */
function isSame(xml: usize): bool {
  return load<u8>(xml, OF_SAME) != 0 && load<u8>(wanted(xml) + load<u8>(xml, OF_PLACE)) == 0;
}

/** @returns whether the root is `domain` */
function beginElement(xml: usize): bool {
  const depth = load<u32>(xml, OF_DEPTH) + 1;
  if (isSame(xml)) {
    store<u8>(xml, <u8>depth, OF_MATCHED);
    if (depth == VSOCK) store<u8>(xml, 1, OF_IS_VSOCK);
  }
  store<u32>(xml, depth, OF_DEPTH);
  return load<u8>(xml, OF_MATCHED) > 0;
}

function endElement(xml: usize): Found {
  const depth = load<u32>(xml, OF_DEPTH) - 1;
  store<u32>(xml, depth, OF_DEPTH);
  if (load<u8>(xml, OF_MATCHED) > depth) store<u8>(xml, <u8>depth, OF_MATCHED);
  return depth == 0 ? Found.End : enter(xml, State.Content);
}

function valueByte(xml: usize, byte: u32): Found {
  if (byte == LESS) return Found.Wrong;
  const isCid = load<u8>(xml, OF_IS_CID) != 0;
  const cid = <u64>load<u32>(xml, OF_CID);
  if (byte == load<u8>(xml, OF_QUOTE)) {
    if (!isCid) return enter(xml, State.AfterValue);
    return cid < CID_MIN ? Found.Wrong : Found.Cid;
  }
  if (!isCid) return Found.More;
  const digit = byte - DIGIT_0;
  const value = cid * 10 + digit;
  // A zero in front leaves the value at 0: no CID begins with one.
  if (digit > 9 || value == 0 || value > CID_MAX) return Found.Wrong;
  store<u32>(xml, <u32>value, OF_CID);
  return Found.More;
}

/** A byte of a comment, a CDATA section or an instruction; OF_PLACE counts those of its end. */
function skippedByte(xml: usize, state: State, byte: u32): Found {
  const place: u32 = load<u8>(xml, OF_PLACE);
  const needed: u32 = state == State.Instruction ? 1 : 2;
  if (place == needed && byte == GREATER) return enter(xml, State.Content);
  const end: u32 = state == State.Comment ? DASH : state == State.Cdata ? 0x5d : 0x3f;
  // `--` may not be in a comment (XML 1.0, 2.5).
  if (state == State.Comment && place == 2) return Found.Wrong;
  store<u8>(xml, <u8>(byte == end ? min(place + 1, needed) : 0), OF_PLACE);
  return Found.More;
}
