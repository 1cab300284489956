"""Responses prepared in advance, which the gateway gives in place of its regular ones."""

from __future__ import annotations

from collections import deque

import attrs
import trio

from ._http import Response


@attrs.define(eq=False)
class _Prepared:
    response: Response | None  # None: no response at all
    left: int | None  # None: for ever


@attrs.define(eq=False)
class PreparedResponses:
    """For each path a queue of prepared responses, each with the number of requests that get it."""

    _by_path: dict[str, deque[_Prepared]] = attrs.field(factory=dict)

    def add(self, path: str, response: Response | None, times: int | None) -> None:
        """Give `response` to the next `times` requests for `path` (None: all of them); None is no response at all."""
        if times is not None and times < 1:
            raise ValueError(f"times is {times}; allowed is 1 or more, or None for always")
        self._by_path.setdefault(path, deque()).append(_Prepared(response, times))

    def clear(self) -> None:
        """Return to the regular responses."""
        self._by_path.clear()

    async def next(self, path: str) -> Response | None:
        """Use up one prepared response for `path`; None if there is none. Never returns where none is to be given."""
        queue = self._by_path.get(path)
        if not queue:
            return None
        prepared = queue[0]
        if prepared.left is not None:
            prepared.left -= 1
            if not prepared.left:
                queue.popleft()
        if prepared.response is None:
            await trio.sleep_forever()
        return prepared.response
