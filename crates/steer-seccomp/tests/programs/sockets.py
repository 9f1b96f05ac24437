"""What a program sees of its sockets under supervision: each function is a case.

The engine behind it answers by the last byte of the address: see `supervised.rs`.
"""

import asyncio
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

ECHO, REFUSED, TIMED_OUT, HOST, NETWORK, DENIED, RESET, SLOW, SLOWLY_REFUSED, NEVER = range(1, 11)
OWN, OWN_REFUSED = 11, 12
ERRNOS = {
    REFUSED: errno.ECONNREFUSED,
    TIMED_OUT: errno.ETIMEDOUT,
    HOST: errno.EHOSTUNREACH,
    NETWORK: errno.ENETUNREACH,
    DENIED: errno.EACCES,
    RESET: errno.ECONNRESET,
    SLOWLY_REFUSED: errno.ECONNREFUSED,
}


def kinds(last):
    """The same destination for every kind of socket."""
    yield socket.AF_INET, ("203.0.113.%d" % last, 7)
    if os.path.exists("/proc/net/if_inet6"):
        yield socket.AF_INET6, ("2001:db8::%x" % last, 7, 0, 0)
        yield socket.AF_INET6, ("::ffff:203.0.113.%d" % last, 7, 0, 0)


def talk(s, to):
    s.setblocking(True)
    s.sendall(b"hello" * 1000)
    got = b""
    while len(got) < 5000:
        more = s.recv(5000)
        assert more, "the connection ended early"
        got += more
    assert got == b"hello" * 1000
    assert s.getpeername()[:2] == to[:2], s.getpeername()
    s.shutdown(socket.SHUT_WR)
    assert s.recv(1) == b""
    s.close()


def error(s):
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


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


def forks():
    family, to = list(kinds(ECHO))[0]
    children = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            s = socket.create_connection(to, 10)
            talk(s, to)
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    # By a daemon that has left its parents, and executed again.
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            again = [sys.executable, __file__, "blocking"]
            status = os.spawnv(os.P_WAIT, sys.executable, again)
            os.write(writer, b"done %d" % status)
        os._exit(0)
    assert os.wait()[1] == 0
    os.close(writer)
    assert os.read(reader, 99) == b"done 0"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, "nonblocking"]) == 0


