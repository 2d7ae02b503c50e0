// Every way in which the command is used, and what it meets there: the scenarios from which the
// worlds are made. A scenario's name is its parts, with commas in between, and has no space.

import { Code, Family } from "../../assembly/codes";
import { errno } from "./world";
import type { Stage, World } from "./world";

export interface Scenario {
  name: string;
  args: string[];
  world: World;
  /** What comes of it in peace: Done, why it fails, or Help and Version. */
  code: Code | "help" | "version";
  /** What a failure is about, as its line begins. */
  subject: string;
  scheme: Scheme | undefined;
  /** --fdpass or --stdio; what descriptor 1 is decides if it is not given. */
  mode?: "fdpass" | "stdio";
  /** Whether a relay passes the end of its input on. */
  halfClose: boolean;
  /** --timeout and --wait in nanoseconds, 0 where there is no --wait. */
  timeout: number;
  wait: number;
  verbose: boolean;
  logPath?: string;
  /** Whether a terminal's line of progress is renewed. */
  redraws: boolean;
  /** Whether pairs of faults are tried as well: where there are few calls. */
  pairs: boolean;
}

export interface Scheme {
  name: "unix" | "unix-abstract" | "vsock" | "vsock-mux" | ".host";
  args: string[];
  subject: string;
  family: Family;
  /** What sock_connect has to be given. */
  address: Buffer;
  /** What a multiplexer has to be asked. */
  request?: string;
}

const MS = 1_000_000;
const SECOND = 1000 * MS;
/** Not the usual one, and not the same in every byte. */
const PORT = 2222;
const CID = 4711;

/**
 * The answer, and behind it in the same segment what the guest says first. It is not the longest
 * one: whoever looks for that sees the guest's bytes as well.
 */
const OK = "OK 1074\n";
const BANNER = "SSH-2.0-a-machine\r\n";

function unixAddress(path: string): Buffer {
  return Buffer.from(`\x03\0${path}`, "latin1");
}

function vsockAddress(): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt16LE(40, 0);
  bytes.writeUInt32LE(PORT, 4);
  bytes.writeUInt32LE(CID, 8);
  return bytes;
}

const unix: Scheme = {
  name: "unix",
  args: ["unix/run/vm.sock"],
  subject: "unix/run/vm.sock",
  family: Family.Unix,
  address: unixAddress("/run/vm.sock"),
};
const abstract: Scheme = {
  name: "unix-abstract",
  args: ["unix-abstract/vm"],
  subject: "unix-abstract/vm",
  family: Family.Unix,
  address: unixAddress("\0vm"),
};
const vsock: Scheme = {
  name: "vsock",
  args: [`vsock/${CID}`, `${PORT}`],
  subject: `vsock/${CID} port ${PORT}`,
  family: Family.Vsock,
  address: vsockAddress(),
};
const mux: Scheme = {
  name: "vsock-mux",
  args: ["vsock-mux/run/vm.sock", `${PORT}`],
  subject: `vsock-mux/run/vm.sock port ${PORT}`,
  family: Family.Unix,
  address: unixAddress("/run/vm.sock"),
  request: `CONNECT ${PORT}\n`,
};
const host: Scheme = {
  name: ".host",
  args: [".host"],
  subject: ".host at /run/ssh-unix-local/socket",
  family: Family.Unix,
  address: unixAddress("/run/ssh-unix-local/socket"),
};
const schemes = [unix, abstract, vsock, mux, host];

const PIPE = { filetype: 0, family: 0 };
const segments = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

/** How the connection gets to whoever wants it. */
const deliveries: Record<string, Partial<Scenario>> = {
  fdpass: {},
  relay: { world: { stdout: PIPE } },
};

const scenarios: Scenario[] = [];

