// The runtime that wasm2c's output is compiled against, in its simplest form: every access to the
// memory is compared with the memory's size. (wabt's own header can also reserve 8 GiB and leave
// the comparison to the processor; that fails under `ulimit -v` and needs a signal handler.)
//
// The names are those of wabt 1.0.39, which its wasm2c/README.md explains. Our Wasm programs have
// one memory; the types of tables are here because the output's prologue names them.

#ifndef STANDALONE_WASM_RT_H
#define STANDALONE_WASM_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

// Features of wabt's runtime that this one does not have.
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a big-endian processor needs the memory in reverse order"
#endif
#define WABT_BIG_ENDIAN 0
#define WASM_RT_MEMCHECK_GUARD_PAGES 0
#define WASM_RT_USE_SEGUE 0
#define WASM_RT_SANITY_CHECKS 0

/** No function calls itself (scripts/build-standalone.mjs checks that), so calls are not counted. */
#define WASM_RT_STACK_DEPTH_COUNT 0

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
} wasm_rt_trap_t;

/** Reports a trap, and ends the process with 70 (EX_SOFTWARE). */
_Noreturn void wasm_rt_trap(wasm_rt_trap_t why);

/** A trap's message. It is V8's, so that both hosts print the same. */
static inline const char *trap_message(wasm_rt_trap_t why) {
    // Not a table of pointers, each of which would be a relocation (start.c).
    static const char messages[][48] = {
        [WASM_RT_TRAP_NONE] = "no trap",
        [WASM_RT_TRAP_OOB] = "memory access out of bounds",
        [WASM_RT_TRAP_INT_OVERFLOW] = "divide result unrepresentable",
        [WASM_RT_TRAP_DIV_BY_ZERO] = "divide by zero",
        [WASM_RT_TRAP_INVALID_CONVERSION] = "float unrepresentable in integer range",
        [WASM_RT_TRAP_UNREACHABLE] = "unreachable",
        [WASM_RT_TRAP_CALL_INDIRECT] = "null function or function signature mismatch",
        [WASM_RT_TRAP_UNCAUGHT_EXCEPTION] = "wasm exception",
    };
    return messages[why];
}

/** Reports a defect of the program on stderr, and ends the process with 70 (EX_SOFTWARE). */
_Noreturn void internal_error(const char *message);

typedef struct {
    uint8_t *data;
    /** In pages of 65536 bytes, and in bytes. */
    uint64_t pages;
    uint64_t max_pages;
    uint64_t size;
} wasm_rt_memory_t;

/** Allocates the program's memory, zeroed. `is64` and `page_size` are always 0 and 65536. */
void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t pages, uint64_t max_pages,
                             bool is64, uint32_t page_size);

/** memory.grow: returns the number of pages before, or 2^32 - 1 if there is no memory. */
uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint64_t delta);

static inline void wasm_rt_free_memory(wasm_rt_memory_t *memory) {
    // Freed when the process ends.
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
