"""Batches: events that one call of a handler takes together."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import trio

from ..router import Route
from .job import Job
from .pool import Pool
from .run import Run
from .source import Origin

__all__ = ["Batches"]


class Batches:
    """The batches that are being gathered.

    The events of one have the same route, pool and key (`by` of the route). Their outcomes all wait for it, or none does.
    All arrived, or all were claimed: only the source of claimed ones is asked before they begin.

    `on_submit` is called with the job that a batch has become.
    """

    def __init__(self, on_submit: Callable[[Job], object]) -> None:
        self._on_submit = on_submit
        self._batches: dict[tuple[Route, Hashable, Pool[Job], bool, Origin], _Batch] = {}
        self._nursery: trio.Nursery | None = None

    def __bool__(self) -> bool:
        """Whether any is being gathered."""
        return bool(self._batches)

    def start(self, nursery: trio.Nursery) -> None:
        """Let batches wait in `nursery`."""
        self._nursery = nursery

    def add(self, job: Job) -> None:
        """Gather a job; the last that fits sends its batch off."""
        assert job.run is not None
        assert job.route.batch is not None
        shared = None if job.route.batch.by is None else job.key
        key = job.route, shared, job.pool, job.is_awaited, job.run.origin
        batch = self._batches.get(key)
        if batch is None:
            assert self._nursery is not None, "the batches have not been started"
            batch = self._batches[key] = _Batch(
                job, self._nursery, lambda: self._batches.pop(key, None), self._on_submit
            )
        batch.add(job)

    def alone(self, job: Job) -> None:
        """A batch of one, sent off at once."""
        assert job.run is not None
        job = Job(job.route, job.pool, None, [job.run.event], job.run, job.is_awaited, (), 1, job.size)
        self._on_submit(job)
        job.pool.submit(job)

    def flush(self, pool: Pool[Job] | None = None) -> None:
        """Send off all batches, or those of a pool, as they are."""
        for batch in [batch for batch in self._batches.values() if pool in (None, batch.pool)]:
            batch.flush()


class _Batch:
    """The events gathered for one call; sent to the pool when there are enough, or the first is old enough."""

    def __init__(
        self,
        first: Job,
        nursery: trio.Nursery,
        on_flush: Callable[[], object],
        on_submit: Callable[[Job], object],
    ) -> None:
        route = first.route
        assert route.batch is not None
        self.pool = first.pool
        self._route = route
        self._is_awaited = first.is_awaited
        self._on_flush = on_flush
        self._on_submit = on_submit
        self._max_size = route.batch.max_size
        self._runs: list[Run] = []
        self._is_flushed = False
        self._bytes = 0
        self._idle = route.batch.idle
        self._timer = trio.CancelScope()
        self._until = trio.current_time() + route.batch.max_wait
        nursery.start_soon(self._flush_in_time, name=f"batch of {route.name}")

    def add(self, job: Job) -> None:
        assert job.run is not None
        self._runs.append(job.run)
        self._bytes += job.size
        self.pool.reserve(job.size)
        if self._idle is not None:
            self._timer.deadline = min(self._until, trio.current_time() + self._idle)
        if len(self._runs) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Send the batch off as it is; nothing is added to it from here on."""
        self._is_flushed = True
        self._on_flush()
        self._timer.cancel()
        first, *others = self._runs
        job = Job(
            self._route,
            self.pool,
            None,
            [run.event for run in self._runs],
            first,
            self._is_awaited,
            tuple(others),
            len(self._runs),
            self._bytes,
        )
        self._on_submit(job)
        self.pool.submit(job, reserved=True)

    async def _flush_in_time(self) -> None:
        if self._idle is None:
            self._timer.deadline = self._until
        with self._timer:
            await trio.sleep_forever()
        if not self._is_flushed:
            self.flush()
