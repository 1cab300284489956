"""Handlers that are stuck, keys that wait behind them, and a loop that stands still."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import (
    Event,
    HandlerStuck,
    LifecycleEvent,
    MemoryInbox,
    PoolConfig,
    Router,
    StuckStats,
)
from feishu_trio.events.im import MessageReceived
from feishu_trio.telemetry.stacks import stacks_taken
from feishu_trio.testing import Gateway
from session.rig import come_true

from .scene import MESSAGE, USER, open_scene, open_session


def lines(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.getMessage().startswith(start)]


async def test_a_handler_that_takes_too_long_is_named_once_and_all_is_still_ok(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router, seen = Router(), list[LifecycleEvent]()

    @router.on(MESSAGE, name="slow")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(200)

    async with open_scene(router, on_lifecycle=seen.append) as scene:
        await trio.sleep(1000)  # nothing has been at work for long
        await scene.say(1, "oc_7", event_id="e1")
        await trio.sleep(59)
        assert scene.session.stuck() == ()
        assert scene.session.health().warnings == ()
        assert not lines(caplog, "stuck")
        await trio.sleep(61)
        (stuck,) = scene.session.stuck()
        assert (stuck.handler, stuck.pool, stuck.event_id, stuck.event_type) == (
            "slow",
            "default",
            "e1",
            MESSAGE,
        )
        assert (stuck.key, stuck.events, stuck.in_thread) == ("oc_7", 1, False)
        assert stuck.seconds == pytest.approx(120)
        assert abs(datetime.now(UTC) - timedelta(seconds=120) - stuck.since) < timedelta(seconds=5)
        assert scene.session.stuck_by_handler() == {"slow": StuckStats(1, stuck.seconds)}
        health = scene.session.health()
        assert (health.ok, health.reasons) == (True, ())
        (warning,) = health.warnings
        assert warning == str(stuck)
        assert "handler slow has been at work for 120 s" in warning
        assert f"event e1 ({MESSAGE}) of oc_7" in warning
        await trio.sleep(100)
        assert scene.session.stuck() == ()
        assert scene.session.health().warnings == ()
    (told,) = lines(caplog, "stuck")
    assert "slow has been at work for 60 s" in told, "told as soon as it was so"
    (event,) = (each for each in seen if isinstance(each, HandlerStuck))
    assert event.stuck.event_id == "e1"


async def test_it_is_told_of_in_time_whenever_it_began(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after others that ended in time, and after a time without any."""
    router, seen = Router(), list[HandlerStuck]()

    def note(event: LifecycleEvent) -> None:
        if isinstance(event, HandlerStuck):
            seen.append(event)

    @router.on(USER)
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(float(event.raw["event"]["takes"]))

    async with open_scene(router, stuck_after=10, on_lifecycle=note) as scene:
        for pause, takes in ((0, 9), (3, 9.5), (2, 30), (7, 40), (100, 11)):
            await trio.sleep(pause)
            await scene.gateway.push(USER, {"takes": takes})
        await trio.sleep(20)
    assert len(seen) == 3
    assert [each.stuck.seconds for each in seen] == pytest.approx([10, 10, 10], abs=0.3)


async def test_stuck_handlers_that_fill_a_pool_are_ill_health(autojump_clock: MockClock) -> None:
    router = Router()

    @router.on(MESSAGE, pool="slow", name="forever")
    async def forever(event: Event[Any]) -> None:
        await trio.sleep(1000)

    async with open_scene(
        router, pools={"slow": PoolConfig(concurrency=12, capacity=100)}, stuck_after=30, shutdown_timeout=0
    ) as scene:
        for number in range(11):
            await scene.say(number, f"oc_{number}")
        await trio.sleep(31)
        assert scene.session.health().ok
        await scene.say(12, "oc_12")
        await trio.sleep(29)
        assert scene.session.health().ok
        await trio.sleep(2)
        health = scene.session.health()
        assert health.reasons == ("pool slow is filled by 12 handlers that are stuck",)
        assert len(health.warnings) == 11
        assert health.warnings[-1] == "and 2 more"
        assert len(scene.session.stuck()) == 12
        assert scene.session.stuck_by_handler()["forever"].count == 12


