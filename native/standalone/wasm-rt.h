// The runtime that wasm2c's output is compiled against, in its plainest form: every access to the
// memory is compared with the memory's size. (wabt's own header can also reserve 8 GiB and leave
// the comparison to the processor; that form dies under `ulimit -v` and needs a signal handler.)
//
// The names and what they mean are wasm2c's, of wabt 1.0.39: its wasm2c/README.md. A Wasm program
// of ours has one memory; the types of tables stand here because the output's prologue names them.

#ifndef STANDALONE_WASM_RT_H
#define STANDALONE_WASM_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "imports.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

// What the output can leave to its runtime, and this one does not take.
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "for a big-endian processor the memory would lie the other way round"
#endif
#define WABT_BIG_ENDIAN 0
#define WASM_RT_MEMCHECK_GUARD_PAGES 0
#define WASM_RT_USE_SEGUE 0
#define WASM_RT_SANITY_CHECKS 0

/** Every function counts itself: deeper than this is a trap before it is a stack overflow. */
#define WASM_RT_STACK_DEPTH_COUNT 1
#define WASM_RT_MAX_CALL_STACK_DEPTH 500
extern uint32_t wasm_rt_call_stack_depth;

#define wasm_rt_memcpy __builtin_memcpy

/** Why a Wasm program cannot go on. */
typedef enum {
    WASM_RT_TRAP_NONE,
    WASM_RT_TRAP_OOB,
    WASM_RT_TRAP_INT_OVERFLOW,
    WASM_RT_TRAP_DIV_BY_ZERO,
    WASM_RT_TRAP_INVALID_CONVERSION,
    WASM_RT_TRAP_UNREACHABLE,
    WASM_RT_TRAP_CALL_INDIRECT,
    WASM_RT_TRAP_UNCAUGHT_EXCEPTION,
    WASM_RT_TRAP_EXHAUSTION,
} wasm_rt_trap_t;

/** Says on stderr what has happened, and ends the process with 70 (EX_SOFTWARE). */
_Noreturn void wasm_rt_trap(wasm_rt_trap_t why);

typedef struct {
    uint8_t *data;
    /** In pages of 65536 bytes, and in bytes. */
    uint64_t pages;
    uint64_t max_pages;
    uint64_t size;
} wasm_rt_memory_t;

/** Makes the memory of the program, filled with zeros. `is64` and `page_size` are 0 and 65536. */
void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t pages, uint64_t max_pages,
                             bool is64, uint32_t page_size);

/** memory.grow: the number of pages before, 2^32 - 1 where it cannot be so large. */
uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint64_t delta);

static inline void wasm_rt_free_memory(wasm_rt_memory_t *memory) {
    // The process's end does that.
    (void)memory;
}

static inline bool wasm_rt_is_initialized(void) {
    return true;
}

typedef enum { WASM_RT_I32, WASM_RT_I64, WASM_RT_F32, WASM_RT_F64 } wasm_rt_type_t;

typedef void (*wasm_rt_function_ptr_t)(void);
typedef const char *wasm_rt_func_type_t;
typedef struct {
    void (*fn)(void **instance, void *stack, void *next);
} wasm_rt_tailcallee_t;

typedef struct {
    wasm_rt_func_type_t func_type;
    wasm_rt_function_ptr_t func;
    wasm_rt_tailcallee_t func_tailcallee;
    void *module_instance;
} wasm_rt_funcref_t;

typedef void *wasm_rt_externref_t;

typedef struct {
    wasm_rt_funcref_t *data;
    uint32_t max_size;
    uint32_t size;
} wasm_rt_funcref_table_t;

typedef struct {
    wasm_rt_externref_t *data;
    uint32_t max_size;
    uint32_t size;
} wasm_rt_externref_table_t;

#define wasm_rt_funcref_null_value ((wasm_rt_funcref_t){0})
#define wasm_rt_externref_null_value ((wasm_rt_externref_t)NULL)

#endif