/** What is not said is that of a connection that succeeds and is handed over. */
function add(name: string, scheme: Scheme | undefined, what: Partial<Scenario> = {}): void {
  const all = [...(what.args ?? []), ...(scheme?.args ?? [])];
  scenarios.push({
    code: Code.Done,
    subject: scheme?.subject ?? "",
    scheme,
    halfClose: scheme !== mux,
    timeout: 5 * SECOND,
    wait: 0,
    verbose: false,
    redraws: false,
    pairs: false,
    ...what,
    name: [...(scheme === undefined ? [] : [scheme.name]), name].join(),
    args: all,
    world: { ...(scheme === mux ? { answer: segments(OK + BANNER) } : {}), ...what.world },
  });
}

/** The same for both ways to deliver the connection. */
function addBoth(name: string, scheme: Scheme, what: Partial<Scenario> = {}): void {
  for (const [delivery, { world }] of Object.entries(deliveries)) {
    const whole = name === "" ? delivery : `${delivery},${name}`;
    add(whole, scheme, { ...what, world: { ...world, ...what.world } });
  }
}

// ---- a connection that stands at once

const LOG = "/var/log/proxy";
const variable = (text: string): World => ({ environment: [`SSH_VSOCK_PROXY_OPTIONS=${text}`] });

for (const scheme of schemes) {
  // To the imports a host's socket is as good as any.
  addBoth("", scheme, { pairs: scheme !== host && scheme !== abstract });
  add("--fdpass", scheme, { args: ["--fdpass"], mode: "fdpass" });
  add("--stdio", scheme, { args: ["--stdio"], mode: "stdio" });
  add("fdpass,-v", scheme, { args: ["-v"], verbose: true });
  add("relay,--log-file", scheme, {
    args: ["--log-file", LOG],
    logPath: LOG,
    world: { stdout: PIPE },
  });
  addBoth("--wait", scheme, { args: ["--wait=2s", "--timeout=300ms"], ...waiting() });
}

/** As --wait=2s --timeout=300ms say it. */
function waiting(): { wait: number; timeout: number } {
  return { wait: 2 * SECOND, timeout: 300 * MS };
}

for (const scheme of [vsock, mux]) {
  for (const when of ["always", "never", "auto"]) {
    const halfClose = when === "auto" ? scheme !== mux : when === "always";
    add(`--half-close=${when}`, scheme, {
      args: ["--stdio", `--half-close=${when}`],
      mode: "stdio",
      halfClose,
    });
  }
}
add("--host-socket", host, {
  args: ["--host-socket=/run/other"],
  scheme: { ...host, address: unixAddress("/run/other") },
  subject: ".host at /run/other",
});
add("-v,--log-file", mux, { args: ["-v", `--log-file=${LOG}`], verbose: true, logPath: LOG });
add("-v,--log-file,--wait", vsock, {
  args: ["-v", `--log-file=${LOG}`, "--wait=2s", "--timeout=300ms"],
  verbose: true,
  logPath: LOG,
  ...waiting(),
});
add("variable", mux, {
  world: variable("--wait 2s '--timeout=300ms' -v"),
  verbose: true,
  ...waiting(),
});
add("variable,--stdio", unix, { world: variable("--stdio"), mode: "stdio", pairs: true });
add("no-environment", unix, { world: { environment: [] } });
add("path-of-4095-bytes", unix, longPath());

/** What has to go through O_PATH on a real host, and needs more memory than there is at first. */
function longPath(): Partial<Scenario> {
  const path = `/${"0123456789abcd/".repeat(272)}0123456789abcd`;
  const subject = `unix${path}`;
  const scheme = { ...unix, args: [], subject, address: unixAddress(path) };
  const world = { fails: { sock_connect: [errno.NOENT] } };
  return { args: [subject], subject, scheme, world, code: Code.NoSocket };
}

// ---- a multiplexer's answer

