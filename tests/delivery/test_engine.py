"""The engine with a source of its own: what an inbox, or a webhook, would rely on."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import Ack, Event, PoolConfig, Retry, Router
from feishu_trio.delivery import Delivery, Engine, Ledger, Origin, Outcome
from feishu_trio.delivery.engine import HandlerMode
from feishu_trio.telemetry import Telemetry

USER = "contact.user.created_v3"


@attrs.define(eq=False)
class Stored:
    """A delivery as an inbox would hand it on."""

    payload: bytes
    origin: Origin = Origin.CLAIMED
    succeeded: Mapping[str, bytes | None] = attrs.field(factory=dict)
    deadline: float = math.inf
    received_at: float = 1.7e9
    since: float = attrs.field(factory=trio.current_time)
    message_id: str = ""
    trace_id: str = ""
    attempt: int = 1
    notes: None = None
    is_owned: bool = True
    successes: list[tuple[str, bytes | None]] = attrs.field(factory=list)
    had_last: bool = False
    """Whether a success was said to be the last."""
    outcome: Outcome | None = None
    settled: trio.Event = attrs.field(factory=trio.Event)

    async def begin(self, batch: Sequence[Delivery]) -> None:
        await trio.lowlevel.checkpoint()

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        assert self.outcome is None, "before it is settled"
        assert not self.had_last
        self.had_last = is_last
        self.successes.append((name, result))

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        assert self.outcome is None, "settled once"
        assert outcome.ok or not self.had_last
        self.outcome = outcome
        self.settled.set()

    def give_up(self) -> None:
        raise AssertionError("nobody waits for an answer here")


def stored(event_id: str = "e1", event_type: str = USER, **fields: Any) -> Stored:
    header = {"event_id": event_id, "event_type": event_type}
    return Stored(json.dumps({"schema": "2.0", "header": header, "event": {}}).encode(), **fields)


@attrs.define(eq=False)
class Source:
    """Brings nothing by itself, and notes what it is asked for."""

    calls: list[str] = attrs.field(factory=list)
    brought: list[Stored] = attrs.field(factory=list)

    async def run(self) -> None:
        self.calls.append("run")
        await trio.sleep_forever()

    def stop(self) -> None:
        self.calls.append("stop")

    async def wait_settled(self) -> None:
        for delivery in self.brought:
            await delivery.settled.wait()

    async def close(self) -> None:
        self.calls.append("close")


async def no_late_result(event: Event[Any], result: object) -> None:
    raise AssertionError("there are no callbacks here")


@asynccontextmanager
async def open_engine(
    router: Router,
    *sources: Source,
    ack: Ack = Ack.ON_STORED,
    capacity: int = 10,
    ready: bool = True,
    handler_mode: HandlerMode = "all",
) -> AsyncGenerator[Engine, None]:
    pool = PoolConfig(concurrency=2, capacity=capacity)
    engine = Engine(
        router,
        pools=dict.fromkeys(("default", "callbacks", "messages"), pool),
        ack=ack,
        ledger=Ledger(3600),
        telemetry=Telemetry(),
        late=no_late_result,
        handler_mode=handler_mode,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(engine.run, sources))
        if ready:
            engine.let_events_in()
        yield engine
        nursery.cancel_scope.cancel()


async def outcome_of(engine: Engine, delivery: Stored) -> Outcome:
    engine.accept_nowait(delivery)
    with trio.fail_after(60):
        await delivery.settled.wait()
    assert delivery.outcome is not None
    return delivery.outcome


async def test_a_claimed_event_runs_again_each_time_for_it_has_no_keys(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        seen.append(event.id)

    async with open_engine(router) as engine:
        for _ in range(3):
            outcome = await outcome_of(engine, stored("same"))
            assert outcome.ok
            assert outcome.succeeded == {handle.__qualname__: None}
    assert seen == ["same"] * 3


async def test_handlers_that_succeeded_before_do_not_run_again(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(USER, name="first")
    async def first(event: Event[Any]) -> None:
        seen.append("first")

    @router.on(USER, name="second")
    async def second(event: Event[Any]) -> str:
        seen.append("second")
        return "done"

    async with open_engine(router) as engine:
        outcome = await outcome_of(engine, stored(succeeded={"first": b"1"}))
        assert outcome.ok
        assert outcome.succeeded == {"first": b"1", "second": b'"done"'}
        assert (await outcome_of(engine, stored(succeeded={"first": None, "second": None}))).ok
    assert seen == ["second"]


@pytest.mark.parametrize("failing", [(), (0,), (1,)])
async def test_a_success_is_the_last_if_all_others_were_before_it(
    autojump_clock: MockClock, failing: tuple[int, ...]
) -> None:
    router, lasts = Router(), []

    async def handle(event: Event[Any], number: int) -> None:
        await trio.sleep(number)
        lasts.append(delivery.had_last)
        if number in failing:
            raise ValueError

    for number in range(2):
        router.on(USER, name=str(number))(partial(handle, number=number))
    async with open_engine(router) as engine:
        delivery = stored()
        outcome = await outcome_of(engine, delivery)
    assert (lasts, delivery.had_last, outcome.ok) == ([False, False], not failing, not failing)


async def test_each_success_is_reported_while_others_still_run(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER, name="quick")
    async def quick(event: Event[Any]) -> int:
        return 7

    @router.on(USER, name="slow")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(10)
        raise ValueError("too slow")

    async with open_engine(router) as engine:
        delivery = stored()
        engine.accept_nowait(delivery)
        await trio.sleep(5)
        assert delivery.successes == [("quick", b"7")]
        assert delivery.outcome is None
        await delivery.settled.wait()
        outcome = delivery.outcome
        assert outcome is not None
        assert (outcome.ok, outcome.again, outcome.is_fault, outcome.after) == (False, True, True, None)
        assert outcome.succeeded == {"quick": b"7"}
        assert [repr(error) for error in outcome.failed.values()] == ["ValueError('too slow')"]


async def test_a_wish_to_come_again_says_when(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        raise Retry(90, "the other side is down")

    async with open_engine(router) as engine:
        outcome = await outcome_of(engine, stored())
    assert (outcome.ok, outcome.again, outcome.is_fault, outcome.after) == (False, True, False, 90)


async def test_who_has_no_route_for_it_does_not_settle_it_as_done(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER, ack=Ack.ON_SUCCESS)
    async def at_arrival(event: Event[Any]) -> None:
        raise AssertionError("this route is not durable")

    @router.on("other", where=lambda event: False)
    async def never(event: Event[Any]) -> None:
        raise AssertionError("its filter declines everything")

    async with open_engine(router) as engine:
        outcome = await outcome_of(engine, stored())
        assert (outcome.ok, outcome.is_unrouted, outcome.again) == (False, True, False)
        declined = await outcome_of(engine, stored(event_type="other"))
        assert (declined.ok, declined.is_unrouted) == (True, False)


async def test_what_is_claimed_has_no_deadline_and_no_order_here(autojump_clock: MockClock) -> None:
    router, running = Router(), []

    @router.on(USER, order_by=lambda event: "one key")
    async def handle(event: Event[Any]) -> None:
        running.append(event.id)
        await trio.sleep(1000)

    async with open_engine(router) as engine:
        deliveries = [stored("a"), stored("b")]
        for delivery in deliveries:
            engine.accept_nowait(delivery)
        await wait_all_tasks_blocked()
        assert running == ["a", "b"]
        for delivery in deliveries:
            await delivery.settled.wait()
            assert delivery.outcome is not None
            assert delivery.outcome.ok


async def test_an_event_says_when_it_was_received_wherever_that_was(autojump_clock: MockClock) -> None:
    router, seen = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        seen.append(event.received_at.isoformat())

    async with open_engine(router) as engine:
        await outcome_of(engine, stored(received_at=1_700_000_000.25))
    assert seen == ["2023-11-14T22:13:20.250000+00:00"]


@pytest.mark.parametrize("ignores", [False, True], ids=["stops", "ends first"])
async def test_a_withdrawn_run_is_cancelled_and_others_go_on(
    autojump_clock: MockClock, ignores: bool
) -> None:
    router, ended = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        with trio.CancelScope(shield=ignores):
            try:
                await trio.sleep(1)
            finally:
                ended.append((event.id, trio.current_time()))

    async with open_engine(router) as engine:
        lost, kept, waits = stored("lost"), stored("kept"), stored("waits")
        for each in (lost, kept, waits):
            engine.accept_nowait(each)
        await trio.sleep(0.5)
        engine.withdraw(lost)
        engine.withdraw(lost)
        assert engine.in_flight == 2
        await kept.settled.wait()
        await waits.settled.wait()
        await trio.sleep(5)
        assert lost.outcome is None
        assert lost.successes == []
        assert engine.in_flight == 0
        # The worker that was cancelled goes on with other events.
        more = [stored(str(number)) for number in range(4)]
        for each in more:
            engine.accept_nowait(each)
        for each in more:
            await each.settled.wait()
        await engine.drain()
    assert ("lost", 1.0 if ignores else 0.5) in ended
    assert len(ended) == 7


async def test_a_run_that_is_withdrawn_while_it_waits_never_starts(autojump_clock: MockClock) -> None:
    router, started = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        await trio.sleep(1)

    async with open_engine(router) as engine:
        deliveries = [stored(str(number)) for number in range(3)]
        for each in deliveries:
            engine.accept_nowait(each)
        engine.withdraw(deliveries[2])
        await engine.drain()
    assert started == ["0", "1"]
    assert deliveries[2].outcome is None


async def test_what_its_source_has_lost_when_its_turn_comes_never_starts(autojump_clock: MockClock) -> None:
    router, started = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        await trio.sleep(1)

    async with open_engine(router) as engine:
        deliveries = [stored(str(number)) for number in range(4)]
        for each in deliveries:
            engine.accept_nowait(each)
        deliveries[1].is_owned = deliveries[3].is_owned = False
        await engine.drain()
        assert engine.in_flight == 0
    assert started == ["0", "2"]
    assert [each.outcome is None for each in deliveries] == [False, True, False, True]


async def test_a_full_pool_would_block_and_nothing_has_been_done(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(0.4)

    async with open_engine(router, ack=Ack.ON_SUCCESS, capacity=1) as engine:
        arrived = partial(stored, origin=Origin.ARRIVED)
        first = [arrived(str(number)) for number in range(3)]
        for each in first:
            engine.accept_nowait(each)
            await wait_all_tasks_blocked()
        late = arrived("late")
        with pytest.raises(trio.WouldBlock):
            engine.accept_nowait(late)
        assert late.outcome is None
        start = trio.current_time()
        await engine.accept(late)  # waits for room
        assert trio.current_time() - start == pytest.approx(0.4)
        await late.settled.wait()
        assert late.outcome is not None
        assert late.outcome.ok
        again = arrived("late")
        await engine.accept(again)  # it is known
        assert again.outcome is not None
        assert again.outcome.ok


async def test_who_is_cancelled_while_waiting_for_room_has_it_refused(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(100)

    async with open_engine(router, ack=Ack.ON_SUCCESS, capacity=1) as engine:
        for number in range(3):
            engine.accept_nowait(stored(str(number), origin=Origin.ARRIVED))
            await wait_all_tasks_blocked()
        late = stored("late", origin=Origin.ARRIVED)
        with trio.move_on_after(0.1):
            await engine.accept(late)
        assert late.outcome is not None
        assert (late.outcome.again, late.outcome.is_fault) == (True, False)


async def test_the_end_stops_all_sources_drains_and_closes_each_once_what_it_brought_is_settled(
    autojump_clock: MockClock,
) -> None:
    router, calls = Router(), list[str]()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        try:
            await trio.sleep(float(event.id))
            calls.append(f"{event.id} ended")
        except trio.Cancelled:
            calls.append(f"{event.id} cancelled")
            raise

    quick, slow = stored("1"), stored("1000")
    sources = Source(calls, [quick]), Source(calls, [slow])
    async with open_engine(router, *sources) as engine:
        for each in (quick, slow):
            engine.accept_nowait(each)
        await wait_all_tasks_blocked()
        await engine.end(timeout=10)
        assert trio.current_time() == 10
        assert quick.outcome is not None
        assert quick.outcome.ok
        assert slow.outcome is not None
        assert (slow.outcome.ok, slow.outcome.again, slow.outcome.is_fault) == (False, True, False)
    assert calls[:6] == ["run", "run", "stop", "stop", "1 ended", "close"]
    assert sorted(calls[6:]) == ["1000 cancelled", "close"]


async def test_a_source_with_what_nobody_settles_is_closed_all_the_same(autojump_clock: MockClock) -> None:
    calls = list[str]()
    async with open_engine(Router(), Source(calls, [stored("1")])) as engine:
        await wait_all_tasks_blocked()
        start = trio.current_time()
        with trio.fail_after(60):
            await engine.end(5)
        took = trio.current_time() - start
    assert calls == ["run", "stop", "close"]
    assert took == pytest.approx(2)


async def test_nothing_starts_any_more_once_the_engine_has_ended(autojump_clock: MockClock) -> None:
    router, started, ended = Router(), [], []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        await trio.sleep(0.5)
        ended.append(event.id)

    class Slow(Source):
        async def close(self) -> None:
            await trio.sleep(3)

    source = Slow()
    async with open_engine(router, source, capacity=1) as engine, trio.open_nursery() as nursery:
        deliveries = [stored(str(number), deadline=100.0) for number in range(3)]
        for each in deliveries:
            engine.accept_nowait(each)
            await wait_all_tasks_blocked()
        held = stored("held", deadline=100.0)
        nursery.start_soon(engine.accept, held)
        await wait_all_tasks_blocked()
        await engine.end(timeout=0.2)
        for each in (*deliveries, held):
            assert each.outcome is not None
            assert (each.outcome.again, each.outcome.is_fault) == (True, False)
            assert each.successes == []
    assert sorted(started) == ["0", "1"]
    assert ended == []


@pytest.mark.parametrize("lost", [("a",), ("a", "b")], ids=["one", "all"])
@pytest.mark.parametrize("running", [False, True], ids=["waits", "runs"])
async def test_of_a_batch_what_is_withdrawn_is_left_out(
    autojump_clock: MockClock, lost: tuple[str, ...], running: bool
) -> None:
    router, seen, ended = Router(), [], []

    @router.on("busy")
    async def busy(event: Event[Any]) -> None:
        await trio.sleep(5)

    @router.on_batch(USER, max_size=2, max_wait=1)
    async def handle(events: list[Event[Any]]) -> None:
        seen.append([event.id for event in events])
        await trio.sleep(10)
        ended.append(len(events))

    async with open_engine(router) as engine:
        if not running:
            for _ in range(2):
                engine.accept_nowait(stored(event_type="busy"))
        deliveries = {name: stored(name) for name in ("a", "b")}
        for each in deliveries.values():
            engine.accept_nowait(each)
        await trio.sleep(2)
        for name in lost:
            engine.withdraw(deliveries[name])
        await engine.drain()
        kept = [name for name in deliveries if name not in lost]
        assert [name for name, each in deliveries.items() if each.outcome is not None] == kept
        assert engine.in_flight == 0
    if running:
        assert seen == [["a", "b"]]
        assert ended == ([] if len(lost) == 2 else [2])
    else:
        assert seen == ([kept] if kept else [])


async def test_draining_waits_for_what_is_held_and_for_batches_that_gather_meanwhile(
    autojump_clock: MockClock,
) -> None:
    router, ended = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep(0.4)
        ended.append(event.id)

    @router.on_batch(USER, max_size=100, max_wait=50)
    async def gather(events: list[Event[Any]]) -> None:
        ended.append("batch")

    async with open_engine(router, ack=Ack.ON_SUCCESS, capacity=2) as engine, trio.open_nursery() as nursery:
        arrived = partial(stored, origin=Origin.ARRIVED)
        for number in range(3):
            await engine.accept(arrived(str(number)))
            await wait_all_tasks_blocked()
        nursery.start_soon(engine.accept, arrived("held"))
        await wait_all_tasks_blocked()
        await engine.drain()
        assert trio.current_time() < 10
        assert "held" in ended
        assert engine.in_flight == 0


async def test_what_has_no_deadline_makes_deadlines_no_slower(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        await trio.sleep_forever()

    async with open_engine(router, capacity=1000) as engine:
        for number in range(500):
            engine.accept_nowait(stored(str(number)))
        assert list(engine._settlement.deadlines) == []


async def test_draining_does_not_wait_for_a_batch_that_what_was_held_begins(
    autojump_clock: MockClock,
) -> None:
    router, ended = Router(), []

    @router.on("busy")
    async def busy(event: Event[Any]) -> None:
        await trio.sleep(0.4)

    @router.on_batch(USER, max_size=10, max_wait=3600)
    async def gather(events: list[Event[Any]]) -> None:
        ended.append(len(events))

    async with open_engine(router, ack=Ack.ON_SUCCESS, capacity=1) as engine, trio.open_nursery() as nursery:
        arrived = partial(stored, origin=Origin.ARRIVED)
        for number in range(3):
            engine.accept_nowait(arrived(str(number), "busy"))
            await wait_all_tasks_blocked()
        nursery.start_soon(engine.accept, arrived("held"))
        await wait_all_tasks_blocked()
        await engine.drain()
        assert trio.current_time() < 2
    assert ended == [1]


async def test_what_comes_once_the_engine_has_ended_is_to_come_again(autojump_clock: MockClock) -> None:
    router, started = Router(), []

    @router.on(USER, ack=Ack.ON_RECEIPT)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        with trio.CancelScope(shield=True):
            await trio.sleep(1)

    async with open_engine(router, ack=Ack.ON_SUCCESS) as engine:
        for number in range(4):
            engine.accept_nowait(stored(str(number), origin=Origin.ARRIVED))
        await wait_all_tasks_blocked()
        await engine.end(timeout=0)
        late = [stored("late", origin=Origin.ARRIVED), stored("later", origin=Origin.ARRIVED)]
        engine.accept_nowait(late[0])
        await engine.accept(late[1])
        await trio.sleep(5)
        assert [each.outcome is not None and each.outcome.again for each in late] == [True, True]
    assert sorted(started) == ["0", "1"]


async def test_what_a_source_brings_too_soon_waits_until_handlers_are_there(
    autojump_clock: MockClock,
) -> None:
    router, handled = Router(), []
    arrived = [stored(str(number), origin=Origin.ARRIVED) for number in range(3)]

    class Eager(Source):
        async def run(self) -> None:
            with pytest.raises(trio.WouldBlock):
                engine.accept_nowait(arrived[0])
            await engine.accept(arrived[0])
            await engine.accept(arrived[1])
            await trio.sleep_forever()

    engine = Engine(
        router,
        pools=dict.fromkeys(("default", "callbacks", "messages"), PoolConfig()),
        ack=Ack.ON_SUCCESS,
        ledger=Ledger(3600),
        telemetry=Telemetry(),
        late=no_late_result,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run, [Eager()])
        await trio.sleep(5)
        assert [each.outcome for each in arrived] == [None] * 3
        with trio.move_on_after(1):
            await engine.accept(arrived[2])  # who gives up waiting has it come again
        assert arrived[2].outcome is not None
        assert arrived[2].outcome.again

        @router.on(USER)
        async def handle(event: Event[Any]) -> None:
            handled.append(event.id)

        engine.let_events_in()
        await arrived[1].settled.wait()
        nursery.cancel_scope.cancel()
    assert sorted(handled) == ["0", "1"]


async def test_a_source_may_withdraw_a_run_as_it_hears_of_its_last_success(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        pass

    class Lost(Stored):
        def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
            engine.withdraw(self)

    async with open_engine(router) as engine:
        delivery = Lost(stored("e").payload)
        engine.accept_nowait(delivery)
        await wait_all_tasks_blocked()
        assert delivery.outcome is None
        assert engine.in_flight == 0
        other = stored("other")
        engine.accept_nowait(other)
        await wait_all_tasks_blocked()
        assert other.outcome is not None, "the worker lives on"
        assert other.outcome.ok


@pytest.mark.parametrize("steps", range(4))
async def test_what_is_claimed_as_the_engine_ends_is_settled_whenever_that_is(
    autojump_clock: MockClock, steps: int
) -> None:
    router, started = Router(), []

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        await trio.sleep(1)

    async with open_engine(router) as engine, trio.open_nursery() as nursery:
        delivery = stored("e")
        nursery.start_soon(engine.accept, delivery)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        engine.abandon()
        await trio.sleep(10)
        assert delivery.outcome is not None
        assert delivery.outcome.again
        assert list(engine._held) == []


@attrs.define(eq=False)
class Asked(Stored):
    """One whose source takes a while to say that it may begin, or says no."""

    may_begin: trio.Event = attrs.field(factory=trio.Event)
    refusal: Exception | None = None
    asked: list[Delivery] = attrs.field(factory=list)

    async def begin(self, batch: Sequence[Delivery]) -> None:
        self.asked.extend(batch)
        await self.may_begin.wait()
        if self.refusal is not None:
            raise self.refusal


def asked(*names: str, **fields: Any) -> list[Asked]:
    return [Asked(stored(name).payload, **fields) for name in names]


def batching(seen: list[list[str]]) -> Router:
    router = Router()

    @router.on_batch(USER, max_size=2, max_wait=60)
    async def handle(events: Sequence[Event[Any]]) -> None:
        seen.append([event.id for event in events])

    return router


async def test_the_source_of_a_claimed_batch_is_asked_once_before_it_begins(
    autojump_clock: MockClock,
) -> None:
    seen = list[list[str]]()
    async with open_engine(batching(seen)) as engine:
        batch = asked("a", "b")
        for each in batch:
            engine.accept_nowait(each)
        await wait_all_tasks_blocked()
        assert (batch[0].asked, batch[1].asked, seen) == (batch, [], [])
        batch[0].may_begin.set()
        await wait_all_tasks_blocked()
        assert seen == [["a", "b"]]
        assert all(each.outcome is not None and each.outcome.ok for each in batch)


async def test_a_claimed_batch_that_may_not_begin_comes_again_without_a_fault(
    autojump_clock: MockClock,
) -> None:
    seen = list[list[str]]()
    async with open_engine(batching(seen)) as engine:
        batch = asked("a", "b", refusal=Retry(reason="the disk is full"))
        for each in batch:
            engine.accept_nowait(each)
        batch[0].may_begin.set()
        await wait_all_tasks_blocked()
        for each in batch:
            assert each.outcome is not None
            assert (each.outcome.ok, each.outcome.again, each.outcome.is_fault) == (False, True, False)
    assert seen == []


async def test_what_is_withdrawn_while_the_source_is_asked_does_not_begin(autojump_clock: MockClock) -> None:
    seen = list[list[str]]()
    async with open_engine(batching(seen)) as engine:
        lost, kept = asked("a", "b")
        both = asked("c", "d")
        for each in (lost, kept, *both):
            engine.accept_nowait(each)
        await wait_all_tasks_blocked()
        for each in (lost, *both):
            engine.withdraw(each)
        for each in (lost, both[0]):
            each.may_begin.set()
        await wait_all_tasks_blocked()
        assert seen == [["b"]]
        assert kept.outcome is not None
        assert kept.outcome.ok
        assert [each.outcome for each in (lost, *both)] == [None] * 3
        await outcome_of(engine, stored("e", attempt=2))
        assert seen == [["b"], ["e"]], "the workers live on"


async def test_batches_hold_what_arrived_or_what_was_claimed(autojump_clock: MockClock) -> None:
    router, seen = Router(), list[list[str]]()

    @router.on_batch([USER, "card.action.trigger"], max_size=2, max_wait=60)
    async def handle(events: Sequence[Event[Any]]) -> None:
        seen.append([event.id for event in events])

    async with open_engine(router) as engine:
        claimed = asked("a", "b", refusal=Retry(reason="the disk is full"))
        for number, each in enumerate(claimed):
            engine.accept_nowait(each)
            engine.accept_nowait(stored(str(number), "card.action.trigger", origin=Origin.ARRIVED))
        claimed[0].may_begin.set()
        await wait_all_tasks_blocked()
    assert seen == [["0", "1"]], "no answer waits for an inbox"
