// The command line, [OPTIONS] ADDRESS [PORT [NAME]], and the options in the environment variable
// SSH_VSOCK_PROXY_OPTIONS, which are read first, so that the command line overrides them. Options end
// at the first argument that is not one, or after `--`, so that no value of ssh's %p or %n is read as
// an option.

import {
  args_get,
  args_sizes_get,
  environ_get,
  environ_sizes_get,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { PATH_MAX } from "../core/address";
import { DASH, NOT_DECIMAL, SLASH, TOO_LARGE } from "../core/bytes";
import { decimal, decimalEnd, equals, indexOf } from "../core/bytes";
import { Code } from "../codes";
import { DONE, NO_TEXT, Result, failed } from "./errors";
import { NEVER } from "./io";
import { ARGUMENTS, Text, reserve } from "./memory";
import { BAD_QUOTING, splitWords } from "./shellwords";

const EQUALS: u8 = 0x3d;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;
const MINUTE: u64 = 60 * SECOND;
const DURATION_MAX: u64 = 1440 * MINUTE;

export const VARIABLE = "SSH_VSOCK_PROXY_OPTIONS";

/** The options without a value come first; those from -v to --help have two names each. */
const OPTIONS =
  "--fdpass --stdio -v --verbose -V --version -h --help --timeout --wait --linger --half-close --host-socket --log-file";

const enum Option {
  FdPass = 0,
  Stdio = 1,
  V = 4,
  H = 6,
  Timeout = 8,
  Wait = 9,
  Linger = 10,
  HalfClose = 11,
  HostSocket = 12,
  LogFile = 13,
}
const FIRST_WITH_VALUE: i32 = Option.Timeout;

/** Leaves room for the rest of a socket's path. */
const RUNTIME_DIRECTORY_MAX: usize = PATH_MAX - 128;

/** What the command does. */
export const enum Action {
  Connect = 0,
  Help = 1,
  Version = 2,
}

/** How the client gets the connection. */
export const enum Mode {
  /** By fd passing if descriptors 0 and 1 are one unix stream socket, otherwise by a relay. */
  Auto = 0,
  FdPass = 1,
  Relay = 2,
}

/** Whether a relay shuts the socket down for writing at the end of its input. */
export const enum HalfClose {
  /** Not with a multiplexer: Firecracker then drops what the guest still sends. */
  Auto = 0,
  Always = 1,
  Never = 2,
}

// One of each, because there is one command line. They are set by `parseArguments`.

export let action: Action = Action.Connect;
export let mode: Mode = Mode.Auto;
export let halfClose: HalfClose = HalfClose.Auto;
export let verbose: bool = false;
/** How long one attempt may take, in nanoseconds. */
export let timeout: u64 = 5 * SECOND;
/** For how long failed attempts are repeated, in nanoseconds; 0 for a single attempt. */
export let wait: u64 = 0;
/** How long a relay waits for the peer's next byte after the end of its input; NEVER for ever. */
export let linger: u64 = NEVER;
export const hostSocket = changetype<Text>(memory.data(offsetof<Text>(), 4));
export const logFile = changetype<Text>(memory.data(offsetof<Text>(), 4));
export const address = changetype<Text>(memory.data(offsetof<Text>(), 4));
export const port = changetype<Text>(memory.data(offsetof<Text>(), 4));
export const name = changetype<Text>(memory.data(offsetof<Text>(), 4));
/** XDG_RUNTIME_DIR, the folder of the sockets of the user's services; `at` is 0 if there is none. */
export const runtimeDirectory = changetype<Text>(memory.data(offsetof<Text>(), 4));
/** Whether a terminal's cursor can be moved: TERM is set, and not to `dumb`. */
export let cursorMoves: bool = false;

/** The option that was read last, and its value. */
const option = changetype<Text>(memory.data(offsetof<Text>(), 4));
const value = changetype<Text>(memory.data(offsetof<Text>(), 4));

const SIZES = memory.data(16, 4);

/** The words that are still to be read: a pointer to a pointer to each. */
@unmanaged
class Words {
  next: usize;
  end: usize;
  inVariable: bool;
}

const words = changetype<Words>(memory.data(offsetof<Words>(), 4));

/** Reads the environment and the command line into the variables above. */
export function parseArguments(): Result {
  const argv = ARGUMENTS;
  if ((args_sizes_get(SIZES, SIZES + 4) | environ_sizes_get(SIZES + 8, SIZES + 12)) != 0) {
    return failed(Code.MemoryLimit);
  }
  const argc = load<u32>(SIZES);
  const variables = load<u32>(SIZES, 8);
  const texts = argv + ((<usize>argc) << 2);
  const environ = (texts + load<u32>(SIZES, 4) + 3) & ~3;
  const settings = environ + ((<usize>variables) << 2);
  // At most every second byte begins a word, which has a pointer.
  const pointers = (settings + load<u32>(SIZES, 12) + 3) & ~3;
  if (!reserve(pointers + 2 * load<u32>(SIZES, 12) - argv)) return failed(Code.MemoryLimit);
  if ((args_get(argv, texts) | environ_get(environ, settings)) != 0) {
    return failed(Code.MemoryLimit);
  }

  for (let i: u32 = 0; i < variables; i++) {
    const result = parseVariable(load<u32>(environ + (i << 2)), pointers);
    if (result.code != Code.Done) return result;
  }

  // A host need not pass even the program's name.
  words.next = argc == 0 ? texts : argv + 4;
  words.end = texts;
  words.inVariable = false;
  const result = parseOptions();
  if (result.code != Code.Done || action != Action.Connect) return result;
  if (words.next == words.end) return failed(Code.NoAddress);
  take(address);
  if (words.next < words.end) take(port);
  if (words.next < words.end) take(name);
  if (words.next == words.end) return DONE;
  take(option);
  return failed(Code.TooManyArguments, option);
}

/** Reads one variable of the environment, and the options in it if it is the one that has some. */
function parseVariable(variable: usize, pointers: usize): Result {
  let text = variable;
  while (load<u8>(text++) != EQUALS);
  const nameLength = text - 1 - variable;
  if (equals(variable, nameLength, "TERM")) {
    cursorMoves = load<u8>(text) != 0 && !equals(text, lengthOf(text), "dumb");
    return DONE;
  }
  if (equals(variable, nameLength, "XDG_RUNTIME_DIR")) {
    const length = lengthOf(text);
    // A relative path is invalid (XDG Base Directory Specification).
    if (load<u8>(text) != SLASH || length > RUNTIME_DIRECTORY_MAX) return DONE;
    runtimeDirectory.at = text;
    runtimeDirectory.length = length;
    return DONE;
  }
  if (!equals(variable, nameLength, VARIABLE)) return DONE;

  const count = splitWords(text, pointers);
  words.next = pointers;
  words.end = pointers + ((<usize>count) << 2);
  words.inVariable = true;
  if (count == BAD_QUOTING) {
    option.at = 0;
    option.inVariable = true;
    return failed(Code.BadQuoting, option);
  }
  const result = parseOptions();
  if (result.code != Code.Done) return result;
  if (action == Action.Connect) {
    if (words.next == words.end) return DONE;
    take(option);
  }
  return failed(Code.NotForVariable, option);
}

/** Reads options until the first word that is not one, or one that changes the action. */
function parseOptions(): Result {
  while (words.next < words.end && action == Action.Connect) {
    if (load<u8>(load<u32>(words.next)) != DASH) break;
    take(option);
    if (equals(option.at, option.length, "--")) break;
    const result = parseOption();
    if (result.code != Code.Done) return result;
  }
  return DONE;
}

function lengthOf(text: usize): usize {
  let end = text;
  while (load<u8>(end) != 0) end++;
  return end - text;
}

function take(text: Text): void {
  text.at = load<u32>(words.next);
  text.length = lengthOf(text.at);
  text.inVariable = words.inVariable;
  words.next += 4;
}

/** Reads `option` and the value that follows it. */
function parseOption(): Result {
  const end = option.at + option.length;
  let nameEnd = option.at;
  while (nameEnd < end && load<u8>(nameEnd) != EQUALS) nameEnd++;
  const hasValue = nameEnd < end;

  const index = indexOf(OPTIONS, option.at, nameEnd - option.at);
  if (index < 0) return failed(Code.UnknownOption, option);
  if (index < FIRST_WITH_VALUE) {
    if (hasValue) return failed(Code.UnwantedValue, option);
    setOption(index);
    return DONE;
  }
  if (hasValue) {
    value.at = nameEnd + 1;
    value.length = end - value.at;
    value.inVariable = words.inVariable;
  } else {
    if (words.next == words.end) return failed(Code.NoValue, option);
    take(value);
  }
  const code = parseValue(index);
  return code == Code.Done ? DONE : failed(code, option, hasValue ? NO_TEXT : value);
}

function setOption(index: i32): void {
  if (index == Option.FdPass) mode = Mode.FdPass;
  else if (index == Option.Stdio) mode = Mode.Relay;
  else if (index >= Option.V) action = index >= Option.H ? Action.Help : Action.Version;
  else verbose = true;
}

function parseValue(index: i32): Code {
  if (index == Option.HostSocket) return setPath(hostSocket);
  if (index == Option.LogFile) return setPath(logFile);
  if (index == Option.HalfClose) {
    const when = indexOf("auto always never", value.at, value.length);
    halfClose = <HalfClose>when;
    return when < 0 ? Code.BadHalfClose : Code.Done;
  }
  const code = parseDuration(value.at, value.at + value.length);
  if (index == Option.Wait) wait = duration;
  else if (index == Option.Linger) linger = duration;
  else if (code == Code.Done && duration == 0) return Code.DurationOutOfRange;
  else timeout = duration;
  return code;
}

function setPath(path: Text): Code {
  if (value.length == 0 || value.length > PATH_MAX) return Code.BadPath;
  memory.copy(changetype<usize>(path), changetype<usize>(value), offsetof<Text>());
  return Code.Done;
}

/** The result of `parseDuration`, in nanoseconds. */
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
