"""Batches: events that one call of a handler takes together."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..router import Route
from .pool import Pool
from .run import Job, Run

__all__ = ["Batch"]


class Batch:
    """The events gathered for one call; sent to the pool when there are enough, or the first is old enough."""

    def __init__(
        self, route: Route, pool: Pool[Job], nursery: trio.Nursery, *, on_flush: Callable[[], object]
    ) -> None:
        assert route.batch is not None
        self.pool = pool
        self._route = route
        self._on_flush = on_flush
        self._max_size = route.batch.max_size
        self._runs: list[Run] = []
        self._timer = trio.CancelScope()
        nursery.start_soon(self._flush_after, route.batch.max_wait, name=f"batch of {route.name}")

    def add(self, run: Run) -> None:
        """Take one event in; the last that fits sends the batch off."""
        self._runs.append(run)
        self.pool.reserve()
        if len(self._runs) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send the batch off as it is. Whoever made it is told first, and adds no more."""
        self._on_flush()
        self._timer.cancel()
        first, *others = self._runs
        self.pool.submit(
            Job(self._route, self.pool, None, first, tuple(others), len(self._runs)), reserved=True
        )

    async def _flush_after(self, seconds: float) -> None:
        with self._timer:
            await trio.sleep(seconds)
            self.flush()
