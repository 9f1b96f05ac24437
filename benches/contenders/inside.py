#!/usr/bin/env python3
"""Runs the client where a long-lived `steer run` steers it.

    steer run … -- inside.py serve SOCKET     the command: serves, beside a process that waits
    inside.py SOCKET COMMAND ARGS…            the client: as if it had been run there

A `steer run` for each measure would have its start measured too, and its engine's CPU and memory
gone before they are read. Who serves leaves the tree of the command, so that the client's CPU is
not counted as the engine's.
"""
import json, os, select, signal, socket, subprocess, sys, threading


def serve(path):
    command = os.getpid()
    if os.fork():
        os.wait()
        os.execvp("sleep", ["sleep", "infinity"])
    if os.fork():
        os._exit(0)
    os.setsid()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen()
    steered = os.pidfd_open(command)
    while True:
        ready, _, _ = select.select([listener, steered], [], [])
        if steered in ready:
            return
        threading.Thread(target=run, args=(listener.accept()[0],), daemon=True).start()


def run(caller):
    text, fds, _, _ = socket.recv_fds(caller, 1 << 16, 3)
    wish = json.loads(text)
    child = subprocess.Popen(wish["command"], stdin=fds[0], stdout=fds[1], stderr=fds[2],
                             preexec_fn=lambda: os.sched_setaffinity(0, wish["cores"]))
    for fd in fds:
        os.close(fd)
    ended = os.pidfd_open(child.pid)
    # The caller says nothing more: where it ends first, so does its command.
    if caller in select.select([caller, ended], [], [])[0]:
        child.kill()
    status = child.wait()
    os.close(ended)
    try:
        caller.sendall(bytes([status if status >= 0 else 128 - status]))
    except OSError:
        pass
    caller.close()


def ask(path, command):
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    wish = {"command": command, "cores": sorted(os.sched_getaffinity(0))}
    socket.send_fds(server, [json.dumps(wish).encode()], [0, 1, 2])
    status = server.recv(1)
    return status[0] if status else 125


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[1], sys.argv[2:]))
