"""What comes from stdin: a terminal, a pipe or a file."""

from __future__ import annotations

import codecs
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio

__all__ = ["stdin_lines", "stdin_texts"]


async def stdin_lines() -> AsyncGenerator[str, None]:
    """The lines of stdin, stripped; ends with stdin, or when another job owns the terminal."""
    rest = ""
    async with aclosing(stdin_texts()) as texts:
        async for text in texts:
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                yield line.strip()
    if rest:
        yield rest.strip()


async def stdin_texts() -> AsyncGenerator[str, None]:
    """What stdin has, as it comes; ends as `stdin_lines` does."""
    if hasattr(signal, "SIGTTIN"):
        # A background job that reads then gets an error, and is not stopped.
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    while data := await trio.to_thread.run_sync(_read, abandon_on_cancel=True):
        yield decode(data)
    yield decode(b"", final=True)


def _read() -> bytes:
    # Not through sys.stdin: an abandoned thread would hold the lock that Python's exit waits for.
    try:
        return os.read(0, 65536)
    except OSError:
        return b""
