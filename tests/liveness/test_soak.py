"""A bad day: one random fault after another, under load. Every event is handled once, and nothing is left.

With `--soak` (`make soak`) a day has 100,000 events.
"""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

import pytest
import trio
import trio.testing
import trustme

from feishu_trio import FrameError
from feishu_trio.testing import open_gateway
from feishu_trio.wire import decode_frame
from session.rig import nothing_left, open_real_session, open_session
from session.test_tls import serving, trusting

from .storm import LADDER, Handled, StormyProxy, open_stormy_proxy, soak

SOAK_EVENTS: Final = 100_000
FEISHUS_LADDER: Final = (15.0, 300.0, 3600.0, 21600.0)


async def bad_day(
    seed: int,
    faults: int,
    connections: int = 2,
    events: int | None = None,
    *,
    ladder: Sequence[float] = LADDER,
    gap: float = 20.0,
) -> None:
    """In memory, with the time a test takes."""
    random = Random(seed)
    handled = Handled(random)
    async with (
        open_gateway(ladder=ladder, seed=seed) as gateway,
        open_session(
            gateway, router=handled.router(), on_lifecycle=handled.follow, connections=connections
        ) as session,
    ):
        await soak(gateway, session, handled, random, faults=faults, events=events or 7 * faults, gap=gap)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing: what is captured, and what pytest keeps of it, is memory too."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
async def test_a_thousand_random_faults_under_load(
    autojump_clock: trio.testing.MockClock, is_soak: bool
) -> None:
    async with nothing_left():
        await bad_day(1, 1000, events=SOAK_EVENTS if is_soak else None)


@pytest.mark.usefixtures("quiet")
async def test_with_feishus_own_ladder_nothing_is_lost(
    autojump_clock: trio.testing.MockClock, is_soak: bool
) -> None:
    """A fault every five minutes, for most of a day; an event is lost once five deliveries have failed."""
    events = SOAK_EVENTS if is_soak else 5000
    async with nothing_left():
        await bad_day(5, 250, events=events, ladder=FEISHUS_LADDER, gap=300)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("connections", "faults"), [(1, 600), (3, 100)])
async def test_no_byte_is_left_of_a_bad_day(
    autojump_clock: trio.testing.MockClock, connections: int, faults: int
) -> None:
    # What is loaded and cached once is not to count, be it by the first odd frame: the first day fills the caches.
    with pytest.raises(FrameError):
        decode_frame(b"odd")
    decode_frame(bytes([32, 0, 24, 0, 16, 0, 8, 0]))  # in an order that no encoder writes: by betterproto
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


@asynccontextmanager
async def no_proxy(scheme: str, random: Random) -> AsyncGenerator[StormyProxy | None, None]:
    yield None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux shows a process what it has open")
@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("scheme", ["", "http", "socks5"], ids=["direct", "CONNECT proxy", "SOCKS5 proxy"])
async def test_no_socket_is_left_of_a_bad_day(scheme: str, is_soak: bool) -> None:
    """Over TLS and loopback sockets, through a proxy too, in real time, with seconds that last some milliseconds."""
    # Feishu's patience is 0.3 s, which a busy machine needs; in longer seconds more deliveries are undisturbed for it.
    events, faults, unit, patience = (SOAK_EVENTS, 200, 0.02, 30) if is_soak else (1000, 40, 0.015, 20)
    authority, random = trustme.CA(), Random(4)
    handled = Handled(random, unit)
    settings = {
        "connections": 2,
        "ack_deadline": 2 / 3 * patience * unit,
        "connect_timeout": 60 * unit,
        "heartbeat_interval": 1,
        "pong_timeout": 0.3,
        "reconnect_delay": 0.01,
        "max_reconnect_delay": 0.2,
        # A machine that is busy with something else shall not fill the pool: what is refused is out of order, rightly.
        "queue_capacity": 50_000,
    }
    before = open_files()
    async with (
        nothing_left(),
        open_gateway(
            ladder=[0.15] * 400,
            answer_timeout=patience * unit,
            ssl_context=serving(authority, "127.0.0.1"),
            seed=4,
        ) as gateway,
        (open_stormy_proxy if scheme else no_proxy)(scheme, random) as proxy,
        open_real_session(
            gateway,
            router=handled.router(),
            on_lifecycle=handled.follow,
            ssl_context=trusting(authority),
            proxy=proxy and proxy.address,
            **settings,
        ) as session,
    ):
        await soak(
            gateway,
            session,
            handled,
            random,
            events=events,
            faults=faults,
            unit=unit,
            patience=patience,
            punctual=0.9,
            proxy=proxy,
        )
    assert open_files() == before
