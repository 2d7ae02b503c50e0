// Every way in which the command is used, and what it meets: the cases that faults are injected into.
// The name of a case is its parts, joined by commas.

import { Code } from "../../assembly/codes";
import { makeCase, unixTarget, vsockTarget } from "../support/case";
import type {
  Attempt,
  Bytes,
  Case,
  Lookup,
  Service,
  Simulation,
  Target,
  World,
} from "../support/case";
import { errno } from "../support/errno";
import {
  MACHINED,
  call,
  domain,
  failure,
  found,
  libvirt,
  machine,
  machineError,
  machined,
  noDomain,
  vsockXml,
} from "../support/services";

export interface SimulatedCase extends Case {
  /** Whether pairs of faults are injected, too: where there are few calls. */
  pairs: boolean;
}

/** A target, its arguments, and what lines on stderr name. */
interface Scheme {
  args: Bytes[];
  subject: string;
  target: Target;
}

/** Not the default, and no byte of it like another. */
const PORT = 2222;
const CID = 4711;

/**
 * The reply, and behind it in the same segment what the guest says first. It is not the longest one:
 * so what the command looks at for the longest holds bytes of the guest.
 */
const OK = "OK 1074\n";
const BANNER = "SSH-2.0-a-machine\r\n";

function unixScheme(
  scheme: Target["scheme"],
  arg: Bytes,
  path: string,
  subject = String(arg),
): Scheme {
  return {
    args: [arg],
    subject,
    target: unixTarget(scheme, path),
  };
}

const unix = unixScheme("unix", "unix/run/vm.sock", "/run/vm.sock");
const abstract = unixScheme("unix-abstract", "unix-abstract/vm", "\0vm");
const hostAt = (path: string): Scheme => unixScheme(".host", ".host", path, `.host at ${path}`);
const host = hostAt("/run/ssh-unix-local/socket");
const vsock: Scheme = {
  args: [`vsock/${CID}`, `${PORT}`],
  subject: `vsock/${CID} port ${PORT}`,
  target: vsockTarget(CID, PORT),
};
const mux: Scheme = {
  args: ["vsock-mux/run/vm.sock", `${PORT}`],
  subject: `vsock-mux/run/vm.sock port ${PORT}`,
  target: { ...unixTarget("vsock-mux", "/run/vm.sock"), port: PORT },
};
const schemes = [unix, abstract, vsock, mux, host];

/** How the connection is delivered. */
const deliveries: Record<string, World> = { fdpass: {}, relay: { stdout: "pipe" } };

const cases: SimulatedCase[] = [];

type What = Partial<SimulatedCase>;

/** By default, a connection that succeeds and is passed. */
function add(name: string, scheme: Scheme | undefined, what: What = {}): void {
  const reply: World = scheme === mux ? { attempts: [{ reply: [OK + BANNER] }] } : {};
  cases.push({
    pairs: false,
    ...makeCase({
      code: Code.Done,
      ...(scheme && { subject: scheme.subject, target: scheme.target }),
      ...what,
      name: [...(scheme ? [scheme.target.scheme] : []), name].join(),
      args: [...(what.args ?? []), ...(scheme?.args ?? [])],
      world: { ...reply, ...what.world },
    }),
  });
}

/** The same for both ways to deliver the connection. */
function addBoth(name: string, scheme: Scheme, what: What = {}): void {
  for (const [delivery, world] of Object.entries(deliveries)) {
    const whole = name === "" ? delivery : `${delivery},${name}`;
    add(whole, scheme, { ...what, world: { ...world, ...what.world } });
  }
}

const attempt = (one: Attempt): World => ({ attempts: [one] });
const simulation = (what: Simulation): World => ({ simulation: what });

// ---- a connection that is made at once

const LOG = "/var/log/proxy";
const log = { path: LOG, subject: LOG };
const variable = (text: string): string[] => [`SSH_VSOCK_PROXY_OPTIONS=${text}`];
/** --wait=2s and --timeout=300ms. */
const wait = ["--wait=2s", "--timeout=300ms"];
const waits = { waitMs: 2000, timeoutMs: 300 };

