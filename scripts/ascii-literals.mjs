// A transform for asc: a string literal in assembly/ becomes the address of its letters in static
// memory, one byte each and a NUL behind them, instead of a UTF-16 string object with a header: a
// third of the size, and ready to be compared with what the shim delivers or copied to stderr.
// To the type checkers it stays a `string`; what may be done with it stands in assembly/bytes.ts.

import { Node } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

/** The expression `changetype<string>(memory.data<u8>([letters, 0]))`. */
function staticText(text, range) {
  const name = (word) => Node.createIdentifierExpression(word, range);
  const type = (word) =>
    Node.createNamedType(Node.createSimpleTypeName(word, range), [], false, range);
  const bytes = [...Buffer.from(text, "latin1"), 0].map((byte) =>
    Node.createIntegerLiteralExpression(globalThis.i64_new(byte), range),
  );
  const data = Node.createPropertyAccessExpression(name("memory"), name("data"), range);
  const list = Node.createArrayLiteralExpression(bytes, range);
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

/** Replaces the literals below `node`, wherever an expression can stand. */
function replaceIn(node, seen) {
  if (node === null || typeof node !== "object" || seen.has(node)) return;
  seen.add(node);
  for (const [key, child] of Object.entries(node)) {
    // An import's path is a literal to the parser, and no expression.
    if (key === "range" || key === "path" || key === "source") continue;
    const text = literalText(child);
    if (text === undefined) {
      replaceIn(child, seen);
    } else if (isAscii(text)) {
      node[key] = staticText(text, child.range);
    } else {
      throw new Error(`not ASCII: ${JSON.stringify(text)}`);
    }
  }
}

export default class AsciiLiterals extends Transform {
  afterParse(parser) {
    for (const source of parser.sources) {
      if (source.normalizedPath.startsWith("assembly/")) replaceIn(source.statements, new Set());
    }
  }
}
