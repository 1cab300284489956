"""Liveness: pings, missing pongs, probes; and what is told of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from feishu_trio import Connected, Disconnected, DisconnectReason, PingSent, Router
from feishu_trio.testing import Gateway

from .rig import open_session, seen

RECEIVE = "im.message.receive_v1"


async def test_pings_go_out_at_the_interval_the_first_one_at_once(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    async with open_session(feishu_gateway, heartbeat_interval=7):
        await trio.sleep(35.5)
    assert [at - start for at, _ in feishu_gateway.pings] == pytest.approx([0, 7, 14, 21, 28, 35], abs=0.1)
    assert not feishu_gateway.violations


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


async def test_note_02_a_half_open_connection_is_noticed_probed_and_replaced(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, session.lifecycle() as lifecycle:
        await trio.sleep(1)
        frozen_at = trio.current_time()
        feishu_gateway.freeze()
        events = await seen(lifecycle, Connected)
        # the next ping at 30 s, its pong missed for 15 s, two probes of 5 s, and a quick retry
        assert 30 <= trio.current_time() - frozen_at <= 30 + 15 + 2 * 5 + 1.1
        (ended,) = [event for event in events if isinstance(event, Disconnected)]
        assert ended.reason is DisconnectReason.NO_PONG
        assert len([event for event in events if isinstance(event, PingSent) and event.probe]) == 2
        push = await feishu_gateway.push(RECEIVE, {}, connection=feishu_gateway.connections[-1])
        assert (await push.answer()).code == 200


@pytest.mark.parametrize("lost", [1, 2])
async def test_note_03_lost_pongs_are_asked_for_again(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, lost: int
) -> None:
    async with open_session(feishu_gateway) as session:
        await trio.sleep(1)
        for _ in range(5):
            feishu_gateway.lose_pongs(lost)
            await trio.sleep(60)
        assert session.stats().reconnects == 0
        assert len(feishu_gateway.connections) == 1


async def test_note_03_any_inbound_frame_is_a_sign_of_life(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.lose_pongs(10**9)
    async with open_session(feishu_gateway, router=Router()) as session:
        for _ in range(100):
            await feishu_gateway.push(RECEIVE, {}, ladder=())
            await trio.sleep(10)
        assert session.stats().reconnects == 0
        assert session.heartbeat.total == 0


async def test_without_a_sign_of_life_the_connection_is_given_up(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    feishu_gateway.lose_pongs(3)
    async with open_session(feishu_gateway, pong_timeout=3) as session, session.lifecycle() as lifecycle:
        start = trio.current_time()
        events = await seen(lifecycle, Connected)
        (ended,) = [event for event in events if isinstance(event, Disconnected)]
        assert ended.reason is DisconnectReason.NO_PONG
        assert ended.at - start == pytest.approx(5, abs=0.1)


async def test_a_full_pool_is_no_sign_of_death(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """While nobody reads, pongs wait with all else: that silence is our own."""
    router = Router()

    @router.on(RECEIVE)
    async def slow(event: Any) -> None:
        await trio.sleep(4)

    settings = {"concurrency": 1, "queue_capacity": 1, "pong_timeout": 0.3, "heartbeat_interval": 1}
    async with open_session(feishu_gateway, router=router, **settings) as session:
        for n in range(300):
            await feishu_gateway.push(
                RECEIVE, {"message": {"message_id": f"om_{n}", "chat_id": f"oc_{n}"}}, ladder=()
            )
            await trio.sleep(0.3)
        assert session.stats().refused > 0
        assert session.stats().reconnects == 0


async def test_heartbeats_of_several_connections_are_told_apart_in_time(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, connections=3, heartbeat_interval=10) as session:
        await trio.sleep(500)
        assert len({connection for _, connection in feishu_gateway.pings}) == 3
        assert session.heartbeat.average_interval == pytest.approx(10, abs=0.5)
        assert session.heartbeat.jitter == pytest.approx(0, abs=0.5)


async def test_heartbeats_that_become_uneven_are_told(
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
