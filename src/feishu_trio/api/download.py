"""A file on its way here, part by part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

import trio

from ..errors import ApiError
from .exchange import Answer
from .watching import Unanswered

__all__ = ["Download"]


class Download:
    """The parts of a file as they come: an async iterator of bytes, to be used once.

    `left` is the time in seconds that may be waited for parts, all taken together; each byte adds `per_byte` to it.

    Raises:
        ApiError: The file says that it is too large.
    """

    def __init__(
        self,
        call: str,
        answer: Answer,
        failures: Callable[[str], AbstractContextManager[None]],
        *,
        max_size: int,
        left: float,
        per_byte: float,
    ) -> None:
        self._call = call
        self._answer = answer
        self._failures = failures
        self._max_size = max_size
        self._left = left
        self._per_byte = per_byte
        self._size = 0
        announced = answer.response.headers.get("Content-Length", "")
        self._check(int(announced) if announced.isdecimal() else 0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        asked_at = trio.current_time()
        try:
            with self._failures(self._call), trio.fail_after(max(0.0, self._left)):
                part = await anext(self._answer)
        except Unanswered as lost:
            raise lost.error from lost.error.__cause__
        self._size += len(part)
        self._check(self._size)
        self._left += len(part) * self._per_byte - (trio.current_time() - asked_at)
        return part

    def _check(self, size: int) -> None:
        if size > self._max_size:
            raise ApiError(
                f"{self._call}: the file has more than {self._max_size} bytes; give a larger max_size to get all of it"
            )
