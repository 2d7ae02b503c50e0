// What of an ELF64 executable the tests look at: its program headers and its dynamic section (elf(5)).

import { readFileSync } from "node:fs";

export const ET_DYN = 3;
export const PT = { LOAD: 1, DYNAMIC: 2, INTERP: 3, GNU_STACK: 0x6474e551, GNU_RELRO: 0x6474e552 };
export const PF = { X: 1, W: 2, R: 4 };
export const DT = { NEEDED: 1, PLTRELSZ: 2, RELASZ: 8, RELSZ: 18, RELRSZ: 35, FLAGS: 30 };
export const DF_BIND_NOW = 8;

export interface Segment {
  type: number;
  flags: number;
  offset: number;
  address: number;
  /** In the file and in memory. */
  fileSize: number;
  size: number;
}

export interface Elf {
  type: number;
  segments: Segment[];
  /** By DT_…, every value that stands there. */
  dynamic: Map<number, number[]>;
}

export function readElf(file: string): Elf {
  const bytes = readFileSync(file);
  const u64 = (at: number) => Number(bytes.readBigUInt64LE(at));
  const [first, size, count] = [u64(32), bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  const segments = Array.from({ length: count }, (_, i): Segment => {
    const at = first + i * size;
    return {
      type: bytes.readUInt32LE(at),
      flags: bytes.readUInt32LE(at + 4),
      offset: u64(at + 8),
      address: u64(at + 16),
      fileSize: u64(at + 32),
      size: u64(at + 40),
    };
  });
  const dynamic = new Map<number, number[]>();
  for (const segment of segments.filter(({ type }) => type === PT.DYNAMIC)) {
    const end = segment.offset + segment.fileSize;
    for (let at = segment.offset; at < end; at += 16) {
      const tag = Number(bytes.readBigInt64LE(at));
      dynamic.set(tag, [...(dynamic.get(tag) ?? []), u64(at + 8)]);
    }
  }
  return { type: bytes.readUInt16LE(16), segments, dynamic };
}
