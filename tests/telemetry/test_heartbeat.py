from __future__ import annotations

import logging

import pytest

from feishu_trio import HeartbeatSeries, HeartbeatStats


def test_nothing_is_known_at_first() -> None:
    stats = HeartbeatStats()
    assert (stats.total, stats.last_at, stats.last_rtt) == (0, None, None)
    assert (stats.average_interval, stats.jitter, stats.recent) == (None, None, ())
    assert (stats.messages.total, stats.messages.last_at, stats.messages.recent) == (0, None, ())
    assert (stats.messages.average_interval, stats.messages.jitter) == (None, None)


def test_the_last_twenty_are_kept() -> None:
    stats = HeartbeatStats()
    for n in range(50):
        stats.record(10.0 if n else None, rtt=n / 100)
    assert stats.total == 50
    assert [beat.rtt for beat in stats.recent] == [n / 100 for n in range(30, 50)]
    assert stats.last_rtt == 0.49
    assert stats.last_at == stats.recent[-1].at
    assert stats.average_interval == 10
    assert stats.jitter == 0


def test_the_two_series_are_kept_apart() -> None:
    stats = HeartbeatStats()
    stats.record(20.0, rtt=0.1)
    stats.messages.record(30.0)
    stats.messages.record(40.0)
    assert (stats.total, stats.average_interval, len(stats.recent)) == (1, 20, 1)
    assert (stats.messages.total, stats.messages.average_interval, len(stats.messages.recent)) == (2, 35, 2)


def test_the_average_is_that_of_the_last_twenty() -> None:
    series = HeartbeatSeries("pongs")
    for interval in [1000] * 5 + [20] * 10 + [40] * 10:
        series.record(interval)
    assert series.average_interval == 30


def test_jitter_is_the_standard_deviation_of_the_last_ten() -> None:
    series = HeartbeatSeries("pongs")
    for interval in [1000] * 25 + [10] * 9 + [30]:
        series.record(interval)
    assert series.jitter == 6, "a mean of 12; nine times 2 from it, and once 18"


def test_what_was_meant_to_differ_is_no_jitter() -> None:
    series = HeartbeatSeries("pongs")
    for n in range(20):
        series.record(10 + n, intended=10 + n)
    assert series.jitter == 0


@pytest.mark.parametrize("kind", ["pongs", "heartbeat messages"])
def test_uneven_heartbeats_are_warned_of_once_until_they_are_even_again(
    caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    stats = HeartbeatStats()
    series = stats if kind == "pongs" else stats.messages

    def warnings_after(*intervals: float) -> int:
        for interval in intervals:
            series.record(interval)
        return len([record for record in caplog.records if record.levelno == logging.WARNING])

    assert warnings_after(*[30.0] * 12) == 0
    assert warnings_after(*[20.0, 40.0] * 4) == 1
    assert f"heartbeats are uneven: the last 10 intervals between {kind} deviate by " in caplog.text
    assert warnings_after(*[20.0, 40.0] * 20) == 1
    assert warnings_after(*[30.0] * 20) == 1
    assert warnings_after(*[20.0, 40.0] * 10) == 2


def test_one_late_heartbeat_of_ten_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    series = HeartbeatSeries("pongs")
    for interval in [30] * 9 + [47]:
        series.record(interval)
    assert series.jitter == pytest.approx(5.1)
    assert len(caplog.records) == 1, "the mean deviation is 3.06 s"


def test_a_deviation_of_five_seconds_is_not_warned_of_yet(caplog: pytest.LogCaptureFixture) -> None:
    stats = HeartbeatStats()
    for n in range(100):
        stats.record(30 + (n % 2) * 10)
    assert stats.jitter == 5
    assert not caplog.records
