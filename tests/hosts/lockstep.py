# Plays runs of the proxy's debug builds in lock-step with scripted peers, for tests/hosts/lockstep.ts.
# The program waits before each import (SHIM_HOLD, native/trace/trace.c) until the world has made its
# moves, so every run meets the same world, however fast the program or the machine is.
#
#     lockstep.py [--vsock]
#
# Reads one run per line of stdin, as JSON, and writes one line of JSON with its answer. lockstep.ts
# documents both. Bytes are hexadecimal.
#
# Rules
# 1. A move is made after a line of the trace was read and before the next import begins.
# 2. The peer makes its next move after the program has sent or received, and only if the program has
#    taken everything that the peer sent before (SIOCOUTQ).
# 3. During a relay the peer reacts to what it receives, and nothing else moves.
# 4. Without --vsock, only unix sockets are connected to: sock_open of another family ends the run.
#    --vsock is for the guest (tests/support/guest.ts).
# 5. Each run has a process and a working directory of its own and leaves nothing behind.

import ctypes
import errno
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
import tty

# A run that has not ended after this many seconds is killed.
RUN_TIMEOUT = 60

# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

ALLOW_VSOCK = "--vsock" in sys.argv[1:]

libc = ctypes.CDLL(None)


def in_directory_of(path, act):
    """Calls act(name) in the path's directory; the path may be longer than sun_path."""
    directory, name = os.path.split(path)
    old = os.open(".", os.O_RDONLY)
    os.makedirs(directory, exist_ok=True)
    os.chdir(directory)
    act(b"./" + name)
    os.fchdir(old)
    os.close(old)


class Place:
    """What is at the address during one attempt. `address`: a vsock port, or bytes for a unix socket."""

    def __init__(self, kind, address):
        self.address = address
        self.is_vsock = isinstance(address, int)
        self.is_path = not self.is_vsock and not address.startswith(b"\0")
        self.sockets = []
        # Nothing is made: a path that is too long cannot be.
        self.is_absent = kind == "absent" or (self.is_vsock and not ALLOW_VSOCK)
        if not self.is_absent:
            if self.is_path and not address.startswith(b"./"):
                raise ValueError(f"{address!r} is outside the directory of the run")
            self.at_address(getattr(self, kind))

    def at_address(self, act):
        if self.is_path:
            in_directory_of(self.address, act)
        else:
            act(self.address)

    def add(self, kind=socket.SOCK_STREAM):
        family = socket.AF_VSOCK if self.is_vsock else socket.AF_UNIX
        self.sockets.append(socket.socket(family, kind))
        return self.sockets[-1]

    def refuses(self, name, kind=socket.SOCK_STREAM):
        self.add(kind).bind((socket.VMADDR_CID_ANY, name) if self.is_vsock else name)

    def listens(self, name, kind=socket.SOCK_STREAM, backlog=8):
        self.refuses(name, kind)
        self.sockets[0].listen(backlog)

    def full(self, name):
        self.listens(name, backlog=0)
        try:
            while True:
                client = self.add()
                client.setblocking(False)
                client.connect(name)
        except BlockingIOError:
            pass

    def datagram(self, name):
        self.refuses(name, socket.SOCK_DGRAM)

    def seqpacket(self, name):
        self.listens(name, socket.SOCK_SEQPACKET)

    def forbidden(self, name):
        self.listens(name)
        os.chmod(name, 0)

    def linked(self, name):
        self.listens(b"./real")
        os.symlink(b"real", name)

    def dangling(self, name):
        os.symlink(b"real", name)

    def loop(self, name):
        os.symlink(os.path.basename(name), name)

    def file(self, name):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT))

    def directory(self, name):
        os.mkdir(name)

    def accept(self):
        return self.sockets[0].accept()[0]

    def clear(self):
        for each in self.sockets:
            each.close()
        if self.is_path and not self.is_absent:
            in_directory_of(self.address, self.remove)

    def remove(self, name):
        for path in (name, b"./real"):
            if os.path.isdir(path):
                os.rmdir(path)
            elif os.path.lexists(path):
                os.unlink(path)


