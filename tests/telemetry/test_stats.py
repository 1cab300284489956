from __future__ import annotations

import attrs
import pytest

from feishu_trio import Latency
from feishu_trio.telemetry.stats import Counters


def test_quantiles() -> None:
    counters = Counters()
    counters.latency.extend(n / 100 for n in range(100, 0, -1))
    stats = counters.snapshot(connections=1, in_flight=0, queue_depth=0)
    assert stats.latency.count == 100
    assert stats.latency.p50 == pytest.approx(0.5, abs=0.011)
    assert stats.latency.p90 == pytest.approx(0.9, abs=0.011)
    assert stats.latency.p99 == pytest.approx(0.99, abs=0.011)
    assert stats.latency.max == 1
    assert stats.queue_wait == Latency()


def test_only_the_last_answers_count_for_quantiles() -> None:
    counters = Counters()
    counters.latency.extend([9.0] * 5000)
    counters.latency.extend([1.0] * 5000)
    assert counters.snapshot(connections=0, in_flight=0, queue_depth=0).latency.max == 1


def test_a_snapshot_is_frozen_and_stays_as_it_was() -> None:
    counters = Counters()
    counters.received = 3
    stats = counters.snapshot(connections=2, in_flight=1, queue_depth=4)
    counters.received = 4
    assert (stats.received, stats.connections, stats.in_flight, stats.queue_depth) == (3, 2, 1, 4)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        stats.received = 9  # type: ignore[misc]
