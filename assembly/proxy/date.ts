// The Gregorian calendar, for the log's lines.

import { DASH } from "../core/bytes";
import { sayPadded } from "./output";

const LETTER_T: u8 = 0x54;

/** Appends a date of the Gregorian calendar, and a T; `days` are those since 1970-01-01. */
export function sayDate(days: u32): void {
  let year: u32 = 1970;
  while (days >= daysOf(year, 0)) days -= daysOf(year++, 0);
  let month: u32 = 1;
  while (days >= daysOf(year, month)) days -= daysOf(year, month++);
  sayPadded(year, 4, DASH);
  sayPadded(month, 2, DASH);
  sayPadded(days + 1, 2, LETTER_T);
}

/** How many days a month has, 1 to 12, or with 0 the year. */
function daysOf(year: u32, month: u32): u32 {
  const leap: u32 = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 1 : 0;
  if (month == 0) return 365 + leap;
  if (month == 2) return 28 + leap;
  return 30 + ((month + (month >> 3)) & 1);
}
