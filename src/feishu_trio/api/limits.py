"""Feishu's published rates, kept from this side: a call waits until it may start, and those behind it in turn.

Sources: the documentation of `im/v1/messages` (1,000 a minute and 50 a second for an app; 5 a second to a user, and to
a group; a card by PATCH 5 a second for a message) and of `cardkit/v1` (10 operations a second for a card).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple

import trio

from ..errors import RateLimited

__all__ = ["Key", "Limiter", "keys_of"]


class Key(NamedTuple):
    """What a rate is counted for: so many starts within so many seconds."""

    most: int
    period: float
    of: str
    """What all of it is for, in words."""
    which: str = ""
    """Which of these: an id."""


_APP: Final = (Key(50, 1.0, "messages"), Key(1000, 60.0, "messages"))

_MESSAGES: Final = "/open-apis/im/v1/messages"
_REPLY: Final = rf"{_MESSAGES}/[^/]+/reply"
_MESSAGE: Final = rf"{_MESSAGES}/([^/]+)"
_CARD: Final = r"/open-apis/cardkit/v1/cards/([^/]+)(/.*)?"


def keys_of(method: str, path: str, json: object, chat: str | None) -> tuple[Key, ...]:
    """What a call counts for; `chat` is that of a message replied to, which the call itself does not name."""
    path = path.partition("?")[0]
    if method == "POST" and path == _MESSAGES:
        receiver = json.get("receive_id") if isinstance(json, Mapping) else None
        return (*_of_chat(receiver), *_APP)
    if method == "POST" and re.fullmatch(_REPLY, path):
        return (*_of_chat(chat), *_APP)
    if method == "PATCH" and (match := re.fullmatch(_MESSAGE, path)):
        return (Key(5, 1.0, "changes of a message", match[1]),)
    if method != "GET" and (match := re.fullmatch(_CARD, path)):
        return (Key(10, 1.0, "operations of a card", match[1]),)
    return ()


def _of_chat(chat: Any) -> tuple[Key, ...]:
    return (Key(5, 1.0, "messages to a chat", chat),) if isinstance(chat, str) and chat else ()


class _Rate:
    """When the last calls of one key started, and whose turn it is."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.starts: deque[float] = deque(maxlen=key.most)
        self.turn = trio.Lock()

    def free_at(self, ahead: int = 0) -> float:
        """When a call may start that has so many before it."""
        now = trio.current_time()
        rounds, place = divmod(ahead, self.key.most)
        unused = self.key.most - len(self.starts)
        at = now if place < unused else max(now, self.starts[place - unused] + self.key.period)
        return at + rounds * self.key.period

    @property
    def ahead(self) -> int:
        """How many wait for their turn, or have it."""
        return self.turn.statistics().tasks_waiting + self.turn.locked()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost by forgetting it."""
        return not self.turn.locked() and self.free_at(self.key.most - 1) <= trio.current_time()


class Limiter:
    """Lets calls start at the rates of their keys: as many at once as a rate has, and in the order in which they came.

    Of chats, messages and cards it remembers those whose calls started within the last second, or wait.
    """

    def __init__(self) -> None:
        self._app: dict[Key, _Rate] = {}
        self._others: dict[Key, _Rate] = {}

    def __len__(self) -> int:
        return len(self._others)

    async def wait(self, call: str, keys: tuple[Key, ...]) -> None:
        """Wait until a call may start. Cancelled, it leaves its place to the next.

        Raises:
            RateLimited: That would be after the deadline; it is raised at once.
        """
        async with AsyncExitStack() as turns:
            rates = []
            # The app's own come last: who waits for a chat keeps nobody of another chat waiting.
            for key in keys:
                await (
                    trio.lowlevel.checkpoint_if_cancelled()
                )  # whose deadline is over, would be told of a rate
                rate = self._of_app(key) if key in _APP else self._other(key)
                _check(call, rate)
                await turns.enter_async_context(rate.turn)
                rates.append(rate)
                if (at := rate.free_at()) > trio.current_time():
                    await trio.sleep_until(at)
            now = trio.current_time()
            for rate in rates:
                rate.starts.append(now)

    def _of_app(self, key: Key) -> _Rate:
        if key not in self._app:
            self._app[key] = _Rate(key)
        return self._app[key]

    def _other(self, key: Key) -> _Rate:
        rate = self._others.pop(key, None) or _Rate(key)
        self._others[key] = rate  # at the end: the first are those that were used longest ago
        while (first := next(iter(self._others.values()))) is not rate and first.is_idle:
            del self._others[first.key]
        return rate


def _check(call: str, rate: _Rate) -> None:
    at, now, key = rate.free_at(rate.ahead), trio.current_time(), rate.key
    if at >= trio.current_effective_deadline():
        raise RateLimited(
            f"{call}: not sent, as Feishu takes {key.most} {key.of} in {key.period:g} s, and its turn would come in "
            f"{at - now:.1f} s; make it again then, or give it more time",
            retry_after=at - now,
        )
