// The command line, [OPTIONS] ADDRESS [PORT [NAME]], and the options that the environment variable
// SSH_VSOCK_PROXY_OPTIONS has, which come before it: so what the command line says is the last word.
// Options end at the first argument that is none, or behind `--`, so that nothing that ssh puts in
// for %p or %n can become one.

import {
  args_get,
  args_sizes_get,
  environ_get,
  environ_sizes_get,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { PATH_MAX } from "../core/address";
import { DASH, NOT_DECIMAL, TOO_LARGE, decimal, decimalEnd, equals, indexOf } from "../core/bytes";
import { Code } from "../codes";
import { ARGUMENTS, makeRoom } from "./memory";
import { BAD_QUOTING, splitWords } from "./shellwords";

const EQUALS: u8 = 0x3d;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const DURATION_MAX: u64 = 1440 * MINUTE;

export const VARIABLE = "SSH_VSOCK_PROXY_OPTIONS";

/** Those without a value first; -v and --verbose are the same, and so are those behind them. */
const OPTIONS =
  "--fdpass --stdio -v --verbose -V --version -h --help --timeout --wait --half-close --host-socket --log-file";

const enum Option {
  FdPass = 0,
  Stdio = 1,
  V = 4,
  H = 6,
  Timeout = 8,
  Wait = 9,
  HalfClose = 10,
  HostSocket = 11,
  LogFile = 12,
}
const FIRST_WITH_VALUE: i32 = Option.Timeout;

export const enum Wish {
  Connect = 0,
  Help = 1,
  Version = 2,
}

/** How the connection gets to whoever wants it. */
export const enum Mode {
  /** By descriptor passing where descriptor 1 is a unix stream socket, by a relay elsewhere. */
  Auto = 0,
  FdPass = 1,
  Relay = 2,
}

/** Whether a relay passes the end of its input on. */
export const enum HalfClose {
  /** Not to a multiplexer: on Firecracker it takes the answer with it. */
  Auto = 0,
  Always = 1,
  Never = 2,
}

/** An argument; `at` is 0 where it was not given. */
@unmanaged
export class Text {
  at: usize;
  length: usize;
}

// One of each, because there is one command line. They are read after `parseArguments`.

export let wish: Wish = Wish.Connect;
export let mode: Mode = Mode.Auto;
export let halfClose: HalfClose = HalfClose.Auto;
export let verbose: bool = false;
/** How long one attempt may take, in nanoseconds. */
export let timeout: u64 = 5 * SECOND;
/** For how long there are further attempts, in nanoseconds; 0 for a single one. */
export let wait: u64 = 0;
export const hostSocket = changetype<Text>(memory.data(8, 4));
export const logFile = changetype<Text>(memory.data(8, 4));
export const address = changetype<Text>(memory.data(8, 4));
export const port = changetype<Text>(memory.data(8, 4));
export const name = changetype<Text>(memory.data(8, 4));
/** What a failure is about: the option or argument as it was written; `at` is 0 if it is none. */
export const culprit = changetype<Text>(memory.data(8, 4));
/** The option's value, where it is the next argument. */
export const culpritValue = changetype<Text>(memory.data(8, 4));
/** Whether what a failure is about stands in SSH_VSOCK_PROXY_OPTIONS. */
export let inVariable: bool = false;
/** Whether a terminal would know how to move its cursor: TERM is set, and not to `dumb`. */
export let cursorMoves: bool = false;

/** Whether `logFile` stands in SSH_VSOCK_PROXY_OPTIONS. */
let logInVariable: bool = false;

const SIZES = memory.data(16, 4);

/** The next word, and the end of the words: a pointer to each. */
let next: usize = 0;
let last: usize = 0;

/**
 * Reads the variable and the command line into the variables above.
 *
 * @returns Done; MemoryLimit; NoAddress to NotForVariable of code.ts, about `culprit`
 */
export function parseArguments(): Code {
  const argv = ARGUMENTS;
  if ((args_sizes_get(SIZES, SIZES + 4) | environ_sizes_get(SIZES + 8, SIZES + 12)) != 0) {
    return Code.MemoryLimit;
  }
  const argc = load<u32>(SIZES);
  const variables = load<u32>(SIZES, 8);
  const texts = argv + ((<usize>argc) << 2);
  const environ = (texts + load<u32>(SIZES, 4) + 3) & ~3;
  const settings = environ + ((<usize>variables) << 2);
  // Every second byte at most begins a word, which has a pointer.
  const words = (settings + load<u32>(SIZES, 12) + 3) & ~3;
  if (!makeRoom(words + 2 * load<u32>(SIZES, 12) - argv)) return Code.MemoryLimit;
  if ((args_get(argv, texts) | environ_get(environ, settings)) != 0) return Code.MemoryLimit;

  for (let i: u32 = 0; i < variables; i++) {
    const code = parseVariable(load<u32>(environ + (i << 2)), words);
    if (code != Code.Done) return code;
  }

  // A host need not give even the program's name.
  next = argc == 0 ? texts : argv + 4;
  last = texts;
  const code = parseOptions();
  if (code != Code.Done || wish != Wish.Connect) return code;
  if (next == last) return Code.NoAddress;
  take(address);
  if (next < last) take(port);
  if (next < last) take(name);
  if (next == last) return Code.Done;
  take(culprit);
  return Code.TooManyArguments;
}

function parseVariable(variable: usize, words: usize): Code {
  let value = variable;
  while (load<u8>(value++) != EQUALS);
  const nameLength = value - 1 - variable;
  if (equals(variable, nameLength, "TERM")) {
    cursorMoves = load<u8>(value) != 0 && !equals(value, lengthOf(value), "dumb");
    return Code.Done;
  }
  if (!equals(variable, nameLength, VARIABLE)) return Code.Done;

  inVariable = true;
  const count = splitWords(value, words);
  if (count == BAD_QUOTING) return Code.BadQuoting;
  next = words;
  last = words + ((<usize>count) << 2);
  const code = parseOptions();
  if (code != Code.Done) return code;
  if (next < last) take(culprit);
  // What asks for a text is still the culprit, too.
  if (culprit.at != 0) return Code.NotForVariable;
  inVariable = false;
  return Code.Done;
}

/** Reads options until there is a word that is none; what is wrong is in `culprit`. */
function parseOptions(): Code {
  while (next < last) {
    const option = load<u32>(next);
    if (load<u8>(option) != DASH) break;
    take(culprit);
    if (equals(option, culprit.length, "--")) break;
    const code = parseOption(option, culprit.length);
    if (code != Code.Done) return code;
    culpritValue.at = 0;
    if (wish != Wish.Connect) return Code.Done;
  }
  culprit.at = 0;
  return Code.Done;
}

function lengthOf(text: usize): usize {
  let end = text;
  while (load<u8>(end) != 0) end++;
  return end - text;
}

function take(text: Text): void {
  text.at = load<u32>(next);
  text.length = lengthOf(text.at);
  next += 4;
}

function parseOption(option: usize, length: usize): Code {
  let nameEnd = option;
  while (nameEnd < option + length && load<u8>(nameEnd) != EQUALS) nameEnd++;
  const nameLength = nameEnd - option;
  const hasValue = nameLength < length;

  const index = indexOf(OPTIONS, option, nameLength);
  if (index < 0) return Code.UnknownOption;
  if (index >= FIRST_WITH_VALUE) {
    if (hasValue) return parseValue(index, nameEnd + 1, option + length);
    if (next == last) return Code.NoValue;
    take(culpritValue);
    return parseValue(index, culpritValue.at, culpritValue.at + culpritValue.length);
  }
  if (hasValue) return Code.UnwantedValue;
  if (index == Option.FdPass) mode = Mode.FdPass;
  else if (index == Option.Stdio) mode = Mode.Relay;
  else if (index >= Option.V) wish = index >= Option.H ? Wish.Help : Wish.Version;
  else verbose = true;
  return Code.Done;
}

function parseValue(option: i32, at: usize, end: usize): Code {
  if (option == Option.HostSocket) return parsePath(hostSocket, at, end - at);
  if (option == Option.LogFile) {
    logInVariable = inVariable;
    return parsePath(logFile, at, end - at);
  }
  if (option == Option.HalfClose) {
    const index = indexOf("auto always never", at, end - at);
    halfClose = <HalfClose>index;
    return index < 0 ? Code.BadHalfClose : Code.Done;
  }
  const code = parseDuration(at, end);
  if (option == Option.Wait) wait = duration;
  else if (code == Code.Done && duration == 0) return Code.DurationOutOfRange;
  else timeout = duration;
  return code;
}

/** Makes the log file what a failure is about, and says where it stands. */
export function blameLog(): void {
  memory.copy(changetype<usize>(culprit), changetype<usize>(logFile), offsetof<Text>());
  culpritValue.at = 0;
  inVariable = logInVariable;
}

function parsePath(path: Text, at: usize, length: usize): Code {
  if (length == 0 || length > PATH_MAX) return Code.BadPath;
  path.at = at;
  path.length = length;
  return Code.Done;
}

/** What `parseDuration` has read, in nanoseconds. */
let duration: u64 = 0;

function parseDuration(at: usize, end: usize): Code {
  const value = decimal(at, end);
  if (value == TOO_LARGE) return Code.DurationOutOfRange;
  if (value == NOT_DECIMAL) return Code.BadDuration;
  const rest = end - decimalEnd;
  let unit = SECOND;
  if (rest != 0) {
    const index = indexOf("s ms m", decimalEnd, rest);
    if (index < 0) return Code.BadDuration;
    if (index != 0) unit = index == 1 ? MILLISECOND : MINUTE;
  }
  if (value > DURATION_MAX / unit) return Code.DurationOutOfRange;
  duration = value * unit;
  return Code.Done;
}
