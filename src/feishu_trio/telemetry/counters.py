"""What a session counts, and the snapshot of it that users get.

A new counter is a field of `Counts`, and the line in `telemetry.Telemetry` that counts it.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import attrs
import msgspec

from ..errors import AuthenticationError, ConfigError, ConnectError, ConnectionLimitError, ForbiddenError
from .histogram import Histogram, HistogramSnapshot

__all__ = [
    "ConnectFailure",
    "Counters",
    "Duration",
    "HandlerStats",
    "Latency",
    "PoolStats",
    "SessionStats",
    "TypeStats",
]

# Quantiles are of the last so many answers: enough for a p99, and little to sort when somebody asks.
_RECENT: Final = 2048
# Event types come off the wire, and streams have handlers of their own: those after so many are counted as one.
_LABELS: Final = 256
_LABEL_LENGTH: Final = 200
_OTHERS: Final = "(others)"

K = TypeVar("K")
V = TypeVar("V")


class Latency(msgspec.Struct, frozen=True):
    """Seconds over the last 2,048 times that something took; zeros if there were none."""

    count: int = 0
    """How many times these are, at most 2,048."""
    p50: float = 0.0
    """The median."""
    p90: float = 0.0
    """Nine in ten took no longer."""
    p99: float = 0.0
    """99 in 100 took no longer."""
    max: float = 0.0
    """The longest."""


class TypeStats(msgspec.Struct, frozen=True):
    """What was counted of one event type."""

    received: int
    """Deliveries, repeated ones included."""
    answered: int
    """Deliveries that were answered, with success or without."""
    rejected: int
    """Those of them that were answered 500, so that they come again."""
    latency: HistogramSnapshot
    """Arrival to answer."""


class HandlerStats(msgspec.Struct, frozen=True):
    """What was counted of one handler with one event type. A batch counts once, under its first event's type."""

    failed: int
    """Runs that raised, or ran into their timeout. How many there were is `time.count`."""
    retried: int
    """Runs that raised `Retry`."""
    time: HistogramSnapshot
    """Start to end of a run."""


class PoolStats(msgspec.Struct, frozen=True):
    """What was counted of one pool, and how it stands: all but `wait` is of now, and 0 once there is no such pool."""

    wait: HistogramSnapshot
    """Arrival of an event to the start of a handler."""
    running: int = 0
    """Handlers that run."""
    waiting: int = 0
    """Events that wait for a handler to begin."""
    concurrency: int = 0
    """Handlers that may run at a time."""
    capacity: int = 0
    """Events that may wait."""


class PoolNow(Protocol):
    """A pool, as it stands."""

    name: str
    running: int
    waiting: int
    concurrency: int
    capacity: int


@attrs.define(kw_only=True)
class Counts:
    """What is counted since the session opened. Each is an attribute here, and nothing else is needed for one."""

    reconnects: int = 0
    """Connections made again after one was lost, or by hand."""
    received: int = 0
    """Events that arrived, repeated ones included."""
    handled: int = 0
    """Events all of whose handlers succeeded."""
    failed: int = 0
    """Events of which a handler failed; one that fails twice counts twice."""
    retried: int = 0
    """Events that a handler wanted again (`Retry`), or a stream gave back, and of which none failed."""
    duplicates: int = 0
    """Deliveries of events that were known already."""
    refused: int = 0
    """Events refused with 500 because a pool was full, or the session was being closed."""
    answered: int = 0
    """Deliveries that were answered."""
    stored: int = 0
    """Events that were stored in an inbox; those that were there already count, too."""
    dead: int = 0
    """Events from an inbox that became dead letters."""
    late_results: int = 0
    """Results of events from an inbox that came too late, and were refused: of those events that another process had taken
    over by then, say."""
    late: int = 0
    """Events that were not answered by `ack_deadline`."""
    loop_blocked: int = 0
    """Times that the event loop stood still for more than half a second."""
    unhandled: int = 0
    """Events that no handler took."""
    bad_frames: int = 0
    """Messages dropped or refused because they were no frames, or their payload was no event."""
    ignored: int = 0
    """Frames of a kind that nothing here is made for."""
    dropped_messages: int = 0
    """JSON text messages that a handler did not get because the pool `messages` was full."""
    lost_lifecycle: int = 0
    """Lifecycle events that the channel `on_lifecycle` had no room for."""


