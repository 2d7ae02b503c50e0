// Fuzzes the look-ups of names.wasm. The invariant: however the replies are cut into segments, the
// outcome and the requests are the same.
//
// It is checked for every service, name and sequence of replies: whole, byte by byte, and in the input's
// segments, the three in turns in one instance; and with it that
// - the Wasm does not trap, and reads and writes nothing but the slot, the request and the bytes that
//   it is given (sandbox.h),
// - a request is as long as it says, and the room behind it is unchanged,
// - until the end all bytes are consumed, unless there is a request to send,
// - after Done the last byte that was consumed is the NUL of machined, or the quote after libvirt's CID,
// - events after the end change nothing, and neither does a slot or a pointer outside the memory.
//
// tests/core/lookup-model.ts says what the outcome has to be, for all inputs that are kept.
//
// An input (tests/fuzz/inputs.ts writes and reads it, too):
//
//    0  u8    flags: bits of Flag below
//    1  u8    service, modulo 4; 0 is none
//    2  u8    length of the name
//    3  u8[3] lengths of the segments, one after the other and from the front again; 0 is 256
//    6  u8[]  the name, then the replies
//
// With FRAMED the replies are libvirt's messages, without what a mutation would break:
//
//    0  u8    procedure
//    1  u8    bits of Frame below
//    2  u16   length of the payload; the last one ends where the input does
//    4  u8[]  payload

#include <string.h>

#include "names.h"
#include "sandbox.h"

enum Flag {
    /** What comes behind the replies; if both, the end of the file is first. */
    END_OF_FILE = 1,
    DEADLINE = 2,
    /** The replies lie at the end of the memory. */
    AT_END = 4,
    /** There are calls with pointers outside of the memory. */
    ASTRAY = 8,
    FRAMED = 16,
};

enum Frame {
    ERROR = 1,
    EVENT = 2,
    /** The payload is a string: its length and its padding are added. */
    STRING = 4,
    /** The serial is that of the message before. */
    REPEATED = 8,
};

enum { HEADER = 6, FRAME_HEADER = 4, ANSWER_MAX = 16384, REQUEST_MAX = 320, REQUESTS_MAX = 8 };

enum Code {
    DONE = 0,
    NEED_MORE = 1,
    BAD_NAME = 6413,
    FAULT = 7001,
    TIMEOUT = 7506,
    BAD_REPLY = 7605,
    REPLY_TOO_LONG = 7606,
    END_WITHIN_REPLY = 7608,
};

/** The look-ups, by how the replies are shown to them. */
enum Way { WHOLE = 0, BYTE_BY_BYTE = 1, IN_SEGMENTS = 2, WAYS = 3 };

enum { SLOT_SIZE = 816, MACHINED = 1, TARGET_CID = 1, UNWRITTEN = 0xa5 };

struct request {
    uint32_t length;
    uint8_t bytes[REQUEST_MAX];
};

static w2c_names instance;
static uint8_t own_data[PAGE];
static uint32_t heap;
static uint32_t slots[WAYS];
static uint32_t request_at;
static uint32_t answers;
static struct request requests[REQUESTS_MAX];
static uint32_t asked[WAYS];
static uint8_t answer[ANSWER_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    wasm2c_names_instantiate(&instance AND_COUNTER);
    heap = w2c_names_heap(&instance);
    memcpy(own_data, memory, heap);
    REQUIRE(*w2c_names_lookup_size(&instance) == SLOT_SIZE, "lookup_size");
    REQUIRE(*w2c_names_lookup_request_max(&instance) == REQUEST_MAX, "lookup_request_max");
    poison(heap);
    uint32_t next = (heap + 63) & ~31U;
    for (int way = 0; way < WAYS; way++, next += SLOT_SIZE + 32) {
        slots[way] = next;
        lend(slots[way], SLOT_SIZE);
    }
    request_at = next;
    lend(request_at, REQUEST_MAX);
    answers = (next + REQUEST_MAX + 63) & ~31U;
    return 0;
}

static uint32_t u32_at(uint32_t at) {
    uint32_t value;
    memcpy(&value, memory + at, sizeof value);
    return value;
}

