// Joins the data segments of a Wasm module. AssemblyScript makes one for each literal and table, 6
// bytes or more beside what it holds; those that stand closer to each other than that become one,
// with zeros, which the memory has there anyway, between them.

const DATA = 11;
const DATA_COUNT = 12;
const END = 0x0b;
const I32_CONST = 0x41;

/** What a segment costs at least: its kind, the address, the end of that, and the length. */
const COST = 6;

function unsigned(value) {
  const bytes = [];
  for (; value > 0x7f; value >>>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value];
}

function signed(value) {
  const bytes = [];
  for (; value < -64 || value > 63; value >>= 7) bytes.push((value & 0x7f) | 0x80);
  return [...bytes, value & 0x7f];
}

class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte() {
    return this.bytes[this.at++];
  }
  expect(byte) {
    if (this.byte() !== byte) throw new Error(`no active data segment at ${this.at - 1}`);
  }
  /** LEB128, whose sign matters to nobody here: no address is above 2^31. */
  number() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }
  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

/** The segments of a data section: where each goes, and its bytes. */
function segmentsOf(section) {
  const reader = new Reader(section);
  return Array.from({ length: reader.number() }, () => {
    reader.expect(0);
    reader.expect(I32_CONST);
    const start = reader.number();
    reader.expect(END);
    return { start, bytes: [...reader.take(reader.number())] };
  });
}

function join(segments) {
  const joined = [];
  for (const { start, bytes } of segments.sort((a, b) => a.start - b.start)) {
    const last = joined.at(-1);
    const gap = last === undefined ? Infinity : start - (last.start + last.bytes.length);
    if (gap < 0) throw new Error(`data segments overlap at ${start}`);
    if (gap > COST) joined.push({ start, bytes });
    else
      last.bytes = last.bytes.concat(
        Array.from({ length: gap }, () => 0),
        bytes,
      );
  }
  return joined;
}

/** The same module with fewer data segments; it must not name one (memory.init, data.drop). */
export function mergeSegments(module) {
  const reader = new Reader(module);
  const result = [...reader.take(8)];
  while (reader.at < module.length) {
    const id = reader.byte();
    const section = reader.take(reader.number());
    // Only an instruction that names a segment needs their number in advance.
    if (id === DATA_COUNT) continue;
    let content = [...section];
    if (id === DATA) {
      const segments = join(segmentsOf(section));
      content = segments.flatMap(({ start, bytes }) => [
        ...[0, I32_CONST, ...signed(start), END, ...unsigned(bytes.length)],
        ...bytes,
      ]);
      content.unshift(...unsigned(segments.length));
    }
    result.push(id, ...unsigned(content.length), ...content);
  }
  return Uint8Array.from(result);
}
