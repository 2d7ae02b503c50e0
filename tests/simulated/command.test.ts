// The command: its options, what it says and how it ends, in simulated worlds (errors that no real
// peer can be made to show) and as a process.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, it } from "node:test";
import { Code, Exit } from "../../assembly/codes";
import { MESSAGES } from "../../assembly/messages";
import { proxyCommand, root } from "../support/proxy";
import { beginRun } from "../support/record";
import { errno, simulate, type World } from "./world";

const OK = Buffer.from("OK 1073741824\n");
const MS = 1_000_000;

function run(args: string[]) {
  return start([...proxyCommand(), ...args]);
}

/** Runs a command that starts the proxy. */
function start(command: string[]) {
  const record = beginRun(command);
  const env = { ...process.env, ...record.env };
  const options = { encoding: "latin1", env, timeout: 60_000 } as const;
  const ran = spawnSync(command[0] as string, command.slice(1), options);
  record.end(ran.status, ran.stderr);
  return ran;
}

/** One line, about `what`, without a control character; and the exit status. */
function fails(args: (string | Buffer)[], world: World, exit: number, text: RegExp): void {
  const outcome = simulate(args, world);
  const line = outcome.stderr.toString();
  assert.equal(outcome.exit, exit, line);
  assert.match(line, /^ssh-vsock-proxy: [^\x00-\x1f\x7f]+\n$/);
  assert.match(line, text);
  assert.deepEqual(outcome.handedOver, []);
}

