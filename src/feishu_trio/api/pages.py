"""Lists that come in pages."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ..errors import ApiError

__all__ = ["Pages"]


class Pages(AsyncIterator[Any]):
    """The items of all pages, one after the other; `ask` gets the `data` of the page that a token stands for.

    It is no generator: a loop over it may be left at any time, and nothing stays half done.
    """

    def __init__(self, call: str, ask: Callable[[str | None], Awaitable[Any]], items: str) -> None:
        self._call = call
        self._ask = ask
        self._items = items
        self._ready: deque[Any] = deque()
        self._next: str | None = None  # the next page's token; None for the first
        self._is_last = False
        self._asked: set[str] = set()

    async def __anext__(self) -> Any:
        while not self._ready:
            if self._is_last:
                raise StopAsyncIteration
            await self._turn()
        return self._ready.popleft()

    async def _turn(self) -> None:
        data = await self._ask(self._next)
        data = data if isinstance(data, dict) else {}
        found = data.get(self._items) or []
        if not isinstance(found, list):
            raise ApiError(
                f"{self._call}: {self._items!r} of its data is no list; name the field that is one with `items`"
            )
        self._ready.extend(found)
        token = data.get("page_token")
        # A page that leads back to one that was read would never end.
        if data.get("has_more") and isinstance(token, str) and token and token not in self._asked:
            self._next = token
            self._asked.add(token)
        else:
            self._is_last = True
