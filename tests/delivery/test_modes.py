"""Which of an event's handlers run, and whether side by side: `handler_mode`, through a gateway and a session."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import Ack, CardAnswer, Event, MemoryInbox, PoolConfig, Router, Toast

from .scene import CARD, USER, open_scene
from .test_engine import open_engine, stored

Mode = Literal["all", "single", "sequential"]
Log = list[tuple[str, str, float]]  # handler, event, and when it began


def sleeper(router: Router, log: Log, name: str, seconds: float, what: str = USER, **options: Any) -> None:
    """Register a handler that takes so long."""

    @router.on(what, name=name, **options)
    async def handle(event: Event[Any]) -> None:
        log.append((name, event.id, trio.current_time()))
        await trio.sleep(seconds)


@pytest.mark.parametrize(
    ("mode", "began"),
    [
        ("all", {"a": 0, "b": 0, "c": 0}),
        ("sequential", {"a": 0, "b": 1, "c": 1.5}),
        ("single", {"c": 0}),
    ],
)
async def test_what_runs_when(autojump_clock: MockClock, mode: Mode, began: dict[str, float]) -> None:
    router, log = Router(), Log()
    for name, seconds in (("a", 1), ("b", 0.5), ("c", 0.25)):
        sleeper(router, log, name, seconds)
    async with open_scene(router, handler_mode=mode) as scene:
        start = trio.current_time()
        answer = await (await scene.gateway.push(USER, event_id="e")).settled()
        assert answer.code == 200
    assert {name: at - start for name, _, at in log} == began
    assert sorted(name for name, _, _ in log) == sorted(began)


async def test_in_sequence_a_failure_does_not_stop_the_next_and_only_what_failed_runs_again(
    autojump_clock: MockClock,
) -> None:
    router, runs = Router(), []

    @router.on(USER)
    async def first(event: Event[Any]) -> None:
        runs.append("first")

    @router.on(USER)
    async def second(event: Event[Any]) -> None:
        runs.append("second")
        if runs.count("second") == 1:
            raise ValueError("once")

    @router.on(USER)
    async def third(event: Event[Any]) -> None:
        runs.append("third")

    async with open_scene(router, handler_mode="sequential", gateway={"ladder": (15,)}) as scene:
        push = await scene.gateway.push(USER)
        await trio.sleep(1)
        assert runs == ["first", "second", "third"]
        assert (await push.settled()).code == 200
        assert runs[3:] == ["second"]
        stats = scene.session.stats()
        assert (stats.handled, stats.failed, stats.in_flight) == (1, 1, 0)


async def test_in_sequence_events_are_side_by_side(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    sleeper(router, log, "a", 1)
    sleeper(router, log, "b", 1)
    async with open_scene(router, handler_mode="sequential") as scene:
        start = trio.current_time()
        pushes = [await scene.gateway.push(USER, event_id=f"e{number}") for number in range(20)]
        for push in pushes:
            await push.settled()
    assert {at - start for name, _, at in log if name == "a"} == {0}
    assert {at - start for name, _, at in log if name == "b"} == {1}
    assert len(log) == 40


async def test_in_sequence_each_handler_keeps_the_order_of_a_key(autojump_clock: MockClock) -> None:
    # `a` has no order and is slow with the first event: `b` must wait for it, and with it the next event's.
    router, ran = Router(), []

    @router.on(USER, order_by=lambda event: None)
    async def a(event: Event[Any]) -> None:
        await trio.sleep(2 if event.id == "e1" else 0)
        ran.append(("a", event.id))

    @router.on(USER, order_by=lambda event: "one key")
    async def b(event: Event[Any]) -> None:
        ran.append(("b", event.id))

    async with open_scene(router, handler_mode="sequential", concurrency=2) as scene:
        pushes = [await scene.gateway.push(USER, event_id=each) for each in ("e1", "e2", "e3")]
        for push in pushes:
            await push.settled()
    assert [each for each in ran if each[0] == "b"] == [("b", "e1"), ("b", "e2"), ("b", "e3")]
    for each in ("e1", "e2", "e3"):
        assert ran.index(("a", each)) < ran.index(("b", each))


async def test_in_sequence_over_pools_with_one_worker_each(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    sleeper(router, log, "a", 0.1)
    sleeper(router, log, "b", 0.1, pool="other", order_by=lambda event: "one key")
    sleeper(router, log, "c", 0.1, order_by=lambda event: "one key")
    pools = {"other": PoolConfig(concurrency=1, capacity=3)}
    async with open_scene(
        router, handler_mode="sequential", concurrency=1, queue_capacity=3, pools=pools
    ) as scene:
        pushes = [await scene.gateway.push(USER, event_id=f"e{number}") for number in range(10)]
        for push in pushes:
            assert (await push.settled()).code == 200
        assert scene.session.stats().queue_depth == 0
    for number in range(10):
        assert [name for name, event, _ in log if event == f"e{number}"] == ["a", "b", "c"]


async def test_in_sequence_a_batch_is_filled_in_its_turn(autojump_clock: MockClock) -> None:
    router, ran = Router(), []

    @router.on(USER)
    async def first(event: Event[Any]) -> None:
        await trio.sleep(0.5)
        ran.append("first")

    @router.on_batch(USER, max_size=2, max_wait=60)
    async def batch(events: list[Event[Any]]) -> None:
        ran.append(f"batch of {len(events)}")

    @router.on(USER)
    async def last(event: Event[Any]) -> None:
        ran.append("last")

    async with open_scene(router, handler_mode="sequential") as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(2)]
        for push in pushes:
            assert (await push.settled()).code == 200
        assert ran == ["first", "first", "batch of 2", "last", "last"]
        ran.clear()
        await scene.gateway.push(USER)
        await wait_all_tasks_blocked()
    assert ran == ["first", "batch of 1", "last"], "leaving does not wait for more"


async def test_in_sequence_the_first_result_is_a_callbacks_answer(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(CARD)
    async def fails(event: Event[Any]) -> None:
        raise ValueError("nothing for you")

    @router.on(CARD)
    async def answers(event: Event[Any]) -> CardAnswer:
        return CardAnswer(Toast("saved"))

    async with open_scene(router, handler_mode="sequential") as scene:
        answer = await (await scene.gateway.push(CARD)).settled()
        assert answer.data == {"toast": {"content": "saved", "type": "info"}}


async def test_in_sequence_what_is_withdrawn_gives_up_its_turn(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    sleeper(router, log, "a", 10)
    sleeper(router, log, "b", 1)
    async with open_engine(router, handler_mode="sequential") as engine:
        first = stored("e1")
        engine.accept_nowait(first)
        await wait_all_tasks_blocked()
        engine.withdraw(first)
        await trio.sleep(20)
        assert [name for name, _, _ in log] == ["a"]
        assert (engine.in_flight, engine.queue_depth) == (0, 0)
        assert engine._later == {}
        engine.accept_nowait(stored("e2"))
        await trio.sleep(20)
    assert [(name, event) for name, event, _ in log[1:]] == [("a", "e2"), ("b", "e2")]


async def test_the_one_handler_may_change_at_run_time(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    sleeper(router, log, "first", 0)
    async with open_scene(router, handler_mode="single") as scene:
        await (await scene.gateway.push(USER)).settled()
        sleeper(router, log, "second", 0, ack=Ack.ON_RECEIPT)
        await (await scene.gateway.push(USER)).settled()
        await wait_all_tasks_blocked()
        router.remove("second")
        await (await scene.gateway.push(USER)).settled()
    assert [name for name, _, _ in log] == ["first", "second", "first"]


async def test_the_one_handler_is_stored_only_if_it_is_durable(autojump_clock: MockClock) -> None:
    router, log = Router(), Log()
    sleeper(router, log, "durable", 0)
    inbox = MemoryInbox()
    async with open_scene(router, handler_mode="single", inbox=inbox) as scene:
        assert (await (await scene.gateway.push(USER)).settled()).code == 200
        await trio.sleep(1)
        assert [name for name, _, _ in log] == ["durable"]
        sleeper(router, log, "at once", 0, ack=Ack.ON_RECEIPT)
        assert (await (await scene.gateway.push(USER)).settled()).code == 200
        await trio.sleep(1)
        assert [name for name, _, _ in log] == ["durable", "at once"]
        sleeper(router, log, "last", 0)
        assert (await (await scene.gateway.push(USER)).settled()).code == 200
        await trio.sleep(1)
        assert [name for name, _, _ in log] == ["durable", "at once", "last"]
        assert scene.session.stats().stored == 2
