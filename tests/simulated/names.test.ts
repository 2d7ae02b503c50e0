// The look-up of a machine's name: which services are asked, what each reply leads to, and the result
// of each reply that is wrong or missing. The replies are cut in many ways (with TEST_ALL=1 at every
// byte). What has to hold of every run is in support/calls.ts and support/outcome.ts.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { Code } from "../../assembly/codes";
import { makeCase, unixTarget, vsockTarget } from "../support/case";
import type { Attempt, Bytes, Case, Lookup, Service, Target } from "../support/case";
import { checkOutcome } from "../support/outcome";
import { all } from "../support/proxy";
import {
  MACHINED,
  UUID,
  call,
  cut,
  domain,
  domainXml,
  failure,
  found,
  libvirt,
  machine,
  machineError,
  machined,
  message,
  noDomain,
  vsockXml,
  xdr,
  xdrString,
} from "../support/services";
import { simulate } from "./world";

const USER = "/run/user/7";
const ofUser = USER + MACHINED;
const ofSystem = `/run${MACHINED}`;
const [direct, other] = ["/run/libvirt/virtqemud-sock-ro", "/run/libvirt/libvirt-sock-ro"];
const [ownDirect, ownOther] = [`${USER}/libvirt/virtqemud-sock`, `${USER}/libvirt/libvirt-sock`];

type Services = Record<string, Service>;
interface Row {
  /** Default: machine/vm. */
  name?: string;
  port?: string;
  /** XDG_RUNTIME_DIR; null for none. Default: USER. */
  variable?: string | null;
  /** The directory of the user's sockets, where it is not the variable. */
  directory?: string | null;
  services: Services;
  target?: Target;
  attempts?: Attempt[];
  /** Default: Done. */
  code?: Code;
}

function caseOf(title: string, row: Row): Case {
  const { name = "machine/vm", port, variable = USER, services, target, attempts, code } = row;
  const { directory = variable } = row;
  const scheme = (/^[\w:]+/.exec(name)?.[0] ?? "") as Lookup["scheme"];
  return makeCase({
    name: title,
    args: ["--timeout=60s", name, ...(port === undefined ? [] : [port])],
    environment: variable === null ? [] : [`XDG_RUNTIME_DIR=${variable}`],
    subject: name,
    lookup: { scheme, ...(directory !== null && { directory }) },
    ...(target && { target }),
    timeoutMs: 60_000,
    code: code ?? Code.Done,
    world: {
      services: Object.fromEntries(Object.entries(services).map(([at, one]) => [at, [one]])),
      ...(attempts && { attempts }),
    },
  });
}

function check(one: Case): void {
  checkOutcome(one, simulate(one.args, one.world, one.environment));
}

/** Ways to cut replies: whole, byte by byte, into two, and with an end of each segment. */
function* cutsOf(services: Services): Generator<number[]> {
  const lengths = Object.values(services).flatMap(({ exchange = [] }) =>
    exchange.map(([, reply]) => reply.reduce((sum, part) => sum + Buffer.byteLength(part), 0)),
  );
  const longest = Math.max(0, ...lengths);
  if (longest > 2000) return;
  yield [1];
  for (let at = 2; at < longest; at += all ? 1 : 7) yield [at, longest];
}

function rows(title: string, table: Record<string, Row>): void {
  describe(title, () => {
    for (const [name, row] of Object.entries(table)) {
      it(name, () => {
        check(caseOf(name, row));
        for (const lengths of cutsOf(row.services)) {
          const entries = Object.entries(row.services);
          const services = Object.fromEntries(
            entries.map(([at, one]) => [at, cut(one, ...lengths)]),
          );
          try {
            check(caseOf(name, { ...row, services }));
          } catch (error) {
            throw new Error(`cut at ${lengths.join()}: ${String(error)}`, { cause: error });
          }
        }
      });
    }
  });
}

// ---- systemd-machined

