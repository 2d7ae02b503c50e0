// core.wasm and names.wasm, translated to C by wasm2c, replay the transcripts of addresses, handshakes
// and look-ups. This is a host of both in C (docs/abi.md); replay-core.ts writes the cases to cases.h.
//
//     replay-core EVERY     replies of up to EVERY bytes are cut in every way
//
// Each case that fails is a line on stdout: FILE:LINE, the lengths of the segments, what is wrong. The
// last line is the number of replays. Exit status 125: this program failed; 70: a trap.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "names.h"
#include "wasm-rt.h"

enum { OWN_FAILURE = 125, DEFECT = 70, PAGE = 65536, REPLY_MAX = 4096 };

/** docs/abi.md */
enum { DONE = 0, NEED_MORE = 1, BAD_NAME = 6413, OK_LINE_MAX = 14 };

struct bytes {
    uint32_t length;
    const char *at;
};

/** A field of a record that is not valid; no valid one has this value. */
static const uint32_t NONE = UINT32_MAX;

/** The fields of an address record, in its order, without the length. */
enum { FIELDS = 5 };

struct address {
    const char *place;
    /** ADDRESS, PORT, NAME; `at` is NULL without one. */
    struct bytes texts[3];
    uint32_t code;
    uint32_t fields[FIELDS];
    struct bytes socket_address;
};

struct handshake {
    const char *place;
    struct bytes reply;
    struct bytes request;
    uint32_t port;
    uint32_t sent;
    uint32_t code;
    uint32_t consumed;
    uint32_t number;
    bool eof;
};

struct lookup {
    const char *place;
    struct bytes reply;
    struct bytes name;
    /** `at` is NULL where any is right. */
    struct bytes request;
    struct bytes text;
    uint32_t service;
    uint32_t code;
    uint32_t consumed;
    uint32_t target;
    uint32_t cid;
    bool eof;
};

#include "cases.h"

uint32_t wasm_rt_call_stack_depth;
static w2c_core core;
static w2c_names names;
/** Of the module that is run. */
static wasm_rt_memory_t *memory;
static uint64_t replays;

_Noreturn void wasm_rt_trap(wasm_rt_trap_t why) {
    fprintf(stderr, "replay-core: trap: %s\n", trap_message(why));
    exit(DEFECT);
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *of, uint64_t pages, uint64_t max_pages, bool is64,
                             uint32_t page_size) {
    (void)is64;
    (void)page_size;
    *of = (wasm_rt_memory_t){.pages = pages, .max_pages = max_pages, .size = pages * PAGE};
    of->data = calloc(pages, PAGE);
    if (!of->data) exit(OWN_FAILURE);
}

uint64_t wasm_rt_grow_memory(wasm_rt_memory_t *of, uint64_t delta) {
    (void)of;
    (void)delta;
    return UINT64_MAX;
}

static uint32_t heap(void) {
    return (w2c_core_heap(&core) + 15) & ~15U;
}

static uint32_t load(uint32_t at) {
    uint32_t value;
    memcpy(&value, memory->data + at, sizeof value);
    return value;
}

static void put(uint32_t at, struct bytes bytes) {
    if (at + bytes.length > memory->size) exit(OWN_FAILURE);
    memcpy(memory->data + at, bytes.at, bytes.length);
}

static bool is_at(uint32_t at, struct bytes bytes) {
    return memcmp(memory->data + at, bytes.at, bytes.length) == 0;
}

static const char *replay_address(const struct address *a) {
    const uint32_t record = heap();
    uint32_t end = record + core.w2c_address_size;
    uint32_t at[3] = {0};
    replays++;
    memset(memory->data + record, 0xaa, core.w2c_address_size);
    for (int i = 0; i < 3; i++) {
        if (!a->texts[i].at) continue;
        put(end, a->texts[i]);
        at[i] = end;
        end += a->texts[i].length;
    }
    const uint32_t code = w2c_core_address_parse(&core, record, at[0], a->texts[0].length, at[1],
                                                 a->texts[1].length, at[2], a->texts[2].length);
    if (code != a->code) return "code";
    for (uint32_t i = 0; i < FIELDS; i++)
        if (a->fields[i] != NONE && load(record + 4 * i) != a->fields[i]) return "record";
    if (code != DONE) return NULL;
    if (load(record + 4 * FIELDS) != a->socket_address.length) return "length";
    return is_at(record + 4 * FIELDS + 4, a->socket_address) ? NULL : "socket address";
}

