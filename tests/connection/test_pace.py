"""The rule for the interval between two pings, alone and in a session; and a sleep that notices the machine's."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from conftest import WallClock
from feishu_trio.connection.pace import Pace, sleep_awake
from feishu_trio.testing import Gateway, open_gateway
from session.rig import open_session


def test_the_usual_interval_or_the_servers_if_that_is_shorter() -> None:
    assert [Pace(None).interval(server) for server in (1, 10, 30, 120, 600)] == [1, 10, 30, 30, 30]


def test_a_silent_end_halves_the_interval_down_to_five_seconds() -> None:
    pace, intervals = Pace(None), []
    for _ in range(5):
        pace.failed(120)
        intervals.append(pace.interval(120))
    assert intervals == [15, 7.5, 5, 5, 5]


def test_what_is_halved_is_the_interval_that_failed() -> None:
    pace = Pace(None)
    pace.failed(20)
    assert pace.interval(20) == 10
    pace.failed(2)
    assert pace.interval(2) == 2  # the server's own is not made longer


def test_answered_heartbeats_lead_back_to_the_usual_interval_in_25_minutes() -> None:
    pace = Pace(None)
    pace.failed(120)
    waits = []
    while pace.interval(120) < 30:
        waits.append(pace.interval(120))
        pace.answered()
    assert all(before < after for before, after in pairwise(waits))
    assert sum(waits) == pytest.approx(25 * 60, rel=0.02)


@given(
    fixed=st.floats(1, 3600),
    server=st.floats(1, 600),
    events=st.lists(st.booleans(), max_size=50),
)
def test_a_fixed_interval_stays_as_it_is(fixed: float, server: float, events: list[bool]) -> None:
    pace = Pace(fixed)
    for answered in events:
        pace.answered() if answered else pace.failed(server)
        assert pace.interval(server) == fixed


@given(server=st.floats(1, 600), events=st.lists(st.booleans(), max_size=400))
def test_it_never_leaves_its_bounds(server: float, events: list[bool]) -> None:
    pace, most = Pace(None), min(30.0, server)
    for answered in events:
        before = pace.interval(server)
        pace.answered() if answered else pace.failed(server)
        after = pace.interval(server)
        assert min(5.0, most) <= after <= most
        assert after >= before if answered else after <= before


# The machine's sleep


@pytest.mark.parametrize("seconds", [-1, 0, 3, 5, 12])
async def test_without_the_machine_sleeping_it_is_a_sleep(
    autojump_clock: trio.testing.MockClock, wall_clock: WallClock, seconds: float
) -> None:
    start = trio.current_time()
    assert await sleep_awake(seconds) is False
    assert trio.current_time() - start == max(seconds, 0)


@pytest.mark.parametrize(("ahead", "noticed"), [(5.1, True), (1e6, True), (4.9, False), (-1e6, False)])
async def test_what_counts_as_the_machines_sleep(
    autojump_clock: trio.testing.MockClock, wall_clock: WallClock, ahead: float, noticed: bool
) -> None:
    """A clock that is set back, or corrected a little, is none."""
    async with trio.open_nursery() as nursery:

        async def sleep() -> None:
            await trio.sleep(61)
            wall_clock.sleep(ahead)

        nursery.start_soon(sleep)
        start = trio.current_time()
        assert await sleep_awake(100) is noticed
        assert trio.current_time() - start == (65 if noticed else 100)


# In a session


def gaps(gateway: Gateway) -> list[float]:
    """Seconds between the pings of the connection that there is."""
    (connection,) = gateway.connections
    times = [at for at, of in gateway.pings if of is connection]
    return [after - before for before, after in pairwise(times)]


async def test_after_a_silent_end_the_next_connections_ping_more_often_and_drift_back(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway):
        for usual in (30, 15, 7.5, 5, 5):
            await trio.sleep(usual * 1.5)
            assert gaps(feishu_gateway)[0] == pytest.approx(usual, rel=0.05)
            (connection,) = feishu_gateway.connections
            feishu_gateway.freeze()
            await trio.sleep(60)
            await feishu_gateway.drop(connection=connection)
        await trio.sleep(3600)
        assert gaps(feishu_gateway)[-1] == 30


async def test_heartbeats_that_are_meant_to_differ_are_not_uneven(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_session(feishu_gateway, connections=2):
        await trio.sleep(600)
        (frozen, _) = feishu_gateway.connections
        feishu_gateway.freeze(frozen)
        await trio.sleep(100)
        await feishu_gateway.drop(connection=frozen)
        await trio.sleep(600)
    assert "no pong" in caplog.text
    assert "uneven" not in caplog.text


@pytest.mark.parametrize("code", [None, 1006, 1011], ids=["reset", "end of file", "closed"])
async def test_an_end_that_is_no_silence_changes_nothing(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, code: int | None
) -> None:
    async with open_session(feishu_gateway):
        for _ in range(5):
            await trio.sleep(70)
            assert gaps(feishu_gateway) == pytest.approx([30, 30])
            await feishu_gateway.drop(code)
            await trio.sleep(1)


async def test_setting_the_interval_turns_the_rule_off(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway, heartbeat_interval=20):
        for _ in range(3):
            await trio.sleep(50)
            assert all(gap == pytest.approx(20) for gap in gaps(feishu_gateway))
            (connection,) = feishu_gateway.connections
            feishu_gateway.freeze()
            await trio.sleep(60)
            await feishu_gateway.drop(connection=connection)


@pytest.mark.parametrize("where", ["discovery", "pongs"])
@pytest.mark.parametrize(
    ("given", "interval"), [(0, 30), (-1, 30), (None, 30), (10**9, 30), ("x", 30), ("7", 7), (0.001, 1)]
)
async def test_note_13_no_interval_of_the_server_makes_a_busy_loop_or_a_silent_bot(
    autojump_clock: trio.testing.MockClock, where: str, given: object, interval: float
) -> None:
    config = {"PingInterval": given}
    behaviour = {"client_config" if where == "discovery" else "pong_config": config}
    async with open_gateway(**behaviour) as gateway, open_session(gateway):  # type: ignore[arg-type]
        await trio.sleep(10 * interval + 0.5)
        assert gaps(gateway) == pytest.approx([interval] * 10)
