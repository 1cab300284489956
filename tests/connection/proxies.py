"""A small CONNECT proxy and a small SOCKS5 proxy on loopback, with and without credentials."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

USER, PASSWORD = "someone", "pass:word@1"
CREDENTIALS = "someone:pass%3Aword%401@"


class Proxy:
    """What a test sees of a proxy: where it is, and where it has been asked to go."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.asked: list[str] = []


async def pipe(one: trio.SocketStream, other: trio.SocketStream) -> None:
    async def copy(source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy, one, other, nursery.cancel_scope)
        nursery.start_soon(copy, other, one, nursery.cancel_scope)


async def read_head(stream: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some(4096)
        if not data:
            raise trio.BrokenResourceError("the client hung up before it had asked")
        head += data
    return head


async def http_proxy(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
    head = await read_head(client)
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    proxy.asked.append(f"{method} {target}")
    wanted = b"Basic " + b64encode(f"{USER}:{PASSWORD}".encode())
    if credentials and wanted not in head:
        await client.send_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        return
    url = urlsplit(f"//{target}" if method == "CONNECT" else target)
    assert url.hostname is not None
    async with await trio.open_tcp_stream(url.hostname, url.port or 80) as server:
        if method == "CONNECT":
            await client.send_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            await server.send_all(head.replace(target.encode(), url.path.encode(), 1))
        await pipe(client, server)


async def socks_proxy(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
    await client.receive_some(4096)
    if credentials:
        await client.send_all(b"\x05\x02")
        received = bytes(await client.receive_some(4096))
        name, password = USER.encode(), PASSWORD.encode()
        right = received == bytes([1, len(name)]) + name + bytes([len(password)]) + password
        await client.send_all(b"\x01\x00" if right else b"\x01\x01")
        if not right:
            return
    else:
        await client.send_all(b"\x05\x00")
    request = bytes(await client.receive_some(4096))
    if not request:
        return  # the client was cancelled
    by_name = request[3] == 3
    size = request[4] + 1 if by_name else 4
    address = request[4 : 4 + size]
    host = address[1:].decode() if by_name else socket.inet_ntoa(address)
    port = int.from_bytes(request[4 + size : 6 + size], "big")
    proxy.asked.append(f"{host}:{port}")
    try:
        server = await trio.open_tcp_stream(host, port)
    except OSError:
        await client.send_all(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")  # connection refused
        return
    async with server:
        await client.send_all(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await pipe(client, server)


Serve = Callable[..., Awaitable[None]]


@asynccontextmanager
async def open_proxy(serve: Serve, *, credentials: bool = False) -> AsyncGenerator[Proxy, None]:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = Proxy(listeners[0].socket.getsockname()[1])

        async def handle(client: trio.SocketStream) -> None:
            async with client:
                await serve(client, proxy, credentials=credentials)

        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield proxy
        nursery.cancel_scope.cancel()
