"""What does not pass the engine: loopback, datagrams, other families, bad arguments."""

import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import sys

from common import ECHO, NEVER, error, kinds, talk


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
    # A length that the kernel cuts to what an address has at most.
    long = ctypes.create_string_buffer(names[1].raw, 300)
    message = struct.pack("@PI4xPQPQi4x", ctypes.addressof(long), 200, 0, 0, 0, 0, 0)
    assert libc.sendmsg(s.fileno(), message, 0) == -1
    assert ctypes.get_errno() == errno.ENETUNREACH
    # A vector whose second message is not there: the first is not sent either.
    page = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    assert libc.mprotect(ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    first = struct.pack("@PI4xPQPQi4xI4x", ctypes.addressof(names[1]), 16, 0, 0, 0, 0, 0, 0)
    page[mmap.PAGESIZE - len(first) : mmap.PAGESIZE] = first
    at = ctypes.c_void_p(start + mmap.PAGESIZE - len(first))
    assert libc.sendmmsg(s.fileno(), at, 2, 0) == -1
    assert ctypes.get_errno() == errno.EFAULT
    # What is no address in any order of checks, or of no socket, is the kernel's to refuse.
    assert libc.sendmmsg(999, at, 2, 0) == -1
    assert ctypes.get_errno() == errno.EBADF
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
