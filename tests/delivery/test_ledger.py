from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio.delivery import DONE, Ended, Ledger, Outcome

HOUR = 3600.0
RESULT = Outcome(True, b'{"toast":{}}')


def k(*names: str) -> tuple[int, ...]:
    """Keys that are the same in each run, and none of the numbers that are used here."""
    return tuple(-int.from_bytes(name.encode(), "big") for name in names)


def end(ledger: Ledger[str], keys: tuple[int, ...], now: float, outcome: Outcome | None) -> None:
    """Have an event end as `Settlement` does."""
    if outcome is DONE:
        ledger.done(keys, now)
    else:
        ledger.end(Ended(keys, now, outcome, {"h": b"{}"} if outcome is None else {}))


def test_what_runs_is_found_by_each_of_its_keys() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    assert ledger.find(k("a", "b"), 0) is None
    ledger.begin(k("a", "b"), "run")
    assert ledger.find(k("a"), 0) == ledger.find(k("x", "b"), 0) == "run"
    assert ledger.find(k("x"), 0) is None
    assert ledger.find((), 0) is None


@pytest.mark.parametrize("outcome", [None, DONE, RESULT], ids=["failed", "done", "result"])
def test_what_has_ended_is_found_for_the_window_and_then_forgotten(outcome: Outcome | None) -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    ledger.begin(k("a", "b"), "run")
    end(ledger, k("a", "b"), 10, outcome)
    for keys in k("a"), k("b"), k("x", "a"):
        found = ledger.find(keys, 10 + HOUR - 1)
        assert isinstance(found, Ended)
        assert found.outcome is outcome
    assert ledger.find(k("a"), 10 + HOUR) is None
    assert (len(ledger), ledger.bytes) == (0, 0), "it is forgotten, not only hidden"


def test_what_is_done_is_kept_for_a_quarter_of_the_window_longer_at_most() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    for second in range(0, 3 * 3600, 10):
        ledger.begin((second,), "run")
        ledger.done((second,), second)
        assert ledger.find((max(second - 3590, 0),), second) is not None
        assert len(ledger) <= 360 * 5 / 4 + 1


def test_note_08_the_default_window_outlasts_the_ladder() -> None:
    from feishu_trio import SessionConfig
    from feishu_trio.testing._gateway import LADDER

    ledger: Ledger[str] = Ledger(SessionConfig().dedupe_window)
    ledger.begin(k("a"), "run")
    ledger.done(k("a"), 0)
    each_try_times_out = 3.0 * (len(LADDER) + 1)
    assert ledger.find(k("a"), sum(LADDER) + each_try_times_out) is not None


def test_by_default_fifteen_events_a_second_are_remembered_for_eight_hours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from feishu_trio import SessionConfig

    def keys(number: int) -> tuple[int, ...]:
        return ledger.keys((f"event:{number:032}", f"message:{number:032}"))

    config = SessionConfig()
    ledger: Ledger[str] = Ledger(config.dedupe_window, max_bytes=config.dedupe_bytes)
    count = 15 * 8 * 3600
    tracemalloc.start()
    try:
        for number in range(count + 20_000):
            ledger.begin(keys(number), "run")
            ledger.done(keys(number), number / 15)
        memory, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    now = (count + 20_000) / 15
    assert all(ledger.find(keys(number), now) for number in range(20_000, count, 997))
    assert not ledger.find(keys(count + 20_000), now)
    assert peak <= config.dedupe_bytes
    assert memory == pytest.approx(ledger.bytes, rel=0.01)
    assert memory / (count + 20_000) < 130, "bytes an event"
    assert not caplog.records


@pytest.mark.parametrize("seed", ["0", "random"])
def test_two_ids_do_not_collide_for_whoever_knows_how_strings_are_hashed(seed: str) -> None:
    code = "from feishu_trio.delivery import Ledger; print(*Ledger(3600).keys(('a',)))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    one, other = (
        subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert one.strip().isdigit()
    assert one != other


def test_without_a_secret_hash_of_strings_there_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feishu_trio.delivery.ledger._HASH_IS_SECRET", False)
    one, other = Ledger[str](HOUR), Ledger[str](HOUR)
    names = ("a", "\ud800", "\ud801")
    assert one.keys(names) == one.keys(names)
    assert len({*one.keys(names), *other.keys(names)}) == 6


@given(st.lists(st.text(max_size=5), max_size=4))
def test_each_name_has_its_key(names: list[str]) -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    keys = ledger.keys(tuple(names))
    assert keys == tuple(ledger.keys((name,))[0] for name in names)
    assert len(set(keys)) == len(set(names))
    assert all(0 <= key < 1 << 60 for key in keys)


def test_a_failure_is_found_only_if_no_key_knows_better() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    failed = Ended(k("a", "m"), 0, None, {"good": None})
    ledger.begin(k("a", "m"), "first")
    ledger.end(failed)
    assert ledger.find(k("a", "m"), 1) is failed
    ledger.begin(k("b", "m"), "second")
    assert ledger.find(k("a", "m"), 1) == "second"
    ledger.done(k("b", "m"), 2)
    found = ledger.find(k("a", "m"), 3)
    assert isinstance(found, Ended)
    assert found.outcome is DONE


