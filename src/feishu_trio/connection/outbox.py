"""What a connection has to write: one outbox a connection, which its ack-writer empties."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .._quiet import QuietStruct

__all__ = ["Outbox", "Outgoing"]


class Outgoing(QuietStruct, eq=False):
    """One message to write; `sent` is called once it has been."""

    data: bytes | str
    sent: Callable[[], None] | None = None
    portable: bool = True
    """Whether another connection may carry it: answers are routed by what is in them."""


class Outbox:
    """What a connection's ack-writer has to write, in order."""

    def __init__(self) -> None:
        self.items: list[Outgoing] = []
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
        if self._filled:
            self._filled.unpark()

    def adopt(self, item: Outgoing) -> None:
        """Take charge of a message whose first bytes have been written; the line keeps the others."""
        self._taken.append(item)
        if self._filled:
            self._filled.unpark()

    async def take(self, most: int) -> list[Outgoing]:
        """Wait until there is something to write, and take up to `most` messages. `written` must follow.

        There may be none, where all that is to be written is what the line keeps.
        """
        items = self.items
        while not items and not self._taken:
            await self._filled.park()
        new = items[:most]
        del items[:most]
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

    async def wait_at_most(self, limit: int) -> None:
        """Wait until no more than `limit` messages wait to be written."""
        while len(self) > limit:
            await self._room.park()
