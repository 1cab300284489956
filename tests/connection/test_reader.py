"""Raw messages: whoever wants each as it came is called first, and harms nobody."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from delivery.scene import USER, open_scene, open_session
from feishu_trio import ErrorOccurred, Event, HeartbeatReceived, RawMessage, Router, TextMessageReceived
from feishu_trio.testing import Gateway, open_gateway
from feishu_trio.wire import decode_frame
from session.rig import seen

NONSENSE = b"\xff\xfe no frame"


def of_ours(raw: list[Any]) -> list[Any]:
    """All but the pongs, which are messages, too."""
    return [
        each
        for each in raw
        if not (isinstance(each, RawMessage) and isinstance(each.data, bytes) and b"pong" in each.data)
    ]


async def test_every_message_is_shown_before_anything_is_made_of_it(autojump_clock: MockClock) -> None:
    router = Router()
    order: list[Any] = []
    router.on_raw(order.append)

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        order.append(event.payload)

    @router.on_message("notice")
    async def take(message: dict[str, Any]) -> None:
        order.append(message)

    async with open_scene(router) as (gateway, session):
        push = await gateway.push(USER, {"name": "Tom"})
        assert (await push.settled()).code == 200
        raw, payload = of_ours(order)
        assert decode_frame(raw.data).payload == payload
        assert raw.connection_id == gateway.connections[0].device_id
        assert abs(datetime.now(UTC) - raw.received_at) < timedelta(minutes=1)

        order.clear()
        await gateway.text('{"type":  "notice"}')
        await wait_all_tasks_blocked()
        raw, notice = of_ours(order)
        assert (raw.is_text, raw.data) == (True, '{"type":  "notice"}')
        assert notice == {"type": "notice"}

        order.clear()
        await gateway.garbage(text="no JSON")
        await wait_all_tasks_blocked()
        await gateway.garbage(NONSENSE)
        await wait_all_tasks_blocked()
        assert [raw.data for raw in of_ours(order)] == ["no JSON", NONSENSE]
        assert session.stats().bad_frames == 2


async def test_a_text_is_shown_before_the_lifecycle_tells_what_it_is(autojump_clock: MockClock) -> None:
    router = Router()
    order: list[Any] = []
    router.on_raw(order.append)
    async with open_scene(router, on_lifecycle=order.append) as (gateway, _):
        await wait_all_tasks_blocked()
        order.clear()
        await gateway.text({"type": "heartbeat"})
        await wait_all_tasks_blocked()
        assert [type(each) for each in order] == [RawMessage, TextMessageReceived, HeartbeatReceived]


async def test_pongs_and_the_parts_of_a_split_event_are_messages(autojump_clock: MockClock) -> None:
    router = Router()
    raw: list[RawMessage] = []
    router.on_raw(raw.append)
    async with open_scene(router) as (gateway, _):
        await (await gateway.push(USER, {"name": "Tom"}, parts=3)).settled()
        assert len(of_ours(raw)) == 3
        await trio.sleep(60)
    assert len(raw) > len(of_ours(raw))


async def test_it_comes_and_goes_at_run_time(autojump_clock: MockClock) -> None:
    router, inner, raw = Router(), Router(), []
    router.include(inner)
    async with open_scene(router) as (gateway, _):
        await wait_all_tasks_blocked()
        await gateway.text({"type": "pong", "n": 1})
        await wait_all_tasks_blocked()

        @inner.on_raw
        def once(message: RawMessage) -> None:
            raw.append(message.data)
            router.remove(once)

        for number in (2, 3):
            await gateway.text({"type": "pong", "n": number})
            await wait_all_tasks_blocked()
    assert raw == ['{"type":"pong","n":2}']


async def test_what_it_raises_is_logged_within_limits_and_harms_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router, events = Router(), []
    others: list[RawMessage] = []

    @router.on_raw
    def fails(message: RawMessage) -> None:
        raise ValueError("my fault")

    router.on_raw(others.append)

    @router.on(USER)
    async def handle(event: Event[Any]) -> None:
        events.append(event)

    async with open_scene(router) as (gateway, session), session.lifecycle() as stream:
        for _ in range(40):
            assert (await (await gateway.push(USER)).settled()).code == 200
        error = (await seen(stream, ErrorOccurred))[-1]
        assert isinstance(error, ErrorOccurred)
        assert isinstance(error.error, ValueError)
        assert error.where == "raw message"
        await gateway.text({"type": "strange"})
        assert await seen(stream, TextMessageReceived)
        assert (session.stats().connections, session.stats().reconnects) == (1, 0)
    assert len(events) == 40
    assert len(others) >= 41
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len([line for line in lines if "on a raw message: ValueError: my fault" in line]) == 10
    assert ".fails failed" in lines[0]


async def test_what_ends_a_program_leaves_the_session(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on_raw
    def leave(message: RawMessage) -> None:
        raise SystemExit(3)

    with trio.fail_after(10):
        async with open_gateway(seed=7) as gateway:
            with pytest.raises(SystemExit):
                await live(gateway, router)


async def live(gateway: Gateway, router: Router) -> None:
    async with open_session(gateway, router) as session:
        await gateway.text({"type": "pong"})
        await session.wait_closed()
