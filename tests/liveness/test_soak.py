"""A bad day: one random fault after another, under load. Every event is handled once, and nothing is left."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
import pytest
import trio
import trio.testing

from feishu_trio import ConnectError, Event, FrameError, Router, Session
from feishu_trio.testing import Gateway, GatewayConnection, Push, open_gateway
from feishu_trio.wire import decode_frame
from session.rig import nothing_left, open_real_session, open_session

RECEIVE: Final = "im.message.receive_v1"

# More steps than Feishu's, within the same eight hours: for here it would lose events, to a thousand faults.
LADDER: Final = (15.0, 60.0, 300.0, *[600.0] * 40)


@attrs.define
class Storm:
    """Faults, and what they need to be over again. `unit` is a second, or less where time is real."""

    gateway: Gateway
    session: Session
    nursery: trio.Nursery
    random: Random
    unit: float = 1.0

    async def strike(self) -> None:
        await self.random.choice(KINDS)(self)

    def later(self, what: Callable[[], Awaitable[object]], most: float) -> None:
        async def do() -> None:
            await trio.sleep(self.random.uniform(0, most) * self.unit)
            await what()

        self.nursery.start_soon(do)

    @property
    def victim(self) -> GatewayConnection | None:
        live = self.gateway.connections
        return self.random.choice(live) if live else None


async def reset(storm: Storm) -> None:
    if storm.victim:
        await storm.gateway.drop(connection=storm.victim)


async def reset_all(storm: Storm) -> None:
    await storm.gateway.drop()


async def end_of_file(storm: Storm) -> None:
    if storm.victim:
        await storm.gateway.drop(1006, connection=storm.victim)


async def close(storm: Storm) -> None:
    if storm.victim:
        code = storm.random.choice([1000, 1001, 1011, 1013, 4000])
        await storm.gateway.drop(code, "so it is", connection=storm.victim)


async def no_websocket(storm: Storm) -> None:
    if storm.victim:
        storm.victim.line.send(storm.random.randbytes(50))


async def garbage(storm: Storm) -> None:
    await storm.gateway.garbage(
        storm.random.randbytes(storm.random.randrange(100)), "{", connection=storm.victim
    )


async def half_open(storm: Storm) -> None:
    victim = storm.victim
    if victim:
        storm.gateway.freeze(victim)
        # In the end the server sees it, too.
        storm.later(lambda: storm.gateway.drop(connection=victim), 120)


async def stuck_for_a_while(storm: Storm) -> None:
    victim = storm.victim

    async def thaw() -> None:
        storm.gateway.thaw(victim)

    if victim:
        storm.gateway.freeze(victim)
        storm.later(thaw, 20)


async def pongs_lost(storm: Storm) -> None:
    storm.gateway.lose_pongs(storm.random.randrange(1, 6), chance=0.03)


async def late(storm: Storm) -> None:
    storm.gateway.delay(storm.random.choice([0, 0, 0.1, 2]) * storm.unit)


async def refusing(storm: Storm) -> None:
    """For a while, all who want to connect are refused, or get no answer."""
    gateway, random = storm.gateway, storm.random
    ways: list[Callable[[], None]] = [
        lambda: gateway.refuse_discovery(random.choice([1, 1000040343])),
        lambda: gateway.refuse_discovery(status=503),
        gateway.hang_discovery,
        lambda: gateway.refuse_handshake(random.choice([514, 1, None])),
        gateway.hang_handshake,
    ]
    random.choice(ways)()

    async def accept() -> None:
        gateway.accept()

    storm.later(accept, 30)


async def restart(storm: Storm) -> None:
    await storm.gateway.stop_listening()
    await storm.gateway.drop(storm.random.choice([None, 1001, 1006]))
    storm.later(storm.gateway.start_listening, 30)


async def reconnect(storm: Storm) -> None:
    async def ask() -> None:
        with suppress(ConnectError):  # the old connection lives on, if there is one
            await storm.session.reconnect()

    storm.nursery.start_soon(ask)


KINDS: Final = (
    *(
        reset,
        reset_all,
        end_of_file,
        close,
        no_websocket,
        garbage,
        half_open,
        stuck_for_a_while,
        pongs_lost,
        late,
    ),
    *(refusing, restart, reconnect),
)


async def soak(
    gateway: Gateway, session: Session, handled: Counter[str], seed: int, faults: int, unit: float
) -> None:
    """Push events all the time while faults strike; then see that each was handled once and answered 200."""
    random = Random(seed)
    pushes: list[Push] = []

    async def load() -> None:
        while True:
            body = {"message": {"message_id": f"om_{len(pushes)}", "chat_id": f"oc_{random.randrange(20)}"}}
            pushes.append(await gateway.push(RECEIVE, body))
            await trio.sleep(random.uniform(0, 6) * unit)

    async with trio.open_nursery() as loading:
        loading.start_soon(load)
        async with trio.open_nursery() as nursery:
            storm = Storm(gateway, session, nursery, random, unit)
            for _ in range(faults):
                await storm.strike()
                await trio.sleep(random.uniform(0, 40) * unit)
            nursery.cancel_scope.deadline = trio.current_time() + 120 * unit
        loading.cancel_scope.cancel()
    gateway.accept()
    gateway.delay(0)
    gateway.lose_pongs(0)
    await gateway.start_listening()
    await gateway.drop()
    with trio.fail_after(8 * 3600 * unit):
        for push in pushes:
            assert (await push.settled()).code == 200
    assert set(handled) == {push.event_id for push in pushes}
    assert set(handled.values()) == {1}
    if faults >= 100:  # it was a bad day indeed
        assert session.stats().reconnects > faults / 8
        assert sum(len(push.deliveries) > 1 for push in pushes) > faults / 50
    with trio.fail_after(250 * unit):
        await gateway.wait_connected(session.config.connections)


def handlers(handled: Counter[str], random: Random, unit: float) -> Router:
    router = Router()

    @router.on(RECEIVE)
    async def take(event: Event[Any]) -> None:
        handled[event.id] += 1
        # Most are quick; some are not done by the platform's deadline.
        await trio.sleep(random.choice([0, 0, 0, 0, 0.1, 1, 4]) * unit)

    return router


async def bad_day(seed: int, faults: int, connections: int = 2) -> None:
    handled: Counter[str] = Counter()
    router = handlers(handled, Random(seed), 1.0)
    async with (
        open_gateway(ladder=LADDER, seed=seed) as gateway,
        open_session(gateway, router=router, connections=connections) as session,
    ):
        await soak(gateway, session, handled, seed, faults, 1.0)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing: what is captured, and what pytest keeps of it, is memory too."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
async def test_a_thousand_random_faults_under_load(autojump_clock: trio.testing.MockClock) -> None:
    async with nothing_left():
        await bad_day(1, 1000)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("connections", "faults"), [(1, 1000), (3, 100)])
async def test_no_byte_is_left_of_a_bad_day(
    autojump_clock: trio.testing.MockClock, connections: int, faults: int
) -> None:
    # What is loaded and cached once is not to count, be it by the first odd frame: the first day fills the caches.
    with pytest.raises(FrameError):
        decode_frame(b"odd")
    tracemalloc.start()
    try:
        left = []
        for seed, count in ((2, faults // 2), (3, faults)):
            await bad_day(seed, count, connections)
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert left[1] - left[0] < 50_000, f"{left[1]:,} bytes are left, where {left[0]:,} were before"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux shows a process what it has open")
@pytest.mark.usefixtures("quiet")
async def test_no_socket_is_left_of_a_bad_day() -> None:
    """Over loopback sockets, in real time, with seconds that last 5 ms."""
    unit, handled = 0.005, Counter[str]()
    settings = {
        "connections": 2,
        "ack_deadline": 0.1,
        "connect_timeout": 0.3,
        "heartbeat_interval": 1,
        "pong_timeout": 0.3,
        "reconnect_delay": 0.01,
        "max_reconnect_delay": 0.2,
    }
    before = open_files()
    async with (
        nothing_left(),
        open_gateway(ladder=[0.15] * 400, answer_timeout=0.15, seed=4) as gateway,
        open_real_session(gateway, router=handlers(handled, Random(4), unit), **settings) as session,
    ):
        await soak(gateway, session, handled, 4, 50, unit)
    assert open_files() == before