describe("options", () => {
  it("--help and --version speak on stderr, and say nothing on stdout", () => {
    for (const option of ["--help", "-h"]) {
      const { status, stdout, stderr } = run([option]);
      assert.deepEqual({ status, stdout }, { status: 0, stdout: "" });
      assert.match(stderr, /^Usage: ssh-vsock-proxy /);
    }
    const { version } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
      version: string;
    };
    for (const option of ["--version", "-V"]) {
      const { status, stdout, stderr } = run([option]);
      assert.deepEqual({ status, stdout }, { status: 0, stdout: "" });
      assert.equal(stderr, `ssh-vsock-proxy ${version}\n`);
    }
  });

  it("--help names every exit status and option", () => {
    const { stderr } = run(["--help"]);
    const statuses = Object.values(Exit).filter((status) => typeof status === "number");
    for (const status of statuses) assert.match(stderr, new RegExp(`[ \\n]${status} \\w`));
    for (const option of ["--timeout", "--host-socket", "--fdpass"])
      assert.ok(stderr.includes(option));
    for (const option of ["-v, --verbose", "-h, --help", "-V, --version"]) {
      assert.ok(stderr.includes(option), option);
    }
    for (const line of stderr.split("\n")) assert.ok(line.length <= 106, line);
  });

  const durations: [string, number | undefined][] = [
    ["1ms", 1],
    ["500ms", 500],
    ["5", 5000],
    ["5s", 5000],
    ["2m", 120_000],
    ["1440m", 86_400_000],
    ["86400", 86_400_000],
    ["86400000ms", 86_400_000],
    ["0", undefined],
    ["0ms", undefined],
    ["1441m", undefined],
    ["86401s", undefined],
    ["4294967295m", undefined],
    ["99999999999", undefined],
    ["", undefined],
    ["s", undefined],
    ["5x", undefined],
    ["5 s", undefined],
    [" 5", undefined],
    ["05", undefined],
    ["-5", undefined],
    ["5h", undefined],
    ["5S", undefined],
    ["1.5s", undefined],
    ["5ss", undefined],
  ];
  for (const [text, milliseconds] of durations) {
    it(`--timeout '${text}' ${milliseconds === undefined ? "is refused" : `is ${milliseconds} ms`}`, () => {
      for (const args of [[`--timeout=${text}`], ["--timeout", text]]) {
        const outcome = simulate([...args, "unix/x"]);
        if (milliseconds === undefined) {
          assert.equal(outcome.exit, 64);
          assert.match(outcome.stderr.toString(), /duration/);
        } else {
          assert.equal(outcome.deadline, milliseconds * MS, outcome.stderr.toString());
        }
      }
    });
  }

  it("the deadline is 5 s where none is given, and the last one where several are", () => {
    assert.equal(simulate(["unix/x"]).deadline, 5000 * MS);
    assert.equal(simulate(["--timeout", "1s", "--timeout=2s", "unix/x"]).deadline, 2000 * MS);
  });

  const wrong: [string[], RegExp][] = [
    [[], /^ssh-vsock-proxy: no address given \(see --help\)/],
    [["--"], /: no address given/],
    [["-v"], /: no address given/],
    [["--nope", "unix/x"], /: --nope: unknown option/],
    [["-x", "unix/x"], /: -x: unknown option/],
    [["-", "unix/x"], /: -: unknown option/],
    [["--time", "5s", "unix/x"], /: --time: unknown option/],
    [["--timeoutt=5s", "unix/x"], /: --timeoutt=5s: unknown option/],
    [["-vv", "unix/x"], /: -vv: unknown option/],
    [["--timeout", "x", "unix/x"], /: --timeout x: not a duration/],
    [["--timeout", "", "unix/x"], /: --timeout '': not a duration/],
    [["--timeout=", "unix/x"], /: --timeout=: not a duration/],
    [["--timeout=\x1b", "unix/x"], /: --timeout=\\x1b: not a duration/],
    [["--host-socket", "", ".host"], /: --host-socket '': not a path/],
    [[""], /: '': address not understood/],
    [["--timeout"], /: --timeout: the option needs a value/],
    [["--host-socket"], /: --host-socket: the option needs a value/],
    [["--verbose=1", "unix/x"], /: --verbose=1: the option takes no value/],
    [["--help=x"], /: --help=x: the option takes no value/],
    [["unix/x", "22", "unix/x", "more"], /: more: too many arguments/],
  ];
  for (const [args, text] of wrong) {
    it(`${JSON.stringify(args)} is refused`, () => {
      fails(args, {}, 64, text);
    });
  }

  it("end at the address, so that nothing that ssh puts in can be one", () => {
    assert.equal(simulate(["unix/x", "--help"]).exit, 0);
    assert.equal(simulate(["unix/x", "22", "--timeout"]).exit, 0);
    fails(["--", "--help"], {}, 64, /: --help: address not understood/);
  });

  it("-v says each step, with its time, and changes nothing else", () => {
    const world = { answer: [OK] };
    const quiet = simulate(["vsock-mux/m", "99"], world);
    const outcome = simulate(["-v", "vsock-mux/m", "99"], world);
    const steps = outcome.stderr.toString().trimEnd().split("\n");
    const said = steps.map((step) =>
      step.replace(/^ssh-vsock-proxy: vsock-mux\/m port 99: \d+\.\d{3} ms: /, ""),
    );
    assert.deepEqual(said, [
      "connecting to /m, for at most 5000.000 ms",
      "connected, and asked the multiplexer with CONNECT",
      "the multiplexer answered OK 1073741824",
      "handed the connection over to ssh",
    ]);
    assert.equal(quiet.stderr.length, 0);
    assert.deepEqual(outcome.handedOver, quiet.handedOver);
  });
});

describe("-v", () => {
  const connecting = (...args: string[]): string =>
    simulate(["-v", ...args])
      .stderr.toString()
      .split("\n")[0] ?? "";
  it("shows the path that an address means", () => {
    assert.match(connecting("unix%a%%b%c"), /connecting to \/a%b\/c, /);
    assert.match(connecting("unix/tmp/x", "22", "unix/tmp/X"), /unix\/tmp\/X: .* to \/tmp\/X, /);
    assert.match(connecting("unix-abstract/a"), /connecting to \\x00a, /);
    assert.match(connecting("vsock/3"), /vsock\/3 port 22: .*: connecting, for /);
    assert.match(connecting(".host"), /\.host at \/run\/ssh-unix-local\/socket: /);
  });
  it("says nothing between connecting to a multiplexer and CONNECT", () => {
    const { calls } = simulate(["-v", "vsock-mux/m"], { answer: [OK] });
    assert.equal(calls[calls.indexOf("sock_connect") + 1], "sock_send");
  });
  it("costs no more than a second where stderr takes nothing", () => {
    const stuck = { answer: [OK], stderrIsStuck: true };
    const outcome = simulate(["-v", "vsock-mux/m"], stuck);
    assert.equal(outcome.exit, 0);
    assert.ok(outcome.waited >= 1000 * MS && outcome.waited < 1100 * MS, `${outcome.waited}`);
    assert.equal(simulate(["unix/x"], { ...stuck, fails: { sock_open: [errno.IO] } }).exit, 71);
  });
});

