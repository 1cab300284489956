from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Ack, Event, PoolConfig, Router

from .scene import CARD, USER, open_scene

Sizes = list[tuple[int, float]]


def batching(router: Router, what: str = USER, *, takes: float = 0, **options: Any) -> Sizes:
    """Register a handler of batches; returns the sizes and times of those it will get."""
    seen: Sizes = []

    @router.on_batch(what, name="batch", **options)
    async def handle(events: list[Event[Any]]) -> None:
        seen.append((len(events), trio.current_time()))
        if takes:
            await trio.sleep(takes)

    return seen


async def test_a_batch_goes_by_size_or_by_age(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=10, max_wait=2)
    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(25)]
        for push in pushes:
            assert (await push.settled()).code == 200
        await trio.sleep(10)
        await (await scene.gateway.push(USER)).settled()
    assert seen == [(10, 0), (10, 0), (5, 2), (1, 14)]


async def test_the_events_of_a_batch_come_in_order_and_are_answered_together(
    autojump_clock: MockClock,
) -> None:
    router = Router()
    seen: list[str] = []

    @router.on_batch(USER, max_size=3, max_wait=1)
    async def handle(events: list[Event[Any]]) -> None:
        seen.extend(event.id for event in events)
        await trio.sleep(1)

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER, event_id=each) for each in "abc"]
        assert [(await push.settled()).at for push in pushes] == [1, 1, 1]
    assert seen == ["a", "b", "c"]


async def test_a_batch_that_fails_is_logged_once_and_comes_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()
    calls = []

    @router.on_batch(USER, max_size=3, max_wait=1, name="batch")
    async def handle(events: list[Event[Any]]) -> None:
        calls.append([event.redelivered for event in events])
        if len(calls) == 1:
            raise ValueError("not today")

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER, event_id=each) for each in "abc"]
        assert [(await push.settled()).code for push in pushes] == [200] * 3
        assert [len(push.answers) for push in pushes] == [2, 2, 2]
    assert calls == [[False] * 3, [True] * 3]
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        f"handler batch failed on event a ({USER}), the first of a batch of 3: ValueError: not today"
    ]


async def test_an_event_that_comes_twice_is_in_a_batch_once(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=10, max_wait=2)
    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER, event_id="same") for _ in range(5)]
        assert [(await push.settled()).at for push in pushes] == [2] * 5
    assert seen == [(1, 2)]


async def test_leaving_the_session_sends_batches_off(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=10, max_wait=1000)
    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER, ladder=()) for _ in range(3)]
        await trio.sleep(1)
        assert scene.session.stats().queue_depth == 3
    assert [push.status for push in pushes] == [200] * 3
    assert seen == [(3, 1)]


async def test_a_full_pool_sends_a_batch_off_that_waits_in_it(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=100, max_wait=1000, pool="small")
    async with open_scene(router, pools={"small": PoolConfig(concurrency=1, capacity=4)}) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(10)]
        await trio.sleep(1)
        assert scene.session.stats().refused == 0
        assert seen == [(4, 0), (4, 0)]
        assert [push.status for push in pushes] == [200] * 8 + [None] * 2


async def test_what_waits_in_batches_is_bounded_like_all_else(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=10, max_wait=1, pool="small", takes=1000)
    settings = {"pools": {"small": PoolConfig(concurrency=1, capacity=20)}, "shutdown_timeout": 0}
    async with open_scene(router, gateway={"ladder": ()}, **settings) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(100)]
        await trio.sleep(10)
        assert [push.status for push in pushes] == [None] * 30 + [500] * 70
        assert len(seen) == 1
        assert scene.session.stats().queue_depth == 20


async def test_batches_of_one_handler_run_side_by_side_and_beside_others(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=2, max_wait=1, takes=1)
    alone = []

    @router.on(USER)
    async def each(event: Event[Any]) -> None:
        alone.append(event.id)

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER) for _ in range(4)]
        assert [(await push.settled()).at for push in pushes] == [1] * 4
    assert seen == [(2, 0), (2, 0)]
    assert len(alone) == 4


async def test_where_chooses_for_batches_too(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=2, max_wait=5, where=lambda event: event.id.startswith("yes"))
    async with open_scene(router) as scene:
        for event_id in ("no1", "no2", "yes1", "no3", "yes2"):
            await scene.gateway.push(USER, event_id=event_id)
        await trio.sleep(1)
    assert seen == [(2, 0)]


async def test_a_batch_of_callbacks_is_answered_by_the_deadline(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on_batch([CARD, USER], max_size=2, max_wait=1)
    async def handle(events: list[Event[Any]]) -> str:
        await trio.sleep(0 if len(events) == 2 else 10)
        return f"{len(events)} together"

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(each) for each in (USER, CARD)]
        assert [(await push.settled()).data for push in pushes] == ["2 together"] * 2
        answer = await (await scene.gateway.push(CARD)).settled()
        assert (answer.data, answer.latency) == (None, 2.5)