for (const scheme of schemes) {
  // To the imports a host's socket is like any other.
  addBoth("", scheme, { pairs: scheme !== host && scheme !== abstract });
  add("--fdpass", scheme, { args: ["--fdpass"], mode: "fdpass" });
  add("--stdio", scheme, { args: ["--stdio"], mode: "stdio" });
  add("fdpass,-v", scheme, { args: ["-v"], verbose: true });
  add("relay,--log-file", scheme, { args: ["--log-file", LOG], log, world: { stdout: "pipe" } });
  addBoth("--wait", scheme, { args: wait, ...waits });
}

for (const scheme of [vsock, mux]) {
  for (const when of ["always", "never", "auto"]) {
    const halfClose = when === "auto" ? scheme !== mux : when === "always";
    const args = ["--stdio", `--half-close=${when}`];
    add(`--half-close=${when}`, scheme, { args, mode: "stdio", halfClose });
  }
}
for (const lingerMs of [0, 200]) {
  const args = ["--stdio", `--linger=${lingerMs}ms`];
  add(`--linger=${lingerMs}ms`, mux, { args, mode: "stdio", lingerMs });
}
add("--host-socket", hostAt("/run/other"), { args: ["--host-socket=/run/other"] });
add("-v,--log-file", mux, { args: ["-v", `--log-file=${LOG}`], verbose: true, log });
add("-v,--log-file,--wait", vsock, {
  args: ["-v", `--log-file=${LOG}`, ...wait],
  verbose: true,
  log,
  ...waits,
});
add("variable", mux, {
  environment: variable("--wait 2s '--timeout=300ms' -v"),
  verbose: true,
  ...waits,
});
add("variable,--stdio", unix, { environment: variable("--stdio"), mode: "stdio", pairs: true });
add("variable,--log-file", unix, {
  environment: variable(`--log-file ${LOG}`),
  log: { path: LOG, subject: `SSH_VSOCK_PROXY_OPTIONS: ${LOG}` },
});
add("no-environment", unix, { environment: [] });

add("other-variables", unix, { environment: ["OTHER=x", "TERM=", `LARGE=${"x".repeat(70_000)}`] });

// What stderr shows of bytes that are not printable UTF-8, and of some that are.
const odd =
  "/\x7f\xc3x\xe0\x80\xaf\xf0\x9f\x98\x80\xf3\xa0\x81\x81\xf0\x80\x80\x80\xf5\x80\xe6\x97";
const oddSubject =
  "unix/\\x7f\\xc3x\\xe0\\x80\\xaf😀\\xf3\\xa0\\x81\\x81\\xf0\\x80\\x80\\x80\\xf5\\x80\\xe6\\x97";
add("odd-bytes", unixScheme("unix", Buffer.from(`unix${odd}`, "latin1"), odd, oddSubject), {
  world: attempt({ connect: "NOENT" }),
  code: Code.NoSocket,
});

// What a real host reaches through O_PATH, and what needs more memory than there is at first.
const longPath = `/${"0123456789abcd/".repeat(272)}0123456789abcd`;
add("path-of-4095-bytes", unixScheme("unix", `unix${longPath}`, longPath), {
  world: attempt({ connect: "NOENT" }),
  code: Code.NoSocket,
});

// ---- a multiplexer's reply

