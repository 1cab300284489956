"""Pull style: events come to a loop, and are answered as it goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from copy import copy
from typing import Any

import trio

from .delivery import CALLBACKS
from .errors import Retry
from .events import Event
from .router import Route
from .routes import Where, no_order

__all__ = ["EventStream"]


class GivenBack(Exception):
    """The loop that pulled an event from an inbox did not handle it."""


class _Pulled:
    """An event that waits for its answer, and the worker that waits with it."""

    def __init__(self, event: Event[Any]) -> None:
        self.worker = trio.lowlevel.current_task()
        # A copy: other streams and handlers have the same event, and give their own answers.
        self.event = copy(event)
        self.event.settle = self.settle
        self.settled = trio.Event()
        self.result: object = None
        self.ok = False
        self.was_begun = False

    def settle(self, ok: bool, result: object) -> None:
        """Answer; the first answer counts."""
        if not self.settled.is_set():
            self.ok, self.result = ok, result
            self.settled.set()


class EventStream(AsyncIterator[Event[Any]]):
    """The events of one `Session.events` block, in order of arrival. One task may iterate over it.

    `loops` is where the engine looks up whose the event is that a task iterates over.
    """

    def __init__(
        self,
        patterns: tuple[str, ...],
        where: Where | None = None,
        *,
        loops: dict[trio.lowlevel.Task, trio.lowlevel.Task],
        has_inbox: bool = False,
    ) -> None:
        self._loops = loops
        self._has_inbox = has_inbox
        # Its handler hands the event over and waits, so that answers, deadlines and bounds are as anywhere.
        self.route = Route(
            handler=self._hand_over,
            name=f"events({', '.join(patterns)})",
            patterns=patterns,
            where=where,
            order_by=no_order,  # whoever pulls them decides what waits for what
        )
        """By which the engine hands its events over."""
        self._waiting: deque[_Pulled] = deque()
        self._begun: _Pulled | None = None
        self._arrived = trio.lowlevel.ParkingLot()
        self._ended = False

    async def __anext__(self) -> Event[Any]:
        """The next event; the last one has been handled.

        Raises:
            trio.BusyResourceError: Another task is waiting for the next one.
        """
        if self._arrived:
            raise trio.BusyResourceError("another task is iterating over these events")
        self.settle(ok=True)
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended:
                raise StopAsyncIteration
            await self._arrived.park()
        self._begun = self._waiting.popleft()
        self._begun.was_begun = True
        self._loops[self._begun.worker] = trio.lowlevel.current_task()
        return self._begun.event

    def settle(self, *, ok: bool) -> None:
        """Answer the event that the loop's body has had, unless it has been answered."""
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.settle(ok, None)

    def end(self) -> None:
        """Nothing more is handed out; what was not begun goes back to the platform."""
        self._ended = True
        while self._waiting:
            self._waiting.popleft().settle(False, None)
        self._arrived.unpark_all()

    async def _hand_over(self, event: Event[Any]) -> object:
        if self._ended:
            raise Retry(after=0, reason="nobody pulls any more")
        pulled = _Pulled(event)
        self._waiting.append(pulled)
        self._arrived.unpark_all()
        try:
            await pulled.settled.wait()
        finally:
            self._loops.pop(pulled.worker, None)
        if not pulled.ok and not pulled.was_begun:
            raise Retry(after=0, reason="nobody pulls any more")
        if not pulled.ok:
            reason = "it was given back by the loop that pulled it"
            # From an inbox that is an attempt that failed: not for ever, and the later the more often it did.
            raise (
                GivenBack(reason) if self._has_inbox and event.type not in CALLBACKS else Retry(reason=reason)
            )
        return pulled.result
