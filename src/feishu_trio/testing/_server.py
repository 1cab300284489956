"""The gateway's server for HTTP and WebSocket clients, over sockets or over streams in memory."""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Mapping
from email.utils import formatdate
from random import Random
from typing import Final

import attrs
import trio

from ._connection import GatewayConnection, accept
from ._discovery import (
    AUTH_FAILED,
    CONNECTION_LIMIT,
    DISCOVERY_PATH,
    SOCKET_PATH,
    Discovery,
    refused_handshake,
)
from ._frames import SERVICE_ID, random_id
from ._http import Request, Response, Upgrade, json_response, serve_http
from ._line import Line
from ._memory import MemoryStream, memory_stream_pair
from ._openapi import OpenApi
from ._platform import Platform
from ._responses import PreparedResponses

_LARGEST_BODY: Final = 1 << 20
"""Bytes of a request's body that is kept."""


@attrs.define(eq=False)
class Server:
    """Serves every client in the gateway's nursery."""

    host: str
    port: int
    client_config: Mapping[str, object] | None
    ssl_context: ssl.SSLContext | None
    """With which sockets speak TLS; streams in memory do not."""
    nursery: trio.Nursery
    random: Random
    discovery: Discovery
    api: OpenApi
    platform: Platform
    prepared: PreparedResponses = attrs.field(factory=PreparedResponses, init=False)
    requests: deque[Request] = attrs.field(factory=lambda: deque(maxlen=10_000), init=False)
    delay: float = attrs.field(default=0.0, init=False)
    """Seconds by which new lines and the transport delay all that is sent."""
    clock_ahead: float = attrs.field(default=0.0, init=False)
    """Seconds by which the header Date is ahead of the time of day."""
    lines: set[Line] = attrs.field(factory=set, init=False)
    _listeners: list[trio.SocketListener] = attrs.field(factory=list, init=False)
    _listening: trio.CancelScope | None = attrs.field(default=None, init=False)

    @property
    def domain(self) -> str:
        """The address to give to clients."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        scheme = "http" if self.ssl_context is None else "https"
        return f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"

    @property
    def is_listening(self) -> bool:
        """Whether new clients are accepted."""
        return self._listening is not None

    async def start_listening(self) -> None:
        """Accept clients; port 0 is replaced by a free one. OSError if the port is in use."""
        if self._listening is not None:
            return
        self._listeners = await trio.open_tcp_listeners(self.port, host=self.host)
        self.port = self._listeners[0].socket.getsockname()[1]
        self._listening = trio.CancelScope()
        self.nursery.start_soon(self._listen, self._listeners, self._listening)

    async def stop_listening(self) -> None:
        """Refuse new clients; connected clients stay."""
        if self._listening is None:
            return
        self._listening.cancel()
        self._listening = None
        for listener in self._listeners:
            await listener.aclose()

    async def _listen(self, listeners: list[trio.SocketListener], scope: trio.CancelScope) -> None:
        try:
            with scope:
                await trio.serve_listeners(self._serve_socket, listeners, handler_nursery=self.nursery)
        finally:
            if self._listening is scope:
                self._listening = None

    async def _serve_socket(self, stream: trio.SocketStream) -> None:
        context = self.ssl_context
        if context is None:
            await self.serve_stream(stream)
        else:
            await self.serve_stream(trio.SSLStream(stream, context, server_side=True, https_compatible=True))

    def connect(self) -> MemoryStream:
        """The client's end of a stream in memory, the other end of which is served."""
        client, server = memory_stream_pair()
        self.nursery.start_soon(self.serve_stream, server)
        return client

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one client until either side ends it."""
        line = Line(stream, self.delay)
        self.lines.add(line)
        try:
            await line.run(lambda line: serve_http(line, self.answer, self._upgrade))
        finally:
            self.lines.discard(line)

    async def answer(self, request: Request) -> Response:
        """Answer one HTTP request; never returns where there is to be no answer."""
        self._note(request)
        prepared = self.prepared.take(request)
        if prepared is None:
            response = self._regular(request)
        else:
            response = await prepared.answer(lambda: self._regular(request))
        date = formatdate(time.time() + self.clock_ahead, usegmt=True)
        added = (("Date", date), ("X-Tt-Logid", random_id(self.random)))
        return attrs.evolve(response, headers=(*response.headers, *added))

    def _note(self, request: Request) -> None:
        large = len(request.body) > _LARGEST_BODY
        self.requests.append(attrs.evolve(request, body=b"") if large else request)

    def _regular(self, request: Request) -> Response:
        if request.path == DISCOVERY_PATH and request.method == "POST":
            host = request.headers.get("host") or f"{self.host}:{self.port}"
            scheme = "ws" if self.ssl_context is None else "wss"
            return self.discovery.endpoint(request, f"{scheme}://{host}", self.client_config)
        if self.api.has(request.path):
            return self.api.answer(request)
        return _unknown(request)

    async def _upgrade(self, line: Line, upgrade: Upgrade) -> Response | None:
        request = upgrade.request
        self._note(request)
        prepared = self.prepared.take(request)
        if prepared is not None:
            return await prepared.answer(lambda: _unknown(request))
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        ws = accept(upgrade, line)
        if isinstance(ws, Response):
            return ws
        connection = GatewayConnection(
            request.query["device_id"],
            SERVICE_ID,
            request.headers,
            trio.current_time(),
            line,
            ws,
            self.platform.received,
            self.platform.violated,
            self.platform.leave,
        )
        self.platform.join(connection)
        await connection.serve()
        return None

    def _refusal(self, request: Request) -> Response | None:
        if request.path != SOCKET_PATH:
            return _unknown(request)
        if self.platform.is_full:
            msg = f"over the limit of {self.platform.connection_limit} connections"
            return refused_handshake(AUTH_FAILED, msg, autherrcode=CONNECTION_LIMIT)
        return self.discovery.admit(request)


def _unknown(request: Request) -> Response:
    return json_response({"code": 404, "msg": f"the gateway has no {request.method} {request.path}"}, 404)
