// proxy.wasm, translated to C by wasm2c, as an executable: the shim's imports, a memory, and what a
// trap says. What the command does stands in assembly/proxy/index.ts, and it ends the process from there.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../shim/shim.h"
#include "internal-error.h"
#include "proxy.h"
#include "trap-words.h"

#define PAGE 65536U

/** sysexits.h's EX_SOFTWARE. */
enum { EXIT_SOFTWARE_DEFECT = 70 };

uint32_t wasm_rt_call_stack_depth;

/**
 * All that is written to while nothing is out of the ordinary stands together, the memory's first
 * page last: each page of the machine that is touched costs a fault, 1 % of the whole run.
 */
static struct {
    struct shim shim;
    w2c_proxy instance;
    uint8_t first_page[PAGE];
} program;

void internal_error(const char *what) {
    char line[128] = "ssh-vsock-proxy: internal error: ";
    size_t length = strlen(line);
    for (; *what != 0 && length < sizeof line - 1; what++)
        line[length++] = *what;
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
    _exit(EXIT_SOFTWARE_DEFECT);
}

void wasm_rt_trap(wasm_rt_trap_t why) {
    internal_error(trap_words(why));
}

/** Memory beyond the first page; NULL where there is none to be had. */
static uint8_t *map(uint64_t size) {
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static void place(wasm_rt_memory_t *memory, uint8_t *data, uint64_t pages) {
    memory->data = data;
    memory->pages = pages;
    memory->size = pages * PAGE;
    program.shim.memory = data;
    program.shim.memory_size = memory->size;
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t pages, uint64_t max_pages,
                             bool is64, uint32_t page_size) {
    (void)is64;
    (void)page_size;
    memory->max_pages = max_pages;
    uint8_t *data = pages <= 1 ? program.first_page : map(pages * PAGE);
    if (data == NULL) internal_error("no memory to begin with");
    place(memory, data, pages);
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint64_t delta) {
    const uint64_t before = memory->pages;
    if (delta > memory->max_pages - before) return UINT32_MAX;
    if (delta == 0) return before;
    uint8_t *data = map((before + delta) * PAGE);
    if (data == NULL) return UINT32_MAX;
    memcpy(data, memory->data, memory->size);
    if (memory->data != program.first_page) munmap(memory->data, memory->size);
    place(memory, data, before + delta);
    return before;
}

/**
 * Opens /dev/null in the place of those of 0 to 2 that are closed, as Node does: what is opened next
 * would stand there otherwise, and both hosts do the same from here on.
 */
static void open_stdio(void) {
    struct pollfd stdio[] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
    struct timespec now = {0};
    if (ppoll(stdio, 3, &now, NULL) <= 0) return;
    for (int fd = 0; fd < 3; fd++) {
        // The lowest number that is free is what open(2) takes.
        if (stdio[fd].revents & POLLNVAL) (void)!open("/dev/null", O_RDWR);
    }
}

int main(int argc, char **argv, char **environment) {
    open_stdio();
    signal(SIGPIPE, SIG_IGN);
    // A stderr that goes to a file of the largest size.
    signal(SIGXFSZ, SIG_IGN);
    // The program has no use for the name that it was started by, and gets the same from every host.
    if (argc > 0) argv[0] = (char *)"ssh-vsock-proxy";
    shim_init(&program.shim, (const char *const *)argv, (uint32_t)argc,
              (const char *const *)environment);
    wasm2c_proxy_instantiate(&program.instance, &program.shim, &program.shim);
    w2c_proxy_0x5Fstart(&program.instance);
    internal_error("the program ended without an exit status");
}