const replies: [string, Code, World][] = [
  ["byte-by-byte", Code.Done, attempt({ reply: Array.from(`${OK}SSH`) })],
  ["in-two", Code.Done, attempt({ reply: ["OK 10", `74\n${BANNER}`] })],
  ["one-digit", Code.Done, attempt({ reply: [`OK 5\n${BANNER}`] })],
  ["longest", Code.Done, attempt({ reply: [`OK 4294967295\n${BANNER}`] })],
  ["alone", Code.Done, attempt({ reply: [OK] })],
  ["and-the-end", Code.Done, attempt({ reply: [OK + BANNER], end: "eof" })],
  [
    "taken-in-bytes",
    Code.Done,
    { ...attempt({ reply: [OK + BANNER] }), ...simulation({ recvGives: 1 }) },
  ],
  ["other-words", Code.BadLine, attempt({ reply: [`ERR no such port\n${BANNER}`] })],
  ["no-number", Code.BadLine, attempt({ reply: [`OK \n${BANNER}`] })],
  ["letters", Code.BadLine, attempt({ reply: [`OK 10x\n${BANNER}`] })],
  ["carriage-return", Code.BadLine, attempt({ reply: [`OK 5\r\n${BANNER}`] })],
  ["eleven-digits", Code.BadLine, attempt({ reply: ["OK 01234567890\n"] })],
  ["banner", Code.BadLine, attempt({ reply: [BANNER] })],
  ["too-large", Code.NumberOutOfRange, attempt({ reply: [`OK 4294967296\n${BANNER}`] })],
  ["bad-in-two", Code.BadLine, attempt({ reply: ["OK 1", "x"] })],
  ["end", Code.EndOfFile, attempt({ end: "eof" })],
  ["end-in-line", Code.EndWithinLine, attempt({ reply: ["OK 10"], end: "eof" })],
  ["end-after-a-second", Code.EndOfFileAfterWait, attempt({ takes: 1000, end: "eof" })],
  ["end-before", Code.EndOfFile, attempt({ takes: 980, end: "eof" })],
  ["silence", Code.ReplyTimeout, attempt({})],
  ["silence-in-line", Code.ReplyTimeoutWithinLine, attempt({ reply: ["OK 10"] })],
  ["never-takes", Code.ReplyTimeout, simulation({ peerIsStuck: true })],
  ["urgent", Code.Done, attempt({ urgentBefore: 0, reply: [OK + BANNER] })],
  ["urgent-in-line", Code.Done, attempt({ urgentBefore: 1, reply: ["OK 10", `74\n${BANNER}`] })],
  ["urgent-at-newline", Code.Done, attempt({ urgentBefore: 1, reply: ["OK 5", `\n${BANNER}`] })],
  ["urgent-and-wrong", Code.BadLine, attempt({ urgentBefore: 0, reply: [BANNER] })],
  ["urgent-and-silence", Code.ReplyTimeout, attempt({ urgentBefore: 0 })],
  ["urgent-and-the-end", Code.EndOfFile, attempt({ urgentBefore: 0, end: "eof" })],
  ["takes-a-part", Code.ShortWrite, simulation({ sendTakes: 5 })],
];
/** Those that differ in what has to be done, and not in a byte. */
const isShort = ["in-two", "end", "urgent", "takes-a-part"];
for (const [name, code, world] of replies) {
  add(`reply,${name}`, mux, { code, world, ...(isShort.includes(name) && { pairs: true }) });
}
const failing: [string, Code, World][] = [
  ["silence", Code.ReplyTimeout, attempt({})],
  ["never-takes", Code.ReplyTimeout, simulation({ peerIsStuck: true })],
  ["end-in-line", Code.EndWithinLine, attempt({ reply: ["OK 10"], end: "eof" })],
];
for (const [name, code, world] of failing) {
  const args = ["-v", "--wait=500ms", "--timeout=300ms"];
  const times = { waitMs: 500, timeoutMs: 300 };
  add(`reply,${name},-v,--wait`, mux, { args, code, world, verbose: true, ...times });
}

// ---- what keeps the connection from being made, or from being delivered

