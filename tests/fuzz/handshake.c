// Fuzzes the handshakes of core.wasm. The invariant: however a reply is cut into segments, the outcome
// is the same, and no byte behind its first newline is consumed.
//
// It is checked for every port and reply: whole, byte by byte, and in the input's segments, with other
// handshakes in the same instance or without; and with it that
// - the Wasm does not trap, and reads and writes nothing but the slot, the request and the bytes that
//   it is given (sandbox.h),
// - the request is `CONNECT <port>\n`, and the buffer behind it is unchanged,
// - after Done exactly an OK line was consumed; until the end all bytes are, but no more than `wanted`,
// - an event before `sent`, or after the end, changes nothing,
// - a slot or a pointer outside the memory changes nothing.
//
// tests/core/model.ts says what the outcome has to be, for all inputs that are kept.
//
// An input (tests/fuzz/inputs.ts writes and reads it, too):
//
//    0  u8    flags: bits of Flag below
//    1  u32   port
//    5  u8    for PART: how many bytes of the request were taken
//    6  u8[3] lengths of the segments, one after the other and from the front again; 0 is 256
//    9  u8[]  the answer

#include <string.h>

#include "core.h"
#include "sandbox.h"

enum Flag {
    /** What comes behind the answer; if both, the end of the file is first. */
    END_OF_FILE = 1,
    DEADLINE = 2,
    /** So many bytes of the request were taken as byte 5 says, and not all. */
    PART = 4,
    /** The answer lies at the end of the memory. */
    AT_END = 8,
    /** There are calls with pointers outside of the memory: byte 5 says which. */
    ASTRAY = 16,
    /** Everything is told before `sent`, too. */
    EARLY = 32,
};

enum { HEADER = 9, ANSWER_MAX = 8192 };

enum Code {
    DONE = 0,
    NEED_MORE = 1,
    END_OF_FILE_SEEN = 6903,
    FAULT = 7001,
    SHORT_WRITE = 7102,
    SILENCE = 7503,
    SILENCE_WITHIN_LINE = 7504,
    END_WITHIN_LINE = 7602,
    BAD_LINE = 7603,
    NUMBER_OUT_OF_RANGE = 7604,
};

/** The handshakes, by how the answer is shown to them. */
enum Way { WHOLE = 0, BYTE_BY_BYTE = 1, IN_SEGMENTS = 2, WAYS = 3 };

/** As assembly/core/handshake.ts has it. */
struct slot {
    uint8_t state;
    uint8_t request_length;
    uint16_t code;
    uint32_t offset;
    uint32_t number;
};

static w2c_core fresh;
static w2c_core instance;
static uint8_t own_data[PAGE];
static uint32_t heap;
static uint32_t slots[WAYS];
static uint32_t request;
static uint32_t answers;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    wasm2c_core_instantiate(&fresh AND_COUNTER);
    instance = fresh;
    heap = w2c_core_heap(&fresh);
    memcpy(own_data, memory, heap);
    REQUIRE(*w2c_core_handshake_size(&fresh) == sizeof(struct slot), "handshake_size");
    poison(heap);
    uint32_t next = (heap + 63) & ~31U;
    for (int way = 0; way < WAYS; way++, next += 32) {
        slots[way] = next;
        lend(slots[way], sizeof(struct slot));
    }
    request = next;
    lend(request, *w2c_core_handshake_request_max(&fresh));
    answers = next + 64;
    return 0;
}

static const struct slot *look_at(uint32_t at) {
    return (const struct slot *)(memory + at);
}

static bool are_alike(const struct slot *one, const struct slot *other) {
    return one->state == other->state && one->request_length == other->request_length &&
           one->code == other->code && one->offset == other->offset && one->number == other->number;
}

static bool needs_more(uint32_t slot) {
    return look_at(slot)->code == NEED_MORE;
}

static uint32_t begin(uint32_t port) {
    static const char connect[] = "CONNECT ";
    const uint32_t capacity = *w2c_core_handshake_request_max(&fresh);
    memset(memory + request, 0xa5, capacity);
    const uint32_t length = w2c_core_handshake_begin(&instance, slots[WHOLE], port, request);
    REQUIRE(length >= 10 && length <= capacity, "a request of %u bytes", length);
    const uint8_t *text = memory + request;
    uint64_t number = 0;
    bool is_right = memcmp(text, connect, 8) == 0 && text[length - 1] == '\n' &&
                    (text[8] != '0' || length == 10);
    for (uint32_t i = 8; i < length - 1; i++) {
        is_right = is_right && text[i] >= '0' && text[i] <= '9';
        number = number * 10 + text[i] - '0';
    }
    REQUIRE(is_right && number == port, "the request for port %u is %.*s", port, (int)length - 1,
            (const char *)text);
    for (uint32_t i = length; i < capacity; i++)
        REQUIRE(text[i] == 0xa5, "byte %u behind a request of %u was written", i, length);
    REQUIRE(needs_more(slots[WHOLE]), "begun, and no NeedMore");
    return length;
}

