// What arbitrary cases are about: the address, the peer, the handshake, passing the descriptor, a relay,
// --wait. `hostCases` can be played by real sockets, too; tests/simulated/arbitrary.ts has more.

import fc from "fast-check";

import { Code } from "../../assembly/codes";
import { unixTarget, vsockTarget } from "./case";
import type { Attempt, Case, Stderr, Stdin, Target, World } from "./case";
import { chance, escape, finish, how, merge, oneOf } from "./draft";
import type { Draft, HostCase, Option } from "./draft";
import { connectCodes, handshakeCode, subjectOf } from "./oracle";

const folders = ["./", "./run/", "./with space/", "./\xff\xfe/", `./${"d".repeat(150)}/`];
const forms = ["plain", "plain", "plain", "percent", "name", "other"] as const;

/** An address that leads to a socket in the run's directory, or to an abstract one. */
export function address(scheme: "unix" | "vsock-mux"): fc.Arbitrary<Draft> {
  const port = oneOf(undefined, "22", "0", "1024", "4294967294");
  return fc
    .record({ folder: fc.oneof(fc.constant("./"), oneOf(...folders)), port, form: oneOf(...forms) })
    .chain(({ folder, port, form }) =>
      form === "other" && scheme === "unix"
        ? oneOf(abstractAddress, hostAddress(`${folder}peer`))
        : fc.constant(pathAddress(scheme, `${folder}peer`, form, port)),
    );
}

function pathAddress(
  scheme: "unix" | "vsock-mux",
  path: string,
  form: (typeof forms)[number],
  port?: string,
): Draft {
  let written = `${scheme}/${path}`;
  const words = [written];
  if (form === "percent") {
    written = `${scheme}%${path.replaceAll("%", "%%").replaceAll("/", "%")}`;
    words[0] = written;
  }
  if (form === "name") {
    // ssh lower-cases %h, and %n has the capital.
    port ??= "22";
    path = path.replace("peer", "Peer");
    written = `${scheme}/${path}`;
    words.push(port, written);
  } else if (port !== undefined) words.push(port);
  const bytes = Buffer.from(written, "latin1");
  const number = Number(port ?? "22");
  const target = unixTarget(scheme, path);
  return scheme === "unix"
    ? { words, subject: subjectOf(bytes, target), target }
    : {
        words,
        subject: subjectOf(bytes, { ...target, port: number }),
        target: { ...target, port: number },
      };
}

// The names of abstract sockets belong to the whole machine; lockstep.ts makes this one unique.
export const ABSTRACT_NAME = "lock-step-000000-00";
const abstractAddress: Draft = {
  words: [`unix-abstract/${ABSTRACT_NAME}`],
  subject: `unix-abstract/${ABSTRACT_NAME}`,
  target: unixTarget("unix-abstract", `\0${ABSTRACT_NAME}`),
};

function hostAddress(path: string): Draft {
  const target = unixTarget(".host", path);
  const options: Option[] = [["--host-socket", path]];
  return { words: [".host"], options, subject: `.host at ${escape(path)}`, target };
}

function timeout(ms: number): Draft {
  return { options: [["--timeout", `${ms}ms`]], timeoutMs: ms };
}

/** What does not concern the connection. */
export const noise: fc.Arbitrary<Draft> = fc
  .record({
    verbose: chance(25),
    log: chance(15),
    names: fc.tuple(oneOf("-v", "--verbose"), oneOf("./log", "./my log")),
    stderr: fc.oneof(
      { weight: 15, arbitrary: fc.constant<Stderr>("pipe") },
      oneOf<Stderr[]>("file", "null", "pipe without reader", "full pipe"),
    ),
  })
  .map(({ verbose, log, names: [v, path], stderr }) =>
    merge(
      { world: { stderr } },
      verbose ? { options: [[v]], verbose } : {},
      log ? { options: [["--log-file", path]], log: { path, subject: path } } : {},
    ),
  );

// ---- what a case is about

/** What an import returns in the simulation, where a real kernel does so by itself. */
const simulated = (name: string, error: string): World => ({
  simulation: { fails: { [name]: [error] } },
});

const usual = oneOf("unix/./peer", "unix/\x1b]0;x\x07", "unix/\xe2\x80\xae", "unix/a\\b");

