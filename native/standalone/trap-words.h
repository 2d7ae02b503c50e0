// Why a Wasm program cannot go on, in V8's words, so that every host says it alike.

#ifndef STANDALONE_TRAP_WORDS_H
#define STANDALONE_TRAP_WORDS_H

#include "wasm-rt.h"

static inline const char *trap_words(wasm_rt_trap_t why) {
    // No table of pointers: it would be one of relocations (start.c).
    static const char words[][48] = {
        [WASM_RT_TRAP_NONE] = "no trap",
        [WASM_RT_TRAP_OOB] = "memory access out of bounds",
        [WASM_RT_TRAP_INT_OVERFLOW] = "divide result unrepresentable",
        [WASM_RT_TRAP_DIV_BY_ZERO] = "divide by zero",
        [WASM_RT_TRAP_INVALID_CONVERSION] = "float unrepresentable in integer range",
        [WASM_RT_TRAP_UNREACHABLE] = "unreachable",
        [WASM_RT_TRAP_CALL_INDIRECT] = "null function or function signature mismatch",
        [WASM_RT_TRAP_UNCAUGHT_EXCEPTION] = "wasm exception",
        [WASM_RT_TRAP_EXHAUSTION] = "Maximum call stack size exceeded",
    };
    return words[why];
}

#endif
