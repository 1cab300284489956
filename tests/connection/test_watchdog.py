"""The heartbeat of one connection: pings, signs of life, probes, and giving up. Alone, then in a session."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from conftest import WallClock
from feishu_trio import Connected, Disconnected, DisconnectReason, PingSent, Router
from feishu_trio.connection import ClientConfig
from feishu_trio.connection.discovery import Endpoint
from feishu_trio.connection.outbox import Outbox, Outgoing
from feishu_trio.connection.pace import Pace
from feishu_trio.connection.watchdog import Watchdog
from feishu_trio.telemetry import Telemetry
from feishu_trio.testing import Gateway
from feishu_trio.wire import CONTROL, decode_frame
from session.rig import open_session, seen

RECEIVE = "im.message.receive_v1"
ENDPOINT = Endpoint("peer", 80, False, "/", "7250", 42, ClientConfig(ping_interval=20))


class Peer(Outbox):
    """Where pings go; it notes when, and answers those it is to answer, at once."""

    def __init__(self, answers: bool) -> None:
        super().__init__()
        self.answers = answers
        self.pings: list[float] = []
        self.watchdog: Watchdog | None = None

    def put(self, item: Outgoing) -> None:
        super().put(item)
        self.pings.append(trio.current_time())
        if self.answers:
            self.pong()

    def pong(self, payload: bytes = b"") -> None:
        assert self.watchdog is not None
        self.watchdog.heard()
        self.watchdog.pong_received(payload)


@attrs.define
class Watched:
    watchdog: Watchdog
    peer: Peer
    pace: Pace
    telemetry: Telemetry
    given_up: list[tuple[float, str]]
    """When it was given up, and why."""


@asynccontextmanager
async def watched(*, answers: bool, pong_timeout: float = 15.0) -> AsyncGenerator[Watched, None]:
    """A watchdog at work, until the block ends or the connection is given up."""
    peer, pace, telemetry = Peer(answers), Pace(None), Telemetry()
    given_up: list[tuple[float, str]] = []
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        def give_up(reason: str) -> None:
            given_up.append((trio.current_time(), reason))
            scope.cancel()

        async def run() -> None:
            with scope:
                await watchdog.run()

        watchdog = peer.watchdog = Watchdog(
            ENDPOINT, pace, peer, telemetry, pong_timeout=pong_timeout, give_up=give_up
        )
        nursery.start_soon(run)
        yield Watched(watchdog, peer, pace, telemetry, given_up)
        nursery.cancel_scope.cancel()


async def test_it_pings_at_once_and_then_at_the_interval(autojump_clock: MockClock) -> None:
    async with watched(answers=True) as scene:
        await trio.sleep(65)
    assert scene.peer.pings == [0, 20, 40, 60]
    assert scene.given_up == []


async def test_pings_carry_the_service_and_go_by_no_other_connection(autojump_clock: MockClock) -> None:
    async with watched(answers=True) as scene:
        (item,) = await scene.peer.take(9)
    assert isinstance(item.data, bytes)
    frame = decode_frame(item.data)
    assert (frame.method, frame.service, frame.headers) == (CONTROL, 42, {"type": "ping"})
    assert not item.portable


async def test_a_silent_peer_is_asked_again_then_probed_then_given_up(autojump_clock: MockClock) -> None:
    async with watched(answers=False) as scene:
        await trio.sleep(14)
        assert not scene.watchdog.is_overdue
        await trio.sleep(2)
        assert scene.watchdog.is_overdue
        await trio.sleep(100)
    assert scene.peer.pings == [0, 5, 10, 15, 20], "two of them probes"
    assert scene.given_up == [(25, "2 probes had no answer")]


@pytest.mark.parametrize("at", [3, 14.9, 15.1, 19, 24.9])
async def test_a_sign_of_life_at_any_time_before_that_saves_it(autojump_clock: MockClock, at: float) -> None:
    async with watched(answers=False) as scene:
        await trio.sleep(at)
        scene.watchdog.heard()  # no pong: whatever was received
        scene.peer.answers = True
        await trio.sleep(100)
        assert not scene.watchdog.is_overdue
    assert scene.given_up == []


async def test_bytes_of_no_whole_message_are_a_sign_of_life_for_two_intervals(
    autojump_clock: MockClock,
) -> None:
    async with watched(answers=True) as scene, trio.open_nursery() as nursery:

        async def trickle() -> None:
            while True:
                await trio.sleep(1)
                scene.watchdog.heard(whole=False)

        nursery.start_soon(trickle)
        await trio.sleep(99.5)
        scene.peer.answers = False  # the last whole message came at 80, in answer to a ping
        await trio.sleep(54)
        assert not scene.watchdog.is_overdue
        assert scene.given_up == []
        await trio.sleep(59)
        nursery.cancel_scope.cancel()
    assert scene.peer.pings[5:] == [100, 120, 140, 145, 150, 155, 160]
    assert scene.given_up == [(165, "2 probes had no answer")]


async def test_a_whole_message_at_any_time_before_that_saves_it(autojump_clock: MockClock) -> None:
    async with watched(answers=False) as scene:
        for second in range(400):
            scene.watchdog.heard(whole=second % 50 == 7)
            await trio.sleep(1)
        assert not scene.watchdog.is_overdue
    assert scene.given_up == []


async def test_only_a_heartbeat_that_needed_no_probe_makes_the_pace_slower(autojump_clock: MockClock) -> None:
    async with watched(answers=False) as scene:
        scene.pace.failed(20)
        assert scene.pace.interval(20) == 10
        await trio.sleep(16)
        scene.peer.pong()
        await trio.sleep(1)
        assert scene.pace.interval(20) == 10
        scene.peer.answers = True
        await trio.sleep(10)
        assert scene.pace.interval(20) == pytest.approx(10.1)


async def test_time_in_which_nobody_reads_does_not_count(autojump_clock: MockClock) -> None:
    async with watched(answers=False, pong_timeout=3) as scene:
        await trio.sleep(1)
        scene.watchdog.pause()
        await trio.sleep(99.5)
        scene.watchdog.resume()
        assert scene.peer.pings == [0]
        await trio.sleep(100)
    # Three seconds for the ping, and one for each probe, all of them after the pause but one.
    assert scene.peer.pings == [0, 102.5, 103.5]
    assert scene.given_up == [(104.5, "2 probes had no answer")]


async def test_what_was_read_after_a_pause_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with watched(answers=False, pong_timeout=3) as scene:
        await trio.sleep(2.9)
        scene.watchdog.pause()
        await trio.sleep(1000)
        scene.watchdog.resume()
        scene.peer.pong()
        scene.peer.answers = True
        await trio.sleep(100)
    assert scene.given_up == []


async def test_after_the_machines_sleep_it_probes_at_once(
    autojump_clock: MockClock, wall_clock: WallClock
) -> None:
    async with watched(answers=True) as scene:
        await trio.sleep(3)
        scene.peer.answers = False
        wall_clock.sleep(3600)
        await trio.sleep(100)
    assert scene.peer.pings == [0, 5, 10]
    assert scene.given_up == [(15, "2 probes had no answer")]


# Pongs


async def test_the_round_trip_is_counted_from_the_first_ping_that_waits(autojump_clock: MockClock) -> None:
    async with watched(answers=False) as scene:
        await trio.sleep(7)
        scene.peer.pong()
        scene.peer.pong()  # to the second ping
        heartbeat = scene.telemetry.heartbeat
        assert (heartbeat.total, heartbeat.last_rtt, heartbeat.average_interval) == (1, 7, None)
        scene.peer.answers = True
        await trio.sleep(20)
        assert (heartbeat.total, heartbeat.last_rtt) == (2, 0)
        assert heartbeat.average_interval == 18


async def test_a_pong_may_change_the_interval(autojump_clock: MockClock) -> None:
    async with watched(answers=True) as scene:
        await trio.sleep(1)
        scene.peer.pong(b'{"PingInterval":7}')
        assert scene.watchdog.client_config.ping_interval == 7
        await trio.sleep(39)
    # The wait that had begun is not made shorter.
    assert scene.peer.pings == [0, 20, 27, 34]


async def test_a_pong_that_makes_no_sense_changes_nothing_and_is_warned_of_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with watched(answers=True) as scene:
        for _ in range(3):
            scene.peer.pong(b"[]")
            scene.peer.pong(b"")
        assert scene.watchdog.client_config == ENDPOINT.client_config
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


# In a session


async def test_pings_of_a_session_go_out_at_the_interval_that_was_set(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    start = trio.current_time()
    async with open_session(feishu_gateway, heartbeat_interval=7):
        await trio.sleep(35.5)
    assert [at - start for at, _ in feishu_gateway.pings] == pytest.approx([0, 7, 14, 21, 28, 35], abs=0.1)
    assert not feishu_gateway.violations


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
        push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=feishu_gateway.connections[-1])
        assert (await push.settled()).code == 200


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
            await feishu_gateway.push(RECEIVE, {"message": {}}, ladder=())
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


@pytest.mark.parametrize("length", [10_485_761, 1 << 63])
async def test_a_frame_that_claims_too_much_ends_the_connection_at_once(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock, length: int
) -> None:
    async with open_session(feishu_gateway) as session, session.lifecycle() as lifecycle:
        feishu_gateway.connections[-1].line.send(b"\x82\x7f" + length.to_bytes(8, "big"))
        ended = (await seen(lifecycle, Disconnected))[-1]
        assert isinstance(ended, Disconnected)
        assert (ended.reason, ended.code) == (DisconnectReason.PROTOCOL_ERROR, 1009)
        assert ended.detail == f"a frame of {length} bytes, where 10485760 are allowed"
        await seen(lifecycle, Connected)
        push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=feishu_gateway.connections[-1])
        assert (await push.settled()).code == 200


async def test_a_server_that_goes_on_within_what_we_take_for_a_payload_is_not_heard(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    router = Router()

    @router.on(RECEIVE)
    async def handle(event: object) -> None: ...

    async with open_session(feishu_gateway, router=router) as session, session.lifecycle() as lifecycle:
        await trio.sleep(1)
        start = trio.current_time()
        feishu_gateway.connections[-1].line.send(b"\x82\x7f" + (10_000_000).to_bytes(8, "big"))
        while session.stats().reconnects == 0:
            await feishu_gateway.push(RECEIVE, {"message": {}})
            await trio.sleep(1)
            assert trio.current_time() - start < 200, "it is silently deaf"
        ended = (await seen(lifecycle, Disconnected))[-1]
        assert isinstance(ended, Disconnected)
        assert ended.reason is DisconnectReason.NO_PONG
        assert ended.at - start <= 3 * 30 + 15 + 2 * 5 + 0.1
        push = await feishu_gateway.push(RECEIVE, {"message": {}}, connection=feishu_gateway.connections[-1])
        assert (await push.settled()).code == 200


async def test_pings_of_a_middlebox_prove_nothing_of_feishu(
    feishu_gateway: Gateway, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_session(feishu_gateway) as session, session.lifecycle() as lifecycle:
        await trio.sleep(1)
        start = trio.current_time()
        feishu_gateway.lose_pongs(10**9)
        async with trio.open_nursery() as nursery:

            async def ping() -> None:
                while True:
                    feishu_gateway.connections[0].line.send(b"\x89\x00")
                    await trio.sleep(3)

            nursery.start_soon(ping)
            with trio.fail_after(200):
                ended = (await seen(lifecycle, Disconnected))[-1]
            nursery.cancel_scope.cancel()
        assert isinstance(ended, Disconnected)
        assert ended.reason is DisconnectReason.NO_PONG
        assert ended.at - start <= 3 * 30 + 15 + 2 * 5 + 0.1