const connects: [Scheme, string, Code][] = [
  [unix, "NOENT", Code.NoSocket],
  [unix, "ACCES", Code.PermissionDenied],
  [abstract, "CONNREFUSED", Code.NoSuchName],
  [vsock, "CONNRESET", Code.NotListening],
  [vsock, "NODEV", Code.NoMachine],
  [mux, "CONNREFUSED", Code.Refused],
  [host, "NOENT", Code.NoSocket],
];
for (const [scheme, connect, code] of connects) {
  const pairs = scheme !== host && scheme !== mux && connect !== "ACCES";
  add(connect, scheme, { code, world: attempt({ connect }), pairs });
}
for (const [scheme, code] of [
  [unix, Code.QueueFull],
  [vsock, Code.NoAnswer],
] as const) {
  add("no-answer", scheme, { code, world: attempt({ takes: "deadline" }), pairs: true });
  add("takes-1s", scheme, { world: attempt({ takes: 1000 }) });
}
add("client-takes-nothing", unix, {
  code: Code.FdPassTimeout,
  world: { stdout: "full unix" },
  pairs: true,
});
add("client-exited", unix, { code: Code.ClientGone, world: { stdout: "unix without reader" } });
add("client-exits", mux, {
  code: Code.ClientGone,
  world: { stdout: "full unix", clientExits: { ms: 2000 } },
});
add("no-fd-passing", unix, {
  args: ["--fdpass"],
  mode: "fdpass",
  code: Code.NoFdPassing,
  world: { stdout: "pipe" },
  pairs: true,
});
add("stdout-closed", unix, { code: Code.NoStdout, world: { stdout: "closed" } });
add("stdout-over-vsock", vsock, { world: { stdout: "vsock" } });
for (const [fd, error, code] of [
  [3, "PIPE", Code.PeerClosed],
  [0, "IO", Code.StdinFailed],
  [1, "NOSPC", Code.StdoutFull],
  [1, "PIPE", Code.StdoutClosed],
] as const) {
  const relayEnd = { fd, error: errno(error) };
  const world: World = { stdout: "pipe", ...simulation({ relayEnd }) };
  add(`relay-fails-at-${fd}-with-${error}`, unix, { code, world });
}

// ---- --wait, while a machine boots

const nothing: Attempt = { connect: "NOENT" };
/** A machine's monitor comes up in stages. */
const muxBoots: Attempt[] = [
  nothing,
  { connect: "CONNREFUSED" },
  {},
  { end: "eof" },
  { reply: ["OK 10"], end: "eof" },
  { reply: [OK + BANNER] },
];
const vsockBoots: Attempt[] = [
  { connect: "NODEV" },
  { takes: "deadline" },
  { connect: "CONNRESET" },
  {},
];
const unixBoots: Attempt[] = [nothing, { connect: "CONNREFUSED" }, {}];
const TERM = ["TERM=xterm-256color"];
const terminal: World = { stderr: "terminal" };

for (const [scheme, attempts] of [
  [mux, muxBoots],
  [vsock, vsockBoots],
  [unix, unixBoots],
] as const) {
  const world: World = { attempts };
  addBoth("boots", scheme, { args: wait, world, ...waits });
  add("boots,-v", scheme, { args: ["-v", ...wait], world, verbose: true, ...waits });
  add("boots,--log-file", scheme, { args: [`--log-file=${LOG}`, ...wait], world, log, ...waits });
  add("boots,terminal", scheme, {
    args: wait,
    environment: TERM,
    world: { ...world, ...terminal },
    ...waits,
  });
}
const never = attempt(nothing);
add("never-boots", unix, { args: wait, world: never, code: Code.NoSocket, ...waits });
// None of these has lost capitals.
for (const [name, path, ...args] of [
  ["percent", "/run/vm.sock", "unix%/run/vm.sock"],
  ["capital", "/run/VM.sock", "unix/run/VM.sock"],
  ["name", "/run/vm.sock", "unix/run/vm.sock", "22", "unix/run/vm.sock"],
] as const) {
  const scheme = { ...unixScheme("unix", args[0], path), args: [...args] };
  add(`never-boots,${name}`, scheme, { world: never, code: Code.NoSocket });
}
for (const [name, term] of [
  ["terminal", "xterm-256color"],
  ["dumb-terminal", "dumb"],
]) {
  add(`never-boots,${name}`, unix, {
    args: wait,
    environment: [`TERM=${term}`],
    world: { ...never, ...terminal },
    code: Code.NoSocket,
    ...waits,
  });
}
add("never-boots,progress", unix, {
  args: ["--wait=12s"],
  world: never,
  code: Code.NoSocket,
  waitMs: 12_000,
});
const long = { args: ["--wait=4s", "--timeout=2s"], waitMs: 4000, timeoutMs: 2000 };
add("silent,terminal", mux, {
  ...long,
  environment: TERM,
  world: { ...attempt({}), ...terminal },
  code: Code.ReplyTimeout,
});
add("silent,progress", mux, {
  args: ["--wait=12s", "--timeout=11s"],
  world: attempt({}),
  code: Code.ReplyTimeout,
  waitMs: 12_000,
  timeoutMs: 11_000,
});
add("slow,terminal", vsock, {
  ...long,
  environment: TERM,
  world: { ...attempt({ takes: 1500 }), ...terminal },
});
add("denied", unix, {
  args: wait,
  world: { attempts: [nothing, nothing, { connect: "ACCES" }] },
  code: Code.PermissionDenied,
  ...waits,
});
for (const [delivery, world] of Object.entries({ ...deliveries, terminal })) {
  add(`client-exits-early,${delivery}`, unix, {
    args: wait,
    environment: TERM,
    world: { ...never, ...world, clientExits: { ms: 200 } },
    code: Code.ClientGone,
    ...waits,
  });
}
add("client-speaks", unix, {
  args: wait,
  world: { attempts: [nothing, nothing, nothing, {}], ...simulation({ clientSpeaksMs: 100 }) },
  ...waits,
});