const vm = { name: "vm", class: "vm", service: "systemd-vmspawn" };
const unknown = machineError("io.systemd.Machine.NoSuchMachine");
const forbidden = machineError("org.varlink.service.PermissionDenied");
const cid7 = machined("vm", machine({ ...vm, vSockCid: 7 }));
const cid8 = machined("vm", machine({ ...vm, vSockCid: 8 }));
const no = machined("vm", unknown, { code: Code.NoSuchMachine });
const denied = machined("vm", forbidden, { code: Code.LookupDenied });
const [at7, at8] = [7, 8].map((cid) => vsockTarget(cid, 22)) as [Target, Target];
const connect = (error: string): Service => ({ connect: error });

rows("machine/NAME asks the user's machined, then the system's", {
  "the user's has it": { services: { [ofUser]: cid7, [ofSystem]: cid8 }, target: at7 },
  "the user's is missing": { services: { [ofSystem]: cid8 }, target: at8 },
  "a part of its path is a file": {
    services: { [ofUser]: connect("NOTDIR"), [ofSystem]: cid8 },
    target: at8,
  },
  "the user's does not listen": {
    services: { [ofUser]: connect("CONNREFUSED"), [ofSystem]: cid8 },
    target: at8,
  },
  "the user's may not be asked": {
    services: { [ofUser]: connect("ACCES"), [ofSystem]: cid8 },
    target: at8,
  },
  "the user's does not know it": { services: { [ofUser]: no, [ofSystem]: cid8 }, target: at8 },
  "the user's does not tell": { services: { [ofUser]: denied, [ofSystem]: cid8 }, target: at8 },
  "neither knows it": { services: { [ofUser]: no, [ofSystem]: no }, code: Code.NoSuchMachine },
  "neither is there": { services: {}, code: Code.NoService },
  "one is missing, one does not listen": {
    services: { [ofSystem]: connect("CONNREFUSED") },
    code: Code.ServiceRefused,
  },
  "one may not be asked, one is missing": {
    services: { [ofUser]: connect("PERM") },
    code: Code.LookupDenied,
  },
  "one does not know it, one may not be asked": {
    services: { [ofUser]: no, [ofSystem]: connect("ACCES") },
    code: Code.NoSuchMachine,
  },
  "the user's is no socket": {
    services: { [ofUser]: { connect: "NOTSOCK", code: Code.NotSocket } },
    code: Code.NotSocket,
  },
  "with a port": { port: "2222", services: { [ofUser]: cid7 }, target: vsockTarget(7, 2222) },
  "as machine%NAME, with capitals": {
    name: "machine%VM-1.a_b",
    services: { [ofUser]: machined("VM-1.a_b", machine({ ...vm, vSockCid: 7 })) },
    target: at7,
  },
});

const [long, tooLong] = [3967, 3968].map((size) => `/${"d".repeat(size - 1)}`) as [string, string];
rows("XDG_RUNTIME_DIR", {
  "is not set": { variable: null, services: { [ofSystem]: cid8 }, target: at8 },
  "is empty": { variable: "", directory: null, services: { [ofSystem]: cid8 }, target: at8 },
  "is relative": {
    variable: "run",
    directory: null,
    services: { [`run${MACHINED}`]: cid7, [ofSystem]: cid8 },
    target: at8,
  },
  "begins like a relative path": {
    variable: "/./a%b",
    services: { [`/./a%b${MACHINED}`]: cid7 },
    target: at7,
  },
  "is as long as it may be": { variable: long, services: { [long + MACHINED]: cid7 }, target: at7 },
  "is too long": {
    variable: tooLong,
    directory: null,
    services: { [tooLong + MACHINED]: cid7, [ofSystem]: cid8 },
    target: at8,
  },
});

/** The system's machined alone, which replies with these parameters. */
const replies = (parameters: object, what: Partial<Service> = {}): Services => ({
  [ofSystem]: machined("vm", machine(parameters), what),
});
const addressed = (sshAddress: unknown, what?: Partial<Service>): Services =>
  replies({ class: "vm", service: "x", sshAddress }, what);
