"""The way of answers whose connection has ended: another live one carries them, or the next there will be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import trio

from ..telemetry import Telemetry
from .outbox import Outbox, Outgoing

__all__ = ["Relay"]

# Answers that wait for a connection. The platform delivers their events again, so losing one loses no event.
_WAITING: Final = 10_000


class Carrier(Protocol):
    """What can carry answers: a live connection."""

    @property
    def outbox(self) -> Outbox:
        """What it has to write."""

    @property
    def owed(self) -> int:
        """Answers that are still to be given to what came on it."""

    @property
    def closed(self) -> trio.Event:
        """Set once nothing more comes on it."""


C = TypeVar("C", bound=Carrier)


class Relay(Generic[C]):
    """The live connections of a session, and the answers that belong to none of them any more.

    The server routes an answer by its headers, so any connection may carry it.
    """

    def __init__(self, on_change: Callable[[], object], telemetry: Telemetry) -> None:
        self.live: list[C] = []
        self.is_awaited = False
        """Whether somebody waits until everything is answered: connections that owe no more are to say so."""
        self._on_change = on_change
        self._waiting: list[Outgoing] = []
        self._owing: list[C] = []  # ended, with answers to come to what came or may come
        self._answered = trio.lowlevel.ParkingLot()
        self._telemetry = telemetry

    def joined(self, connection: C) -> None:
        """A connection is up: it takes the answers that waited for one."""
        self.live.append(connection)
        for item in self._waiting:
            connection.outbox.put(item)
        self._waiting.clear()
        self._on_change()

    def left(self, connection: C) -> None:
        """A connection has ended: what it has not written goes elsewhere."""
        self.live.remove(connection)
        self._owing = [each for each in (*self._owing, connection) if each.owed or not each.closed.is_set()]
        for item in connection.outbox.empty():
            if item.portable:
                self.forward(item)
        self._on_change()

    def forward(self, item: Outgoing) -> None:
        """Hand an answer to a live connection, or keep it until there is one."""
        if self.live:
            self.live[0].outbox.put(item)
        else:
            if len(self._waiting) == _WAITING:
                self._telemetry.answers_dropped(_WAITING)
                del self._waiting[0]
            self._waiting.append(item)

    async def wait_answered(self) -> None:
        """Wait until there is an answer to everything that came, be it on a connection that has ended."""
        self.is_awaited = True
        while any(each.owed for each in (*self.live, *self._owing)):
            await self._answered.park()

    def look_for_answered(self) -> None:
        """A connection owes no more answers: whoever waits for that of all of them looks again."""
        self._answered.unpark_all()
