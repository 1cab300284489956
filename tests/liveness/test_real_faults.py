"""Some of the faults over loopback sockets, in real time: what memory streams and their clock might hide."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final

import pytest
import trio
import trio.testing

from feishu_trio import Connected, Disconnected, DisconnectReason, Router
from feishu_trio.testing import Gateway
from session.rig import open_real_session, seen

from .faults import (
    RECEIVE,
    Scene,
    closed,
    discovery_hangs,
    end_of_file,
    half_open,
    handshake_hangs,
    listen_again,
    no_websocket,
    reset,
    takes_no_bytes,
)

SETTINGS: Final = {
    "connect_timeout": 0.5,
    "heartbeat_interval": 1,
    "pong_timeout": 0.3,
    "reconnect_delay": 0.1,
    "max_reconnect_delay": 0.1,
}
# What a busy machine may add.
SLACK: Final = 1.0


async def restart(scene: Scene) -> None:
    await scene.gateway.stop_listening()
    await scene.gateway.drop(1001)
    scene.nursery.start_soon(listen_again, scene, 0.5)


async def blocked(scene: Scene) -> None:
    await scene.gateway.wait_ping(len(scene.gateway.pings) + 1)
    scene.block(1.5)


@pytest.mark.parametrize(
    ("cause", "reason", "notice", "recover"),
    [
        pytest.param(reset, DisconnectReason.RESET, 0, 0.1, id="reset"),
        pytest.param(end_of_file, DisconnectReason.END_OF_FILE, 0, 0.1, id="end of file"),
        pytest.param(closed(1011), DisconnectReason.CLOSED_BY_SERVER, 0, 0.1, id="close frame"),
        pytest.param(no_websocket, DisconnectReason.PROTOCOL_ERROR, 0, 0.1, id="no WebSocket"),
        pytest.param(half_open, DisconnectReason.NO_PONG, 1 + 0.3 + 2 * 0.1, 0.1, id="half-open"),
        pytest.param(takes_no_bytes, DisconnectReason.NO_PONG, 1.5, 0.1, id="half-open and full"),
        pytest.param(restart, DisconnectReason.CLOSED_BY_SERVER, 0, 0.5 + 0.1, id="restart"),
        pytest.param(discovery_hangs, DisconnectReason.RESET, 0, 0.1 + 0.5 + 0.1, id="discovery hangs"),
        pytest.param(handshake_hangs, DisconnectReason.RESET, 0, 0.1 + 0.5 + 0.1, id="handshake hangs"),
        pytest.param(blocked, None, 0, 0, id="blocked"),
    ],
)
async def test_it_is_noticed_and_mended_in_real_time(
    feishu_gateway: Gateway,
    cause: Callable[[Scene], Awaitable[object]],
    reason: DisconnectReason | None,
    notice: float,
    recover: float,
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def take(event: object) -> None: ...

    def suspend(seconds: float) -> None:
        pytest.fail("a test cannot do that for real")

    async with (
        open_real_session(feishu_gateway, router=router, **SETTINGS) as session,
        session.lifecycle() as lifecycle,
        trio.open_nursery() as nursery,
    ):
        await trio.sleep(0.1)  # until the first ping is answered: what is unread at the end makes it a reset
        start = trio.current_time()
        await cause(Scene(feishu_gateway, session, nursery, time.sleep, suspend))
        if reason is None:
            await trio.sleep(1)
            assert session.stats().reconnects == 0
        else:
            ended = (await seen(lifecycle, Disconnected))[-1]
            assert isinstance(ended, Disconnected)
            assert ended.reason is reason
            assert ended.at - start <= notice + SLACK
            connected = (await seen(lifecycle, Connected))[-1]
            assert connected.at - ended.at <= recover + SLACK
        nursery.cancel_scope.cancel()
        await trio.sleep(0.1)
        push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=feishu_gateway.connections[-1])
        with trio.fail_after(2):
            assert (await push.settled()).code == 200
