"""Children, signals, and processes that hide or outlive their supervisor."""

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

from common import ECHO, NEVER, OWN_NEVER, SLOW, error, kinds, talk


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
            again = [sys.executable, sys.argv[0], "blocking"]
            status = os.spawnv(os.P_WAIT, sys.executable, again)
            os.write(writer, b"done %d" % status)
        os._exit(0)
    assert os.wait()[1] == 0
    os.close(writer)
    assert os.read(reader, 99) == b"done 0"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, sys.argv[0], "nonblocking"]) == 0


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


def signals_elsewhere():
    """A signal of the process that only a thread takes which is in connect."""
    libc = ctypes.CDLL(None, use_errno=True)
    family, to = list(kinds(NEVER))[0]
    name = struct.pack("=H", family) + struct.pack("!H", to[1]) + socket.inet_aton(to[0]) + bytes(8)
    signal.signal(signal.SIGALRM, lambda *_: None)
    told = []

    def connect():
        s = socket.socket(family)
        result = libc.connect(s.fileno(), name, len(name))
        told.append((result, errno.errorcode.get(ctypes.get_errno())))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    deadline = time.monotonic() + 30
    while not told and time.monotonic() < deadline:
        # The first may come before the call.
        os.kill(os.getpid(), signal.SIGALRM)
        thread.join(0.2)
    assert told == [(-1, "EINTR")], told


def interrupted():
    """Ctrl-C ends a connect that would wait for ever."""
    family, to = list(kinds(NEVER))[0]
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        socket.socket(family).connect(to)
    except KeyboardInterrupt:
        os._exit(0)


def given_up():
    """Processes that end while their connects go on."""
    for last in (NEVER, OWN_NEVER):
        for family, to in list(kinds(last))[:1]:
            # Nonblocking; killed in its call; and after its call was ended by a signal.
            if os.fork() == 0:
                s = socket.socket(family)
                s.setblocking(False)
                assert s.connect_ex(to) in (errno.EINPROGRESS, errno.ECONNREFUSED)
                os._exit(0)
            assert os.wait()[1] == 0
            killed = os.fork()
            if killed == 0:
                signal.alarm(1)
                socket.socket(family).connect_ex(to)
                os._exit(0)
            assert os.wait()[1] in (signal.SIGALRM, 0)
            if os.fork() == 0:
                signal.signal(signal.SIGALRM, lambda *_: 1 // 0)
                signal.alarm(1)
                try:
                    socket.socket(family).connect(to)
                except (ZeroDivisionError, ConnectionRefusedError):
                    os._exit(0)
            assert os.wait()[1] == 0


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
