"""Answers set in advance: how the gateway refuses, hangs, or answers what no server should."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from ._http import Response


@attrs.define(eq=False)
class _Refusal:
    response: Response | None  # None: no answer at all
    left: int | None  # None: for ever


@attrs.define(eq=False)
class Refusals:
    """For each path, what is answered instead of the truth: one after the other, each as often as it was asked for."""

    _by_path: dict[str, deque[_Refusal]] = attrs.field(factory=dict)

    def add(self, path: str, response: Response | None, times: int | None) -> None:
        """Answer the next `times` requests for `path` (None: all of them) with `response`, or not at all."""
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; allowed is 1 or more, or None for always")
        self._by_path.setdefault(path, deque()).append(_Refusal(response, times))

    def clear(self) -> None:
        """Answer truthfully again."""
        self._by_path.clear()

    async def take(self, path: str) -> Response | None:
        """What is to be answered this time, None for the truth. Waits for ever where there is to be no answer."""
        waiting = self._by_path.get(path)
        if not waiting:
            return None
        refusal = waiting[0]
        if refusal.left is not None:
            refusal.left -= 1
            if not refusal.left:
                waiting.popleft()
        if refusal.response is None:
            await trio.sleep_forever()
        return refusal.response
