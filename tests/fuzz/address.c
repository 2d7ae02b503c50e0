// Fuzzes address_parse of core.wasm. The invariant: an address that is accepted, printed again, parses
// to itself.
//
// It is checked for every ADDRESS, PORT and NAME, wherever they are in memory, and with it that
// - the Wasm does not trap, and reads and writes nothing but the record and the texts (sandbox.h),
// - the code is one that docs/abi.md lists, and after a failure `offset` is within the argument that
//   `argument` names, or at its end,
// - the same texts have the same outcome twice, whatever the record held before,
// - a pointer and length outside the memory are a Fault, and nothing is written.
//
// tests/core/model.ts says what the outcome has to be, for all inputs that are kept.
//
// An input (tests/fuzz/inputs.ts writes and reads it, too):
//
//    0  u8   flags: bits of Flag below
//    1  u8   length of PORT, where there is one
//    2  u8   length of NAME, where there is one
//    3  u8   for REPEATED: the last byte of ADDRESS is, until it has so many bytes: 64 + this below
//            128, else 3968 + this
//    4  u8[] PORT, NAME, and ADDRESS up to the end

#include <string.h>

#include "core.h"
#include "sandbox.h"

enum Flag {
    HAS_PORT = 1,
    HAS_NAME = 2,
    /** NAME is ADDRESS with capitals: the nth letter is one if bit n % 8 of the nth byte is set. */
    NAME_IS_ADDRESS = 4,
    /** ADDRESS ends where the memory ends. */
    AT_END = 8,
    /** NAME lies before ADDRESS. */
    NAME_FIRST = 16,
    /** One of the pointers leads out of the memory: PORT's first byte says how. */
    ASTRAY = 32,
    REPEATED = 64,
};

enum { HEADER = 4, TEXT_MAX = 12000 };

enum Code { DONE = 0, FIRST_FAILURE = 6401, NUL_BYTE = 6412, LAST_FAILURE = 6413, FAULT = 7001 };
enum Scheme {
    UNIX = 1,
    UNIX_ABSTRACT = 2,
    VSOCK = 3,
    VSOCK_MUX = 4,
    HOST = 5,
    MACHINE = 6,
    QEMU = 7,
    QEMU_SYSTEM = 8,
    QEMU_SESSION = 9
};
enum Argument { ADDRESS = 0, PORT = 1, NAME = 2 };

enum { OF_SOCKET_ADDRESS = 24, PATH_MAX_BYTES = 4095, NAME_MAX_BYTES = 107 };
enum { MACHINE_MAX_BYTES = 64, DOMAIN_MAX_BYTES = 250 };

struct text {
    uint32_t at;
    uint32_t length;
};

struct record {
    uint32_t scheme, port, cid, argument, offset, length;
};

static w2c_core fresh;
static w2c_core instance;
static uint8_t own_data[PAGE];
static uint32_t heap;
/** Two records, and where texts may lie. */
static uint32_t records[2];
static uint32_t texts;

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    wasm2c_core_instantiate(&fresh AND_COUNTER);
    heap = w2c_core_heap(&fresh);
    memcpy(own_data, memory, heap);
    const uint32_t size = *w2c_core_address_size(&fresh);
    records[0] = (heap + 127) & ~63U;
    records[1] = (records[0] + size + 127) & ~63U;
    texts = (records[1] + size + 127) & ~63U;
    poison(heap);
    lend(records[0], size);
    lend(records[1], size);
    return 0;
}

static uint8_t capital(uint8_t letter) {
    return letter >= 'a' && letter <= 'z' ? letter - 0x20 : letter;
}

/** Puts a text behind the last one. */
static struct text place(uint32_t *next, const uint8_t *bytes, size_t length) {
    const struct text text = {*next, (uint32_t)length};
    lend(text.at, text.length);
    memcpy(memory + text.at, bytes, length);
    *next = (text.at + text.length + 23) & ~7U;
    return text;
}

