"""A job: one run of one handler, for an event, for each of a batch, or for a JSON text message."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

from .._quiet import QuietStruct
from ..router import Route
from .pool import Pool
from .run import WITHDRAWN, Run

__all__ = ["Aside", "Job"]


class Aside(QuietStruct, eq=False):
    """The time of a job that is not its handler's own, in seconds: it waits for a person."""

    before: float = 0.0
    """Time that is over."""
    depth: int = 0
    """How many waits there are at the moment."""
    since: float = 0.0
    """When the first of these began."""


class Job(QuietStruct, eq=False):
    """What a pool's worker runs."""

    route: Route
    pool: Pool[Job]
    """Where it is to run."""
    key: Hashable
    """Behind which others it waits its turn."""
    argument: Any
    """What the handler is called with."""
    run: Run | None
    """None for a text message: nobody waits for what becomes of it."""
    is_awaited: bool
    """Whether the outcome waits for it."""
    others: tuple[Run, ...] = ()
    """The further runs of a batch."""
    weight: int = 1
    """How many events it is for."""
    size: int = 0
    """The bytes of payload that wait with it."""
    is_held: bool = False
    """Whether it may not begin, even if its turn has come: another handler of its event is before it."""

    in_thread: bool = False
    """Whether its handler is at work in a thread, which nothing can stop."""
    is_over: bool = False
    """Whether somebody ended it: it counts as done, and does not begin."""
    started: float = math.inf
    """When its handler was called, in seconds of trio's clock."""
    aside: Aside | None = None
    """Made once its handler waits for a person."""

    def drop_withdrawn(self) -> bool:
        """Leave out the runs that were withdrawn while it waited; whether there are others."""
        runs = [run for run in self.runs if run.state is not WITHDRAWN]
        if not runs:
            return False
        if len(runs) <= len(self.others):
            self.run, *others = runs
            self.others = tuple(others)
            self.argument = [run.event for run in runs]
        return True

    @property
    def runs(self) -> tuple[Run, ...]:
        """All it is for."""
        return () if self.run is None else (self.run, *self.others)
