from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.delivery import DONE, Ended, Ledger, Outcome

HOUR = 3600.0
RESULT = Outcome(True, b'{"toast":{}}')


def test_what_runs_is_found_by_each_of_its_keys() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    assert ledger.find(("a", "b"), 0) is None
    ledger.begin(("a", "b"), "run")
    assert ledger.find(("a",), 0) == ledger.find(("x", "b"), 0) == "run"
    assert ledger.find(("x",), 0) is None
    assert ledger.find((), 0) is None


def test_what_has_ended_is_found_for_the_window_and_then_forgotten() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    ledger.begin(("a",), "run")
    ended = Ended(("a",), 10, DONE)
    ledger.end(ended)
    assert ledger.find(("a",), 10 + HOUR - 1) is ended
    assert ledger.find(("a",), 10 + HOUR) is None
    ledger.begin(("b",), "run")
    ledger.end(Ended(("b",), 10 + HOUR, DONE))
    assert len(ledger) == 1, "the old one is forgotten, not only hidden"


def test_note_08_the_default_window_outlasts_the_ladder() -> None:
    from feishu_trio import SessionConfig
    from feishu_trio.testing._gateway import LADDER

    ledger: Ledger[str] = Ledger(SessionConfig().dedupe_window)
    ledger.begin(("a",), "run")
    ledger.end(Ended(("a",), 0, DONE))
    each_try_times_out = 3.0 * (len(LADDER) + 1)
    assert ledger.find(("a",), sum(LADDER) + each_try_times_out) is not None


def test_a_failure_is_found_only_if_no_key_knows_better() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    failed = Ended(("a", "m"), 0, None, {"good": None})
    ledger.begin(("a", "m"), "first")
    ledger.end(failed)
    assert ledger.find(("a", "m"), 1) is failed
    ledger.begin(("b", "m"), "second")
    assert ledger.find(("a", "m"), 1) == "second"
    done = Ended(("b", "m"), 2, DONE)
    ledger.end(done)
    assert ledger.find(("a", "m"), 3) is done


def test_a_window_of_zero_remembers_nothing() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.begin(("a",), "run")
    assert ledger.find(("a",), 0) is None
    ledger.end(Ended(("a",), 0, DONE))
    assert ledger.find(("a",), 0) is None
    assert (len(ledger), ledger.bytes) == (0, 0)


def test_what_does_not_run_after_all_is_forgotten() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    ledger.begin(("a", "b"), "run")
    ledger.forget(("a", "b"))
    assert (ledger.find(("a",), 0), len(ledger), ledger.bytes) == (None, 0, 0)


def test_beyond_its_bounds_the_oldest_go_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_entries=10)
    with caplog.at_level(logging.WARNING):
        for number in range(25):
            ledger.begin((str(number),), "run")
            ledger.end(Ended((str(number),), number, DONE))
    assert len(ledger) == 10
    assert ledger.find(("14",), 25) is None
    assert ledger.find(("15",), 25) is not None
    assert [record.getMessage() for record in caplog.records] == [
        f"the ledger is full (11 keys, {11 * (300 + 1) + 1} bytes): "
        "events are remembered for 10 s only, not for the 3600 s of dedupe_window"
    ]


def test_a_large_result_counts_by_its_size() -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=10_000)
    for number in range(9):
        ledger.begin((str(number),), "run")
        ledger.end(Ended((str(number),), number, None, {"handler": b"x" * 3000}))
    assert len(ledger) == 3
    assert ledger.bytes <= 10_000


_keys = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True).map(tuple)


@given(
    st.lists(
        st.tuples(_keys, st.sampled_from([None, DONE, RESULT]), st.integers(0, 40), st.booleans()),
        max_size=40,
    )
)
def test_bytes_and_entries_stay_true(story: list[tuple[tuple[str, ...], Outcome | None, int, bool]]) -> None:
    ledger: Ledger[str] = Ledger(60, max_entries=4, max_bytes=1400)
    now = 0.0
    for keys, answer, seconds, runs in story:
        now += seconds
        if ledger.find(keys, now) is None:
            ledger.begin(keys, "run")
            if runs:
                ledger.end(Ended(keys, now, answer, {"h": b"{}"} if answer is None else {}))
            else:
                ledger.forget(keys)
        assert ledger.bytes <= 1400
        assert len(ledger) <= 4
    ledger.begin(("z",), "run")
    ledger.end(Ended(("z",), now + 61, DONE))
    assert (len(ledger), ledger.bytes) == (1, 301), "all else has expired"


def test_failures_that_were_replaced_push_nothing_out() -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=2000)
    ledger.begin(("good",), "run")
    ledger.end(Ended(("good",), 0, DONE))
    for _ in range(5000):
        ledger.begin(("bad", "its message"), "run")
        ledger.end(Ended(("bad", "its message"), 0, None, {"handler": None}))
    assert ledger.find(("good",), 1) is not None
    assert len(ledger) == 3
    assert ledger.bytes <= 2000
    assert len(ledger._ended) <= 3000
