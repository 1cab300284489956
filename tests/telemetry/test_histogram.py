from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.telemetry.histogram import BUCKETS, Histogram

seconds = st.lists(st.floats(0, 100))


def test_a_duration_counts_in_its_bucket_and_all_larger_ones() -> None:
    histogram = Histogram()
    for duration in (0.004, 0.005, 0.0051, 3.0, 3.1, 1000.0):
        histogram.observe(duration)
    snapshot = histogram.snapshot()
    assert snapshot.count == 6
    assert snapshot.sum == pytest.approx(1006.1141)
    by_bound = dict(zip(BUCKETS, snapshot.cumulative, strict=False))
    assert (by_bound[0.005], by_bound[0.01], by_bound[3.0], by_bound[5.0]) == (2, 3, 4, 5)
    assert by_bound[60.0] == 5


@given(seconds, seconds)
def test_two_histograms_add_up(first: list[float], second: list[float]) -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for durations, histogram in ((first, one), (second, two), (first + second, both)):
        for duration in durations:
            histogram.observe(duration)
    added = [a + b for a, b in zip(one.snapshot().cumulative, two.snapshot().cumulative, strict=True)]
    assert list(both.snapshot().cumulative) == added
    assert both.snapshot().sum == pytest.approx(one.snapshot().sum + two.snapshot().sum)
