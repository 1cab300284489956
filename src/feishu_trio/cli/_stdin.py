"""Lines from stdin: a terminal, a pipe or a file."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator

import trio

__all__ = ["stdin_lines"]


async def stdin_lines() -> AsyncGenerator[str, None]:
    """The lines of stdin, stripped; ends with stdin, or when another job owns the terminal."""
    if hasattr(signal, "SIGTTIN"):
        # A background job that reads then gets an error, and is not stopped.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    rest = b""
    while data := await trio.to_thread.run_sync(_read, abandon_on_cancel=True):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").strip()
    if rest:
        yield rest.decode("utf-8", "replace").strip()


def _read() -> bytes:
    # Not through sys.stdin: an abandoned thread would hold the lock that Python's exit waits for.
    try:
        return os.read(0, 65536)
    except OSError:
        return b""