def test_a_window_of_zero_remembers_nothing() -> None:
    ledger: Ledger[str] = Ledger(0)
    ledger.begin(k("a"), "run")
    assert ledger.find(k("a"), 0) is None
    for outcome in (None, DONE, RESULT):
        end(ledger, k("a"), 0, outcome)
        assert ledger.find(k("a"), 0) is None
    assert (len(ledger), ledger.bytes) == (0, 0)


def test_what_does_not_run_after_all_is_forgotten() -> None:
    ledger: Ledger[str] = Ledger(HOUR)
    ledger.begin(k("a", "b"), "run")
    ledger.forget(k("a", "b"))
    assert (ledger.find(k("a"), 0), len(ledger), ledger.bytes) == (None, 0, 0)


def test_beyond_its_bound_the_oldest_go_and_one_warning_says_what_to_set(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=1 << 20)
    with caplog.at_level(logging.WARNING):
        for number in range(30_000):
            ledger.begin((number,), "run")
            ledger.done((number,), number / 100)
            assert ledger.bytes <= 1 << 20
    assert ledger.find((0,), 300) is None
    assert ledger.find((20_000,), 300) is not None
    (record,) = caplog.records
    words = re.fullmatch(
        r"the ledger is full: events are remembered for (\d+) s only, not for the 3600 s of dedupe_window; "
        r"as many as come now would need a dedupe_bytes of (\d+) \(it is 1048576\)",
        record.getMessage(),
    )
    assert words is not None
    assert 90 < int(words[1]) < 200

    caplog.clear()
    ledger = Ledger(HOUR, max_bytes=int(words[2]))
    for number in range(int(HOUR) * 100):
        ledger.done((number,), number / 100)
    assert ledger.find((0,), HOUR - 1) is not None
    assert not caplog.records


@pytest.mark.parametrize("outcome", [DONE, RESULT], ids=["done", "result"])
def test_what_is_to_come_again_is_kept_before_what_is_done(outcome: Outcome) -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=1 << 20)
    failed = Ended(k("a", "b"), 0, None, {"good": None})
    ledger.begin(failed.keys, "run")
    ledger.end(failed)
    for number in range(40_000):
        ledger.begin((number,), "run")
        end(ledger, (number,), number / 100, outcome)
    assert ledger.find((0,), 400) is None
    assert ledger.find(k("b"), 400) is failed


def test_what_is_to_come_again_is_bounded_too() -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=1 << 20)
    ledger.done(k("done"), 0)
    for number in range(4000):
        ledger.begin((number,), "run")
        end(ledger, (number,), number / 100, None)
        assert ledger.bytes <= 1 << 20
    assert ledger.find((0,), 40) is None
    assert ledger.find((3999,), 40) is not None


def test_a_large_result_counts_by_its_size() -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=20_000)
    for number in range(9):
        ledger.begin((number,), "run")
        ledger.end(Ended((number,), number, None, {"handler": b"x" * 3000}))
    assert len(ledger) == 5
    assert ledger.bytes <= 20_000


_keys = st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple)


@given(
    st.lists(
        st.tuples(_keys, st.sampled_from([None, DONE, RESULT]), st.integers(0, 40), st.booleans()),
        max_size=40,
    )
)
def test_bytes_and_entries_stay_true(story: list[tuple[tuple[int, ...], Outcome | None, int, bool]]) -> None:
    ledger: Ledger[str] = Ledger(60, max_bytes=4000)
    now = 0.0
    for keys, outcome, seconds, runs in story:
        now += seconds
        known = ledger.find(keys, now)
        if known is None or (isinstance(known, Ended) and known.outcome is None):
            ledger.begin(keys, "run")
            if runs:
                end(ledger, keys, now, outcome)
                assert ledger.find(keys, now) is not None
            else:
                ledger.forget(keys)
        assert ledger.bytes <= 4000
        records = {id(each): each for each in ledger._known.values() if isinstance(each, Ended)}
        assert sum(each.cost() for each in records.values()) == ledger._record_bytes
    assert ledger.find(k("z"), now + 76) is None
    assert (len(ledger), ledger.bytes) == (0, 0), "all has expired"


def test_failures_that_were_replaced_push_nothing_out() -> None:
    ledger: Ledger[str] = Ledger(HOUR, max_bytes=4000)
    ledger.begin(k("good"), "run")
    ledger.done(k("good"), 0)
    for _ in range(5000):
        ledger.begin(k("bad", "its message"), "run")
        ledger.end(Ended(k("bad", "its message"), 0, None, {"handler": None}))
    assert ledger.find(k("good"), 1) is not None
    assert len(ledger) == 3
    assert ledger.bytes <= 4000
    assert len(ledger._failed) <= 3000