// ---- names, which services lead to an address (names.test.ts has what they may reply)

const RUNTIME = "/run/user/7";
const ofUser = RUNTIME + MACHINED;
const ofSystem = `/run${MACHINED}`;
const ofLibvirt = "/run/libvirt/libvirt-sock-ro";

/** A name, what it leads to, and the services that say so. */
function addName(
  name: string,
  scheme: Lookup["scheme"],
  target: Target | undefined,
  services: Record<string, Service[]>,
  what: What = {},
): void {
  const { lookup = { scheme, directory: RUNTIME } } = what;
  const directory = lookup.directory === undefined ? [] : [`XDG_RUNTIME_DIR=${RUNTIME}`];
  const word = `${scheme}/vm`;
  cases.push({
    ...{ pairs: false, ...makeCase({ code: Code.Done, subject: word, lookup, ...what, name }) },
    ...(target && { target, halfClose: target.scheme !== "vsock-mux" }),
    args: [...(what.args ?? []), word, `${PORT}`],
    environment: [...directory, ...(what.environment ?? [])],
    world: { services, ...what.world },
  });
}

const vm = { class: "vm", vSockCid: CID };
const knows = machined("vm", machine(vm));
const knowsNot = machined("vm", machineError("io.systemd.Machine.NoSuchMachine"), {
  code: Code.NoSuchMachine,
});
const container = machined("vm", machine({ class: "container", service: "systemd-nspawn" }));
const [place, older] = ["vm/unix-export", "unix-export/vm"].map((path) =>
  unixTarget("unix", `/run/systemd/nspawn/${path}/ssh`),
) as [Target, Target];
const exported = { ...place, older: older.address };
const denies = { error: failure(39, "authentication required") };
const calls = found("system", "vm", vsockXml(CID));

