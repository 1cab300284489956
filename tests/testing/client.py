"""A minimal client of the protocol, to test the gateway with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import httpx
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from feishu_trio.testing import Gateway
from feishu_trio.wire import OK, Frame, decode_frame, encode_answer, encode_ping

DISCOVERY = "/callback/ws/endpoint"


async def post(
    gateway: Gateway, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    async with httpx.AsyncClient(transport=gateway.transport, base_url=gateway.domain) as http:
        return await http.post(path, json=body, headers=dict(headers or {}))


async def raw_stream(domain: str) -> trio.SocketStream:
    """A TCP connection to the gateway, without HTTP on it."""
    url = urlsplit(domain)
    return await trio.open_tcp_stream(url.hostname or "", url.port or 0)


async def discover(gateway: Gateway) -> str:
    response = await post(gateway, DISCOVERY, {"AppID": gateway.app_id, "AppSecret": gateway.app_secret})
    url = response.json()["data"]["URL"]
    assert isinstance(url, str)
    return url


@attrs.define
class Client:
    ws: WebSocketConnection

    async def receive(self, within: float = 5.0) -> Frame:
        with trio.fail_after(within):
            message = await self.ws.get_message()
        assert isinstance(message, bytes)
        return decode_frame(message)

    async def answer(self, frame: Frame, payload: bytes = OK) -> None:
        await self.ws.send_message(encode_answer(frame, payload, 7))

    async def ping(self, service: int = 33554678) -> None:
        await self.ws.send_message(encode_ping(service))

    async def wait_closed(self) -> int | None:
        """The code with which the gateway closed; None if there was no close frame."""
        try:
            with trio.fail_after(5):
                while True:
                    await self.ws.get_message()
        except ConnectionClosed as closed:
            return None if closed.reason is None else closed.reason.code


async def open_websocket(nursery: trio.Nursery, gateway: Gateway, url: str) -> WebSocketConnection:
    parts = urlsplit(url)
    stream = await gateway.dial(parts.hostname or "", parts.port or 0)
    return await wrap_client_stream(nursery, stream, parts.netloc, f"{parts.path}?{parts.query}")  # type: ignore[arg-type]


async def refusal(gateway: Gateway, url: str) -> Mapping[str, str]:
    """How the upgrade is refused: the response's headers, and its status as `status`."""
    refused: list[Exception] = []
    try:
        async with trio.open_nursery() as nursery:
            await open_websocket(nursery, gateway, url)
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:
        refused += group.exceptions
    (error,) = refused
    assert isinstance(error, ConnectionRejected)
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return {"status": str(error.status_code), **headers}


@asynccontextmanager
async def connect(gateway: Gateway, url: str | None = None) -> AsyncIterator[Client]:
    """A connected client, over streams in memory."""
    async with trio.open_nursery() as nursery:
        ws = await open_websocket(nursery, gateway, url or await discover(gateway))
        with trio.fail_after(5):
            await gateway.connected.wait_value(lambda n: n > 0)
        yield Client(ws)
        nursery.cancel_scope.cancel()