/** A wrong option, which the failure names, or one that asks for a text. */
const wrongOptions: [NonNullable<Case["code"]>, string[]][] = [
  [Code.UnknownOption, ["--nothing", "-x", "-vv", "-", "--Version", "-\xff"]],
  [Code.BadDuration, ["--timeout=", "--timeout=1h", "--wait=-1", "--linger=x"]],
  [Code.DurationOutOfRange, ["--timeout=0", "--timeout=99999m", "--wait=86401", "--linger=1441m"]],
  [Code.BadHalfClose, ["--half-close=no"]],
  [Code.UnwantedValue, ["--fdpass=yes", "-v=", "--help=me"]],
  [Code.BadPath, ["--host-socket=", "--log-file="]],
  ["help", ["-h", "--help"]],
  ["version", ["-V", "--version"]],
];
const wrongOption = fc
  .tuple(
    oneOf(...wrongOptions.flatMap(([code, all]) => all.map((one) => [code, one] as const))),
    usual,
  )
  .map(([[code, option], word]): Draft => ({
    words: [word],
    options: [[option]],
    subject: option,
    code,
  }));

/** Words that are no address, or an address with no such socket. */
const wrongWords: [Code, string[][]][] = [
  [Code.UnknownAddress, [[""], ["/"], ["machine"], ["vsock"], ["ssh/3"], ["%"], [".hosts"]]],
  [Code.EmptyPath, [["unix/"], ["unix%"], ["vsock-mux/", "22"]]],
  [Code.EmptyName, [["unix-abstract/"]]],
  [Code.EmptyCid, [["vsock/"]]],
  [Code.BadCid, [["vsock/0x3"], ["vsock/-1"], ["vsock/ 3"], ["vsock/03"], ["vsock/guest"]]],
  [Code.CidOutOfRange, [["vsock/4294967295"], ["vsock/4294967296"], ["vsock/99999999999"]]],
  [Code.EmptyPort, [["vsock/3", ""]]],
  [
    Code.BadPort,
    [
      ["vsock%local", "x"],
      ["vsock-mux/./peer", "022"],
      ["vsock/3", "22 "],
    ],
  ],
  [
    Code.PortOutOfRange,
    [
      ["vsock/3", "4294967295"],
      ["vsock-mux/./peer", "99999999999"],
    ],
  ],
  [Code.PathTooLong, [[`unix/${"p".repeat(4096)}`], [`unix/${"p".repeat(4094)}`]]],
  [Code.NameTooLong, [[`unix-abstract/${"n".repeat(108)}`], [`unix-abstract/${"n".repeat(200)}`]]],
];
const wrongAddress = oneOf(
  ...wrongWords.flatMap(([code, all]) => all.map((words) => [code, words] as const)),
).map(([code, words]): Draft => {
  const [address = "", port = "22"] = words;
  const hasPort = /^vsock(-mux)?[/%]/.test(address);
  const shown = hasPort ? `${escape(address)} port ${port || "''"}` : address || "''";
  const isPath = code === Code.PathTooLong && address.length < 4100;
  return {
    words: [...words],
    subject: shown,
    code,
    ...(isPath && {
      target: unixTarget("unix", address.slice("unix".length)),
      world: simulated("sock_connect", "NAMETOOLONG"),
    }),
  };
});

/** An address that is right, and descriptor 1, or the log, is not. */
const wrongOutput = oneOf<Draft[]>(
  ...(["pipe", "file", "datagram", "seqpacket"] as const).map((stdout): Draft => {
    const options: Option[] = [["--fdpass"]];
    return { options, mode: "fdpass", code: Code.NoFdPassing, world: { stdout } };
  }),
  { code: Code.NoStdout, world: { stdout: "null" } },
  ...(
    [
      [".", "ISDIR", Code.LogIsDirectory],
      ["./a/b", "NOENT", Code.LogNoDirectory],
    ] as const
  ).map(([path, error, code]): Draft => {
    const log = { path, subject: path };
    const world = simulated("log_open", error);
    return { options: [["--log-file", path]], log, code, world };
  }),
).chain((draft) =>
  oneOf(
    ["vsock/3", "vsock/3 port 22", vsockTarget(3, 22)] as const,
    ["vsock/hypervisor", "vsock/hypervisor port 22", vsockTarget(0, 22)] as const,
    ["unix/./peer", "unix/./peer", unixTarget("unix", "./peer")] as const,
  ).map(([word, subject, target]): Draft => ({ words: [word], subject, target, ...draft })),
);

