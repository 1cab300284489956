"""Answers on their way out: one outbox a connection, and the way of those whose connection is gone."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from .._quiet import QuietStruct

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Outbox", "Outgoing", "Relay"]

logger = logging.getLogger("feishu_trio.connection")

# Answers that wait for a connection. The platform delivers their events again, so losing one loses no event.
_HOMELESS: Final = 10_000


class Outgoing(QuietStruct, eq=False):
    """One message to write; `sent` is called once it has been."""

    data: bytes | str
    sent: Callable[[], None] | None = None
    portable: bool = True
    """Whether another connection may carry it: answers are routed by what is in them."""


class Outbox:
    """What a connection's ack-writer has to write, in order."""

    def __init__(self) -> None:
        self.items: deque[Outgoing] = deque()
        """What the ack-writer has not taken yet."""
        self._taken: list[Outgoing] = []
        self._filled = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        """The number of messages that are not written yet."""
        return len(self.items) + len(self._taken)

    def put(self, item: Outgoing) -> None:
        """Add a message; never waits, for what is answered was let in before."""
        self.items.append(item)
        self._wake()

    def adopt(self, item: Outgoing) -> None:
        """Take charge of a message whose first bytes have been written; the line keeps the others."""
        self._taken.append(item)
        self._wake()

    async def take(self, most: int) -> list[Outgoing]:
        """Wait until there is something to write, and take up to `most` messages. `written` must follow.

        There may be none, where all that is to be written is what the line keeps.
        """
        items = self.items
        while not items and not self._taken:
            await self._filled.park()
        new = [items.popleft() for _ in range(min(most, len(items)))]
        self._taken += new
        return new

    def written(self) -> None:
        """What was taken last has been written."""
        for item in self._taken:
            if item.sent is not None:
                item.sent()
        self._taken = []
        if self._room:
            self._room.unpark_all()

    def empty(self) -> list[Outgoing]:
        """Give up what has not been written for certain."""
        left = [*self._taken, *self.items]
        self._taken = []
        self.items.clear()
        self._room.unpark_all()
        return left

    def _wake(self) -> None:
        if self._filled:
            self._filled.unpark()

    async def wait_at_most(self, limit: int) -> None:
        """Wait until no more than `limit` messages wait to be written."""
        while len(self) > limit:
            await self._room.park()


class Relay:
    """The live connections of a session, and the answers that belong to none of them any more.

    The server routes an answer by its headers, so any connection may carry it.
    """

    def __init__(self, on_change: Callable[[], object]) -> None:
        self.live: list[Connection] = []
        self._on_change = on_change
        self._homeless: deque[Outgoing] = deque(maxlen=_HOMELESS)
        self._told = False

    def joined(self, connection: Connection) -> None:
        """A connection is up: it takes the answers that waited for one."""
        self.live.append(connection)
        self._told = False
        while self._homeless:
            connection.outbox.put(self._homeless.popleft())
        self._on_change()

    def left(self, connection: Connection) -> None:
        """A connection has ended: what it has not written goes elsewhere."""
        self.live.remove(connection)
        for item in connection.outbox.empty():
            if item.portable:
                self.forward(item)
        self._on_change()

    def forward(self, item: Outgoing) -> None:
        """Hand an answer to a live connection, or keep it until there is one."""
        if self.live:
            self.live[0].outbox.put(item)
        else:
            if len(self._homeless) == _HOMELESS and not self._told:
                self._told = True
                logger.warning("more than %d answers wait for a connection: the oldest go", _HOMELESS)
            self._homeless.append(item)