const answers: [string, Code, World][] = [
  ["byte-by-byte", Code.Done, { answer: segments(...`${OK}SSH`.split(/(?=[^])/)) }],
  ["in-two", Code.Done, { answer: segments("OK 10", `74\n${BANNER}`) }],
  ["one-digit", Code.Done, { answer: segments(`OK 5\n${BANNER}`) }],
  ["longest", Code.Done, { answer: segments(`OK 4294967295\n${BANNER}`) }],
  ["alone", Code.Done, { answer: segments(OK) }],
  ["and-the-end", Code.Done, { answer: segments(OK + BANNER), end: "eof" }],
  ["taken-in-bytes", Code.Done, { answer: segments(OK + BANNER), recvGives: 1 }],
  ["other-words", Code.BadLine, { answer: segments(`ERR no such port\n${BANNER}`) }],
  ["no-number", Code.BadLine, { answer: segments(`OK \n${BANNER}`) }],
  ["letters", Code.BadLine, { answer: segments(`OK 10x\n${BANNER}`) }],
  ["carriage-return", Code.BadLine, { answer: segments(`OK 5\r\n${BANNER}`) }],
  ["eleven-digits", Code.BadLine, { answer: segments("OK 01234567890\n") }],
  ["banner", Code.BadLine, { answer: segments(BANNER) }],
  ["too-large", Code.NumberOutOfRange, { answer: segments(`OK 4294967296\n${BANNER}`) }],
  ["bad-in-two", Code.BadLine, { answer: segments("OK 1", "x") }],
  ["end", Code.EndOfFile, { answer: [], end: "eof" }],
  ["end-in-line", Code.EndWithinLine, { answer: segments("OK 10"), end: "eof" }],
  ["silence", Code.ReplyTimeout, { answer: [] }],
  ["silence-in-line", Code.ReplyTimeoutWithinLine, { answer: segments("OK 10") }],
  ["never-takes", Code.ReplyTimeout, { peerIsStuck: true }],
  ["takes-a-part", Code.ShortWrite, { sendTakes: 5 }],
];
/** Those that differ in what has to be done, and not in a byte. */
const isShort = ["in-two", "end", "takes-a-part"];
for (const [name, code, world] of answers) {
  const pairs = isShort.includes(name) ? { pairs: true } : {};
  add(`answer,${name}`, mux, { code, world, ...pairs });
}
const withinLine: Stage = { answer: Buffer.from("OK 10"), handshake: "eof" };
const failing: [string, Code, World][] = [
  ["silence", Code.ReplyTimeout, { answer: [] }],
  ["never-takes", Code.ReplyTimeout, { peerIsStuck: true }],
  ["end-in-line", Code.EndWithinLine, { stage: () => withinLine }],
];
for (const [name, code, world] of failing) {
  const args = ["-v", "--wait=500ms", "--timeout=300ms"];
  const times = { wait: 500 * MS, timeout: 300 * MS };
  add(`answer,${name},-v,--wait`, mux, { args, code, world, verbose: true, ...times });
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
for (const [scheme, error, code] of connects) {
  const world = { fails: { sock_connect: [errno[error as keyof typeof errno]] } };
  add(error, scheme, {
    code,
    world,
    pairs: scheme !== host && scheme !== mux && error !== "ACCES",
  });
}
const late = (): Stage => ({ takes: "until the deadline", connect: errno.TIMEDOUT });
for (const [scheme, code] of [
  [unix, Code.QueueFull],
  [vsock, Code.NoAnswer],
] as const) {
  add("no-answer", scheme, { code, world: { stage: late }, pairs: true });
  add("takes-1s", scheme, { world: { stage: () => ({ takes: SECOND }) } });
}
add("ssh-takes-nothing", unix, {
  code: Code.FdPassTimeout,
  world: { stdoutIsStuck: true },
  pairs: true,
});
add("ssh-has-left", unix, { code: Code.ClientGone, world: { leaves: 0 } });
add("ssh-leaves-in-between", mux, {
  code: Code.ClientGone,
  world: { stdoutIsStuck: true, leaves: 2 * SECOND },
});
add("no-fd-passing", unix, {
  args: ["--fdpass"],
  mode: "fdpass",
  code: Code.NoFdPassing,
  world: { stdout: PIPE },
  pairs: true,
});
add("stdout-over-vsock", vsock, { world: { stdout: { filetype: 6, family: 40 } } });
for (const [fd, error, code] of [
  [3, errno.PIPE, Code.PeerClosed],
  [0, errno.IO, Code.StdinFailed],
  [1, errno.NOSPC, Code.StdoutFailed],
  [1, errno.PIPE, Code.StdoutClosed],
] as const) {
  const relayEnd = { fd, error };
  add(`relay-fails-at-${fd}-with-${error}`, unix, { code, world: { stdout: PIPE, relayEnd } });
}

// ---- --wait, while a machine boots

const nothing: Stage = { connect: errno.NOENT };
/** A machine's monitor comes up in stages. */
const muxBoots: Stage[] = [
  nothing,
  { connect: errno.CONNREFUSED },
  { handshake: "silence" },
  { handshake: "eof" },
  { answer: Buffer.from("OK 10"), handshake: "eof" },
  {},
];
const vsockBoots: Stage[] = [
  { connect: errno.NODEV },
  { takes: "until the deadline", connect: errno.TIMEDOUT },
  { connect: errno.CONNRESET },
  {},
];
const unixBoots: Stage[] = [nothing, { connect: errno.CONNREFUSED }, {}];
const isThere = (stages: Stage[]) => (attempt: number) => stages[attempt] ?? {};
const TERMINAL: World = { terminal: true, environment: ["TERM=xterm-256color"] };
const wait = ["--wait=2s", "--timeout=300ms"];
const long = { args: ["--wait=4s", "--timeout=2s"], wait: 4 * SECOND, timeout: 2 * SECOND };

for (const [scheme, stages] of [
  [mux, muxBoots],
  [vsock, vsockBoots],
  [unix, unixBoots],
] as const) {
  const world: World = { stage: isThere([...stages]) };
  addBoth("boots", scheme, { args: wait, world, ...waiting() });
  add("boots,-v", scheme, { args: ["-v", ...wait], world, verbose: true, ...waiting() });
  add("boots,--log-file", scheme, {
    args: [`--log-file=${LOG}`, ...wait],
    world,
    logPath: LOG,
    ...waiting(),
  });
  add("boots,terminal", scheme, {
    args: wait,
    world: { ...world, ...TERMINAL },
    redraws: true,
    ...waiting(),
  });
}
const never: World = { stage: () => nothing };
add("never-boots", unix, { args: wait, world: never, code: Code.NoSocket, ...waiting() });
add("never-boots,terminal", unix, {
  args: wait,
  world: { ...never, ...TERMINAL },
  code: Code.NoSocket,
  redraws: true,
  ...waiting(),
});
add("never-boots,dumb-terminal", unix, {
  args: wait,
  world: { ...never, terminal: true, environment: ["TERM=dumb"] },
  code: Code.NoSocket,
  ...waiting(),
});
add("never-boots,progress", unix, {
  args: ["--wait=12s"],
  world: never,
  code: Code.NoSocket,
  wait: 12 * SECOND,
});
add("silent,terminal", mux, {
  ...long,
  world: { ...TERMINAL, answer: [] },
  code: Code.ReplyTimeout,
  redraws: true,
});
add("silent,progress", mux, {
  args: ["--wait=12s", "--timeout=11s"],
  world: { answer: [] },
  code: Code.ReplyTimeout,
  wait: 12 * SECOND,
  timeout: 11 * SECOND,
});
add("slow,terminal", vsock, {
  ...long,
  world: { ...TERMINAL, stage: () => ({ takes: 1500 * MS }) },
  redraws: true,
});
add("denied", unix, {
  args: wait,
  world: { stage: isThere([nothing, nothing, { connect: errno.ACCES }]) },
  code: Code.PermissionDenied,
  ...waiting(),
});
for (const [delivery, world] of Object.entries({
  fdpass: {},
  relay: { stdout: PIPE },
  terminal: TERMINAL,
})) {
  add(`nobody-waits,${delivery}`, unix, {
    args: wait,
    world: { ...never, ...world, leaves: 200 * MS },
    code: Code.ClientGone,
    redraws: delivery === "terminal",
    ...waiting(),
  });
}
add("ssh-speaks", unix, {
  args: wait,
  world: { stage: isThere([nothing, nothing, nothing, {}]), speaks: 100 * MS },
  ...waiting(),
});

// ---- a stderr that takes little, late or nothing

const stuck: World = { stderrIsStuck: true };
add("stuck-stderr,-v", mux, { args: ["-v"], world: stuck, verbose: true, pairs: true });
add("stuck-stderr,fails", unix, {
  world: { ...stuck, fails: { sock_connect: [errno.NOENT] } },
  code: Code.NoSocket,
  pairs: true,
});
add("stuck-stderr,terminal", unix, {
  args: wait,
  world: { ...never, ...TERMINAL, ...stuck },
  code: Code.NoSocket,
  redraws: true,
  ...waiting(),
});
add("stderr-takes-40-bytes,-v", unix, { args: ["-v"], world: { writeTakes: 40 }, verbose: true });
add("stderr-takes-40-bytes,terminal", unix, {
  args: ["--wait=300ms", "--timeout=300ms"],
  world: { ...never, ...TERMINAL, writeTakes: 40 },
  code: Code.NoSocket,
  redraws: true,
  wait: 300 * MS,
  timeout: 300 * MS,
});
add("stalls,-v", mux, { args: ["-v"], world: { stalls: true }, verbose: true });

// ---- without a connection

function addText(args: string[], code: "help" | "version"): void {
  add(args.join(), undefined, { args, code });
}
addText(["--help"], "help");
addText(["-h"], "help");
addText(["--version"], "version");
addText(["-v", "-V"], "version");

function addWrong(name: string, args: string[], code: Code, subject: string, world?: World): void {
  const pairs = ["option", "variable", "port"].includes(name);
  const what = { args, code, subject, pairs };
  add(`wrong,${name}`, undefined, world === undefined ? what : { ...what, world });
}
const OPTIONS = "SSH_VSOCK_PROXY_OPTIONS";
addWrong("nothing", [], Code.NoAddress, "");
addWrong("option", ["--nope", "unix/x"], Code.UnknownOption, "--nope");
addWrong("no-value", ["--wait"], Code.NoValue, "--wait");
addWrong("value", ["-v=1", "unix/x"], Code.UnwantedValue, "-v=1");
addWrong("duration", ["--timeout", "1h", "unix/x"], Code.BadDuration, "--timeout 1h");
addWrong("range", ["--wait=1441m", "unix/x"], Code.DurationOutOfRange, "--wait=1441m");
addWrong("path", ["--log-file=", "unix/x"], Code.BadPath, "--log-file=");
addWrong("half-close", ["--half-close=x", "unix/x"], Code.BadHalfClose, "--half-close=x");
addWrong("arguments", ["unix/x", "1", "x", "y"], Code.TooManyArguments, "y");
addWrong("variable", ["unix/x"], Code.UnknownOption, `${OPTIONS}: --nope`, variable("--nope"));
addWrong("quoting", ["unix/x"], Code.BadQuoting, OPTIONS, variable("-v 'x"));
addWrong("help", ["unix/x"], Code.NotForVariable, `${OPTIONS}: --help`, variable("--help"));
addWrong(
  "scheme",
  ["\x1b[2Jé\x9b\u202e"],
  Code.UnknownAddress,
  "\\x1b[2Jé\\xc2\\x9b\\xe2\\x80\\xae",
);
addWrong("empty-path", ["unix/"], Code.EmptyPath, "unix/");
addWrong("empty-name", ["unix-abstract/"], Code.EmptyName, "unix-abstract/");
addWrong("long-name", [`unix-abstract/${"n".repeat(108)}`], Code.NameTooLong, long108());
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

function long108(): string {
  return `unix-abstract/${"n".repeat(108)}`;
}
add("wrong,address,--log-file", undefined, {
  args: [`--log-file=${LOG}`, "-v", "vsock/"],
  code: Code.EmptyCid,
  subject: "vsock/ port 22",
  verbose: true,
  logPath: LOG,
});

export const SCENARIOS: readonly Scenario[] = scenarios;