for (const [delivery, world] of Object.entries(deliveries)) {
  const pairs = delivery === "fdpass";
  const services = { [ofSystem]: [knows] };
  addName(`machine,${delivery}`, "machine", vsock.target, services, { world, pairs });
}
addName(
  "machine,vsock-mux,-v,--log-file",
  "machine",
  { ...unixTarget("vsock-mux", "/run/vm"), port: PORT },
  { [ofUser]: [machined("vm", machine({ class: "vm", sshAddress: "vsock-mux/run/vm" }))] },
  {
    args: ["-v", `--log-file=${LOG}`],
    verbose: true,
    log,
    world: attempt({ reply: [OK + BANNER] }),
  },
);
addName(
  "machine,container",
  "machine",
  exported,
  { [ofUser]: [knowsNot], [ofSystem]: [container] },
  {
    world: { attempts: [nothing, {}] },
  },
);
addName(
  "machine,no-container-socket",
  "machine",
  exported,
  { [ofSystem]: [container] },
  {
    code: Code.NoContainerSocket,
    world: never,
  },
);
addName(
  "machine,unknown",
  "machine",
  undefined,
  { [ofUser]: [knowsNot] },
  {
    code: Code.NoSuchMachine,
  },
);
addName(
  "qemu,no-directory",
  "qemu:session",
  undefined,
  {},
  {
    code: Code.NoRuntimeDirectory,
    lookup: { scheme: "qemu:session" },
    environment: ["XDG_RUNTIME_DIR=x"],
  },
);
addName(
  "machine,long-directory",
  "machine",
  vsock.target,
  { [ofSystem]: [knows] },
  {
    lookup: { scheme: "machine" },
    environment: [`XDG_RUNTIME_DIR=${longPath}`],
  },
);
for (const [name, reply, code, detail] of [
  ["other-address", machine({ class: "vm", sshAddress: "\x1b" }), Code.OtherAddress, "\\x1b"],
  ["abstract", machine({ class: "vm", sshAddress: "unix-abstract/x" }), Code.OtherAddress],
  ["unknown-class", machine({ class: "host" }), Code.UnknownClass, "host"],
  [
    "error",
    machineError("io.systemd.System", { errno: 5 }),
    Code.ServiceError,
    "io.systemd.System",
  ],
  ["bad-reply", [], Code.BadReply, "0"],
] as const) {
  const what = { code, detail: detail ?? "unix-abstract/x" };
  addName(
    `machine,${name}`,
    "machine",
    undefined,
    { [ofSystem]: [machined("vm", reply, what)] },
    { code },
  );
}
addName(
  "qemu,unknown",
  "qemu",
  undefined,
  {
    [ofLibvirt]: [
      libvirt([call.open("system"), call.byName("vm", noDomain)], { code: Code.NoSuchDomain }),
    ],
  },
  { code: Code.NoSuchDomain },
);
addName("qemu,polkit", "qemu", vsock.target, {
  [ofLibvirt]: [libvirt([call.open("system", denies), call.list(2), call.polkit(), ...calls])],
});
addName(
  "qemu,off,-v",
  "qemu",
  undefined,
  {
    [ofLibvirt]: [
      libvirt([call.open("system"), call.byName("vm", { reply: domain("vm", -1) })], {
        code: Code.DomainOff,
      }),
    ],
  },
  { args: ["-v"], verbose: true, code: Code.DomainOff },
);
/** A machine that is started together with its machined. */
const starts: Record<string, Service[]> = {
  [ofSystem]: [
    { connect: "NOENT" },
    { connect: "CONNREFUSED" },
    machined("vm", ""),
    machined("vm", '{"par', { end: "eof", code: Code.LookupTimeout }),
    knowsNot,
    knows,
  ],
};
const goes: World = { attempts: [{ connect: "NODEV" }, {}] };
addName("machine,boots", "machine", vsock.target, starts, { args: wait, world: goes, ...waits });
addName(
  "machine,boots,-v",
  "machine",
  vsock.target,
  { [ofSystem]: [{ connect: "NOENT" }, knows] },
  { args: [...wait, "-v"], verbose: true, world: goes, ...waits },
);
const silent = { [ofSystem]: [machined("vm", "")] };
addName("machine,silent", "machine", undefined, silent, { code: Code.LookupTimeout });
addName("machine,silent,terminal", "machine", undefined, silent, {
  ...long,
  environment: TERM,
  world: terminal,
  code: Code.LookupTimeout,
});
addName("machine,silent,progress", "machine", undefined, silent, {
  args: ["--wait=12s", "--timeout=11s"],
  code: Code.LookupTimeout,
  waitMs: 12_000,
  timeoutMs: 11_000,
});

// ---- a stderr that takes little, late or nothing

const full: World = { stderr: "full pipe" };
add("full-stderr,-v", mux, { args: ["-v"], world: full, verbose: true, pairs: true });
add("full-stderr,fails", unix, { world: { ...never, ...full }, code: Code.NoSocket, pairs: true });
add("full-stderr,--wait", unix, {
  args: wait,
  world: { ...never, ...full },
  code: Code.NoSocket,
  ...waits,
});
add("stderr-takes-40-bytes,-v", unix, {
  args: ["-v"],
  world: simulation({ writeTakes: 40 }),
  verbose: true,
});
add("stderr-takes-40-bytes,terminal", unix, {
  args: ["--wait=300ms", "--timeout=300ms"],
  environment: TERM,
  world: { ...never, ...terminal, ...simulation({ writeTakes: 40 }) },
  code: Code.NoSocket,
  waitMs: 300,
  timeoutMs: 300,
});
add("stalls,-v", mux, { args: ["-v"], world: simulation({ stalls: true }), verbose: true });

