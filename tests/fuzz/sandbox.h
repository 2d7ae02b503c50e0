// What the fuzz targets share: the memory of the one instance of core.wasm or names.wasm, translated to
// C by wasm2c; and how a finding is reported.
//
// AddressSanitizer knows which bytes of that memory the module may touch. Everything from `heap` on is
// poisoned but for what a target lends out, to the byte: so reads and writes outside the buffers that
// were given are findings, though they are within the Wasm's memory. A trap of the Wasm ends the
// process with its name.

#ifndef FUZZ_SANDBOX_H
#define FUZZ_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What an instance has for an argument, too, if its branches are counted (branches.mjs). */
#ifdef COUNTS_BRANCHES
#define AND_COUNTER , NULL
#else
#define AND_COUNTER
#endif

#define PAGE 65536U

extern uint8_t memory[PAGE];

/** Whether to print what happens: one input is replayed. */
extern bool explaining;

/** Says what is wrong and ends the process; libFuzzer keeps the input. */
_Noreturn void finding(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define REQUIRE(condition, ...)                 \
    do {                                        \
        if (!(condition)) finding(__VA_ARGS__); \
    } while (0)

void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/** Bytes in quotes, with \xHH for those that are not printable ASCII. */
void print_bytes(const uint8_t *bytes, size_t length);

#define EXPLAIN(...)                        \
    do {                                    \
        if (explaining) print(__VA_ARGS__); \
    } while (0)
#define EXPLAIN_BYTES(...)                        \
    do {                                          \
        if (explaining) print_bytes(__VA_ARGS__); \
    } while (0)

/** Lets the Wasm touch nothing from `from` to the end of the first page. */
void poison(uint32_t from);
/**
 * Lends [at, at + length) to the Wasm, and takes it back. Only where `at` is a multiple of 8 is the
 * byte in front of it poisoned.
 */
void lend(uint32_t at, uint32_t length);
void take_back(uint32_t at, uint32_t length);

#endif
