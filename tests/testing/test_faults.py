"""Faults of connections, over streams in memory and over sockets."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, open_websocket_url

from feishu_trio.testing import open_gateway

from .client import Client, connect, discover, raw_stream


@pytest.mark.parametrize("code", [1000, 1011, 4000])
async def test_drop_with_a_code(code: int) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        (connection,) = gateway.connections
        await gateway.drop(code, "go away")
        assert not gateway.connections
        assert await client.wait_closed() == code
        assert client.ws.closed is not None
        assert client.ws.closed.reason == "go away"
        await connection.wait_closed()
        assert connection.close_code == code


async def test_the_code_the_client_closed_with_is_seen() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        (connection,) = gateway.connections
        await client.ws.aclose(1000, "done")
        await connection.wait_closed()
        assert (connection.close_code, connection.close_reason) == (1000, "done")
        assert not connection.is_open
        assert gateway.connected.value == 0


async def test_a_client_that_never_agrees_to_close_is_cut_off(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        (connection,) = gateway.connections
        gateway.freeze()
        start = trio.current_time()
        await gateway.drop(1000)
        assert not gateway.connections
        await connection.wait_closed()
        assert trio.current_time() - start == 3
        assert await client.wait_closed() != 1000


@pytest.mark.parametrize("code", [None, 1006])
async def test_drop_without_a_close_frame_in_memory(code: int | None) -> None:
    async with open_gateway() as gateway:
        stream = await gateway.dial("host", 1)
        await stream.send_all(b"GET /ws/v2 HTTP/1.1\r\n")
        async with connect(gateway) as client:
            (connection,) = gateway.connections
            await gateway.drop(code)
            assert await client.wait_closed() in {None, 1006}
            await connection.wait_closed()
            assert connection.close_code is None


@pytest.mark.parametrize("code", [None, 1006])
async def test_drop_without_a_close_frame_over_a_socket(code: int | None) -> None:
    async with open_gateway() as gateway:
        url = await discover(gateway)
        request = (
            f"GET {url.partition(gateway.domain[7:])[2]} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with await raw_stream(gateway.domain) as stream:
            with trio.fail_after(5):
                await stream.send_all(request.encode())
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
                await gateway.drop(code)
                if code is None:
                    with pytest.raises(trio.BrokenResourceError):
                        await stream.receive_some()
                else:
                    assert await stream.receive_some() == b""


async def test_faults_of_an_ended_connection() -> None:
    async with open_gateway() as gateway:
        url = await discover(gateway)
        async with httpx.AsyncClient() as http:
            assert (await http.get(gateway.domain)).status_code == 404
        async with open_websocket_url(url):
            (connection,) = await gateway.wait_connected()
        with trio.fail_after(5):
            await connection.wait_closed()
            for code in (None, 1006, 1000):
                await gateway.drop(code, connection=connection)
        gateway.freeze(connection)
        gateway.thaw(connection)
        gateway.delay(1, connection)
        await gateway.garbage(b"x", connection=connection)
        push = await gateway.push("x", connection=connection, ladder=())
        assert push.lost
        assert not push.deliveries


async def test_one_of_two_is_dropped() -> None:
    async with open_gateway() as gateway, connect(gateway) as one, connect(gateway):
        await gateway.wait_connected(2)
        first, second = gateway.connections
        await gateway.drop(1001, connection=first)
        assert await one.wait_closed() == 1001
        assert gateway.connections == (second,)


async def test_freeze_and_thaw(autojump_clock: MockClock) -> None:
    async with open_gateway(ladder=()) as gateway, connect(gateway) as client:
        await client.ping()
        await client.receive()
        gateway.freeze()
        push = await gateway.push("x")
        await client.ping()  # it still accepts bytes
        with pytest.raises(trio.TooSlowError):
            await client.receive(within=3600)
        assert push.lost
        assert len(gateway.connections) == 1  # it still counts as live
        assert len(gateway.pings) == 1

        async with connect(gateway) as other:  # new connections are not frozen
            await other.ping()
            await other.receive()

        gateway.thaw()
        kinds = {(await client.receive()).headers["type"] for _ in range(2)}
        assert kinds == {"event", "pong"}


async def test_a_frozen_client_fills_its_buffers_and_then_waits(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        gateway.freeze()
        with trio.move_on_after(60) as sending:
            await client.ws.send_message(bytes(2_000_000))
        assert sending.cancelled_caught


async def test_delay(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        gateway.delay(4)
        start = trio.current_time()
        for _ in range(3):
            await client.ping()
            await trio.sleep(1)
        late = []
        for _ in range(3):
            await client.receive()
            late.append(trio.current_time() - start)
        assert late == [4, 5, 6]  # each late by as much, not one after the other
        gateway.delay(0)
        await client.ping()
        await client.receive()
        assert trio.current_time() - start == 6


async def test_delay_holds_for_new_lines_and_for_one_connection(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        gateway.delay(2)
        start = trio.current_time()
        async with connect(gateway) as client:
            assert trio.current_time() - start == 4  # discovery, and the handshake
            gateway.delay(0)
            gateway.delay(7, gateway.connections[0])
            start = trio.current_time()
            await client.ping()
            await client.receive(within=60)
            assert trio.current_time() - start == 7


async def test_garbage() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await gateway.garbage(b"\xff\x00", "{")
        assert await client.ws.get_message() == b"\xff\x00"
        assert await client.ws.get_message() == "{"


async def test_a_dropped_client_sees_it_while_it_sends() -> None:
    async with open_gateway() as gateway, connect(gateway) as client:
        await gateway.drop()
        with pytest.raises(ConnectionClosed):
            await _ping_for_ever(client)


async def _ping_for_ever(client: Client) -> None:
    while True:
        await client.ping()
