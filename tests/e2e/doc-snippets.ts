// The commands, configurations and programs of a page of documentation, for tests that run them.

import { readFileSync } from "node:fs";

/** A block of the page, as a tuple of its lines. */
type Lines<Count extends number, Found extends string[] = []> = Found["length"] extends Count
  ? Found
  : Lines<Count, [...Found, string]>;

type Blocks<Counts extends readonly number[]> = { [At in keyof Counts]: Lines<Counts[At]> };

interface Page {
  /**
   * The indented blocks of a section, without their indentation. `counts` has the number of lines of
   * each block; throws if the page has others.
   */
  take<const Counts extends readonly number[]>(title: string, ...counts: Counts): Blocks<Counts>;
  /** The one fenced block of a section. */
  takeProgram(title: string): string;
  /** The sections with blocks that were not taken. */
  untaken(): string[];
}

export function readPage(file: string): Page {
  const sections = new Map<string, string[][]>();
  for (const section of readFileSync(file, "utf8").split(/^## /m).slice(1)) {
    const [title = "", ...text] = section.split("\n");
    const blocks = /^```/m.test(section) ? fenced(text) : indented(text);
    if (blocks.length > 0) sections.set(title, blocks);
  }
  const taken = new Set<string>();

  function blocksOf(title: string): string[][] {
    taken.add(title);
    return sections.get(title) ?? [];
  }

  return {
    take<const Counts extends readonly number[]>(title: string, ...counts: Counts) {
      const blocks = blocksOf(title);
      const found = blocks.map(({ length }) => length);
      if (found.join() !== counts.join()) {
        throw new Error(
          `${file}, ${title}: blocks of ${found.join(", ")} lines, not ${counts.join(", ")}`,
        );
      }
      return blocks as Blocks<Counts>;
    },
    takeProgram(title) {
      const [program, ...others] = blocksOf(title);
      if (program === undefined || others.length > 0) {
        throw new Error(`${file}, ${title}: it must have one fenced block`);
      }
      return program.join("\n");
    },
    untaken: () => [...sections.keys()].filter((title) => !taken.has(title)),
  };
}

function fenced(text: readonly string[]): string[][] {
  return [...text.join("\n").matchAll(/^```\w*\n([^]*?)^```$/gm)].map(([, block = ""]) =>
    block.split("\n"),
  );
}

function indented(text: readonly string[]): string[][] {
  const blocks: string[][] = [[]];
  for (const line of text) {
    if (line.startsWith("    ")) blocks.at(-1)?.push(line.slice(4));
    else blocks.push([]);
  }
  return blocks.filter((block) => block.length > 0);
}
