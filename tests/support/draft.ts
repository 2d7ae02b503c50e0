// A draft of an arbitrary case: what it asks for, before it is written as a command line and as
// SSH_VSOCK_PROXY_OPTIONS in one of many ways.

import fc from "fast-check";

import { Code } from "../../assembly/codes";
import { makeCase } from "./case";
import type { Case, World } from "./case";
import { escapeBytes } from "./oracle";

/** A case, and a number that picks one of the forms that its world can take (lockstep.ts). */
export interface HostCase extends Case {
  form: number;
}

/** A case without its command line. Text is latin1 here, so that a path can have any byte. */
export interface Draft extends Omit<Partial<Case>, "args" | "environment"> {
  /** Each with its value, if any. */
  options?: Option[];
  /** ADDRESS, PORT and NAME. */
  words?: string[];
  term?: string;
}
export type Option = [name: string] | [name: string, value: string];

/** Merges drafts: later fields win, options add up. */
export function merge(...drafts: Draft[]): Draft {
  const options = drafts.flatMap((draft) => draft.options ?? []);
  const world = Object.assign({}, ...drafts.map((draft) => draft.world)) as World;
  return { ...(Object.assign({}, ...drafts) as Draft), options, world };
}

/** True in about `percent` of a hundred values; shrinks to false. */
export const chance = (percent: number): fc.Arbitrary<boolean> =>
  fc.nat(99).map((value) => value >= 100 - percent);
export const oneOf = fc.constantFrom;

export const escape = (text: string): string => escapeBytes(Buffer.from(text, "latin1"));

/** How an option is written. */
const style = fc.record({ isJoined: fc.boolean(), inVariable: chance(30), quotes: fc.nat(2) });

/** A word in SSH_VSOCK_PROXY_OPTIONS. */
function quote(word: string, quotes: number): string {
  if (quotes === 0 && !word.includes("'")) return `'${word}'`;
  if (quotes <= 1 || word === "") return `"${word.replaceAll(/[\\"]/g, "\\$&")}"`;
  return word.replaceAll(/[^\w./=-]/g, "\\$&");
}

/** How a draft becomes a command line and a variable. */
export const how = fc.record({
  styles: fc.array(style, { minLength: 8, maxLength: 8 }),
  hasVariable: chance(10),
  space: oneOf(" ", "  ", "\t", "\n"),
  hasDashes: chance(10),
  form: fc.nat(5),
});
type How = typeof how extends fc.Arbitrary<infer T> ? T : never;

const OPTIONS = "SSH_VSOCK_PROXY_OPTIONS";

export function finish({ options = [], words = [], term, ...rest }: Draft, how: How): HostCase {
  const inVariable: string[] = [];
  const args: string[] = [];
  const draft = { ...rest };
  options.forEach(([name, value], i) => {
    const { isJoined, inVariable: moves, quotes } = how.styles[i] as How["styles"][number];
    const option = value === undefined ? [name] : isJoined ? [`${name}=${value}`] : [name, value];
    if (moves) inVariable.push(...option.map((word) => quote(word, quotes)));
    else args.push(...option);
    const place = moves ? `${OPTIONS}: ` : "";
    if (draft.log?.path === value)
      draft.log = { path: value ?? "", subject: place + (value ?? "") };
    // A wrong option is what the failure names.
    if (draft.subject !== name) return;
    draft.subject = place + escape(name);
    if (moves && typeof draft.code === "string") draft.code = Code.NotForVariable;
  });
  if (how.hasDashes) args.push("--");
  const environment = term === undefined ? [] : [`TERM=${term}`];
  if (inVariable.length > 0 || how.hasVariable) {
    environment.push(`${OPTIONS}=${inVariable.join(how.space)}`);
  }
  const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
  return {
    ...makeCase({ name: "lock-step", ...draft }),
    args: [...args, ...words].map(bytes),
    environment: environment.map(bytes),
    form: how.form,
  };
}