static uint32_t code_of(uint32_t slot) {
    return u32_at(slot) >> 16;
}

static uint32_t offset_of(uint32_t slot) {
    return u32_at(slot + 4);
}

static bool needs_more(uint32_t slot) {
    return code_of(slot) == NEED_MORE;
}

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void check_request(const struct request *request, uint32_t index, uint8_t service) {
    const uint8_t *bytes = request->bytes;
    const uint32_t length = request->length;
    EXPLAIN("request ");
    EXPLAIN_BYTES(bytes, length);
    EXPLAIN("\n");
    if (service == MACHINED) {
        REQUIRE(index == 0 && memchr(bytes, 0, length) == bytes + length - 1 && bytes[0] == '{' &&
                    bytes[length - 2] == '}',
                "not one object with a NUL");
    } else {
        REQUIRE(length >= 28 && length % 4 == 0 && big_endian(bytes) == length,
                "a message of %u bytes that says %u", length, big_endian(bytes));
        REQUIRE(big_endian(bytes + 20) == index + 1, "request %u has serial %u", index,
                big_endian(bytes + 20));
    }
}

/** The room for a request is filled with UNWRITTEN before each. */
static void check_room(uint32_t length) {
    for (uint32_t i = length; i < REQUEST_MAX; i++)
        REQUIRE(memory[request_at + i] == UNWRITTEN, "byte %u behind a request of %u was written",
                i, length);
}

/** Takes the request of a look-up, if there is one. */
static bool ask(int way, uint8_t service) {
    const uint32_t length = w2c_names_lookup_request(&instance, slots[way], request_at);
    if (length == 0) return false;
    REQUIRE(length <= REQUEST_MAX, "a request of %u bytes", length);
    check_room(length);
    const uint32_t index = asked[way]++;
    REQUIRE(index < REQUESTS_MAX, "more than %d requests", REQUESTS_MAX);
    struct request *request = &requests[index];
    if (way == WHOLE) {
        request->length = length;
        memcpy(request->bytes, memory + request_at, length);
        check_request(request, index, service);
    }
    REQUIRE(length == request->length && memcmp(memory + request_at, request->bytes, length) == 0,
            "another request %u", index);
    memset(memory + request_at, UNWRITTEN, length);
    return true;
}

/** Shows a part of the replies; returns how many bytes were consumed. */
static uint32_t show(int way, uint32_t at, uint32_t length, uint8_t service) {
    const uint32_t slot = slots[way];
    const uint32_t before = offset_of(slot);
    const uint32_t consumed = w2c_names_lookup_receive(&instance, slot, at, length);
    REQUIRE(consumed <= length, "of %u bytes %u are consumed", length, consumed);
    REQUIRE(offset_of(slot) == before + consumed,
            "at offset %u, %u bytes are consumed, and then it is at offset %u", before, consumed,
            offset_of(slot));
    const bool asks = ask(way, service);
    REQUIRE(!needs_more(slot) || asks || consumed == length,
            "of %u bytes %u are consumed, and it needs more", length, consumed);
    return consumed;
}

/** The three ways in turns. */
static void show_in_turns(uint32_t at, uint32_t length, const uint8_t *lengths, uint8_t service) {
    uint32_t consumed[WAYS] = {0};
    bool goes_on = true;
    for (uint32_t turn = 0; goes_on; turn++) {
        goes_on = false;
        for (int way = WHOLE; way < WAYS; way++) {
            const uint32_t left = length - consumed[way];
            if (left == 0 || !needs_more(slots[way])) continue;
            goes_on = true;
            const uint8_t named = way == BYTE_BY_BYTE ? 1 : lengths[turn % 3];
            const uint32_t part = way == WHOLE ? left : named == 0 ? 256 : named;
            consumed[way] += show(way, at + consumed[way], part < left ? part : left, service);
        }
    }
}