const nameIsNotUsed = oneOf("unix/./peer", "x", "\x1b[2J", "\xc3\xbc").chain((name) =>
  usual.map((word): Draft => ({
    words: [word, "22", name],
    subject: escape(word),
    target: unixTarget("unix", word.replace(/^unix\/?(?=\.\/|\/)/, "")),
    code: Code.NoSocket,
    world: simulated("sock_connect", "NOENT"),
  })),
);

/** Nothing that accepts a connection. */
const unreachable: fc.Arbitrary<Draft> = fc
  .tuple(
    oneOf("unix", "vsock-mux").chain((scheme) => address(scheme)),
    oneOf(
      "NOENT",
      "CONNREFUSED",
      "PROTOTYPE",
      "ACCES",
      "LOOP",
      "NOTSOCK",
      "ISDIR",
      "NOTDIR",
      "TIMEDOUT",
    ),
    fc.integer({ min: 20, max: 39 }),
    fc.boolean(),
  )
  .map(([draft, error, ms, dangles]) => {
    const scheme = draft.target?.scheme ?? "unix";
    if (error === "TIMEDOUT") {
      return merge(draft, timeout(ms), {
        code: Code.QueueFull,
        world: { attempts: [{ takes: "deadline" }] },
      });
    }
    // What is not an abstract stream socket has no name to connect to.
    const connect = scheme === "unix-abstract" ? "CONNREFUSED" : error;
    const attempt: Attempt = { connect, ...(dangles && { place: "dangling" }) };
    const below = connect === "NOTDIR" ? belowFile(draft) : draft;
    return merge(below, {
      code: connectCodes[scheme][connect] as Code,
      world: { attempts: [attempt] },
    });
  });

/** The address of a file in what is itself a file. */
function belowFile(draft: Draft): Draft {
  const extend = (text: string): string => text.replace(/([pP])eer(?=$| port)/, "$1eer/below");
  const { target, subject = "" } = draft;
  const extendWord = (text: string): string =>
    text.includes("/") ? extend(text) : extend(text).replace("/below", "%below");
  const [address = "", path] = subject.split(" at ");
  const { words = [], options = [] } = draft;
  return {
    ...draft,
    words: words.map(extendWord),
    options: options.map((option) => option.map(extend) as Option),
    subject: extendWord(address) + (path === undefined ? "" : ` at ${extend(path)}`),
    target: {
      ...(target as Target),
      address: Buffer.from(extend(`${target?.address.toString("latin1")}`), "latin1"),
    },
  };
}

const BANNER = "SSH-2.0-guest\r\n";
const okLine = oneOf("7", "0", "22", "1024", "1073741824", "4294967295", "0000000001").map(
  (number) => `OK ${number}\n`,
);

/** What a multiplexer sends: a reply that is right, cut short, changed, or wrong. */
const reply: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(okLine, oneOf("", BANNER, "\0")).map(([line, rest]) => line + rest),
  },
  oneOf("OK 4294967296\n", "OK 9999999999\n", "OK 12345678901\n"),
  oneOf("OK\n", "OK \n", "ok 1\n", "OK  1\n", "OK 1\r\n", "NO 1\n", "\n", "OK 1x"),
  fc
    .tuple(okLine, fc.nat(13))
    .map(([line, length]) => line.slice(0, Math.min(length, line.length - 1))),
  fc
    .tuple(okLine, fc.nat(13), fc.nat(255))
    .map(([line, at, byte]) =>
      at < line.length ? line.slice(0, at) + String.fromCharCode(byte) + line.slice(at + 1) : line,
    ),
);

/** A text in segments. */
function segments(text: string): fc.Arbitrary<Buffer[]> {
  const cut = (lengths: readonly number[]): Buffer[] => {
    const parts: Buffer[] = [];
    for (let at = 0, i = 0; at < text.length; i++) {
      const length = lengths[i] ?? text.length;
      parts.push(Buffer.from(text.slice(at, at + length), "latin1"));
      at += length;
    }
    return parts;
  };
  return fc.oneof(
    fc.constant(cut([])),
    fc.constant(cut(Array<number>(text.length).fill(1))),
    fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 40 }).map(cut),
  );
}

/** One attempt at a multiplexer, and its result. */
export const exchange: fc.Arbitrary<{ attempt: Attempt; code: Code }> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .record({ text: reply, end: oneOf<("eof" | "silence")[]>("eof", "silence") })
      .chain(({ text, end }) =>
        segments(text).map((parts) => ({
          attempt: { reply: parts, end },
          code: handshakeCode(text, end),
        })),
      ),
  },
  oneOf<Attempt["drops"][]>("before-request", "unread").map((drops) => ({
    attempt: { ...(drops && { drops }) },
    code: Code.ResetInHandshake,
  })),
);

