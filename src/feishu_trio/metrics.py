"""Prometheus metrics of sessions and workers, read when somebody scrapes them: what is counted, is counted anyway.

Needs the extra `metrics`. A new metric is a row of `METRICS`, and one of docs/metrics.md.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Final, Literal, TypeAlias

import attrs
import trio

from .connection import DisconnectReason
from .errors import InboxError
from .inbox.records import State
from .service import Counted, Service
from .session import Session
from .telemetry.counters import ConnectFailure, SessionStats
from .telemetry.heartbeat import HeartbeatStats
from .telemetry.histogram import BUCKETS, HistogramSnapshot
from .telemetry.stuck import StuckStats

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.registry import Collector as PrometheusCollector
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "feishu_trio.metrics needs prometheus-client, which is not installed: pip install 'feishu-trio[metrics]'",
        name=error.name,
    ) from error

__all__ = ["METRICS", "Collector", "Metric"]

PREFIX: Final = "feishu_"
COMMON_LABELS: Final = ("app_id", "role")
"""What tells services apart; every metric has these, but `feishu_build_info`."""


@attrs.frozen
class Reading:
    """A service at the time of a scrape."""

    labels: tuple[str, str]
    stats: SessionStats
    is_healthy: bool
    counted: Counted | None
    """What its inbox held when it was last asked."""
    wanted: int | None
    """The connections that it is to have; None of a worker, which has none."""
    heartbeat: HeartbeatStats | None
    stuck: Mapping[str, StuckStats]
    """By handler; those that have none are not there."""
    held_up: int
    now: float
    """Seconds since 1970."""
    clock: float
    """Seconds of trio's clock."""


Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Value: TypeAlias = float | HistogramSnapshot
Samples: TypeAlias = Iterable[tuple[tuple[str, ...], Value]]


@attrs.frozen
class Metric:
    """One metric: what it is, and its samples, each with the values of `labels`."""

    name: str
    """As it is scraped, counters with their `_total`."""
    kind: Kind
    help: str
    labels: tuple[str, ...]
    read: Callable[[Reading], Samples]

    @property
    def unit(self) -> str:
        """What it is measured in; "" for a number of things."""
        return "seconds" if self.name.endswith("_seconds") else ""

    def family(self, readings: Iterable[Reading] = ()) -> Family:
        """It as it is exposed, with what was read."""
        labels = (*COMMON_LABELS, *self.labels)
        if self.kind == "histogram":
            histogram = HistogramMetricFamily(self.name, self.help, labels=labels, unit=self.unit)
            for each, value in self._samples(readings):
                assert isinstance(value, HistogramSnapshot)
                histogram.add_metric(each, _buckets(value), value.sum)
            return histogram
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = kind(self.name, self.help, labels=labels, unit=self.unit)
        for each, value in self._samples(readings):
            assert not isinstance(value, HistogramSnapshot)
            family.add_metric(each, value)
        return family

    def _samples(self, readings: Iterable[Reading]) -> Iterator[tuple[tuple[str, ...], Value]]:
        for reading in readings:
            for labels, value in self.read(reading):
                yield (*reading.labels, *map(_encodable, labels)), value


def _encodable(label: str) -> str:
    """A label that may come off the wire, without half a surrogate pair: that would spoil the whole scrape."""
    return label if label.isascii() else label.encode("utf-8", "backslashreplace").decode()


def _buckets(histogram: HistogramSnapshot) -> list[tuple[str, float]]:
    bounds = (*map(str, BUCKETS), "+Inf")
    return list(zip(bounds, histogram.cumulative, strict=True))


def _one(name: str, kind: Kind, text: str, read: Callable[[Reading], float | None]) -> Metric:
    """A metric of one sample, or of none while its value is not known."""

    def samples(reading: Reading) -> Samples:
        value = read(reading)
        return () if value is None else (((), value),)

    return Metric(PREFIX + name, kind, text, (), samples)


def _many(name: str, kind: Kind, text: str, *labels: str, read: Callable[[Reading], Samples]) -> Metric:
    return Metric(PREFIX + name, kind, text, labels, read)


def _answers(reading: Reading) -> Samples:
    for name, each in reading.stats.by_type.items():
        yield (name, "200"), each.answered - each.rejected
        yield (name, "500"), each.rejected


def _stuck(reading: Reading) -> Iterator[tuple[str, StuckStats]]:
    """Also of handlers none of whose runs is, so that there is a value before the first is."""
    none = StuckStats(0, 0.0)
    for handler in {handler: None for handler, _ in reading.stats.by_handler} | dict.fromkeys(reading.stuck):
        yield handler, reading.stuck.get(handler, none)