@attrs.frozen(kw_only=True)
class SessionStats(Counts):
    """A snapshot of a session's counters.

    All but `connections`, `in_flight` and `queue_depth`, and what `by_pool` says of pools, which are of now, count since
    the session opened.
    """

    connections: int
    """Live connections."""
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
    by_type: Mapping[str, TypeStats]
    """By event type; the 257th and those after it are together in `(others)`."""
    by_handler: Mapping[tuple[str, str], HandlerStats]
    """By a handler's name and event type, within the same bound."""
    by_pool: Mapping[str, PoolStats]
    """By a pool's name, within the same bound; and all pools that there are."""
    last_event_at: datetime | None
    """When the last event arrived (UTC); not when it comes from an inbox."""
    disconnects: Mapping[str, int]
    """Connections that ended, by `DisconnectReason`."""
    connect_failures: Mapping[str, int]
    """Tries to connect that failed, by `ConnectFailure`."""
    api_requests: Mapping[str, int]
    """Requests to Feishu's HTTP API, each try of a call, by what came of them: Feishu's code ("0" is success), HTTP's
    status where the body had none, "unanswered", "failed" (nothing can be made of it) or "cancelled"; within the same
    bound."""
    api_time: HistogramSnapshot
    """What they took."""


class Duration:
    """A time that is measured again and again: its quantiles of late."""

    __slots__ = ("_recent", "add")

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self.add = self._recent.append
        """Add one, in seconds. The deque's own method: nothing of Python's is called."""

    def quantiles(self) -> Latency:
        """What they are over the last times."""
        if not self._recent:
            return Latency()
        ordered = sorted(self._recent)
        last = len(ordered) - 1
        p50, p90, p99 = (ordered[round(last * q)] for q in (0.5, 0.9, 0.99))
        return Latency(count=len(ordered), p50=p50, p90=p90, p99=p99, max=ordered[-1])


class TypeCounter:
    """Counts for one event type."""

    __slots__ = ("answered", "latency", "received", "rejected")

    def __init__(self) -> None:
        self.received = 0
        self.answered = 0
        self.rejected = 0
        self.latency = Histogram()

    def snapshot(self) -> TypeStats:
        """The counts as they are now."""
        return TypeStats(self.received, self.answered, self.rejected, self.latency.snapshot())


class HandlerCounter:
    """Counts for one handler and event type."""

    __slots__ = ("failed", "retried", "time")

    def __init__(self) -> None:
        self.failed = 0
        self.retried = 0
        self.time = Histogram()

    def snapshot(self) -> HandlerStats:
        """The counts as they are now."""
        return HandlerStats(self.failed, self.retried, self.time.snapshot())


class PoolCounter:
    """Counts for one pool."""

    __slots__ = ("wait",)

    def __init__(self) -> None:
        self.wait = Histogram()

    def snapshot(self, now: Iterable[PoolNow]) -> PoolStats:
        """The counts as they are now, and how the pools of this name stand: a stream's name may come again."""
        pools = list(now)
        return PoolStats(
            self.wait.snapshot(),
            running=sum(pool.running for pool in pools),
            waiting=sum(pool.waiting for pool in pools),
            concurrency=sum(pool.concurrency for pool in pools),
            capacity=sum(pool.capacity for pool in pools),
        )