/** Descriptors 0 and 1 as ssh has them, or with the other end closed; with --fdpass 0 may be another. */
const client: fc.Arbitrary<Draft> = fc
  .record({ hello: chance(20), gone: chance(10), fdpass: chance(10) })
  .map(({ hello, gone, fdpass }) => {
    const content = hello && !gone ? "hello" : "";
    const stdin: Stdin =
      fdpass && !hello ? { kind: "null" } : { kind: "stdout", content, ends: false };
    const world: World = { stdin, stdout: gone ? "unix without reader" : "unix" };
    const mode: Draft = fdpass ? { options: [["--fdpass"]], mode: "fdpass" } : {};
    return merge(mode, { world, code: gone ? Code.ClientGone : Code.Done });
  });

const handshake: fc.Arbitrary<Draft> = fc
  .record({
    draft: address("vsock-mux"),
    exchange,
    client,
    place: chance(10),
    shortMs: fc.integer({ min: 10, max: 29 }),
    longMs: fc.oneof(
      { weight: 4, arbitrary: fc.constant(undefined) },
      oneOf(5000, 60_000, 86_400_000),
    ),
  })
  .map(({ draft, exchange: { attempt, code }, client, place, shortMs, longMs }) => {
    const isSilent = code === Code.ReplyTimeout || code === Code.ReplyTimeoutWithinLine;
    // The deadline is to pass where the peer sends no more, and nowhere before.
    const hasReply = attempt.reply !== undefined && attempt.reply.length > 0;
    const ms = isSilent ? (hasReply ? 200 : shortMs) : longMs;
    return merge(draft, client, ms === undefined ? {} : timeout(ms), {
      ...(code !== Code.Done && { code }),
      world: { attempts: [{ ...attempt, ...(place && { place: "linked" as const }) }] },
    });
  });

const fdPassing: fc.Arbitrary<Draft> = fc
  .record({
    draft: address("unix"),
    client,
    attempt: oneOf<Attempt[]>(
      {},
      { reply: [BANNER] },
      { reply: [BANNER], end: "eof" },
      { end: "eof" },
      { drops: "before-request" },
    ),
    isFull: chance(15),
    ms: fc.integer({ min: 20, max: 39 }),
  })
  .map(({ draft, client, attempt, isFull, ms }) =>
    isFull
      ? merge(draft, timeout(ms), {
          code: Code.FdPassTimeout,
          world: { attempts: [attempt], stdout: "full unix" },
        })
      : merge(draft, client, { world: { attempts: [attempt] } }),
  );

/** A multiplexer's attempt that succeeds; of a unix socket's, nothing more. */
function accepting(draft: Draft): fc.Arbitrary<Attempt> {
  if (draft.target?.scheme !== "vsock-mux") return fc.constant({});
  return segments("OK 7\n").map((parts) => ({ reply: parts }));
}

const withAttempt = oneOf("unix", "vsock-mux")
  .chain((scheme) => address(scheme))
  .chain((draft) => fc.tuple(fc.constant(draft), accepting(draft)));