// ---- without a connection

for (const option of ["--help", "-h"]) add(option, undefined, { args: [option], code: "help" });
add("--help,unix", undefined, { args: ["--help", "unix/x"], code: "help" });
add("--version", undefined, { args: ["--version"], code: "version" });
add("-v,-V", undefined, { args: ["-v", "-V"], code: "version" });

function addWrong(name: string, args: string[], code: Code, subject: string, inVariable?: string) {
  const pairs = ["option", "variable", "port"].includes(name);
  const environment = inVariable === undefined ? [] : variable(inVariable);
  add(`wrong,${name}`, undefined, { args, code, subject, pairs, environment });
}
const OPTIONS = "SSH_VSOCK_PROXY_OPTIONS";
addWrong("nothing", [], Code.NoAddress, "");
addWrong("option", ["--nope", "unix/x"], Code.UnknownOption, "--nope");
addWrong("no-value", ["--wait"], Code.NoValue, "--wait");
addWrong("value", ["-v=1", "unix/x"], Code.UnwantedValue, "-v=1");
addWrong("duration", ["--timeout", "1h", "unix/x"], Code.BadDuration, "--timeout 1h");
addWrong("no-number", ["--timeout=x", "unix/x"], Code.BadDuration, "--timeout=x");
addWrong("large", ["--wait=99999999999", "unix/x"], Code.DurationOutOfRange, "--wait=99999999999");
const longLog = `--log-file=/${"x".repeat(4095)}`;
addWrong("long-path", [longLog, "unix/x"], Code.BadPath, longLog);
addWrong("range", ["--wait=1441m", "unix/x"], Code.DurationOutOfRange, "--wait=1441m");
addWrong("path", ["--log-file=", "unix/x"], Code.BadPath, "--log-file=");
addWrong("half-close", ["--half-close=x", "unix/x"], Code.BadHalfClose, "--half-close=x");
addWrong("arguments", ["unix/x", "1", "x", "y"], Code.TooManyArguments, "y");
addWrong("variable", ["unix/x"], Code.UnknownOption, `${OPTIONS}: --nope`, "--nope");
addWrong("quoting", ["unix/x"], Code.BadQuoting, OPTIONS, "-v 'x");
addWrong("backslash", ["unix/x"], Code.BadQuoting, OPTIONS, "--log-file '/a\\b' \\");
addWrong("help", ["unix/x"], Code.NotForVariable, `${OPTIONS}: --help`, "--help");
addWrong(
  "scheme",
  ["\x1b[2Jé\x9b\u202e"],
  Code.UnknownAddress,
  "\\x1b[2Jé\\xc2\\x9b\\xe2\\x80\\xae",
);
addWrong("empty-path", ["unix/"], Code.EmptyPath, "unix/");
addWrong("empty-name", ["unix-abstract/"], Code.EmptyName, "unix-abstract/");
const name108 = `unix-abstract/${"n".repeat(108)}`;
addWrong("long-name", [name108], Code.NameTooLong, name108);
addWrong("cid", ["vsock/x"], Code.BadCid, "vsock/x port 22");
addWrong("any-cid", ["vsock/4294967295"], Code.CidOutOfRange, "vsock/4294967295 port 22");
addWrong("empty-cid", ["vsock/"], Code.EmptyCid, "vsock/ port 22");
addWrong("port", ["vsock/3", "ssh"], Code.BadPort, "vsock/3 port ssh");
addWrong(
  "any-port",
  ["vsock-mux/x", "4294967295"],
  Code.PortOutOfRange,
  "vsock-mux/x port 4294967295",
);
addWrong("empty-port", ["vsock/3", ""], Code.EmptyPort, "vsock/3 port ''");

add("wrong,address,--log-file", undefined, {
  args: [`--log-file=${LOG}`, "-v", "vsock/"],
  code: Code.EmptyCid,
  subject: "vsock/ port 22",
  verbose: true,
  log,
});

export const CASES: readonly SimulatedCase[] = cases;
