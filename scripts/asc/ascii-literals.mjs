// A transform for asc. In assembly/ it turns
//
// - a string literal into the address of its ASCII bytes with a NUL after them, instead of a UTF-16
//   string object with a header: a third of the size, and ready to be compared with an argument or
//   copied to stderr. To type checkers it stays a `string`; assembly/core/bytes.ts says how to use it;
// - a table, `[[1, "a"], [2, "b"]] as const`, into the address of its values, a usize each, row after
//   row, and of a zero after the last. TypeScript reads the same table as an array;
// - @VERSION@ in a literal into the version of package.json;
// - all static data into one segment.

import { readFileSync } from "node:fs";
import { Node, NodeKind } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

/**
 * @typedef {import("assemblyscript").Expression} Expression
 * @typedef {import("assemblyscript").Range} Range
 * @typedef {Record<string, unknown>} Holder an object or array of the syntax tree
 */

/** @type {{ version: string }} */
const { version } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
);

/** @param {string} name @param {Range} range */
const identifier = (name, range) => Node.createIdentifierExpression(name, range);

/** @param {string} name @param {Range} range */
const type = (name, range) =>
  Node.createNamedType(Node.createSimpleTypeName(name, range), [], false, range);

/** @param {number} value @param {Range} range */
const integer = (value, range) =>
  Node.createIntegerLiteralExpression(globalThis.i64_new(value), range);

/**
 * The expression `memory.data<element>([...values, 0])`.
 *
 * @param {string} element
 * @param {Expression[]} values
 * @param {Range} range
 */
function staticData(element, values, range) {
  const data = Node.createPropertyAccessExpression(
    identifier("memory", range),
    identifier("data", range),
    range,
  );
  const list = Node.createArrayLiteralExpression([...values, integer(0, range)], range);
  return Node.createCallExpression(data, [type(element, range)], [list], range);
}

/**
 * The text of a literal without substitutions; undefined for every other node.
 *
 * @param {any} node
 * @returns {string | undefined}
 */
function literalText(node) {
  if (typeof node.value === "string" && "literalKind" in node) return node.value;
  if (Array.isArray(node.parts) && node.parts.length === 1) return node.parts[0];
  return undefined;
}

/**
 * The address of a text: an expression of type usize.
 *
 * @param {string} text
 * @param {Range} range
 */
function staticText(text, range) {
  const bytes = Buffer.from(text.replaceAll("@VERSION@", version));
  if (bytes.some((byte) => byte === 0 || byte > 0x7f)) {
    throw new Error(`not ASCII: ${JSON.stringify(text)}`);
  }
  const values = [...bytes].map((byte) => integer(byte, range));
  return staticData("u8", values, range);
}

/**
 * The values of a table, row after row; undefined for every other node.
 *
 * @param {any} node
 * @returns {any[] | undefined}
 */
function tableValues(node) {
  // Of the assertions only `as const` has no type.
  if (node.kind !== NodeKind.Assertion || node.toType !== null) return undefined;
  return node.expression.elementExpressions?.flatMap(
    (/** @type {any} */ row) => row.elementExpressions,
  );
}

/**
 * What replaces a node of the syntax tree: mostly itself, with what is below it replaced.
 *
 * @param {any} node
 * @param {Set<unknown>} seen
 * @returns {unknown}
 */
function replace(node, seen) {
  if (node === null || typeof node !== "object" || seen.has(node)) return node;
  seen.add(node);
  const { range } = node;
  const text = literalText(node);
  if (text !== undefined) {
    const target = [type("string", range)];
    const address = staticText(text, range);
    return Node.createCallExpression(identifier("changetype", range), target, [address], range);
  }
  const table = tableValues(node);
  if (table !== undefined) {
    const values = table.map((value) => {
      const text = literalText(value);
      return text === undefined ? value : staticText(text, value.range);
    });
    return staticData("usize", values, range);
  }
  for (const [key, child] of Object.entries(node)) {
    // The path of an import is a literal to the parser, but not an expression.
    if (key !== "range" && key !== "path" && key !== "source") node[key] = replace(child, seen);
  }
  return node;
}

export default class AsciiLiterals extends Transform {
  /** @param {import("assemblyscript").Parser} parser */
  afterParse(parser) {
    for (const source of parser.sources) {
      if (source.normalizedPath.startsWith("assembly/")) replace(source.statements, new Set());
    }
  }

  /**
   * Joins the segments of static data to one, which the optimiser divides where zeros are. asc makes one
   * of each text, and wasm2c makes code of each.
   *
   * @param {any} module a binaryen.Module, whose declarations are behind its functions
   */
  afterCompile(module) {
    const segments = Array.from({ length: module.getNumDataSegments() }, (_, index) =>
      module.getDataSegmentInfo(module.getDataSegmentByIndex(index)),
    );
    const start = segments[0].offset;
    const last = segments.at(-1);
    const data = new Uint8Array(last.offset + last.data.byteLength - start);
    for (const segment of segments) data.set(new Uint8Array(segment.data), segment.offset - start);
    const { initial, max = -1 } = module.getMemoryInfo();
    const joined = { name: "0", offset: module.i32.const(start), data, passive: false };
    module.setMemory(initial, max, null, [joined], false, false, "0");
  }
}
