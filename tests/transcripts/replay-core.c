// core.wasm, translated to C by wasm2c, replays transcripts: one process for all of them, because there
// are millions of ways to cut an answer. The program around it is a host as docs/abi.md has it.
//
//     replay-core
//
// stdin has a case a line, words with a space between two; bytes are x and hexadecimal, or - for none:
//
//     address ADDRESS PORT NAME
//     handshake PORT SENT ANSWER END WAYS
//
//     SENT    how many bytes of the request leave
//     END     eof or silence, a deadline: what comes when all has been shown
//     WAYS    how the answer is cut: all, every way there is; or the lengths of the segments, with a
//             comma between two, and with a space between two such lists
//
// Each is answered by a line on stdout:
//
//     CODE SCHEME PORT CID ARGUMENT OFFSET SOCKETADDRESS                what the record holds
//     CODE CONSUMED NUMBER REQUEST REPLAYS                              what all ways come to
//     CODE CONSUMED NUMBER REQUEST differs SEGMENTS CODE CONSUMED NUMBER  what the first way comes to,
//                                                                       and one that comes to another
//     broken SEGMENTS WHAT                                              a promise of docs/abi.md
//
// Exit status 125: this program has failed, and says so on stderr; 70: a trap.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "wasm-rt.h"

enum { OWN_FAILURE = 125, DEFECT = 70, PAGE = 65536, ENDS_MAX = 1 << 16 };

/** docs/abi.md */
enum { DONE = 0, NEED_MORE = 1, ANSWER_MAX = 14 };

uint32_t wasm_rt_call_stack_depth;
static w2c_core core;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "replay-core: %s\n", what);
    exit(OWN_FAILURE);
}

_Noreturn void wasm_rt_trap(wasm_rt_trap_t why) {
    fprintf(stderr, "replay-core: trap: %s\n", trap_message(why));
    exit(DEFECT);
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *memory, uint64_t pages, uint64_t max_pages,
                             bool is64, uint32_t page_size) {
    (void)is64;
    (void)page_size;
    memory->max_pages = max_pages;
    memory->pages = 0;
    memory->size = 0;
    memory->data = NULL;
    wasm_rt_grow_memory(memory, pages);
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *memory, uint64_t delta) {
    const uint64_t before = memory->pages;
    uint8_t *data = realloc(memory->data, (before + delta) * PAGE);
    if (!data) fail("out of memory");
    memset(data + before * PAGE, 0, delta * PAGE);
    memory->data = data;
    memory->pages = before + delta;
    memory->size = memory->pages * PAGE;
    return before;
}

static uint32_t load(uint32_t at) {
    uint32_t value;
    memcpy(&value, core.w2c_memory.data + at, sizeof value);
    return value;
}

