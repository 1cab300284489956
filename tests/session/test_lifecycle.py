"""What a session tells of itself from its first try to connect on, and when it counts as authenticated."""

# ruff: noqa: PT012 - what leaves a whole block is what these tests are about

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import outcome
import pytest
import trio
import trio.testing

import feishu_trio
from feishu_trio import (
    Authenticated,
    AuthenticationError,
    ConfigError,
    Connected,
    ConnectError,
    Disconnected,
    ErrorOccurred,
    EventAnswered,
    EventReceived,
    LifecycleEvent,
    PongReceived,
    ReconnectScheduled,
    Router,
    open_feishu_session,
)
from feishu_trio.testing import Gateway, open_gateway

from .rig import open_session, seen

RECEIVE = "im.message.receive_v1"
MESSAGE = {"message": {"message_id": "om_1", "chat_id": "oc_1", "content": "{}"}}
TOKEN = "a-token-of-the-app"
PAGE = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text(encoding="utf-8")


def kinds(events: list[LifecycleEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def start(events: list[LifecycleEvent]) -> list[str]:
    """What happened up to the first connection; it pings as soon as it is up."""
    names = kinds(events)
    return names[: names.index("Connected") + 1]


# Told of everything


async def test_the_first_tries_and_the_first_connection_are_told_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[LifecycleEvent] = []
    feishu_gateway.refuse_discovery(1, "too busy", times=1)
    feishu_gateway.refuse_handshake(times=1)
    async with open_session(feishu_gateway, on_lifecycle=told.append):
        assert start(told) == [
            "ErrorOccurred",
            "ReconnectScheduled",
            "ErrorOccurred",
            "ReconnectScheduled",
            "Connected",
        ]
        first, wait, _, _, connected = told[:5]
        assert isinstance(first, ErrorOccurred)
        assert isinstance(first.error, ConnectError)
        assert (first.where, first.at) == ("connect", wait.at)
        assert "too busy" in str(first.error)
        assert isinstance(wait, ReconnectScheduled)
        assert (wait.attempt, wait.reason) == (1, str(first.error))
        assert isinstance(connected, Connected)
        assert connected.attempt == 3


async def test_a_session_that_never_comes_up_has_told_why(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[LifecycleEvent] = []
    feishu_gateway.hang_discovery()
    with pytest.raises(ConnectError):
        async with open_session(feishu_gateway, on_lifecycle=told.append, max_reconnect_attempts=1):
            raise AssertionError("the block must not be entered")
    assert kinds(told) == ["ErrorOccurred", "ReconnectScheduled", "ErrorOccurred"]


async def test_a_refusal_is_told_of_and_raised(feishu_gateway: Gateway) -> None:
    told: list[LifecycleEvent] = []
    with pytest.raises(AuthenticationError) as refused:
        async with open_session(feishu_gateway, app_secret="wrong", on_lifecycle=told.append):
            raise AssertionError("the block must not be entered")
    (event,) = told
    assert isinstance(event, ErrorOccurred)
    assert (event.where, event.error) == ("connect", refused.value)
    assert "wrong" not in repr(event)


async def test_a_reconnect_by_hand_that_fails_is_told_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[LifecycleEvent] = []
    async with open_session(feishu_gateway, on_lifecycle=told.append) as session:
        feishu_gateway.refuse_discovery(1, times=1)
        with pytest.raises(ConnectError) as failed:
            await session.reconnect()
        (event,) = [each for each in told if isinstance(each, ErrorOccurred)]
        assert (event.where, event.error) == ("connect", failed.value)


async def test_events_and_the_end_are_told_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[LifecycleEvent] = []
    router = Router()
    at_work: list[list[str]] = []

    @router.on(RECEIVE)
    async def handle(event: object) -> None:
        at_work.append(kinds(told))

    async with open_session(feishu_gateway, router=router, on_lifecycle=told.append):
        push = await feishu_gateway.push(RECEIVE, MESSAGE)
        await push.settled()
    assert "EventReceived" in at_work[0], "it is told at once"
    names = kinds([each for each in told if not isinstance(each, PongReceived)])
    assert names == ["Connected", "PingSent", "EventReceived", "EventAnswered", "Disconnected"]


async def test_a_function_that_raises_harms_nothing(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[LifecycleEvent] = []

    def tell(event: LifecycleEvent) -> None:
        told.append(event)
        raise RuntimeError("the user's function is broken")

    async with open_session(feishu_gateway, on_lifecycle=tell) as session:
        push = await feishu_gateway.push(RECEIVE, MESSAGE)
        assert (await push.settled()).code == 200
        await session.reconnect()
        assert session.health()
    assert {Connected, EventReceived, EventAnswered, Disconnected} <= {type(event) for event in told}
    assert caplog.text.count("on_lifecycle raised") == 1


async def test_a_channel_is_told_of_everything_and_closed_in_the_end(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](100)
    told: list[LifecycleEvent] = []

    async def read() -> None:
        async for event in receive:
            told.append(event)

    feishu_gateway.refuse_discovery(1, times=1)
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)  # ends by itself
            async with open_session(feishu_gateway, on_lifecycle=send) as session:
                await trio.sleep(1)
        assert session.stats().lost_lifecycle == 0
    assert start(told) == ["ErrorOccurred", "ReconnectScheduled", "Connected"]
    assert isinstance(told[-1], Disconnected)


async def test_a_channel_is_closed_after_a_start_that_failed(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](100)
    feishu_gateway.refuse_discovery(514)
    with pytest.raises(AuthenticationError):
        async with open_session(feishu_gateway, on_lifecycle=send):
            raise AssertionError("the block must not be entered")
    with trio.fail_after(100):
        assert kinds([event async for event in receive]) == ["ErrorOccurred"]


async def test_a_channel_that_is_full_loses_the_newest_and_holds_nobody_up(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](1)
    async with open_session(feishu_gateway, on_lifecycle=send) as session:
        push = await feishu_gateway.push(RECEIVE, MESSAGE)
        assert (await push.settled()).code == 200
        assert session.stats().lost_lifecycle >= 3
        assert isinstance(receive.receive_nowait(), Connected)


async def test_a_channel_may_be_closed_by_its_reader(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    send, receive = trio.open_memory_channel[LifecycleEvent](100)
    async with open_session(feishu_gateway, on_lifecycle=send) as session, session.lifecycle() as stream:
        receive.close()
        await feishu_gateway.drop()
        await seen(stream, Connected)
        assert session.stats().lost_lifecycle == 0


async def not_plain(event: LifecycleEvent) -> None: ...


@pytest.mark.parametrize(
    "follower",
    [5, "print", not_plain, trio.open_memory_channel[LifecycleEvent](1)[1]],
    ids=["number", "text", "async function", "receiving end"],
)
async def test_what_cannot_follow_is_refused(feishu_gateway: Gateway, follower: Any) -> None:
    with pytest.raises(ConfigError, match=r"on_lifecycle: .* it must be a plain function \(not async\)"):
        async with open_session(feishu_gateway, on_lifecycle=follower):
            raise AssertionError("the block must not be entered")


# Authentication


async def test_without_a_token_the_handshake_is_the_authentication(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        assert session.is_authenticated
        feishu_gateway.refuse_discovery(1)
        async with session.lifecycle() as stream:
            await feishu_gateway.drop()
            await seen(stream, Disconnected)
        assert not session.is_authenticated
        feishu_gateway.accept()
        await trio.sleep(100)
        assert session.is_authenticated
    assert not session.is_authenticated


async def test_with_a_token_the_servers_message_is(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, app_access_token=TOKEN) as session:
        assert session.is_connected
        assert not session.is_authenticated
        async with session.lifecycle() as stream:
            await seen(stream, Authenticated)
            assert session.is_authenticated
            feishu_gateway.delay(1)
            await feishu_gateway.drop()
            await seen(stream, Connected)
            assert not session.is_authenticated, "each connection has its own"
            await seen(stream, Authenticated)
            assert session.is_authenticated


async def test_a_token_that_is_refused_is_told_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[LifecycleEvent] = []
    with pytest.raises(AuthenticationError) as refused:
        async with open_session(feishu_gateway, app_access_token=TOKEN, on_lifecycle=told.append) as session:
            await feishu_gateway.text(json.dumps({"type": "auth", "code": 1, "msg": f"{TOKEN} is wrong"}))
            await session.wait_closed()
    (event,) = [event for event in told if isinstance(event, ErrorOccurred)]
    assert (event.where, event.error) == ("authentication", refused.value)
    assert TOKEN not in repr(told)


# Not run by trio


async def enter() -> None:
    async with open_feishu_session("cli_a", "secret"):
        raise AssertionError("the block must not be entered")


def test_asyncio_is_told_what_to_do() -> None:
    with pytest.raises(RuntimeError) as error:
        asyncio.run(enter())
    text = str(error.value)
    assert "open_feishu_session needs trio, and asyncio is running" in text
    for way in (
        "trio.run(main)",
        "open_in_trio of feishu_trio.asyncio",
        "asyncio.to_thread(trio.run, main)",
        "trio.lowlevel.start_guest_run",
    ):
        assert way in text


def test_outside_any_loop_too() -> None:
    with pytest.raises(RuntimeError, match=r"needs trio, which is not running: .* trio\.run\(main\)"):
        enter().send(None)


async def connect() -> bool:
    async with open_gateway() as gateway, open_session(gateway) as session:
        return session.is_connected


async def in_a_thread() -> bool:
    return await asyncio.to_thread(trio.run, connect)


async def in_guest_mode() -> bool:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[outcome.Outcome[bool]] = loop.create_future()
    trio.lowlevel.start_guest_run(
        connect,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=done.set_result,
        host_uses_signal_set_wakeup_fd=True,
    )
    return (await done).unwrap()


@pytest.mark.parametrize("way", [in_a_thread, in_guest_mode])
def test_the_ways_beside_asyncio(way: Callable[[], Any]) -> None:
    assert asyncio.run(way())


# The page


def test_the_page_has_a_row_for_each_event() -> None:
    names = {
        name
        for name in feishu_trio.__all__
        if isinstance(kind := getattr(feishu_trio, name), type) and issubclass(kind, LifecycleEvent)
    } - {"LifecycleEvent"}
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows.keys() == names
    for name, row in rows.items():
        fields = {*getattr(feishu_trio, name).__struct_fields__} - {"at"}
        assert fields <= set(re.findall(r"`(\w+)`", row)), name


@pytest.mark.parametrize("number", [0, 1])
async def test_the_pages_blocks_work(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    block: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[number], block)
    feishu_gateway.refuse_discovery(1, "too busy", times=1)
    settings = {"dial": feishu_gateway.dial, "http_transport": feishu_gateway.transport}
    main = functools.partial(
        block["main"],
        feishu_gateway.app_id,
        feishu_gateway.app_secret,
        domain=feishu_gateway.domain,
        **settings,
    )
    with trio.move_on_after(5):
        await main()
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert "too busy" in first
    assert ("try 1 comes in" if number == 0 else "ReconnectScheduled(") in second
    assert ("connected as" if number == 0 else "Connected(") in third