/** An address that is not taken. */
const refused = (sshAddress: string, detail = sshAddress): Row => ({
  services: addressed(sshAddress, { code: Code.OtherAddress, detail }),
  code: Code.OtherAddress,
});
const container = { class: "container", service: "systemd-nspawn" };
const exported = (directory: string): Target => ({
  ...unixTarget("unix", `${directory}/systemd/nspawn/vm/unix-export/ssh`),
  older: unixTarget("unix", `${directory}/systemd/nspawn/unix-export/vm/ssh`).address,
});
const missing: Attempt = { connect: "NOENT" };

rows("a machine is reached", {
  "by its CID before its address": {
    services: replies({ ...vm, sshAddress: "vsock/9", vSockCid: 7 }),
    target: at7,
  },
  "by the largest CID": {
    services: replies({ ...vm, vSockCid: 4294967294 }),
    target: vsockTarget(4294967294, 22),
  },
  "by unix/": { services: addressed("unix/run/vm"), target: unixTarget("unix", "/run/vm") },
  "by vsock/": { services: addressed("vsock/7"), target: at7 },
  "by vsock-mux/": {
    port: "80",
    services: addressed("vsock-mux/run/vm"),
    target: { ...unixTarget("vsock-mux", "/run/vm"), port: 80 },
    attempts: [{ reply: ["OK 1\n"] }],
  },
  "by vsock-mux/ that closes, after a service that takes its time": {
    services: addressed("vsock-mux/run/vm", { takes: 1000 }),
    target: { ...unixTarget("vsock-mux", "/run/vm"), port: 22 },
    attempts: [{ end: "eof" }],
    code: Code.EndOfFile,
  },
  "by vsock-mux/ that takes its time and closes": {
    services: addressed("vsock-mux/run/vm"),
    target: { ...unixTarget("vsock-mux", "/run/vm"), port: 22 },
    attempts: [{ takes: 1000, end: "eof" }],
    code: Code.EndOfFileAfterWait,
  },
  "by its address where its CID is none": {
    services: replies({ ...vm, vSockCid: 4294967295, sshAddress: "vsock/8" }),
    target: at8,
  },
  "not by machine/": refused("machine/other"),
  "not by qemu/": refused("qemu/other"),
  "not by .host": refused(".host"),
  "not by unix-abstract/": refused("unix-abstract/x"),
  "not by a path in the working directory": refused("unix/./vm"),
  "not by a multiplexer in the working directory": refused("vsock-mux%.%vm"),
  "not by an IP address": refused("192.0.2.1"),
  "not by vsock/ without a CID": refused("vsock/"),
  "not by bytes that act on a terminal": refused("\x1b[2J\u0000", "\\x1b[2J\\x00"),
  "by no CID and no address": {
    services: replies(vm, { code: Code.NoCid }),
    code: Code.NoCid,
  },
  "by an empty address and null": {
    services: replies({ ...vm, sshAddress: "", vSockCid: null }, { code: Code.NoCid }),
    code: Code.NoCid,
  },
  "through libvirt": {
    services: replies({ class: "vm", service: "libvirt-qemu" }, { code: Code.UseLibvirt }),
    code: Code.UseLibvirt,
  },
  "in no known way in another's container": {
    services: replies(
      { class: "container", service: "do\u001b" },
      { code: Code.UnknownClass, detail: "do\\x1b" },
    ),
    code: Code.UnknownClass,
  },
  "in no known way in another class": {
    services: replies({ class: "host", vSockCid: 1 }, { code: Code.UnknownClass, detail: "host" }),
    code: Code.UnknownClass,
  },
  "as a container": { services: replies(container), target: exported("/run") },
  "as a container of the user": {
    services: { [ofUser]: machined("vm", machine(container)) },
    target: exported(USER),
  },
  "as a container, at the older place": {
    services: replies(container),
    target: exported("/run"),
    attempts: [missing, {}],
  },
  "as a container, at neither place": {
    services: replies(container),
    target: exported("/run"),
    attempts: [missing, { connect: "NOTDIR" }],
    code: Code.NoContainerSocket,
  },
  "as a container that does not listen": {
    services: replies(container),
    target: exported("/run"),
    attempts: [missing, { connect: "CONNREFUSED" }],
    code: Code.Refused,
  },
  "and is gone": {
    services: { [ofSystem]: cid7 },
    target: at7,
    attempts: [{ connect: "NODEV" }],
    code: Code.NoMachine,
  },
  "and does not answer": {
    services: { [ofSystem]: cid7 },
    target: at7,
    attempts: [{ takes: "deadline" }],
    code: Code.NoAnswer,
  },
});

