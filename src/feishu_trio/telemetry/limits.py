"""Bounds for what a peer can make this package log: so many lines of a kind, and how many were kept back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import trio

from .._quiet import QuietStruct

__all__ = ["LogLimit", "one_line"]

# So many lines of one kind within so many seconds, and so many kinds.
_LINES: Final = 10
_PERIOD: Final = 60.0
_KINDS: Final = 256
_CHARACTERS: Final = 100


class _Kind(QuietStruct, eq=False):
    logger: logging.Logger
    level: int
    message: str
    since: float
    lines: int = 0
    kept_back: int = 0


class LogLimit:
    """Logs at most ten lines of a kind a minute. The next line of that kind says how many were kept back, or else
    `end`.

    A kind is a logger with a message's format; `about` tells apart what has a limit each, a handler's name, say.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._kinds: dict[Hashable, _Kind] = {}
        self._seen: set[Hashable] = set()

    def log(
        self,
        logger: logging.Logger,
        level: int,
        message: str,
        *arguments: Any,
        about: Hashable = None,
        exc_info: BaseException | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Log a line, unless there were ten of its kind within the last minute."""
        kind = self._kind(logger, level, message, about)
        if kind.lines == _LINES:
            kind.kept_back += 1
            return
        kind.lines += 1
        if kind.kept_back:
            message += " (%d more lines like this were kept back)"
            arguments += (kind.kept_back,)
            kind.kept_back = 0
        logger.log(level, message, *arguments, exc_info=exc_info, extra=extra)

    def first(self, *what: Hashable) -> bool:
        """Whether this is asked about `what` for the first time; also False once too many things were."""
        if what in self._seen or len(self._seen) >= _KINDS:
            return False
        self._seen.add(what)
        return True

    def end(self) -> None:
        """Say what was kept back and has not been said: there will be no next line."""
        for kind in self._kinds.values():
            self._say_kept_back(kind)

    def _kind(self, logger: logging.Logger, level: int, message: str, about: Hashable) -> _Kind:
        now = self._clock()
        key: Hashable = (logger.name, message, about)
        kind = self._kinds.get(key)
        if kind is None and len(self._kinds) >= _KINDS:
            key = logger.name  # all others of a logger are of one kind
            kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(logger, level, message, now)
        elif now - kind.since >= _PERIOD:
            kind.since, kind.lines = now, 0
        return kind

    @staticmethod
    def _say_kept_back(kind: _Kind) -> None:
        if kind.kept_back:
            kind.logger.log(kind.level, "%d more lines like %r were kept back", kind.kept_back, kind.message)
            kind.kept_back = 0


def one_line(text: str, most: int = _CHARACTERS) -> str:
    """At most so many characters of a text off the wire, on one line and without control characters."""
    return text if len(text) <= most and text.isprintable() else repr(text[:most])
