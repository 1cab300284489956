"""How a session ends: in good order, by an error, by cancellation. Nothing is left of it."""

# ruff: noqa: PT012 - what leaves a whole block is what these tests are about

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import (
    Ack,
    AuthenticationError,
    ConnectError,
    ConnectionLimitError,
    Event,
    FeishuError,
    ForbiddenError,
    MemoryInbox,
    Router,
    Session,
    SessionState,
)
from feishu_trio.testing import Gateway, open_gateway

from .rig import all_up, come_true, nothing_left, open_real_session, open_session

MESSAGE = {"message": {"message_id": "om_1", "chat_id": "oc_1", "content": "{}"}}


# On entry


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (10003, AuthenticationError),
        (514, AuthenticationError),
        (1000040344, AuthenticationError),
        (403, ForbiddenError),
        (1000040350, ConnectionLimitError),
    ],
)
async def test_a_refusal_raises_on_entry(
    feishu_gateway: Gateway, code: int, error: type[FeishuError]
) -> None:
    feishu_gateway.refuse_discovery(code)
    async with nothing_left():
        with pytest.raises(FeishuError) as info:
            async with open_session(feishu_gateway):
                raise AssertionError("the block must not be entered")
        assert type(info.value) is error
        assert info.value.code == code


async def test_a_refused_handshake_raises_on_entry(feishu_gateway: Gateway) -> None:
    feishu_gateway.refuse_handshake(514, 1000040350)
    with pytest.raises(ConnectionLimitError):
        async with open_session(feishu_gateway):
            raise AssertionError("the block must not be entered")


