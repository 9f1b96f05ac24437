"""What the cases share."""

import errno
import os
import socket

ECHO, REFUSED, TIMED_OUT, HOST, NETWORK, DENIED, RESET, SLOW, SLOWLY_REFUSED, NEVER = range(1, 11)
OWN, OWN_REFUSED, OWN_NEVER = 11, 12, 13
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
