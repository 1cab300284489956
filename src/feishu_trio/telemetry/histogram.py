"""Durations counted in fixed buckets, so that they can be exported, and added up over processes."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

__all__ = ["BUCKETS", "Histogram", "HistogramSnapshot"]

BUCKETS: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    3.0,
    5.0,
    7.5,
    10.0,
    30.0,
    60.0,
)
"""Upper bounds in seconds: those of OpenTelemetry's messaging conventions, with Feishu's 3 s, and 30 and 60."""


class HistogramSnapshot(msgspec.Struct, frozen=True):
    """How many durations there were, by how long they were."""

    cumulative: tuple[int, ...]
    """How many took at most so long: `cumulative[i]` at most `BUCKETS[i]` seconds; the last counts all."""
    sum: float
    """Seconds, all together."""

    @property
    def count(self) -> int:
        """How many there were."""
        return self.cumulative[-1]


class Histogram:
    """Counts durations by bucket; what was counted is never forgotten.

    They are gathered, and sorted into buckets many at a time: one by one, that would be the dearest part of what
    is counted of an event. Whoever observes many calls `fold` from time to time.
    """

    __slots__ = ("_counts", "_gathered", "_sum", "observe")

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._gathered: list[float] = []
        self.observe = self._gathered.append
        """Count one duration, in seconds. The list's own method: nothing of Python's is called."""

    def fold(self) -> None:
        """Sort what was gathered into the buckets."""
        gathered = self._gathered
        if not gathered:
            return
        gathered.sort()
        before = 0
        for bucket, bound in enumerate(BUCKETS):
            at = bisect_right(gathered, bound)
            self._counts[bucket] += at - before
            before = at
        self._counts[-1] += len(gathered) - before
        self._sum += sum(gathered)
        gathered.clear()

    def snapshot(self) -> HistogramSnapshot:
        """The counts as they are now."""
        self.fold()
        total = 0
        cumulative = []
        for count in self._counts:
            total += count
            cumulative.append(total)
        return HistogramSnapshot(tuple(cumulative), self._sum)
