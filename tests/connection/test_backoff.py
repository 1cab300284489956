from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.connection import Backoff


class Highest(random.Random):
    """Draws the upper bound, so that bounds can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


def bounds(first: float | None, longest: float | None, tries: int, server: float = 120.0) -> list[float]:
    backoff = Backoff(first, longest, Highest())
    return [backoff.next(server) for _ in range(tries)]


def test_bounds_double_up_to_the_servers_interval() -> None:
    assert bounds(None, None, 9) == [1, 2, 4, 8, 16, 32, 64, 120, 120]


def test_the_users_bounds_win_over_the_servers() -> None:
    assert bounds(0.5, 3.0, 5) == [0.5, 1, 2, 3, 3]


def test_a_first_delay_of_zero_is_at_once_and_no_busy_loop_after_that() -> None:
    assert bounds(0.0, None, 4) == [0, 2, 4, 8]
    assert bounds(0.0, 0.0, 4) == [0, 0.1, 0.1, 0.1]


def test_it_starts_again_only_after_a_connection_that_lived() -> None:
    backoff = Backoff(None, None, Highest())
    assert [backoff.next(120) for _ in range(3)] == [1, 2, 4]
    backoff.ended(59.9)
    assert backoff.next(120) == 8
    backoff.ended(60.0)
    assert backoff.next(120) == 1


def test_note_15_the_first_retry_is_fast_and_jittered() -> None:
    delays = [Backoff(None, None).next(120) for _ in range(200)]
    assert all(0 <= delay <= 1 for delay in delays)
    assert max(delays) - min(delays) > 0.5


@given(
    first=st.none() | st.floats(0, 3600),
    longest=st.none() | st.floats(0, 3600),
    server=st.floats(1, 600),
    tries=st.integers(1, 60),
)
def test_delays_are_never_negative_and_never_over_the_bound(
    first: float | None, longest: float | None, server: float, tries: int
) -> None:
    most = max(longest if longest is not None else server, first if first is not None else 1.0, 0.1)
    backoff = Backoff(first, longest)
    for _ in range(tries):
        assert 0 <= backoff.next(server) <= most


@pytest.mark.parametrize("tries", [100, 5000])
def test_a_long_outage_does_not_overflow(tries: int) -> None:
    assert bounds(None, None, tries)[-1] == 120


def test_a_longest_delay_below_the_usual_first_one_holds_from_the_first_on() -> None:
    backoff = Backoff(None, 0.2)
    assert all(backoff.next(120) <= 0.2 for _ in range(50))


def test_a_fixed_delay_does_not_grow_and_has_little_jitter() -> None:
    backoff = Backoff(5.0, None, fixed=True)
    delays = [backoff.next(120) for _ in range(200)]
    assert all(4.5 <= delay <= 5 for delay in delays)
    assert max(delays) - min(delays) > 0.25


def test_a_fixed_delay_has_a_default_and_is_no_busy_loop() -> None:
    usual, none = Backoff(None, None, Highest(), fixed=True), Backoff(0.0, 0.0, Highest(), fixed=True)
    assert [usual.next(120) for _ in range(3)] == [1, 1, 1]
    assert [none.next(120) for _ in range(3)] == [0.1, 0.1, 0.1]
