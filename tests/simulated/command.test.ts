// The command's options, its texts and its calls, in simulated worlds. What has to hold of every run,
// and of every failure of an import, is in cases.ts and support/outcome.ts.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Code } from "../../assembly/codes";
import type { Bytes, World } from "../support/case";
import { messages } from "../support/messages";
import { callOf, callsOf, simulate } from "./world";

const MS = 1_000_000;
const OK = "OK 1073741824\n";
const answers: World = { attempts: [{ reply: [OK] }] };
const refuses: World = { attempts: [{ connect: "NOENT" }] };

const stderrOf = (args: Bytes[], world: World = {}): string =>
  simulate(args, world).stderr.toString();
const namesOf = (args: Bytes[], world: World = {}): string[] =>
  simulate(args, world).calls.map(({ name }) => name);

describe("--timeout", () => {
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
    it(`'${text}' ${milliseconds === undefined ? "is refused" : `is ${milliseconds} ms`}`, () => {
      for (const args of [[`--timeout=${text}`], ["--timeout", text]]) {
        const outcome = simulate([...args, "unix/x"]);
        if (milliseconds === undefined) {
          assert.equal(outcome.exit, 64);
          assert.match(outcome.stderr.toString(), /duration/);
        } else {
          assert.equal(callOf(outcome, "sock_connect")?.until, milliseconds * MS);
        }
      }
    });
  }

  it("is 5 s by default, and the last one where several are given", () => {
    const deadline = (...args: string[]) => callOf(simulate(args), "sock_connect")?.until;
    assert.equal(deadline("unix/x"), 5000 * MS);
    assert.equal(deadline("--timeout", "1s", "--timeout=2s", "unix/x"), 2000 * MS);
  });
});

describe("options", () => {
  const wrong: [string[], RegExp][] = [
    [["--timeoutt=5s", "unix/x"], /: --timeoutt=5s: unknown option/],
    [["--timeout", "", "unix/x"], /: --timeout '': not a duration/],
    [["--timeout=\x1b", "unix/x"], /: --timeout=\\x1b: not a duration/],
    [["--", "--help"], /: --help: address not understood/],
    [["vsock/1", "2\x1b"], /: vsock\/1 port 2\\x1b: not a port/],
    ...["", "Auto", "auto ", "always never", "a"].map((value): [string[], RegExp] => [
      [`--half-close=${value}`, "unix/x"],
      /: it is auto, always or never \(see --help\)/,
    ]),
  ];
  for (const [args, text] of wrong) {
    it(`${JSON.stringify(args)} is refused`, () => {
      const outcome = simulate(args);
      assert.equal(outcome.exit, 64);
      assert.match(outcome.stderr.toString(), /^ssh-vsock-proxy: [^\x00-\x1f\x7f]+\n$/);
      assert.match(outcome.stderr.toString(), text);
    });
  }

  it("end at the address, so that nothing that ssh inserts can be one", () => {
    assert.equal(simulate(["unix/x", "--help"]).exit, 0);
    assert.equal(simulate(["unix/x", "22", "--timeout"]).exit, 0);
  });

  it("survive arguments of a megabyte", () => {
    const many = Array.from({ length: 60_000 }, () => "--verbose");
    assert.equal(simulate([...many, "unix/x", "y".repeat(500_000)]).exit, 0);
  });
});

describe("-v", () => {
  it("reports each step, with its time", () => {
    const steps = stderrOf(["-v", "vsock-mux/m", "99"], answers).trimEnd().split("\n");
    const head = /^ssh-vsock-proxy: vsock-mux\/m port 99: \d+\.\d{3} ms: /;
    assert.deepEqual(
      steps.map((step) => step.replace(head, "")),
      [
        "connecting, for at most 5000.000 ms",
        "connected, and asked the multiplexer with CONNECT",
        "the multiplexer answered OK 1073741824",
        "handed the connection over to ssh",
      ],
    );
    assert.equal(stderrOf(["vsock-mux/m", "99"], answers), "");
  });
  it("shows no path of a machine", () => {
    assert.match(stderrOf(["-v", "vsock/3"]), /vsock\/3 port 22: .*: connecting, for /);
  });
});

