// The log file: each line of stderr but the progress, and each step even if stderr does not have it,
// after the time and the process. For commands whose stderr is lost (ssh's ControlPersist).

import {
  clock_time_get,
  clockid,
  fd,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { log_file, log_open } from "../bindings/socket_shim_v1";
import { DASH, DOT } from "../core/bytes";
import { write } from "./io";
import { Text, line } from "./memory";
import { append, appendNumber, appendPadded, length } from "./output";

const SECONDS_PER_DAY: u64 = 86400;

const COLON: u8 = 0x3a;
const LETTER_T: u8 = 0x54;
const LETTER_Z: u8 = 0x5a;

const TIME = memory.data(8, 8);
const LOG = memory.data(8, 4);

/** The log's descriptor, 0 if there is no log. */
export let log: fd = 0;

/**
 * Opens the log.
 *
 * @returns the errno of log_open; unless SUCCESS, there is no log
 */
export function openLog(path: Text): u32 {
  const error = log_open(path.at, path.length, LOG);
  log = changetype<log_file>(LOG).fd;
  return error;
}

/** Appends the time of day in UTC and the process: `2026-11-23T08:15:39.123Z [4711] `. */
export function appendStamp(): void {
  clock_time_get(clockid.REALTIME, 0, TIME);
  const milliseconds = load<u64>(TIME) / 1_000_000;
  const seconds = milliseconds / 1000;
  appendDate(<u32>(seconds / SECONDS_PER_DAY));
  const ofDay = <u32>(seconds % SECONDS_PER_DAY);
  appendPadded(ofDay / 3600, 2, COLON);
  appendPadded((ofDay / 60) % 60, 2, COLON);
  appendPadded(ofDay % 60, 2, DOT);
  appendPadded(<u32>(milliseconds % 1000), 3, LETTER_Z);
  append(" [");
  appendNumber(changetype<log_file>(LOG).process);
  append("] ");
}

/** Writes the line to the log, with its stamp. An error is ignored. */
export function writeLog(): void {
  write(log, line, length);
}

/** Appends a date of the Gregorian calendar, and a T; `days` are those since 1970-01-01. */
function appendDate(days: u32): void {
  let year: u32 = 1970;
  while (days >= daysOf(year, 0)) days -= daysOf(year++, 0);
  let month: u32 = 1;
  while (days >= daysOf(year, month)) days -= daysOf(year, month++);
  appendPadded(year, 4, DASH);
  appendPadded(month, 2, DASH);
  appendPadded(days + 1, 2, LETTER_T);
}

/** The number of days of a month, 1 to 12, or with month 0 of the year. */
function daysOf(year: u32, month: u32): u32 {
  const leap: u32 = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 1 : 0;
  if (month == 0) return 365 + leap;
  if (month == 2) return 28 + leap;
  return 30 + ((month + (month >> 3)) & 1);
}