/** Where the segments of a reply end. */
struct cut {
    uint32_t count;
    uint32_t ends[REPLY_MAX];
};

/** Replays a handshake, and returns what is wrong, or NULL. */
static const char *replay_handshake(const struct handshake *h, const struct cut *cut) {
    const uint32_t slot = heap();
    const uint32_t request = slot + core.w2c_handshake_size;
    const uint32_t reply = request + core.w2c_handshake_request_max;
    replays++;
    put(reply, h->reply);
    if (w2c_core_handshake_begin(&core, slot, h->port, request) != h->request.length ||
        !is_at(request, h->request))
        return "request";
    w2c_core_handshake_sent(&core, slot, h->sent);
    uint32_t consumed = 0;
    for (uint32_t i = 0, from = 0; i < cut->count; from = cut->ends[i++]) {
        const bool waits = w2c_core_handshake_code(&core, slot) == NEED_MORE;
        if (w2c_core_handshake_wanted(&core, slot) != (waits ? OK_LINE_MAX - consumed : 0))
            return "handshake_wanted";
        const uint32_t segment = cut->ends[i] - from;
        const uint32_t got = w2c_core_handshake_receive(&core, slot, reply + from, segment);
        consumed += got;
        if (!waits && got != 0) return "bytes consumed after the end";
        if (got > segment || (w2c_core_handshake_code(&core, slot) == NEED_MORE && got != segment))
            return "bytes neither consumed nor refused";
    }
    if (h->eof) w2c_core_handshake_eof(&core, slot);
    // From here on, nothing changes the result.
    w2c_core_handshake_deadline(&core, slot);
    w2c_core_handshake_sent(&core, slot, h->request.length);
    w2c_core_handshake_eof(&core, slot);
    if (w2c_core_handshake_receive(&core, slot, reply, h->reply.length) != 0)
        return "bytes consumed after the end";
    if (w2c_core_handshake_code(&core, slot) != h->code) return "code";
    if (consumed != h->consumed) return "consumed";
    if (w2c_core_handshake_offset(&core, slot) != consumed) return "handshake_offset";
    const bool is_right = h->code != DONE || w2c_core_handshake_number(&core, slot) == h->number;
    return is_right ? NULL : "number";
}

/** Whether the next request of a look-up, if there is one, is the next part of `expected`. */
static bool ask(uint32_t slot, uint32_t request, const struct bytes *expected, uint32_t *asked,
                bool *asks) {
    const uint32_t length = w2c_names_lookup_request(&names, slot, request);
    const struct bytes part = {length, expected->at + *asked};
    *asks = length > 0;
    if (!expected->at) return true;
    if (length > expected->length - *asked || !is_at(request, part)) return false;
    *asked += length;
    return true;
}

/** Replays a look-up, and returns what is wrong, or NULL. */
static const char *replay_lookup(const struct lookup *l, const struct cut *cut) {
    const uint32_t slot = (w2c_names_heap(&names) + 15) & ~15U;
    const uint32_t request = slot + names.w2c_lookup_size;
    const uint32_t name = request + names.w2c_lookup_request_max;
    const uint32_t reply = name + l->name.length;
    uint32_t consumed = 0;
    uint32_t asked = 0;
    bool asks;
    replays++;
    memset(memory->data + slot, 0xaa, names.w2c_lookup_size);
    put(name, l->name);
    put(reply, l->reply);
    w2c_names_lookup_begin(&names, slot, l->service, name, l->name.length);
    if (!ask(slot, request, &l->request, &asked, &asks)) return "request";
    for (uint32_t i = 0, from = 0; i < cut->count; from = cut->ends[i++]) {
        while (from < cut->ends[i] && w2c_names_lookup_code(&names, slot) == NEED_MORE) {
            const uint32_t left = cut->ends[i] - from;
            const uint32_t got = w2c_names_lookup_receive(&names, slot, reply + from, left);
            const bool waits = w2c_names_lookup_code(&names, slot) == NEED_MORE;
            if (!ask(slot, request, &l->request, &asked, &asks)) return "request";
            if (got > left || (waits && !asks && got != left))
                return "bytes neither consumed nor refused";
            consumed += got;
            from += got;
        }
        if (w2c_names_lookup_code(&names, slot) == NEED_MORE) continue;
        if (w2c_names_lookup_receive(&names, slot, reply, l->reply.length) != 0)
            return "bytes consumed after the end";
    }
    if (l->eof) w2c_names_lookup_eof(&names, slot);
    // From here on, nothing changes the result.
    w2c_names_lookup_deadline(&names, slot);
    w2c_names_lookup_eof(&names, slot);
    if (w2c_names_lookup_request(&names, slot, request) != 0 ||
        w2c_names_lookup_receive(&names, slot, reply, l->reply.length) != 0)
        return "a request, or bytes consumed, after the end";
    if (w2c_names_lookup_code(&names, slot) != l->code) return "code";
    if (load(slot + 4) != l->consumed || (l->code != BAD_NAME && consumed != l->consumed))
        return "consumed";
    if (l->request.at && asked != l->request.length) return "request";
    if (l->target != NONE && memory->data[slot + 12] != l->target) return "target";
    if (l->cid != NONE && load(slot + 8) != l->cid) return "cid";
    if (!l->text.at) return NULL;
    const bool has_text =
        (load(slot + 16) & 0xffff) == l->text.length && is_at(slot + 276, l->text);
    return has_text ? NULL : "text";
}