async def test_a_removed_batch_handler_gets_what_it_has_gathered(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=10, max_wait=2)
    async with open_scene(router) as scene:
        push = await scene.gateway.push(USER)
        await trio.sleep(1)
        router.remove("batch")
        assert (await (await scene.gateway.push(USER)).settled()).at == 1
        assert (await push.settled()).at == 2
    assert seen == [(1, 2)]


async def test_no_task_is_left_of_a_batch(autojump_clock: MockClock) -> None:
    router = Router()
    batching(router, max_size=2, max_wait=1000)
    async with open_scene(router) as scene:
        before = _tasks()
        for _ in range(100):
            await scene.gateway.push(USER)
            await (await scene.gateway.push(USER)).settled()
        await trio.sleep(1)
        assert _tasks() <= before + 10, "there were a hundred, and of workers there are a few"


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


@pytest.mark.parametrize("order", [(USER, CARD), (CARD, USER)], ids=["event first", "callback first"])
async def test_a_batch_of_callbacks_and_events_that_are_answered_on_receipt(
    autojump_clock: MockClock, order: tuple[str, str]
) -> None:
    router = Router()

    @router.on_batch([CARD, USER], max_size=2, max_wait=1)
    async def handle(events: list[Event[Any]]) -> str:
        return "handled"

    async with open_scene(router, ack=Ack.ON_RECEIPT, dedupe_window=5) as scene:
        for _ in range(3):
            pushes = {each: await scene.gateway.push(each) for each in order}
            assert (await pushes[CARD].settled()).data == "handled"
            assert (await pushes[USER].settled()).latency == 0
            await trio.sleep(10)
        assert scene.session.is_connected
        assert scene.session.stats().handled == 6


async def test_a_result_that_is_no_json_fails_the_callbacks_of_a_batch_alone(
    autojump_clock: MockClock,
) -> None:
    router, runs = Router(), 0

    @router.on_batch([CARD, USER], max_size=2, max_wait=1, name="gather")
    async def gather(events: list[Event[Any]]) -> object:
        nonlocal runs
        runs += 1
        return object()

    async with open_scene(router) as scene:
        pushes = {each: await scene.gateway.push(each) for each in (USER, CARD)}
        assert (await pushes[USER].settled()).code == 200
        assert (await pushes[CARD].settled()).code == 500
        stats = scene.session.stats()
    assert runs == 1
    assert (stats.handled, stats.failed) == (1, 1)


async def test_a_batch_has_events_of_one_key(autojump_clock: MockClock) -> None:
    router = Router()
    seen: list[list[str]] = []

    @router.on_batch(USER, max_wait=1, by=lambda event: event.id[0])
    async def handle(events: list[Event[Any]]) -> None:
        seen.append([event.id for event in events])

    async with open_scene(router) as scene:
        pushes = [await scene.gateway.push(USER, event_id=each) for each in ("a1", "b1", "a2", "b2", "c1")]
        for push in pushes:
            await push.settled()
    assert sorted(seen) == [["a1", "a2"], ["b1", "b2"], ["c1"]]


async def test_a_batch_goes_once_nothing_more_comes(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=100, max_wait=10, idle=1)
    async with open_scene(router) as scene:
        for _ in range(4):
            await scene.gateway.push(USER)
            await trio.sleep(0.9)
        await trio.sleep(10)
    ((size, at),) = seen
    assert size == 4
    assert at == pytest.approx(3 * 0.9 + 1)


async def test_a_batch_to_which_more_and_more_comes_goes_in_time(autojump_clock: MockClock) -> None:
    router = Router()
    seen = batching(router, max_size=100, max_wait=2, idle=1)
    async with open_scene(router) as scene:
        for _ in range(8):
            await scene.gateway.push(USER)
            await trio.sleep(0.5)
        await trio.sleep(10)
    assert seen[0][1] == pytest.approx(2)
    assert sum(size for size, _ in seen) == 8


async def test_a_key_of_a_batch_that_cannot_be_had_is_a_failure_of_its_event(
    autojump_clock: MockClock,
) -> None:
    router = Router()

    def key(event: Event[Any]) -> object:
        return {} if event.id == "bad" else event.id

    seen = batching(router, max_wait=1, by=key)
    async with open_scene(router) as scene:
        bad = await scene.gateway.push(USER, event_id="bad", ladder=())
        good = await scene.gateway.push(USER, event_id="good")
        assert ((await bad.settled()).code, (await good.settled()).code) == (500, 200)
    assert seen == [(1, 1)]
