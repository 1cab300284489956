"""Limits of how often something may be done."""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

import attrs
import trio

from ._calls import ApiRefusal

TOO_OFTEN: Final = 99991400
"""Of the API as a whole; HTTP 429."""


@attrs.define(eq=False)
class Limit:
    """So many in any second, by trio's clock."""

    most: int
    _times: deque[float] = attrs.field(factory=deque, init=False, repr=False)

    def wait(self) -> float:
        """Seconds until there is room; 0 if there is."""
        now = trio.current_time()
        while self._times and self._times[0] <= now - 1:
            self._times.popleft()
        return self._times[0] + 1 - now if len(self._times) >= self.most else 0

    def take(self) -> None:
        """Count one more."""
        self._times.append(trio.current_time())


def too_often(limit: Limit, what: str) -> ApiRefusal:
    """The refusal of what is over `limit`, with the headers that say when to come again."""
    headers = {
        "x-ogw-ratelimit-limit": str(limit.most),
        "x-ogw-ratelimit-reset": str(max(1, ceil(limit.wait()))),
    }
    return ApiRefusal(TOO_OFTEN, f"request trigger frequency limit: {what}", 429, headers=headers)
