"""The deadlines of runs: which have no outcome yet, and until when they should have one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import trio

from .run import Run

__all__ = ["Deadlines"]

# Seconds by which the loop may wake late before somebody must have blocked it.
_LAG: Final = 0.5


class Deadlines:
    """The runs without an outcome: those that are overdue, then the others in order of their deadlines.

    All have the same time from their arrival, so that they mostly come in this order already.
    """

    def __init__(self) -> None:
        self._due: dict[Run, None] = {}
        self._last = -math.inf  # the deadline of the last of them
        self._overdue: dict[Run, None] = {}
        self._wake_at = math.inf
        self._sooner = trio.lowlevel.ParkingLot()

    def __iter__(self) -> Iterator[Run]:
        yield from self._overdue
        yield from self._due

    def add(self, run: Run) -> None:
        """A run has a deadline, and no outcome yet."""
        due = self._due
        early = bool(due) and run.deadline < self._last
        due[run] = None
        if not early:
            self._last = run.deadline
        else:  # it was read with one that was held back, and another connection's came meanwhile
            ordered = sorted(due, key=lambda each: each.deadline)
            due.clear()
            due.update(dict.fromkeys(ordered))
        if run.deadline < self._wake_at and self._sooner:
            self._sooner.unpark()

    def discard(self, run: Run) -> None:
        """A run has an outcome."""
        if run in self._due:
            del self._due[run]
        else:
            self._overdue.pop(run, None)

    async def watch(self, overdue: Callable[[Run], None], lagged: Callable[[float], None]) -> None:
        """Call `overdue` with each run whose deadline passes without an outcome, `lagged` with the seconds by
        which this woke late, if that means that something blocked the loop.
        """
        due = self._due
        while True:
            # When that run has its outcome by then, this wakes once for nothing: less than a wake-up a run.
            self._wake_at = next(iter(due)).deadline if due else math.inf
            with trio.move_on_at(self._wake_at):
                await self._sooner.park()
            now = trio.current_time()
            if now - self._wake_at > _LAG:
                lagged(now - self._wake_at)
            late = []
            for run in due:  # not one by one: a dict from which much has been deleted finds its first slowly
                if run.deadline > now:
                    break
                late.append(run)
            for run in late:
                del due[run]
                self._overdue[run] = None
                overdue(run)
