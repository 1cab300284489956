"""Lost pongs, and what a drop costs, over long times."""

from __future__ import annotations

from statistics import median

import pytest
import trio
import trio.testing

from feishu_trio import Connected, Disconnected
from feishu_trio.testing import Gateway, open_gateway
from session.rig import open_session, seen

DAY = 24 * 3600
DAYS = 20


async def test_note_03_three_percent_of_the_pongs_lost_kill_no_connection_in_twenty_days(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Twenty sessions side by side, a day each. A gateway for each, so that the same pongs are lost in every run."""

    async def live(seed: int) -> None:
        async with open_gateway(seed=seed) as gateway:
            gateway.lose_pongs(chance=0.03)
            async with open_session(gateway) as session:
                await trio.sleep(DAY)
                assert session.stats().reconnects == 0
                assert session.health()
                lost_and_asked_again = 0.03 * 5
                assert session.heartbeat.total == pytest.approx(DAY / (30 + lost_and_asked_again), rel=0.005)
        totals[seed] = session.heartbeat.total

    totals: dict[int, int] = {}
    async with trio.open_nursery() as nursery:
        for seed in range(DAYS):
            nursery.start_soon(live, seed)
    assert len(totals) == DAYS


async def test_note_15_the_median_drop_costs_less_than_a_second(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    took = []
    async with open_session(feishu_gateway) as session, session.lifecycle() as lifecycle:
        for n in range(200):
            await trio.sleep(61)
            await feishu_gateway.drop([None, 1000, 1006, 1011][n % 4])
            (lost,) = [each for each in await seen(lifecycle, Disconnected) if isinstance(each, Disconnected)]
            took.append((await seen(lifecycle, Connected))[-1].at - lost.at)
    assert max(took) <= 1.01
    assert 0.35 < median(took) < 0.65  # drawn between nothing and a second, so that not all come at once