static void check_alike(void) {
    for (int way = BYTE_BY_BYTE; way < WAYS; way++) {
        REQUIRE(memcmp(memory + slots[WHOLE], memory + slots[way], SLOT_SIZE) == 0 &&
                    asked[WHOLE] == asked[way],
                "code %u at offset %u after %u requests in one piece; %u at %u after %u in %s",
                code_of(slots[WHOLE]), offset_of(slots[WHOLE]), asked[WHOLE], code_of(slots[way]),
                offset_of(slots[way]), asked[way],
                way == BYTE_BY_BYTE ? "single bytes" : "segments");
    }
}

static void check_consumed(uint32_t length, uint8_t service) {
    const uint32_t slot = slots[WHOLE];
    const uint32_t code = code_of(slot);
    const uint32_t consumed = offset_of(slot);
    REQUIRE(code == w2c_names_lookup_code(&instance, slot), "the export has another code");
    if (code == BAD_NAME) return;
    REQUIRE(code == NEED_MORE ? consumed == length : consumed <= length,
            "code %u, and %u bytes of %u consumed", code, consumed, length);
    if (code == BAD_REPLY || code == REPLY_TOO_LONG)
        REQUIRE(consumed < length, "the wrong byte is behind the last");
    if (service == MACHINED && consumed > 0) {
        const uint8_t *nul = memchr(answer, 0, consumed);
        const bool ended = code != NEED_MORE && code != BAD_REPLY;
        REQUIRE(ended ? nul == answer + consumed - 1 : nul == NULL, "code %u after %u bytes", code,
                consumed);
    }
    if (code != DONE || service == MACHINED) return;
    const uint8_t last = consumed > 0 ? answer[consumed - 1] : 0;
    REQUIRE(last == '\'' || last == '"', "the address ends in byte %u", last);
    REQUIRE(
        memory[slot + 12] == TARGET_CID && u32_at(slot + 8) >= 3 && u32_at(slot + 8) != UINT32_MAX,
        "CID %u", u32_at(slot + 8));
}

static void end(uint32_t slot, uint8_t flags) {
    const uint32_t before = code_of(slot);
    uint32_t expected = before;
    if (before == NEED_MORE && flags & END_OF_FILE)
        expected = END_WITHIN_REPLY;
    else if (before == NEED_MORE && flags & DEADLINE)
        expected = TIMEOUT;
    if (flags & END_OF_FILE) w2c_names_lookup_eof(&instance, slot);
    if (flags & DEADLINE) w2c_names_lookup_deadline(&instance, slot);
    REQUIRE(code_of(slot) == expected, "at the end code %u becomes %u", before, code_of(slot));
}

/** Nothing is taken notice of after the end. */
static void check_end(uint32_t slot) {
    uint8_t before[SLOT_SIZE];
    memcpy(before, memory + slot, SLOT_SIZE);
    w2c_names_lookup_eof(&instance, slot);
    w2c_names_lookup_deadline(&instance, slot);
    REQUIRE(w2c_names_lookup_request(&instance, slot, request_at) == 0 &&
                w2c_names_lookup_receive(&instance, slot, slots[IN_SEGMENTS], 12) == 0 &&
                memcmp(before, memory + slot, SLOT_SIZE) == 0,
            "something was taken notice of after the end");
}

static void check_astray(uint8_t how) {
    const uint32_t places[] = {heap - 1, PAGE - REQUEST_MAX + 1, UINT32_MAX, 0, PAGE + how};
    const uint32_t at = places[how % 5];
    const uint32_t slot = slots[IN_SEGMENTS];
    uint8_t before[SLOT_SIZE];
    memcpy(before, memory + slot, SLOT_SIZE);
    REQUIRE(w2c_names_lookup_begin(&instance, at, 1, request_at, 1) == FAULT &&
                w2c_names_lookup_code(&instance, at) == FAULT &&
                w2c_names_lookup_request(&instance, at, request_at) == 0 &&
                w2c_names_lookup_receive(&instance, at, request_at, 1) == 0,
            "a slot outside of the memory, %#x, is taken for one", at);
    w2c_names_lookup_eof(&instance, at);
    w2c_names_lookup_deadline(&instance, at);
    REQUIRE(w2c_names_lookup_begin(&instance, slot, 1, at, SLOT_SIZE) == FAULT &&
                w2c_names_lookup_request(&instance, slot, at) == 0 &&
                w2c_names_lookup_receive(&instance, slot, at, SLOT_SIZE) == 0 &&
                memcmp(before, memory + slot, SLOT_SIZE) == 0,
            "a pointer outside of the memory, %#x, is taken for one", at);
}

