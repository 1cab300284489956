"""The rules for answers, on a run alone: no clock, no tasks, no bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feishu_trio import Ack, Retry
from feishu_trio.delivery import DONE, Origin, Outcome, Run, State
from feishu_trio.delivery.run import is_awaited
from feishu_trio.events import decode_event
from feishu_trio.router import Route

BROKEN = RuntimeError("broken")


async def handler(event: object) -> None:
    """Never called: a run does not run anything."""


class Waiting:
    """A delivery of which only the identity matters."""

    payload = b""
    message_id = trace_id = ""
    received_at = since = 0.0
    deadline = 2.5
    origin = Origin.ARRIVED
    succeeded: Mapping[str, bytes | None] = {}

    def handler_succeeded(self, name: str, result: bytes | None) -> None: ...
    def settle(self, outcome: Outcome, took: float, written: object = None) -> None: ...
    def give_up(self) -> None: ...


def route(name: str, **settings: Any) -> Route:
    return Route(handler=handler, name=name, patterns=("*",), **settings)


def make_run(event_type: str = "x", *, origin: Origin = Origin.ARRIVED, **before: bytes | None) -> Run:
    payload = b'{"schema":"2.0","header":{"event_id":"e","event_type":"%b"}}' % event_type.encode()
    is_callback = event_type == "card.action.trigger"
    run = Run(decode_event(payload), ("e",), None, origin, 0.0, 2.5, [Waiting()], {}, is_callback)
    run.recall(before)
    return run


def state_of(run: Run) -> State:
    """As a function, so that type checkers do not believe it stays what it was."""
    return run.state


A, B, C = route("a"), route("b"), route("c")


def test_an_event_is_done_when_all_its_handlers_are() -> None:
    run = make_run()
    assert state_of(run) is State.HELD
    assert run.begin([A, B], 2) is None
    assert state_of(run) is State.RUNNING
    assert run.pending == ["a", "b"]
    assert run.handler_succeeded("b", None, awaited=True) is None
    assert run.pending == ["a"]
    assert run.handler_succeeded("a", None, awaited=True) is DONE
    assert state_of(run) is State.ENDED
    assert run.outcome is DONE


def test_an_event_of_which_a_handler_failed_comes_again_for_that_one() -> None:
    run = make_run()
    run.begin([A, B], 2)
    assert run.handler_failed("a", BROKEN, awaited=True) is None
    outcome = run.handler_succeeded("b", b"1", awaited=True)
    assert outcome is not None
    assert (outcome.ok, outcome.again, outcome.is_fault, outcome.result) == (False, True, True, None)
    assert outcome.succeeded == {"b": b"1"}
    assert outcome.failed == {"a": BROKEN}
    assert run.has_failed


def test_what_runs_on_receipt_is_not_waited_for_and_never_runs_again() -> None:
    run = make_run()
    run.begin([A, B], 1, ["b"])
    assert run.handler_succeeded("a", None, awaited=True) is DONE
    assert state_of(run) is State.SETTLED
    assert run.handler_failed("b", BROKEN, awaited=False) is None
    assert state_of(run) is State.ENDED
    assert run.succeeded == {"a": None, "b": None}
    assert run.has_failed
    assert run.outcome is DONE


def test_nothing_to_wait_for_is_done_at_once() -> None:
    assert make_run().begin([], 0) is DONE
    on_receipt = make_run()
    assert on_receipt.begin([A], 0, ["a"]) is DONE
    assert state_of(on_receipt) is State.SETTLED


def test_a_handler_that_cannot_run_has_failed() -> None:
    run = make_run()
    outcome = run.begin([A], 0, broken={"a": BROKEN})
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
    run.begin([route(str(number)) for number in range(len(errors))], len(errors))
    outcome = None
    for number, error in enumerate(errors):
        outcome = run.handler_failed(str(number), error, awaited=True)
    assert outcome is not None
    assert (outcome.again, outcome.after, outcome.is_fault) == (True, after, is_fault)
    assert run.has_failed is is_fault


CARD = "card.action.trigger"


def test_the_first_result_in_order_of_registration_answers_a_callback_even_if_others_failed() -> None:
    run = make_run(CARD)
    run.begin([A, B, C], 3)
    run.handler_succeeded("c", b'"c"', awaited=True)
    run.handler_succeeded("b", b'"b"', awaited=True)
    outcome = run.handler_failed("a", BROKEN, awaited=True)
    assert outcome is not None
    assert (outcome.ok, outcome.result, outcome.again) == (True, b'"b"', False)


@pytest.mark.parametrize("error", [BROKEN, Retry(1)], ids=["error", "retry"])
@pytest.mark.parametrize("fallback", [b'"f"', None])
def test_a_callback_that_failed_is_answered_with_its_fallback_and_never_comes_again(
    error: Exception, fallback: bytes | None
) -> None:
    run = make_run(CARD)
    run.begin([route("a", fallback=fallback)], 1)
    outcome = run.handler_failed("a", error, awaited=True)
    assert outcome is not None
    assert (outcome.ok, outcome.result, outcome.again) == (fallback is not None, fallback, False)
    assert run.has_failed


def test_a_callback_is_answered_at_its_deadline_and_its_handlers_go_on() -> None:
    run = make_run(CARD)
    run.begin([route("a", fallback=b'"f"')], 1)
    assert run.become_late()
    outcome = run.expire()
    assert outcome is not None
    assert (outcome.ok, outcome.result) == (True, b'"f"')
    assert state_of(run) is State.RUNNING
    assert run.handler_succeeded("a", b'"late"', awaited=True) is None  # it has been answered
    assert state_of(run) is State.ENDED
    assert run.outcome is outcome


def test_a_callback_has_at_its_deadline_what_there_is() -> None:
    run = make_run(CARD)
    run.begin([A, route("b", fallback=b'"f"')], 2)
    run.handler_succeeded("a", b'"a"', awaited=True)
    outcome = run.expire()
    assert outcome is not None
    assert outcome.result == b'"a"'


def test_an_event_is_not_answered_at_its_deadline() -> None:
    run = make_run()
    run.begin([A], 1)
    assert run.become_late()
    assert not run.become_late()
    assert run.expire() is None
    assert run.handler_succeeded("a", None, awaited=True) is DONE


def test_refused_and_abandoned_events_come_again_without_a_fault() -> None:
    refused = make_run(b=b"1")
    outcome = refused.refuse()
    assert outcome is not None
    assert (outcome.again, outcome.is_fault, outcome.succeeded) == (True, False, {"b": b"1"})
    assert state_of(refused) is State.ENDED
    abandoned = make_run()
    abandoned.begin([A, B], 2)
    abandoned.handler_succeeded("a", None, awaited=True)
    outcome = abandoned.abandon()
    assert outcome is not None
    assert (outcome.again, outcome.is_fault, outcome.succeeded) == (True, False, {"a": None})
    assert abandoned.abandon() is None


def test_a_claimed_event_that_no_route_takes_is_not_done() -> None:
    outcome = make_run(origin=Origin.CLAIMED).begin([], 0, is_unrouted=True)
    assert outcome is not None
    assert (outcome.ok, outcome.is_unrouted) == (False, True)
    filtered = make_run(origin=Origin.CLAIMED).begin([], 0)
    assert filtered is not None
    assert (filtered.ok, filtered.is_unrouted) == (True, False)


def test_a_withdrawn_run_has_nobody_to_tell() -> None:
    run = make_run(origin=Origin.CLAIMED)
    run.begin([A], 1)
    run.withdraw()
    assert state_of(run) is State.WITHDRAWN
    assert run.deliveries == []


def test_so_many_deliveries_wait_and_the_oldest_makes_room() -> None:
    run = make_run()
    first = run.deliveries[0]
    others = [Waiting() for _ in range(8)]
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
    routes = [route(str(number)) for number in range(count)]
    outcomes = [
        run.begin(routes, sum(awaited), [str(number) for number in range(count) if not awaited[number]])
    ]
    at = data.draw(st.integers(0, count))
    for step, number in enumerate(data.draw(st.permutations(range(count)))):
        if step == at:
            outcomes.append(run.expire() if run.outcome is None else None)
        if fails[number]:
            outcomes.append(run.handler_failed(str(number), BROKEN, awaited=awaited[number]))
        else:
            outcomes.append(run.handler_succeeded(str(number), None, awaited=awaited[number]))
    (only,) = [outcome for outcome in outcomes if outcome is not None]
    assert run.outcome is only
    assert state_of(run) is State.ENDED
    failed = any(fails[number] and awaited[number] for number in range(count))
    if not is_callback:
        assert (only.ok, only.again) == (not failed, failed)
