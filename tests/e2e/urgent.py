# Sends texts with urgent (out-of-band) bytes between them, and after them the end of file.
#
#     urgent.py stdin tcp|tcp-nonblocking|unix COMMAND...
#
# runs COMMAND with such a socket as stdin, in which the first texts are already, and exits with its
# status.
#
#     urgent.py listen PATH
#
# listens on a unix socket, and sends them over the first connection; then reads that to its end.


import socket
import subprocess
import sys


def send(connection, texts):
    for text in texts:
        connection.sendall(text)
        connection.send(b"!", socket.MSG_OOB)


def send_rest(connection):
    send(connection, [b"4,", b"x" * 1000000, b"5"])
    send(connection, [b",6"])
    connection.sendall(b".")
    connection.shutdown(socket.SHUT_WR)


def pair(kind):
    if kind == "unix":
        return socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    own = socket.create_connection(listener.getsockname())
    given, _ = listener.accept()
    given.setblocking(kind == "tcp")
    return own, given


if sys.argv[1] == "stdin":
    own, given = pair(sys.argv[2])
    send(own, [b"1,", b"2,", b"3,"])
    child = subprocess.Popen(sys.argv[3:], stdin=given)
    given.close()
    send_rest(own)
    sys.exit(child.wait())
else:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[2])
    listener.listen()
    print("listening", flush=True)
    connection, _ = listener.accept()
    send(connection, [b"1,", b"2,", b"3,"])
    send_rest(connection)
    while connection.recv(65536):
        pass