/** Puts bytes at `at`, and gives where they end; `length` is theirs. */
static uint32_t put(const char *text, uint32_t at, uint32_t *length) {
    *length = (uint32_t)strlen(text) / 2;
    if (*text != 'x' || at + *length > core.w2c_memory.size) fail("not bytes, or too many");
    for (uint32_t i = 0; i < *length; i++) {
        const char pair[3] = {text[1 + 2 * i], text[2 + 2 * i], 0};
        core.w2c_memory.data[at + i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return at + *length;
}

static void put_hex(uint32_t at, uint32_t length) {
    putchar('x');
    for (uint32_t i = 0; i < length; i++)
        printf("%02x", core.w2c_memory.data[at + i]);
}

static char *word(void) {
    char *text = strtok(NULL, " \n");
    if (!text) fail("a line that is too short");
    return text;
}

static uint32_t heap(void) {
    return (w2c_core_heap(&core) + 15) & ~15U;
}

static void replay_address(void) {
    const uint32_t record = heap();
    uint32_t end = record + core.w2c_address_size;
    uint32_t at[3] = {0};
    uint32_t length[3] = {0};
    memset(core.w2c_memory.data + record, 0xaa, core.w2c_address_size);
    for (int i = 0; i < 3; i++) {
        const char *text = word();
        if (strcmp(text, "-") == 0) continue;
        at[i] = end;
        end = put(text, end, &length[i]);
    }
    const uint32_t code =
        w2c_core_address_parse(&core, record, at[0], length[0], at[1], length[1], at[2], length[2]);
    printf("%u", code);
    for (uint32_t field = 0; field < 20; field += 4)
        printf(" %u", load(record + field));
    putchar(' ');
    put_hex(record + 24, code == DONE ? load(record + 20) : 0);
    putchar('\n');
}

// ---- the handshake

struct answer {
    uint32_t slot;
    uint32_t request;
    uint32_t request_length;
    uint32_t port;
    uint32_t sent;
    uint32_t at;
    uint32_t length;
    bool eof;
};

struct outcome {
    uint32_t code;
    uint32_t consumed;
    uint32_t number;
};

/** Where each segment ends. */
static uint32_t ends[ENDS_MAX];
static uint32_t count;

static void put_segments(void) {
    for (uint32_t i = 0; i < count; i++)
        printf("%s%u", i > 0 ? "," : "", ends[i] - (i > 0 ? ends[i - 1] : 0));
    if (count == 0) putchar('-');
}

/** What the segments come to; and what is wrong with how, or NULL. */
static const char *replay(struct answer *a, struct outcome *o) {
    const char *wrong = NULL;
    a->request_length = w2c_core_handshake_begin(&core, a->slot, a->port, a->request);
    w2c_core_handshake_sent(&core, a->slot, a->sent);
    o->code = w2c_core_handshake_code(&core, a->slot);
    o->consumed = 0;
    for (uint32_t i = 0, from = 0; i < count; from = ends[i++]) {
        const bool waits = o->code == NEED_MORE;
        if (w2c_core_handshake_wanted(&core, a->slot) != (waits ? ANSWER_MAX - o->consumed : 0))
            wrong = "handshake_wanted";
        const uint32_t segment = ends[i] - from;
        const uint32_t got = w2c_core_handshake_receive(&core, a->slot, a->at + from, segment);
        if (!waits) {
            if (got != 0) wrong = "bytes consumed behind the end";
            continue;
        }
        o->consumed += got;
        o->code = w2c_core_handshake_code(&core, a->slot);
        if (got > segment || (o->code == NEED_MORE && got != segment))
            wrong = "bytes that are neither consumed nor refused";
    }
    if (o->code == NEED_MORE) {
        if (a->eof)
            w2c_core_handshake_eof(&core, a->slot);
        else
            w2c_core_handshake_deadline(&core, a->slot);
        o->code = w2c_core_handshake_code(&core, a->slot);
    }
    o->number = o->code == DONE ? w2c_core_handshake_number(&core, a->slot) : 0;
    // Whatever happens now changes nothing.
    w2c_core_handshake_sent(&core, a->slot, a->request_length);
    w2c_core_handshake_eof(&core, a->slot);
    w2c_core_handshake_deadline(&core, a->slot);
    if (w2c_core_handshake_receive(&core, a->slot, a->at, a->length) != 0)
        wrong = "bytes consumed behind the end";
    if (w2c_core_handshake_code(&core, a->slot) != o->code) wrong = "the code after the end";
    if (w2c_core_handshake_offset(&core, a->slot) != o->consumed) wrong = "handshake_offset";
    return wrong;
}

static void put_outcome(const struct outcome *o) {
    printf("%u %u %u ", o->code, o->consumed, o->number);
}

static void put_first(const struct answer *a, const struct outcome *o) {
    put_outcome(o);
    put_hex(a->request, a->request_length);
    putchar(' ');
}

/** The next of the ways: that of a number has a cut behind byte i where bit i of it is set. */
static void cut_by(uint64_t number, uint32_t length) {
    count = 0;
    for (uint32_t i = 1; i < length; i++)
        if (number >> (i - 1) & 1) ends[count++] = i;
    if (length > 0) ends[count++] = length;
}

static void cut_as(const char *lengths) {
    uint32_t end = 0;
    count = 0;
    while (*lengths != '-' && *lengths != 0) {
        char *behind;
        end += (uint32_t)strtoul(lengths, &behind, 10);
        if (behind == lengths || count == ENDS_MAX) fail("not segments");
        ends[count++] = end;
        lengths = behind + (*behind == ',');
    }
}

static void replay_handshake(void) {
    struct answer a = {.slot = heap()};
    a.request = a.slot + core.w2c_handshake_size;
    a.at = a.request + core.w2c_handshake_request_max;
    a.port = (uint32_t)strtoul(word(), NULL, 10);
    a.sent = (uint32_t)strtoul(word(), NULL, 10);
    put(word(), a.at, &a.length);
    a.eof = strcmp(word(), "eof") == 0;
    const char *way = word();
    const bool all = strcmp(way, "all") == 0;
    if (all && a.length > 32) fail("too many ways");
    const uint64_t ways = all && a.length > 0 ? (uint64_t)1 << (a.length - 1) : 1;
    struct outcome first = {0};
    uint64_t replays = 0;
    for (uint64_t i = 0; all ? i < ways : way != NULL; i++) {
        struct outcome o;
        if (all)
            cut_by(i, a.length);
        else
            cut_as(way);
        const char *wrong = replay(&a, &o);
        if (wrong) {
            printf("broken ");
            put_segments();
            printf(" %s\n", wrong);
            return;
        }
        if (replays++ == 0) {
            first = o;
        } else if (memcmp(&o, &first, sizeof o) != 0) {
            put_first(&a, &first);
            printf("differs ");
            put_segments();
            putchar(' ');
            put_outcome(&o);
            putchar('\n');
            return;
        }
        if (!all) way = strtok(NULL, " \n");
    }
    put_first(&a, &first);
    printf("%llu\n", (unsigned long long)replays);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    wasm2c_core_instantiate(&core);
    while (getline(&line, &capacity, stdin) > 0) {
        const char *kind = strtok(line, " \n");
        if (kind && strcmp(kind, "address") == 0)
            replay_address();
        else if (kind && strcmp(kind, "handshake") == 0)
            replay_handshake();
        else
            fail("not a case");
        if (fflush(stdout) != 0) fail("stdout");
    }
    free(line);
    return 0;
}
