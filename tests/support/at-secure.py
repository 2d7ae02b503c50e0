# at-secure.py COMMAND [ARG...]: runs COMMAND as if its file were setuid, which takes no privilege.
# The kernel tells a program so by AT_SECURE of its auxiliary vector (getauxval(3)); this sets it
# before the program's first instruction.

import ctypes
import os
import struct
import sys

PTRACE_TRACEME, PTRACE_DETACH = 0, 17
AT_NULL, AT_SECURE = 0, 23
WORD = struct.calcsize("P")

libc = ctypes.CDLL(None, use_errno=True)


def ptrace(request, pid):
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


child = os.fork()
if child == 0:
    ptrace(PTRACE_TRACEME, 0)
    os.execvp(sys.argv[1], sys.argv[1:])

# It stops once execve(2) is done. Field 28 of stat is where its stack then begins (proc(5)): argc, the
# arguments, the environment, the vector.
os.waitpid(child, 0)
with open(f"/proc/{child}/stat") as stat:
    at = int(stat.read().rpartition(")")[2].split()[25])
with open(f"/proc/{child}/mem", "r+b", buffering=0) as memory:

    def word():
        return int.from_bytes(memory.read(WORD), sys.byteorder)

    memory.seek(at)
    memory.seek(WORD * (word() + 1), os.SEEK_CUR)
    while word() != 0:
        pass
    while (kind := word()) != AT_SECURE:
        if kind == AT_NULL:
            sys.exit("no AT_SECURE in the auxiliary vector")
        word()
    memory.write((1).to_bytes(WORD, sys.byteorder))
ptrace(PTRACE_DETACH, child)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
