// Arbitrary cases with what only the simulation plays: AF_VSOCK, any attempts, peers and clocks that no
// host has.

import fc from "fast-check";

import { address, exchange, noise, subjects } from "../support/arbitrary";
import { Code } from "../../assembly/codes";
import { vsockTarget } from "../support/case";
import type { Attempt, Case, Lookup, Service, Simulation, Stdout } from "../support/case";
import { finish, how, merge, oneOf } from "../support/draft";
import type { Draft, Option } from "../support/draft";
import { connectCodes, serviceCodes } from "../support/oracle";
import {
  call,
  cut,
  domain,
  found,
  libvirt,
  machine,
  machineError,
  machined,
  noDomain,
  socketsOf,
  vsockXml,
} from "../support/services";

const times: [string, number][] = [
  ["1ms", 1],
  ["49ms", 49],
  ["50ms", 50],
  ["51ms", 51],
  ["999ms", 999],
  ["1s", 1000],
  ["2", 2000],
  ["3s", 3000],
  ["11", 11_000],
  ["30s", 30_000],
];
const limits: fc.Arbitrary<Draft> = fc
  .tuple(fc.option(oneOf(...times)), fc.option(oneOf(["0", 0] as [string, number], ...times)))
  .map(([timeout, wait]) =>
    merge(
      timeout === null ? {} : { options: [["--timeout", timeout[0]]], timeoutMs: timeout[1] },
      wait === null ? {} : { options: [["--wait", wait[0]]], waitMs: wait[1] },
    ),
  );

const cids: [string, number][] = [
  ["3", 3],
  ["4294967294", 4294967294],
  ["hypervisor", 0],
  ["local", 1],
  ["host", 2],
];
const vsockAddress: fc.Arbitrary<Draft> = fc
  .tuple(oneOf(...cids), oneOf(undefined, "0", "2222", "4294967294"), oneOf("/", "%"))
  .map(([[cid, number], port, separator]) => {
    const word = `vsock${separator}${cid}`;
    return {
      words: [word, ...(port === undefined ? [] : [port])],
      subject: `${word} port ${port ?? 22}`,
      target: vsockTarget(number, Number(port ?? 22)),
    };
  });

const anyAttempt: fc.Arbitrary<Attempt> = fc.oneof(
  oneOf(...new Set(Object.values(connectCodes).flatMap((table) => Object.keys(table)))).map(
    (connect) => ({ connect }),
  ),
  exchange.map(({ attempt }) => attempt),
  oneOf<Attempt[]>({ takes: "deadline" }, { takes: 1500 }, { reply: ["OK 7\n"] }),
);

/** Any attempts, at any address. The calls alone say what the result has to be. */
const meets: fc.Arbitrary<Draft> = fc
  .record({
    draft: fc.oneof(address("unix"), address("vsock-mux"), vsockAddress),
    limits,
    attempts: fc.array(anyAttempt, { minLength: 1, maxLength: 4 }),
    mode: oneOf<Draft[]>(
      {},
      { options: [["--stdio"]], mode: "stdio" },
      { options: [["--fdpass"]], mode: "fdpass" },
    ),
    stdout: oneOf<Stdout[]>("unix", "full unix", "unix without reader", "vsock", "pipe", "closed"),
    terminal: fc.option(oneOf("xterm", "dumb", "")),
  })
  .map(({ draft, limits, attempts, mode, stdout, terminal }) =>
    merge(draft, limits, mode, {
      world: { attempts, stdout, ...(terminal !== null && { stderr: "terminal" }) },
      ...(terminal !== null && { term: terminal }),
    }),
  );

/** Peers and clocks that no real host has. */
const simulation: fc.Arbitrary<Simulation> = fc.oneof(
  { weight: 10, arbitrary: fc.constant({}) },
  fc.integer({ min: 8, max: 60 }).map((writeTakes) => ({ writeTakes })),
  fc.nat(14).map((recvGives) => ({ recvGives })),
  fc.nat(19).map((sendTakes) => ({ sendTakes })),
  fc.constant({ peerIsStuck: true }),
  fc.constant({ stalls: true }),
  fc.nat(3000).map((clientSpeaksMs) => ({ clientSpeaksMs })),
  fc.bigInt({ min: 0n, max: 2n ** 63n }).map((clockNs) => ({ clockNs })),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((wallNs) => ({ wallNs })),
);

const DIRECTORY = "/run/user/7";

