"""The table of faults, a row at a time, under a clock that jumps."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from conftest import WallClock
from feishu_trio import Connected, Disconnected, Router
from feishu_trio.testing import Gateway
from session.rig import open_session, seen

from .faults import FAULTS, RECEIVE, Fault, Scene

DOCS = Path(__file__).parents[2] / "docs" / "liveness.md"
# What connecting takes, and the clock's own rounding.
SLACK = 0.01


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_it_is_noticed_and_mended_in_time(
    feishu_gateway: Gateway,
    autojump_clock: trio.testing.MockClock,
    wall_clock: WallClock,
    fault: Fault,
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def take(event: object) -> None: ...

    async with open_session(feishu_gateway, router=router) as session, trio.open_nursery() as nursery:
        scene = Scene(feishu_gateway, session, nursery, autojump_clock.jump, wall_clock.sleep)
        await trio.sleep(70)  # so that this connection has proved itself
        async with session.lifecycle() as lifecycle:
            start = trio.current_time()
            await fault.cause(scene)
            if fault.reason is None:
                await trio.sleep(300)
                assert session.stats().reconnects == 0
            else:
                ended = (await seen(lifecycle, Disconnected))[-1]
                assert isinstance(ended, Disconnected)
                assert ended.reason is fault.reason
                assert ended.at - start <= fault.notice + SLACK
                connected = (await seen(lifecycle, Connected))[-1]
                assert connected.at - ended.at <= fault.recover + SLACK
        nursery.cancel_scope.cancel()
        feishu_gateway.lose_pongs(0)
        feishu_gateway.delay(0)
        assert session.is_connected
        push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=feishu_gateway.connections[-1])
        with trio.fail_after(20):
            assert (await push.settled()).code == 200
        await trio.sleep(120)
        assert session.health(), "it did not stay as it was mended"


def test_the_table_that_users_see_is_this_one() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for fault in FAULTS:
        times = f"{fault.reason} | {fault.notice:g} s | {fault.recover:g} s"
        cells = times if fault.reason else "lives through it | - | -"
        assert f"| {fault.name} | {cells} |" in text
