"""Opening a gateway and leaving it."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import trio
from trio.testing import MockClock

from feishu_trio.testing import open_gateway

from .client import connect, raw_stream


async def test_leaving_ends_everything_at_once(mock_clock: MockClock) -> None:
    # the clock stands still: whatever waited for it would hang
    async with open_gateway() as gateway:
        gateway.hang_discovery()
        asked = await gateway.dial("x", 1)
        await asked.send_all(b"POST /callback/ws/endpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        idle = await gateway.dial("x", 1)
        socket = await raw_stream(gateway.domain)
        await gateway.push("x")
        await trio.testing.wait_all_tasks_blocked()
        assert len(gateway.requests) == 1
    async with asked, idle, socket:
        for stream in (asked, idle, socket):
            assert await stream.receive_some() == b""
    with pytest.raises(OSError, match="attempts to connect"):
        await raw_stream(gateway.domain)


async def test_leaving_while_a_connection_is_frozen_full_and_late(mock_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway):
        gateway.freeze()
        gateway.delay(1000)
        for _ in range(100):
            await gateway.push("x", {"text": "y" * 10_000})


async def test_the_body_s_exception_comes_out_bare() -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_gateway():
            _ = 1 / 0


async def test_cancellation_passes_through() -> None:
    with trio.CancelScope() as scope:
        async with open_gateway():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_two_gateways_side_by_side() -> None:
    async with open_gateway() as one, open_gateway() as two, connect(one), connect(two):
        assert one.domain != two.domain
        await one.drop()
        assert len(two.connections) == 1


async def test_a_port_in_use() -> None:
    async with open_gateway() as gateway:
        with pytest.raises(OSError, match="in use"):
            async with open_gateway(port=urlsplit(gateway.domain).port or 0):
                pass
