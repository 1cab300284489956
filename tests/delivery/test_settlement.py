"""What became of a run goes to every delivery that waits for it, and into the ledger."""

from __future__ import annotations

import pytest

from feishu_trio.delivery import DONE, Ended, Ledger, Outcome, Run
from feishu_trio.delivery.settlement import Settlement
from feishu_trio.telemetry import Telemetry

from .parts import NotedDelivery, begin, fail, make_route, make_run, succeed

RESULT = Outcome(True, b'{"toast":{}}', {"a": b'{"toast":{}}'})
AGAIN = Outcome(False, again=True)
BROKEN = RuntimeError("broken")


def make_settlement(now: float = 0.0) -> tuple[Settlement, Telemetry]:
    telemetry = Telemetry(lambda: now)
    return Settlement(Ledger(3600), telemetry, lambda: now), telemetry


def waiting(run: Run) -> list[NotedDelivery]:
    deliveries = [each for each in run.deliveries if isinstance(each, NotedDelivery)]
    assert len(deliveries) == len(run.deliveries)
    return deliveries


def remembered(settlement: Settlement) -> Ended | None:
    found = settlement.ledger.find((1,), 100.0)
    assert not isinstance(found, Run)
    return found


def begun(settlement: Settlement, run: Run) -> Run:
    settlement.ledger.begin(run.keys, run)
    settlement.deadlines.add(run)
    return run


def test_every_delivery_that_waits_is_settled_once_with_the_time_that_it_took() -> None:
    settlement, telemetry = make_settlement()
    run, later = begun(settlement, make_run()), NotedDelivery(since=3.0)
    settlement.join(run, later)
    first, _ = waiting(run)
    written: list[bool] = []
    settlement.settle(run, DONE, 5.0, lambda: written.append(True))
    assert (first.settled, later.settled) == ([(DONE, 5.0)], [(DONE, 2.0)])
    assert written == [True, True]
    assert run.deliveries == []
    assert list(settlement.deadlines) == []
    assert telemetry.counters.answered == 2
    settlement.settle(run, DONE, 6.0)
    assert len(first.settled) == len(later.settled) == 1


def test_one_that_joins_while_it_runs_waits_and_may_displace_the_oldest() -> None:
    settlement, telemetry = make_settlement()
    run = begun(settlement, make_run())
    first, *_ = waiting(run)
    later = [NotedDelivery() for _ in range(8)]
    for delivery in later:
        settlement.join(run, delivery)
    assert run.event.redelivered
    assert first.given_up == 1
    settlement.settle(run, DONE, 1.0)
    assert first.settled == []
    assert all((each.settled, each.given_up) == ([(DONE, 1.0)], 0) for each in later)
    assert telemetry.counters.answered == 8


@pytest.mark.parametrize("outcome", [DONE, RESULT, AGAIN], ids=["done", "result", "again"])
def test_one_that_joins_after_the_outcome_gets_the_same_at_once(outcome: Outcome) -> None:
    settlement, _ = make_settlement(now=9.0)
    run = begun(settlement, make_run())
    run.outcome = outcome
    late = NotedDelivery(since=7.0)
    settlement.join(run, late)
    assert late.settled == [(outcome, 2.0)]
    assert run.event.redelivered
    assert late not in run.deliveries


# The ledger


def test_a_done_event_is_remembered_with_its_answer_and_no_more() -> None:
    settlement, _ = make_settlement()
    run = begun(settlement, make_run())
    begin(run, [make_route("a")], 1)
    outcome = succeed(run, "a", b"1")
    assert outcome is not None
    settlement.record(run, 50.0)
    ended = remembered(settlement)
    assert ended is not None
    assert ended.at == 50.0
    assert ended.outcome is not None
    assert (ended.outcome.ok, ended.outcome.result) == (True, b"1")
    assert ended.outcome.succeeded == ended.succeeded == {}


def test_an_event_without_a_result_is_remembered_as_done() -> None:
    settlement, _ = make_settlement()
    run = begun(settlement, make_run())
    begin(run, [], 0)
    settlement.record(run, 50.0)
    ended = remembered(settlement)
    assert ended is not None
    assert ended.outcome is DONE


def test_of_a_failed_event_is_remembered_who_need_not_run_again() -> None:
    settlement, _ = make_settlement()
    run = begun(settlement, make_run())
    begin(run, [make_route("a"), make_route("b")], 2)
    succeed(run, "a", b"1")
    fail(run, "b", BROKEN)
    settlement.record(run, 50.0)
    ended = remembered(settlement)
    assert ended is not None
    assert (ended.outcome, ended.succeeded) == (None, {"a": b"1"})


def test_an_event_that_was_refused_is_as_if_it_had_never_come() -> None:
    settlement, _ = make_settlement()
    run = begun(settlement, make_run())
    settlement.forget(run, 50.0)
    assert remembered(settlement) is None


def test_who_succeeded_at_an_earlier_delivery_is_still_known_when_a_later_one_is_refused() -> None:
    settlement, _ = make_settlement()
    run = begun(settlement, make_run(succeeded={"a": b"1"}))
    settlement.forget(run, 50.0)
    ended = remembered(settlement)
    assert ended is not None
    assert (ended.outcome, ended.succeeded, ended.at) == (None, {"a": b"1"}, 50.0)
