# Talks with echo servers, `HOST PORT` each, and says what a program can see of its sockets.
import select
import socket
import sys
import threading

PATIENCE = 15


def blocking(host, port):
    plain = socket.create_connection((host, port), PATIENCE)
    plain.settimeout(PATIENCE)
    # A name may stand for any of several addresses.
    by_address = host[0].isdigit() or ":" in host
    print("peer", plain.getpeername()[:2] if by_address else port, "own port", plain.getsockname()[1] > 0)
    plain.sendall(b"half a word")
    plain.shutdown(socket.SHUT_WR)
    print(b"".join(iter(lambda: plain.recv(100), b"")))
    plain.close()


def by_poll(family, host, port):
    busy = socket.socket(family, socket.SOCK_STREAM)
    busy.setblocking(False)
    # Registered before the connect, as event loops do.
    poll = select.epoll()
    poll.register(busy, select.EPOLLOUT | select.EPOLLIN)
    code = busy.connect_ex((host, port))
    print("in progress or done", code in (0, 115))
    print("writable", bool(poll.poll(PATIENCE)))
    print("error", busy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    print("again", busy.connect_ex((host, port)) in (0, 106))
    busy.send(b"in a hurry")
    select.select([busy], [], [], PATIENCE)
    print(busy.recv(100))
    busy.close()


def large(host, port):
    wide = socket.create_connection((host, port), PATIENCE)
    wide.settimeout(PATIENCE)
    data = bytes(range(256)) * 4000
    sender = threading.Thread(target=lambda: (wide.sendall(data), wide.shutdown(socket.SHUT_WR)))
    sender.start()
    back = b"".join(iter(lambda: wide.recv(65536), b""))
    sender.join()
    print("the same", back == data, len(back))


words = sys.argv[1:]
for host, port in zip(words[::2], map(int, words[1::2])):
    blocking(host, port)
    large(host, port)
    if host[0].isdigit() or ":" in host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        by_poll(family, host, port)
