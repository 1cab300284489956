"""Many events: memory, pace, and what happens to heartbeats meanwhile."""

from __future__ import annotations

import gc
import logging
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Event, EventReceived, LifecycleEvent, PoolConfig, Router, open_feishu_session
from feishu_trio.testing import open_gateway
from feishu_trio.wire import DATA, encode_frame

from .scene import CARD, MESSAGE, USER, message, open_scene


async def test_a_thousand_events_with_a_slow_handler_take_about_a_second(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(0.2)

    async with open_scene(router, concurrency=256) as scene:
        pushes = [await scene.say(number, f"oc_{number}") for number in range(1000)]
        for push in pushes:
            assert (await push.settled()).code == 200
        # Four rounds of 256 at a time.
        assert trio.current_time() == pytest.approx(0.8)
        assert scene.session.stats().late == 0


async def test_and_so_they_do_over_sockets() -> None:
    router = Router()

    @router.on(MESSAGE)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(0.2)

    with trio.fail_after(60):
        async with (
            open_gateway() as gateway,
            open_feishu_session(
                gateway.app_id, gateway.app_secret, domain=gateway.domain, router=router, concurrency=256
            ) as session,
        ):
            began = trio.current_time()
            pushes = [await gateway.push(MESSAGE, message(number, f"oc_{number}")) for number in range(1000)]
            for push in pushes:
                assert (await push.settled()).code == 200
            took = trio.current_time() - began
            assert session.stats().handled == 1000
    # One after the other it would be 200 s.
    assert took < 20


def memory() -> int:
    """Bytes that this process has in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_note_10_a_hundred_thousand_events_into_a_stuck_pool(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    router = Router()

    @router.on(USER, pool="stuck")
    async def stuck(event: Event[Any]) -> None:
        await trio.sleep_forever()

    async with open_scene(
        router,
        pools={"stuck": PoolConfig(concurrency=8, capacity=1000)},
        heartbeat_interval=10,
        shutdown_timeout=0,
    ) as scene:
        (connection,) = await scene.gateway.wait_connected()
        (delivery,) = await (await scene.say(0)).wait_deliveries()
        prefix = delivery.message_id.rpartition("-")[0]

        async def send(numbers: range) -> None:
            """Send events that the gateway keeps no account of: their ids are as of those it has forgotten."""
            for number in numbers:
                connection.send(
                    encode_frame(
                        service=connection.service_id,
                        method=DATA,
                        headers={
                            "type": "event",
                            "message_id": f"{prefix}-x{number}",
                            "sum": "1",
                            "seq": "0",
                        },
                        payload=b'{"schema":"2.0","header":{"event_id":"%d","event_type":"%b"},"event":{"name":"%b"}}'
                        % (number, USER.encode(), b"x" * 1000),
                    )
                )
            await trio.sleep(2)

        await send(range(2000))  # 1008 of them stay, 1 MB of payloads
        before = memory()
        for first in range(2000, 100_000, 1000):
            await send(range(first, first + 1000))
        assert memory() - before < 10_000_000, "20 MB is what is allowed"
        stats = scene.session.stats()
        assert (stats.received, stats.refused, stats.in_flight) == (100_001, 100_000 - 1008, 1008)
        beats = [at for at, _ in scene.gateway.pings]
        assert len(beats) >= 20
        assert max(b - a for a, b in pairwise(beats)) <= 11
        assert (stats.reconnects, scene.session.heartbeat.total) == (0, len(beats))


async def test_clicks_are_in_time_behind_any_number_of_full_pools(autojump_clock: MockClock) -> None:
    """Each full pool may hold the reader for a while, but not one after the other."""
    router = Router()

    async def stuck(event: Event[Any]) -> None:
        await trio.sleep_forever()

    names = [f"pool{number}" for number in range(8)]
    for name in names:
        router.on(f"{name}.x", pool=name, name=name)(stuck)

    @router.on(CARD)
    async def click(event: Event[Any]) -> dict[str, object]:
        return {"toast": {"content": event.id}}

    pools = dict.fromkeys(names, PoolConfig(concurrency=1, capacity=1))
    async with open_scene(router, pools=pools, shutdown_timeout=0) as scene:
        for name in names:
            for _ in range(2):
                await scene.gateway.push(f"{name}.x", ladder=())
        await trio.sleep(20)
        clicks = []
        for number in range(40):
            for name in names:
                await scene.gateway.push(f"{name}.x", {"text": "x" * 2000}, ladder=())
            clicks.append(await scene.gateway.push(CARD))
            await trio.sleep(0.05 * (number % 5))
        answers = [await each.settled() for each in clicks]
    assert max(answer.latency for answer in answers) < 2.5
    assert all(
        answer.data == {"toast": {"content": each.event_id}}
        for answer, each in zip(answers, clicks, strict=True)
    )


async def test_a_chat_keeps_its_order_in_a_free_pool_while_another_is_full(autojump_clock: MockClock) -> None:
    """An event waits for room in one pool: a later one of its chat, on another connection, does not pass it in another."""
    router, seen = Router(), []

    @router.on(MESSAGE, pool="busy")
    async def archive(event: Event[Any]) -> None:
        await trio.sleep(0.3)

    @router.on("im.message.*", pool="quick")
    async def watch(event: Event[Any]) -> None:
        seen.append(event.id)

    read: list[str] = []

    def note(what: LifecycleEvent) -> None:
        if isinstance(what, EventReceived):
            read.append(what.event_id)

    pools = {"busy": PoolConfig(concurrency=1, capacity=1), "quick": PoolConfig(concurrency=8)}
    async with open_scene(router, connections=2, pools=pools, on_lifecycle=note) as scene:
        connections = await scene.gateway.wait_connected(2)
        pairs = []
        for number in range(300):
            chat = f"oc_{number}"
            first = await scene.say(number, chat, connection=connections[number % 2])
            await trio.sleep(0.02)
            recalled = {"message_id": f"om_{number}", "chat_id": chat}
            second = await scene.gateway.push(
                "im.message.recalled_v1", recalled, connection=connections[(number + 1) % 2]
            )
            pairs.append((first, second))
            await trio.sleep(0.2)
        for pair in pairs:
            for push in pair:
                assert (await push.settled()).code == 200
    never_refused = [
        (first.event_id, second.event_id)
        for first, second in pairs
        if len(first.deliveries) == len(second.deliveries) == 1
        and read.index(first.event_id) < read.index(second.event_id)
    ]
    assert len(never_refused) > 50
    assert all(seen.index(first) < seen.index(second) for first, second in never_refused)
