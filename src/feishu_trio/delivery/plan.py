"""The plan of a run: which handlers are to run for an event, where, and behind what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..config import Ack
from ..errors import Retry
from ..events import Event
from ..router import Route, Router
from .job import Job
from .pools import Pools
from .run import Run, is_awaited
from .source import CLAIMED

__all__ = ["Planner"]


class Planner:
    """Makes plans. `ack` is for routes that have none of their own."""

    def __init__(self, router: Router, pools: Pools, ack: Ack) -> None:
        self._router = router
        self._pools = pools
        self._ack = ack
        self._waits = is_awaited(ack)

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever a plan might."""
        return self._router.version, self._pools.version

    def plan(self, run: Run) -> list[Job]:
        """Plan a run: the jobs that it takes. Handlers that succeeded before are left out."""
        event = run.event
        is_callback, is_claimed = run.is_callback, run.origin is CLAIMED
        jobs: list[Job] = []
        broken: dict[str, Exception] = {}
        size = len(event.payload)
        routes = self._routes(event.type, is_claimed=is_claimed)
        taken = routes
        for route in routes:
            if route.name in run.succeeded:
                continue
            try:
                if route.where is not None and not route.where(event):
                    taken = [other for other in taken if other is not route]
                    continue
                pool = self._pools.of(route, is_callback=is_callback)
                # An inbox hands events on in its own order.
                order_by = None if is_claimed else route.order_by
                key = run.chat if order_by is None else order_by(event)
                # Each handler has its own order: those of one event run side by side.
                lane = None if key is None else (route.name, key)
                if order_by is not None:
                    pool.check_key(lane)
            except Exception as error:
                broken[route.name] = error
                continue
            awaited = is_callback or (self._waits if route.ack is None else is_awaited(route.ack))
            jobs.append(Job(route, pool, lane, event, run, awaited, (), 1, size))
        run.plan(taken, broken, is_unrouted=not routes)
        return jobs

    def _routes(self, event_type: str, *, is_claimed: bool) -> Sequence[Route]:
        """The routes for an event type; of a claimed event the durable ones."""
        routes = self._router.resolve(event_type)
        if is_claimed:
            return [route for route in routes if (route.ack or self._ack) is Ack.ON_STORED]
        if self._pools.attached:
            pulled = [route for route in self._pools.attached if route.matches(event_type)]
            # Whoever pulls an event handles it, so that `default` is not asked.
            routes = (*(route for route in routes if not (pulled and route.is_default)), *pulled)
        if not routes and self._pools.was_attached(event_type):
            return (_NOBODY,)
        return routes


async def _give_back(event: Event[Any]) -> None:
    raise Retry(reason="whoever pulled such events does not do so at the moment")


_NOBODY = Route(handler=_give_back, name="nobody", patterns=("*",), ack=Ack.ON_SUCCESS)
