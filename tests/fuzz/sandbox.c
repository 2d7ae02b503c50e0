#include "sandbox.h"

#include <sanitizer/asan_interface.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wasm-rt.h"

uint8_t memory[PAGE] __attribute__((aligned(4096)));
bool explaining;
/** Runs before libFuzzer does anything. */
__attribute__((constructor)) static void look_at_environment(void) {
    explaining = getenv("FUZZ_EXPLAIN") != NULL;
}

void finding(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("finding: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

void print(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

void print_bytes(const uint8_t *bytes, size_t length) {
    fputc('"', stderr);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            fputs("\\n", stderr);
        } else if (bytes[i] < ' ' || bytes[i] > '~' || bytes[i] == '"' || bytes[i] == '\\') {
            fprintf(stderr, "\\x%02x", bytes[i]);
        } else {
            fputc(bytes[i], stderr);
        }
    }
    fputc('"', stderr);
}

void poison(uint32_t from) {
    ASAN_POISON_MEMORY_REGION(memory + from, PAGE - from);
}

void lend(uint32_t at, uint32_t length) {
    ASAN_UNPOISON_MEMORY_REGION(memory + at, length);
}

void take_back(uint32_t at, uint32_t length) {
    // What does not begin at a multiple of 8 was lent from there on.
    const uint32_t from = at & ~7U;
    ASAN_POISON_MEMORY_REGION(memory + from, at + length - from);
}

void wasm_rt_trap(wasm_rt_trap_t why) {
    finding("the Wasm traps: %s", trap_message(why));
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *of, uint64_t pages, uint64_t max_pages, bool is64,
                             uint32_t page_size) {
    (void)is64;
    (void)page_size;
    *of = (wasm_rt_memory_t){memory, pages, max_pages, pages * PAGE};
    REQUIRE(pages == 1, "the module begins with %u pages", (unsigned)pages);
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *of, uint64_t delta) {
    (void)of;
    (void)delta;
    finding("the module has its memory grown");
}
