# Plays a multiplexer and ssh around a command, with what Node cannot do: out-of-band bytes (MSG_OOB of
# AF_UNIX, Linux 5.15), and outputs that are full.
#
#     urgent-peer.py WORLD COMMAND [ARGUMENT...]
#
# WORLD is JSON:
#
#     path    where the multiplexer listens
#     sends   what each connection is sent once its request was read: "+text", "!text" with the last
#             byte out of band, "fill" for as much as it takes, "end" for a shutdown of the sending side
#     early   the first of them come before the request is read
#     paced   each is sent once the command waits again; the command is no traced one then
#     ssh     what ssh has sent, as `sends`; "full": its socket takes nothing
#     stderr  "full": a pipe that takes nothing; "terminal": a terminal that takes nothing
#     relay   in place of ssh's socket, what a relay has: {"stdin": "pipe", "unix" or "tcp", "sends":
#             what comes from it, "stdout": "pipe", "unix" or "stopped"}; the peer takes all that comes,
#             but if "stopped" is true. The command is killed after RELAY_SECONDS.
#
# stdout: {"exit": 0, "stderr": "...", "read": "..."}, where `read` is all that comes from the socket
# that was passed, or null.

import array
import fcntl
import json
import os
import socket
import subprocess
import sys
import threading
import time

LIMIT_SECONDS = 30
# Time to spin for.
RELAY_SECONDS = 1.5
# ppoll(2) on x86-64 and arm64.
PPOLL = {"x86_64": 271, "aarch64": 73}[os.uname().machine]

world = json.loads(sys.argv[1])
command = sys.argv[2:]
relay = world.get("relay")
started = threading.Event()


def fill(fd):
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(fd, b"x" * size)
        except BlockingIOError:
            pass
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def do(connection, what):
    if isinstance(connection, int):
        os.close(connection) if what == "end" else os.write(connection, what[1:].encode())
    elif what == "fill":
        fill(connection.fileno())
    elif what == "end":
        connection.shutdown(socket.SHUT_WR)
    else:
        connection.send(what[1:].encode(), socket.MSG_OOB if what[0] == "!" else 0)


def wait_for_wait():
    started.wait()
    end = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < end:
        try:
            with open(f"/proc/{child.pid}/syscall") as file:
                if file.read().startswith(f"{PPOLL} "):
                    return
        except OSError:
            return
        time.sleep(0.001)


def play(connection):
    sends = world.get("sends", [])
    try:
        for what in sends if world.get("early") else []:
            do(connection, what)
        if not (relay and world.get("early")):
            connection.recv(64)
        for what in [] if world.get("early") else sends:
            if world.get("paced"):
                wait_for_wait()
            do(connection, what)
        while relay and not relay.get("stopped") and connection.recv(65536):
            pass
        if relay:
            threading.Event().wait()
        connection.recv(64)
    except OSError:
        pass
    connection.close()


def serve(listener):
    while True:
        threading.Thread(target=play, args=(listener.accept()[0],), daemon=True).start()


if "path" in world:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(world["path"])
    listener.listen(16)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()



def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


def make_stdin(kind):
    if kind == "pipe":
        theirs, ours = os.pipe()
    else:
        ours, theirs = tcp_pair() if kind == "tcp" else socket.socketpair()
    for what in relay.get("sends", []):
        do(ours, what)
    return ours, theirs


def make_stdout(kind):
    ours, theirs = socket.socketpair() if kind == "unix" else os.pipe()
    if kind == "stopped":
        fill(theirs)
    return ours, theirs


ours, theirs = socket.socketpair()
stdin = stdout = theirs
if relay:
    stdin_end, stdin = make_stdin(relay.get("stdin", "pipe"))
    stdout_end, stdout = make_stdout(relay.get("stdout", "pipe"))
elif world.get("ssh") == "full":
    fill(theirs.fileno())
else:
    for what in world.get("ssh", []):
        do(ours, what)
stderr = subprocess.PIPE
if world.get("stderr") == "full":
    full, stderr = os.pipe()
    fill(stderr)
elif world.get("stderr") == "terminal":
    full, stderr = os.openpty()
    fill(stderr)

child = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr)
started.set()
theirs.close()
try:
    said = child.communicate(timeout=RELAY_SECONDS if relay else LIMIT_SECONDS)[1] or b""
except subprocess.TimeoutExpired:
    child.kill()
    said = child.communicate()[1] or b""

read = None
if world.get("ssh") != "full":
    ours.setblocking(False)
    try:
        ancillary = ours.recvmsg(1, socket.CMSG_SPACE(4))[1]
    except OSError:
        ancillary = []
    for _, _, data in ancillary:
        passed = socket.socket(fileno=array.array("i", data)[0])
        passed.shutdown(socket.SHUT_WR)
        read = b""
        while part := passed.recv(4096):
            read += part
print(
    json.dumps(
        {
            "exit": child.returncode,
            "stderr": said.decode("latin1"),
            "read": None if read is None else read.decode("latin1"),
        }
    )
)
