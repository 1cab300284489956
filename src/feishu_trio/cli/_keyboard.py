"""Lines typed at a prompt that stays at the bottom of a terminal, with a history."""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final

from rich.cells import cell_len

from ._stdin import stdin_texts

__all__ = ["Prompt", "can_prompt", "keys_at_once"]

_KEY: Final = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z~]|O[A-Za-z]|[^\[O])|[^\x1b]", re.DOTALL)
_LONGEST: Final = 10_000  # characters of a line
_HISTORY: Final = 500


def can_prompt() -> bool:
    """Whether stdin is a terminal that this job may read keys from."""
    if sys.platform == "win32" or not os.isatty(0):
        return False
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def keys_at_once() -> Iterator[Callable[[], None]]:
    """Get keys as they are pressed, without an echo; Ctrl-C stays a signal. Yields what says so to the terminal again.

    The terminal's modes are as they were when the block is left.
    """
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no termios: ask can_prompt first")
    import termios  # here, as Windows has none
    import tty

    modes = termios.tcgetattr(0)

    def take() -> None:
        tty.setcbreak(0, termios.TCSANOW)  # not after what is still to be shown, which may be never

    try:
        take()
        yield take
    finally:
        termios.tcsetattr(0, termios.TCSANOW, modes)


class Prompt:
    """A line that is being typed. The keys are those of shells: arrows, Home, End, Ctrl-A, E, K, U, W, P, N.

    Ctrl-D in an empty line is the end.
    """

    def __init__(self, prompt: str) -> None:
        self._prompt = prompt
        self._text = ""
        self._cursor = 0
        self._rest = ""
        self._history: deque[str] = deque(maxlen=_HISTORY)
        self._back = 0
        """How many lines back in the history it came from; 0 for a new one."""
        self._is_over = False
        self._new = ""

    async def lines(self, changed: Callable[[], None]) -> AsyncGenerator[str, None]:
        """The lines that are typed, stripped, until Ctrl-D; `changed` is called whenever the prompt is to be drawn again."""
        async with aclosing(stdin_texts()) as texts:
            async for text in texts:
                lines = self.press(text)
                changed()
                for line in lines:
                    yield line.strip()
                if self._is_over:
                    return

    def line(self, width: int) -> str:
        """The prompt with what is typed, or as much of it around the cursor as fits, and the cursor set in it."""
        room = width - cell_len(self._prompt) - 1
        start, end = self._cursor, self._cursor
        while start > 0 and cell_len(self._text[start - 1 : end]) <= room:
            start -= 1
        while end < len(self._text) and cell_len(self._text[start : end + 1]) <= room:
            end += 1
        column = cell_len(self._prompt) + cell_len(self._text[start : self._cursor])
        return f"{self._prompt}{self._text[start:end]}\r\x1b[{column}C"

    def press(self, keys: str) -> list[str]:
        """Take keys; the lines that they complete."""
        keys, at, lines = self._rest + keys, 0, []
        while not self._is_over and (key := _KEY.match(keys, at)) is not None:
            at = key.end()
            if key[0] in "\r\n":
                lines.append(self._text)
                if self._text.strip() and (not self._history or self._history[-1] != self._text):
                    self._history.append(self._text)
                self._set("")
                self._back = 0
            else:
                self._edit(key[0])
        self._rest = keys[at : at + 20]
        return lines

    def _edit(self, key: str) -> None:
        before, after = self._text[: self._cursor], self._text[self._cursor :]
        match key:
            case "\x7f" | "\x08":
                self._set(before[:-1], after)
            case "\x04" if not self._text:
                self._is_over = True
            case "\x04" | "\x1b[3~":
                self._set(before, after[1:])
            case "\x15":
                self._set("", after)
            case "\x0b":
                self._set(before)
            case "\x17":
                self._set(re.sub(r"\S*\s*$", "", before), after)
            case "\x1b[D" | "\x1bOD" | "\x02":
                self._cursor = max(0, self._cursor - 1)
            case "\x1b[C" | "\x1bOC" | "\x06":
                self._cursor = min(len(self._text), self._cursor + 1)
            case "\x01" | "\x1b[H" | "\x1bOH" | "\x1b[1~":
                self._cursor = 0
            case "\x05" | "\x1b[F" | "\x1bOF" | "\x1b[4~":
                self._cursor = len(self._text)
            case "\x1b[A" | "\x1bOA" | "\x10":
                self._recall(self._back + 1)
            case "\x1b[B" | "\x1bOB" | "\x0e":
                self._recall(self._back - 1)
            case _ if key.isprintable() and len(self._text) < _LONGEST:
                self._set(before + key, after)

    def _recall(self, back: int) -> None:
        """Have the line from so many lines ago; 0 is the new one."""
        if not 0 <= back <= len(self._history):
            return
        if self._back == 0:
            self._new = self._text
        self._back = back
        self._set(self._history[-back] if back else self._new)

    def _set(self, before: str, after: str = "") -> None:
        """Have this text, with the cursor between the two parts."""
        self._text, self._cursor = before + after, len(before)