static uint32_t parse(uint32_t record, struct text address, struct text port, struct text name) {
    instance = fresh;
    return w2c_core_address_parse(&instance, record, address.at, address.length, port.at,
                                  port.length, name.at, name.length);
}

static struct record read_record(uint32_t at) {
    struct record record;
    memcpy(&record, memory + at, sizeof record);
    return record;
}

static const uint8_t *socket_address(uint32_t record) {
    return memory + record + OF_SOCKET_ADDRESS;
}

static uint32_t u32_at(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void check_understood(uint32_t at) {
    const struct record record = read_record(at);
    const uint8_t *bytes = socket_address(at);
    REQUIRE(record.scheme >= UNIX && record.scheme <= QEMU_SESSION, "scheme %u", record.scheme);
    REQUIRE(record.argument == ADDRESS || record.argument == NAME, "argument %u", record.argument);
    if (record.scheme == VSOCK) {
        static const uint8_t family[] = {40, 0, 0, 0};
        REQUIRE(record.length == 12 && memcmp(bytes, family, 4) == 0, "no AF_VSOCK address");
        REQUIRE(u32_at(bytes + 4) == record.port, "the socket address has port %u, the record %u",
                u32_at(bytes + 4), record.port);
        REQUIRE(u32_at(bytes + 8) == record.cid, "the socket address has CID %u, the record %u",
                u32_at(bytes + 8), record.cid);
        REQUIRE(record.cid != UINT32_MAX, "VMADDR_CID_ANY was understood");
    } else if (record.scheme >= MACHINE) {
        const uint32_t length = record.length - 2;
        const uint32_t longest = record.scheme == MACHINE ? MACHINE_MAX_BYTES : DOMAIN_MAX_BYTES;
        REQUIRE(bytes[0] == 0 && bytes[1] == 0, "a name with an address family");
        REQUIRE(length > 0 && length <= longest, "a name of %u bytes", length);
        for (uint32_t i = 2; i < record.length; i++) {
            REQUIRE(bytes[i] >= ' ' && bytes[i] != 0x7f && bytes[i] != '/', "byte %#x in a name",
                    bytes[i]);
            REQUIRE(
                record.scheme != MACHINE || (bytes[i] < 0x80 && strchr("\"\\%", bytes[i]) == NULL),
                "byte %#x in a machine's name", bytes[i]);
        }
    } else {
        const bool is_abstract = record.scheme == UNIX_ABSTRACT;
        const uint32_t longest = is_abstract ? 1 + NAME_MAX_BYTES : PATH_MAX_BYTES;
        REQUIRE(bytes[0] == 3 && bytes[1] == 0, "no AF_UNIX address");
        REQUIRE(record.length > 2U + is_abstract && record.length - 2 <= longest,
                "a socket address of %u bytes", record.length);
        REQUIRE((bytes[2] == 0) == is_abstract, "a name in the place of a path");
        REQUIRE(memchr(bytes + 2 + is_abstract, 0, record.length - 2 - is_abstract) == NULL,
                "a NUL in a path or name");
        REQUIRE(is_abstract || bytes[2] == '/' || (bytes[2] == '.' && bytes[3] == '/'),
                "a path that begins with neither / nor ./");
    }
    REQUIRE(record.port != UINT32_MAX, "VMADDR_PORT_ANY was understood");
}

enum { DECIMAL_MAX = 10 };

/** What snprintf would do, in a tenth of the time: AddressSanitizer looks at its arguments. */
static size_t print_decimal(uint8_t *to, uint32_t number) {
    uint8_t digits[DECIMAL_MAX];
    size_t length = 0;
    do {
        digits[DECIMAL_MAX - ++length] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(to, digits + DECIMAL_MAX - length, length);
    return length;
}

/** An address that means the same, and its port: their lengths. */
static size_t print_address(uint32_t at, uint8_t *to, uint8_t *port, size_t *port_length) {
    static const char *const schemes[] = {
        [UNIX] = "unix/",
        [UNIX_ABSTRACT] = "unix-abstract/",
        [VSOCK] = "vsock/",
        [VSOCK_MUX] = "vsock-mux/",
        [HOST] = ".host",
        [MACHINE] = "machine/",
        [QEMU] = "qemu/",
        [QEMU_SYSTEM] = "qemu:system/",
        [QEMU_SESSION] = "qemu:session/",
    };
    const struct record record = read_record(at);
    const uint8_t *bytes = socket_address(at);
    size_t length = strlen(schemes[record.scheme]);
    memcpy(to, schemes[record.scheme], length);
    // The socket address alone says it.
    const uint32_t number = record.scheme == VSOCK ? u32_at(bytes + 4) : record.port;
    *port_length = print_decimal(port, number);
    if (record.scheme == VSOCK) {
        length += print_decimal(to + length, u32_at(bytes + 8));
    } else if (record.scheme != HOST) {
        const uint32_t skipped = record.scheme == UNIX_ABSTRACT ? 3 : 2;
        memcpy(to + length, bytes + skipped, record.length - skipped);
        length += record.length - skipped;
    }
    return length;
}

static void check_printed(uint32_t next) {
    static uint8_t printed[PATH_MAX_BYTES + 32];
    uint8_t port[DECIMAL_MAX];
    size_t port_length;
    const size_t length = print_address(records[0], printed, port, &port_length);
    const struct text address = place(&next, printed, length);
    const struct text number = place(&next, port, port_length);
    const uint32_t code = parse(records[1], address, number, (struct text){0});
    const struct record first = read_record(records[0]);
    const struct record again = read_record(records[1]);
    REQUIRE(code == DONE, "printed again as %.*s %.*s, it is refused with %u", (int)length, printed,
            (int)port_length, port, code);
    REQUIRE(first.scheme == again.scheme && first.port == again.port &&
                (first.scheme != VSOCK || first.cid == again.cid) && first.length == again.length &&
                memcmp(socket_address(records[0]), socket_address(records[1]), first.length) == 0,
            "printed again as %.*s %.*s, it is another address", (int)length, printed,
            (int)port_length, port);
    take_back(address.at, address.length);
    take_back(number.at, number.length);
}

static void check_refused(uint32_t code, const struct text *arguments) {
    const struct record record = read_record(records[0]);
    REQUIRE(code >= FIRST_FAILURE && code <= LAST_FAILURE, "code %u", code);
    REQUIRE(record.argument <= NAME, "argument %u", record.argument);
    const struct text text = arguments[record.argument];
    REQUIRE(record.offset <= text.length, "offset %u, in an argument of %u bytes", record.offset,
            text.length);
    REQUIRE(
        code != NUL_BYTE || (record.offset < text.length && memory[text.at + record.offset] == 0),
        "no NUL at offset %u", record.offset);
}

/** The same with one of the pointers outside of the memory, or below `heap`. */
static void check_astray(const struct text *arguments, uint8_t how) {
    static uint8_t untouched[PAGE];
    struct text astray[3] = {arguments[0], arguments[1], arguments[2]};
    uint32_t record = records[1];
    const uint32_t size = *w2c_core_address_size(&fresh);
    const uint32_t which = how & 3;
    const uint32_t length = which == 3 ? size : arguments[which].length;
    // Just below `heap`; reaching out by one; at the end of the address space; behind the memory.
    const uint32_t places[] = {heap - 1, PAGE - length + 1, UINT32_MAX, PAGE + 1 + (how >> 4)};
    const uint32_t at = places[how >> 2 & 3];
    if (which == 3)
        record = at;
    else
        astray[which].at = at;
    memcpy(untouched, memory + records[1], size);
    const uint32_t code = parse(record, astray[ADDRESS], astray[PORT], astray[NAME]);
    REQUIRE(code == FAULT, "a pointer outside of the memory, %#x, is answered with %u", at, code);
    REQUIRE(memcmp(untouched, memory + records[1], size) == 0, "Fault, and the record was written");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t address_bytes[TEXT_MAX + PAGE];
    static uint8_t name_bytes[TEXT_MAX + PAGE];
    if (size < HEADER || size > TEXT_MAX) return 0;
    const uint8_t flags = data[0];
    const uint8_t *rest = data + HEADER;
    size_t left = size - HEADER;
    const size_t port_length = flags & HAS_PORT ? (data[1] < left ? data[1] : left) : 0;
    const uint8_t *port_bytes = rest;
    rest += port_length;
    left -= port_length;
    size_t name_length = flags & HAS_NAME ? (data[2] < left ? data[2] : left) : 0;
    memcpy(name_bytes, rest, name_length);
    rest += name_length;
    left -= name_length;

    memcpy(address_bytes, rest, left);
    const size_t wanted = flags & REPEATED ? data[3] + (data[3] < 128 ? 64U : 3968U) : 0;
    if (left > 0 && left < wanted) {
        memset(address_bytes + left, address_bytes[left - 1], wanted - left);
        left = wanted;
    }
    if (flags & HAS_NAME && flags & NAME_IS_ADDRESS) {
        const size_t masks = name_length;
        static uint8_t mask[UINT8_MAX];
        memcpy(mask, name_bytes, masks);
        for (size_t i = 0; i < left; i++) {
            const bool is_capital = i < masks * 8 && (mask[i / 8] >> i % 8 & 1) != 0;
            name_bytes[i] = is_capital ? capital(address_bytes[i]) : address_bytes[i];
        }
        name_length = left;
    }

    uint32_t next = texts;
    struct text arguments[3] = {{0}};
    if (flags & HAS_NAME && flags & NAME_FIRST)
        arguments[NAME] = place(&next, name_bytes, name_length);
    uint32_t at_end = PAGE - (uint32_t)left;
    arguments[ADDRESS] = place(flags & AT_END ? &at_end : &next, address_bytes, left);
    if (flags & HAS_NAME && !(flags & NAME_FIRST))
        arguments[NAME] = place(&next, name_bytes, name_length);
    if (flags & HAS_PORT) arguments[PORT] = place(&next, port_bytes, port_length);

    const uint32_t code = parse(records[0], arguments[ADDRESS], arguments[PORT], arguments[NAME]);
    const struct record record = read_record(records[0]);
    for (int i = 0; explaining && i < 3; i++) {
        static const char *const names[] = {"ADDRESS", "PORT", "NAME"};
        print("%s ", names[i]);
        if (arguments[i].at == 0)
            print("none");
        else
            print_bytes(memory + arguments[i].at, arguments[i].length);
        print("\n");
    }
    EXPLAIN("code %u, scheme %u, port %u, cid %u, argument %u, offset %u\n", code, record.scheme,
            record.port, record.cid, record.argument, record.offset);
    if (code == DONE) {
        EXPLAIN_BYTES(socket_address(records[0]), record.length);
        EXPLAIN("\n");
        check_understood(records[0]);
    } else {
        check_refused(code, arguments);
    }

    memset(memory + records[1], 0xa5, OF_SOCKET_ADDRESS + (code == DONE ? record.length : 0));
    const uint32_t code_again =
        parse(records[1], arguments[ADDRESS], arguments[PORT], arguments[NAME]);
    const struct record again = read_record(records[1]);
    REQUIRE(code_again == code && again.argument == record.argument && again.port == record.port,
            "another outcome the second time: %u, then %u", code, code_again);
    if (code == DONE) {
        REQUIRE(
            again.length == record.length && again.scheme == record.scheme &&
                memcmp(socket_address(records[0]), socket_address(records[1]), record.length) == 0,
            "another socket address the second time");
        check_printed(next);
    } else {
        REQUIRE(again.offset == record.offset, "another offset the second time");
    }
    if (flags & ASTRAY) check_astray(arguments, port_length > 0 ? port_bytes[0] : 0);
    REQUIRE(memcmp(memory, own_data, heap) == 0, "the module's own data has changed");
    for (int i = 0; i < 3; i++)
        take_back(arguments[i].at, arguments[i].length);
    return 0;
}
