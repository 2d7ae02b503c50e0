import asyncio
import sys

import asyncssh

_, task, config, *names = sys.argv


def parse(name):
    options = asyncssh.SSHClientConnectionOptions(
        config=[config], host=name, client_keys=None, known_hosts=None
    )
    return " ".join(options.proxy_command or [])


async def login(name):
    async with asyncssh.connect(name, config=[config]) as connection:
        return await connection.run("echo out; exit 7")


if task == "parse":
    for name in names:
        print(parse(name))
else:
    ran = asyncio.run(login(names[0]))
    print(ran.stdout, end="")
    sys.exit(ran.exit_status)
