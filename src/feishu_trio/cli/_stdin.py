"""Lines from stdin, be it a terminal, a pipe or a file."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator

import trio

__all__ = ["stdin_lines"]


async def stdin_lines() -> AsyncGenerator[str, None]:
    """The lines of stdin, without their ends; over when it is, or when it is another job's terminal now."""
    if hasattr(signal, "SIGTTIN"):
        signal.signal(
            signal.SIGTTIN, signal.SIG_IGN
        )  # a background job then gets an error, and is not stopped
    rest = b""
    while data := await trio.to_thread.run_sync(_read, abandon_on_cancel=True):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace").strip()
    if rest:
        yield rest.decode("utf-8", "replace").strip()


def _read() -> bytes:
    # Not through sys.stdin: a thread that is left behind would keep the lock that Python's exit waits for.
    try:
        return os.read(0, 65536)
    except OSError:
        return b""
