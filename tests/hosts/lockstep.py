# Runs the proxy's debug builds in lock-step with their world, for tests/hosts/scripts.ts: between any
# two of its imports the program stands still (SHIM_HOLD of native/trace/trace.c) while the world makes
# its moves. So it finds the same in every run, however fast either of them is.
#
#     lockstep.py
#
# reads runs from stdin, a line of JSON each, and answers each with a line. A run is a command and a
# script, both described in hosts/lockstep.ts, as is the answer; bytes are in hexadecimal.
#
# Rules
# 1. A move is made after a line of the trace was read, and before the next import may begin.
# 2. The peer makes its next move when all that it has sent was taken (SIOCOUTQ), after the program has
#    sent or taken something.
# 3. While a relay runs, its peer goes by what it has received, and nothing else moves.
# 4. Nothing but unix sockets is ever connected to: sock_open of another family ends the run.
# 5. Each run has a process of its own, which leaves nothing behind.

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

# Of a run, in seconds.
LIMIT = 60

# linux/prctl.h, linux/capability.h
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

libc = ctypes.CDLL(None)


def in_folder_of(path, act):
    """Calls act(name) in the folder of a path, which may be too long for a socket's address."""
    if path.startswith(b"\0"):
        return act(path)
    folder, name = os.path.split(path)
    home = os.open(".", os.O_RDONLY)
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    act(b"./" + name)
    os.fchdir(home)
    os.close(home)


class Place:
    """What is at the address during an attempt."""

    def __init__(self, kind, path):
        self.path = path
        self.sockets = []
        in_folder_of(path, getattr(self, kind))

    def add(self, kind=socket.SOCK_STREAM):
        self.sockets.append(socket.socket(socket.AF_UNIX, kind))
        return self.sockets[-1]

    def absent(self, name):
        pass

    def refuses(self, name, kind=socket.SOCK_STREAM):
        self.add(kind).bind(name)

    def listens(self, name, kind=socket.SOCK_STREAM, queue=8):
        self.refuses(name, kind)
        self.sockets[0].listen(queue)

    def full(self, name):
        self.listens(name, queue=0)
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
        if not self.path.startswith(b"\0"):
            in_folder_of(self.path, self.remove)

    def remove(self, name):
        for left in (name, b"./real"):
            if os.path.isdir(left):
                os.rmdir(left)
            elif os.path.lexists(left):
                os.unlink(left)


class Peer:
    """The other end of a connection that the program has made."""

    def __init__(self, connection):
        self.socket = connection
        self.received = b""

    def take(self):
        """Reads what is there; how many bytes that was, 0 at the end."""
        data = self.socket.recv(65536)
        self.received += data
        return len(data)

    def move(self, what):
        if what == "read":
            self.take()
        elif what == "deaf":
            self.socket.shutdown(socket.SHUT_RD)
        elif what == "mute":
            self.socket.shutdown(socket.SHUT_WR)
        elif what == "close":
            self.socket.close()
        else:
            self.socket.sendall(bytes.fromhex(what))

    def is_open(self):
        return self.socket.fileno() >= 0

    def is_taken(self):
        """Whether all that was sent was taken."""
        left = bytearray(4)
        fcntl.ioctl(self.socket, termios.TIOCOUTQ, left)
        return not any(left)

    def go_on(self, moves):
        while moves and self.is_open() and self.is_taken():
            self.move(moves.pop(0))


