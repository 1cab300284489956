"""Where the event loop stands still: the stack of its thread, taken by another one."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["Stacks", "in_lines", "stacks_taken"]

logger = logging.getLogger("feishu_trio.delivery")

_LOOK: Final = 0.25  # seconds between two looks at the loop
_STILL: Final = 1.0  # seconds for which it must stand still for its stack to be taken
_TELL: Final = 10.0  # seconds after which the thread itself tells, and again after twice as many
_FRAMES: Final = 16
_CHARACTERS: Final = 200
_JOIN: Final = 1.0


class Stacks:
    """Takes the stack of the thread that made this while that does not `beat`.

    What is taken are names of files and functions, and numbers of lines: neither values nor source, which may hold
    secrets. Code in C that keeps Python's lock (a search by a regular expression, say) keeps this from looking, too.
    """

    def __init__(self) -> None:
        self._watched = threading.get_ident()
        self._beaten_at = time.monotonic()
        self._stack: tuple[str, ...] = ()
        self._ended = threading.Event()

    def beat(self) -> tuple[str, ...]:
        """The thread is not blocked; returned is where it was, innermost first, if it has been since the last beat."""
        self._beaten_at = time.monotonic()
        stack, self._stack = self._stack, ()
        return stack

    def run(self) -> None:
        """Look until `end`, in a thread of its own."""
        taken = -1.0  # of which beat the stack has been taken
        tell_after = _TELL
        while not self._ended.wait(_LOOK):
            beaten_at = self._beaten_at
            still = time.monotonic() - beaten_at
            if still < _STILL:
                continue
            if beaten_at != taken:
                taken, tell_after = beaten_at, _TELL
                self._stack = self._take()
            if still >= tell_after:
                tell_after *= 2
                where = in_lines(self._take())
                logger.warning("the event loop has stood still for %.0f s, and still does%s", still, where)

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _take(self) -> tuple[str, ...]:
        frame: FrameType | None = sys._current_frames().get(self._watched)
        stack: list[str] = []
        while frame is not None and len(stack) < _FRAMES:
            code = frame.f_code
            stack.append(
                f"{code.co_filename[-_CHARACTERS:]}:{frame.f_lineno} in {code.co_name[:_CHARACTERS]}"
            )
            frame = frame.f_back
        return tuple(stack)


@contextmanager
def stacks_taken() -> Iterator[Stacks]:
    """Within, a thread looks whether the caller's stands still."""
    stacks = Stacks()
    thread = threading.Thread(target=stacks.run, name="feishu_trio stacks", daemon=True)
    thread.start()
    try:
        yield stacks
    finally:
        stacks.end()
        thread.join(_JOIN)


def in_lines(stack: tuple[str, ...]) -> str:
    """A stack as it follows a line in the log; empty for none."""
    return "; it was at" + "".join(f"\n  {frame}" for frame in stack) if stack else ""
