from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from feishu_trio.testing import Gateway, open_gateway
from feishu_trio.wire import encode_ping

from .client import discover


async def talk(gateway: Gateway, data: bytes) -> bytes:
    """Send `data`; all that comes back, until nothing more happens."""
    stream = await gateway.dial("x", 1)
    received = bytearray()

    async def listen() -> None:
        while chunk := await stream.receive_some():
            received.extend(chunk)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await stream.send_all(data)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return bytes(received)


async def test_no_http_at_all() -> None:
    async with open_gateway() as gateway:
        assert (await talk(gateway, b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert await talk(gateway, b"") == b""


async def test_requests_one_after_the_other_on_one_connection() -> None:
    async with open_gateway() as gateway:
        get = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await talk(gateway, get * 3)).count(b"HTTP/1.1 404") == 3
        assert [request.path for request in gateway.requests] == ["/nowhere"] * 3


async def test_a_body_in_chunks_after_100_continue() -> None:
    async with open_gateway() as gateway:
        reply = await talk(
            gateway,
            b"POST /callback/ws/endpoint HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n",
        )
        assert reply.startswith(b"HTTP/1.1 100")


async def test_a_body_that_has_no_end() -> None:
    async with open_gateway() as gateway:
        head = b"POST /callback/ws/endpoint HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"1000000\r\n" + bytes(1 << 24) + b"\r\n"
        assert await talk(gateway, head + 4 * chunk) == b""  # 64 MiB, and it may go on
        answer = await talk(gateway, head + 4 * chunk + b"1\r\n0\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert not gateway.requests


async def test_upgrades_to_nothing() -> None:
    async with open_gateway() as gateway:
        for path, headers, status in [
            (b"/elsewhere", b"Sec-WebSocket-Version: 13\r\n", b"404"),
            (b"/ws/v2", b"", b"400"),
        ]:
            request = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n"
            reply = await talk(gateway, request % (path, headers))
            assert reply.startswith(b"HTTP/1.1 " + status)
        assert not gateway.connections


async def test_requests_that_are_odd() -> None:
    async with open_gateway() as gateway:
        head = await talk(gateway, b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        assert head.count(b"HTTP/1.1 404") == 2
        assert head.endswith(b"\r\n\r\n")
        for target in (b"//[", b"*", b"/a?%ff&&=;b", b"http://[::1"):
            assert (await talk(gateway, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)).startswith(
                b"HTTP/1.1 404"
            )
        too_long = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 100_000
        assert (await talk(gateway, too_long)).startswith(b"HTTP/1.1 431")
        long = b"POST /callback/ws/endpoint HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n\xff{}"
        assert b"1000040344" in await talk(gateway, long)


async def test_a_client_that_does_not_wait_for_the_upgrade() -> None:
    async with open_gateway() as gateway:
        target = (await discover(gateway)).partition(gateway.domain[7:])[2]
        ping = encode_ping(33554678)
        reply = await talk(
            gateway,
            f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            + bytes([0x82, 0x80 | len(ping), 0, 0, 0, 0])
            + ping,
        )
        assert reply.startswith(b"HTTP/1.1 101")
        assert b"pong" in reply
        assert gateway.violations == []


async def test_chinese_in_headers() -> None:
    async with open_gateway() as gateway:
        gateway.refuse_handshake(403, None, "应用被禁用")
        request = b"GET /ws/v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        assert "Handshake-Msg: 应用被禁用".encode() in await talk(gateway, request)


async def test_the_path_of_the_websocket_without_an_upgrade() -> None:
    async with open_gateway() as gateway:
        assert (await talk(gateway, b"GET /ws/v2 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 404")
