"""Counters of a session, and the snapshot of them that users get."""

from __future__ import annotations

from collections import deque
from typing import Final

import attrs

__all__ = ["Counters", "Latency", "SessionStats"]

# Quantiles are of the last so many answers: enough for a p99, and little to sort when somebody asks.
_RECENT: Final = 2048


@attrs.frozen
class Latency:
    """Seconds from an event's arrival to its answer, over the last answers; zeros if there were none."""

    count: int = 0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    max: float = 0.0


@attrs.frozen
class SessionStats:
    """A snapshot of a session's counters.

    All but `connections`, `in_flight` and `queue_depth`, which are of now, count since the session opened.
    """

    connections: int
    """Live connections."""
    reconnects: int
    """Connections made again after one was lost, or by hand."""
    received: int
    """Events that arrived, repeated ones included."""
    handled: int
    """Events all of whose handlers succeeded."""
    failed: int
    """Events of which a handler failed; one that fails twice counts twice."""
    duplicates: int
    """Deliveries of events that were known already."""
    refused: int
    """Events refused with 500 because a pool was full."""
    answered: int
    """Answers handed to a connection."""
    late: int
    """Events that were not answered by `ack_deadline`."""
    unhandled: int
    """Events that no handler took."""
    bad_frames: int
    """Messages dropped or refused because they were no frames, or their payload was no event."""
    in_flight: int
    """Events that are running or waiting."""
    queue_depth: int
    """Handlers' runs that wait for a worker or their turn."""
    latency: Latency
    """Arrival to answer."""
    queue_wait: Latency
    """Arrival to a handler's start."""
    handler_time: Latency
    """A handler's start to its end."""


class Counters:
    """What the stages of a session count as they work. Plain attributes: counting must cost nothing."""

    def __init__(self) -> None:
        self.reconnects = 0
        self.received = 0
        self.handled = 0
        self.failed = 0
        self.duplicates = 0
        self.refused = 0
        self.answered = 0
        self.late = 0
        self.unhandled = 0
        self.bad_frames = 0
        self.latency: deque[float] = deque(maxlen=_RECENT)
        self.queue_wait: deque[float] = deque(maxlen=_RECENT)
        self.handler_time: deque[float] = deque(maxlen=_RECENT)

    def snapshot(self, *, connections: int, in_flight: int, queue_depth: int) -> SessionStats:
        """The counters as they are now."""
        return SessionStats(
            connections=connections,
            reconnects=self.reconnects,
            received=self.received,
            handled=self.handled,
            failed=self.failed,
            duplicates=self.duplicates,
            refused=self.refused,
            answered=self.answered,
            late=self.late,
            unhandled=self.unhandled,
            bad_frames=self.bad_frames,
            in_flight=in_flight,
            queue_depth=queue_depth,
            latency=_quantiles(self.latency),
            queue_wait=_quantiles(self.queue_wait),
            handler_time=_quantiles(self.handler_time),
        )


def _quantiles(seconds: deque[float]) -> Latency:
    if not seconds:
        return Latency()
    ordered = sorted(seconds)
    last = len(ordered) - 1
    p50, p90, p99 = (ordered[round(last * q)] for q in (0.5, 0.9, 0.99))
    return Latency(count=len(ordered), p50=p50, p90=p90, p99=p99, max=ordered[-1])