/** A reply that is wrong at a byte: the first that cannot follow, or that ends a wrong value. */
const bad = (reply: object | string, at: number): Row => ({
  services: { [ofSystem]: machined("vm", reply, { code: Code.BadReply, detail: `${at}` }) },
  code: Code.BadReply,
});
const error = (name: string, code: Code, parameters = {}): Row => ({
  services: {
    [ofSystem]: machined("vm", machineError(name, parameters), {
      code,
      ...(code === Code.ServiceError && { detail: name }),
    }),
  },
  code,
});
const kept = (member: string): string => `{"parameters":{"class":"vm",${member}}}\0`;

rows("machined's reply", {
  "has spaces, other members, and more behind its NUL": {
    services: {
      [ofSystem]: machined(
        "vm",
        `\t{ "x" : [ { "class" : 1 } ] ,\n"parameters": {"leader":{"pid":1},"class":"v\\u006d", "vSockCid" : 7 } }\0{`,
      ),
    },
    target: at7,
  },
  "has continues:false": {
    services: {
      [ofSystem]: machined("vm", { ...machine({ ...vm, vSockCid: 7 }), continues: false }),
    },
    target: at7,
  },
  "is no JSON": bad("x\0", 0),
  "is an array": bad("[]\0", 0),
  "is a NUL": bad("\0", 0),
  "ends early": bad('{"parameters":{\0', 15),
  "has no class": bad('{"parameters":{}}\0', 17),
  "has no parameters": bad("{}\0", 2),
  "has continues:true": bad('{"continues":true}\0', 16),
  "has a CID in quotes": bad(kept('"vSockCid":"7"'), 41),
  "has a negative CID": bad(kept('"vSockCid":-7'), 41),
  "has a CID of 33 bits": bad(kept('"vSockCid":4294967296'), 49),
  "has a fractional CID": bad(kept('"vSockCid":7.0'), 42),
  "has two CIDs": bad(kept('"vSockCid":7,"vSockCid":7'), 50),
  "has an address of 256 bytes": bad(kept(`"sshAddress":"unix/${"x".repeat(251)}"`), 298),
  "is 65536 bytes long": {
    services: {
      [ofSystem]: machined("vm", kept(`"vSockCid":7,"x":"${"x".repeat(65536 - 50)}"`)),
    },
    target: at7,
  },
  "is longer": {
    services: {
      [ofSystem]: machined("vm", kept(`"vSockCid":7,"x":"${"x".repeat(65537 - 50)}"`), {
        code: Code.ReplyTooLong,
      }),
    },
    code: Code.ReplyTooLong,
  },
  "is an error of its own": error("org.varlink.service.InvalidParameter", Code.ServiceError),
  "is a system error": error("io.systemd.System", Code.ServiceError, { errno: 5 }),
  "is EACCES": error("io.systemd.System", Code.LookupDenied, { errno: 13 }),
  "asks for a password": error("io.systemd.InteractiveAuthenticationRequired", Code.LookupDenied),
});