def _disconnects(reading: Reading) -> Samples:
    if reading.wanted is not None:
        for reason in DisconnectReason:
            yield (str(reason),), reading.stats.disconnects.get(reason, 0)


def _connect_failures(reading: Reading) -> Samples:
    if reading.wanted is not None:
        for reason in ConnectFailure:
            yield (str(reason),), reading.stats.connect_failures.get(reason, 0)


def _last_heard(reading: Reading) -> float | None:
    if reading.heartbeat is None:
        return None
    beats = reading.heartbeat
    times = (reading.stats.last_event_at, beats.last_at, beats.messages.last_at)
    return max((at.timestamp() for at in times if at is not None), default=None)


def _inbox_events(reading: Reading) -> Samples:
    if reading.counted is not None:
        for state in State:
            yield (str(state),), getattr(reading.counted.counts, state)


def _oldest_age(reading: Reading) -> float | None:
    if reading.counted is None:
        return None
    oldest = reading.counted.counts.oldest
    return 0.0 if oldest is None else max(0.0, reading.now - oldest)


# One row a metric. What is counted of handlers and pools has a row for each of its numbers.
METRICS: Final = (
    # Events
    _many(
        "events_received_total",
        "counter",
        "Events that arrived, repeated ones included.",
        "event_type",
        read=lambda r: (((name,), each.received) for name, each in r.stats.by_type.items()),
    ),
    _many(
        "events_answered_total",
        "counter",
        "Deliveries that were answered, by the answer's code: 200, or 500 for what is to come again.",
        "event_type",
        "code",
        read=_answers,
    ),
    _many(
        "answer_duration_seconds",
        "histogram",
        "From the arrival of a delivery to its answer.",
        "event_type",
        read=lambda r: (((name,), each.latency) for name, each in r.stats.by_type.items()),
    ),
    _one(
        "events_handled_total",
        "counter",
        "Events all of whose handlers succeeded.",
        lambda r: r.stats.handled,
    ),
    _one(
        "events_failed_total",
        "counter",
        "Events of which a handler failed; one that fails twice counts twice.",
        lambda r: r.stats.failed,
    ),
    _one(
        "events_retried_total",
        "counter",
        "Events that a handler wanted again (Retry), or a stream gave back, and of which none failed.",
        lambda r: r.stats.retried,
    ),
    _one(
        "events_duplicate_total",
        "counter",
        "Deliveries of events that were known already.",
        lambda r: r.stats.duplicates,
    ),
    _one(
        "events_refused_total",
        "counter",
        "Events refused with 500 because a pool was full, or the session was being closed.",
        lambda r: r.stats.refused,
    ),
    _one(
        "events_late_total",
        "counter",
        "Events that were not answered by ack_deadline.",
        lambda r: r.stats.late,
    ),
    _one(
        "events_unhandled_total",
        "counter",
        "Events that no handler took.",
        lambda r: r.stats.unhandled,
    ),
    _one(
        "events_stored_total",
        "counter",
        "Events stored in the inbox; those that were there already count, too.",
        lambda r: r.stats.stored,
    ),
    _one(
        "events_dead_total",
        "counter",
        "Events from the inbox that became dead letters.",
        lambda r: r.stats.dead,
    ),
    _one(
        "results_late_total",
        "counter",
        "Results of events from the inbox that came too late, and were refused.",
        lambda r: r.stats.late_results,
    ),
    _one(
        "events_in_flight",
        "gauge",
        "Events with a handler that runs or waits.",
        lambda r: r.stats.in_flight,
    ),
    _one(
        "last_event_timestamp_seconds",
        "gauge",
        "When the last event arrived, since 1970; not when it came from an inbox.",
        lambda r: None if r.stats.last_event_at is None else r.stats.last_event_at.timestamp(),
    ),
    # Handlers
    _many(
        "handler_duration_seconds",
        "histogram",
        "From the start of a handler to its end; a batch counts once, under the type of its first event.",
        "handler",
        "event_type",
        read=lambda r: ((names, each.time) for names, each in r.stats.by_handler.items()),
    ),
    _many(
        "handler_failures_total",
        "counter",
        "Runs of a handler that raised, or ran into their timeout; and filters that raised.",
        "handler",
        "event_type",
        read=lambda r: ((names, each.failed) for names, each in r.stats.by_handler.items()),
    ),
    _many(
        "handler_retries_total",
        "counter",
        "Runs of a handler that raised Retry.",
        "handler",
        "event_type",
        read=lambda r: ((names, each.retried) for names, each in r.stats.by_handler.items()),
    ),
    # Pools
    _many(
        "queue_wait_seconds",
        "histogram",
        "From the arrival of an event to the start of a handler.",
        "pool",
        read=lambda r: (((name,), each.wait) for name, each in r.stats.by_pool.items()),
    ),
    _many(
        "pool_running",
        "gauge",
        "Handlers that run.",
        "pool",
        read=lambda r: (((name,), each.running) for name, each in r.stats.by_pool.items()),
    ),
    _many(
        "pool_concurrency",
        "gauge",
        "Handlers that may run at a time.",
        "pool",
        read=lambda r: (((name,), each.concurrency) for name, each in r.stats.by_pool.items()),
    ),
    _many(
        "pool_waiting",
        "gauge",
        "Events that wait for a handler to begin.",
        "pool",
        read=lambda r: (((name,), each.waiting) for name, each in r.stats.by_pool.items()),
    ),
    _many(
        "pool_capacity",
        "gauge",
        "Events that may wait.",
        "pool",
        read=lambda r: (((name,), each.capacity) for name, each in r.stats.by_pool.items()),
    ),
    # What hangs
    _many(
        "handler_stuck",
        "gauge",
        "Runs of a handler that have gone on for longer than stuck_after.",
        "handler",
        read=lambda r: (((name,), each.count) for name, each in _stuck(r)),
    ),
    _many(
        "handler_stuck_oldest_seconds",
        "gauge",
        "How long the longest of them has gone on.",
        "handler",
        read=lambda r: (((name,), each.oldest) for name, each in _stuck(r)),
    ),
    _one(
        "order_keys_held_up",
        "gauge",
        "Order keys, such as chats, of which an event has waited for stuck_after behind a handler.",
        lambda r: r.held_up,
    ),
    _one(
        "loop_blocked_total",
        "counter",
        "Times that the event loop stood still for more than half a second.",
        lambda r: r.stats.loop_blocked,
    ),
    # Connections, of sessions alone
    _one(
        "connections",
        "gauge",
        "Connections that are up.",
        lambda r: None if r.wanted is None else r.stats.connections,
    ),
    _one(
        "connections_wanted",
        "gauge",
        "Connections that there are to be.",
        lambda r: r.wanted,
    ),
    _one(
        "reconnects_total",
        "counter",
        "Connections made again after one was lost, or by hand.",
        lambda r: None if r.wanted is None else r.stats.reconnects,
    ),
    _many(
        "disconnects_total",
        "counter",
        "Connections that ended.",
        "reason",
        read=_disconnects,
    ),
    _many(
        "connect_failures_total",
        "counter",
        "Tries to connect that failed.",
        "reason",
        read=_connect_failures,
    ),
    _one(
        "heartbeats_total",
        "counter",
        "Pongs, the answers to our own pings.",
        lambda r: None if r.heartbeat is None else r.heartbeat.total,
    ),
    _one(
        "heartbeat_round_trip_seconds",
        "gauge",
        "From the last ping that was answered to its pong.",
        lambda r: None if r.heartbeat is None else r.heartbeat.last_rtt,
    ),
    _one(
        "last_heard_timestamp_seconds",
        "gauge",
        "When the server last gave proof of life, since 1970: by an event, a pong or a heartbeat message.",
        _last_heard,
    ),
    _one(
        "frames_bad_total",
        "counter",
        "Messages dropped or refused because they were no frames, or their payload was no event.",
        lambda r: r.stats.bad_frames,
    ),
    _one(
        "frames_ignored_total",
        "counter",
        "Frames of a kind that nothing here is made for.",
        lambda r: r.stats.ignored,
    ),
    _one(
        "messages_dropped_total",
        "counter",
        "JSON text messages that a handler did not get because the pool messages was full.",
        lambda r: r.stats.dropped_messages,
    ),
    # The inbox
    _many(
        "inbox_events",
        "gauge",
        "Events in the inbox; all processes that share one see the same.",
        "state",
        read=_inbox_events,
    ),
    _one(
        "inbox_oldest_age_seconds",
        "gauge",
        "How long ago the oldest event was stored that is not done, dead or parked; 0 if there is none.",
        _oldest_age,
    ),
    _one(
        "inbox_counts_age_seconds",
        "gauge",
        "How long ago the inbox was asked for these.",
        lambda r: None if r.counted is None else r.clock - r.counted.at,
    ),
    # Calls to Feishu
    _many(
        "api_requests_total",
        "counter",
        "Requests to Feishu, each try of a call: 0 is success, others are Feishu's or HTTP's codes, or words.",
        "code",
        read=lambda r: (((code,), count) for code, count in r.stats.api_requests.items()),
    ),
    _many(
        "api_request_duration_seconds",
        "histogram",
        "From the start of a request to Feishu to its answer, without the wait for its turn.",
        read=lambda r: (((), r.stats.api_time),),
    ),
    # All of it
    _one(
        "healthy",
        "gauge",
        "1 if health() is ok, else 0.",
        lambda r: float(r.is_healthy),
    ),
    _one(
        "lifecycle_events_lost_total",
        "counter",
        "Lifecycle events that the channel on_lifecycle had no room for.",
        lambda r: r.stats.lost_lifecycle,
    ),
)


