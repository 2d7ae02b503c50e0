// Makes texts smaller, so that help and messages leave room for the program in 12 KiB: byte pair
// encoding (P. Gage, "A New Algorithm for Data Compression", The C Users Journal, February 1994).
// The pair of neighbours that occurs most often becomes one byte that no text has, again and again.
// assembly/proxy/output.ts turns them back: such a byte stands for a pair, of which each is a letter or
// another such byte.

/** In the order in which they are used: all that is neither printable ASCII, nor a newline, nor NUL. */
const SYMBOLS = [...range(0x80, 0xff), ...range(0x01, 0x09), ...range(0x0b, 0x1f)];

/** A pair that occurs less often costs as much as it saves. */
const WORTH = 4;

function range(first, last) {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

/** The pair that occurs most often, of several the one that is met last, and how often it does. */
function mostFrequent(texts) {
  const counts = new Map();
  for (const text of texts) {
    for (let i = 1; i < text.length; i++) {
      const pair = (text[i - 1] << 8) | text[i];
      counts.set(pair, (counts.get(pair) ?? 0) + 1);
    }
  }
  let best = [0, 0];
  for (const entry of counts) if (entry[1] >= best[1]) best = entry;
  return best;
}

function replace(text, pair, symbol) {
  const result = [];
  for (let i = 0; i < text.length; i++) {
    const found = i + 1 < text.length && ((text[i] << 8) | text[i + 1]) === pair;
    result.push(found ? symbol : text[i]);
    if (found) i++;
  }
  return result;
}

/**
 * @param texts strings of printable ASCII and newlines
 * @returns the texts as bytes; and the pairs, two bytes for each symbol: that of 0x80 first, that of
 *   0xff followed by that of 0x00
 */
export function pack(texts) {
  const foreign = texts.find((text) => !/^[\n\x20-\x7e]*$/.test(text));
  if (foreign !== undefined) throw new Error(`cannot be packed: ${JSON.stringify(foreign)}`);
  let packed = texts.map((text) => [...Buffer.from(text, "latin1")]);
  const pairs = [];
  for (const symbol of SYMBOLS) {
    const [pair, count] = mostFrequent(packed);
    if (count < WORTH) break;
    packed = packed.map((text) => replace(text, pair, symbol));
    const at = 2 * ((symbol - 0x80) & 0xff);
    pairs[at] = pair >> 8;
    pairs[at + 1] = pair & 0xff;
  }
  return { packed, pairs: Array.from(pairs, (byte) => byte ?? 0) };
}