describe("the way to a connection", () => {
  const prologue = [
    "clock_time_get",
    "args_sizes_get",
    "environ_sizes_get",
    "args_get",
    "environ_get",
    "fd_fdstat_get",
    "sock_addr_local",
  ];

  it("asks for nothing that it does not need", () => {
    const connect = [...prologue, "clock_time_get", "sock_open", "sock_connect"];
    assert.deepEqual(simulate(["unix/x"]).calls, [...connect, "sock_send_fds", "proc_exit"]);
    assert.deepEqual(simulate(["vsock/3"]).calls, [...connect, "sock_send_fds", "proc_exit"]);
    assert.deepEqual(simulate(["vsock-mux/m"], { answer: [OK] }).calls, [
      ...connect,
      "sock_send",
      ...["poll_oneoff", "sock_recv", "sock_recv"],
      ...["sock_send_fds", "proc_exit"],
    ]);
  });

  it("hands over one byte, 0, and one descriptor", () => {
    for (const args of [["unix/x"], ["vsock/3"], ["vsock-mux/m"]]) {
      const { exit, handedOver } = simulate(args, { answer: [OK] });
      assert.equal(exit, 0);
      assert.deepEqual(handedOver, [{ bytes: Buffer.from([0]), fds: [3] }]);
    }
  });

  it("leaves what comes behind the OK line in the socket", () => {
    const banner = Buffer.from("SSH-2.0-x\r\n");
    // With the shortest line, most of what is looked at is the guest's.
    for (const line of [OK, Buffer.from("OK 22\n"), Buffer.from("OK 0\n")]) {
      const bytewise = Array.from(line, (byte) => Buffer.from([byte]));
      for (const answer of [
        [line, banner],
        [Buffer.concat([line, banner])],
        [...bytewise, banner],
      ]) {
        const { exit, taken } = simulate(["vsock-mux/m"], { answer });
        assert.equal(exit, 0);
        assert.deepEqual(taken, line);
      }
    }
  });

  it("takes the OK line although the socket gives it byte by byte", () => {
    const { exit, taken } = simulate(["vsock-mux/m"], { answer: [OK], recvGives: 1 });
    assert.equal(exit, 0);
    assert.deepEqual(taken, OK);
  });
});

describe("what fails while connecting", () => {
  type Row = [error: keyof typeof errno, exit: number, text: RegExp];
  const anywhere: Row[] = [
    ["MFILE", 71, /too many open files/],
    ["NFILE", 71, /too many open files/],
    ["NOMEM", 71, /out of memory/],
    ["NOBUFS", 71, /out of memory/],
    ["IO", 71, /system error: WASI errno 29, from sock_(open|connect)$/m],
    ["ADDRNOTAVAIL", 71, /system error: WASI errno 4,/],
  ];
  const file: Row[] = [
    ["NOENT", 68, /no such socket/],
    ["NOTDIR", 68, /not a directory/],
    ["LOOP", 68, /symbolic links/],
    ["NOTSOCK", 68, /not a socket/],
    ["ISDIR", 68, /a directory is at that path/],
    ["NAMETOOLONG", 64, /too long/],
    ["NOTSUP", 71, /\/proc/],
    ["PROTOTYPE", 76, /not a stream socket/],
    ["CONNREFUSED", 69, /connection refused: nobody listens on that socket/],
    ["TIMEDOUT", 75, /queue is full/],
    ["ACCES", 77, /permission denied: .* mode/],
    ["PERM", 77, /permission denied: .* mode/],
    ["AFNOSUPPORT", 71, /system error: WASI errno 5,/],
    ...anywhere,
  ];
  const abstract: Row[] = [
    ["CONNREFUSED", 69, /nobody listens under that abstract name/],
    ["PROTOTYPE", 76, /not a stream socket/],
    ["TIMEDOUT", 75, /queue is full/],
    ["ACCES", 77, /sandbox/],
    ["PERM", 77, /sandbox/],
    ...anywhere,
  ];
  const vsock: Row[] = [
    ["CONNRESET", 69, /connection reset: the machine is up, but nothing listens there/],
    ["CONNREFUSED", 69, /nothing listens there/],
    ["NODEV", 68, /no such machine/],
    ["HOSTUNREACH", 68, /no such machine/],
    ["NETUNREACH", 68, /no such machine/],
    ["AFNOSUPPORT", 71, /no AF_VSOCK/],
    ["TIMEDOUT", 75, /no answer from the machine/],
    ["ACCES", 77, /sandbox/],
    ["PERM", 77, /sandbox/],
    ...anywhere,
  ];
  const addresses: [args: string[], subject: string, rows: Row[]][] = [
    [["unix/a b"], "unix/a b", file],
    [["vsock-mux/m"], "vsock-mux/m port 22", file],
    [[".host"], ".host at /run/ssh-unix-local/socket", file],
    [["--host-socket=x", ".host"], ".host at x", file],
    [["unix-abstract/n"], "unix-abstract/n", abstract],
    [["vsock/7", "99"], "vsock/7 port 99", vsock],
  ];
  for (const [args, subject, rows] of addresses) {
    for (const [error, exit, text] of rows) {
      it(`${subject}, ${error}: exit ${exit}`, () => {
        for (const name of ["sock_open", "sock_connect"]) {
          const world = { fails: { [name]: [errno[error]] } };
          fails(args, world, exit, text);
          const line = simulate(args, world).stderr.toString();
          assert.ok(line.startsWith(`ssh-vsock-proxy: ${subject}: `), line);
        }
      });
    }
  }
});

