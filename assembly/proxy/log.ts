// The log file: each line of stderr but the progress, and each step whether it is told there or not,
// with the time and the process in front. For where stderr is thrown away (ssh's ControlPersist).

import {
  clock_time_get,
  clockid,
  fd,
} from "@assemblyscript/wasi-shim/assembly/bindings/wasi_snapshot_preview1";
import { log_file, log_open } from "../bindings/socket_shim_v1";
import { DOT } from "../core/bytes";
import { sayDate } from "./date";
import { say, sayNumber, sayPadded } from "./output";

const SECONDS_PER_DAY: u64 = 86400;

const COLON: u8 = 0x3a;
const LETTER_Z: u8 = 0x5a;

const TIME = memory.data(8, 8);
const LOG = memory.data(8, 4);

/** The log's descriptor, 0 where there is none. */
export let log: fd = 0;

/** Opens the log; an errno where that fails, and there is none then. */
export function openLog(path: usize, length: usize): u32 {
  const error = log_open(path, length, LOG);
  log = changetype<log_file>(LOG).fd;
  return error;
}

/** Appends the time of day in UTC and the process: `2026-11-23T08:15:39.123Z [4711] `. */
export function sayStamp(): void {
  clock_time_get(clockid.REALTIME, 0, TIME);
  const milliseconds = load<u64>(TIME) / 1_000_000;
  const seconds = milliseconds / 1000;
  sayDate(<u32>(seconds / SECONDS_PER_DAY));
  const ofDay = <u32>(seconds % SECONDS_PER_DAY);
  sayPadded(ofDay / 3600, 2, COLON);
  sayPadded((ofDay / 60) % 60, 2, COLON);
  sayPadded(ofDay % 60, 2, DOT);
  sayPadded(<u32>(milliseconds % 1000), 3, LETTER_Z);
  say(" [");
  sayNumber(changetype<log_file>(LOG).process);
  say("] ");
}