class Peer:
    """The other end of the program's connection."""

    def __init__(self, connection):
        self.socket = connection
        self.received = b""
        # What it sent, apart from a relay's bytes.
        self.sent = b""

    def receive(self):
        """Reads what is there and returns the number of bytes, 0 at end of file."""
        data = self.socket.recv(65536)
        self.received += data
        return len(data)

    def move(self, what):
        if what == "read":
            self.receive()
        elif what == "deaf":
            self.socket.shutdown(socket.SHUT_RD)
        elif what == "mute":
            self.socket.shutdown(socket.SHUT_WR)
        elif what == "close":
            self.socket.close()
        else:
            self.send(bytes.fromhex(what))

    def send(self, data):
        self.socket.sendall(data)
        self.sent += data

    def is_open(self):
        return self.socket.fileno() >= 0

    def all_taken(self):
        """Whether the program has taken everything that was sent."""
        queued = bytearray(4)
        fcntl.ioctl(self.socket, termios.TIOCOUTQ, queued)
        return not any(queued)

    def continue_with(self, moves):
        while moves and self.is_open() and self.all_taken():
            self.move(moves.pop(0))


def fill(send):
    """Sends until not one more byte is accepted; returns the number of bytes."""
    total = 0
    size = 4096
    while True:
        try:
            total += send(bytes(size))
        except BlockingIOError:
            if size == 1:
                return total
            size = 1


