"""What a session's heartbeat statistics show."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from feishu_trio import SessionState
from feishu_trio.testing import Gateway

from .rig import all_up, open_session


async def test_heartbeat_statistics(feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=10) as session:
        heartbeat = session.heartbeat
        feishu_gateway.delay(0.25)
        await trio.sleep(305.5)
        assert heartbeat.total == 31
        assert len(heartbeat.recent) == 20
        assert heartbeat.last_rtt == pytest.approx(0.25)
        assert heartbeat.last_at == heartbeat.recent[-1].at
        assert heartbeat.average_interval == pytest.approx(10, abs=0.1)
        assert heartbeat.jitter == pytest.approx(0, abs=0.1)


async def test_heartbeats_of_several_connections_are_kept_apart(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=3, heartbeat_interval=10) as session:
        await trio.sleep(500)
        assert len({connection for _, connection in feishu_gateway.pings}) == 3
        assert session.heartbeat.average_interval == pytest.approx(10, abs=0.5)
        assert session.heartbeat.jitter == pytest.approx(0, abs=0.5)


async def test_heartbeats_that_become_uneven_are_warned_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=20, pong_timeout=60) as session:
        await trio.sleep(300.5)
        assert "uneven" not in caplog.text
        for n in range(20):
            feishu_gateway.delay(n % 2 * 15)
            await trio.sleep(20)
        assert "heartbeats are uneven" in caplog.text
        assert session.stats().reconnects == 0


# Heartbeats in JSON


@pytest.mark.parametrize("kind", ["heartbeat", "HeartBeat"])
async def test_heartbeat_messages_are_a_series_of_their_own(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, kind: str
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=20) as session:
        for n in range(25):
            await feishu_gateway.text({"type": kind, "data": {"timestamp": 1_700_000_000 + n}})
            await trio.sleep(30)
        heartbeat, messages = session.heartbeat, session.heartbeat.messages
        assert messages.total == 25
        assert len(messages.recent) == 20
        assert messages.last_at == messages.recent[-1].at
        assert messages.average_interval == pytest.approx(30)
        assert messages.jitter == pytest.approx(0)
        assert heartbeat.total == 38
        assert heartbeat.average_interval == pytest.approx(20, abs=0.1)


async def test_heartbeat_messages_of_several_connections_are_kept_apart(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=2) as session:
        connections = await all_up(feishu_gateway, 2)
        for n in range(20):
            await feishu_gateway.text({"type": "heartbeat"}, connection=connections[n % 2])
            await trio.sleep(n % 2 * 20 + 5)
        assert session.heartbeat.messages.total == 20
        assert session.heartbeat.messages.average_interval == pytest.approx(30)
        assert session.heartbeat.messages.jitter == pytest.approx(0)


async def test_the_time_without_a_connection_is_no_interval(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        for _ in range(3):
            await feishu_gateway.text({"type": "heartbeat"})
            await trio.sleep(10)
            await feishu_gateway.drop()
            await trio.sleep(1000)
        assert session.heartbeat.messages.total == 3
        assert session.heartbeat.messages.average_interval is None


async def test_intervals_go_on_over_a_replacement_of_the_connection(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        for _ in range(4):
            await feishu_gateway.text({"type": "heartbeat"})
            await trio.sleep(20)
            await session.reconnect()
            await trio.sleep(10)
        assert session.stats().reconnects == 4
        assert session.heartbeat.messages.total == 4
        assert session.heartbeat.messages.average_interval == pytest.approx(30, abs=0.1)
        assert session.heartbeat.messages.jitter == pytest.approx(0, abs=0.1)


async def test_heartbeat_messages_that_become_uneven_are_warned_of(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(feishu_gateway) as session:
        for n in range(30):
            if n == 20:
                assert "uneven" not in caplog.text
            await feishu_gateway.text({"type": "heartbeat"})
            await trio.sleep(30 if n < 20 else 22 + n % 2 * 16)
        assert (
            caplog.text.count("heartbeats are uneven: the last 10 intervals between heartbeat messages") == 1
        )
        assert (session.heartbeat.messages.jitter or 0) > 5


async def test_heartbeat_messages_that_stay_away_are_ill_health(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        await trio.sleep(1000)
        assert session.health(), "there never was one"
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(119)
        assert session.health()
        await trio.sleep(2)
        assert session.health().reasons == (
            "no heartbeat message has come for 121 s, where there had been some",
        )
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(1)
        assert session.health()


@pytest.mark.parametrize("by_hand", [True, False], ids=["replaced", "lost"])
async def test_new_connections_do_not_put_off_what_is_missing(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, by_hand: bool
) -> None:
    async with open_session(feishu_gateway) as session:
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(1)
        was_well = 0
        while session.health() and was_well < 20:
            was_well += 1
            if by_hand:
                await session.reconnect()
            else:
                await feishu_gateway.drop()
                await trio.testing.wait_all_tasks_blocked()
                await session.wait_state(SessionState.CONNECTED)
            await trio.sleep(60)
        assert was_well == 2
        assert session.health().reasons[0].startswith("no heartbeat message has come for ")
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(1)
        assert session.health()


async def test_one_connection_of_several_that_is_new_does_not_put_it_off(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=2) as session:
        connections = await all_up(feishu_gateway, 2)
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(110)
        await feishu_gateway.drop(connection=connections[0])
        await trio.sleep(9)
        assert session.health()
        await trio.sleep(5)
        (reason,) = session.health().reasons
        assert reason == "no heartbeat message has come for 124 s, where there had been some"


async def test_the_time_without_a_connection_is_no_silence(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session:
        await feishu_gateway.text({"type": "heartbeat"})
        await trio.sleep(1)
        feishu_gateway.refuse_discovery(1)
        await feishu_gateway.drop()
        await trio.sleep(600)
        assert session.health().reasons == (
            "the session is reconnecting: Feishu could not take the connection: code 1 (refused)",
        )
        feishu_gateway.accept()
        await session.wait_state(SessionState.CONNECTED)
        assert session.health()
        await trio.sleep(121)
        (reason,) = session.health().reasons
        assert reason.startswith("no heartbeat message has come for ")
