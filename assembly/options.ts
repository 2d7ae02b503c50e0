// The command line: [OPTIONS] ADDRESS [PORT [NAME]]. Options end at the first argument that is none,
// or behind `--`, so that nothing that ssh puts in for %p or %n can become one.

import {
  args_get,
  args_sizes_get,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { PATH_MAX } from "./address";
import { NOT_DECIMAL, TOO_LARGE, decimal, decimalEnd, equals } from "./bytes";
import { Code } from "./code";
import { ARGUMENTS, makeRoom } from "./layout";

const DASH: u8 = 0x2d;
const EQUALS: u8 = 0x3d;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const DURATION_MAX: u64 = 1440 * MINUTE;

export const enum Wish {
  Connect = 0,
  Help = 1,
  Version = 2,
}

/** An argument; `at` is 0 where it was not given. */
@unmanaged
export class Text {
  at: usize;
  length: usize;
}

// One of each, because there is one command line. They are read after `parseArguments`.

export let wish: Wish = Wish.Connect;
export let verbose: bool = false;
/** How long one attempt may take, in nanoseconds. */
export let timeout: u64 = 5 * SECOND;
export const hostSocket = changetype<Text>(memory.data(8, 4));
export const address = changetype<Text>(memory.data(8, 4));
export const port = changetype<Text>(memory.data(8, 4));
export const name = changetype<Text>(memory.data(8, 4));
/** What a failure is about: the option or argument as it was written; `at` is 0 if it is none. */
export const culprit = changetype<Text>(memory.data(8, 4));
/** The option's value, where it is the next argument. */
export const culpritValue = changetype<Text>(memory.data(8, 4));

const SIZES = memory.data(8, 4);

let argv: usize = 0;
let argc: u32 = 0;
let index: u32 = 1;

/**
 * Reads the command line into the variables above.
 *
 * @returns Done; MemoryLimit; NoAddress to BadHostSocket of code.ts, about `culprit`
 */
export function parseArguments(): Code {
  const code = fetchArguments();
  if (code != Code.Done) return code;
  while (index < argc) {
    const option = argument(index);
    if (load<u8>(option) != DASH) break;
    index++;
    const length = lengthOf(option);
    if (equals(option, length, "--")) break;
    const failure = parseOption(option, length);
    if (failure != Code.Done) return failure;
    if (wish != Wish.Connect) return Code.Done;
  }
  culprit.at = 0;
  // A host need not give even the program's name.
  if (index >= argc) return Code.NoAddress;
  take(address);
  if (index < argc) take(port);
  if (index < argc) take(name);
  if (index == argc) return Code.Done;
  take(culprit);
  return Code.TooManyArguments;
}

/** Has the host write the arguments behind this module's own memory, and makes room for them. */
function fetchArguments(): Code {
  if (args_sizes_get(SIZES, SIZES + 4) != 0) return Code.MemoryLimit;
  argc = load<u32>(SIZES);
  argv = ARGUMENTS;
  const pointers = (<usize>argc) << 2;
  if (!makeRoom(pointers + load<u32>(SIZES, 4))) return Code.MemoryLimit;
  return args_get(argv, argv + pointers) == 0 ? Code.Done : Code.MemoryLimit;
}

function argument(i: u32): usize {
  return load<u32>(argv + (i << 2));
}

function lengthOf(text: usize): usize {
  let end = text;
  while (load<u8>(end) != 0) end++;
  return end - text;
}

function take(text: Text): void {
  text.at = argument(index++);
  text.length = lengthOf(text.at);
}

function parseOption(option: usize, length: usize): Code {
  culprit.at = option;
  culprit.length = length;
  culpritValue.at = 0;

  let nameEnd = option;
  while (nameEnd < option + length && load<u8>(nameEnd) != EQUALS) nameEnd++;
  const nameLength = nameEnd - option;
  const hasValue = nameLength < length;

  const isTimeout = equals(option, nameLength, "--timeout");
  if (isTimeout || equals(option, nameLength, "--host-socket")) {
    let value = nameEnd + 1;
    let end = option + length;
    if (!hasValue) {
      if (index == argc) return Code.NoValue;
      take(culpritValue);
      value = culpritValue.at;
      end = value + culpritValue.length;
    }
    return isTimeout ? parseTimeout(value, end) : parseHostSocket(value, end);
  }

  if (isOption(option, nameLength, "-v", "--verbose")) verbose = true;
  else if (isOption(option, nameLength, "-h", "--help")) wish = Wish.Help;
  else if (isOption(option, nameLength, "-V", "--version")) wish = Wish.Version;
  else if (!equals(option, nameLength, "--fdpass")) return Code.UnknownOption;
  return hasValue ? Code.UnwantedValue : Code.Done;
}

function isOption(at: usize, length: usize, short: string, long: string): bool {
  return equals(at, length, short) || equals(at, length, long);
}

function parseHostSocket(at: usize, end: usize): Code {
  hostSocket.at = at;
  hostSocket.length = end - at;
  return end > at && end - at <= PATH_MAX ? Code.Done : Code.BadHostSocket;
}

function parseTimeout(at: usize, end: usize): Code {
  const value = decimal(at, end);
  if (value == TOO_LARGE) return Code.DurationOutOfRange;
  if (value == NOT_DECIMAL) return Code.BadDuration;
  const rest = end - decimalEnd;
  let unit: u64;
  if (rest == 0 || equals(decimalEnd, rest, "s")) unit = SECOND;
  else if (equals(decimalEnd, rest, "ms")) unit = MILLISECOND;
  else if (equals(decimalEnd, rest, "m")) unit = MINUTE;
  else return Code.BadDuration;
  if (value == 0 || value > DURATION_MAX / unit) return Code.DurationOutOfRange;
  timeout = value * unit;
  return Code.Done;
}
