"""Many large events, and text messages in crowds: what waits is bounded, and nobody else is held up."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from feishu_trio import Event, EventReceived, PoolConfig, Router

from .scene import CARD, MESSAGE, USER, open_scene

MB = 1 << 20


async def test_large_events_are_refused_beyond_queue_bytes_and_come_again(autojump_clock: MockClock) -> None:
    router, handled = Router(), []

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(100)
        handled.append(event.id)

    async with open_scene(router, concurrency=1, queue_bytes=4 * MB, ack_deadline=3) as scene:
        pushes = [await scene.gateway.push(USER, {"text": "x" * MB}, ladder=()) for _ in range(20)]
        await trio.sleep(3)
        stats = scene.session.stats()
        assert stats.queue_depth <= 5
        assert stats.refused >= 14
        assert stats.refused + stats.in_flight == 20
        assert sum(push.status == 500 for push in pushes) == stats.refused


async def test_text_messages_in_crowds_hold_up_neither_events_nor_heartbeats(
    autojump_clock: MockClock,
) -> None:
    router, texts = Router(), []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        pass

    @router.on_message("crowd")
    async def slow(message: dict[str, Any]) -> None:
        await trio.sleep(0.4)
        texts.append(message["n"])

    async with open_scene(router, concurrency=2, queue_capacity=10, heartbeat_interval=1) as scene:
        for number in range(2000):
            await scene.gateway.text({"type": "crowd", "n": number, "padding": "x" * 100})
        start = trio.current_time()
        pushes = []
        for number in range(40):
            pushes.append(await scene.say(number, f"oc_{number}"))
            await trio.sleep(1)
        assert [(await push.settled()).code for push in pushes] == [200] * 40
        assert max([(await push.settled()).latency for push in pushes]) < 2.5
        assert trio.current_time() - start < 60
        stats = scene.session.stats()
        assert len(scene.gateway.pings) >= 35
        assert stats.dropped_messages > 0
    assert texts


async def test_callbacks_are_answered_in_time_however_long_nobody_read(autojump_clock: MockClock) -> None:
    """A full pool holds the reader for up to a second; who waits for an answer has waited for that, too."""
    router = Router()

    @router.on(MESSAGE)
    async def stuck(event: Event[Any]) -> None:
        await trio.sleep_forever()

    @router.on(CARD, fallback={"toast": {"content": "busy"}})
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(60)

    async with open_scene(router, concurrency=1, queue_capacity=1, shutdown_timeout=0) as scene:
        clicks = []
        for number in range(30):
            for other in range(5):
                await scene.say(number * 5 + other, f"oc_{other}", ladder=())
            await trio.sleep(0.07 * (number % 7))
            clicks.append(await scene.gateway.push(CARD, {}))
            await trio.sleep(0.3)
        await wait_all_tasks_blocked()
        latencies = [(await click.settled()).latency for click in clicks]
    assert max(latencies) < 3


async def test_json_in_binary_frames_holds_no_event_up(autojump_clock: MockClock) -> None:
    router, handled = Router(), []

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        handled.append(trio.current_time())

    @router.on_message("crowd")
    async def slow(message: dict[str, Any]) -> None:
        await trio.sleep(0.9)

    async with open_scene(router, concurrency=1, queue_capacity=1) as scene:
        for _ in range(60):
            await scene.gateway.garbage(b'{"type":"crowd"}')
        start = trio.current_time()
        await (await scene.say(1)).settled()
        assert handled[0] - start < 1
        assert scene.session.stats().dropped_messages > 50


@pytest.mark.parametrize("connections", [1, 4])
async def test_texts_in_text_and_binary_frames_hold_no_event_up(
    autojump_clock: MockClock, connections: int
) -> None:
    """A binary one, which may not wait, does not keep those that wait from giving up once events are behind them."""
    router = Router()

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        pass

    @router.on_message("crowd")
    async def slow(message: dict[str, Any]) -> None:
        await trio.sleep(0.95)

    pool = PoolConfig(concurrency=1, capacity=1)
    async with open_scene(
        router, connections=connections, pools={"messages": pool}, shutdown_timeout=0
    ) as scene:
        await scene.gateway.wait_connected(connections)
        pushes = []
        for number in range(1000):
            await scene.gateway.text({"type": "crowd", "padding": "x" * 1000})
            if number % 8 == 0:
                await scene.gateway.garbage(b'{"type": "crowd"}')
            if number % 50 == 0:
                pushes.append(await scene.gateway.push(USER, {}))
            if number % 20 == 0:
                await trio.sleep(0.001)
        assert max([(await push.settled()).latency for push in pushes]) < 2.5


async def test_text_messages_that_wait_are_bounded_in_bytes(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on_message("large")
    async def slow(message: dict[str, Any]) -> None:
        await trio.sleep_forever()

    async with open_scene(router, concurrency=1, queue_bytes=100_000, shutdown_timeout=0) as scene:
        for _ in range(100):
            await scene.gateway.text({"type": "large", "padding": "x" * 10_000})
        await trio.sleep(1)
        assert scene.session.stats().queue_depth <= 11


async def test_text_messages_that_wait_take_no_more_memory_than_they_count(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on_message("large")
    async def slow(message: dict[str, Any]) -> None:
        await trio.sleep_forever()

    text = '{"type": "large", "lists": [' + ",".join(["[]"] * 33_000) + "]}"  # parsed, 27 times as much
    pool = PoolConfig(concurrency=1, capacity=1000)
    async with open_scene(
        router, pools={"messages": pool}, queue_bytes=8 * len(text), shutdown_timeout=0
    ) as scene:
        tracemalloc.start()
        try:
            for _ in range(20):
                await scene.gateway.garbage(text=text)
                await trio.sleep(0.01)
            await trio.sleep(10)
            gc.collect()
            used, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert scene.session.stats().queue_depth == 8
        # One is parsed, for its handler runs.
        assert used < (27 + 8 + 15) * len(text)


async def test_events_that_wait_for_a_loop_are_bounded_in_bytes(autojump_clock: MockClock) -> None:
    async with open_scene(None, queue_bytes=4 * MB) as scene, scene.session.events(capacity=200) as events:
        pushes = [await scene.gateway.push(USER, {"text": "x" * MB}, ladder=()) for _ in range(20)]
        await trio.sleep(3)
        stats = scene.session.stats()
        assert stats.refused >= 12
        kept = 20 - stats.refused
        taken = 0
        async for _ in events:
            taken += 1
            if taken == kept:
                break
        await trio.sleep(1)
        assert (
            sum(push.status == 200 for push in pushes) == kept - 1
        )  # the last is answered as the block is left


async def test_a_chat_keeps_its_order_over_two_connections_while_its_pool_is_full(
    autojump_clock: MockClock,
) -> None:
    """Who was read first runs first, over two connections too."""
    router, count, chats = Router(), 20_000, 5
    started: list[str] = []
    read: dict[str, None] = {}  # in the order events were read; one that was refused, when it came again

    @router.on(MESSAGE)
    async def handle(event: Event[Any]) -> None:
        started.append(event.id)
        await trio.sleep(0.02)

    async with (
        open_scene(router, concurrency=3, queue_capacity=10, connections=2, ack_deadline=3) as scene,
        scene.session.lifecycle(capacity=100_000) as lifecycle,
        trio.open_nursery() as nursery,
    ):

        async def note() -> None:
            async for what in lifecycle:
                if isinstance(what, EventReceived):
                    read.pop(what.event_id, None)
                    read[what.event_id] = None

        nursery.start_soon(note)
        one, other = await scene.gateway.wait_connected(2)
        pushes = []
        for number in range(count):
            chat, connection = f"oc_{number % chats}", (one, other)[number % 2]
            pushes.append(await scene.say(number, chat, connection=connection))
            await trio.sleep(0.0066)  # a little more than the pool gets done, so that reading is held
        for push in pushes:
            assert (await push.settled()).code == 200
        assert lifecycle.lost == 0
        assert scene.session.stats().refused > 100
        nursery.cancel_scope.cancel()
    assert sorted(started) == sorted(push.event_id for push in pushes)
    for number in range(chats):
        ids = {push.event_id for push in pushes[number::chats]}
        order = [event_id for event_id in started if event_id in ids]
        assert order == [event_id for event_id in read if event_id in ids]
