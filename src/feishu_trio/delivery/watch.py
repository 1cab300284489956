"""Watches over what is at work: handlers that take too long, keys that wait behind them, a loop that stands still.

An event pays for none of it: jobs note when they begin, and the rest is looked at now and then. While nothing is at
work, nothing is done here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import trio

from ..telemetry import Telemetry
from ..telemetry.stacks import Stacks
from ..telemetry.stuck import HeldUp, StuckHandler
from .job import Aside, Job
from .pool import Pool
from .pools import Pools

__all__ = ["Watch"]

# Seconds between two beats of the loop, and by which one may come late before somebody must have blocked it.
_BEAT: Final = 0.1
_LAG: Final = 0.5
# What is at work is looked at so many times within `stuck_after`, at the most.
_LOOKS: Final = 60


class Watch:
    """Tells of what is stuck. `clock` is trio's; `loops` has the workers whose events a loop is at work on.

    A handler is stuck once it has been at work for `stuck_after` seconds, time in `ask` aside.
    """

    def __init__(
        self,
        pools: Pools,
        loops: Container[trio.lowlevel.Task],
        telemetry: Telemetry,
        clock: Callable[[], float],
        stuck_after: float,
    ) -> None:
        self.is_asleep = False
        """Whether it waits for `wake`: nothing was at work."""
        self._pools = pools
        self._loops = loops
        self._telemetry = telemetry
        self._now = clock
        self._stuck_after = stuck_after
        self._stacks: Stacks | None = None
        self._awake = trio.lowlevel.ParkingLot()
        self._woken_at = 0.0
        self._asking = 0  # jobs in `ask`
        self._look_at = -math.inf
        self._told: set[object] = set()

    def wake(self, now: float) -> None:
        """A handler begins, while this is asleep."""
        self.is_asleep = False
        self._woken_at = now
        # While this slept nothing was at work, but for what had been before it asked.
        self._look_at = now if self._asking else now + self._stuck_after
        self._awake.unpark_all()

    async def run(self) -> None:
        """Watch until cancelled."""
        begun = 0
        while True:
            since = self._now()
            await trio.sleep(_BEAT)
            now = self._now()
            if now - since > _BEAT + _LAG or now >= self._look_at or self._stacks is not None:
                # What blocked the loop began between the two, nobody knows when.
                self._beat(since + _BEAT / 2, now)
            running, begun, before = *self._pools.counts(), begun
            if self._stacks is None and running <= self._asking and begun == before:
                self.is_asleep = True
                await self._awake.park()
                # It was woken before the handler's first step, which may have blocked since.
                self._beat(self._woken_at, self._now())

    def _beat(self, since: float, now: float) -> None:
        """The loop runs; if `since` is well before now, it has stood still since then."""
        stack = () if self._stacks is None else self._stacks.beat()
        if now - since > _LAG:
            self._telemetry.loop_blocked(now - since, stack)
        if now >= self._look_at:
            self._look(now)

    @contextmanager
    def taking(self, stacks: Stacks) -> Iterator[None]:
        """Within, `stacks` knows where the loop stands still, whether or not anything is at work."""
        self._stacks = stacks
        if self.is_asleep:
            self.wake(self._now())
        try:
            yield
        finally:
            self._stacks = None

    @contextmanager
    def aside(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Time within is not the time of these jobs: they wait for a person."""
        asides = [self._aside_of(job) for job in jobs]
        for each in asides:
            if not each.depth:
                each.since = self._now()
                self._asking += 1
            each.depth += 1
        try:
            yield
        finally:
            now = self._now()
            for each in asides:
                each.depth -= 1
                if not each.depth:
                    each.before += now - each.since
                    self._asking -= 1
            if self.is_asleep:
                self.wake(now)
                self._look_at = now

    @staticmethod
    def _aside_of(job: Job) -> Aside:
        if job.aside is None:
            job.aside = Aside()
        return job.aside

    # What there is at the moment

    def stuck(self) -> tuple[StuckHandler, ...]:
        """The handlers that are stuck, the one that has been at work for longest first."""
        now = self._now()
        found = [
            self._record(pool, job, worked, now)
            for pool, job, worked in self._at_work(now)
            if worked >= self._stuck_after
        ]
        return tuple(sorted(found, key=lambda each: -each.seconds))

    def held_up(self) -> tuple[HeldUp, ...]:
        """The order keys whose events have waited for so long behind a handler, the longest wait first."""
        found = [each for _, each in self._waiting(self._now()) if each.seconds >= self._stuck_after]
        return tuple(sorted(found, key=lambda each: -each.seconds))

    def full_pools(self, stuck: Sequence[StuckHandler]) -> list[tuple[str, int]]:
        """The pools in which there is nothing but stuck handlers, and how many that are."""
        counts = {name: sum(each.pool == name for each in stuck) for name in {each.pool for each in stuck}}
        named = self._pools.named
        return [
            (name, count)
            for name, count in sorted(counts.items())
            if name in named and count >= named[name].concurrency
        ]

    # Inside

    def _look(self, now: float) -> None:
        """Tell of what has become stuck. The next look is due when anything else may be."""
        told: set[object] = set()
        due = now + self._stuck_after
        for pool, job, worked in self._at_work(now):
            if worked < self._stuck_after:
                due = min(due, now + self._stuck_after - worked)
                continue
            told.add(job)
            if job not in self._told:
                self._telemetry.handler_stuck(self._record(pool, job, worked, now))
        for what, waiting in self._waiting(now):
            if waiting.seconds < self._stuck_after:
                due = min(due, now + self._stuck_after - waiting.seconds)
                continue
            told.add(what)
            if what not in self._told:
                self._telemetry.key_held_up(waiting)
        self._told = told
        self._look_at = max(due, now + self._stuck_after / _LOOKS)

    def _at_work(self, now: float) -> Iterator[tuple[Pool[Job], Job, float]]:
        """The jobs whose handlers are at work, and for how many seconds each has been."""
        for pool in self._pools:
            is_pulled = self._pools.named.get(pool.name) is not pool
            for task, job in pool.at_work():
                if not is_pulled or task in self._loops:  # else it waits for its loop to come round
                    yield pool, job, now - job.started - _aside(job, now)

    def _waiting(self, now: float) -> Iterator[tuple[object, HeldUp]]:
        """The keys whose events wait behind a handler that runs, each with what tells it from others."""
        for pool in self._pools:
            running = {job for _, job in pool.at_work()}
            for key, first, second, count in pool.lines():
                if first in running and first.run is not None and second.run is not None:
                    seconds = now - second.run.since - _aside(first, now)
                    yield (
                        (pool.name, key),
                        HeldUp(
                            key=_key_of(first),
                            handler=first.route.name,
                            event_id=first.run.event.id,
                            pool=pool.name,
                            events=count,
                            seconds=seconds,
                        ),
                    )

    @staticmethod
    def _record(pool: Pool[Job], job: Job, worked: float, now: float) -> StuckHandler:
        run = job.run
        return StuckHandler(
            handler=job.route.name,
            pool=pool.name,
            event_id="" if run is None else run.event.id,
            event_type=job.route.patterns[0] if run is None else run.event.type,
            trace_id="" if run is None else run.event.trace_id,
            key=_key_of(job),
            events=max(1, len(job.runs)),
            since=datetime.fromtimestamp(time.time() - (now - job.started), UTC),
            seconds=worked,
            in_thread=job.in_thread,
        )


def _aside(job: Job, now: float) -> float:
    aside = job.aside
    if aside is None:
        return 0.0
    return aside.before + (now - aside.since if aside.depth else 0.0)


def _key_of(job: Job) -> str:
    """The key of a job's lane, which is that and the handler's name; or else the chat of its event."""
    if isinstance(job.key, tuple):
        return str(job.key[1])
    return "" if job.run is None else job.run.event.chat_id
