"""Statistics of heartbeats: how many there were, how fast they were answered, how evenly they came.

They are two series: the pongs that answer our own pings, and the JSON messages of type `heartbeat` that some
gateways send of themselves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

__all__ = ["Beat", "HeartbeatSeries", "HeartbeatStats"]

logger = logging.getLogger("feishu_trio.heartbeat")

# As the .NET client has them.
_RECENT: Final = 20
_DEVIATION_OVER: Final = 10
_DEVIATION_LIMIT: Final = 5.0


class Beat(msgspec.Struct, frozen=True):
    """One heartbeat."""

    at: datetime
    """When it came (UTC)."""
    rtt: float | None = None
    """The round trip in seconds; None if it answered no ping."""


class HeartbeatSeries:
    """The heartbeats of one kind in a session, over all its connections. Times are in seconds.

    Once the standard deviation of the last ten intervals is above 5 s, a warning is logged, and again only when
    it has been below that meanwhile.
    """

    def __init__(self, kind: str, warn: Callable[..., object] = logger.warning) -> None:
        self._kind = kind
        self._warn = warn
        self.total = 0
        """Heartbeats since the session opened."""
        # Tuples: a session that hears little keeps little.
        self._recent: tuple[Beat, ...] = ()
        self._intervals: tuple[float, ...] = ()
        self._offsets: tuple[float, ...] = ()
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._kind}: total={self.total} average_interval={self.average_interval}>"

    @property
    def last_at(self) -> datetime | None:
        """When the last heartbeat came (UTC)."""
        return self._recent[-1].at if self._recent else None

    @property
    def recent(self) -> tuple[Beat, ...]:
        """The last 20 heartbeats, oldest first."""
        return self._recent

    @property
    def average_interval(self) -> float | None:
        """The mean of the last 20 intervals; None before the second heartbeat of a connection."""
        return sum(self._intervals) / len(self._intervals) if self._intervals else None

    @property
    def jitter(self) -> float | None:
        """The standard deviation of the last ten intervals; None before the second heartbeat of a connection.

        Of pongs, it is that of how much the intervals differ from those at which pings were meant to go out.
        """
        last = self._offsets
        if not last:
            return None
        mean = sum(last) / len(last)
        return math.sqrt(sum((offset - mean) ** 2 for offset in last) / len(last))

    def record(self, interval: float | None, *, intended: float = 0.0, rtt: float | None = None) -> None:
        """Count a heartbeat that has just come, `interval` after the one before it, if that is known.

        `intended` is what the interval should have been; it may be left out where that is always the same.
        """
        self.total += 1
        self._recent = (*self._recent, Beat(datetime.now(UTC), rtt))[-_RECENT:]
        if interval is None:
            return
        self._intervals = (*self._intervals, interval)[-_RECENT:]
        self._offsets = (*self._offsets, interval - intended)[-_DEVIATION_OVER:]
        deviation = self.jitter or 0.0
        uneven = len(self._offsets) == _DEVIATION_OVER and deviation > _DEVIATION_LIMIT
        if uneven and not self._has_warned:
            self._warn(
                "heartbeats are uneven: the last %d intervals between %s deviate by %.1f s (standard deviation), "
                "around an average of %.1f s",
                _DEVIATION_OVER,
                self._kind,
                deviation,
                self.average_interval,
            )
        self._has_warned = uneven


class HeartbeatStats(HeartbeatSeries):
    """The pongs of a session, over all its connections; in `messages` the JSON messages of type `heartbeat`.

    A pong in JSON is counted, but answers none of our pings: it has no round trip, and no interval.
    """

    def __init__(self, warn: Callable[..., object] = logger.warning) -> None:
        super().__init__("pongs", warn)
        self.messages = HeartbeatSeries("heartbeat messages", warn)
        """The heartbeats that the server sends of itself, as JSON messages."""

    @property
    def last_rtt(self) -> float | None:
        """The last round trip that is known."""
        return next((beat.rtt for beat in reversed(self._recent) if beat.rtt is not None), None)
