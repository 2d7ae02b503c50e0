// A terminal's screen, as far as the progress of --wait uses one: it knows the control functions
// that assembly/proxy/report.ts names and throws at any other, so that whatever else gets through is seen.
//
// It has no upper end: what is scrolled off a real one can be reached here, so the tests look at how
// far up the cursor goes.

export class Screen {
  readonly rows: string[] = [""];
  row = 0;
  column = 0;
  autowrap = true;
  /** How often a line was too long and went on in the next row. */
  wraps = 0;

  constructor(readonly width: number) {}

  write(text: string): void {
    let rest = text;
    while (rest !== "") rest = this.#step(rest);
  }

  /** The rows that have anything in them. */
  get shown(): string[] {
    return this.rows.map((row) => row.trimEnd()).filter((row) => row !== "");
  }

  #step(text: string): string {
    const control = /^\x1b\[(\?7l|\?7h|A|K)/.exec(text);
    if (control !== null) {
      if (control[1] === "A") this.row = Math.max(0, this.row - 1);
      else if (control[1] === "K") this.rows[this.row] = this.#current().slice(0, this.column);
      else this.autowrap = control[1] === "?7h";
      return text.slice(control[0].length);
    }
    const character = String.fromCodePoint(text.codePointAt(0) as number);
    if (character === "\n") this.#down();
    else if (character === "\r") this.column = 0;
    else if (/\p{C}/u.test(character)) throw new Error(`the screen gets ${JSON.stringify(text)}`);
    else this.#put(character);
    return text.slice(character.length);
  }

  #current(): string {
    return this.rows[this.row] as string;
  }

  /** As with ONLCR, which a terminal's driver has set. */
  #down(): void {
    this.row++;
    this.column = 0;
    if (this.row === this.rows.length) this.rows.push("");
  }

  /** A character each cell; the last cell is written to again and again where nothing wraps. */
  #put(character: string): void {
    if (this.column === this.width) {
      if (this.autowrap) {
        this.wraps++;
        this.#down();
      } else {
        this.column--;
      }
    }
    const cells = Array.from(this.#current().padEnd(this.column));
    cells[this.column++] = character;
    this.rows[this.row] = cells.join("");
  }
}
