# Runs the proxy between a fake ssh and a fake peer, which sends its reply in exact segments.
#
#     fake-peer.py COMMAND [ARG...]     COMMAND starts the proxy
#
# It creates the sockets and files of tests/transcripts/README.md in its working directory, reads runs
# from stdin, a line of JSON each, and answers each with a line. fake-peer.ts describes both; bytes are
# in hexadecimal.
#
# A segment is sent once the kernel says that nothing is left of the one before (SIOCOUTQ), so that no
# two are read as one. Once a descriptor was passed, the rest is sent at once.

import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
import time

RUN_TIMEOUT_S = 120

# linux/prctl.h, linux/capability.h
PR_CAPBSET_DROP = 24
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


def bind(path, kind=socket.SOCK_STREAM, queue=None):
    bound = socket.socket(socket.AF_UNIX, kind)
    bound.bind(path)
    if queue is not None:
        bound.listen(queue)
    return bound


def fill_queue(path):
    """Connects until one more connection would have to wait."""
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        try:
            client.connect(path)
        except BlockingIOError:
            return
        kept.append(client)


def from_hex(texts):
    return [bytes.fromhex(text) for text in texts]


class Run:
    def __init__(self, command, order):
        self.order = order
        self.started = time.monotonic()
        self.stderr = self.sent = self.relayed = self.rest = b""
        self.passed = []
        self.passed_fds = []
        self.connections = self.taken = 0
        self.peer = None
        self.early = self.reset = False
        # What to call when a descriptor is ready.
        self.handlers = {listener.fileno(): self.accept}
        self.start(command)

    def start(self, command):
        kind = self.order["stdout"]
        error, theirs_error = os.pipe()
        theirs = [os.open("/dev/null", os.O_RDONLY), theirs_error]
        self.handlers[error] = self.read_error
        if kind == "pipe":
            out, theirs_out = os.pipe()
            self.handlers[out] = self.read_pipe
        elif kind != "closed":
            self.out, end = socket.socketpair()
            theirs_out = end.detach()
            # ssh's socket is descriptor 0, too.
            theirs[0] = os.dup(theirs_out)
            self.handlers[self.out.fileno()] = self.receive
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in zip(theirs, (0, 2))]
        if kind == "closed":
            actions.append((os.POSIX_SPAWN_CLOSE, 1))
        else:
            actions.append((os.POSIX_SPAWN_DUP2, theirs_out, 1))
            theirs.append(theirs_out)
        if kind == "unix without reader":
            del self.handlers[self.out.fileno()]
            self.out.close()
        words = [os.fsencode(word) for word in command] + from_hex(self.order["arguments"])
        variables = dict(each.split(b"=", 1) for each in from_hex(self.order["environment"]))
        self.pid = os.posix_spawn(words[0], words, variables, file_actions=actions)
        for fd in theirs:
            os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)
        self.handlers[self.pidfd] = self.wait
        # Until all of these have come to their end, the proxy runs, or something is left to read.
        self.open = set(self.handlers) - {listener.fileno()}

    def attend(self, ms=1000):
        """Waits for descriptors, and handles those that are ready."""
        if time.monotonic() - self.started > RUN_TIMEOUT_S and self.pidfd in self.open:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        poll = select.poll()
        for fd in self.handlers:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(ms):
            self.handlers[fd](fd)

    def close(self, fd):
        del self.handlers[fd]
        self.open.discard(fd)
        os.close(fd)

    def accept(self, _):
        self.connections += 1
        connection, _ = listener.accept()
        if self.peer is None:
            self.peer = connection
            self.handlers[connection.fileno()] = self.read_request

    def read_request(self, fd):
        try:
            data = self.peer.recv(65536)
        except ConnectionResetError:
            # The proxy closed the socket with bytes unread.
            self.reset, data = True, b""
        self.sent += data
        if not data:
            del self.handlers[fd]

    def read_error(self, fd):
        data = os.read(fd, 65536)
        self.stderr += data
        if not data:
            self.close(fd)
        elif self.peer is not None:
            poll = select.poll()
            poll.register(self.peer, 0)
            self.early |= not poll.poll(0)

    def read_pipe(self, fd):
        data = os.read(fd, 65536)
        self.relayed += data
        if not data:
            self.close(fd)

    def receive(self, fd):
        data, fds, _, _ = socket.recv_fds(self.out, 65536, 16)
        self.passed_fds += fds
        if data:
            self.passed.append({"bytes": data.hex(), "descriptors": len(fds)})
        else:
            self.out.detach()
            self.close(fd)

    def wait(self, fd):
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        self.close(fd)

    def is_taken(self):
        """Waits until a segment was taken, or will not be; whether it was."""
        left = bytearray(4)
        for turn in range(sys.maxsize):
            fcntl.ioctl(self.peer, termios.TIOCOUTQ, left)
            if not any(left) or self.passed:
                break
            self.attend(0)
            # There is no event for an empty queue.
            time.sleep(0 if turn < 200 else 50e-6)
        # Closing the socket empties the queue, too.
        self.attend(0)
        return not any(left) and not self.reset

    def reply(self):
        for segment in from_hex(self.order["reply"]):
            try:
                self.peer.sendall(segment)
            except (BrokenPipeError, ConnectionResetError):
                return
            if not self.passed and self.is_taken():
                self.taken += len(segment)
            elif not self.passed:
                return
        if self.order["end"] == "eof":
            self.peer.shutdown(socket.SHUT_WR)

    def play(self):
        replied = False
        while True:
            asked = not self.order["asks"] or b"\n" in self.sent
            if self.peer is not None and asked and not replied:
                replied = True
                self.reply()
            elif self.open:
                self.attend()
            else:
                break
        elapsed = time.monotonic() - self.started
        self.attend(0)
        while self.peer is not None and not self.passed and self.peer.fileno() in self.handlers:
            self.attend()
        for fd in self.passed_fds:
            self.drain(socket.socket(fileno=fd))
        if self.peer is not None:
            self.peer.close()
        return {
            "status": self.status,
            "stderr": self.stderr.hex(),
            "connections": self.connections,
            "sent": self.sent.hex(),
            "taken": self.taken,
            "passed": self.passed,
            "rest": self.rest.hex(),
            "relayed": self.relayed.hex(),
            "early": self.early,
            "ms": elapsed * 1000,
        }

    def drain(self, connection):
        """Reads what is in the socket that was passed."""
        with connection:
            try:
                while data := connection.recv(65536, socket.MSG_DONTWAIT):
                    self.rest += data
            except BlockingIOError:
                pass


# Root may do what the mode of a file forbids, unless its programs lack these capabilities.
if os.geteuid() == 0:
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

listener = bind("peer.sock", queue=8)
bind("dead.sock").close()
kept = [
    bind("full.sock", queue=0),
    bind("datagram.sock", socket.SOCK_DGRAM),
    bind("forbidden.sock", queue=8),
]
fill_queue("full.sock")
os.chmod("forbidden.sock", 0)
open("file", "w").close()
os.mkdir("folder")
os.symlink("loop", "loop")

for line in sys.stdin:
    print(json.dumps(Run(sys.argv[1:], json.loads(line)).play()), flush=True)
