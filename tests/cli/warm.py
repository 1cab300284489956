"""A process that has the command line loaded, and for each request makes a copy of itself, which becomes the command.

Loading is most of what a short command does. A copy begins at once, and is all the same a process with an environment,
streams, signals and an end of its own. `commands.py` starts this, and hands over what a command gets through a socket.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import socket
import sys
import termios
import time


def serve() -> None:
    """Wait for requests until the other end is closed; returns in each copy, as the command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for commands
    requests = socket.socket(fileno=os.dup(0))
    while True:
        data, files, _, _ = socket.recv_fds(requests, 1, 4)
        if not data:
            requests.close()
            sys.exit()
        if os.fork():
            for file in files:
                os.close(file)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        requests.close()
        asker = socket.socket(fileno=files[0])
        request = json.loads(asker.makefile().readline())
        if command := os.fork():
            _wait(command, asker, files[1:])
        asker.close()
        _become(request["args"], request["env"], request["folder"], files[1:])
        return


def _wait(command: int, asker: socket.socket, streams: list[int]) -> None:
    """Tell the asker the command's id, and how it ended."""
    for stream in streams:
        os.close(stream)
    try:
        asker.sendall(f"{command}\n".encode())
        asker.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])}\n".encode())
    finally:
        os._exit(0)


def _become(args: list[str], env: dict[str, str], folder: str, streams: list[int]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = ["feishu-trio", *args]
    sys.path[0] = ""
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    import feishu_trio.cli._app
    import feishu_trio.testing  # noqa: F401  as `gateway` and `demo` do
    from feishu_trio.cli import main

    gc.freeze()  # copies need not look through it again
    serve()
    main()
