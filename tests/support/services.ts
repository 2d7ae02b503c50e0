// What the services that know machines are asked and reply: systemd-machined by varlink, libvirt by its
// remote procedure calls (assembly/names has the protocols).

import type { Bytes, Lookup, Service } from "./case";

/** Below /run, or the user's runtime directory. */
export const MACHINED = "/systemd/machine/io.systemd.Machine";
const SYSTEM = ["/libvirt/virtqemud-sock-ro", "/libvirt/libvirt-sock-ro"];
const SESSION = ["/libvirt/virtqemud-sock", "/libvirt/libvirt-sock"];

/**
 * The sockets of a name's services, in the order in which they are asked. Each service has one or two;
 * the second is for where nothing is at the first.
 */
export function socketsOf({ scheme, directory }: Lookup): string[][] {
  const system = scheme === "machine" ? [MACHINED] : scheme === "qemu:session" ? [] : SYSTEM;
  const session = scheme === "machine" ? [MACHINED] : scheme === "qemu:system" ? [] : SESSION;
  const ofSystem = system.map((path) => `/run${path}`);
  const ofUser = directory === undefined ? [] : session.map((path) => directory + path);
  return scheme === "machine" ? [ofUser, ofSystem] : [ofSystem, ofUser];
}

// ---- systemd-machined

export const machineRequest = (name: string): string =>
  `{"method":"io.systemd.Machine.List","parameters":{"name":"${name}"}}\0`;

/** A service that is asked for a machine, and replies with one object. */
export function machined(name: string, reply: object | string, rest: Service = {}): Service {
  const text = typeof reply === "string" ? reply : `${JSON.stringify(reply)}\0`;
  return { exchange: [[machineRequest(name), text === "" ? [] : [text]]], ...rest };
}

export const machine = (parameters: object): object => ({ parameters });
export const machineError = (error: string, parameters = {}): object => ({ error, parameters });

// ---- libvirt

export const Procedure = {
  open: 1,
  xml: 14,
  byId: 22,
  byName: 23,
  byUuid: 24,
  list: 66,
  polkit: 70,
};

/** Big-endian words, and bytes as they are. */
export function xdr(...values: (number | Buffer)[]): Buffer {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value >>> 0);
    return bytes;
  };
  return Buffer.concat(values.map((value) => (typeof value === "number" ? word(value) : value)));
}

/** A string, with its length and its padding. */
export function xdrString(text: Bytes): Buffer {
  const bytes = Buffer.from(text as string);
  return xdr(bytes.length, bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4));
}

/** A message. `type` is 0 for a call, 1 for a reply, 2 for an event; `status` 1 is an error. */
export function message(
  what: { procedure: number; serial: number; type: number; status?: number },
  payload: Buffer = Buffer.of(),
): Buffer {
  const { procedure, serial, type, status = 0 } = what;
  return xdr(28 + payload.length, 0x20008086, 1, procedure, type, serial, status, payload);
}

/** An error's payload. */
export const failure = (code: number, text: string): Buffer =>
  xdr(code, 10, 1, xdrString(text), 2, ...Array<number>(7).fill(0));

export const UUID = Buffer.from("6695eb01f6a4830479aa97f2502e193f", "hex");
export const domain = (name: Bytes, id: number): Buffer => xdr(xdrString(name), UUID, id);

/** A call, and the payload of its reply; an error's is marked. */
export interface Call {
  procedure: number;
  argument: Buffer;
  reply?: Buffer;
  error?: Buffer;
}

export const call = {
  open: (scope: "system" | "session", what: Partial<Call> = { reply: Buffer.of() }): Call => ({
    procedure: Procedure.open,
    argument: xdr(1, xdrString(`qemu:///${scope}`), 1),
    ...what,
  }),
  list: (...types: number[]): Call => ({
    procedure: Procedure.list,
    argument: Buffer.of(),
    reply: xdr(types.length, ...types),
  }),
  polkit: (what: Partial<Call> = { reply: xdr(1) }): Call => ({
    procedure: Procedure.polkit,
    argument: Buffer.of(),
    ...what,
  }),
  byName: (name: Bytes, what: Partial<Call>): Call => ({
    procedure: Procedure.byName,
    argument: xdrString(name),
    ...what,
  }),
  byUuid: (what: Partial<Call>): Call => ({ procedure: Procedure.byUuid, argument: UUID, ...what }),
  byId: (id: number, what: Partial<Call>): Call => ({
    procedure: Procedure.byId,
    argument: xdr(id),
    ...what,
  }),
  /** The daemon looks at the UUID only; the rest is what was asked for and what was found. */
  xml: (name: Bytes, id: number, text: string): Call => ({
    procedure: Procedure.xml,
    argument: xdr(xdrString(name), UUID, id, 0),
    reply: xdrString(text),
  }),
};
export const noDomain = { error: failure(42, "Domain not found") };

/** A domain's XML, with these lines of devices. */
export const domainXml = (devices: string): string =>
  `<domain type='kvm' id='1'>\n  <name>vm</name>\n  <!-- <vsock> -->\n  <devices>\n    ${devices}\n  </devices>\n</domain>\n`;
export const vsockXml = (cid: number): string =>
  domainXml(`<vsock model='virtio'>\n      <cid auto='no' address='${cid}'/>\n    </vsock>`);

/** A service that is called like this. A call without a reply is the last one. */
export function libvirt(calls: readonly Call[], rest: Service = {}): Service {
  const exchange = calls.map(({ procedure, argument, reply, error }, i): [Bytes, Bytes[]] => {
    const head = { procedure, serial: i + 1 };
    const request = message({ ...head, type: 0 }, argument);
    const status = error === undefined ? 0 : 1;
    const payload = error ?? reply;
    return [request, payload ? [message({ ...head, type: 1, status }, payload)] : []];
  });
  // At the end of this attribute the rest of a domain's XML is not read.
  const all = Buffer.concat(exchange.flatMap(([, reply]) => reply) as Buffer[]).toString("latin1");
  const [before] = /^[^]*<cid [^>]*address='\d+'/.exec(all) ?? [];
  return { exchange, ...(before !== undefined && { enough: before.length }), ...rest };
}

/** The calls by which a domain's CID is found at once. */
export const found = (scope: "system" | "session", name: Bytes, text: string): Call[] => [
  call.open(scope),
  call.byName(name, { reply: domain(name, 1) }),
  call.xml(name, 1, text),
];

// ---- segments

/** The service with its replies cut into segments of these lengths, the last one repeated. */
export function cut(service: Service, ...lengths: number[]): Service {
  const pieces = (reply: readonly Bytes[]): Buffer[] => {
    const whole = Buffer.concat(reply.map((bytes) => Buffer.from(bytes as string)));
    const parts: Buffer[] = [];
    for (let at = 0, i = 0; at < whole.length; i++) {
      const end = at + (lengths[Math.min(i, lengths.length - 1)] ?? whole.length);
      parts.push(whole.subarray(at, end));
      at = end;
    }
    return parts;
  };
  const { exchange = [] } = service;
  return { ...service, exchange: exchange.map(([request, reply]) => [request, pieces(reply)]) };
}