/** A relay, in one of the ways in which it can end. */
const relay: fc.Arbitrary<Draft> = fc
  .record({
    start: withAttempt,
    size: oneOf(0, 1, 100, 4096, 50_000),
    closes: oneOf(undefined, "auto", "always", "never"),
    first: oneOf("", BANNER),
    last: oneOf("", "y".repeat(20_000)),
    stdout: oneOf("pipe", "file", "unix"),
    kind: oneOf("pipe", "file"),
    way: oneOf("usual", "stdin is stdout", "end", "deaf", "no reader", "full", "directory"),
    ends: fc.boolean(),
    stdio: chance(20),
    lingers: chance(20),
  })
  .map(
    ({ start: [draft, attempt], size, closes, first, last, stdout, kind, way, ends, ...rest }) => {
      const { stdio, lingers } = rest;
      const isMux = draft.target?.scheme === "vsock-mux";
      const halfClose = closes === "always" || (closes !== "never" && !isMux);
      const content = "x".repeat(size);
      const silent = { kind: "pipe", content: "", ends: false } as const;
      const world: World = {
        attempts: [attempt],
        stdout,
        stdin: { kind, content },
        relay: { first, until: size, last },
      };
      let code: Code | undefined = Code.Done;
      if (way === "end" && halfClose) world.relay = { first, until: "end", last };
      if (way === "end" && !halfClose) world.stdin = { ...silent, content };
      if (way === "deaf") {
        world.attempts = [{ ...attempt, drops: "before-request" }];
        world.stdin = { kind, content: content || "x" };
        code = isMux ? Code.ResetInHandshake : Code.PeerClosed;
      }
      if (way === "no reader") {
        world.stdout = "pipe without reader";
        world.stdin = { ...silent, ends };
        world.relay = { first: "", until: "end", last: "" };
        code = ends ? undefined : Code.StdoutClosed;
      }
      if (way === "full") {
        world.stdout = "full";
        world.stdin = silent;
        world.relay = { first: BANNER, until: "end", last: "" };
        code = Code.StdoutFull;
      }
      if (way === "directory") {
        world.stdin = { kind: "directory" };
        world.relay = { first: "", until: "end", last: "" };
        code = Code.StdinIsDirectory;
      }
      if (way === "stdin is stdout" && stdout === "unix") world.stdin = { kind: "stdout", content };
      const isStdio = world.stdin?.kind === "stdout" || stdio;
      return merge(
        draft,
        closes === undefined ? {} : { options: [["--half-close", closes]] },
        isStdio ? { options: [["--stdio"]], mode: "stdio" } : {},
        // Longer than any case takes.
        lingers ? { options: [["--linger", "60"]], lingerMs: 60_000 } : {},
        { halfClose, world, ...(code !== undefined && { code }) },
      );
    },
  );

/** A machine that boots: attempts that fail, and then one that does not, or ends the wait. */
const boots: fc.Arbitrary<Draft> = fc
  .record({
    start: withAttempt,
    failing: fc.array(
      oneOf<Attempt[]>(
        { connect: "NOENT" },
        { connect: "CONNREFUSED" },
        { connect: "NOENT", place: "dangling" },
        { reply: [], end: "eof" },
        { reply: ["OK 1"], end: "eof" },
        { drops: "unread" },
      ),
      { minLength: 1, maxLength: 2 },
    ),
    wait: oneOf("10m", "600", "1440m"),
    fate: oneOf("is reached", "is reached", "is reached", "client exits", "is another kind"),
    stdout: oneOf("unix", "unix", "pipe", "file"),
    terminal: fc.option(oneOf("xterm", "dumb", "")),
  })
  .map(({ start: [draft, last], failing, wait, fate, stdout, terminal }) => {
    const scheme = draft.target?.scheme ?? "unix";
    const failures = failing.map((attempt): Attempt => {
      if (scheme === "unix-abstract") return { connect: "CONNREFUSED" };
      return scheme === "vsock-mux" || attempt.connect !== undefined
        ? attempt
        : { connect: "NOENT" };
    });
    const exits = fate === "client exits" && stdout !== "file";
    // An abstract socket of another kind is none.
    const wrong = fate === "is another kind" && scheme !== "unix-abstract";
    const world: World = {
      attempts: [...failures, wrong ? { connect: "PROTOTYPE" } : last],
      stdout,
      ...(exits && { clientExits: { afterAttempt: failures.length } }),
      ...(stdout !== "unix" && { relay: { first: BANNER, until: 0, last: "" } }),
      ...(terminal !== null && { stderr: "terminal" as const }),
    };
    return merge(draft, {
      options: [["--wait", wait]],
      waitMs: wait === "1440m" ? 86_400_000 : 600_000,
      code: exits ? Code.ClientGone : wrong ? Code.WrongSocketType : Code.Done,
      world,
      ...(terminal !== null && { term: terminal }),
    });
  });

export const subjects = fc.oneof(
  { weight: 32, arbitrary: handshake },
  { weight: 15, arbitrary: unreachable },
  { weight: 12, arbitrary: fdPassing },
  { weight: 14, arbitrary: relay },
  { weight: 12, arbitrary: boots },
  {
    weight: 15,
    arbitrary: fc.oneof(wrongOption, wrongAddress, wrongOutput, nameIsNotUsed),
  },
);

export const hostCases: fc.Arbitrary<HostCase> = fc
  .tuple(subjects, noise, how)
  .map(([draft, noise, how]) => {
    const { world = {}, words = [""] } = draft;
    // A terminal's buffer has room for a few lines; -v would repeat an address of 4 KiB.
    const isLong = world.stderr === "terminal" || (words[0] ?? "").length > 1000;
    return finish(isLong || draft.log !== undefined ? draft : merge(noise, draft), how);
  });
