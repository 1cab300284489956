"""The plan of a run: which handlers are to run for an event, where, and behind what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from ..config import Ack
from ..errors import Retry
from ..events import Event
from ..router import Route, Router
from .job import Job
from .pool import Pool
from .pools import Pools
from .run import CALLBACKS, Run, is_awaited
from .source import CLAIMED

__all__ = ["Planner", "PoolBatch", "Storing"]

PoolBatch: TypeAlias = tuple[Pool[Job], int]
"""A pool that handlers run in, and the size of the batches that they take; 0 for those that take none."""


# Types come off the wire: neither many of them nor a long one may cost memory.
_TYPES: Final = 1024
_TYPE_LENGTH: Final = 256

_Place = tuple[Route, Pool[Job], bool]  # where a route's handler runs, and whether the outcome waits for it


class Storing(msgspec.Struct, frozen=True):
    """How events that arrive are stored."""

    route: Route
    """Its handler stores; it takes the place of an event's durable routes."""
    takes: Callable[[str], bool]
    """Whether events of a type are stored that no durable route takes."""
    seen: Callable[[tuple[str, ...]], object]
    """Called with the keys of an event that comes again: it may be a stored one."""


_Takers = tuple[Sequence[Route], Sequence[_Place]]


class Planner:
    """Makes plans. `ack` is for routes that have none of their own.

    `is_single`: of the router's routes that take an event only the one that was registered last runs: if it is durable
    from the inbox, else at arrival. Attached ones run beside it, as they are no handlers.
    """

    def __init__(
        self,
        router: Router,
        pools: Pools,
        ack: Ack,
        *,
        is_single: bool = False,
        storing: Storing | None = None,
    ) -> None:
        self._router = router
        self._pools = pools
        self._ack = ack
        self._is_single = is_single
        self._storing = storing
        # By event type, as of one version.
        self._arrived: dict[str, _Takers] = {}
        self._claimed: dict[str, _Takers] = {}
        self._version = 0

    @property
    def version(self) -> int:
        """Grows whenever a plan might change."""
        return self._router.version + self._pools.version

    def plan(self, run: Run) -> list[Job]:
        """Plan a run: the jobs that it takes. Handlers that succeeded before are left out."""
        if self._version != self._router.version + self._pools.version:
            self._forget()
        event = run.event
        is_claimed = run.origin is CLAIMED
        takers = (self._claimed if is_claimed else self._arrived).get(event.type)
        routes, places = takers or self._takers(event.type, is_claimed=is_claimed)
        is_unrouted = not routes
        if self._is_single:
            routes, places = self._of_the_last(routes, run)
            is_unrouted = is_unrouted and not routes
        jobs: list[Job] = []
        broken: dict[str, Exception] = {}
        taken = routes
        size = len(event.payload)
        is_stored = False
        stores = None if is_claimed or self._storing is None else self._storing.route.handler
        for route, pool, awaited in places:
            if route.name in run.succeeded:
                continue
            try:
                if route.where is not None and not route.where(event):
                    taken = [other for other in taken if other is not route]
                    continue
                # An inbox hands events on in its own order.
                order_by = None if is_claimed else route.order_by
                if route.batch is not None and route.batch.by is not None:
                    order_by = route.batch.by  # not an order: what has one key goes into one batch
                key = run.chat if order_by is None else order_by(event)
                # Each handler has its own order: those of one event run side by side.
                lane = None if key is None else (route.name, key)
                if order_by is not None:
                    pool.check_key(lane)
            except Exception as error:
                broken[route.name] = error
            else:
                jobs.append(Job(route, pool, lane, event, run, awaited, (), 1, size))
                is_stored = is_stored or route.handler is stores
        run.plan(taken, broken, is_unrouted=is_unrouted, is_stored=is_stored)
        return jobs

    def _forget(self) -> None:
        self._version = self.version
        self._arrived.clear()
        self._claimed.clear()

    def _takers(self, event_type: str, *, is_claimed: bool) -> _Takers:
        routes = self._routes(event_type, is_claimed=is_claimed)
        if not is_claimed and not self._is_single:
            routes = self._with_storing(event_type, routes)
        takers = self._with_places(event_type, routes)
        if len(event_type) <= _TYPE_LENGTH:
            known = self._claimed if is_claimed else self._arrived
            if len(known) >= _TYPES:
                known.clear()
            known[event_type] = takers
        return takers

    def _with_places(self, event_type: str, routes: Sequence[Route]) -> _Takers:
        is_callback = event_type in CALLBACKS
        return routes, [
            (
                route,
                self._pools.of(route, is_callback=is_callback),
                is_callback or is_awaited(route.ack or self._ack),
            )
            for route in routes
        ]

    def _of_the_last(self, routes: Sequence[Route], run: Run) -> _Takers:
        """Of an event's routes the last that takes it, and those beside it; what is durable is stored as it arrives.

        What is stored runs for the last of the durable routes: they are all there is of a claimed event.
        """
        attached = [route for route in routes if route in self._pools.attached]
        own = (route for route in reversed(routes) if route not in attached)
        last = next(filter(None, (_unless_it_declines(route, run) for route in own)), None)
        routes = attached if last is None else [last, *attached]
        if run.origin is not CLAIMED:
            routes = self._with_storing(run.event.type, routes)
        return self._with_places(run.event.type, routes)

    @property
    def takes_stored(self) -> bool:
        """Whether there is any route or stream here that takes stored events."""
        return any(map(self._is_durable, (*self._router.routes(), *self._pools.attached)))

    @property
    def durable(self) -> list[str]:
        """The names of the handlers here that take stored events."""
        return [route.name for route in self._router.routes() if self._is_durable(route)]

    def takes(self, event_type: str) -> bool:
        """Whether a route or stream here takes stored events of this type."""
        return bool(self._routes(event_type, is_claimed=True))

    def pools_of(self, event_type: str) -> frozenset[PoolBatch]:
        """Where handlers of a stored event of this type run."""
        _, places = self._claimed.get(event_type) or self._takers(event_type, is_claimed=True)
        return frozenset((pool, route.batch.max_size if route.batch else 0) for route, pool, _ in places)

    def _routes(self, event_type: str, *, is_claimed: bool) -> Sequence[Route]:
        """The routes for an event type; of a claimed event the durable ones."""
        routes = self._router.resolve(event_type)
        if self._pools.attached:
            pulled = [route for route in self._pools.attached if route.matches(event_type)]
            # Whoever pulls an event handles it, so that `default` is not asked.
            routes = (*(route for route in routes if not (pulled and route.is_default)), *pulled)
        if is_claimed:
            return [route for route in routes if self._is_durable(route)]
        if routes or (self._storing is not None and event_type not in CALLBACKS):
            return routes
        return (_NOBODY,) if self._pools.was_attached(event_type) else ()

    def _with_storing(self, event_type: str, routes: Sequence[Route]) -> Sequence[Route]:
        """One route that stores in the place of the durable ones, if an event of this type may be stored."""
        storing = self._storing
        if storing is None or event_type in CALLBACKS:
            return routes
        durable = [route for route in routes if self._is_durable(route)]
        filters = [route.where for route in durable if route.where is not None]
        if storing.takes(event_type) or not self.takes_stored or len(filters) < len(durable):
            where = storing.route.where
        elif not durable:
            return routes
        else:

            def where(event: Event[Any]) -> object:
                wanted = any(each(event) for each in filters)
                return wanted and (storing.route.where is None or storing.route.where(event))

        others = [route for route in routes if not self._is_durable(route)]
        return (*others, attrs.evolve(storing.route, where=where))

    def _is_durable(self, route: Route) -> bool:
        return (route.ack or self._ack) is Ack.ON_STORED and not CALLBACKS.issuperset(route.patterns)


def _unless_it_declines(route: Route, run: Run) -> Route | None:
    """The route, its filter asked once; None if that is false. One that raises is asked again: its handler fails by it."""
    if route.where is None or route.name in run.succeeded:
        return route
    try:
        return attrs.evolve(route, where=None) if route.where(run.event) else None
    except Exception:
        return route


async def _give_back(event: Event[Any]) -> None:
    raise Retry(reason="whoever pulled such events does not do so at the moment")


_NOBODY = Route(handler=_give_back, name="(nobody)", patterns=("*",), ack=Ack.ON_SUCCESS)
