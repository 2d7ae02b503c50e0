// Where the kernel starts the executable. The stack holds the number of arguments, the arguments, the
// environment and the auxiliary vector, each but the first ended by a zero (x86-64 and AArch64 ELF
// ABIs, "process initialization"; getauxval(3)).
//
// The executable is position-independent without relocations, because nothing here would apply them;
// layout.ld makes one an error.

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "wasm-rt.h"

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n"
    "    xor %ebp, %ebp\n"
    "    mov %rsp, %rdi\n"
    "    and $-16, %rsp\n"
    "    call standalone_start\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl _start\n"
    ".type _start, %function\n"
    "_start:\n"
    "    mov x29, #0\n"
    "    mov x30, #0\n"
    "    mov x0, sp\n"
    "    bl standalone_start\n");
#endif

int main(int argc, char **argv, char **environment);

// The compiler's names.
// NOLINTBEGIN(bugprone-reserved-identifier)

/** The value that guards each stack frame: from AT_RANDOM, with a first byte of 0 so that no string
    can contain it. */
uintptr_t __stack_chk_guard;

_Noreturn void __stack_chk_fail(void);
void __stack_chk_fail(void) {
    internal_error("stack overrun");
}

// NOLINTEND(bugprone-reserved-identifier)

/** The auxiliary vector: pairs of a type and a value. */
static const uintptr_t *auxiliary;

unsigned long getauxval(unsigned long type) {
    for (const uintptr_t *at = auxiliary; at[0] != AT_NULL; at += 2) {
        if (at[0] == type) return at[1];
    }
    return 0;
}

_Noreturn void standalone_start(uintptr_t *stack);
_Noreturn void standalone_start(uintptr_t *stack) {
    int argc = (int)stack[0];
    char **argv = (char **)(stack + 1);
    char **environment = argv + argc + 1;
    uintptr_t *at = (uintptr_t *)environment;
    while (*at++ != 0)
        continue;
    auxiliary = at;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel stores an integer.
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random != NULL) memcpy(&__stack_chk_guard, random, sizeof(uintptr_t));
    __stack_chk_guard &= ~(uintptr_t)0xff;
    _exit(main(argc, argv, environment));
}