describe("what fails in the handshake", () => {
  const mux = ["vsock-mux/m", "22"];
  const about = /^ssh-vsock-proxy: vsock-mux\/m port 22: /;

  it("silence: exit 75, when the deadline has passed and not before", () => {
    fails(mux, {}, 75, /is the machine up yet\?/);
    assert.equal(simulate(["--timeout=700ms", ...mux]).waited, 700 * MS);
  });
  it("silence within the line: exit 75", () => {
    fails(mux, { answer: [Buffer.from("OK 1")] }, 75, /in the middle of the multiplexer's OK line/);
  });
  it("end of file: exit 69; within the line 76", () => {
    fails(mux, { end: "eof" }, 69, /nothing listens on that port/);
    fails(mux, { answer: [Buffer.from("OK 1")], end: "eof" }, 76, /in the middle/);
  });
  it("an end of file while the line is taken that was looked at: exit 76", () => {
    fails(mux, { answer: [OK], recvGives: 0 }, 76, about);
  });
  it("what is no OK line: exit 76", () => {
    fails(mux, { answer: [Buffer.from("OK 5 \n")] }, 76, /protocol error/);
    fails(mux, { answer: [Buffer.from("OK 4294967296\n")] }, 76, /above 4294967295/);
  });
  it("a request that leaves in part: exit 71, and nothing more is sent", () => {
    fails(mux, { answer: [OK], sendTakes: 5 }, 71, /only a part of CONNECT/);
    assert.equal(simulate(mux, { answer: [OK], sendTakes: 5 }).sent.length, 1);
  });
  it("a connection that is reset, at any of its calls: exit 69", () => {
    for (const error of [errno.CONNRESET, errno.PIPE]) {
      fails(mux, { answer: [OK], fails: { sock_send: [error] } }, 69, /connection reset/);
      fails(mux, { answer: [OK], fails: { sock_recv: [error] } }, 69, /connection reset/);
      fails(mux, { answer: [OK], fails: { sock_recv: [0, error] } }, 69, /connection reset/);
    }
  });
  it("every other errno, at any of its calls: exit 71", () => {
    for (const name of ["sock_send", "sock_recv", "poll_oneoff"]) {
      fails(mux, { answer: [OK], fails: { [name]: [errno.IO] } }, 71, about);
    }
  });
  it("a socket that takes the request only later is waited for", () => {
    const world = { answer: [OK], fails: { sock_send: [errno.AGAIN, errno.AGAIN, 0] } };
    assert.equal(simulate(mux, world).exit, 0);
  });
  it("a socket that never takes the request: exit 75, at the deadline", () => {
    const world = { fails: { sock_send: [errno.AGAIN] } };
    fails(mux, world, 75, /no answer from the multiplexer/);
  });
  it("a readiness without bytes is waited out", () => {
    const world = { answer: [OK], fails: { sock_recv: [errno.AGAIN, errno.AGAIN, 0] } };
    assert.equal(simulate(mux, world).exit, 0);
  });
});

describe("what fails in the hand-over", () => {
  it("ssh is gone: exit 71", () => {
    for (const error of [errno.PIPE, errno.CONNRESET, errno.NOTCONN]) {
      fails(
        ["unix/x"],
        { fails: { sock_send_fds: [error] } },
        71,
        /nobody waits for the connection any more/,
      );
    }
  });
  it("ssh takes it later: it is waited for", () => {
    const world = { fails: { sock_send_fds: [errno.AGAIN, 0] } };
    assert.equal(simulate(["unix/x"], world).exit, 0);
  });
  it("ssh never takes it: exit 75", () => {
    const world = { fails: { sock_send_fds: [errno.AGAIN] } };
    fails(["unix/x"], world, 75, /ssh does not take the connection/);
  });
  it("descriptor 1 is no unix stream socket: --fdpass exits with 64 before anything is connected", () => {
    for (const stdout of [
      { filetype: 4, family: 3 },
      { filetype: 5, family: 3 },
      { filetype: 6, family: 40 },
      { filetype: 0, family: 3 },
    ]) {
      const args = ["--fdpass", "vsock-mux/x"];
      fails(args, { stdout }, 64, /ProxyUseFdpass/);
      assert.ok(!simulate(args, { stdout }).calls.includes("sock_open"));
    }
    for (const name of ["fd_fdstat_get", "sock_addr_local"]) {
      fails(["--fdpass", "unix/x"], { fails: { [name]: [errno.IO] } }, 64, /ProxyUseFdpass/);
    }
  });
  it("descriptor 1 is closed: exit 71 before anything is connected", () => {
    const world = { fails: { fd_fdstat_get: [errno.BADF] } };
    fails(["unix/x"], world, 71, /standard output is closed/);
    assert.ok(!simulate(["unix/x"], world).calls.includes("sock_open"));
  });
});

describe("what is said", () => {
  const refuse = { fails: { sock_connect: [errno.NOENT] } };
  const shown: [string | Buffer, string][] = [
    ["unix/a b", "unix/a b"],
    ["unix/käse/日本/😀", "unix/käse/日本/😀"],
    ["unix/\x1b[31mred\x07", "unix/\\x1b[31mred\\x07"],
    ["unix/a\nb\tc\x7f", "unix/a\\x0ab\\x09c\\x7f"],
    ["unix/back\\slash", "unix/back\\\\slash"],
    [Buffer.from("unix/\x9b31m\xff\xfe", "latin1"), "unix/\\x9b31m\\xff\\xfe"],
    ["unix/\u0085\u009b31m", "unix/\\xc2\\x85\\xc2\\x9b31m"],
    ["unix/\u202eevil\u2066\u200f", "unix/\\xe2\\x80\\xaeevil\\xe2\\x81\\xa6\\xe2\\x80\\x8f"],
    ["unix/\ufeff\u061c", "unix/\\xef\\xbb\\xbf\\xd8\\x9c"],
    ["unix/a\u00adb\u{e0041}", "unix/a\\xc2\\xadb\\xf3\\xa0\\x81\\x81"],
    [
      "unix/\u00a0\u200a\u2010\u2070\ud7ff\ue000\u{dffff}",
      "unix/\u00a0\u200a\u2010\u2070\ud7ff\ue000\u{dffff}",
    ],
    [Buffer.from("unix/\xc0\xafx\xe0\x80\xafx", "latin1"), "unix/\\xc0\\xafx\\xe0\\x80\\xafx"],
    [Buffer.from("unix/\xed\xa0\x80", "latin1"), "unix/\\xed\\xa0\\x80"],
    [Buffer.from("unix/\xf4\x90\x80\x80", "latin1"), "unix/\\xf4\\x90\\x80\\x80"],
    [Buffer.from("unix/\xe6\x97", "latin1"), "unix/\\xe6\\x97"],
  ];
  for (const [address, text] of shown) {
    it(`names ${JSON.stringify(address.toString("latin1"))} as ${text}`, () => {
      const line = simulate([address], refuse).stderr.toString();
      assert.ok(line.startsWith(`ssh-vsock-proxy: ${text}: no such socket`), line);
    });
  }

  it("names the address by what was typed, with its capitals", () => {
    const line = simulate(["unix/tmp/x", "22", "unix/Tmp/X"], refuse).stderr.toString();
    assert.match(line, /: unix\/Tmp\/X: /);
  });
  it("names a port that is wrong, and escapes it", () => {
    fails(["vsock/1", "2\x1b"], {}, 64, /: vsock\/1 port 2\\x1b: not a port/);
  });
  it("shows an address and a port that are too long in part, and says all the same what is wrong", () => {
    const args = [`vsock/${"\x01".repeat(4160)}`, "\x02".repeat(4160)];
    const line = simulate(args).stderr.toString();
    assert.match(line, /^ssh-vsock-proxy: vsock\/(\\x01)+\.\.\. port \.\.\.: not a CID[^\n]*\n$/);
  });
  it("shows the longest path whole, and cuts what is longer", () => {
    const longest = `unix/${"\x01".repeat(4094)}`;
    const line = simulate([longest], refuse).stderr.toString();
    assert.equal(line.match(/\\x01/g)?.length, 4094);
    assert.match(line, /no such socket/);
    const far = simulate([`unix/${"x".repeat(130_000)}`], refuse);
    assert.equal(far.exit, 64);
    assert.ok(far.stderr.length < 5000);
    assert.match(far.stderr.toString(), /x\.\.\.: path too long/);
  });
  it("is written in one piece, and to its end where stderr takes it in parts", () => {
    const whole = simulate(["unix/x"], refuse);
    assert.equal(whole.calls.filter((name) => name === "fd_write").length, 1);
    const parts = simulate(["unix/x"], { ...refuse, writeTakes: 7 });
    assert.deepEqual(parts.stderr, whole.stderr);
  });
  it("is written although the moment that stderr is given has passed, if stderr is ready", () => {
    assert.match(
      simulate(["unix/x"], { ...refuse, stalls: true }).stderr.toString(),
      /no such socket/,
    );
  });
  it("is never more at once than a pipe takes without waiting", () => {
    const longest = simulate([`unix/${"\x01".repeat(4000)}`], refuse);
    assert.ok(longest.stderr.length > 16_000);
    assert.ok(longest.calls.filter((name) => name === "fd_write").length >= 4);
  });
  it("is lost without harm where stderr takes nothing", () => {
    for (const error of [errno.BADF, errno.IO, errno.PIPE]) {
      const world = { fails: { ...refuse.fails, fd_write: [error] } };
      assert.equal(simulate(["unix/x"], world).exit, 68);
    }
    const later = { fails: { ...refuse.fails, fd_write: [errno.AGAIN, errno.AGAIN, 0] } };
    assert.match(simulate(["unix/x"], later).stderr.toString(), /no such socket/);
  });
  it("survives arguments of a megabyte", () => {
    const many = Array.from({ length: 60_000 }, () => "--verbose");
    assert.equal(simulate([...many, "unix/x", "y".repeat(500_000)]).exit, 0);
  });
});

describe("the messages", () => {
  it("are one for each code, in the order of the numbers", () => {
    const codes = Object.values(Code)
      .map(Number)
      .filter((code) => code >= 1000);
    assert.deepEqual(
      MESSAGES.map(([code]) => code),
      codes.sort(),
    );
    for (const [, message] of MESSAGES)
      assert.match(message, /^[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]$/);
  });
});

describe("the bytes of the arguments", () => {
  it("are taken as they are", () => {
    // Node itself cannot be given what is not UTF-8, so a shell makes it.
    const missing = `unix/nowhere/\\377\\233 'x'`;
    const words = proxyCommand().map((word) => JSON.stringify(word));
    const command = `exec ${words.join(" ")} "$(printf '${missing.replaceAll("'", `'"'"'`)}')" ''`;
    const { stderr } = start(["/bin/sh", "-c", command]);
    assert.match(stderr, /^ssh-vsock-proxy: unix\/nowhere\/\\xff\\x9b 'x': no such socket/);
  });
});