def signals():
    """A signal during connect: EINTR without SA_RESTART, and the connect goes on with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    family, to = list(kinds(SLOW))[0]
    name = struct.pack("=H", family) + struct.pack("!H", to[1]) + socket.inet_aton(to[0]) + bytes(8)
    hit = []
    signal.signal(signal.SIGALRM, lambda *_: hit.append(1))
    for restart in (False, True):
        del hit[:]
        signal.siginterrupt(signal.SIGALRM, not restart)
        s = socket.socket(family)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        result = libc.connect(s.fileno(), name, len(name))
        told = ctypes.get_errno()
        assert hit, "no signal came"
        if restart:
            assert result == 0, os.strerror(told)
        else:
            assert (result, told) == (-1, errno.EINTR), os.strerror(told)
            # As Python itself goes on after EINTR.
            assert s.connect_ex(to) == 0
        talk(s, to)
    # Many, while a nonblocking one is begun: Go's scheduler does this.
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for _ in range(100):
        for family, to in kinds(ECHO):
            s = socket.socket(family)
            s.setblocking(False)
            told = s.connect_ex(to)
            assert told in (0, errno.EINPROGRESS), errno.errorcode[told]
            while not select.select([], [s], [], 10)[1]:
                pass
            assert error(s) == 0
            s.close()
    signal.setitimer(signal.ITIMER_REAL, 0)


def interrupted():
    """Ctrl-C ends a connect that would wait for ever."""
    family, to = list(kinds(NEVER))[0]
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        socket.socket(family).connect(to)
    except KeyboardInterrupt:
        os._exit(0)


def loopback():
    for family, at in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        if family == socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
            continue
        server = socket.socket(family)
        server.bind((at, 0))
        server.listen()
        for blocks in (True, False):
            s = socket.socket(family)
            s.setblocking(blocks)
            assert s.connect_ex(server.getsockname()) in (0, errno.EINPROGRESS)
            peer, _ = server.accept()
            assert s.getpeername() == server.getsockname()
            peer.close()
            s.close()
        server.close()
        s = socket.socket(family)
        s.bind((at, 0))
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind((at, 0))
        client = socket.socket(family, socket.SOCK_DGRAM)
        assert client.sendto(b"x", udp.getsockname()) == 1
        assert client.sendmsg([b"y"], [], 0, udp.getsockname()) == 1
        client.connect(udp.getsockname())
        client.send(b"z")
        assert [udp.recv(9) for _ in range(3)] == [b"x", b"y", b"z"]
    a, b = socket.socketpair()
    a.sendmsg([b"fd"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))])
    assert b.recv(9) == b"fd"


def datagrams():
    def refused(what, expected=errno.ENETUNREACH):
        try:
            what()
        except OSError as e:
            assert e.errno == expected, e
            return
        raise AssertionError("sent")

    for family, to in kinds(ECHO):
        s = socket.socket(family, socket.SOCK_DGRAM)
        refused(lambda: s.sendto(b"x", to))
        refused(lambda: s.sendmsg([b"x"], [], 0, to))
        connected = socket.socket(family, socket.SOCK_DGRAM)
        try:
            connected.connect(to)
        except OSError as e:
            # No route there from here: it is the kernel's own word.
            assert e.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH), e
        else:
            refused(lambda: connected.send(b"x"), errno.EPIPE)
    # The kernel takes AF_UNSPEC for AF_INET when sending.
    libc = ctypes.CDLL(None, use_errno=True)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    name = bytes(2) + struct.pack("!H", 7) + socket.inet_aton("203.0.113.1") + bytes(8)
    assert libc.sendto(s.fileno(), b"x", 1, 0, name, len(name)) == -1
    assert ctypes.get_errno() == errno.ENETUNREACH
    # sendmmsg: the second of two leads out.
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0))
    names = []
    for to in (ours.getsockname(), ("203.0.113.1", 7)):
        packed = struct.pack("=H", socket.AF_INET) + struct.pack("!H", to[1])
        names.append(ctypes.create_string_buffer(packed + socket.inet_aton(to[0]) + bytes(8), 16))
    messages = b""
    for name in names:
        messages += struct.pack("@PI4xPQPQi4xI4x", ctypes.addressof(name), 16, 0, 0, 0, 0, 0, 0)
    assert libc.sendmmsg(s.fileno(), messages, 2, 0) == -1
    assert ctypes.get_errno() == errno.ENETUNREACH
    fast = socket.socket()
    refused(lambda: fast.sendto(b"x", 0x20000000, ("203.0.113.1", 7)), errno.EOPNOTSUPP)


def others():
    """io_uring, other families and other protocols."""
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (425, 426, 427):
        assert libc.syscall(number, 0, 0) == -1
        assert ctypes.get_errno() == errno.EPERM
    for family in (17, 40):
        try:
            socket.socket(family, socket.SOCK_DGRAM)
        except OSError as e:
            assert e.errno == errno.EAFNOSUPPORT, e
        else:
            raise AssertionError("a socket of family %d" % family)
    # x32, where the same numbers would be other calls.
    assert libc.syscall(0x40000000 | 42, 0, 0, 0) == -1
    assert ctypes.get_errno() == errno.ENOSYS


def bad_arguments():
    """What the kernel itself refuses it refuses in its own words."""
    libc = ctypes.CDLL(None, use_errno=True)
    s = socket.socket()
    name = struct.pack("=H", 2) + struct.pack("!H", 7) + socket.inet_aton("203.0.113.1") + bytes(8)

    def fails(fd, name, length, expected):
        assert libc.connect(fd, name, length) == -1
        assert ctypes.get_errno() == expected, (os.strerror(ctypes.get_errno()), expected)

    fails(s.fileno(), ctypes.c_void_p(8), 16, errno.EFAULT)
    fails(s.fileno(), name, 15, errno.EINVAL)
    fails(s.fileno(), name, 1000, errno.EINVAL)
    fails(s.fileno(), name, -1, errno.EINVAL)
    fails(999, name, 16, errno.EBADF)
    fails(sys.stdin.fileno(), name, 16, errno.ENOTSOCK)
    fails(s.fileno(), struct.pack("=H", 99) + bytes(14), 16, errno.EAFNOSUPPORT)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    fails(listening.fileno(), name, 16, errno.EISCONN)
    # A pending connect is undone, and the socket is as new.
    family, to = list(kinds(NEVER))[0]
    s.setblocking(False)
    assert s.connect_ex(to) == errno.EINPROGRESS
    assert libc.connect(s.fileno(), bytes(16), 16) == 0
    good = list(kinds(ECHO))[0][1]
    assert s.connect_ex(good) == errno.EINPROGRESS
    assert select.select([], [s], [], 10)[1] == [s]
    assert error(s) == 0
    # getpeername with too little room, and with none.
    room = ctypes.create_string_buffer(16)
    length = ctypes.c_int(4)
    assert libc.getpeername(s.fileno(), room, ctypes.byref(length)) == 0
    assert length.value == 16 and room.raw[4:] == bytes(12)
    length = ctypes.c_int(-1)
    assert libc.getpeername(s.fileno(), room, ctypes.byref(length)) == -1
    assert ctypes.get_errno() == errno.EINVAL
    length = ctypes.c_int(16)
    assert libc.getsockopt(s.fileno(), 1, 28, room, ctypes.byref(length)) == 0
    assert room.raw[4:8] == socket.inet_aton(good[0])
    talk(s, good)


def hidden():
    """A process that lets nobody look at it."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(4, 0, 0, 0, 0) == 0
    family, to = list(kinds(ECHO))[0]
    result = socket.socket(family).connect_ex(to)
    assert result == (0 if os.getuid() == 0 else errno.EPERM), result


def orphaned():
    """The supervisor is killed; told by a file that it is gone."""
    family, to = list(kinds(ECHO))[0]
    before = socket.create_connection(to, 10)
    family, never = list(kinds(NEVER))[0]
    pending = socket.socket(family)
    pending.setblocking(False)
    assert pending.connect_ex(never) == errno.EINPROGRESS
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    supervisor = int(sys.argv[2])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(supervisor, 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)
    try:
        socket.create_connection(to, 5)
        result = 0
    except OSError as e:
        result = e.errno
    gone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        gone.sendto(b"x", to)
        sent = 0
    except OSError as e:
        sent = e.errno
    before.settimeout(5)
    try:
        ended = before.recv(1)
    except ConnectionResetError:
        ended = "reset"
    with open(sys.argv[3], "w") as out:
        out.write("%s %s %s" % (errno.errorcode[result], errno.errorcode[sent], ended))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
