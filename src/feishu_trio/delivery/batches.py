"""Batches: events that one call of a handler takes together."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ..router import Route
from .job import Job
from .pool import Pool
from .run import Run, State

__all__ = ["Batches"]


class Batches:
    """The batches that are being gathered, one for a route and pool."""

    def __init__(self) -> None:
        self._batches: dict[tuple[Route, Pool[Job]], _Batch] = {}
        self._nursery: trio.Nursery | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Let batches wait in `nursery`."""
        self._nursery = nursery

    def add(self, job: Job) -> None:
        """Gather a job; the last that fits sends its batch off."""
        key = job.route, job.pool
        batch = self._batches.get(key)
        if batch is None:
            assert self._nursery is not None, "the batches have not been started"
            batch = self._batches[key] = _Batch(
                job, self._nursery, on_flush=lambda: self._batches.pop(key, None)
            )
        batch.add(job)

    def flush(self, pool: Pool[Job] | None = None) -> None:
        """Send off all batches, or those of a pool, as they are."""
        for batch in [batch for batch in self._batches.values() if pool in (None, batch.pool)]:
            batch.flush()


class _Batch:
    """The events gathered for one call; sent to the pool when there are enough, or the first is old enough."""

    def __init__(self, first: Job, nursery: trio.Nursery, *, on_flush: Callable[[], object]) -> None:
        route = first.route
        assert route.batch is not None
        self.pool = first.pool
        self._route = route
        self._is_awaited = first.is_awaited
        self._on_flush = on_flush
        self._max_size = route.batch.max_size
        self._runs: list[Run] = []
        self._timer = trio.CancelScope()
        nursery.start_soon(self._flush_after, route.batch.max_wait, name=f"batch of {route.name}")

    def add(self, job: Job) -> None:
        assert job.run is not None
        self._runs.append(job.run)
        self.pool.reserve()
        if len(self._runs) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send the batch off as it is. Whoever made it is told first, and adds no more."""
        self._on_flush()
        self._timer.cancel()
        size = len(self._runs)
        first, *others = [run for run in self._runs if run.state is not State.WITHDRAWN] or self._runs[:1]
        events = [run.event for run in (first, *others)]
        self.pool.submit(
            Job(self._route, self.pool, None, events, first, self._is_awaited, tuple(others), size),
            reserved=True,
        )

    async def _flush_after(self, seconds: float) -> None:
        with self._timer:
            await trio.sleep(seconds)
            self.flush()
