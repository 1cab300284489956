from __future__ import annotations

import logging

import pytest

from feishu_trio import HeartbeatStats


def test_nothing_is_known_at_first() -> None:
    stats = HeartbeatStats()
    assert (stats.total, stats.last_at, stats.last_rtt) == (0, None, None)
    assert (stats.average_interval, stats.jitter, stats.recent) == (None, None, ())


def test_the_last_twenty_are_kept() -> None:
    stats = HeartbeatStats()
    for n in range(50):
        stats.record(n / 100, 10.0 if n else None)
    assert stats.total == 50
    assert [beat.rtt for beat in stats.recent] == [n / 100 for n in range(30, 50)]
    assert stats.last_rtt == 0.49
    assert stats.last_at == stats.recent[-1].at
    assert stats.average_interval == 10
    assert stats.jitter == 0


def test_jitter_is_the_mean_deviation_of_the_last_ten() -> None:
    stats = HeartbeatStats()
    for n in range(40):
        stats.record(0.1, 1000 if n < 25 else 10 + (n % 2) * 4)
    assert stats.jitter == 2


def test_uneven_heartbeats_are_warned_of_once_until_they_are_even_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stats = HeartbeatStats()

    def warnings_after(*intervals: float) -> int:
        for interval in intervals:
            stats.record(0.1, interval)
        return len([record for record in caplog.records if record.levelno == logging.WARNING])

    assert warnings_after(*[30.0] * 12) == 0
    assert warnings_after(*[20.0, 40.0] * 4) == 1
    assert "deviate" in caplog.text
    assert warnings_after(*[20.0, 40.0] * 20) == 1
    assert warnings_after(*[30.0] * 20) == 1
    assert warnings_after(*[20.0, 40.0] * 10) == 2


def test_a_deviation_of_five_seconds_is_not_warned_of_yet(caplog: pytest.LogCaptureFixture) -> None:
    stats = HeartbeatStats()
    for n in range(100):
        stats.record(0.1, 30 + (n % 2) * 10)
    assert stats.jitter == 5
    assert not caplog.records
