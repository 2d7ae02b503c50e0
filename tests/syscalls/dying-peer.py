# A peer that is killed: listens on a unix socket, serves one connection up to STEP and kills itself
# with SIGKILL. The socket's file stays behind.
#
#     dying-peer.py PATH STEP
#
#     STEP  before-accept   a connection waits in the queue
#           after-accept    nothing was read
#           after-request   the request was read
#           within-line     half of a multiplexer's OK line was sent
#           after-line      the whole line was sent
#           relaying        a greeting was sent and some of the client's bytes were read
#
# Prints "ready" once it listens.

import os
import select
import signal
import socket
import sys


def die_at(step):
    if step == STEP:
        os.kill(os.getpid(), signal.SIGKILL)


PATH, STEP = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(PATH)
listener.listen(1)
print("ready", flush=True)
select.select([listener], [], [])
die_at("before-accept")
connection = listener.accept()[0]
die_at("after-accept")
if STEP == "relaying":
    connection.sendall(b"hello\n")
    connection.recv(1000, socket.MSG_WAITALL)
die_at("relaying")
connection.recv(64)
die_at("after-request")
connection.sendall(b"OK 10")
die_at("within-line")
connection.sendall(b"73741824\n")
die_at("after-line")