async def test_a_chat_whose_messages_wait_behind_a_handler_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if no handler is stuck by itself, but all together take too long."""
    router = Router()

    @router.on(MESSAGE, name="steady")
    async def steady(event: Event[Any]) -> None:
        await trio.sleep(40)

    async with open_scene(router) as scene:
        for number in range(4):
            await scene.say(number, "oc_1", event_id=f"e{number}")
        await scene.say(9, "oc_2")
        await trio.sleep(39)
        assert scene.session.held_up() == ()
        await trio.sleep(30)  # the second is at work, and two wait
        assert scene.session.stuck() == ()
        (held_up,) = scene.session.held_up()
        assert (held_up.key, held_up.handler, held_up.event_id, held_up.events) == ("oc_1", "steady", "e1", 2)
        assert held_up.seconds == pytest.approx(69, abs=0.1)
        assert scene.session.health().ok
        assert scene.session.health().warnings == (str(held_up),)
        assert "2 events wait behind handler steady" in str(held_up)
        assert len(lines(caplog, "held up")) == 1
        await trio.sleep(100)
    assert len(lines(caplog, "held up")) == 1


async def test_time_in_ask_does_not_count(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on(MessageReceived, name="asks")
    async def asks(event: Event[MessageReceived]) -> None:
        with pytest.raises(TimeoutError):
            await event.ask("Go on?", ["yes", "no"], timeout=500)
        await trio.sleep(61)

    async with open_scene(router) as scene:
        tom = scene.gateway.user("Tom")
        await tom.says("hello")
        await trio.sleep(450)
        await tom.says("are you there?")
        await trio.sleep(45)
        assert not scene.session.stuck()
        assert not scene.session.held_up()
        await trio.sleep(50)
        assert not scene.session.stuck()
        assert not scene.session.held_up()
        assert not lines(caplog, "stuck")
        await trio.sleep(15)
        (stuck,) = scene.session.stuck()
        assert stuck.seconds == pytest.approx(60, abs=1)
        await trio.sleep(1)
        assert len(lines(caplog, "stuck")) == 1
        await trio.sleep(1000)


async def test_batches_and_text_messages_are_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    router = Router()

    @router.on_batch(USER, max_size=3, max_wait=1, name="batch")
    async def batch(events: list[Event[Any]]) -> None:
        await trio.sleep(100)

    @router.on_message("card")
    async def text(message: object) -> None:
        await trio.sleep(100)

    async with open_scene(router) as scene:
        for number in range(3):
            await scene.gateway.push(USER, {}, event_id=f"u{number}")
        await scene.gateway.text({"type": "card"})
        await trio.sleep(70)
        of_batch, of_text = sorted(scene.session.stuck(), key=lambda each: each.event_type, reverse=True)
        assert (of_batch.handler, of_batch.event_id, of_batch.events) == ("batch", "u0", 3)
        assert (of_text.event_id, of_text.event_type, of_text.pool) == ("", "card", "messages")
        assert "on a batch of 3, of which the first is event u0" in str(of_batch)
        assert "on a message (card)" in str(of_text)


async def test_a_slow_loop_over_events_is_named_and_what_waits_for_it_is_not(
    autojump_clock: MockClock,
) -> None:
    async with open_scene(Router(), shutdown_timeout=0) as scene, scene.session.events(USER) as events:
        for number in range(2):
            await scene.gateway.push(USER, {}, event_id=f"u{number}")
        async for _ in events:
            await trio.sleep(100)
            (stuck,) = scene.session.stuck()
            assert (stuck.handler, stuck.event_id) == (f"events({USER})", "u0")
            assert scene.session.health().ok
            break


async def test_handlers_of_stored_events_and_in_threads(feishu_gateway: Gateway) -> None:
    """In real time, which threads have."""
    router, begun, over = Router(), threading.Event(), threading.Event()

    @router.on(MESSAGE, name="thread")
    def blocks(event: Event[Any]) -> None:
        begun.set()
        over.wait(10)

    async with open_session(feishu_gateway, router, inbox=MemoryInbox(), stuck_after=0.05) as session:
        try:
            await feishu_gateway.user("Tom").says("hello")
            await come_true(session.stuck)
            (stuck,) = session.stuck()
            assert begun.is_set()
            assert (stuck.handler, stuck.in_thread) == ("thread", True)
            assert stuck.key.startswith("oc_")
        finally:
            over.set()


# A loop that stands still


@pytest.mark.parametrize("waits", [0, 0.33], ids=["at once", "later"])
async def test_a_blocked_loop_is_told_with_its_true_length_each_time(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, waits: float
) -> None:
    router = Router()

    @router.on(USER)
    async def thinks(event: Event[Any]) -> None:
        await trio.sleep(waits)
        autojump_clock.jump(3)  # as time.sleep(3) would

    async with open_scene(router) as scene:
        for _ in range(12):
            await trio.sleep(2)
            await (await scene.gateway.push(USER, {})).settled()
        await trio.sleep(1)
        assert scene.session.stats().loop_blocked == 12
        told = lines(caplog, "the event loop stood still for ")
        assert len(told) == 10, "within limits"
        assert all(2.9 <= float(each.split()[6]) <= 3.1 for each in told)
        await trio.sleep(60)
        await (await scene.gateway.push(USER, {})).settled()
        await trio.sleep(1)
    assert "2 more lines like this were kept back" in lines(caplog, "the event loop stood")[-1]


def think(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


async def test_where_the_loop_stands_still_is_told_by_lines_and_no_values(
    feishu_gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    router, before = Router(), threading.active_count()

    @router.on(USER)
    async def blocks(event: Event[Any]) -> None:
        think(1.6)

    async with open_session(feishu_gateway, router) as session:
        with session.taking_stacks():
            await (await feishu_gateway.push(USER, {})).settled()
            await come_true(lambda: session.stats().loop_blocked)
    (told,) = lines(caplog, "the event loop stood still for 1.")
    assert "test_watch.py:" in told
    assert "in think\n" in told
    assert "in blocks\n" in told
    assert "think(1.6)" not in told
    assert told.count("\n") <= 16
    assert threading.active_count() == before, "the thread has ended"


def test_what_never_ends_is_told_of_by_the_thread_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("feishu_trio.telemetry.stacks._LOOK", 0.01)
    monkeypatch.setattr("feishu_trio.telemetry.stacks._STILL", 0.02)
    monkeypatch.setattr("feishu_trio.telemetry.stacks._TELL", 0.05)
    with caplog.at_level(logging.WARNING), stacks_taken() as stacks:
        think(0.5)
        assert "in think" in "".join(stacks.beat())
        assert stacks.beat() == ()
    told = lines(caplog, "the event loop has stood still for ")
    assert 1 <= len(told) <= 4, "ever more seldom"
    assert "in think" in told[0]
