"""Which handlers are to run for an event, where, and behind what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import Any, cast

import pytest
import trio

from feishu_trio import Ack, Event, PoolConfig, Retry, Router
from feishu_trio.delivery import Origin, Run
from feishu_trio.delivery.job import Job
from feishu_trio.delivery.plan import Planner, Storing
from feishu_trio.delivery.pools import Pools
from feishu_trio.telemetry import Telemetry

from .parts import handler, make_route, make_run

CARD = "card.action.trigger"


async def run_nothing(job: Job, threads: trio.CapacityLimiter) -> None:
    raise AssertionError("a plan runs nothing")


def make_pools() -> Pools:
    names = ("default", "callbacks", "messages", "slow")
    return Pools(dict.fromkeys(names, PoolConfig(concurrency=1, capacity=2)), run_nothing, Telemetry())


def make_planner(
    router: Router,
    ack: Ack = Ack.ON_SUCCESS,
    pools: Pools | None = None,
    *,
    is_single: bool = False,
    storing: Storing | None = None,
) -> Planner:
    return Planner(router, pools or make_pools(), ack, is_single=is_single, storing=storing)


def make_storing(*types: str) -> Storing:
    """Stores, and events of these types though no durable route takes them."""
    route = make_route("storing", store, ack=Ack.ON_SUCCESS)
    return Storing(route, lambda event_type: event_type in types, lambda keys: None)


async def store(event: object) -> None: ...


def on(router: Router, name: str, event_type: str = "x", **settings: Any) -> None:
    """Register a handler under this name."""

    async def handle(event: Event[Any]) -> None: ...

    router.on(event_type, name=name, **settings)(handle)


def taken_by(run: Run) -> list[str]:
    return [route.name for route in run.routes]


def names_of(jobs: list[Job]) -> list[str]:
    return [job.route.name for job in jobs]


def keys_of(jobs: list[Job]) -> dict[str, object]:
    return {job.route.name: job.key for job in jobs}


def test_handlers_run_in_order_of_registration_and_those_that_succeeded_before_do_not() -> None:
    router = Router()
    for name in ("a", "b", "c"):
        on(router, name)
    run = make_run(succeeded={"b": b"1"})
    jobs = make_planner(router).plan(run)
    assert taken_by(run) == ["a", "b", "c"]
    assert names_of(jobs) == ["a", "c"]
    assert all(job.run is run and job.argument is run.event for job in jobs)
    assert run.broken == {}


# Order


def test_a_chat_is_the_order_key_of_each_handler_and_none_is_none() -> None:
    router = Router()
    on(router, "a")
    on(router, "b")
    planner = make_planner(router)
    assert keys_of(planner.plan(make_run(chat="oc_1"))) == {"a": ("a", "oc_1"), "b": ("b", "oc_1")}
    assert keys_of(planner.plan(make_run())) == {"a": None, "b": None}


def test_a_routes_own_key_takes_the_place_of_the_chat() -> None:
    router = Router()
    on(router, "by id", order_by=lambda event: event.id)
    on(router, "unordered", order_by=lambda event: None)
    jobs = make_planner(router).plan(make_run(chat="oc_1"))
    assert keys_of(jobs) == {"by id": ("by id", "e"), "unordered": None}


def test_what_is_claimed_has_no_order_here() -> None:
    router = Router()
    on(router, "a", order_by=lambda event: 1 / 0)
    run = make_run(origin=Origin.CLAIMED)
    assert keys_of(make_planner(router, Ack.ON_STORED).plan(run)) == {"a": None}
    assert run.broken == {}


# Filters and key functions


def test_a_filter_that_declines_takes_its_route_out() -> None:
    router, run = Router(), make_run()
    on(router, "no", where=lambda event: 0)
    on(router, "yes", where=lambda event: "something true")
    assert names_of(make_planner(router).plan(run)) == ["yes"]
    assert taken_by(run) == ["yes"]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"where": lambda event: 1 / 0}, ZeroDivisionError),
        ({"order_by": lambda event: 1 / 0}, ZeroDivisionError),
        ({"order_by": lambda event: ["no key"]}, TypeError),
    ],
    ids=["filter raises", "key raises", "key is not hashable"],
)
def test_a_filter_or_key_function_that_raises_breaks_its_own_handler_alone(
    settings: dict[str, Any], error: type[Exception]
) -> None:
    router, run = Router(), make_run()
    on(router, "bad", **settings)
    on(router, "good")
    assert names_of(make_planner(router).plan(run)) == ["good"]
    assert {name: type(raised) for name, raised in run.broken.items()} == {"bad": error}
    assert taken_by(run) == ["bad", "good"], "it has failed, which is not to decline"


def test_a_filter_of_a_handler_that_succeeded_is_not_asked_again() -> None:
    router, run = Router(), make_run(succeeded={"a": None})
    on(router, "a", where=lambda event: 1 / 0)
    assert make_planner(router).plan(run) == []
    assert run.broken == {}


def test_a_run_that_is_planned_again_forgets_the_first_plan() -> None:
    router, run = Router(), make_run()
    on(router, "a", where=lambda event: 1 / 0)
    planner = make_planner(router)
    planner.plan(run)
    router.remove("a")
    assert planner.plan(run) == []
    assert (taken_by(run), run.broken, run.is_unrouted) == ([], {}, True)


def test_without_any_route_an_event_is_unrouted_with_filters_that_decline_it_is_not() -> None:
    router, declined, other = Router(), make_run(), make_run("other")
    on(router, "no", where=lambda event: False)
    planner = make_planner(router)
    assert planner.plan(declined) == planner.plan(other) == []
    assert taken_by(declined) == taken_by(other) == []
    assert (declined.is_unrouted, other.is_unrouted) == (False, True)


# One handler for each event


def test_the_one_handler_is_the_last_that_takes_the_event() -> None:
    router, run = Router(), make_run()
    on(router, "first")
    on(router, "second")
    on(router, "declines", where=lambda event: False)
    on(router, "other", "y")
    assert names_of(make_planner(router, is_single=True).plan(run)) == ["second"]
    assert taken_by(run) == ["second"]


def test_the_one_handler_that_succeeded_or_is_broken_is_not_replaced_by_another() -> None:
    router = Router()
    asked: list[Event[Any]] = []
    on(router, "first", where=asked.append)
    on(router, "second", where=lambda event: 1 / 0)
    planner = make_planner(router, is_single=True)
    done, broken = make_run(succeeded={"second": None}), make_run()
    assert planner.plan(done) == planner.plan(broken) == []
    assert taken_by(done) == taken_by(broken) == ["second"]
    assert list(broken.broken) == ["second"]
    assert asked == []


def test_the_one_handler_is_the_last_of_included_routers_too() -> None:
    router, inner, run = Router(), Router(), make_run()
    on(inner, "first")
    router.include(inner)
    on(router, "second")
    make_planner(router, is_single=True).plan(run)
    assert taken_by(run) == ["second"]


@pytest.mark.parametrize(
    ("acks", "at_arrival", "claimed"),
    [
        (["stored", "receipt"], ["receipt"], ["stored"]),
        (["receipt", "stored"], ["storing"], ["stored"]),
        (["stored", "success"], ["success"], ["stored"]),
        (["stored", "stored"], ["storing"], ["stored#2"]),
        (["stored", "receipt", "declines"], ["receipt"], ["stored"]),
        (["receipt", "stored", "declines"], ["storing"], ["stored"]),
        (["stored", "receipt", "stored declines"], ["receipt"], ["stored"]),
        (["stored declines"], [], []),
    ],
    ids=str,
)
def test_the_one_handler_is_found_before_anything_is_stored(
    acks: list[str], at_arrival: list[str], claimed: list[str]
) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "stored": {},
        "receipt": {"ack": Ack.ON_RECEIPT},
        "success": {"ack": Ack.ON_SUCCESS},
        "declines": {"ack": Ack.ON_RECEIPT, "where": lambda event: False},
        "stored declines": {"where": lambda event: False},
    }
    router = Router()
    for number, kind in enumerate(acks):
        on(router, f"{kind}#2" if kind in acks[:number] else kind, **kinds[kind])
    planner = make_planner(router, Ack.ON_STORED, is_single=True, storing=make_storing())
    run = make_run()
    assert names_of(planner.plan(run)) == taken_by(run) == at_arrival
    assert (run.is_unrouted, run.is_stored) == (False, at_arrival == ["storing"])
    run = make_run(origin=Origin.CLAIMED)
    assert names_of(planner.plan(run)) == taken_by(run) == claimed
    assert not run.is_unrouted


def test_the_one_handlers_filter_is_asked_once() -> None:
    router, asked = Router(), Counter[str]()
    on(router, "first", where=lambda event: asked.update(["first"]) or True)
    on(router, "second", where=lambda event: asked.update(["second"]))
    planner = make_planner(router, Ack.ON_STORED, is_single=True, storing=make_storing())
    assert names_of(planner.plan(make_run())) == ["storing"]
    assert asked == {"first": 1, "second": 1}


def test_a_filter_that_raises_is_the_failure_of_what_stores_for_the_one_handler() -> None:
    router, run = Router(), make_run()
    on(router, "first")
    on(router, "second", where=lambda event: 1 / 0)
    planner = make_planner(router, Ack.ON_STORED, is_single=True, storing=make_storing())
    assert planner.plan(run) == []
    assert list(run.broken) == ["storing"]


def test_what_is_to_be_stored_in_any_case_is_stored_beside_the_one_handler() -> None:
    router = Router()
    on(router, "stored", ack=Ack.ON_STORED)
    on(router, "receipt", ack=Ack.ON_RECEIPT)
    planner = make_planner(router, Ack.ON_STORED, is_single=True, storing=make_storing("x", "z"))
    assert names_of(planner.plan(make_run())) == ["receipt", "storing"]
    run = make_run("z")
    assert names_of(planner.plan(run)) == ["storing"]
    assert not run.is_unrouted
    run = make_run("y")
    assert planner.plan(run) == []
    assert run.is_unrouted


async def test_whoever_pulls_events_does_so_beside_the_one_handler() -> None:
    router, pools = Router(), make_pools()
    on(router, "first")
    on(router, "second")
    planner = make_planner(router, pools=pools, is_single=True)
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        for name in ("stream", "another"):
            pools.attach(make_route(name, patterns=("x",)), concurrency=1, capacity=1)
        run = make_run()
        assert sorted(names_of(planner.plan(run))) == ["another", "second", "stream"]
        assert taken_by(run) == ["second", "stream", "another"]


# What the outcome waits for


@pytest.mark.parametrize("ack", Ack)
def test_a_routes_own_ack_counts_and_else_the_sessions(ack: Ack) -> None:
    router = Router()
    on(router, "session's")
    on(router, "success", ack=Ack.ON_SUCCESS)
    on(router, "receipt", ack=Ack.ON_RECEIPT)
    jobs = make_planner(router, ack).plan(make_run())
    assert [job.is_awaited for job in jobs] == [ack is not Ack.ON_RECEIPT, True, False]


def test_the_outcome_of_a_callback_waits_for_all() -> None:
    router = Router()
    on(router, "receipt", CARD, ack=Ack.ON_RECEIPT)
    (job,) = make_planner(router, Ack.ON_RECEIPT).plan(make_run(CARD))
    assert job.is_awaited
    assert job.pool.name == "callbacks"


@pytest.mark.parametrize(
    ("ack", "durable"),
    [(Ack.ON_STORED, ["session's", "stored"]), (Ack.ON_SUCCESS, ["stored"]), (Ack.ON_RECEIPT, ["stored"])],
)
def test_of_a_claimed_event_only_durable_routes_run(ack: Ack, durable: list[str]) -> None:
    router, run = Router(), make_run(origin=Origin.CLAIMED)
    on(router, "session's")
    on(router, "success", ack=Ack.ON_SUCCESS)
    on(router, "receipt", ack=Ack.ON_RECEIPT)
    on(router, "stored", ack=Ack.ON_STORED)
    jobs = make_planner(router, ack).plan(run)
    assert taken_by(run) == names_of(jobs) == durable
    assert all(job.is_awaited for job in jobs)


def test_a_claimed_event_without_a_durable_route_is_unrouted() -> None:
    router, run = Router(), make_run(origin=Origin.CLAIMED)
    on(router, "success", ack=Ack.ON_SUCCESS)
    assert make_planner(router, Ack.ON_STORED).plan(run) == []
    assert run.is_unrouted


# Routes that were attached: what is pulled


async def test_whoever_pulls_events_takes_the_place_of_default_and_of_no_other() -> None:
    router, pools = Router(), make_pools()
    planner = make_planner(router, pools=pools)
    router.default(handler)
    on(router, "a", "y")
    pulled = make_route("pulled", patterns=("x", "y"))

    def run_by(event_type: str) -> list[str]:
        return names_of(planner.plan(make_run(event_type)))

    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        assert run_by("x") == ["handler"]
        pools.attach(pulled, concurrency=1, capacity=1)
        assert run_by("x") == ["pulled"]
        assert run_by("y") == ["a", "pulled"]
        assert run_by("z") == ["handler"]
        pools.detach(pulled)
        assert run_by("x") == ["handler"]


async def test_what_was_pulled_once_is_given_back_while_nobody_pulls_it() -> None:
    pools, run, other = make_pools(), make_run("x"), make_run("never pulled")
    planner = make_planner(Router(), pools=pools)
    pulled = make_route("pulled", patterns=("x",))
    async with trio.open_nursery() as nursery:
        pools.start(nursery)
        assert planner.plan(run) == []
        assert run.is_unrouted
        pools.attach(pulled, concurrency=1, capacity=1)
        pools.detach(pulled)
    (job,) = planner.plan(run)
    assert job.is_awaited
    assert (taken_by(run), run.is_unrouted) == (["(nobody)"], False)
    with pytest.raises(Retry):
        await cast("Awaitable[object]", job.route.handler(job.argument))
    assert planner.plan(other) == []
    assert other.is_unrouted


@pytest.mark.parametrize("origin", Origin)
def test_many_types_off_the_wire_cost_no_memory(origin: Origin) -> None:
    router = Router()
    on(router, "a", "x.*", ack=Ack.ON_STORED)
    planner = make_planner(router)
    known = planner._claimed if origin is Origin.CLAIMED else planner._arrived
    for event_type in (*(f"x.{number}" for number in range(3000)), "x." + "y" * 10_000, "x.1"):
        run = make_run(event_type, origin=origin)
        assert names_of(planner.plan(run)) == ["a"]
        assert len(known) <= 1024
    assert max(map(len, known)) < 300


@pytest.mark.parametrize("origin", Origin)
def test_a_plan_sees_every_change_of_the_handlers(origin: Origin) -> None:
    router, inner = Router(), Router()
    router.include(inner)
    planner = make_planner(router, Ack.ON_STORED)
    assert planner.plan(make_run(origin=origin)) == []
    on(inner, "a")
    version = planner.version
    assert names_of(planner.plan(make_run(origin=origin))) == ["a"]
    on(inner, "b")
    assert planner.version > version
    assert names_of(planner.plan(make_run(origin=origin))) == ["a", "b"]
    inner.remove(router.handlers("x")[0])
    assert names_of(planner.plan(make_run(origin=origin))) == ["b"]
