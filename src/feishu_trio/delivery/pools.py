"""The pools of an engine, by name, and those of the routes that were attached to it alone."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import trio

from ..config import PoolConfig
from ..router import Route, free_name
from ..telemetry import Telemetry
from .pool import Pool, WaitingBytes

if TYPE_CHECKING:
    from .job import Job

__all__ = ["CALLBACK_POOL", "DEFAULT_POOL", "MESSAGE_POOL", "Pools"]

DEFAULT_POOL: Final = "default"
CALLBACK_POOL: Final = "callbacks"
"""Where callbacks run whose route names no pool: somebody waits for them."""
MESSAGE_POOL: Final = "messages"
"""Where handlers of JSON text messages run."""

# Patterns that were pulled once, whose events are given back while nobody pulls them.
_FORMER: Final = 256


class Pools:
    """Which pool a route's handler runs in. `work` runs a job, as `Pool` has it."""

    def __init__(
        self,
        pools: Mapping[str, PoolConfig],
        work: Callable[[Job, trio.CapacityLimiter], Awaitable[None]],
        telemetry: Telemetry,
        queue_bytes: float = math.inf,
    ) -> None:
        self._bytes = WaitingBytes(queue_bytes)
        self.freed = trio.lowlevel.ParkingLot()
        """Whoever waits for a worker of any pool to be idle; woken when one is."""
        self.named: dict[str, Pool[Job]] = {
            name: Pool(
                name,
                work,
                concurrency=pool.concurrency,
                capacity=pool.capacity,
                waiting_bytes=self._bytes,
                freed=self.freed,
            )
            for name, pool in pools.items()
        }
        self.attached: dict[Route, Pool[Job]] = {}
        """Routes of this engine alone, each with a pool of its own."""
        self.version = 0
        """How often one of these has come or gone."""
        self._default = self.named[DEFAULT_POOL]
        self._callbacks = self.named[CALLBACK_POOL]
        self._work = work
        self._telemetry = telemetry
        self._former: dict[tuple[str, ...], Route] = {}  # what was attached once, by patterns
        self._closing: list[Pool[Job]] = []  # whose routes have been detached, and which may be at work
        self._nursery: trio.Nursery | None = None

    def __iter__(self) -> Iterator[Pool[Job]]:
        yield from self.named.values()
        yield from self.attached.values()
        yield from self._closing

    def start(self, nursery: trio.Nursery) -> None:
        """Let workers be started in `nursery`."""
        self._nursery = nursery
        for pool in self.named.values():
            pool.start(nursery)

    def of(self, route: Route, *, is_callback: bool) -> Pool[Job]:
        """The pool that a route's handler runs in."""
        name = route.pool
        if name is None:
            if self.attached and (attached := self.attached.get(route)) is not None:
                return attached
            # A batch may hold callbacks and events, so it is gathered in one place.
            return self._callbacks if is_callback and route.batch is None else self._default
        pool = self.named.get(name)
        if pool is None:
            # Checked when the session opens; this is a route that was added later.
            self._telemetry.pool_missing(route.name, name)
            pool = self._default
        return pool

    def attach(self, route: Route, *, concurrency: int, capacity: int) -> None:
        """Add a route with a pool of its own. `detach` takes it out again.

        It gets a name that no other attached route has: what succeeded is remembered by its name.
        """
        assert self._nursery is not None, "the pools have not been started"
        route = route.renamed(free_name(route.name, {other.name for other in self.attached}))
        pool = self.attached[route] = Pool(
            route.name,
            self._work,
            concurrency=concurrency,
            capacity=capacity,
            waiting_bytes=self._bytes,
            freed=self.freed,
        )
        pool.start(self._nursery)
        self.version += 1
        self.freed.unpark_all()

    def detach(self, route: Route) -> None:
        """Take out a route that `attach` added; what runs for it goes on."""
        self.version += 1
        self._closing = [pool for pool in self._closing if not pool.is_idle]
        for attached in [other for other in self.attached if other.handler == route.handler]:
            pool = self.attached.pop(attached)
            pool.close()
            self._bytes.pools.remove(pool)
            self._closing.append(pool)
            if len(self._former) < _FORMER:
                self._former[attached.patterns] = attached

    def was_attached(self, event_type: str) -> bool:
        """Whether there was a route for this type once that was detached."""
        return any(route.matches(event_type) for route in self._former.values())

    def counts(self) -> tuple[int, int]:
        """How many jobs run in all of them, and how many have begun."""
        running = begun = 0
        for pools in (self.named.values(), self.attached.values(), self._closing):
            for pool in pools:
                running += pool.running
                begun += pool.begun
        return running, begun

    @property
    def are_idle(self) -> bool:
        """Whether nothing runs and nothing waits in any of them."""
        return all(pool.is_idle for pool in self)

    async def wait_idle(self) -> None:
        """Wait until nothing runs and nothing waits in any of them."""
        for pool in list(self):
            await pool.wait_idle()
