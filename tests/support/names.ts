// A host of names.wasm, as docs/abi.md describes one. It throws what that page does not allow.

import { readFileSync } from "node:fs";
import path from "node:path";
import { Code } from "../../assembly/codes";
import { root } from "./proxy";

export interface Lookup {
  /** Of names.wasm: 1 machined, 2 libvirt's qemu:///system, 3 its qemu:///session. */
  service: number;
  name: Buffer;
  /** What follows the replies: the end of file, silence until the deadline, or nothing yet. */
  end?: "eof" | "silence" | undefined;
}

export interface LookupResult {
  code: Code;
  offset: number;
  target: number;
  cid: number;
  text: Buffer;
  requests: Buffer[];
}

const NEED_MORE: number = Code.NeedMore;

type Call = (...args: number[]) => number;

export class Names {
  readonly #exports: WebAssembly.Exports;
  readonly memory: Buffer;
  readonly heap: number;
  readonly slotSize: number;
  readonly requestMax: number;
  /** The longest segment. */
  static readonly SEGMENT_MAX = 32768;

  constructor() {
    const wasm = new Uint8Array(readFileSync(path.join(root, "dist/names.wasm")));
    this.#exports = new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports;
    this.memory = Buffer.from((this.#exports["memory"] as WebAssembly.Memory).buffer);
    this.heap = this.call("heap");
    this.slotSize = (this.#exports["lookup_size"] as WebAssembly.Global).value as number;
    this.requestMax = (this.#exports["lookup_request_max"] as WebAssembly.Global).value as number;
  }

  call(name: string, ...args: number[]): number {
    return (this.#exports[name] as Call)(...args);
  }

  /** Looks a name up while the service sends these segments. */
  run({ service, name, end }: Lookup, segments: Iterable<Buffer>): LookupResult {
    const slot = this.heap;
    const request = slot + this.slotSize;
    const at = request + this.requestMax;
    const receive = this.#exports["lookup_receive"] as Call;
    const codeOf = this.#exports["lookup_code"] as Call;
    const requests: Buffer[] = [];
    const ask = (): boolean => {
      const length = this.call("lookup_request", slot, request);
      if (length > 0) requests.push(Buffer.from(this.memory.subarray(request, request + length)));
      return length > 0;
    };
    this.memory.fill(0xaa, slot, at);
    this.memory.set(name, at);
    const begun = this.call("lookup_begin", slot, service, at, name.length);
    if (begun !== codeOf(slot)) throw new Error("another code at the beginning");
    ask();
    let consumed = 0;
    let length = 0;
    for (const segment of segments) {
      this.memory.set(segment, at);
      length = segment.length;
      let from = 0;
      while (from < length && codeOf(slot) === NEED_MORE) {
        const got = receive(slot, at + from, length - from);
        from += got;
        if (from > length) throw new Error("more bytes consumed than there are");
        const asks = ask();
        if (!asks && from < length && codeOf(slot) === NEED_MORE) {
          throw new Error("bytes neither consumed nor refused");
        }
      }
      consumed += from;
      if (codeOf(slot) !== NEED_MORE) break;
    }
    if (end === "eof") this.call("lookup_eof", slot);
    if (end === "silence") this.call("lookup_deadline", slot);
    const code = codeOf(slot) as Code;
    if (code !== Code.NeedMore) {
      // From here on, nothing changes the result.
      this.call("lookup_deadline", slot);
      this.call("lookup_eof", slot);
      const more = receive(slot, at, length);
      if (ask() || more !== 0 || codeOf(slot) !== (code as number)) throw new Error("no end");
    }
    const offset = this.memory.readUInt32LE(slot + 4);
    if (code !== Code.BadName && offset !== consumed) throw new Error(`offset ${offset}`);
    const textAt = slot + 276;
    const text = this.memory.subarray(textAt, textAt + this.memory.readUInt16LE(slot + 16));
    const target = this.memory.readUInt8(slot + 12);
    const cid = this.memory.readUInt32LE(slot + 8);
    return { code, offset, target, cid, text: Buffer.from(text), requests };
  }
}
