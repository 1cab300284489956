"""A machine that sleeps: the wall clock runs ahead of the monotonic one, and every connection is in doubt."""

from __future__ import annotations

import trio
import trio.testing

from conftest import WallClock
from feishu_trio import Disconnected, DisconnectReason, PingSent, SessionState
from feishu_trio.testing import Gateway
from session.rig import all_up, open_session


async def test_note_02_after_the_machines_sleep_every_connection_is_probed_at_once(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, wall_clock: WallClock
) -> None:
    async with open_session(feishu_gateway, connections=5, heartbeat_interval=3600) as session:
        await all_up(feishu_gateway, 5)
        await trio.sleep(100)
        pings = len(feishu_gateway.pings)
        async with session.lifecycle() as lifecycle:
            wall_clock.sleep(3 * 3600)
            with trio.fail_after(5.01):
                probed = {(await anext(lifecycle)).connection_id for _ in range(10)}  # type: ignore[attr-defined]
        assert len(probed) == 5
        await trio.sleep(100)
        assert len(feishu_gateway.pings) == pings + 5  # live ones are asked once
        assert session.stats().reconnects == 0


async def test_note_02_a_connection_that_did_not_survive_the_sleep_is_replaced_in_seconds(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, wall_clock: WallClock
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=3600) as session:
        await trio.sleep(100)
        async with session.lifecycle() as lifecycle:
            feishu_gateway.freeze()
            wall_clock.sleep(3600)
            with trio.fail_after(5 + 2 * 5 + 0.01):
                events = [await anext(lifecycle) for _ in range(3)]
        assert [type(event) for event in events] == [PingSent, PingSent, Disconnected]
        assert isinstance(events[-1], Disconnected)
        assert events[-1].reason is DisconnectReason.NO_PONG
        with trio.fail_after(1.01):
            await session.wait_state(SessionState.CONNECTED)


async def test_a_pause_before_the_next_try_ends_with_the_machines_sleep(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, wall_clock: WallClock
) -> None:
    settings = {"reconnect_delay": 3600, "max_reconnect_delay": 3600}
    async with open_session(feishu_gateway, **settings) as session:
        await feishu_gateway.stop_listening()
        await feishu_gateway.drop()
        await session.wait_state(SessionState.RECONNECTING)
        await trio.sleep(20)
        await feishu_gateway.start_listening()
        wall_clock.sleep(8 * 3600)
        with trio.fail_after(5.01):
            await session.wait_state(SessionState.CONNECTED)


async def test_a_program_that_was_stopped_does_not_take_its_own_silence_for_the_servers(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    """Stopped by a signal, by a debugger, by a handler that blocks: both clocks go on, and nothing is read."""
    async with open_session(feishu_gateway) as session:
        for _ in range(50):
            feishu_gateway.delay(2)
            await feishu_gateway.wait_ping(len(feishu_gateway.pings) + 1)
            autojump_clock.jump(600)  # in the middle of a ping
            await trio.sleep(1)
        assert session.stats().reconnects == 0
