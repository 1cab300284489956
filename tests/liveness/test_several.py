"""Several connections of a session, and many sessions in a program."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import (
    ConnectError,
    Disconnected,
    DisconnectReason,
    ErrorOccurred,
    Event,
    Router,
    SessionState,
)
from feishu_trio.testing import Gateway, open_gateway
from session.rig import all_up, nothing_left, open_real_session, open_session, seen

RECEIVE = "im.message.receive_v1"


async def test_connections_are_staggered_and_do_not_ping_in_step(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=10):
        connections = await all_up(feishu_gateway, 10)
        assert all(b.opened_at - a.opened_at >= 0.99 for a, b in pairwise(connections))
        await trio.sleep(300)
        last = [max(at for at, of in feishu_gateway.pings if of is each) for each in connections]
        assert all(b - a >= 0.99 for a, b in pairwise(sorted(last)))


async def test_connections_that_fall_together_do_not_come_back_together(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=10):
        await all_up(feishu_gateway, 10)
        await trio.sleep(100)
        await feishu_gateway.drop()
        connections = await all_up(feishu_gateway, 10)
        opened = sorted(each.opened_at for each in connections)
        assert opened[-1] - opened[0] <= 1.01
        assert len({round(at, 6) for at in opened}) == 10


async def test_fifty_connections_and_each_takes_events(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with nothing_left(), open_session(feishu_gateway, connections=50) as session:
        for connection in await all_up(feishu_gateway, 50):
            push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=connection)
            answer = await push.settled()
            assert (answer.code, answer.connection) == (200, connection)
        assert session.stats().connections == 50
        assert session.health()


async def test_the_session_is_connected_while_one_connection_is(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=3, reconnect_delay=600) as session:
        connections = await all_up(feishu_gateway, 3)
        for lost, connection in enumerate(connections[:2], start=1):
            await feishu_gateway.drop(connection=connection)
            await trio.testing.wait_all_tasks_blocked()
            assert session.state is SessionState.CONNECTED
            assert session.health().reasons == (f"{3 - lost} of 3 connections are up",)
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        (reason,) = session.health().reasons
        assert reason == (
            "the session is reconnecting: the connection was lost: reset (the other end reset the connection)"
        )


async def test_a_connection_that_is_given_up_leaves_the_others_alone(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """And the last one that is given up takes the session with it."""

    async def lose_one_after_the_other() -> None:
        async with open_session(feishu_gateway, connections=3, max_reconnect_attempts=2) as session:
            connections = await all_up(feishu_gateway, 3)
            await trio.sleep(100)
            for left in (2, 1):
                async with session.lifecycle() as lifecycle:
                    feishu_gateway.refuse_discovery(times=2)
                    await feishu_gateway.drop(connection=connections[left])
                    error = (await seen(lifecycle, ErrorOccurred))[-1]
                assert isinstance(error, ErrorOccurred)
                assert isinstance(error.error, ConnectError)
                assert session.state is SessionState.CONNECTED
                assert session.health().reasons == (f"{left} of 3 connections are up",)
            feishu_gateway.refuse_discovery()
            await feishu_gateway.drop()
            await trio.sleep(100)
            pytest.fail("the session lives on without a connection")

    with pytest.raises(ConnectError, match="given up after 2 tries"):
        await lose_one_after_the_other()


async def test_health_tells_of_a_heartbeat_that_is_overdue(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=20) as session:
        await trio.sleep(19)
        feishu_gateway.freeze()
        await trio.sleep(1 + 14)
        assert session.health()
        await trio.sleep(2)
        assert session.health().reasons == (
            f"a heartbeat of connection {feishu_gateway.connections[0].device_id} is overdue",
        )
        feishu_gateway.thaw()
        await trio.sleep(0.1)
        assert session.health()


@pytest.mark.parametrize("real", [False, True], ids=["in memory", "over sockets"])
async def test_a_hundred_sessions_in_one_program(real: bool) -> None:
    """Each connects, handles its own event and no other, and leaves nothing behind."""
    open_one = open_real_session if real else open_session
    handled: dict[str, list[str]] = {}

    async def run(number: int, gateway: Gateway, done: trio.Event) -> None:
        router = Router()
        name = f"bot {number}"

        @router.on(RECEIVE)
        async def take(event: Event[Any]) -> None:
            handled.setdefault(name, []).append(event.id)

        async with open_one(gateway, router=router, user_agent=name) as session:
            await done.wait()
            assert session.stats().answered == 1

    async with nothing_left(), open_gateway(connection_limit=100) as gateway, trio.open_nursery() as nursery:
        done = trio.Event()
        for number in range(100):
            nursery.start_soon(run, number, gateway, done)
        with trio.fail_after(30):
            connections = await gateway.wait_connected(100)
        for each in connections:
            push = await gateway.push(
                RECEIVE, {"message": {}}, event_id=f"of {each.headers['user-agent']}", connection=each
            )
            assert (await push.settled()).code == 200
        done.set()
    assert handled == {f"bot {number}": [f"of bot {number}"] for number in range(100)}
    assert not gateway.violations
    assert not gateway.connections


async def test_one_refused_while_all_are_down_leaves_the_others_to_come_back(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """While the server still counts connections that are dead, one may be one too many."""
    async with open_session(feishu_gateway, connections=2) as session:
        await all_up(feishu_gateway, 2)
        await trio.sleep(100)
        feishu_gateway.refuse_discovery(1000040350, times=1)
        await feishu_gateway.drop()
        await trio.sleep(30)
        assert session.state is SessionState.CONNECTED
        assert session.health().reasons == ("1 of 2 connections are up",)


async def test_the_last_to_be_given_up_ends_the_session_though_all_are_down(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async def lose_all() -> None:
        async with open_session(feishu_gateway, connections=3, max_reconnect_attempts=2) as session:
            await all_up(feishu_gateway, 3)
            await feishu_gateway.stop_listening()
            await feishu_gateway.drop()
            await session.wait_closed()

    with pytest.raises(ConnectError, match="given up"):
        await lose_all()


async def test_an_end_is_noticed_though_text_messages_wait_for_room(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on_message("work")
    async def slow(message: object) -> None:
        await trio.sleep(0.8)

    async with (
        open_session(feishu_gateway, router=router, concurrency=1, queue_capacity=1) as session,
        session.lifecycle() as stream,
    ):
        for _ in range(300):
            await feishu_gateway.text({"type": "work"})
        await trio.sleep(5)
        await feishu_gateway.drop()
        lost = trio.current_time()
        while not isinstance(happened := await anext(stream), Disconnected):
            pass
        assert happened.at - lost <= 1
        assert happened.reason == DisconnectReason.RESET
