"""The deadlines of runs: which have no outcome yet, and until when they should have one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from heapq import heappop, heappush

import trio

from .run import Run

__all__ = ["Deadlines"]


class Deadlines:
    """The runs without an outcome: those that are overdue, and the others by their deadlines.

    All have the same time from their arrival, so that nearly all come in the order of their deadlines: these stand
    in a dict. Those whose deadline is sooner than that of one before them (they waited while nobody read) stand in
    a heap; there they stay until it has passed, though they have their outcome.
    """

    def __init__(self) -> None:
        self._due: dict[Run, None] = {}
        self._last = -math.inf  # the latest deadline of these
        self._early: dict[Run, None] = {}
        self._early_heap: list[tuple[float, int, Run]] = []
        self._count = itertools.count()
        self._overdue: dict[Run, None] = {}
        self._wake_at = math.inf
        self._sooner = trio.lowlevel.ParkingLot()

    def __iter__(self) -> Iterator[Run]:
        yield from self._overdue
        yield from self._early
        yield from self._due

    def add(self, run: Run) -> None:
        """A run has a deadline, and no outcome yet."""
        deadline = run.deadline
        if deadline >= self._last or not self._due:
            self._due[run] = None
            self._last = deadline
        else:
            self._early[run] = None
            heappush(self._early_heap, (deadline, next(self._count), run))
        if deadline < self._wake_at and self._sooner:
            self._sooner.unpark()

    def discard(self, run: Run) -> None:
        """A run has an outcome."""
        if run in self._due:
            del self._due[run]
        else:
            self._early.pop(run, None)
            self._overdue.pop(run, None)

    async def watch(self, overdue: Callable[[Run], None]) -> None:
        """Call `overdue` with each run whose deadline passes without an outcome."""
        while True:
            # When that run has its outcome by then, this wakes once for nothing: less than a wake-up a run.
            self._wake_at = self._next()
            with trio.move_on_at(self._wake_at):
                await self._sooner.park()
            now = trio.current_time()
            for run in self._passed(now):
                self._overdue[run] = None
                overdue(run)

    def _next(self) -> float:
        first = next(iter(self._due)).deadline if self._due else math.inf
        return min(first, self._early_heap[0][0]) if self._early_heap else first

    def _passed(self, now: float) -> list[Run]:
        """Take out the runs whose deadlines have passed."""
        passed = []
        while self._early_heap and self._early_heap[0][0] <= now:
            _, _, run = heappop(self._early_heap)
            if run in self._early:
                del self._early[run]
                passed.append(run)
        due = []
        for (
            run
        ) in self._due:  # not one by one: a dict from which much has been deleted finds its first slowly
            if run.deadline > now:
                break
            due.append(run)
        for run in due:
            del self._due[run]
        return sorted([*passed, *due], key=lambda run: run.deadline) if passed else due
