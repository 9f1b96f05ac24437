# Connects where nobody is, `HOST PORT` each, and says with which error each way of connecting fails.
import asyncio
import errno
import select
import socket
import sys

PATIENCE = 15


def named(code):
    return errno.errorcode.get(code, str(code))


def blocking(host, port):
    try:
        made = socket.create_connection((host, port), None)
    except OSError as error:
        return named(error.errno)
    try:
        return f"connected, {made.recv(1)}"
    except OSError as error:
        return f"connected, {named(error.errno)}"


def in_time(host, port):
    try:
        socket.create_connection((host, port), PATIENCE)
        return "connected"
    except OSError as error:
        return named(error.errno)


def by_poll(host, port):
    busy = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    busy.setblocking(False)
    code = busy.connect_ex((host, port))
    if code == errno.EINPROGRESS:
        poll = select.poll()
        poll.register(busy, select.POLLOUT)
        if not poll.poll(PATIENCE * 1000):
            return "nothing happens"
        code = busy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    # It is told once.
    return f"{named(code)}, then {busy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)}"


async def by_loop(host, port):
    try:
        await asyncio.wait_for(asyncio.open_connection(host, port), PATIENCE)
        return "connected"
    except OSError as error:
        return named(error.errno)


words = sys.argv[1:]
for host, port in zip(words[::2], map(int, words[1::2])):
    ways = [blocking(host, port), in_time(host, port), by_poll(host, port)]
    print(host, port, *ways, asyncio.run(by_loop(host, port)), sep=": ")
