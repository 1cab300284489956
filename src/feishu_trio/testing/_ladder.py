"""The redelivery ladder: when the platform delivers an event again that was not answered with 200."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from math import inf
from typing import TypeAlias

import attrs
import trio

from ._connection import GatewayConnection
from ._push import Answer, Delivery, Push

_Due: TypeAlias = tuple[float, int, Push, Delivery | None]


@attrs.define(eq=False)
class Ladder:
    """The answer deadlines and redelivery times of all pushes: one heap, one task.

    `deliver` sends a push on the given connection, or on any; None if there is no live one.
    """

    deliver: Callable[[Push, GatewayConnection | None], Delivery | None]
    answer_timeout: float
    """Seconds a client has to answer."""
    _heap: list[_Due] = attrs.field(factory=list, init=False)
    _count: count[int] = attrs.field(factory=count, init=False)
    _earlier: trio.Event = attrs.field(factory=trio.Event, init=False)

    def start(self, push: Push, connection: GatewayConnection | None = None) -> None:
        """Attempt to deliver `push` now, on `connection` if given; later attempts follow the ladder, on any connection."""
        push.tries += 1
        delivery = self.deliver(push, connection)
        if delivery is None:
            self._failed(push)
        else:
            self._schedule(self.answer_timeout, push, delivery)

    def answered(self, push: Push, delivery: Delivery, answer: Answer) -> None:
        """Record an answer, even a late one."""
        in_time = not delivery.expired
        delivery.answered = True
        push.answers += (answer,)
        if push.is_callback:
            if not push.done:
                self._settle(push, answer)
        elif answer.code == 200:
            if push.status != 200:
                self._settle(push, answer)
        elif in_time and not push.done:
            delivery.expired = True
            self._failed(push)
        push.changed()

    async def run(self) -> None:
        """Act on deadlines and redeliveries as they become due, for ever."""
        while True:
            self._earlier = trio.Event()
            with trio.move_on_at(self._heap[0][0] if self._heap else inf):
                await self._earlier.wait()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, push, delivery = heapq.heappop(self._heap)
                if push.done:
                    continue
                if delivery is None:
                    self.start(push)
                elif not delivery.expired:
                    delivery.expired = True
                    self._failed(push)

    def _failed(self, push: Push) -> None:
        if push.is_callback or push.tries > len(push.ladder):
            self._settle(push, None if push.is_callback else push.answers[-1] if push.answers else None)
        else:
            self._schedule(push.ladder[push.tries - 1], push, None)

    def _settle(self, push: Push, answer: Answer | None) -> None:
        push.done = True
        push.settled_by = answer
        push.changed()
        while self._heap and self._heap[0][2].done:  # settled: its entries are obsolete
            heapq.heappop(self._heap)

    def _schedule(self, seconds: float, push: Push, delivery: Delivery | None) -> None:
        due = (trio.current_time() + seconds, next(self._count), push, delivery)
        heapq.heappush(self._heap, due)
        if self._heap[0] is due:
            self._earlier.set()
