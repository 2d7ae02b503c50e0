#ifndef STANDALONE_INTERNAL_ERROR_H
#define STANDALONE_INTERNAL_ERROR_H

/** Says on stderr that the program is at fault, and how; ends the process with 70 (EX_SOFTWARE). */
_Noreturn void internal_error(const char *what);

#endif