describe("the calls of a connection", () => {
  it("are those that it needs, and no others", () => {
    const connect = [
      ...["clock_time_get", "args_sizes_get", "environ_sizes_get", "args_get", "environ_get"],
      ...["fd_filestat_get", "sock_addr_local", "fd_filestat_get"],
      ...["clock_time_get", "sock_open", "sock_connect"],
    ];
    const handshake = ["sock_send", "poll_oneoff", "sock_recv", "sock_recv"];
    const end = ["sock_send_fds", "proc_exit"];
    assert.deepEqual(namesOf(["unix/x"]), [...connect, ...end]);
    assert.deepEqual(namesOf(["vsock/3"]), [...connect, ...end]);
    assert.deepEqual(namesOf(["vsock-mux/m"], answers), [...connect, ...handshake, ...end]);
  });
  it("are none of sockets where descriptor 1 takes no descriptor, and --fdpass is given", () => {
    for (const stdout of ["file", "datagram", "seqpacket", "vsock"] as const) {
      const outcome = simulate(["--fdpass", "vsock-mux/x"], { stdout });
      assert.equal(outcome.exit, 64);
      assert.equal(callOf(outcome, "sock_open"), undefined);
    }
  });
  it("are repeated while a call of a handshake, or the client, is not ready", () => {
    for (const [name, results] of [
      ["sock_send", ["AGAIN", "AGAIN", "SUCCESS"]],
      ["sock_recv", ["AGAIN", "AGAIN", "SUCCESS"]],
      ["sock_send_fds", ["AGAIN", "SUCCESS"]],
    ] as const) {
      const world = { ...answers, simulation: { fails: { [name]: results } } };
      assert.equal(simulate(["vsock-mux/m"], world).exit, 0);
    }
  });
});

describe("text from outside", () => {
  const shown: [Bytes, string][] = [
    ["unix/a b", "unix/a b"],
    ["unix/käse/日本/😀", "unix/käse/日本/😀"],
    ["unix/\x1b[31mred\x07", "unix/\\x1b[31mred\\x07"],
    ["unix/a\nb\tc\x7f\x01\r", "unix/a\\x0ab\\x09c\\x7f\\x01\\x0d"],
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
    [
      Buffer.from("unix/\xc1\x9b\xc0\xafx\xe0\x80\xafx", "latin1"),
      "unix/\\xc1\\x9b\\xc0\\xafx\\xe0\\x80\\xafx",
    ],
    [Buffer.from("unix/\xed\xa0\x80", "latin1"), "unix/\\xed\\xa0\\x80"],
    [Buffer.from("unix/\xf4\x90\x80\x80", "latin1"), "unix/\\xf4\\x90\\x80\\x80"],
    [Buffer.from("unix/\xe6\x97", "latin1"), "unix/\\xe6\\x97"],
  ];
  for (const [address, text] of shown) {
    it(`${JSON.stringify(address.toString("latin1"))} is shown as ${text}`, () => {
      const line = stderrOf([address], refuses);
      assert.ok(line.startsWith(`ssh-vsock-proxy: ${text}: no such socket`), line);
    });
  }

  it("is cut where it is too long, and the failure is reported all the same", () => {
    const args = [`vsock/${"\x01".repeat(4160)}`, "\x02".repeat(4160)];
    const line = stderrOf(args);
    assert.match(line, /^ssh-vsock-proxy: vsock\/(\\x01)+\.\.\. port \.\.\.: not a CID[^\n]*\n$/);
    const far = stderrOf([`unix/${"x".repeat(130_000)}`], refuses);
    assert.ok(far.length < 5000);
    assert.match(far, /x\.\.\.: path too long/);
  });
  it("is whole up to the longest path", () => {
    const line = stderrOf([`unix/${"\x01".repeat(4094)}`], refuses);
    assert.equal(line.match(/\\x01/g)?.length, 4094);
    assert.match(line, /no such socket/);
  });
});

describe("a line on stderr", () => {
  const args = ["unix/x"];
  const writes = (...address: Bytes[]) =>
    callsOf(simulate(address, refuses), "fd_write").map(({ bytes }) => bytes?.length ?? 0);

  it("is one write, and none is larger than a pipe takes without waiting", () => {
    assert.equal(writes(...args).length, 1);
    const long = writes(`unix/${"\x01".repeat(4000)}`);
    assert.deepEqual(long.slice(0, 3), [4096, 4096, 4096]);
  });
  it("is written after the second that stderr has, if stderr is ready then", () => {
    const stalls = { ...refuses, simulation: { stalls: true } };
    assert.equal(stderrOf(args, stalls), stderrOf(args, refuses));
  });
  it("is written again where stderr was not ready after all", () => {
    const later = {
      ...refuses,
      simulation: { fails: { fd_write: ["AGAIN", "AGAIN", "SUCCESS"] } },
    };
    assert.equal(stderrOf(args, later), stderrOf(args, refuses));
  });
});

describe("messages", () => {
  it("each code from 1000 on has one, in the order of the numbers", () => {
    const codes = Object.values(Code)
      .map(Number)
      .filter((code) => code >= 1000);
    assert.deepEqual([...messages.keys()], codes.sort());
    for (const text of messages.values())
      assert.match(text, /^[\x21-\x7e][\x20-\x7e]*[\x21-\x7e]$/);
  });
});
