"""Connects, blocking and not, by every kind of socket."""

import asyncio
import errno
import os
import select
import socket
import struct
import threading

from common import ECHO, ERRNOS, NEVER, OWN, REFUSED, SLOW, SLOWLY_REFUSED, error, kinds, talk


def blocking():
    for last in (ECHO, SLOW):
        for family, to in kinds(last):
            s = socket.socket(family)
            s.connect(to)
            assert s.connect_ex(to) == errno.EISCONN
            assert error(s) == 0
            talk(s, to)


def blocking_errors():
    for last, expected in ERRNOS.items():
        for family, to in kinds(last):
            s = socket.socket(family)
            assert s.connect_ex(to) == expected, (to, expected)
            assert error(s) == 0
            # It can be used again, as a socket whose connect failed can.
            good = list(kinds(ECHO))[list(kinds(last)).index((family, to))][1]
            s.connect(good)
            talk(s, good)


def nonblocking():
    for last in (ECHO, SLOW):
        for family, to in kinds(last):
            s = socket.socket(family)
            s.setblocking(False)
            assert s.connect_ex(to) == errno.EINPROGRESS
            if last == SLOW:
                assert select.select([], [s], [], 0) == ([], [], [])
                assert s.connect_ex(to) == errno.EALREADY
                try:
                    s.getpeername()
                    raise AssertionError("a peer before there is one")
                except OSError as e:
                    assert e.errno == errno.ENOTCONN
            assert select.select([], [s], [], 10)[1] == [s]
            assert error(s) == 0
            assert s.connect_ex(to) == 0
            assert s.connect_ex(to) == errno.EISCONN
            talk(s, to)


def nonblocking_errors():
    for last, expected in ERRNOS.items():
        for family, to in kinds(last):
            for ask in (error, lambda s: s.connect_ex(to)):
                s = socket.socket(family)
                s.setblocking(False)
                at_once = s.connect_ex(to)
                if at_once != errno.EINPROGRESS:
                    # The engine chose before the call was over.
                    assert at_once == expected, (to, at_once)
                    continue
                assert select.select([], [s], [], 10)[1] == [s]
                assert ask(s) == expected, (to, expected)
                assert error(s) == 0
                s.close()


def registered_before():
    """epoll with the socket in it since before connect, edge-triggered."""
    for last, expected in ((ECHO, 0), (SLOW, 0), (SLOWLY_REFUSED, errno.ECONNREFUSED)):
        for family, to in kinds(last):
            s = socket.socket(family)
            s.setblocking(False)
            epoll = select.epoll()
            epoll.register(s, select.EPOLLOUT | select.EPOLLIN | select.EPOLLET)
            epoll.poll(0)
            assert s.connect_ex(to) == errno.EINPROGRESS
            woken = epoll.poll(10)
            assert woken and woken[0][1] & select.EPOLLOUT, woken
            assert error(s) == expected
            if expected == 0:
                talk(s, to)


def handed_over():
    """Registered, duplicated and set up before connect, and refused."""
    for family, to in list(kinds(OWN))[:1] + list(kinds(OWN))[2:]:
        refused = (to[0][:-2] + "12", *to[1:])
        for blocks in (True, False):
            s = socket.socket(family)
            s.setblocking(blocks)
            epoll = select.epoll()
            epoll.register(s, select.EPOLLOUT | select.EPOLLET)
            epoll.poll(0)
            other = s.dup()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert s.connect_ex(to) in ((0,) if blocks else (0, errno.EINPROGRESS))
            assert epoll.poll(10)[0][1] == select.EPOLLOUT
            assert error(s) == 0
            assert other.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            other.setblocking(True)
            other.sendall(b"hello")
            assert other.recv(9) == b"hello"
            s.close()
            other.close()
            s = socket.socket(family)
            s.setblocking(blocks)
            told = s.connect_ex(refused)
            if told == errno.EINPROGRESS and not blocks:
                assert select.select([], [s], [], 10)[1] == [s]
                told = error(s)
            assert told == errno.ECONNREFUSED, told


def duplicates():
    """A duplicate of the socket is the same connection."""
    for family, to in kinds(ECHO):
        s = socket.socket(family)
        other = s.dup()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.connect(to)
        assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        talk(other, to)


def polled():
    for family, to in kinds(SLOW):
        s = socket.socket(family)
        s.setblocking(False)
        assert s.connect_ex(to) == errno.EINPROGRESS
        p = select.poll()
        p.register(s, select.POLLOUT)
        assert p.poll(0) == []
        assert p.poll(10000) == [(s.fileno(), select.POLLOUT)]
        talk(s, to)


def loop():
    async def one(to):
        reader, writer = await asyncio.open_connection(to[0], to[1])
        assert writer.get_extra_info("peername")[:2] == to[:2]
        writer.write(b"x" * 100)
        assert await reader.readexactly(100) == b"x" * 100
        writer.close()

    async def refused(to):
        try:
            await asyncio.open_connection(to[0], to[1])
        except ConnectionRefusedError:
            return
        raise AssertionError("not refused")

    async def main():
        good = [one(to) for _, to in kinds(ECHO)] + [one(to) for _, to in kinds(SLOW)]
        bad = [refused(to) for last in (REFUSED, SLOWLY_REFUSED) for _, to in kinds(last)]
        await asyncio.wait_for(asyncio.gather(*good, *bad), 20)

    asyncio.run(main())


def timeout():
    for family, to in kinds(NEVER):
        s = socket.socket(family)
        s.settimeout(0.2)
        try:
            s.connect(to)
            raise AssertionError("connected")
        except (TimeoutError, socket.timeout):
            s.close()
        s = socket.socket(family)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200000))
        assert s.connect_ex(to) == errno.EINPROGRESS
        s.close()
    # It goes on meanwhile.
    for last, expected in ((SLOW, 0), (SLOWLY_REFUSED, errno.ECONNREFUSED)):
        for family, to in kinds(last):
            s = socket.socket(family)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 20000))
            assert s.connect_ex(to) == errno.EINPROGRESS
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 0))
            assert select.select([], [s], [], 10)[1] == [s]
            assert error(s) == expected
            if expected == 0:
                talk(s, to)


def threads():
    failed = []

    def one(n):
        try:
            family, to = list(kinds(ECHO if n % 3 else SLOW))[0]
            s = socket.socket(family)
            s.connect(to)
            talk(s, to)
        except Exception as e:
            failed.append(e)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert not failed, failed[:3]


def blocked_does_not_block():
    """While one connect waits, others go on."""
    family, to = list(kinds(NEVER))[0]
    stuck = threading.Thread(target=lambda: socket.socket(family).connect_ex(to), daemon=True)
    stuck.start()
    for _ in range(20):
        good = list(kinds(ECHO))[0][1]
        s = socket.create_connection(good, 10)
        talk(s, good)
    os._exit(0)
