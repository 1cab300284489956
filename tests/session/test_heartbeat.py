"""What a session's heartbeat statistics show."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from feishu_trio.testing import Gateway

from .rig import open_session


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
