// The reader of transcripts: what it returns for a case, and which mistakes it reports.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readCases } from "./reader";

const text = (...lines: string[]): string => lines.join("\n");

describe("the reader of transcripts", () => {
  it("returns an address", () => {
    const input = text("```address", "address: vsock/3", "port: 7", "name: \\xff", "```");
    const outcome = text("```outcome", "scheme: vsock", "cid: 3", "port: 7", "systemd: no", "```");
    const socketAddress = "280000000700000003000000";
    const result = { code: 0, codeName: "Done", scheme: 3, port: 7, argument: 0, cid: 3 };
    assert.deepEqual(readCases("address", "F", text("# A", input, "Prose.", outcome)), [
      {
        ...{ file: "F", line: 1, title: "A", address: "76736f636b2f33", port: "37", name: "ff" },
        ...{ outcome: { ...result, socketAddress }, systemd: "no" },
      },
    ]);
  });

  it("returns a handshake", () => {
    const input = text(
      "```handshake",
      "port: 7",
      "answer: OK",
      "  \\{3}\\x20\\n",
      "end: eof",
      "```",
    );
    const outcome = text("```outcome", "code: BadLine", "consumed: 3", "```");
    assert.deepEqual(readCases("handshake", "F", text("# Title", "## A", input, outcome)), [
      {
        ...{
          file: "F",
          line: 2,
          title: "A",
          port: 7,
          sent: 10,
          answer: "4f4b2020200a",
          end: "eof",
        },
        outcome: { request: "434f4e4e45435420370a", code: 7603, codeName: "BadLine", consumed: 3 },
      },
    ]);
  });

  it("returns a look-up", () => {
    const input = text("```lookup", "service: system", "name: a", "answer: \\[28]\\[0xffffffff]");
    const outcome = text("```outcome", "consumed: 8", "cid: 3", "request: \\[0]", "```");
    assert.deepEqual(readCases("lookup", "F", text("# A", input, "```", outcome)), [
      {
        ...{ file: "F", line: 1, title: "A", service: 2, name: "61", end: "silence" },
        answer: "0000001cffffffff",
        outcome: {
          ...{ code: 0, codeName: "Done", consumed: 8, target: 1, cid: 3, request: "00000000" },
        },
      },
    ]);
  });

  it("returns a command", () => {
    const variables = ["environment: A=1", "environment: B="];
    const input = text("```command", "arguments: -v ''", ...variables, "stdout: pipe", "answer: x");
    const result = ["exit: 69", "stderr: no\\n", "sent: C", "consumed: 1", "relayed: y", "```"];
    assert.deepEqual(
      readCases("command", "F", text("# A", input, "```", "```outcome", ...result)),
      [
        {
          ...{ file: "F", line: 1, title: "A", arguments: ["2d76", ""], stdout: "pipe" },
          ...{ environment: ["413d31", "423d"], answer: "78", end: "silence" },
          outcome: {
            ...{ exit: 69, stderr: "6e6f0a", sent: "43", consumed: 1, passed: null, relayed: "79" },
          },
        },
      ],
    );
  });

  // Where a line is given for a field, the case is whole but for it.
  const input = ["# A", "```handshake"];
  const outcome = ["```", "```outcome", "code: BadLine", "consumed: 0", "```"];
  const withField = (line: string): string[] => [...input, line, ...outcome];
  const withOutcome = (...lines: string[]): string[] => [...input, "```", "```outcome", ...lines];
  const mistakes: [what: string, lines: string[], error: RegExp][] = [
    ["no case", ["# A"], /^F:1: no case/],
    ["another block", ["# A", "```json"], /^F:2: ```json, and not ```handshake/],
    ["a block that is indented", ["# A", " ```handshake"], /^F:2: .*, and not ```handshake/],
    ["an outcome without input", ["# A", "```outcome"], /^F:2: .*, and not ```handshake/],
    ["input twice", [...input, "```", "```handshake"], /^F:4: .*, and not ```outcome/],
    ["no heading", ["```handshake"], /^F:1: a case without a heading/],
    ["two cases to a heading", [...input, ...outcome, "```handshake"], /^F:8: a case without a/],
    ["a heading twice", [...input, ...outcome, "# A"], /^F:8: a second heading/],
    ["no outcome", [...input, "```"], /^F:2: this case has no outcome/],
    ["no outcome before a heading", [...input, "```", "# B"], /^F:2: this case has no outcome/],
    ["a block without an end", [...input, ...outcome.slice(0, -1)], /^F:4: this block does not/],
    ["an unknown field", withField("prot: 1"), /^F:3: prot is not known here/],
    ["an unknown field of the outcome", withOutcome("size: 1", ...outcome.slice(2)), /^F:5: size/],
    ["a field twice", [...input, "port: 1", "port: 1"], /^F:4: port a second time/],
    ["a line that is no field", withField("port=1"), /^F:3: not a field: port=1/],
    ["two spaces before a value", withField("port:  1"), /^F:3: not a field/],
    ["a space at the end", withField("answer: OK "), /^F:3: a space at the end/],
    ["a byte beyond ASCII", withField("answer: \u00fc"), /^F:3: a byte that is not escaped/],
    ["a tab", withField("answer: \t5"), /^F:3: a byte that is not escaped/],
    ["an unknown escape", withField("answer: \\e"), /^F:3: answer: not an escape: \\e/],
    ["half an escape", withField("answer: \\x4"), /^F:3: answer: not an escape: \\x4/],
    ["a capital in an escape", withField("answer: \\x4B"), /^F:3: answer: not an escape/],
    ["a backslash at the end", withField("answer: \\"), /^F:3: answer: not an escape/],
    ["nothing to repeat", withField("answer: \\{2}"), /^F:3: answer: not an escape/],
    ["a number without an end", withField("answer: \\[28"), /^F:3: answer: not an escape/],
    ["a number in hexadecimal", withField("port: 0x7"), /^F:3: port: not a number/],
    ["a port out of range", withField("port: 4294967296"), /^F:3: port: more than 4294967295/],
    ["an unknown word", withField("end: reset"), /^F:3: end: reset is not one of silence, eof/],
    ["a code of another kind", withOutcome("code: BadCid", "```"), /^F:5: code: BadCid is not one/],
    ["no number of bytes", withOutcome("code: BadLine", "```"), /^F:4: consumed is missing/],
    ["no number with Done", withOutcome("consumed: 0", "```"), /^F:4: number is missing/],
    ["more bytes than there are", withOutcome("consumed: 1", "```"), /^F:5: consumed: more than 0/],
  ];
  for (const [what, lines, error] of mistakes) {
    it(`reports ${what}`, () => {
      assert.throws(() => readCases("handshake", "F", text(...lines)), { message: error });
    });
  }
});
