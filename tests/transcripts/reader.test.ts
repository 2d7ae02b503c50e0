// What transcripts/reader.ts makes of a page of Markdown, as tests/transcripts/README.md has it, and
// what it refuses.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readCases } from "./reader";
import type { HandshakeCase } from "./reader";

describe("the reader of transcripts", () => {
  const text = (...lines: string[]): string => lines.join("\n");
  const read = (...lines: string[]): HandshakeCase[] => readCases("handshake", "F", text(...lines));

  it("has every field of a handshake, in hexadecimal", () => {
    const input = ["port: 7", "answer: OK", "  \\{3}\\x20\\n", "end: eof", "```", ""];
    const outcome = ["```outcome", "code: BadLine", "consumed: 3", "```", ""];
    assert.deepEqual(read("# A file", "## A case", "```handshake", ...input, ...outcome), [
      {
        ...{ file: "F", line: 2, title: "A case", port: 7, sent: 10, answer: "4f4b2020200a" },
        end: "eof",
        outcome: { request: "434f4e4e45435420370a", code: 7603, codeName: "BadLine", consumed: 3 },
      },
    ]);
  });

  it("has every field of an address, and of a command", () => {
    const address = [
      "```address",
      "address: vsock/3",
      "port: 7",
      "name: \\xff",
      "```",
      "",
      "```outcome",
    ];
    const socketAddress = "280000000700000003000000";
    assert.deepEqual(
      readCases(
        "address",
        "F",
        text("# A", ...address, "scheme: vsock", "cid: 3", "port: 7", "```"),
      ),
      [
        {
          ...{ file: "F", line: 1, title: "A", address: "76736f636b2f33", port: "37", name: "ff" },
          outcome: {
            ...{
              code: 0,
              codeName: "Done",
              scheme: 3,
              port: 7,
              argument: 0,
              cid: 3,
              socketAddress,
            },
          },
        },
      ],
    );
    const command = [
      "```command",
      "arguments: -v ''",
      "environment: A=1",
      "stdout: pipe",
      "answer: x",
    ];
    const outcome = [
      "```outcome",
      "exit: 69",
      "stderr: no\\n",
      "sent: C",
      "consumed: 1",
      "relayed: y",
    ];
    assert.deepEqual(
      readCases("command", "F", text("# A", ...command, "end: eof", "```", "", ...outcome, "```")),
      [
        {
          ...{ file: "F", line: 1, title: "A", arguments: ["2d76", ""], environment: ["413d31"] },
          ...{ stdout: "pipe", answer: "78", end: "eof" },
          outcome: {
            ...{ exit: 69, stderr: "6e6f0a", sent: "43", consumed: 1, passed: null, relayed: "79" },
          },
        },
      ],
    );
  });

  const input = ["# A case", "```handshake"];
  const outcome = ["```", "```outcome", "code: BadLine", "consumed: 0"];
  const malformed: [what: string, lines: string[], error: RegExp][] = [
    ["no case", ["# A file"], /^F:1: no case/],
    ["another block", ["# A case", "```json", "```"], /^F:2: not ```handshake/],
    ["a block without a language", ["# A case", "```", "```"], /^F:2: not ```handshake/],
    ["a block that is indented", ["# A case", " ```handshake"], /^F:2: not ```handshake/],
    ["an outcome without input", ["# A case", "```outcome"], /^F:2: not ```handshake/],
    ["input twice", [...input, "```", "```handshake"], /^F:4: not ```outcome/],
    ["no heading", ["```handshake"], /^F:1: a case without a heading/],
    [
      "two cases to a heading",
      [...input, ...outcome, "```", "```handshake"],
      /^F:8: a case without/,
    ],
    ["one heading twice", [...input, ...outcome, "```", "# A case"], /^F:8: a second heading/],
    ["no outcome", [...input, "```"], /^F:2: this case has no outcome/],
    [
      "no outcome before a heading",
      [...input, "```", "# B"],
      /^F:4: the case before has no outcome/,
    ],
    ["no end of a block", [...input, ...outcome], /^F:4: this block does not end/],
    ["an unknown field", [...input, "prot: 1", ...outcome, "```"], /^F:3: no field .*: prot/],
    ["an unknown field of the outcome", [...input, ...outcome, "size: 1", "```"], /^F:7: no field/],
    ["a field twice", [...input, "port: 1", "port: 1"], /^F:4: port a second time/],
    ["no field at all", [...input, "port=1"], /^F:3: not a field/],
    ["a blank too many", [...input, "port:  1"], /^F:3: not a field/],
    ["a blank at the end", [...input, "answer: OK "], /^F:3: a blank at the end/],
    ["a byte beyond ASCII", [...input, "answer: \u00fc"], /^F:3: a byte that is not escaped/],
    ["a tab", [...input, "answer: \t5"], /^F:3: a byte that is not escaped/],
    ["an unknown escape", [...input, "answer: \\e", ...outcome, "```"], /^F:3: not an escape: \\e/],
    ["half an escape", [...input, "answer: \\x4", ...outcome, "```"], /^F:3: not an escape: \\x/],
    ["a capital in one", [...input, "answer: \\x4B", ...outcome, "```"], /^F:3: not an escape/],
    ["a backslash at the end", [...input, "answer: \\", ...outcome, "```"], /^F:3: not an escape/],
    [
      "nothing to repeat",
      [...input, "answer: \\{2}", ...outcome, "```"],
      /^F:3: .* nothing behind/,
    ],
    ["no number", [...input, "port: 0x7", ...outcome, "```"], /^F:3: not a number/],
    ["a port that is none", [...input, "port: 4294967296", ...outcome, "```"], /^F:3: a port is a/],
    [
      "another end",
      [...input, "end: reset", ...outcome, "```"],
      /^F:3: end is one of silence, eof/,
    ],
    [
      "another's code",
      [...input, "```", "```outcome", "code: BadCid", "consumed: 0", "```"],
      /^F:5: no code that this can have/,
    ],
    [
      "no count",
      [...input, "```", "```outcome", "code: BadLine", "```"],
      /^F:4: consumed is missing/,
    ],
    [
      "no number once Done",
      [...input, "answer: 5", "```", "```outcome", "consumed: 1", "```"],
      /^F:5: number is missing/,
    ],
    [
      "more consumed than there is",
      [...input, "```", "```outcome", "code: BadLine", "consumed: 1", "```"],
      /^F:6: more than the answer has/,
    ],
  ];
  for (const [what, lines, error] of malformed) {
    it(`refuses ${what}`, () => {
      assert.throws(() => read(...lines), { message: error });
    });
  }
});