const fromSystem = (service: Service): Services => ({ [ofSystem]: service });
const asked = (reply: string, rest: Service): Services => fromSystem(machined("vm", reply, rest));
rows("a service that", {
  "does not accept": {
    services: fromSystem({ takes: "deadline" }),
    code: Code.LookupTimeout,
  },
  "does not reply": { services: asked("", {}), code: Code.LookupTimeout },
  "stops within its reply": { services: asked('{"par', {}), code: Code.LookupTimeout },
  "closes in place of a reply": {
    services: asked("", { end: "eof" }),
    code: Code.EndWithinReply,
  },
  "closes within its reply": {
    services: asked('{"par', { end: "eof" }),
    code: Code.EndWithinReply,
  },
  "resets the connection": {
    services: asked("", { drops: "unread" }),
    code: Code.EndWithinReply,
  },
  "has gone before the request": {
    services: asked("", { drops: "before-request" }),
    code: Code.EndWithinReply,
  },
});

// ---- libvirt

/** A domain that is known at a socket. */
const known = (cid: number, scope: "system" | "session" = "system"): Service =>
  libvirt(found(scope, "vm", vsockXml(cid)));
const noVm = (scope: "system" | "session" = "system"): Service =>
  libvirt([call.open(scope), call.byName("vm", noDomain)], { code: Code.NoSuchDomain });
const qemu = (services: Services, what: Partial<Row> = {}): Row => ({
  name: "qemu/vm",
  services,
  ...what,
});

rows("qemu/NAME asks the system's libvirt, then the user's", {
  "at the direct socket": qemu({ [direct]: known(7), [other]: known(8) }, { target: at7 }),
  "at the other": qemu({ [other]: known(8) }, { target: at8 }),
  "and not at the other where the direct one does not listen": qemu(
    { [direct]: connect("CONNREFUSED"), [other]: known(8), [ownDirect]: known(7, "session") },
    { target: at7 },
  ),
  "and not at the other where the direct one does not know it": qemu(
    { [direct]: noVm(), [other]: known(8), [ownOther]: known(7, "session") },
    { target: at7 },
  ),
  "the user's direct socket": qemu({ [ownDirect]: known(7, "session") }, { target: at7 }),
  nowhere: qemu({}, { code: Code.NoService }),
  "neither knows it": qemu(
    { [other]: noVm(), [ownOther]: noVm("session") },
    { code: Code.NoSuchDomain },
  ),
  "without XDG_RUNTIME_DIR": qemu({}, { variable: null, code: Code.NoService }),
  "only the system's for qemu:system/": qemu(
    { [ownDirect]: known(7, "session") },
    { name: "qemu:system/vm", code: Code.NoService },
  ),
  "only the user's for qemu:session/": qemu(
    { [direct]: known(7), [ownOther]: known(8, "session") },
    { name: "qemu:session/vm", target: at8 },
  ),
  "which is nowhere without XDG_RUNTIME_DIR": qemu(
    { [direct]: known(7) },
    { name: "qemu:session/vm", variable: null, code: Code.NoRuntimeDirectory },
  ),
});

const uuid = UUID.toString("hex");
const dashed = uuid.replace(/^(.{8})(....)(....)(....)/, "$1-$2-$3-$4-");
const byUuid = (name: string): Row => ({
  name: `qemu/${name}`,
  services: {
    [direct]: libvirt([
      call.open("system"),
      call.byName(name, noDomain),
      call.byUuid({ reply: domain("vm", 1) }),
      call.xml(name, 1, vsockXml(7)),
    ]),
  },
  target: at7,
});
const denies = { error: failure(39, "authentication required") };
const open = call.open("system");
const locked = call.open("system", denies);
const lookUp = [call.byName("vm", { reply: domain("vm", 1) }), call.xml("vm", 1, vsockXml(7))];
const fails = (calls: Parameters<typeof libvirt>[0], code: Code, detail?: string): Row =>
  qemu(
    { [direct]: libvirt(calls, { code, ...(detail !== undefined && { detail }) }) },
    { name: "qemu:system/vm", code },
  );
const withXml = (text: string, code: Code, detail?: string): Row =>
  fails(found("system", "vm", text), code, detail);

