// A transform for asc: a string literal in assembly/ becomes the address of its letters in static
// memory, one byte each and a NUL behind them, instead of a UTF-16 string object with a header: a
// third of the size, and ready to be compared with what the shim delivers or copied to stderr.
// To the type checkers it stays a `string`; what may be done with it stands in assembly/core/bytes.ts.
//
// The literals of assembly/messages.ts are packed as well (pack-texts.mjs), and its PAIRS becomes what
// they are unpacked with.

import { Node } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

import { pack } from "./pack-texts.mjs";

/** The expression `changetype<string>(memory.data<u8>([...bytes, 0]))`. */
function staticText(bytes, range) {
  const name = (word) => Node.createIdentifierExpression(word, range);
  const type = (word) =>
    Node.createNamedType(Node.createSimpleTypeName(word, range), [], false, range);
  const numbers = [...bytes, 0].map((byte) =>
    Node.createIntegerLiteralExpression(globalThis.i64_new(byte), range),
  );
  const data = Node.createPropertyAccessExpression(name("memory"), name("data"), range);
  const list = Node.createArrayLiteralExpression(numbers, range);
  const segment = Node.createCallExpression(data, [type("u8")], [list], range);
  return Node.createCallExpression(name("changetype"), [type("string")], [segment], range);
}

function isAscii(text) {
  return [...text].every((letter) => letter > "\0" && letter <= "\x7f");
}

/** The text of a literal without substitutions; undefined for every other value. */
function literalText(node) {
  if (node === null || typeof node !== "object") return undefined;
  if (typeof node.value === "string" && "literalKind" in node) return node.value;
  if (Array.isArray(node.parts) && node.parts.length === 1) return node.parts[0];
  return undefined;
}

/** The literals below `node`, wherever an expression can stand: each with the place that holds it. */
function literalsIn(node, seen = new Set()) {
  if (node === null || typeof node !== "object" || seen.has(node)) return [];
  seen.add(node);
  return Object.entries(node).flatMap(([key, child]) => {
    // An import's path is a literal to the parser, and no expression.
    if (key === "range" || key === "path" || key === "source") return [];
    const text = literalText(child);
    return text === undefined ? literalsIn(child, seen) : [{ holder: node, key, text }];
  });
}

function put({ holder, key }, bytes) {
  holder[key] = staticText(bytes, holder[key].range);
}

export default class AsciiLiterals extends Transform {
  afterParse(parser) {
    for (const source of parser.sources) {
      if (!source.normalizedPath.startsWith("assembly/")) continue;
      const literals = literalsIn(source.statements);
      const foreign = literals.find(({ text }) => !isAscii(text));
      if (foreign !== undefined) throw new Error(`not ASCII: ${JSON.stringify(foreign.text)}`);
      if (source.normalizedPath === "assembly/messages.ts") {
        const [pairs, ...texts] = literals;
        if (pairs.text !== "") throw new Error("assembly/messages.ts does not begin with PAIRS");
        const result = pack(texts.map(({ text }) => text));
        put(pairs, result.pairs);
        texts.forEach((literal, i) => put(literal, result.packed[i]));
      } else {
        for (const literal of literals) put(literal, Buffer.from(literal.text, "latin1"));
      }
    }
  }
}