/** Events for a handshake that waits for none: they must not matter. */
static void tell_in_vain(uint32_t slot, const char *when) {
    const struct slot before = *look_at(slot);
    const uint32_t consumed = w2c_core_handshake_receive(&instance, slot, slots[WHOLE], 12);
    w2c_core_handshake_eof(&instance, slot);
    w2c_core_handshake_deadline(&instance, slot);
    REQUIRE(consumed == 0 && w2c_core_handshake_wanted(&instance, slot) == 0 &&
                are_alike(look_at(slot), &before),
            "something was taken notice of %s", when);
}

/** Shows a part of the answer, as a host does: what was not consumed is still there. */
static uint32_t show(uint32_t slot, uint32_t at, uint32_t length) {
    const uint32_t before = look_at(slot)->offset;
    const uint32_t consumed = w2c_core_handshake_receive(&instance, slot, at, length);
    REQUIRE(consumed <= length, "of %u bytes %u are consumed", length, consumed);
    REQUIRE(look_at(slot)->offset == before + consumed,
            "at offset %u, %u bytes are consumed, and then it is at offset %u", before, consumed,
            look_at(slot)->offset);
    REQUIRE(!needs_more(slot) || consumed == length,
            "of %u bytes %u are consumed, and it needs more", length, consumed);
    return consumed;
}

/** Byte by byte and in segments, the two in turns. */
static void show_in_turns(uint32_t at, uint32_t length, const uint8_t *lengths) {
    uint32_t consumed[WAYS] = {0};
    bool goes_on = true;
    for (uint32_t turn = 0; goes_on; turn++) {
        goes_on = false;
        for (int way = BYTE_BY_BYTE; way < WAYS; way++) {
            const uint32_t left = length - consumed[way];
            if (left == 0 || !needs_more(slots[way])) continue;
            goes_on = true;
            const uint8_t named = way == BYTE_BY_BYTE ? 1 : lengths[turn % 3];
            const uint32_t part = named == 0 ? 256 : named;
            consumed[way] += show(slots[way], at + consumed[way], part < left ? part : left);
        }
    }
}

static void check_consumed(const uint8_t *answer, size_t length) {
    const uint32_t slot = slots[WHOLE];
    const uint32_t consumed = w2c_core_handshake_offset(&instance, slot);
    const uint32_t code = w2c_core_handshake_code(&instance, slot);
    const uint32_t number = w2c_core_handshake_number(&instance, slot);
    REQUIRE(consumed == look_at(slot)->offset && code == look_at(slot)->code &&
                number == look_at(slot)->number,
            "the exports say something else than the slot");
    const uint8_t *newline = memchr(answer, '\n', length);
    const size_t line = newline == NULL ? length : (size_t)(newline - answer) + 1;
    REQUIRE(consumed <= line, "%u bytes are consumed, and the first newline is byte %zu", consumed,
            line);
    if (code != DONE) {
        REQUIRE(code == NEED_MORE || code == BAD_LINE || code == NUMBER_OUT_OF_RANGE, "code %u",
                code);
        REQUIRE(code == NEED_MORE ? consumed == length : consumed < length,
                "code %u, and %u bytes of %zu consumed", code, consumed, length);
        return;
    }
    REQUIRE(newline != NULL && consumed == line, "Done after %u bytes, the line has %zu", consumed,
            line);
    REQUIRE(consumed >= 5 && consumed <= 14 && memcmp(answer, "OK ", 3) == 0, "Done without OK");
    uint64_t value = 0;
    for (uint32_t i = 3; i + 1 < consumed; i++) {
        REQUIRE(answer[i] >= '0' && answer[i] <= '9', "Done with a number that is none");
        value = value * 10 + answer[i] - '0';
    }
    REQUIRE(value == number, "the answer's number is %llu, not %llu", (unsigned long long)value,
            (unsigned long long)number);
}

static void check_alike(void) {
    const struct slot *whole = look_at(slots[WHOLE]);
    for (int way = BYTE_BY_BYTE; way < WAYS; way++) {
        const struct slot *cut = look_at(slots[way]);
        REQUIRE(
            are_alike(whole, cut),
            "code %u at offset %u, number %u, for the answer in one piece; %u at %u, %u, for %s",
            whole->code, whole->offset, whole->number, cut->code, cut->offset, cut->number,
            way == BYTE_BY_BYTE ? "single bytes" : "segments");
    }
}