class Stdio:
    """Descriptors 0 to 2 of the program, and the ends of them that this process keeps."""

    def __init__(self, script):
        self.passed_on = []
        # The other end of descriptor 1: a socket, or a descriptor to read from.
        self.socket = None
        self.reader = None
        # Bytes that were put in front of the program's to fill descriptor 1.
        self.filler = 0
        self.out = self.make_out(script["stdout"])
        self.into = self.make_in(**script["stdin"])
        self.error_reader = None
        self.error = self.make_error(script["stderr"])

    def pass_on(self, fd):
        self.passed_on.append(fd)
        return fd

    def make_file(self):
        return self.pass_on(os.memfd_create("file"))

    def make_out(self, kind):
        if kind in ("null", "full"):
            return self.pass_on(os.open("/dev/" + kind, os.O_RDWR))
        if kind == "file":
            file = self.make_file()
            self.reader = os.dup(file)
            return file
        if kind in ("pipe", "pipe without reader"):
            self.reader, theirs = os.pipe()
        else:
            kinds = {"datagram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
            pair = socket.socketpair(socket.AF_UNIX, kinds.get(kind, socket.SOCK_STREAM))
            self.socket, theirs = pair[0], pair[1].detach()
        self.pass_on(theirs)
        if kind == "full unix":
            end = socket.socket(fileno=os.dup(theirs))
            self.filler = fill(lambda data: end.send(data, socket.MSG_DONTWAIT))
            end.close()
        if kind.endswith(" without reader"):
            self.close_client()
        return theirs

    def make_in(self, kind, content, ends):
        content = bytes.fromhex(content)
        if kind == "null":
            return self.pass_on(os.open("/dev/null", os.O_RDONLY))
        if kind == "directory":
            return self.pass_on(os.open(".", os.O_RDONLY))
        if kind == "stdout":
            if self.socket is not None:
                self.socket.sendall(content)
                if ends:
                    self.socket.shutdown(socket.SHUT_WR)
            return self.out
        if kind == "file":
            file = self.make_file()
            os.write(file, content)
            os.lseek(file, 0, os.SEEK_SET)
            return file
        theirs, writer = os.pipe()
        os.write(writer, content)
        if ends:
            os.close(writer)
        return self.pass_on(theirs)

    def make_error(self, kind):
        if kind == "null":
            return self.pass_on(os.open("/dev/null", os.O_RDWR))
        if kind == "file":
            file = self.make_file()
            self.error_reader = os.dup(file)
            return file
        if kind == "terminal":
            self.error_reader, theirs = pty.openpty()
            tty.setraw(theirs)
        else:
            self.error_reader, theirs = os.pipe()
        if kind == "pipe without reader":
            os.close(self.error_reader)
            self.error_reader = None
        if kind == "full pipe":
            os.set_blocking(theirs, False)
            fill(lambda data: os.write(theirs, data))
            os.set_blocking(theirs, True)
            self.error_reader = None
        return self.pass_on(theirs)

    def close_client(self):
        """The client that has the other end of descriptor 1 exits."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        else:
            os.close(self.reader)
            self.reader = None

    def close_passed_on(self):
        for fd in self.passed_on:
            os.close(fd)


def read_all(fd):
    """Reads a descriptor up to its end, or until it would block."""
    if fd is None:
        return b""
    try:
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno != errno.ESPIPE:
            raise
    os.set_blocking(fd, False)
    data = b""
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError as error:
            # EIO: the other side of the terminal is closed.
            if error.errno in (errno.EAGAIN, errno.EIO):
                return data
            raise
        if not part:
            return data
        data += part


def receive_all(connection):
    """The bytes that a program has sent before it ended, and its messages with descriptors."""
    data = b""
    messages = []
    connection.setblocking(False)
    while True:
        try:
            part, fds, _, _ = socket.recv_fds(connection, 65536, 16)
        except (BlockingIOError, ConnectionResetError):
            return data, messages
        if not part:
            return data, messages
        if fds:
            messages.append((part, fds))
        else:
            data += part


def drop_root_exemptions():
    """Makes file permissions hold for root as they do for everyone else."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


class Run:
    def __init__(self, command, script, directory):
        self.script = script
        self.attempts = script["attempts"]
        where = script["socket"]
        self.address = where if isinstance(where, int) else bytes.fromhex(where)
        self.attempt = 0
        self.place = Place(self.current()["place"], self.address)
        self.stdio = Stdio(script)
        self.peers = []
        self.moves = []
        self.relaying = False
        self.trace = []
        self.unread = b""
        self.deadline = time.monotonic() + RUN_TIMEOUT

        fifos = [os.path.join(directory, name) for name in ("trace", "hold")]
        for fifo in fifos:
            os.mkfifo(fifo)
        # O_RDWR: opening a FIFO for one of the two waits for the other end.
        self.lines, self.hold = [os.open(fifo, os.O_RDWR) for fifo in fifos]
        variables = [bytes.fromhex(each).split(b"=", 1) for each in script["environment"]]
        forbidden = any(attempt["place"] == "forbidden" for attempt in self.attempts)
        self.process = subprocess.Popen(
            command + [bytes.fromhex(word) for word in script["args"]],
            env={**dict(variables), b"SHIM_TRACE": fifos[0], b"SHIM_HOLD": fifos[1]},
            stdin=self.stdio.into,
            stdout=self.stdio.out,
            stderr=self.stdio.error,
            # Only where it is needed: with it, starting a process takes three times as long.
            preexec_fn=drop_root_exemptions if forbidden else None,
        )
        self.stdio.close_passed_on()
        self.ended = os.pidfd_open(self.process.pid)

    @property
    def peer(self):
        """The peer of the last connection."""
        return self.peers[-1]

    def current(self):
        return self.attempts[min(self.attempt, len(self.attempts) - 1)]

    def play(self):
        """Lets the program run from import to import, to its end; returns the answer."""
        while True:
            os.write(self.hold, b".")
            line = self.next_line()
            if line is None:
                break
            self.trace.append(line.decode("latin1"))
            self.react(line)
        status = self.process.wait()
        stdout, messages = read_all(self.stdio.reader), []
        if self.stdio.socket is not None:
            stdout, messages = receive_all(self.stdio.socket)
        # Before "sent", to which this adds.
        remaining = self.converse(messages[0][1][0]) if messages else b""
        return {
            "exit": status,
            "pid": self.process.pid,
            "trace": self.trace,
            "stderr": read_all(self.stdio.error_reader).hex(),
            "stdout": stdout[self.stdio.filler :].hex(),
            "passed": [{"bytes": part.hex(), "fds": len(fds)} for part, fds in messages],
            "peers": [{"received": p.received.hex(), "sent": p.sent.hex()} for p in self.peers],
            "remaining": remaining.hex(),
            "log": self.read_log(),
        }

    def read_log(self):
        name = self.script["logFile"]
        if name is None or not os.path.isfile(bytes.fromhex(name)):
            return None
        with open(bytes.fromhex(name), "rb") as file:
            return file.read().hex()

    def next_line(self):
        """The next line of the trace; None once the program has ended."""
        while b"\n" not in self.unread:
            poll = select.poll()
            poll.register(self.lines, select.POLLIN)
            poll.register(self.ended, select.POLLIN)
            relays = self.relaying and self.peer.is_open()
            if relays:
                poll.register(self.peer.socket, select.POLLIN)
            left = max(0, self.deadline - time.monotonic())
            ready = [fd for fd, _ in poll.poll(left * 1000)] if left > 0 else []
            if relays and self.peer.socket.fileno() in ready:
                self.relay()
            if self.lines in ready:
                self.unread += os.read(self.lines, 65536)
            elif self.ended in ready:
                return None
            elif not ready:
                self.process.kill()
                raise TimeoutError(f"not ended after {RUN_TIMEOUT} s; last: {self.trace[-1:]}")
        line, self.unread = self.unread.split(b"\n", 1)
        return line

    def react(self, line):
        name = line.split(b" ", 1)[0]
        succeeded = b" -> 0" in line
        if name == b"sock_open" and succeeded and not ALLOW_VSOCK and b" family=3 " not in line:
            self.process.kill()
            raise RuntimeError("the script connects to a socket that is not a unix socket")
        if name == b"sock_connect" and succeeded:
            self.peers.append(Peer(self.place.accept()))
            for move in self.current()["connected"]:
                self.peer.move(move)
            self.moves = list(self.current()["asked"])
            if not self.moves:
                self.begin_relay()
        elif name in (b"sock_send", b"sock_recv"):
            self.peer.continue_with(self.moves)
            # The newline of the OK line was taken: flags=0 is a recv without MSG_PEEK.
            if b" flags=0 " in line and line.endswith(b"0a"):
                self.begin_relay()
        elif name == b"fd_close":
            self.attempt += 1
            if self.attempt == self.script["clientExitsAfter"]:
                self.stdio.close_client()
            if self.attempt < len(self.attempts):
                self.place.clear()
                self.place = Place(self.current()["place"], self.address)

    def begin_relay(self):
        relay = self.script["relay"]
        if relay is None:
            return
        self.relaying = True
        self.received_before = len(self.peer.received)
        self.peer.socket.sendall(bytes.fromhex(relay["first"]))
        if relay["until"] == 0:
            self.end_relay()

    def relay(self):
        """Takes what the program has relayed, or its end."""
        until = self.script["relay"]["until"]
        at_end = self.peer.receive() == 0
        received = len(self.peer.received) - self.received_before
        if at_end or (until != "end" and received >= until):
            self.end_relay()

    def end_relay(self):
        if self.script["relay"]["last"]:
            self.peer.socket.sendall(bytes.fromhex(self.script["relay"]["last"]))
        self.peer.socket.close()

    def converse(self, passed):
        """Does what ssh would do with the descriptor: writes to it and reads from it to its end."""
        connection = socket.socket(fileno=passed)
        connection.settimeout(RUN_TIMEOUT)
        if self.peer.is_open():
            try:
                connection.sendall(b"to the guest")
                if self.peer.socket.recv(65536) == b"to the guest":
                    self.peer.send(b"to ssh")
            except BrokenPipeError:
                pass
            self.peer.socket.close()
        data = b""
        try:
            while part := connection.recv(65536):
                data += part
        except ConnectionResetError:
            data += b" and a reset"
        return data


def play(request):
    """Plays one run in a process of its own and prints its answer."""
    top = tempfile.mkdtemp(prefix="lockstep-")
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.mkdir(os.path.join(top, "directory"))
            os.chdir(os.path.join(top, "directory"))
            answer = Run(request["command"], request["script"], top).play()
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        print(json.dumps({"failed": f"the run's process ended with {code}"}), flush=True)
    shutil.rmtree(top, ignore_errors=True)


for line in sys.stdin:
    play(json.loads(line))