class ConnectFailure(enum.StrEnum):
    """Why a try to connect failed."""

    UNREACHABLE = "unreachable"
    """The network, the resolver, TLS or a proxy; or what answered, if anything did, was not Feishu."""
    BUSY = "busy"
    """Feishu could not take the connection at the moment, and gave a code for it."""
    AUTHENTICATION = "authentication"
    """Feishu did not accept the credentials."""
    FORBIDDEN = "forbidden"
    """The app is banned, or may not use long connections."""
    CONNECTION_LIMIT = "connection limit"
    """The app has as many connections as Feishu allows."""
    WRONG_SETTING = "wrong setting"
    """Something that was given for it cannot be used."""

    @classmethod
    def of(cls, error: Exception) -> ConnectFailure:
        """What an error of a try comes under."""
        match error:
            case AuthenticationError():
                return cls.AUTHENTICATION
            case ForbiddenError():
                return cls.FORBIDDEN
            case ConnectionLimitError():
                return cls.CONNECTION_LIMIT
            case ConfigError():
                return cls.WRONG_SETTING
            case ConnectError(code=int()):
                return cls.BUSY
        return cls.UNREACHABLE


class Tally:
    """How often something happened."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class _Labelled(dict[K, V]):
    """Counters by label, made on first use; a dict, so that nothing of Python's is called for one that is there."""

    __slots__ = ("_kind", "_others")

    def __init__(self, kind: type[V], others: K) -> None:
        super().__init__()
        self._kind = kind
        self._others = others

    def __missing__(self, label: K) -> V:
        if label != self._others and (len(self) >= _LABELS or len(str(label)) > _LABEL_LENGTH):
            return self[self._others]
        counter = self[label] = self._kind()
        return counter


class Counters(Counts):
    """What is counted. Plain attributes: counting must cost next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.latency = Duration()
        self.queue_wait = Duration()
        self.handler_time = Duration()
        self.by_type: _Labelled[str, TypeCounter] = _Labelled(TypeCounter, _OTHERS)
        self.by_handler: _Labelled[tuple[str, str], HandlerCounter] = _Labelled(
            HandlerCounter, (_OTHERS, _OTHERS)
        )
        self.by_pool: _Labelled[str, PoolCounter] = _Labelled(PoolCounter, _OTHERS)
        self.disconnects: _Labelled[str, Tally] = _Labelled(Tally, _OTHERS)
        self.connect_failures: _Labelled[str, Tally] = _Labelled(Tally, _OTHERS)
        self.api_requests: _Labelled[str, Tally] = _Labelled(Tally, _OTHERS)
        self.api_time = Histogram()
        self.measured = 0
        """Runs of handlers and requests that histograms have gathered since they were last sorted."""
        self.last_event_at: float | None = None
        """Seconds since 1970."""

    def fold(self) -> None:
        """Sort what histograms have gathered into their buckets."""
        for by_type in self.by_type.values():
            by_type.latency.fold()
        for by_handler in self.by_handler.values():
            by_handler.time.fold()
        for by_pool in self.by_pool.values():
            by_pool.wait.fold()
        self.api_time.fold()
        self.measured = 0

    def snapshot(
        self, *, connections: int, in_flight: int, queue_depth: int, pools: Iterable[PoolNow] = ()
    ) -> SessionStats:
        """The counters as they are now."""
        by_pool: dict[str, list[PoolNow]] = {name: [] for name in self.by_pool}
        for pool in pools:
            by_pool.setdefault(pool.name, []).append(pool)
        last = self.last_event_at
        counted = {field.name: getattr(self, field.name) for field in attrs.fields(Counts)}
        return SessionStats(
            connections=connections,
            in_flight=in_flight,
            queue_depth=queue_depth,
            **counted,
            latency=self.latency.quantiles(),
            queue_wait=self.queue_wait.quantiles(),
            handler_time=self.handler_time.quantiles(),
            by_type=MappingProxyType({name: each.snapshot() for name, each in self.by_type.items()}),
            by_handler=MappingProxyType({name: each.snapshot() for name, each in self.by_handler.items()}),
            by_pool=MappingProxyType(
                {name: self.by_pool.get(name, PoolCounter()).snapshot(now) for name, now in by_pool.items()}
            ),
            last_event_at=None if last is None else datetime.fromtimestamp(last, UTC),
            disconnects=MappingProxyType({name: each.count for name, each in self.disconnects.items()}),
            connect_failures=MappingProxyType(
                {name: each.count for name, each in self.connect_failures.items()}
            ),
            api_requests=MappingProxyType({name: each.count for name, each in self.api_requests.items()}),
            api_time=self.api_time.snapshot(),
        )