rows("libvirt", {
  "finds a domain by UUID": byUuid(uuid),
  "finds a domain by UUID with dashes": byUuid(dashed),
  "finds a domain by ID": {
    name: "qemu/4",
    services: {
      [direct]: libvirt([
        open,
        call.byName("4", noDomain),
        call.byId(4, { reply: domain("vm", 4) }),
        call.xml("4", 4, vsockXml(7)),
      ]),
    },
    target: at7,
  },
  "finds a domain with any name": {
    name: "qemu/My Vm\u00e4%",
    services: { [direct]: libvirt(found("system", "My Vm\u00e4%", vsockXml(7))) },
    target: at7,
  },
  "is asked again after polkit": qemu(
    { [direct]: libvirt([locked, call.list(2), call.polkit(), open, ...lookUp]) },
    { target: at7 },
  ),
  "is asked again where it asks nothing of this user": qemu(
    { [direct]: libvirt([locked, call.list(0), open, ...lookUp]) },
    { target: at7 },
  ),
  "offers no way to authenticate that is known": fails(
    [locked, call.list(1)],
    Code.ServiceError,
    "authentication required",
  ),
  "is denied by polkit": fails(
    [locked, call.list(2), call.polkit({ error: failure(45, "denied") })],
    Code.LookupDenied,
  ),
  "wants authentication after polkit": fails(
    [locked, call.list(2), call.polkit(), locked],
    Code.ServiceError,
    "authentication required",
  ),
  "forbids the look-up": fails(
    [open, call.byName("vm", { error: failure(88, "access denied") })],
    Code.LookupDenied,
  ),
  "fails, and says why": fails(
    [open, call.byName("vm", { error: failure(38, "no\x1b bus") })],
    Code.ServiceError,
    "no\\x1b bus",
  ),
  "fails without a text": fails(
    [open, call.byName("vm", { error: xdr(38, 7, 0, ...Array<number>(8).fill(0)) })],
    Code.ServiceError,
    "''",
  ),
  "has a domain that is off": fails(
    [open, call.byName("vm", { reply: domain("vm", -1) })],
    Code.DomainOff,
  ),
  "has a domain without a vsock device": withXml(domainXml("<disk/>"), Code.NoVsockDevice),
  "has a domain whose CID is not chosen yet": withXml(
    domainXml("<vsock><cid auto='yes'/></vsock>"),
    Code.NoCidYet,
  ),
  "has a domain of another's elements": qemu(
    {
      [direct]: libvirt(
        found(
          "system",
          "vm",
          vsockXml(7).replace("<name>", "<metadata><cid address='9'/></metadata><name>"),
        ),
      ),
    },
    { target: at7 },
  ),
  "has a CID that is no number": withXml(
    domainXml("<vsock><cid address='x'/></vsock>"),
    Code.BadReply,
    "217",
  ),
  "has XML that ends early": withXml("<domain>", Code.BadReply, "123"),
  "does not reply to LOOKUP": fails([open, { ...call.byName("vm", {}) }], Code.LookupTimeout),
});

/** The reply to OPEN is these bytes. */
const opened = (bytes: Buffer, code: Code, detail?: number): Row => {
  const [exchange] = libvirt([open]).exchange ?? [];
  const [request = ""] = exchange ?? [];
  const rest = detail === undefined ? {} : { detail: `${detail}` };
  return qemu(
    { [direct]: { exchange: [[request, [bytes]]], code, ...rest } },
    { name: "qemu:system/vm", code },
  );
};
const header = (...words: number[]): Buffer => xdr(...words, 1, 0);
const event = message({ procedure: 318, serial: 0, type: 2 }, Buffer.alloc(40));

/** The usual exchange, with more bytes around each reply. */
function surrounded(before: Buffer, after: Buffer): Service {
  const { exchange = [] } = known(7);
  const more = exchange.map(([request, [reply]], i): [typeof request, Buffer[]] => [
    request,
    [Buffer.concat([before, reply as Buffer, i < 2 ? after : Buffer.of()])],
  ]);
  return { exchange: more };
}