/** Prints how the reply was cut, and what is wrong then. */
static const char *report(const char *place, const struct cut *cut, const char *wrong) {
    if (!wrong) return NULL;
    printf("%s ", place);
    for (uint32_t i = 0; i < cut->count; i++)
        printf("%s%u", i > 0 ? "," : "", cut->ends[i] - (i > 0 ? cut->ends[i - 1] : 0));
    printf("%s %s\n", cut->count == 0 ? "-" : "", wrong);
    return wrong;
}

static const char *replay_cut(const struct handshake *h, const struct cut *cut) {
    return report(h->place, cut, replay_handshake(h, cut));
}

/** Cuts a reply in every way: bit i of `number` says whether there is a cut after byte i. */
static void replay_every_cut(const struct handshake *h) {
    const uint32_t length = h->reply.length;
    static struct cut cut;
    for (uint32_t number = 0; number < 1U << (length > 0 ? length - 1 : 0); number++) {
        cut.count = 0;
        for (uint32_t i = 1; i < length; i++)
            if (number >> (i - 1) & 1) cut.ends[cut.count++] = i;
        if (length > 0) cut.ends[cut.count++] = length;
        if (replay_cut(h, &cut)) return;
    }
}

/** Cut number `i` of a reply: at each place into two, whole, and then byte by byte. */
static const struct cut *some_cut(uint32_t i, uint32_t length) {
    static struct cut cut;
    if (i < length) {
        cut.count = i + 1 < length ? 2 : 1;
        cut.ends[0] = i + 1;
        cut.ends[1] = length;
        return &cut;
    }
    cut.count = length;
    for (uint32_t end = 0; end < length; end++)
        cut.ends[end] = end + 1;
    return &cut;
}

int main(int argc, char **argv) {
    const uint32_t every = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    wasm2c_core_instantiate(&core);
    wasm2c_names_instantiate(&names);
    memory = &core.w2c_memory;
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        const char *wrong = replay_address(&addresses[i]);
        if (wrong) printf("%s - %s\n", addresses[i].place, wrong);
    }
    for (size_t i = 0; i < sizeof handshakes / sizeof *handshakes; i++) {
        const struct handshake *h = &handshakes[i];
        const uint32_t length = h->reply.length;
        if (length > REPLY_MAX) exit(OWN_FAILURE);
        if (length <= every) {
            replay_every_cut(h);
            continue;
        }
        for (uint32_t cut = 0; cut <= length; cut++)
            if (replay_cut(h, some_cut(cut, length))) break;
    }
    memory = &names.w2c_memory;
    for (size_t i = 0; i < sizeof lookups / sizeof *lookups; i++) {
        const struct lookup *l = &lookups[i];
        if (l->reply.length > REPLY_MAX) exit(OWN_FAILURE);
        for (uint32_t cut = 0; cut <= l->reply.length; cut++) {
            const struct cut *how = some_cut(cut, l->reply.length);
            if (report(l->place, how, replay_lookup(l, how))) break;
        }
    }
    printf("%llu\n", (unsigned long long)replays);
    return 0;
}
