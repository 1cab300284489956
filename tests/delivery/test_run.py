"""The rules for answers, on a run alone: no clock, no tasks, no bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import Ack, Retry
from feishu_trio.delivery import DONE, Origin, Run, State
from feishu_trio.delivery.run import is_awaited

from .parts import NotedDelivery, begin, make_route, make_run

BROKEN = RuntimeError("broken")


def state_of(run: Run) -> State:
    """As a function, so that type checkers do not believe it stays what it was."""
    return run.state


A, B, C = make_route("a"), make_route("b"), make_route("c")


def test_an_event_is_done_when_all_its_handlers_are() -> None:
    run = make_run()
    assert state_of(run) is State.HELD
    assert begin(run, [A, B], 2) is None
    assert state_of(run) is State.RUNNING
    assert run.pending == ["a", "b"]
    assert run.handler_ended("b", True, None) is None
    assert run.pending == ["a"]
    assert run.handler_ended("a", True, None) is DONE
    assert state_of(run) is State.ENDED
    assert run.outcome is DONE


def test_an_event_of_which_a_handler_failed_comes_again_for_that_one() -> None:
    run = make_run()
    begin(run, [A, B], 2)
    assert run.handler_ended("a", True, None, BROKEN) is None
    outcome = run.handler_ended("b", True, b"1")
    assert outcome is not None
    assert (outcome.ok, outcome.again, outcome.is_fault, outcome.result) == (False, True, True, None)
    assert outcome.succeeded == {"b": b"1"}
    assert outcome.failed == {"a": BROKEN}
    assert run.has_failed


def test_what_runs_on_receipt_is_not_waited_for_and_never_runs_again() -> None:
    run = make_run()
    begin(run, [A, B], 1, ["b"])
    assert run.handler_ended("a", True, None) is DONE
    assert state_of(run) is State.SETTLED
    assert run.handler_ended("b", False, None, BROKEN) is None
    assert state_of(run) is State.ENDED
    assert run.succeeded == {"a": None, "b": None}
    assert run.has_failed
    assert run.outcome is DONE


def test_nothing_to_wait_for_is_done_at_once() -> None:
    assert begin(make_run(), [], 0) is DONE
    on_receipt = make_run()
    assert begin(on_receipt, [A], 0, ["a"]) is DONE
    assert state_of(on_receipt) is State.SETTLED


def test_a_handler_that_cannot_run_has_failed() -> None:
    run = make_run()
    outcome = begin(run, [A], 0, broken={"a": BROKEN})
    assert outcome is not None
    assert outcome.again
    assert outcome.failed == {"a": BROKEN}
    assert state_of(run) is State.ENDED


@pytest.mark.parametrize(
    ("errors", "after", "is_fault"),
    [
        ([Retry(5, "later")], 5, False),
        ([Retry()], None, False),
        ([Retry(5), Retry(70), Retry()], 70, False),
        ([ExceptionGroup("", [Retry(1), ExceptionGroup("", [Retry(9)])])], 9, False),
        ([Retry(5), BROKEN], 5, True),
        ([ExceptionGroup("", [Retry(5), BROKEN])], None, True),
        ([BROKEN], None, True),
    ],
)
def test_a_wish_to_come_again_is_no_failed_attempt(
    errors: list[Exception], after: float | None, is_fault: bool
) -> None:
    run = make_run()
    begin(run, [make_route(str(number)) for number in range(len(errors))], len(errors))
    outcome = None
    for number, error in enumerate(errors):
        outcome = run.handler_ended(str(number), True, None, error)
    assert outcome is not None
    assert (outcome.again, outcome.after, outcome.is_fault) == (True, after, is_fault)
    assert run.has_failed is is_fault


CARD = "card.action.trigger"


def test_the_first_result_in_order_of_registration_answers_a_callback_even_if_others_failed() -> None:
    run = make_run(CARD)
    begin(run, [A, B, C], 3)
    run.handler_ended("c", True, b'"c"')
    run.handler_ended("b", True, b'"b"')
    outcome = run.handler_ended("a", True, None, BROKEN)
    assert outcome is not None
    assert (outcome.ok, outcome.result, outcome.again) == (True, b'"b"', False)


@pytest.mark.parametrize("error", [BROKEN, Retry(1)], ids=["error", "retry"])
@pytest.mark.parametrize("fallback", [b'"f"', None])
def test_a_callback_that_failed_is_answered_with_its_fallback_and_never_comes_again(
    error: Exception, fallback: bytes | None
) -> None:
    run = make_run(CARD)
    begin(run, [make_route("a", fallback=fallback)], 1)
    outcome = run.handler_ended("a", True, None, error)
    assert outcome is not None
    assert (outcome.ok, outcome.result, outcome.again) == (fallback is not None, fallback, False)
    assert run.has_failed


def test_a_callback_is_answered_at_its_deadline_and_its_handlers_go_on() -> None:
    run = make_run(CARD)
    begin(run, [make_route("a", fallback=b'"f"')], 1)
    assert run.become_late()
    outcome = run.expire()
    assert outcome is not None
    assert (outcome.ok, outcome.result) == (True, b'"f"')
    assert state_of(run) is State.RUNNING
    assert run.handler_ended("a", True, b'"late"') is None  # it has been answered
    assert state_of(run) is State.ENDED
    assert run.outcome is outcome


def test_a_callback_has_at_its_deadline_what_there_is() -> None:
    run = make_run(CARD)
    begin(run, [A, make_route("b", fallback=b'"f"')], 2)
    run.handler_ended("a", True, b'"a"')
    outcome = run.expire()
    assert outcome is not None
    assert outcome.result == b'"a"'


def test_an_event_is_not_answered_at_its_deadline() -> None:
    run = make_run()
    begin(run, [A], 1)
    assert run.become_late()
    assert not run.become_late()
    assert run.expire() is None
    assert run.handler_ended("a", True, None) is DONE


def test_refused_and_abandoned_events_come_again_without_a_fault() -> None:
    refused = make_run(succeeded={"b": b"1"})
    outcome = refused.refuse()
    assert outcome is not None
    assert (outcome.again, outcome.is_fault, outcome.succeeded) == (True, False, {"b": b"1"})
    assert state_of(refused) is State.ENDED
    abandoned = make_run()
    begin(abandoned, [A, B], 2)
    abandoned.handler_ended("a", True, None)
    outcome = abandoned.abandon()
    assert outcome is not None
    assert (outcome.again, outcome.is_fault, outcome.succeeded) == (True, False, {"a": None})
    assert abandoned.abandon() is None


def test_a_claimed_event_that_no_route_takes_is_not_done() -> None:
    outcome = begin(make_run(origin=Origin.CLAIMED), [], 0, is_unrouted=True)
    assert outcome is not None
    assert (outcome.ok, outcome.is_unrouted) == (False, True)
    filtered = begin(make_run(origin=Origin.CLAIMED), [], 0)
    assert filtered is not None
    assert (filtered.ok, filtered.is_unrouted) == (True, False)


def test_a_withdrawn_run_has_no_deliveries_left() -> None:
    run = make_run(origin=Origin.CLAIMED)
    begin(run, [A], 1)
    run.withdraw()
    assert state_of(run) is State.WITHDRAWN
    assert run.deliveries == []


def test_so_many_deliveries_wait_and_the_oldest_makes_room() -> None:
    run = make_run()
    first = run.deliveries[0]
    others = [NotedDelivery() for _ in range(8)]
    displaced = [run.join(each) for each in others]
    assert displaced == [*[None] * 7, first]
    assert run.deliveries == others
    assert run.event.redelivered


def test_what_the_outcome_waits_for() -> None:
    assert [ack for ack in Ack if not is_awaited(ack)] == [Ack.ON_RECEIPT]


@given(st.data())
def test_in_whatever_order_handlers_end_there_is_one_outcome(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 6))
    awaited = [data.draw(st.booleans()) for _ in range(count)]
    fails = [data.draw(st.booleans()) for _ in range(count)]
    is_callback = data.draw(st.booleans()) and all(awaited)
    run = make_run(CARD if is_callback else "x")
    routes = [make_route(str(number)) for number in range(count)]
    outcomes = [
        begin(run, routes, sum(awaited), [str(number) for number in range(count) if not awaited[number]])
    ]
    at = data.draw(st.integers(0, count))
    for step, number in enumerate(data.draw(st.permutations(range(count)))):
        if step == at:
            outcomes.append(run.expire() if run.outcome is None else None)
        if fails[number]:
            outcomes.append(run.handler_ended(str(number), awaited[number], None, BROKEN))
        else:
            outcomes.append(run.handler_ended(str(number), awaited[number], None))
    (only,) = [outcome for outcome in outcomes if outcome is not None]
    assert run.outcome is only
    assert state_of(run) is State.ENDED
    failed = any(fails[number] and awaited[number] for number in range(count))
    if not is_callback:
        assert (only.ok, only.again) == (not failed, failed)
