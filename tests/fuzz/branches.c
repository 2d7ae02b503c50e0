// The import of a module that counts its branches (branches.mjs): how often each was taken, and how
// often not. At the end of the process FUZZ_BRANCHES gets both, a line for each branch.

#include <stdio.h>
#include <stdlib.h>

#include "sandbox.h"

enum { BRANCHES_MAX = 1024 };

struct shim;
uint32_t w2c_coverage_branch(struct shim *of, uint32_t id, uint32_t taken);

static uint64_t counts[BRANCHES_MAX][2];

static void write_counts(void) {
    const char *name = getenv("FUZZ_BRANCHES");
    FILE *file = name == NULL ? NULL : fopen(name, "w");
    REQUIRE(file != NULL, "FUZZ_BRANCHES names no file");
    for (int id = 0; id < BRANCHES_MAX; id++)
        fprintf(file, "%llu %llu\n", (unsigned long long)counts[id][1],
                (unsigned long long)counts[id][0]);
    REQUIRE(fclose(file) == 0, "%s cannot be written", name);
}

uint32_t w2c_coverage_branch(struct shim *of, uint32_t id, uint32_t taken) {
    static bool registered;
    (void)of;
    if (!registered) registered = atexit(write_counts) == 0;
    REQUIRE(id < BRANCHES_MAX, "more than %d branches", BRANCHES_MAX);
    counts[id][taken]++;
    return taken;
}