def fill(send):
    """Sends until not one byte more is taken; how many there were."""
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
    """Descriptors 0 to 2 of the program, and the ends of them that stay here."""

    def __init__(self, script):
        self.theirs = []
        # What is at the other end of descriptor 1: a socket, or a descriptor to read from.
        self.socket = None
        self.reader = None
        self.filler = 0
        self.out = self.make_out(script["stdout"])
        self.into = self.make_in(**script["stdin"])
        self.error_reader = None
        self.error = self.make_error(script["stderr"])

    def keep(self, fd):
        self.theirs.append(fd)
        return fd

    def file(self):
        return self.keep(os.memfd_create("file"))

    def pair(self, kind):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, kind)
        return self.keep(theirs.detach())

    def make_out(self, kind):
        if kind in ("null", "full"):
            return self.keep(os.open("/dev/" + kind, os.O_RDWR))
        if kind == "file":
            file = self.file()
            self.reader = os.dup(file)
            return file
        if kind in ("pipe", "pipe without reader"):
            self.reader, theirs = os.pipe()
            self.keep(theirs)
        else:
            kinds = {"datagram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
            theirs = self.pair(kinds.get(kind, socket.SOCK_STREAM))
        if kind == "full unix":
            end = socket.socket(fileno=os.dup(theirs))
            self.filler = fill(lambda data: end.send(data, socket.MSG_DONTWAIT))
            end.close()
        if kind.endswith(" without reader"):
            self.leave()
        return theirs

    def make_in(self, kind, content, ends):
        content = bytes.fromhex(content)
        if kind == "null":
            return self.keep(os.open("/dev/null", os.O_RDONLY))
        if kind == "directory":
            return self.keep(os.open(".", os.O_RDONLY))
        if kind == "stdout":
            if self.socket is not None:
                self.socket.sendall(content)
                if ends:
                    self.socket.shutdown(socket.SHUT_WR)
            return self.out
        if kind == "file":
            file = self.file()
            os.write(file, content)
            os.lseek(file, 0, os.SEEK_SET)
            return file
        theirs, writer = os.pipe()
        os.write(writer, content)
        if ends:
            os.close(writer)
        return self.keep(theirs)

    def make_error(self, kind):
        if kind == "null":
            return self.keep(os.open("/dev/null", os.O_RDWR))
        if kind == "file":
            file = self.file()
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
        return self.keep(theirs)

    def leave(self):
        """Whoever waits at the other end of descriptor 1 is gone."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        else:
            os.close(self.reader)
            self.reader = None

    def drop(self):
        """The program has its descriptors, and nobody else shall."""
        for fd in self.theirs:
            os.close(fd)


def read_all(fd):
    """What is in a descriptor, up to its end or to where it would wait."""
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
            # A terminal whose other side is closed answers EIO.
            if error.errno in (errno.EAGAIN, errno.EIO):
                return data
            raise
        if not part:
            return data
        data += part


def receive_all(connection):
    """What a program that has ended has sent: bytes and descriptors."""
    data = b""
    passed = []
    connection.setblocking(False)
    while True:
        try:
            part, fds, _, _ = socket.recv_fds(connection, 65536, 16)
        except (BlockingIOError, ConnectionResetError):
            return data, passed
        if not part:
            return data, passed
        data += part
        passed += fds


def obey_permissions():
    """Takes root's exemption from file permissions away; nobody else has one."""
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


class Run:
    def __init__(self, command, script, pipes):
        self.script = script
        self.stages = script["attempts"]
        self.path = bytes.fromhex(script["socket"])
        self.attempt = 0
        self.place = Place(self.stage()["place"], self.path)
        self.stdio = Stdio(script)
        self.peer = None
        self.moves = []
        self.relaying = False
        self.trace = []
        self.unread = b""
        self.end = time.monotonic() + LIMIT

        fifos = [os.path.join(pipes, name) for name in ("trace", "hold")]
        for fifo in fifos:
            os.mkfifo(fifo)
        # To read and to write, so that no open waits for the other end.
        self.lines, self.hold = [os.open(fifo, os.O_RDWR) for fifo in fifos]
        variables = [bytes.fromhex(each).split(b"=", 1) for each in script["environment"]]
        forbidden = any(stage["place"] == "forbidden" for stage in self.stages)
        self.process = subprocess.Popen(
            command + [bytes.fromhex(word) for word in script["arguments"]],
            env={**dict(variables), b"SHIM_TRACE": fifos[0], b"SHIM_HOLD": fifos[1]},
            stdin=self.stdio.into,
            stdout=self.stdio.out,
            stderr=self.stdio.error,
            # Only where it is needed, because a process takes thrice as long to start with it.
            preexec_fn=obey_permissions if forbidden else None,
        )
        self.stdio.drop()
        self.ended = os.pidfd_open(self.process.pid)

    def stage(self):
        return self.stages[min(self.attempt, len(self.stages) - 1)]

    def play(self):
        """Lets the program go on from import to import, up to its end; what it came to."""
        while True:
            os.write(self.hold, b".")
            line = self.next_line()
            if line is None:
                break
            self.trace.append(line.decode("latin1"))
            self.react(line)
        status = self.process.wait()
        stdout, passed = read_all(self.stdio.reader), []
        if self.stdio.socket is not None:
            stdout, passed = receive_all(self.stdio.socket)
        return {
            "exit": status,
            "pid": self.process.pid,
            "trace": self.trace,
            "stderr": read_all(self.stdio.error_reader).hex(),
            "stdout": stdout[self.stdio.filler :].hex(),
            "descriptors": len(passed),
            "behind": self.converse(passed[0]).hex() if passed else "",
            "received": self.peer.received.hex() if self.peer else "",
        }

    def next_line(self):
        """The next line of the trace; None where the program has ended."""
        while b"\n" not in self.unread:
            poll = select.poll()
            poll.register(self.lines, select.POLLIN)
            poll.register(self.ended, select.POLLIN)
            relays = self.relaying and self.peer.is_open()
            if relays:
                poll.register(self.peer.socket, select.POLLIN)
            left = max(0, self.end - time.monotonic())
            ready = [fd for fd, _ in poll.poll(left * 1000)] if left > 0 else []
            if relays and self.peer.socket.fileno() in ready:
                self.relay()
            if self.lines in ready:
                self.unread += os.read(self.lines, 65536)
            elif self.ended in ready:
                return None
            elif not ready:
                self.process.kill()
                raise TimeoutError(f"no end after {LIMIT} s; last: {self.trace[-1:]}")
        line, self.unread = self.unread.split(b"\n", 1)
        return line

    def react(self, line):
        name = line.split(b" ", 1)[0]
        done = b" -> 0" in line
        if name == b"sock_open" and done and b" family=3 " not in line:
            self.process.kill()
            raise RuntimeError("the script leads to a socket that is no unix socket")
        if name == b"sock_connect" and done:
            self.peer = Peer(self.place.accept())
            for move in self.stage()["connected"]:
                self.peer.move(move)
            self.moves = list(self.stage()["asked"])
            if not self.moves:
                self.begin_relay()
        elif name in (b"sock_send", b"sock_recv"):
            self.peer.go_on(self.moves)
            # The newline was taken off the socket.
            if b" flags=0 " in line and line.endswith(b"0a"):
                self.begin_relay()
        elif name == b"fd_close":
            self.attempt += 1
            if self.attempt == self.script["leaves"]:
                self.stdio.leave()
            if self.attempt < len(self.stages):
                self.place.clear()
                self.place = Place(self.stage()["place"], self.path)

    def begin_relay(self):
        relay = self.script["relay"]
        if relay is None:
            return
        self.relaying = True
        self.before = len(self.peer.received)
        self.peer.socket.sendall(bytes.fromhex(relay["first"]))
        if relay["until"] == 0:
            self.end_relay()

    def relay(self):
        """Something has come, or the end."""
        until = self.script["relay"]["until"]
        at_end = self.peer.take() == 0
        if at_end or (until != "end" and len(self.peer.received) - self.before >= until):
            self.end_relay()

    def end_relay(self):
        if self.script["relay"]["last"]:
            self.peer.socket.sendall(bytes.fromhex(self.script["relay"]["last"]))
        self.peer.socket.close()

    def converse(self, passed):
        """What ssh would do with the descriptor: write to it, and read from it up to its end."""
        connection = socket.socket(fileno=passed)
        connection.settimeout(LIMIT)
        if self.peer.is_open():
            try:
                connection.sendall(b"to the guest")
                self.peer.take()
                self.peer.socket.sendall(b"to ssh")
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
    """One run, in a process of its own, and its answer."""
    top = tempfile.mkdtemp(prefix="lockstep-")
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        try:
            os.mkdir(os.path.join(top, "folder"))
            os.chdir(os.path.join(top, "folder"))
            answer = Run(request["command"], request["script"], top).play()
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        print(json.dumps({"failed": f"the run's process has ended with {code}"}), flush=True)
    shutil.rmtree(top, ignore_errors=True)


for line in sys.stdin:
    play(json.loads(line))
