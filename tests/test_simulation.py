"""The simulation of docs/many-machines.md: what must hold of any queue, and of this one."""

from __future__ import annotations

import pytest
from benchmarks.scale.simulation import Chats, Cost, Costs, Setup, percentile, simulate

US = 1e-6
COSTS = Costs(
    store=Cost(30 * US, 15 * US),
    claim=Cost(40 * US, 10 * US),
    done=Cost(30 * US, 10 * US),
    ticket=20 * US,
    receive=Cost(100 * US, 20 * US),
    work=Cost(100 * US, 20 * US),
    network=100 * US,
)
MANY = Chats(10_000, 0.3)


def test_as_many_are_in_handlers_as_come_while_one_runs() -> None:
    outcome = simulate(Setup(1_000, 4, 2, 4, 0.05, MANY, warm_up=1), COSTS)
    assert outcome.rate == pytest.approx(1_000, rel=0.1)
    assert outcome.in_handlers == pytest.approx(outcome.rate * 0.05, rel=0.1)
    assert percentile(outcome.answers, 50) < percentile(outcome.waits, 50) < 0.01


def test_a_server_does_no_more_than_its_processor_can() -> None:
    costs = Costs(store=Cost(0, 100 * US), claim=Cost(0, 60 * US), done=Cost(0, 40 * US), network=100 * US)
    working = simulate(Setup(0, 1, 0, 16, 0.001, MANY, backlog=15_000), costs)
    assert working.rate == pytest.approx(1 / (100 * US), rel=0.05)
    assert working.server == pytest.approx(1, abs=0.02)
    receiving = simulate(Setup(15_000, 0.5, 4, 0, 0.001, MANY), costs)
    assert len(receiving.answers) <= 0.5 / (100 * US) <= receiving.stored
    assert receiving.server == pytest.approx(1, abs=0.02)


def test_a_receiver_does_no_more_than_its_core_can_and_two_on_one_core_no_more_than_one() -> None:
    costs = Costs(Cost(), Cost(), Cost(), receive=Cost(0, 0.001))
    for receivers, cores, answered in ((1, None, 1_000), (2, None, 2_000), (2, 1, 1_000)):
        outcome = simulate(Setup(4_000, 1, receivers, 0, 0.001, MANY, cores=cores), costs)
        assert len(outcome.answers) <= answered
        assert outcome.receiver == pytest.approx(answered / receivers / 1_000, abs=0.01)


def test_calls_are_larger_where_the_server_is_busy() -> None:
    one_by_one = 1 / (COSTS.store.of(1) + COSTS.claim.of(1) + COSTS.done.of(1))
    quiet, busy = (simulate(Setup(rate, 0.5, 4, 8, 0.01, MANY), COSTS) for rate in (500, 12_000))
    assert quiet.stored / quiet.stores < 1.2
    assert busy.stored / busy.stores > 2
    assert busy.rate > 1.4 * one_by_one


def test_a_chat_alone_goes_from_one_event_to_the_next_at_its_own_pace() -> None:
    outcome = simulate(Setup(0, 60, 0, 2, 0.02, Chats(1, 0), backlog=5_000), COSTS)
    turn_around = (
        2 * COSTS.work.call
        + COSTS.work.event
        + 4 * COSTS.network
        + COSTS.done.of(1)
        + COSTS.ticket
        + COSTS.claim.of(1)
    )
    handler = outcome.in_handlers / outcome.rate
    assert handler == pytest.approx(0.02, rel=0.1)
    assert 1 / outcome.rate - handler == pytest.approx(turn_around, rel=0.1)


def test_the_busiest_chats_have_the_share_that_is_summed() -> None:
    chats = Chats(100, 0.8)
    shares = [chats.share(chat) for chat in range(100)]
    assert sum(shares) == pytest.approx(1)
    assert chats.share_of_busier(0.02) == pytest.approx(sum(share for share in shares if share > 0.02))
    assert chats.share_of_busier(1) == 0