async def test_a_server_that_cannot_be_reached_is_tried_as_often_as_configured(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.refuse_discovery(1)
    with pytest.raises(ConnectError, match="given up after 3 tries") as info:
        async with open_session(feishu_gateway, max_reconnect_attempts=3):
            raise AssertionError("the block must not be entered")
    assert info.value.code == 1
    assert len(feishu_gateway.requests) == 4


async def test_the_servers_count_of_tries_holds_unless_the_user_has_one(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.client_config = {"ReconnectCount": 2}
    for given, tries in ((None, 2), (5, 5)):
        with pytest.raises(ConnectError, match=f"given up after {tries} tries"):
            async with open_session(feishu_gateway, max_reconnect_attempts=given) as session:
                feishu_gateway.refuse_handshake(None, status=502)
                await feishu_gateway.drop()
                await session.wait_closed()
        feishu_gateway.accept()


async def test_tries_are_counted_from_the_last_connection_on(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, max_reconnect_attempts=1) as session:
        for _ in range(5):
            await feishu_gateway.drop()
            await session.wait_state(SessionState.RECONNECTING)
            await session.wait_state(SessionState.CONNECTED)


async def test_without_reconnecting_the_first_failure_is_the_end(feishu_gateway: Gateway) -> None:
    feishu_gateway.refuse_discovery(1)
    with pytest.raises(ConnectError):
        async with open_session(feishu_gateway, auto_reconnect=False):
            raise AssertionError("the block must not be entered")
    feishu_gateway.accept()
    with pytest.raises(ConnectError, match="the connection was lost: closed by server with code 1001"):
        async with open_session(feishu_gateway, auto_reconnect=False) as session:
            await feishu_gateway.drop(1001)
            await session.wait_closed()


async def test_note_01_hanging_discovery_ends_at_connect_timeout_and_is_retried(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.hang_discovery(times=2)
    start = trio.current_time()
    async with open_session(feishu_gateway, connect_timeout=7, reconnect_delay=0.5):
        waited = trio.current_time() - start
        assert 14 <= waited <= 14 + 0.5 + 1
        # and in the background, after a drop
        feishu_gateway.hang_discovery(times=1)
        start = trio.current_time()
        await feishu_gateway.drop()
        await feishu_gateway.connected.wait_value(0)
        await feishu_gateway.wait_connected()
        assert trio.current_time() - start >= 7


# Fatal errors in the background


async def in_wait_closed(session: Session) -> None:
    await session.wait_closed()


async def asleep(session: Session) -> None:
    await trio.sleep_forever()


async def in_a_nursery(session: Session) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(session.wait_closed)


async def in_nurseries(session: Session) -> None:
    async with trio.open_nursery() as outer:
        outer.start_soon(in_a_nursery, session)
        outer.start_soon(trio.sleep_forever)
        with trio.CancelScope():
            await in_a_nursery(session)


async def pulling(session: Session) -> None:
    async with session.events() as events:
        async for _ in events:
            pass


async def sending(session: Session) -> None:
    while True:
        await session.send("x")
        await trio.sleep(0.01)


async def reconnecting(session: Session) -> None:
    while True:
        with contextlib.suppress(ConnectError):
            await session.reconnect()
        await trio.sleep(0.1)


async def failing_in_cleanup(session: Session) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("in cleanup")


BODIES = [in_wait_closed, asleep, in_a_nursery, in_nurseries, pulling, sending, failing_in_cleanup]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("connections", [1, 3])
async def test_note_04_a_fatal_error_in_the_background_leaves_the_block_as_itself(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    body: Callable[[Session], Awaitable[None]],
    connections: int,
) -> None:
    async with nothing_left():
        session = None
        with pytest.raises(FeishuError) as info, trio.fail_after(100):
            async with open_session(feishu_gateway, connections=connections) as session:
                await all_up(feishu_gateway, connections)
                feishu_gateway.refuse_discovery(403)
                await feishu_gateway.drop()
                await body(session)
                raise AssertionError("the body must not go on")
        assert type(info.value) is ForbiddenError
        assert session is not None
        assert session.state is SessionState.FAILED
        assert not session.health()


async def test_note_04_whoever_waits_outside_the_block_hears_of_it(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    heard: list[object] = []

    async def outside(session: Session) -> None:
        async with session.lifecycle() as lifecycle:
            async for event in lifecycle:
                heard.append(type(event).__name__)
        await session.wait_closed()
        heard.append(session.state)
        for ask in (session.send("x"), session.reconnect(), session.wait_state(SessionState.CONNECTED)):
            with pytest.raises(trio.ClosedResourceError):
                await ask

    async with trio.open_nursery() as nursery:
        with pytest.raises(ForbiddenError):
            async with open_session(feishu_gateway) as session:
                nursery.start_soon(outside, session)
                await trio.testing.wait_all_tasks_blocked()
                feishu_gateway.refuse_discovery(403)
                await feishu_gateway.drop()
                await trio.sleep_forever()
    assert heard[-4:] == ["Disconnected", "ReconnectScheduled", "ErrorOccurred", SessionState.FAILED]


async def test_two_fatal_errors_at_once_are_one(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    for _ in range(20):
        with pytest.raises(ForbiddenError):
            async with open_session(feishu_gateway, connections=5, reconnect_delay=0) as session:
                await all_up(feishu_gateway, 5)
                feishu_gateway.refuse_discovery(403)
                await feishu_gateway.drop()
                await session.wait_closed()
        feishu_gateway.accept()


async def test_over_the_connection_limit_the_session_goes_on_with_fewer(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_gateway(connection_limit=2) as gateway, open_session(gateway, connections=4) as session:
        await trio.sleep(60)
        assert session.stats().connections == 2
        assert "the session goes on with 2 connections" in caplog.text
        assert session.health().reasons == ("2 of 4 connections are up",)
        with trio.fail_after(10), pytest.raises(ConnectionLimitError):
            await session.reconnect()  # there is no room for a new one beside the old
        assert session.stats().connections == 2
        await gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        await session.wait_state(SessionState.CONNECTED)


# The user's own exceptions


class OwnError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        OwnError("mine"),
        ExceptionGroup("mine", [OwnError("a")]),
        ExceptionGroup("mine", [OwnError("a"), ValueError("b")]),
        KeyboardInterrupt(),
        SystemExit(3),
        BaseExceptionGroup("mine", [KeyboardInterrupt()]),
        ForbiddenError("of my own", code=7),
        StopAsyncIteration(),
        trio.TooSlowError(),
    ],
    ids=repr,
)
async def test_the_users_exception_leaves_as_itself(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, error: BaseException
) -> None:
    async with nothing_left():
        with pytest.raises(type(error)) as info:
            async with open_session(feishu_gateway) as session:
                await trio.sleep(1)
                raise error
        assert info.value is error
        assert session.state is SessionState.CLOSED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_an_exit_out_of_a_handler_leaves_as_itself(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, error: BaseException
) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def exits(event: object) -> None:
        raise error

    with pytest.raises(type(error)) as info:
        async with open_session(feishu_gateway, router=router) as session:
            await feishu_gateway.push("im.message.receive_v1", MESSAGE)
            await session.wait_closed()
    assert info.value is error


@pytest.mark.parametrize("where", ["body", "handler", "graceful end"])
def test_an_interrupt_leaves_at_once_as_itself(where: str) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def stuck(event: object) -> None:
        if where == "handler":
            signal.raise_signal(signal.SIGINT)
        await trio.sleep_forever()

    def interrupt_soon() -> None:
        main_thread = threading.main_thread().ident
        assert main_thread is not None
        threading.Timer(0.1, signal.pthread_kill, (main_thread, signal.SIGINT)).start()

    async def main() -> None:
        async with open_gateway() as gateway:
            with pytest.raises(KeyboardInterrupt):
                async with open_real_session(gateway, router=router, shutdown_timeout=60):
                    await gateway.push("im.message.receive_v1", MESSAGE)
                    await trio.sleep(0.05)
                    if where != "handler":
                        interrupt_soon()
                    if where != "graceful end":
                        await trio.sleep_forever()

    start = time.monotonic()
    trio.run(main)
    assert time.monotonic() - start < 5


# Cancellation


def stuck_router() -> Router:
    """Its handler never ends."""
    router = Router()

    @router.on("im.message.receive_v1")
    async def stuck(event: object) -> None:
        await trio.sleep_forever()

    return router


@pytest.mark.parametrize("state", ["connected", "frozen", "reconnecting", "discovering", "backlog"])
async def test_note_05_cancellation_from_outside_leaves_at_once(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, state: str
) -> None:
    async with nothing_left():
        router = stuck_router()
        with trio.CancelScope() as scope:
            async with open_session(feishu_gateway, router=router, shutdown_timeout=60) as session:
                for _ in range(100):
                    await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
                await trio.sleep(0.5)
                if state == "frozen":
                    feishu_gateway.freeze()
                elif state == "reconnecting":
                    feishu_gateway.refuse_discovery(1)
                    await feishu_gateway.drop()
                    await session.wait_state(SessionState.RECONNECTING)
                elif state == "discovering":
                    feishu_gateway.hang_discovery()
                    await feishu_gateway.drop()
                    await trio.sleep(2)
                elif state == "backlog":
                    feishu_gateway.freeze()
                    with trio.move_on_after(1):
                        await session.send(bytes(1 << 22))
                scope.cancel()
                start = trio.current_time()
                await session.wait_closed()
        assert scope.cancelled_caught
        assert trio.current_time() - start < 0.1
        assert session.state is SessionState.CLOSED
        feishu_gateway.thaw()


async def test_a_handler_stuck_in_a_thread_does_not_hold_up_the_end(feishu_gateway: Gateway) -> None:
    router = Router()
    release, entered = threading.Event(), threading.Event()

    @router.on("im.message.receive_v1")
    def blocks(event: object) -> None:
        entered.set()
        release.wait(10)

    try:
        async with open_real_session(feishu_gateway, router=router, shutdown_timeout=0.05):
            push = await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
            await trio.to_thread.run_sync(entered.wait, 10)
            start = trio.current_time()
        assert trio.current_time() - start < 2
        assert (await push.settled()).code == 500
    finally:
        release.set()


async def test_cancellation_while_it_is_opened(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async def give_up() -> None:
        start = trio.current_time()
        with trio.move_on_after(3) as scope:
            async with open_session(feishu_gateway):
                raise AssertionError("the block must not be entered")
        assert scope.cancelled_caught
        assert trio.current_time() - start < 3.1

    async with nothing_left():
        feishu_gateway.hang_discovery(times=1)
        await give_up()
    feishu_gateway.hang_handshake(times=1)  # this gateway never sees that its client has left
    await give_up()


async def test_cancellation_in_the_middle_of_a_graceful_end_ends_it_at_once(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with nothing_left():
        start = trio.current_time()
        with trio.move_on_after(5) as scope:
            async with open_session(feishu_gateway, router=stuck_router(), shutdown_timeout=60):
                await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
                await trio.sleep(1)
        assert scope.cancelled_caught
        assert trio.current_time() - start < 5.1


# In good order


async def test_note_05_a_graceful_end_lets_handlers_end_and_writes_their_answers(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()
    ended = []

    @router.on("im.message.receive_v1")
    async def slow(event: object) -> None:
        await trio.sleep(5)
        ended.append(trio.current_time())

    async with open_session(feishu_gateway, router=router, shutdown_timeout=8) as session:
        (connection,) = feishu_gateway.connections
        push = await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
        await trio.sleep(1)
        start = trio.current_time()
    assert 4 <= trio.current_time() - start < 4.2
    assert len(ended) == 1
    assert [answer.code for answer in push.answers] == [200]
    await connection.wait_closed()
    assert (connection.close_code, session.state) == (1000, SessionState.CLOSED)
    assert not feishu_gateway.violations


async def test_what_overruns_the_shutdown_timeout_is_cancelled_and_answered_500(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with nothing_left():
        router = Router()
        cancelled = 0

        @router.on("im.message.receive_v1")
        async def endless(event: object) -> None:
            nonlocal cancelled
            try:
                await trio.sleep_forever()
            finally:
                cancelled += 1

        async with open_session(
            feishu_gateway, router=router, shutdown_timeout=2, concurrency=3, dedupe_window=0
        ):
            (connection,) = feishu_gateway.connections
            pushes = [
                await feishu_gateway.push(
                    "im.message.receive_v1",
                    {"message": {"message_id": f"om_{n}", "chat_id": f"oc_{n}"}},
                    ladder=(),
                )
                for n in range(10)
            ]
            await trio.sleep(1)
            start = trio.current_time()
        assert 2 <= trio.current_time() - start < 2.2
        assert [[answer.code for answer in push.answers] for push in pushes] == [[500]] * 10
        assert cancelled == 3
        await connection.wait_closed()
        assert connection.close_code == 1000


@pytest.mark.parametrize(("timeout", "begins"), [(2, True), (0, False)])
async def test_the_log_says_what_an_end_waits_for_and_what_it_cuts_off(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
    timeout: float,
    begins: bool,
) -> None:
    router = Router()

    @router.on("im.message.receive_v1", name="endless")
    async def endless(event: object) -> None:
        await trio.sleep_forever()

    caplog.set_level(logging.INFO, "feishu_trio.session")
    async with open_session(feishu_gateway, router=router, shutdown_timeout=timeout):
        await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
        await feishu_gateway.push("im.message.receive_v1", {"message": {"message_id": "om_2"}}, ladder=())
        await trio.sleep(1)
    async with open_session(feishu_gateway, router=router, shutdown_timeout=timeout):
        pass  # what takes no time needs no line
    lines = [record.getMessage() for record in caplog.records if record.name == "feishu_trio.session"]
    assert lines == [
        *(["closing: 2 events may end within 2 s (at work: endless)"] if begins else []),
        f"2 events have not ended within shutdown_timeout, {timeout} s: what is at work is cancelled (endless)",
    ]


async def test_no_event_is_taken_in_once_closing_has_begun(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()
    handled = []

    @router.on("im.message.receive_v1")
    async def slow(event: object) -> None:
        handled.append(event)
        await trio.sleep(3)

    async with open_session(feishu_gateway, router=router) as session, trio.open_nursery() as nursery:
        await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await trio.sleep(0.1)
        nursery.start_soon(session.aclose)
        await session.wait_state(SessionState.CLOSING)
        assert not session.is_connected
        await feishu_gateway.push("im.message.receive_v1", {"message": {}}, ladder=())
    assert len(handled) == 1


async def test_the_connection_is_closed_once_all_is_answered_and_handlers_go_on(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router, other = Router(), Router()
    handled = []

    @router.on("im.message.receive_v1")
    async def answer(event: Event[Any]) -> None:
        await trio.sleep(30)
        await event.reply("wait")
        async with event.stream() as stream:
            await stream.append("well")
        handled.append(event.id)

    @other.on("im.message.receive_v1")
    async def take(event: Event[Any]) -> None:
        handled.append(event.id)

    async with (
        open_session(feishu_gateway, router=other),
        open_session(feishu_gateway, router=router, inbox=MemoryInbox(), shutdown_timeout=60) as session,
        trio.open_nursery() as nursery,
    ):
        _, ends = await all_up(feishu_gateway, 2)
        first = await feishu_gateway.push("im.message.receive_v1", MESSAGE, connection=ends)
        await first.settled()
        await trio.sleep(1)
        start = trio.current_time()
        nursery.start_soon(session.aclose)
        await ends.wait_closed()
        assert trio.current_time() - start < 0.2
        assert ends.close_code == 1000
        assert (session.state, handled) == (SessionState.CLOSING, [])
        second = await feishu_gateway.push("im.message.receive_v1", {"message": {"message_id": "om_2"}})
        assert (await second.settled()).latency < 0.1
        await session.wait_closed()
    assert handled == [second.event_id, first.event_id]
    assert [message.msg_type for message in feishu_gateway.messages] == ["text", "interactive"]


async def test_while_an_answer_is_owed_what_is_new_is_refused_and_what_is_known_is_not(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()
    ended = []

    @router.on("im.message.receive_v1")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(20)
        ended.append("slow")

    @router.on("im.message.receive_v1", ack=Ack.ON_RECEIPT, order_by=None)
    async def slower(event: Event[Any]) -> None:
        await trio.sleep(40)
        ended.append("slower")

    @router.on("card.action.trigger", fallback={"toast": {"content": "later"}})
    async def click(event: Event[Any]) -> None:
        raise AssertionError("it is refused")

    async with open_session(feishu_gateway, router=router, shutdown_timeout=60) as session:
        (connection,) = feishu_gateway.connections
        await trio.sleep(0.1)
        known = await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.aclose)
            await session.wait_state(SessionState.CLOSING)
            new = await feishu_gateway.push(
                "im.message.receive_v1", {"message": {"message_id": "om_2"}}, ladder=()
            )
            clicked = await feishu_gateway.push("card.action.trigger", {})
            assert [(each := await push.settled()).code for push in (new, clicked)] == [500, 200]
            assert each.data == {"toast": {"content": "later"}}
            assert each.latency < 0.1
            await connection.wait_closed()
            assert ended == ["slow"]
    assert ended == ["slow", "slower"]
    # It was delivered again after 15 s.
    assert [answer.code for answer in known.answers] == [200, 200]
    assert session.stats().refused == 2


async def test_what_comes_on_a_connection_that_another_has_replaced_is_answered_before_the_end(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def slow(event: Event[Any]) -> None:
        await trio.sleep(3)

    async with open_session(feishu_gateway, router=router) as session:
        (replaced,) = await all_up(feishu_gateway, 1)
        feishu_gateway.delay(1, replaced)
        push = await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=(), connection=replaced)
        await session.reconnect()  # the event is on its way, and the old one's last frame behind it
        await come_true(lambda: session.stats().in_flight)
    assert [answer.code for answer in push.answers] == [200]


async def test_heartbeats_go_on_while_handlers_end(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def slow(event: object) -> None:
        await trio.sleep(300)

    async with open_session(feishu_gateway, router=router, shutdown_timeout=400):
        push = await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
        await trio.sleep(0.1)
    assert [answer.code for answer in push.answers] == [200]
    assert len(feishu_gateway.pings) >= 10


async def test_a_server_that_is_frozen_does_not_hold_up_the_end(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway):
        await trio.sleep(1)
        feishu_gateway.freeze()
        start = trio.current_time()
    assert trio.current_time() - start < 5


async def test_an_end_while_there_is_no_connection(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        await feishu_gateway.stop_listening()
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        await trio.sleep(30)
        start = trio.current_time()
    assert trio.current_time() - start < 0.1
    await feishu_gateway.start_listening()
    await trio.sleep(1000)
    assert not feishu_gateway.connections  # no new connection after the end


# aclose


async def test_aclose_may_be_called_twice_and_at_once_and_the_body_goes_on(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = stuck_router()
    async with open_session(feishu_gateway, router=router, shutdown_timeout=1) as session:
        await feishu_gateway.push("im.message.receive_v1", MESSAGE)
        await trio.sleep(0.1)
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(session.aclose)
            nursery.start_soon(session.wait_closed)
        assert trio.current_time() - start < 1.2
        await session.aclose()
        assert session.state is SessionState.CLOSED
        await trio.sleep(1)  # the body is not cancelled
        for ask in (session.send("x"), session.reconnect(), session.wait_state(SessionState.CONNECTED)):
            with pytest.raises(trio.ClosedResourceError):
                await ask


async def test_aclose_from_a_handler_is_bounded(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()
    open_sessions: list[Session] = []

    @router.on("im.message.receive_v1")
    async def closes(event: object) -> None:
        await open_sessions[0].aclose()

    async with open_session(feishu_gateway, router=router, shutdown_timeout=3) as session:
        open_sessions.append(session)
        push = await feishu_gateway.push("im.message.receive_v1", MESSAGE, ladder=())
        start = trio.current_time()
        await session.wait_closed()
        assert trio.current_time() - start < 3.2
    assert [answer.code for answer in push.answers] == [500]


# Many of them


async def test_note_06_sessions_side_by_side(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_gateway(app_id="cli_1111111111111111") as one,
        open_gateway(app_id="cli_2222222222222222") as two,
    ):
        got: list[tuple[str, str]] = []

        async def bot(gateway: Gateway, name: str) -> None:
            router = Router()

            @router.on("im.message.receive_v1")
            async def take(event: object) -> None:
                got.append((name, event.app_id))  # type: ignore[attr-defined]

            async with open_session(gateway, router=router) as session:
                await session.wait_closed()

        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(bot, one, f"one {n}")
                nursery.start_soon(bot, two, f"two {n}")
            await one.wait_connected(5)
            await two.wait_connected(5)
            for gateway in (one, two):
                for connection in gateway.connections:
                    push = await gateway.push("im.message.receive_v1", {"message": {}}, connection=connection)
                    assert (await push.settled()).code == 200
            nursery.cancel_scope.cancel()
    assert len(got) == 10
    assert all(app_id.startswith("cli_1") == name.startswith("one") for name, app_id in got)


async def test_one_session_that_fails_leaves_the_others_alone(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as good:
        with pytest.raises(AuthenticationError):
            async with open_session(feishu_gateway, app_id="cli_wrong"):
                pass
        with pytest.raises(OwnError):
            async with open_session(feishu_gateway):
                raise OwnError
        await trio.sleep(100)
        assert good.is_connected
        assert good.stats().reconnects == 0


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="open files are counted in /proc")
async def test_note_05_nothing_is_left_of_sessions_one_after_the_other(feishu_gateway: Gateway) -> None:
    async with open_real_session(feishu_gateway):
        pass  # what is made once is made now
    await feishu_gateway.connected.wait_value(0)
    await trio.sleep(0.02)
    files = open_files()
    async with nothing_left():
        for n in range(20):
            with contextlib.suppress(OwnError), trio.CancelScope() as scope:
                async with open_real_session(feishu_gateway):
                    if n % 3 == 0:
                        raise OwnError
                    if n % 3 == 1:
                        scope.cancel()
        await feishu_gateway.connected.wait_value(0)
        await trio.sleep(0.05)
    assert open_files() <= files
