// proxy.wasm, translated to C by wasm2c, as an executable: the shim's imports, the memory and the
// messages of traps. The command itself is assembly/proxy/index.ts, which also ends the process.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../shim/shim.h"
#include "imports.h"  // Made by scripts/build-standalone.mjs, and included before proxy.h.
#include "proxy.h"
#include "wasm-rt.h"

#define PAGE 65536U

/** sysexits.h's EX_SOFTWARE. */
enum { EXIT_SOFTWARE_DEFECT = 70 };

/**
 * Everything that an ordinary run writes to lies together, the memory's first page last: each page
 * that is touched costs a fault, 1 % of the whole run.
 */
static struct {
    struct shim shim;
    w2c_proxy instance;
    uint8_t first_page[PAGE];
} program;

void internal_error(const char *message) {
    char line[128] = "ssh-vsock-proxy: internal error: ";
    size_t length = strlen(line);
    for (; *message != 0 && length < sizeof line - 1; message++)
        line[length++] = *message;
    line[length++] = '\n';
    (void)!write(STDERR_FILENO, line, length);
    _exit(EXIT_SOFTWARE_DEFECT);
}

void wasm_rt_trap(wasm_rt_trap_t why) {
    internal_error(trap_message(why));
}

/** Maps memory beyond the first page; NULL if there is none. */
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
    if (data == NULL) internal_error("no memory to start with");
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
 * Opens /dev/null for those of 0 to 2 that are closed, as Node does, because the next descriptor
 * opened would get the number.
 */
static void open_stdio(void) {
    struct pollfd stdio[] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
    struct timespec now = {0};
    if (ppoll(stdio, 3, &now, NULL) <= 0) return;
    for (int fd = 0; fd < 3; fd++) {
        // open(2) takes the lowest free number.
        if (stdio[fd].revents & POLLNVAL) (void)!open("/dev/null", O_RDWR);
    }
}

int main(int argc, char **argv, char **environment) {
    open_stdio();
    signal(SIGPIPE, SIG_IGN);
    // Raised by a write to a file that is at its size limit (RLIMIT_FSIZE).
    signal(SIGXFSZ, SIG_IGN);
    // Every host passes this name.
    if (argc > 0) argv[0] = (char *)"ssh-vsock-proxy";
    shim_init(&program.shim, (const char *const *)argv, (uint32_t)argc,
              (const char *const *)environment);
    wasm2c_proxy_instantiate(&program.instance, &program.shim, &program.shim);
    w2c_proxy_0x5Fstart(&program.instance);
    internal_error("the program ended without an exit status");
}