static void end(uint32_t slot, uint8_t flags) {
    const uint32_t before = look_at(slot)->code;
    const bool early = look_at(slot)->offset == 0;
    uint32_t expected = before;
    if (before == NEED_MORE && flags & END_OF_FILE)
        expected = early ? END_OF_FILE_SEEN : END_WITHIN_LINE;
    else if (before == NEED_MORE && flags & DEADLINE)
        expected = early ? SILENCE : SILENCE_WITHIN_LINE;
    if (flags & END_OF_FILE) w2c_core_handshake_eof(&instance, slot);
    if (flags & DEADLINE) w2c_core_handshake_deadline(&instance, slot);
    const uint32_t code = look_at(slot)->code;
    REQUIRE(code == expected, "at the end code %u becomes %u", before, code);
}

static void check_astray(uint8_t how) {
    const uint32_t length = sizeof(struct slot);
    const uint32_t places[] = {heap - 1, PAGE - length + 1, UINT32_MAX,
                               0,        PAGE + how,        heap - length};
    const uint32_t at = places[how % 6];
    const uint32_t slot = slots[IN_SEGMENTS];
    const struct slot before = *look_at(slot);
    REQUIRE(w2c_core_handshake_begin(&instance, at, 22, request) == 0 &&
                w2c_core_handshake_code(&instance, at) == FAULT &&
                w2c_core_handshake_number(&instance, at) == 0 &&
                w2c_core_handshake_offset(&instance, at) == 0 &&
                w2c_core_handshake_wanted(&instance, at) == 0 &&
                w2c_core_handshake_receive(&instance, at, slots[WHOLE], length) == 0,
            "a slot outside of the memory, %#x, is taken for one", at);
    w2c_core_handshake_sent(&instance, at, how);
    w2c_core_handshake_eof(&instance, at);
    w2c_core_handshake_deadline(&instance, at);
    const uint32_t request_at =
        how % 6 == 1 ? PAGE - *w2c_core_handshake_request_max(&fresh) + 1 : at;
    REQUIRE(w2c_core_handshake_begin(&instance, slot, 22, request_at) == 0 &&
                w2c_core_handshake_receive(&instance, slot, at, length) == 0 &&
                are_alike(look_at(slot), &before),
            "a pointer outside of the memory, %#x, is taken for one", at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER || size - HEADER > ANSWER_MAX) return 0;
    const uint8_t flags = data[0];
    uint32_t port;
    memcpy(&port, data + 1, sizeof port);
    const uint8_t detail = data[5];
    const uint8_t *lengths = data + 6;
    const uint8_t *answer = data + HEADER;
    const uint32_t length = (uint32_t)(size - HEADER);
    const uint32_t at = flags & AT_END ? PAGE - length : answers;
    lend(at, length);
    memcpy(memory + at, answer, length);

    const uint32_t slot = slots[WHOLE];
    const uint32_t all = begin(port);
    const uint32_t taken = flags & PART ? detail : all;
    if (flags & EARLY) tell_in_vain(slot, "before the request was sent");
    w2c_core_handshake_sent(&instance, slot, taken);
    REQUIRE(look_at(slot)->code == (taken == all ? NEED_MORE : SHORT_WRITE),
            "%u of %u bytes sent, code %u", taken, all, look_at(slot)->code);
    if (needs_more(slot)) {
        // A slot is all that a handshake is, and so a copy of it is another one.
        for (int way = BYTE_BY_BYTE; way < WAYS; way++)
            memcpy(memory + slots[way], memory + slot, sizeof(struct slot));
        const uint32_t wanted = w2c_core_handshake_wanted(&instance, slot);
        const uint32_t consumed = show(slot, at, length);
        REQUIRE(consumed <= wanted, "%u bytes were wanted, and %u are consumed", wanted, consumed);
        show_in_turns(at, length, lengths);
        check_consumed(answer, length);
        check_alike();
    }
    EXPLAIN("port %u, answer ", port);
    EXPLAIN_BYTES(answer, length);
    EXPLAIN("\ncode %u at offset %u, number %u\n", look_at(slot)->code, look_at(slot)->offset,
            look_at(slot)->number);
    if (flags & ASTRAY) check_astray(detail);
    end(slot, flags);
    if (!needs_more(slot)) {
        tell_in_vain(slot, "after the end");
        w2c_core_handshake_sent(&instance, slot, taken);
        REQUIRE(!needs_more(slot), "sent after the end, and it needs more");
    }
    take_back(at, length);
    REQUIRE(memcmp(memory, own_data, heap) == 0, "the module's own data has changed");
    return 0;
}
