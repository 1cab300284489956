"""Statistics of the heartbeat: how often it goes out, how fast it is answered, how evenly."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import attrs

__all__ = ["Beat", "HeartbeatStats"]

logger = logging.getLogger("feishu_trio.heartbeat")

# As the .NET client has them.
_RECENT: Final = 20
_DEVIATION_OVER: Final = 10
_DEVIATION_LIMIT: Final = 5.0


@attrs.frozen
class Beat:
    """One heartbeat: when it came (UTC), and the round trip in seconds, None if it answered no ping."""

    at: datetime
    rtt: float | None


class HeartbeatStats:
    """The heartbeats of a session, over all its connections. Times are in seconds."""

    def __init__(self, warn: Callable[..., object] = logger.warning) -> None:
        self._warn = warn
        self.total = 0
        """Heartbeats answered."""
        self._recent: deque[Beat] = deque(maxlen=_RECENT)
        self._intervals: deque[float] = deque(maxlen=_RECENT)
        self._offsets: deque[float] = deque(maxlen=_DEVIATION_OVER)
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<HeartbeatStats total={self.total} last_rtt={self.last_rtt} average_interval={self.average_interval}>"

    @property
    def last_at(self) -> datetime | None:
        """When the last heartbeat was answered (UTC)."""
        return self._recent[-1].at if self._recent else None

    @property
    def last_rtt(self) -> float | None:
        """The last round trip that is known."""
        return next((beat.rtt for beat in reversed(self._recent) if beat.rtt is not None), None)

    @property
    def recent(self) -> tuple[Beat, ...]:
        """The last 20 heartbeats, oldest first."""
        return tuple(self._recent)

    @property
    def average_interval(self) -> float | None:
        """The mean of the last intervals; None before the second heartbeat."""
        return sum(self._intervals) / len(self._intervals) if self._intervals else None

    @property
    def jitter(self) -> float | None:
        """The mean deviation of the last ten intervals from their mean, but for what was meant to differ;
        None before the second heartbeat.
        """
        last = self._offsets
        if not last:
            return None
        mean = sum(last) / len(last)
        return sum(abs(offset - mean) for offset in last) / len(last)

    def record(self, rtt: float | None, interval: float | None, intended: float = 0.0) -> None:
        """Count a heartbeat that was just answered, `interval` after the last one of its connection, if any.

        `intended` is what the interval should have been; it may be left out where that is always the same.
        """
        self.total += 1
        if interval is not None:
            self._intervals.append(interval)
            self._offsets.append(interval - intended)
        self._recent.append(Beat(datetime.now(UTC), rtt))
        uneven = len(self._offsets) >= _DEVIATION_OVER and (self.jitter or 0.0) > _DEVIATION_LIMIT
        if uneven and not self._has_warned:
            self._warn(
                "heartbeats are uneven: over the last %d they deviate by %.1f s from their mean of %.1f s",
                _DEVIATION_OVER,
                self.jitter,
                self.average_interval,
            )
        self._has_warned = uneven
