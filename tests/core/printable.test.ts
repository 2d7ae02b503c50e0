// What the library and the command escape of the texts that they print: by Unicode's properties, and
// both alike.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ESCAPED } from "../../assembly/printable";
import { AddressError, parseAddress } from "ssh-vsock-proxy";
import { simulate } from "../simulated/world";

const LAST = 0x10ffff;

/** `text` as both of them print it in the message of an address that is not understood. */
function printed(text: string | Buffer): string {
  const { stderr } = simulate([text]);
  let message = "";
  try {
    parseAddress(text);
  } catch (error) {
    assert.ok(error instanceof AddressError);
    ({ message } = error);
  }
  assert.equal(`ssh-vsock-proxy: ${message}\n`, stderr.toString());
  return message;
}

describe("the characters that are escaped", () => {
  it("are those of Unicode's properties, and those that move or are not well-formed", () => {
    const expected = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}\ufff9-\ufffb]/u;
    for (let number = 0; number <= LAST; number++) {
      const escaped = ESCAPED.some(([first, last]) => number >= first && number <= last);
      const name = `U+${number.toString(16)}`;
      assert.equal(escaped, expected.test(String.fromCodePoint(number)), name);
    }
  });

  it("are the same in the library and the command, for each character", () => {
    const batch = 1000;
    for (let first = 1; first <= LAST; first += batch) {
      const numbers = Array.from({ length: batch }, (_, i) => first + i);
      const text = numbers.filter((number) => number <= LAST && (number & 0xff800) !== 0xd800);
      if (text.length > 0) printed(`x${String.fromCodePoint(...text)}`);
    }
  });

  it("are the same for bytes that are not UTF-8", () => {
    const edges = [0x41, 0x5c, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2, 0xe0, 0xed, 0xf0];
    for (let first = 0x80; first <= 0xff; first++) {
      for (const second of edges) {
        const rows = edges.map((third) => [first, second, third, 0x80, 0x41]);
        printed(Buffer.from([0x41, ...rows.flat()]));
      }
    }
  });

  it("are the same where a long text is cut, within a character too", () => {
    for (const length of [4157, 4158, 4159, 4160, 4161, 20_000]) {
      assert.equal(printed(`${"x".repeat(length)}\u{1f600}`).includes("...: "), length > 4156);
    }
  });

  it("include surrogates, and leave Arabic number signs and private use", () => {
    assert.match(printed(Buffer.from("x\xed\xa0\x80", "latin1")), /^x\\xed\\xa0\\x80: /);
    assert.match(
      printed("\u0600\u06dd\u070f\ue000\u{f0000}"),
      /^\u0600\u06dd\u070f\ue000\u{f0000}: /u,
    );
    assert.match(
      printed("a\u202eb\ufe0f\\\u{e0001}"),
      /^a\\xe2\\x80\\xaeb\\xef\\xb8\\x8f\\\\\\xf3/,
    );
  });
});