rows("libvirt's message", {
  "is shorter than its header": opened(header(27, 0x20008086, 1, 1, 1), Code.BadReply, 3),
  "is 4 GiB long": opened(header(0xffff_ffff, 0x20008086, 1, 1, 1), Code.BadReply, 3),
  "is of another program": opened(header(28, 0x20008087, 1, 1, 1), Code.BadReply, 7),
  "has another serial": opened(xdr(28, 0x20008086, 1, 1, 1, 2, 0), Code.BadReply, 23),
  "is a call": opened(xdr(28, 0x20008086, 1, 1, 0, 1, 0), Code.BadReply, 19),
  "has more than it should": opened(xdr(32, 0x20008086, 1, 1, 1, 1, 0, 0), Code.BadReply, 31),
  "comes behind events": qemu(
    { [direct]: surrounded(Buffer.concat([event, event]), Buffer.of()) },
    { target: at7 },
  ),
  "comes before events": qemu({ [direct]: surrounded(Buffer.of(), event) }, { target: at7 }),
  "comes before a part of an event": qemu(
    { [direct]: surrounded(event.subarray(30), event.subarray(0, 30)) },
    { services: { [direct]: libvirtWithSplitEvent() }, target: at7 },
  ),
  "has a domain with a name that is too long": fails(
    [open, call.byName("vm", { reply: xdr(0xffff_fff0, xdrString("vm"), 0, 0) })],
    Code.BadReply,
    `${28 + 28 + 3}`,
  ),
});

/** Where a segment ends within an event. */
function libvirtWithSplitEvent(): Service {
  const { exchange = [] } = known(7);
  const replies = exchange.map(([, [reply]]) => reply as Buffer);
  const [first, second, third] = replies as [Buffer, Buffer, Buffer];
  const parts = [
    Buffer.concat([first, event.subarray(0, 30)]),
    Buffer.concat([event.subarray(30), second, event.subarray(0, 5)]),
    Buffer.concat([event.subarray(5), third]),
  ];
  return { exchange: exchange.map(([request], i) => [request, [parts[i] as Buffer]]) };
}

// ---- a service that is hostile

/** A case of one service with a deadline of 500 ms. */
const against = (name: string, service: Service, code: Code): Case => {
  const at = name.startsWith("machine") ? ofSystem : direct;
  const one = caseOf(name, { name, services: { [at]: service }, variable: null, code });
  return { ...one, timeoutMs: 500, args: ["--timeout=500ms", name] };
};

describe("a hostile service takes the time until the deadline, and no more", () => {
  const [request = ""] = libvirt([open]).exchange?.[0] ?? [];
  const large = message({ procedure: 318, serial: 0, type: 2 }, Buffer.alloc(3000));
  it("with events without an end", () => {
    const service: Service = { exchange: [[request, Array<Bytes>(1000).fill(large)]] };
    check(against("qemu:system/vm", service, Code.LookupTimeout));
  });
  it("with an event that comes byte by byte", () => {
    const service: Service = { exchange: [[request, [large]]] };
    check(against("qemu:system/vm", cut(service, 1), Code.LookupTimeout));
  });
  it("with one object of a megabyte", () => {
    const service = machined("vm", `{"x":"${"x".repeat(1_000_000)}`, { code: Code.ReplyTooLong });
    check(against("machine/vm", service, Code.ReplyTooLong));
  });
  it("with arrays of a depth of 1,000,000", () => {
    const what = { code: Code.BadReply, detail: `${5 + 15}` };
    const service = machined("vm", `{"x":${"[".repeat(1_000_000)}`, what);
    check(against("machine/vm", service, Code.BadReply));
  });
  it("with silence, or the end, at each byte", () => {
    const two: [string, Service][] = [
      ["machine/vm", cid7],
      ["qemu:system/vm", known(7)],
    ];
    for (const [name, { exchange = [] }] of two) {
      exchange.forEach(([request, [reply = ""]], i) => {
        const before = exchange.slice(0, i);
        for (let length = 0; length < Buffer.byteLength(reply); length++) {
          // The scanner stops at the CID.
          const part = Buffer.from(reply as string).subarray(0, length);
          if (part.includes("address='7'")) break;
          const pieces = length === 0 ? [] : [part];
          const service = { exchange: [...before, [request, pieces] as const] };
          check(against(name, service, Code.LookupTimeout));
          check(against(name, { ...service, end: "eof" }, Code.EndWithinReply));
        }
      });
    }
  });
});