static void put_big_endian(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/** Writes the messages of frames to `answer`, and returns their length. */
static uint32_t unframe(const uint8_t *frames, size_t size) {
    uint32_t length = 0;
    uint32_t serial = 0;
    for (size_t at = 0; at + FRAME_HEADER <= size;) {
        const uint8_t *frame = frames + at;
        const size_t left = size - at - FRAME_HEADER;
        const uint32_t named = frame[2] | (uint32_t)frame[3] << 8;
        const uint32_t payload = named < left ? named : (uint32_t)left;
        const uint8_t how = frame[1];
        const uint32_t padded = (payload + 3) & ~3U;
        const uint32_t message = 28 + (how & STRING ? 4 + padded : payload);
        if (length + message > ANSWER_MAX) break;
        if (!(how & (EVENT | REPEATED))) serial++;
        uint8_t *to = answer + length;
        memset(to, 0, message);
        put_big_endian(to, message);
        put_big_endian(to + 4, 0x20008086);
        put_big_endian(to + 8, 1);
        put_big_endian(to + 12, frame[0]);
        put_big_endian(to + 16, how & EVENT ? 2 : 1);
        put_big_endian(to + 20, how & EVENT ? 0 : serial);
        put_big_endian(to + 24, how & ERROR);
        if (how & STRING) put_big_endian(to + 28, payload);
        memcpy(to + (how & STRING ? 32 : 28), frame + FRAME_HEADER, payload);
        length += message;
        at += FRAME_HEADER + payload;
    }
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEADER || size > ANSWER_MAX) return 0;
    const uint8_t flags = data[0];
    const uint8_t service = data[1] % 4;
    const uint8_t *lengths = data + 3;
    const uint32_t name_length = data[2] < size - HEADER ? data[2] : (uint32_t)size - HEADER;
    const uint8_t *rest = data + HEADER + name_length;
    uint32_t length = (uint32_t)(size - HEADER - name_length);
    if (flags & FRAMED)
        length = unframe(rest, length);
    else
        memcpy(answer, rest, length);

    for (int way = WHOLE; way < WAYS; way++) {
        memcpy(memory + request_at, data + HEADER, name_length);
        memset(memory + slots[way], way, SLOT_SIZE);
        const uint32_t code =
            w2c_names_lookup_begin(&instance, slots[way], service, request_at, name_length);
        REQUIRE(code == (service == 0 ? FAULT : code_of(slots[way])), "begun, and code %u", code);
        asked[way] = 0;
        if (code == FAULT) return 0;
        REQUIRE(code == NEED_MORE || code == BAD_NAME, "begun, and code %u", code);
        memset(memory + request_at, UNWRITTEN, REQUEST_MAX);
        REQUIRE(ask(way, service) == (code == NEED_MORE), "no request at the beginning");
    }
    const uint32_t at = flags & AT_END ? PAGE - length : answers;
    lend(at, length);
    memcpy(memory + at, answer, length);
    show_in_turns(at, length, lengths, service);
    take_back(at, length);

    const uint32_t slot = slots[WHOLE];
    EXPLAIN("replies ");
    EXPLAIN_BYTES(answer, length);
    EXPLAIN("\ncode %u at offset %u, target %u, CID %u, text ", code_of(slot), offset_of(slot),
            memory[slot + 12], u32_at(slot + 8));
    EXPLAIN_BYTES(memory + slot + 276, u32_at(slot + 16) & 0xffff);
    EXPLAIN("\n");
    check_room(0);
    check_consumed(length, service);
    check_alike();
    if (flags & ASTRAY) check_astray(lengths[0]);
    end(slot, flags);
    if (!needs_more(slot)) check_end(slot);
    REQUIRE(memcmp(memory, own_data, heap) == 0, "the module's own data has changed");
    return 0;
}
