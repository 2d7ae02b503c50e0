#define _GNU_SOURCE
#include "services.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../tests/support/proxy-command.h"

// ---- varlink: a reply of systemd 257 and newer, ended by a zero byte

static const char machine[] =
    "{\"parameters\":{\"name\":\"machine\",\"id\":\"3f0a1b2c3d4e5f60718293a4b5c6d7e8\","
    "\"class\":\"container\",\"service\":\"systemd-nspawn\","
    "\"rootDirectory\":\"/var/lib/machines/machine\",\"unit\":\"machine-machine.scope\","
    "\"leader\":{\"pid\":4242,\"pidfdId\":4847,\"bootId\":\"5425010f93d442e685ec7e8288d01e89\"},"
    "\"timestamp\":{\"realtime\":1795853761595724,\"monotonic\":64179005}}}";

void serve_machined(int fd) {
    char request[4096];
    bool answered = false;
    ssize_t length;
    while ((length = read(fd, request, sizeof request)) > 0) {
        if (answered || request[length - 1] != 0) continue;
        answered = true;
        // Where this fails, the run has no machine.
        send(fd, machine, sizeof machine, MSG_NOSIGNAL);
    }
}

// ---- libvirt's RPC (virnetprotocol.x, remote_protocol.x): big-endian words of 4 bytes

enum {
    OPEN = 1,
    CLOSE = 2,
    GET_XML_DESC = 14,
    LOOKUP_BY_NAME = 23,
    SUPPORTS_FEATURE = 60,
    AUTH_LIST = 66,
    DOMAIN_IS_ACTIVE = 150
};
enum { LENGTH, PROGRAM, VERSION, PROCEDURE, TYPE, SERIAL, STATUS, HEADER_WORDS };
enum { UUID_BYTES = 16, MOST_BYTES = 8192 };

// As `virsh dumpxml` prints a small domain.
static const char domain[] =
    "<domain type='qemu' id='1'>\n"
    "  <name>machine</name>\n"
    "  <uuid>1757baac-d7fd-4bbf-afa5-12808ea7b622</uuid>\n"
    "  <memory unit='KiB'>65536</memory>\n"
    "  <currentMemory unit='KiB'>65536</currentMemory>\n"
    "  <vcpu placement='static'>1</vcpu>\n"
    "  <os>\n"
    "    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>\n"
    "    <boot dev='hd'/>\n"
    "  </os>\n"
    "  <cpu mode='custom' match='exact' check='none'>\n"
    "    <model fallback='forbid'>qemu64</model>\n"
    "  </cpu>\n"
    "  <clock offset='utc'/>\n"
    "  <on_poweroff>destroy</on_poweroff>\n"
    "  <on_reboot>restart</on_reboot>\n"
    "  <on_crash>destroy</on_crash>\n"
    "  <devices>\n"
    "    <emulator>/usr/bin/qemu-system-x86_64</emulator>\n"
    "    <controller type='usb' index='0' model='piix3-uhci'>\n"
    "      <alias name='usb'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/>\n"
    "    </controller>\n"
    "    <controller type='pci' index='0' model='pci-root'>\n"
    "      <alias name='pci.0'/>\n"
    "    </controller>\n"
    "    <input type='mouse' bus='ps2'/>\n"
    "    <input type='keyboard' bus='ps2'/>\n"
    "    <audio id='1' type='none'/>\n"
    "    <memballoon model='virtio'>\n"
    "      <alias name='balloon0'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/>\n"
    "    </memballoon>\n"
    "    <vsock model='virtio'>\n"
    "      <cid auto='no' address='77'/>\n"
    "      <alias name='vsock0'/>\n"
    "      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>\n"
    "    </vsock>\n"
    "  </devices>\n"
    "</domain>\n";

struct rpc {
    union {
        uint32_t words[HEADER_WORDS];
        uint8_t bytes[MOST_BYTES];
    };
    size_t length;
};

static void put(struct rpc *message, const void *bytes, size_t length) {
    if (message->length + length > MOST_BYTES)
        fail("libvirt: a message of more than %d bytes", MOST_BYTES);
    memcpy(message->bytes + message->length, bytes, length);
    message->length += length;
}

static void put_number(struct rpc *message, uint32_t number) {
    number = htonl(number);
    put(message, &number, sizeof number);
}

static void put_string(struct rpc *message, const char *text, size_t length) {
    static const char zeros[4];
    put_number(message, (uint32_t)length);
    put(message, text, length);
    put(message, zeros, -length & 3);
}

static void answer(int fd, const struct rpc *call) {
    struct rpc reply = {.length = 0};
    uint32_t procedure = ntohl(call->words[PROCEDURE]);
    static const uint8_t uuid[UUID_BYTES] = {0x17, 0x57, 0xba, 0xac};
    put(&reply, call->words, sizeof call->words);
    switch (procedure) {
        case OPEN:
        case CLOSE:
            break;
        case SUPPORTS_FEATURE:
            put_number(&reply, 0);
            break;
        case DOMAIN_IS_ACTIVE:
            put_number(&reply, 1);
            break;
        case AUTH_LIST:
            // One way: none.
            put_number(&reply, 1);
            put_number(&reply, 0);
            break;
        case LOOKUP_BY_NAME:
            // The name, as it was asked for.
            put(&reply, call->bytes + sizeof call->words, call->length - sizeof call->words);
            put(&reply, uuid, sizeof uuid);
            put_number(&reply, 1);
            break;
        case GET_XML_DESC:
            put_string(&reply, domain, sizeof domain - 1);
            break;
        default:
            errno = 0;
            fail("libvirt: procedure %u is called", procedure);
    }
    reply.words[LENGTH] = htonl((uint32_t)reply.length);
    reply.words[TYPE] = htonl(1);
    send(fd, reply.bytes, reply.length, MSG_NOSIGNAL);
}

/** False at the end. */
static bool read_all(int fd, void *bytes, size_t length) {
    return length == 0 || recv(fd, bytes, length, MSG_WAITALL) == (ssize_t)length;
}

void serve_libvirt(int fd) {
    struct rpc call;
    while (read_all(fd, call.bytes, sizeof call.words)) {
        call.length = ntohl(call.words[LENGTH]);
        errno = 0;
        if (call.length < sizeof call.words || call.length > MOST_BYTES)
            fail("libvirt: a length of %zu", call.length);
        if (!read_all(fd, call.bytes + sizeof call.words, call.length - sizeof call.words)) return;
        answer(fd, &call);
    }
}
