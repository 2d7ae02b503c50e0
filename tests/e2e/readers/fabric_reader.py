# Fabric, whose configuration is paramiko's.
import sys

import paramiko
from fabric import Config, Connection

_, task, path, *names = sys.argv

if task == "parse":
    config = paramiko.SSHConfig.from_path(path)
    config.get_hostnames()
    for name in names:
        print(config.lookup(name).get("proxycommand", ""))
else:
    with Connection(names[0], config=Config(runtime_ssh_path=path)) as connection:
        ran = connection.run("echo out; exit 7", warn=True, hide=True)
    print(ran.stdout, end="")
    sys.exit(ran.exited)
