# Runs a command on a new pseudo-terminal, types Ctrl-C, and prints the result.
#
#     terminal.py UNTIL COMMAND [ARGUMENT...]
#
# Ctrl-C is typed when the output of the command matches the regular expression UNTIL. stdout: one line
# of JSON:
#
#     {"found": true, "signal": 2, "exit": null, "ms": 1.5, "output": "68690a", "left": [], "same": true}
#
# Whether UNTIL matched, how the command ended, the time since Ctrl-C, all output on the terminal in
# hexadecimal, the remaining processes of its session, and whether the terminal's settings are unchanged.
# A command that does not exit is killed.

import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time

UNTIL_SECONDS = 30
EXIT_SECONDS = 5

until = re.compile(sys.argv[1].encode())
go, ready = os.pipe()
pid, master = pty.fork()
if pid == 0:
    os.close(ready)
    os.read(go, 1)
    os.close(go)
    os.execvp(sys.argv[2], sys.argv[2:])
os.close(go)
before = termios.tcgetattr(master)
os.close(ready)

output = b""


def read(seconds):
    global output
    if not select.select([master], [], [], seconds)[0]:
        return False
    try:
        data = os.read(master, 65536)
    except OSError:  # EIO: the other side is closed.
        return False
    output += data
    return data != b""


signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
signal.alarm(UNTIL_SECONDS)

while until.search(output) is None and read(UNTIL_SECONDS):
    pass
found = until.search(output) is not None
signal.alarm(EXIT_SECONDS)
typed = time.monotonic()
if found:
    os.write(master, b"\x03")
else:
    os.kill(pid, signal.SIGKILL)
status = os.waitpid(pid, 0)[1]
milliseconds = (time.monotonic() - typed) * 1000
signal.alarm(0)

left = []
for name in os.listdir("/proc"):
    try:
        with open(f"/proc/{name}/stat") as file:
            # Behind the name, which may contain any byte: state, parent, group, session.
            if name.isdigit() and int(file.read().rpartition(")")[2].split()[3]) == pid:
                left.append(int(name))
    except OSError:
        pass

same = termios.tcgetattr(master) == before
while read(0.1):
    pass
print(
    json.dumps(
        {
            "found": found,
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
            "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
            "ms": milliseconds,
            "output": output.hex(),
            "left": left,
            "same": same,
        }
    )
)
