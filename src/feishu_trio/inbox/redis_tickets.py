"""When there is something to claim: a process asks the server only if there may be, and waits for a ticket if there is not.

The server has a list of tickets for each type of events; each event that becomes ready puts one in, which one of those who
wait takes out. Whoever takes one out and does not wait any more gives it back. Should one be lost, with a process, say,
others look again within a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from itertools import islice
from typing import Final

import trio

from .protocol import LOOK_AGAIN

__all__ = ["Tickets"]

_LISTS: Final = 200  # types that are waited for at a time; of further ones it is looked


class Tickets:
    """What one process knows of what is ready.

    Args:
        prefix: Of the server's lists.
        wake: Called if the server is to end what it was asked for in the list of this process.
        give_back: Called with a type of which a ticket came that nobody here wants.
    """

    def __init__(self, prefix: str, wake: Callable[[], object], give_back: Callable[[str], object]) -> None:
        self._prefix = prefix
        self._wake = wake
        self._give_back = give_back
        self._changes = 0
        self._seen = -1
        self._changed = trio.lowlevel.ParkingLot()
        self._wanted: set[str] = set()  # the types that were claimed since it was last waited
        # The types of which the last claim has left none, and until when that is believed, on trio's clock.
        self._none_left: dict[str, float] = {}
        self._due = math.inf  # on trio's clock: when the next attempt of an event is due
        self._is_waiting = False
        self._waiting = trio.lowlevel.ParkingLot()
        self._asked: frozenset[str] | None = (
            None  # the types that the server was asked for, and has not answered
        )

    # What a claim finds

    def are_none(self, types: Collection[str]) -> bool:
        """Whether a claim of these types would find nothing, as far as is known."""
        self._seen = self._changes
        self._wanted.update(types)
        now = trio.current_time()
        return now < self._due and all(self._none_left.get(kind, 0.0) > now for kind in types)

    def claimed(self, types: Collection[str], *, is_all: bool) -> None:
        """Events of these types were claimed; `is_all` if none is left."""
        until = trio.current_time() + LOOK_AGAIN if is_all else 0.0
        self._none_left.update(dict.fromkeys(types, until))

    def due_in(self, seconds: float | None) -> None:
        """The next attempt of an event is due in so many seconds; None if none waits."""
        self._due = math.inf if seconds is None else trio.current_time() + seconds

    def due_too(self, seconds: float) -> None:
        """Another attempt is due in so many seconds."""
        self._due = min(self._due, trio.current_time() + seconds)
        self._changes += 1
        self._changed.unpark_all()

    def readied(self) -> None:
        """Events have become ready; if there is a ticket for somebody here, it comes."""
        self._none_left.clear()

    def changed(self) -> None:
        """There may be something to claim, or something else to do."""
        self._none_left.clear()
        self._changes += 1
        self._changed.unpark_all()

    # Waiting

    async def wait(self) -> None:
        """Wait until there may be something to claim, for a second at the most."""
        await trio.lowlevel.checkpoint()
        if self._asked is not None and not self._wanted <= self._asked:
            self._wake()
        self._is_waiting = True
        self._waiting.unpark_all()
        now = trio.current_time()
        try:
            with trio.move_on_at(min(now + LOOK_AGAIN, max(self._due, now))) as scope:
                while self._changes == self._seen:
                    await self._changed.park()
        finally:
            self._is_waiting = False
        self._wanted.clear()
        if scope.cancelled_caught:
            self._none_left.clear()
        self._seen = self._changes

    async def lists(self, owner: str) -> list[str]:
        """The lists to ask the server for, once somebody waits."""
        self._asked = None
        while not self._is_waiting:
            await self._waiting.park()
        self._asked = frozenset(islice(self._wanted, _LISTS))
        return [f"{self._prefix}w:{owner}", *(f"{self._prefix}t:{kind}" for kind in self._asked)]

    def arrived(self, name: str) -> None:
        """The server had something in a list."""
        kind = name.removeprefix(f"{self._prefix}t:")
        if kind == name:
            return  # the list of this process: it asks anew
        if self._is_waiting:
            self._is_waiting = False
            self.changed()
        else:
            self._give_back(kind)