class Collector(PrometheusCollector):
    """What a registry of prometheus-client scrapes of sessions and workers: `registry.register(Collector(session))`.

    One for all of them: a registry refuses a second one. Each has the labels `app_id` and `role`, which is "session" or
    "worker", or the name it is given by: `Collector(receiver=session)`.

    It may be scraped in the trio thread, as by `open_probes`, or in any other, as by
    `prometheus_client.start_http_server`. An inbox is asked by `refresh`, which a scrape in another thread calls of itself;
    between times its last numbers are shown, with their age.

    Raises:
        ValueError: Two have the same labels.
    """

    def __init__(self, *services: Service, **named: Service) -> None:
        self._services: dict[tuple[str, str], Service] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        for service in services:
            self.add(service)
        for role, service in named.items():
            self.add(service, role)

    @property
    def services(self) -> tuple[Service, ...]:
        """All that it tells of."""
        return tuple(self._services.values())

    def add(self, service: Service, role: str | None = None) -> None:
        """Tell of one more from here on.

        Raises:
            RuntimeError: This is not called in the trio thread.
            ValueError: One has the same labels already.
        """
        self._token = trio.lowlevel.current_trio_token()
        labels = (service.config.app_id or "", role or type(service).__name__.lower())
        if labels in self._services:
            app_id, role = labels
            raise ValueError(f"there is a service of app {app_id} as {role!r} already; name another role")
        self._services[labels] = service

    def remove(self, service: Service) -> None:
        """Tell of it no more."""
        self._services = {labels: each for labels, each in self._services.items() if each is not service}

    async def refresh(self, timeout: float = 1.0) -> None:
        """Ask all inboxes what they hold, `timeout` seconds at the most; one that does not answer keeps its last numbers."""
        async with trio.open_nursery() as nursery:
            for service in self._services.values():
                nursery.start_soon(_count, service, timeout)

    def describe(self) -> Iterator[Family]:
        """The metrics without samples: by their names a registry refuses what it has already."""
        yield InfoMetricFamily(f"{PREFIX}build", _BUILD)
        yield from (metric.family() for metric in METRICS)

    def collect(self) -> Iterator[Family]:
        """The metrics as they are now; those of services whose loop has ended are left out."""
        yield InfoMetricFamily(f"{PREFIX}build", _BUILD, value=_build())
        readings = self._readings()
        yield from (metric.family(readings) for metric in METRICS)

    def _readings(self) -> list[Reading]:
        token = self._token
        if token is None:
            return []
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is token:
            return self._read()
        try:
            return trio.from_thread.run(self._refreshed, trio_token=token)
        except (trio.RunFinishedError, trio.Cancelled):  # in another thread: the loop has ended, or ends
            return []

    async def _refreshed(self) -> list[Reading]:
        await self.refresh()
        return self._read()

    def _read(self) -> list[Reading]:
        now, clock = time.time(), trio.current_time()
        return [_reading(labels, service, now, clock) for labels, service in self._services.items()]


_BUILD: Final = "The versions of what runs."


def _build() -> dict[str, str]:
    return {
        "version": version("feishu-trio"),
        "python": platform.python_version(),
        "trio": version("trio"),
    }


async def _count(service: Service, timeout: float) -> None:
    try:
        await service.count_inbox(timeout)
    except InboxError:
        return  # the age of the last numbers tells, and so does `feishu_healthy` if that lasts


def _reading(labels: tuple[str, str], service: Service, now: float, clock: float) -> Reading:
    session = service if isinstance(service, Session) else None
    return Reading(
        labels,
        service.stats(),
        service.health().ok,
        service.counted,
        None if session is None else session.config.connections,
        None if session is None else session.heartbeat,
        service.stuck_by_handler(),
        len(service.held_up()),
        now,
        clock,
    )