/** What a connection to machined meets, in segments of any length, and what libvirt's does. */
const service = (scheme: Lookup["scheme"], scope: "system" | "session"): fc.Arbitrary<Service> => {
  const vm = machine({ class: "vm", vSockCid: 7 });
  const unknown = machineError("io.systemd.Machine.NoSuchMachine");
  const exchanges: Service[] =
    scheme === "machine"
      ? [machined("vm", vm), machined("vm", unknown, { code: Code.NoSuchMachine })]
      : [
          libvirt(found(scope, "vm", vsockXml(7))),
          libvirt([call.open(scope), call.byName("vm", noDomain)], { code: Code.NoSuchDomain }),
          libvirt([call.open(scope), call.byName("vm", { reply: domain("vm", -1) })], {
            code: Code.DomainOff,
          }),
        ];
  const asked: Service["exchange"] = [[exchanges[0]?.exchange?.[0]?.[0] ?? "", []]];
  return fc.oneof(
    oneOf(...Object.keys(serviceCodes)).map((connect) => ({ connect })),
    oneOf<Service[]>(
      { takes: "deadline" },
      { exchange: asked, drops: "unread" },
      { exchange: asked, drops: "before-request" },
    ),
    fc
      .tuple(oneOf(...exchanges), fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1 }))
      .map(([one, lengths]) => cut(one, ...lengths)),
    oneOf<("eof" | "silence")[]>("eof", "silence").map((end) => ({ exchange: asked, end })),
  );
};

/** Any services, which know the name or not, and any attempts where it leads. */
const names: fc.Arbitrary<Draft> = fc
  .record({
    scheme: oneOf<Lookup["scheme"][]>("machine", "qemu", "qemu:system", "qemu:session"),
    isSet: fc.boolean(),
    limits,
    attempts: fc.array(anyAttempt, { minLength: 1, maxLength: 3 }),
    stdout: oneOf<Stdout[]>("unix", "pipe"),
  })
  .chain(({ scheme, isSet, limits, attempts, stdout }) => {
    const lookup: Lookup = { scheme, ...(isSet && { directory: DIRECTORY }) };
    const sockets = socketsOf(lookup).flat();
    const met = sockets.map((at) => {
      const scope = at.startsWith(DIRECTORY) ? "session" : "system";
      return fc.array(service(scheme, scope), { maxLength: 3 }).map((all) => [at, all] as const);
    });
    return fc.tuple(...met).map((services) =>
      merge(limits, {
        ...{ lookup, words: [`${scheme}/vm`], subject: `${scheme}/vm`, target: vsockTarget(7, 22) },
        ...(sockets.length === 0 && { code: Code.NoRuntimeDirectory }),
        world: { attempts, stdout, services: Object.fromEntries(services) },
      }),
    );
  });

/** With 30 s in place of minutes and days, which would be too many calls. */
function shortened(draft: Draft): Draft {
  const { options = [], timeoutMs = 5000, waitMs = 0 } = draft;
  const ms: Partial<Record<string, number>> = { "--timeout": timeoutMs, "--wait": waitMs };
  return {
    ...draft,
    options: options.map(([name, value]): Option => {
      if (value === undefined) return [name];
      return [name, (ms[name] ?? 0) > 30_000 ? "30s" : value];
    }),
    timeoutMs: Math.min(timeoutMs, 30_000),
    waitMs: Math.min(waitMs, 30_000),
  };
}

export const simulatedCases: fc.Arbitrary<Case> = fc
  .record({
    draft: fc.oneof(
      { weight: 4, arbitrary: subjects },
      { weight: 2, arbitrary: meets },
      { weight: 1, arbitrary: names },
    ),
    noise,
    how,
    simulation,
    exitMs: fc.option(fc.nat(5000), { freq: 10 }),
  })
  .map(({ draft, noise, how, simulation, exitMs }) => {
    const one = finish(shortened(draft.log === undefined ? merge(noise, draft) : draft), how);
    const { world } = one;
    const result: Case = {
      ...one,
      ...(one.lookup?.directory !== undefined && {
        environment: [...(one.environment ?? []), `XDG_RUNTIME_DIR=${DIRECTORY}`],
      }),
      world: {
        ...world,
        ...(exitMs !== null && { clientExits: { ms: exitMs } }),
        simulation: { ...world.simulation, ...simulation },
      },
    };
    const changes = exitMs !== null || Object.keys(simulation).length > 0;
    // What makes connecting or the log fail does so before there is a peer.
    if (changes && typeof result.code === "number" && result.target !== undefined) {
      delete result.code;
    }
    return result;
  });
