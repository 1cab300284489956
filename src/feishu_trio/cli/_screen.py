"""A line that stays at the bottom of a terminal, while all that is written scrolls above it.

The cursor stands in that line, and no mode of the terminal is changed here: there is nothing to restore but the line.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

__all__ = ["Screen", "is_live", "open_screen", "write_all"]

_ERASE: Final = "\r\x1b[2K"
_LINES: Final = 1000  # texts that wait while the terminal takes none; the oldest of more are lost
_EVERY: Final = 1.0  # seconds until the line at the bottom is drawn again
_LAST: Final = 1.0  # seconds to erase it in the end


def is_live() -> bool:
    """Whether stdout is a terminal whose cursor may be moved."""
    plain = os.environ.get("TERM", "") in ("", "dumb", "unknown") or bool(os.environ.get("NO_COLOR"))
    return sys.stdout.isatty() and not plain


def write_all(data: bytes) -> None:
    """Write to stdout, not through `sys.stdout`: an abandoned thread would hold the lock that Python's exit waits for."""
    while data:
        data = data[os.write(1, data) :]


class Screen(io.TextIOBase):
    """A terminal on stdout; what is written to this scrolls above the line at the bottom.

    The line is what `bottom` returns for the terminal's width: fewer columns than that, and then, if anything, what
    moves the cursor within it. All writing is done in threads, since the terminal may be stopped.
    """

    def __init__(self, bottom: Callable[[int], str], resume: Callable[[], None]) -> None:
        self._bottom = bottom
        self._resume = resume
        self._drawn: str | None = None
        self._waiting: deque[str] = deque(maxlen=_LINES)
        self._woken = trio.Event()
        self._turn = trio.Lock()
        self._writing = threading.Lock()  # of the thread that writes; one that nobody waits for may come late
        self._is_over = False

    # As a stream for `print`, rich and logging

    def write(self, text: str) -> int:
        """Have whole lines written soon; never waits."""
        self._waiting.append(text)
        self.wake()
        return len(text)

    def isatty(self) -> bool:
        """It is one."""
        return True

    def fileno(self) -> int:
        """That of stdout."""
        return 1

    # For tasks

    def wake(self) -> None:
        """Draw the bottom again soon, for it has changed."""
        if trio.lowlevel.in_trio_task():  # else it is drawn when its time comes
            self._woken.set()

    async def put(self, text: str) -> None:
        """Write whole lines. Raises OSError if the terminal is closed; cancelled, it may have written a part."""
        async with self._turn:
            text = "".join([*self._waiting, text])
            self._waiting.clear()
            line = self._bottom(shutil.get_terminal_size().columns)
            if text or line != self._drawn:
                self._drawn = line
                await self._in_thread(f"{_ERASE}{text}{line}")

    async def run(self) -> None:
        """Write what waits, and draw the bottom whenever it may have changed."""
        while True:
            await self.put("")
            with trio.move_on_after(_EVERY):
                await self._woken.wait()
            self._woken = trio.Event()

    async def follow_size(self) -> None:
        """Draw the bottom anew when the terminal is resized, or the process goes on after Ctrl-Z."""
        names = ("SIGWINCH", "SIGCONT")
        with trio.open_signal_receiver(
            *(getattr(signal, name) for name in names if hasattr(signal, name))
        ) as signals:
            async for _ in signals:
                self._resume()
                self._drawn = None
                self.wake()

    async def end(self) -> None:
        """Write what waits, and erase the bottom, unless the terminal takes nothing."""
        with trio.move_on_after(_LAST, shield=True), suppress(OSError):  # the terminal may be closed
            text = "".join(self._waiting)
            self._waiting.clear()
            await self._in_thread(f"{_ERASE}{text}", is_last=True)

    async def _in_thread(self, text: str, *, is_last: bool = False) -> None:
        data = text.encode("utf-8", "backslashreplace")
        await trio.to_thread.run_sync(self._write_now, data, is_last, abandon_on_cancel=True)

    def _write_now(self, data: bytes, is_last: bool) -> None:
        with self._writing:
            if not self._is_over:
                self._is_over = is_last
                write_all(data)


@asynccontextmanager
async def open_screen(
    bottom: Callable[[int], str], *, resume: Callable[[], None] = lambda: None
) -> AsyncGenerator[Screen, None]:
    """Keep a line at the bottom of the terminal; what the block writes to stdout, and to stderr there, scrolls above.

    `resume` is called when the process goes on after Ctrl-Z: the shell has set the terminal's modes to its own.
    """
    screen, streams = Screen(bottom, resume), (sys.stdout, sys.stderr)
    try:
        sys.stdout = screen
        if sys.stderr.isatty():
            sys.stderr = screen
        async with trio.open_nursery() as nursery:
            nursery.start_soon(screen.run)
            nursery.start_soon(screen.follow_size)
            yield screen
            nursery.cancel_scope.cancel()
    finally:
        sys.stdout, sys.stderr = streams
        await screen.end()