// ---- what is said

const linesOf = (args: string[], services: Services, attempts?: Attempt[]): string[] => {
  const entries = Object.entries(services).map(([at, one]) => [at, [one]]);
  const world = { services: Object.fromEntries(entries) as Record<string, Service[]> };
  const outcome = simulate(args, { ...world, ...(attempts && { attempts }) }, [
    `XDG_RUNTIME_DIR=${USER}`,
  ]);
  return outcome.stderr
    .toString()
    .trimEnd()
    .split("\n")
    .map((line) => line.replace(/^ssh-vsock-proxy: /, "").replace(/\d+\.\d{3} ms: /, ""));
};

describe("what is said of a look-up", () => {
  it("with -v: what was asked, what came back, which socket was chosen", () => {
    assert.deepEqual(linesOf(["-v", "machine/vm", "80"], { [ofUser]: no, [ofSystem]: cid7 }), [
      "machine/vm: connecting, for at most 5000.000 ms",
      `machine/vm at ${ofUser}: connected, and asked the service for the machine's address`,
      `machine/vm at ${ofUser}: no such machine: systemd-machined has none of that name (is it running? see machinectl list)`,
      `machine/vm at ${ofSystem}: connected, and asked the service for the machine's address`,
      "machine/vm at vsock/7 port 80: the service answered with this address",
      "machine/vm at vsock/7 port 80: connected",
      "machine/vm at vsock/7 port 80: handed the connection over to ssh",
    ]);
  });
  it("where no service knows the name", () => {
    assert.deepEqual(linesOf(["qemu/vm"], { [direct]: noVm() }), [
      `qemu/vm: no such domain: libvirt has none of that name, UUID or ID (see virsh list --all); asked ${direct} (not known there), ${ownDirect} (missing), ${ownOther} (missing); if it has capitals, ssh keeps them in the form qemu%VM`,
    ]);
  });
  it("where the machine is not reached", () => {
    assert.deepEqual(linesOf(["machine/vm"], { [ofSystem]: cid7 }, [{ connect: "CONNRESET" }]), [
      "machine/vm at vsock/7 port 22: connection reset: the machine is up, but nothing listens there (is sshd running in it?)",
    ]);
  });
});

it("--wait looks the name up anew in each attempt", () => {
  const world = {
    services: { [ofSystem]: [cid7, cid8] },
    attempts: [{ connect: "NODEV" }, {}],
  };
  const outcome = simulate(["--wait=2s", "machine/vm"], world);
  const addresses = outcome.calls
    .filter(({ name }) => name === "sock_connect")
    .map(({ bytes = Buffer.of() }) => (bytes[0] === 40 ? bytes.readUInt32LE(8) : "service"));
  assert.equal(outcome.exit, 0);
  assert.deepEqual(addresses, ["service", 7, "service", 8]);
});

// ---- without a look-up

describe("a name that is not one", () => {
  for (const name of ["machine/", "machine/../x", "machine/a%b", "machine/a b", "qemu/a\nb"]) {
    it(`${JSON.stringify(name)} asks no service`, () => {
      const outcome = simulate([name], {}, [`XDG_RUNTIME_DIR=${USER}`]);
      assert.equal(outcome.exit, 64);
      assert.ok(!outcome.calls.some(({ name: of }) => of.startsWith("sock_open")));
    });
  }
  it("machine/.host is .host", () => {
    const outcome = simulate(["machine/.host"], {}, [`XDG_RUNTIME_DIR=${USER}`]);
    assert.equal(outcome.exit, 0);
    assert.equal(outcome.connections.length, 1);
  });
});
