from __future__ import annotations

import attrs
import pytest

from feishu_trio import Latency
from feishu_trio.telemetry.counters import Counters


def test_quantiles() -> None:
    counters = Counters()
    for n in range(100, 0, -1):
        counters.latency.add(n / 100)
    stats = counters.snapshot(connections=1, in_flight=0, queue_depth=0)
    assert stats.latency.count == 100
    assert stats.latency.p50 == pytest.approx(0.5, abs=0.011)
    assert stats.latency.p90 == pytest.approx(0.9, abs=0.011)
    assert stats.latency.p99 == pytest.approx(0.99, abs=0.011)
    assert stats.latency.max == 1
    assert stats.queue_wait == Latency()


def test_only_the_last_answers_count_for_quantiles() -> None:
    counters = Counters()
    for seconds in (9.0, 1.0):
        for _ in range(5000):
            counters.latency.add(seconds)
    assert counters.snapshot(connections=0, in_flight=0, queue_depth=0).latency.max == 1


def test_a_snapshot_is_frozen_and_stays_as_it_was() -> None:
    counters = Counters()
    counters.received = 3
    stats = counters.snapshot(connections=2, in_flight=1, queue_depth=4)
    counters.received = 4
    assert (stats.received, stats.connections, stats.in_flight, stats.queue_depth) == (3, 2, 1, 4)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.received = 9  # type: ignore[misc]


def test_labels_are_bounded_whatever_comes_off_the_wire() -> None:
    counters = Counters()
    for number in range(10_000):
        counters.by_type[f"type-{number}"].received += 1
        counters.api_requests[str(number)].count += 1
    counters.by_type["x" * 100_000].received += 1
    counters.by_type["type-1"].received += 1
    stats = counters.snapshot(connections=0, in_flight=0, queue_depth=0)
    by_type = stats.by_type
    assert len(by_type) == 257
    assert by_type["type-1"].received == 2
    assert by_type["(others)"].received == 10_000 - 256 + 1
    assert not any(len(name) > 1000 for name in by_type)
    assert len(stats.api_requests) == 257
    assert stats.api_requests["(others)"] == 10_000 - 256


def test_every_counter_is_a_field_of_the_snapshot() -> None:
    counters = Counters()
    names = list(Counters.__annotations__)
    for number, name in enumerate(names):
        setattr(counters, name, number)
    stats = counters.snapshot(connections=0, in_flight=0, queue_depth=0)
    assert [getattr(stats, name) for name in names] == list(range(len(names)))
