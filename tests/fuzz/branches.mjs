// A transform for asc: before each branch, the program reports it by an import, `coverage.branch`:
//
//     branch(id: i32, taken: bool): bool    gives `taken` back
//
// A branch is the condition of an `if`, `while`, `do`, `for` or `?:`, each `case` of a `switch`, and the
// left side of `&&` and `||`; where several conditions are joined by these, and negated by `!`, each of
// them is one. So the
// branches are those of the source, whatever the optimiser makes of them, without the checks that
// Wasm and its translation to C add.
//
// BRANCHES is the file that lists them: [{ file, line, column, function, text }] as JSON; the index in
// the list is the id.

import { writeFileSync } from "node:fs";
import process from "node:process";
import { Node, NodeKind, Token } from "assemblyscript";
import { Transform } from "assemblyscript/transform";

const IMPORT = "report_branch";
const SWITCH = "report_switch";
const CASE = "report_case";
const DECLARATION = `
  @global @external("coverage", "branch")
  declare function ${IMPORT}(id: i32, taken: bool): bool;

  @lazy let switched: i32 = 0;

  // The cases are compared in their order, until one is equal, and before anything else runs.
  @global
  function ${SWITCH}(value: i32): i32 {
    switched = value;
    return value;
  }

  @global
  function ${CASE}(id: i32, label: i32): i32 {
    ${IMPORT}(id, label == switched);
    return label;
  }
`;

const isJoin = ({ kind, operator }) =>
  kind === NodeKind.Binary &&
  (operator === Token.Ampersand_Ampersand || operator === Token.Bar_Bar);

const isNot = ({ kind, operator }) =>
  kind === NodeKind.UnaryPrefix && operator === Token.Exclamation;

function call(name, args, range) {
  const callee = Node.createIdentifierExpression(name, range);
  return Node.createCallExpression(callee, null, args, range);
}

/** The expression `!!node`. */
function truth(node) {
  const not = (operand) => Node.createUnaryPrefixExpression(Token.Exclamation, operand, node.range);
  return not(not(node));
}

class Instrumenter {
  branches = [];
  #names = [];

  /** Instruments all that is below `node`. */
  visit(node) {
    if (Array.isArray(node)) return node.forEach((child) => this.visit(child));
    if (node === null || typeof node !== "object" || !("kind" in node)) return;
    if (node.kind === NodeKind.Switch) return this.#switch(node);
    const isFunction = node.kind === NodeKind.FunctionDeclaration;
    if (isFunction) this.#names.push(node.name.text);
    if ("condition" in node && node.condition !== null) {
      node.condition = this.#condition(node.condition);
    }
    const joins = isJoin(node);
    if (joins) node.left = this.#condition(node.left);
    for (const [key, child] of Object.entries(node)) {
      const done = key === "condition" || (joins && key === "left");
      if (!done && key !== "range" && key !== "source") this.visit(child);
    }
    if (isFunction) this.#names.pop();
  }

  #switch(node) {
    this.visit(node.condition);
    node.condition = call(SWITCH, [node.condition], node.condition.range);
    for (const each of node.cases) {
      this.visit(each.statements);
      if (each.label === null) continue;
      const { range } = each.label;
      each.label = call(CASE, [this.#branch(range, "case "), each.label], range);
    }
  }

  /** A new branch: the expression of its id. */
  #branch(range, prefix = "") {
    const { source } = range;
    const id = this.branches.length;
    this.branches.push({
      file: source.normalizedPath,
      line: source.lineAt(range.start),
      column: source.columnAt(),
      function: this.#names.at(-1) ?? "",
      text: prefix + source.text.slice(range.start, range.end).replace(/\s+/g, " "),
    });
    return Node.createIntegerLiteralExpression(globalThis.i64_new(id), range);
  }

  /** The same condition, which reports itself. */
  #condition(node) {
    if (node.kind === NodeKind.Parenthesized) {
      node.expression = this.#condition(node.expression);
      return node;
    }
    if (isNot(node)) {
      node.operand = this.#condition(node.operand);
      return node;
    }
    if (isJoin(node)) {
      node.left = this.#condition(node.left);
      node.right = this.#condition(node.right);
      return node;
    }
    // `while (true)` has no second direction.
    if (node.kind === NodeKind.True) return node;
    const id = this.#branch(node.range);
    this.visit(node);
    return call(IMPORT, [id, truth(node)], node.range);
  }
}

export default class Branches extends Transform {
  afterParse(parser) {
    const instrumenter = new Instrumenter();
    for (const source of parser.sources) {
      if (source.normalizedPath.startsWith("assembly/")) instrumenter.visit(source.statements);
    }
    parser.parseFile(DECLARATION, "~lib/branches.ts", false);
    writeFileSync(process.env.BRANCHES, JSON.stringify(instrumenter.branches));
  }
}
