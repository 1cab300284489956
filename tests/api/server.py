"""An HTTP server whose answers a test writes down: refusals, waits, answers that are cut, or never come."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import attrs
import h11
import httpcore
import httpx
import trio
from trio.testing import memory_stream_pair

from feishu_trio import SessionConfig
from feishu_trio.api import Api
from feishu_trio.connection import http_client
from feishu_trio.connection.http_transport import Transport, _Network, _Stream
from feishu_trio.testing import Gateway, open_gateway
from feishu_trio.testing._http import Request

TOKEN: Final = "POST /open-apis/auth/v3/tenant_access_token/internal"
SECRET: Final = "S3cr3t-value"


@attrs.frozen
class Reply:
    """An answer, and how it comes."""

    body: Any = attrs.field(factory=dict)
    """Bytes as they are; anything else is written as JSON, with code 0 where a dict has none."""
    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict)
    after: float = 0.0
    """Seconds before it begins."""
    sent: int | None = None
    """Bytes of the body that are sent; None for all."""
    then: Literal["close", "hold"] = "close"
    """What comes after a body that is not sent whole."""
    pace: tuple[int, float] = (1 << 16, 0.0)
    """Bytes at a time, and seconds before each."""

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        whole = {"code": 0, **self.body} if isinstance(self.body, dict) else self.body
        return json.dumps(whole).encode()


HANG: Final = Reply(after=1e9)
"""It never comes."""
CUT: Final = Reply(sent=0)
"""The connection is closed in its place."""


def limited(reset: float | None = None, code: int = 99991400, status: int = 429) -> Reply:
    """Too many calls."""
    headers = {} if reset is None else {"x-ogw-ratelimit-limit": "5", "x-ogw-ratelimit-reset": f"{reset:g}"}
    return Reply({"code": code, "msg": "request trigger frequency limit"}, status, headers)


Answer = Reply | dict[str, Any] | bytes | Callable[[Request], "Reply | dict[str, Any] | bytes"]


@attrs.define(eq=False)
class Server:
    """Answers what was written down for `"METHOD /path"`: one after the other, and the last again and again."""

    requests: list[Request] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    """When each came, by trio's clock."""
    came: int = 0
    there: int = 0
    """Connections: all that came, and those that are still there."""
    _answers: dict[str, deque[Answer]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.on(TOKEN, {"tenant_access_token": f"t-{SECRET}", "expire": 7200})

    def on(self, call: str, *answers: Answer) -> None:
        self._answers[call] = deque(answers)

    def calls(self, but: str = TOKEN) -> list[str]:
        """All calls that came, but those for a token."""
        names = [f"{request.method} {request.path}" for request in self.requests]
        return [name for name in names if name != but]

    def asked(self, call: str) -> list[Request]:
        return [each for each in self.requests if f"{each.method} {each.path}" == call]

    def at(self, call: str) -> list[float]:
        """When the calls of this name came."""
        pairs = zip(self.requests, self.times, strict=True)
        return [time for each, time in pairs if f"{each.method} {each.path}" == call]

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.came += 1
        self.there += 1
        try:
            async with stream:
                await self._serve(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.there -= 1

    async def wait_left(self) -> None:
        """Wait until no connection is there."""
        with trio.fail_after(2):
            while self.there:  # noqa: ASYNC110 - nobody is told by a socket that stays
                await trio.sleep(0.005)

    async def _serve(self, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        while (request := await _read(http, stream)) is not None:
            self.requests.append(request)
            self.times.append(trio.current_time())
            answers = self._answers.get(f"{request.method} {request.path}", deque([Reply(status=404)]))
            answer = answers[0] if len(answers) == 1 else answers.popleft()
            answer = answer if isinstance(answer, Reply | dict | bytes) else answer(request)
            reply = answer if isinstance(answer, Reply) else Reply(answer)
            if not await _write(http, stream, reply, has_body=request.method != "HEAD"):
                return
            http.start_next_cycle()


async def _read(http: h11.Connection, stream: trio.abc.Stream) -> Request | None:
    head, body = None, bytearray()
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(1 << 16)))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Request.of(head.method.decode(), head.target.decode(), headers, bytes(body))
        else:
            return None


async def _wait(stream: trio.abc.Stream, seconds: float) -> None:
    """Wait, unless the client goes away."""
    with trio.move_on_after(seconds) as waiting:
        assert await stream.receive_some(1) == b"", "it sends more, and waits for no answer"
    if not waiting.cancelled_caught:
        raise trio.ClosedResourceError


async def _write(http: h11.Connection, stream: trio.abc.Stream, reply: Reply, *, has_body: bool) -> bool:
    """Whether the connection may be used again."""
    if reply.after:
        await _wait(stream, reply.after)
    content = reply.content
    kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json; charset=utf-8"
    headers = {"Content-Type": kind, "Content-Length": str(len(content)), **reply.headers}
    if reply is CUT:
        return False
    head = http.send(h11.Response(status_code=reply.status, headers=list(headers.items())))
    assert head is not None
    await stream.send_all(head)
    size, pause = reply.pace
    whole = content[: reply.sent] if has_body else b""
    for start in range(0, len(whole), size):
        if pause:
            await _wait(stream, pause)
        await stream.send_all(http.send(h11.Data(data=whole[start : start + size])) or b"")
    if reply.sent is not None:
        if reply.then == "hold":
            await _wait(stream, 1e9)
        return False
    await stream.send_all(http.send(h11.EndOfMessage()) or b"")
    return http.our_state is h11.DONE


class _MemoryNetwork(_Network):
    """Connects to a server without sockets, so that the clock may jump."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self._server = server
        self._nursery = nursery

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._server.serve, theirs)
        return _Stream(ours, host, port)


class _MemoryTransport(Transport):
    def __init__(self, network: _MemoryNetwork) -> None:
        self._pool = httpcore.AsyncConnectionPool(network_backend=network, max_connections=100)


@attrs.frozen
class Scene:
    """A server, and an API that reaches it."""

    server: Server
    api: Api
    http: httpx.AsyncClient
    domain: str


@asynccontextmanager
async def open_api(**settings: Any) -> AsyncGenerator[Scene, None]:
    """A server and an API that meet in memory."""
    server = Server()
    async with trio.open_nursery() as nursery:
        transport = _MemoryTransport(_MemoryNetwork(server, nursery))
        async with httpx.AsyncClient(transport=transport) as http:
            domain = "http://feishu.test"
            yield Scene(server, Api(http, domain, "cli_a", SECRET, **settings), http, domain)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_real_api(**settings: Any) -> AsyncGenerator[Scene, None]:
    """A server and an API that meet over loopback sockets."""
    server = Server()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        domain = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        async with http_client(SessionConfig(app_id="cli_a", app_secret=SECRET, domain=domain)) as http:
            yield Scene(server, Api(http, domain, "cli_a", SECRET, **settings), http, domain)
        nursery.cancel_scope.cancel()


# --- other ways to an API -----------------------------------------------------------------------------------


@asynccontextmanager
async def open_gateway_api(**behaviour: Any) -> AsyncGenerator[tuple[Gateway, Api], None]:
    """A gateway, and an API that reaches it without a socket, as the autojump clock asks for."""
    async with open_gateway(**behaviour) as gateway, httpx.AsyncClient(transport=gateway.transport) as http:
        yield gateway, Api(http, gateway.domain, gateway.app_id, gateway.app_secret)


def asked(gateway: Gateway, path: str) -> int:
    return sum(request.path == path for request in gateway.requests)


def odd_api(handler: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Api:
    """An API whose token is fine, and whose calls are answered by `handler`."""

    def answer(request: httpx.Request) -> httpx.Response:
        if f"POST {request.url.path}" == TOKEN:
            return httpx.Response(200, json={"code": 0, "tenant_access_token": f"t-{SECRET}", "expire": 7200})
        return handler(request)

    transport = httpx.MockTransport(answer)
    return Api(httpx.AsyncClient(transport=transport), "https://x.test", "cli_a", SECRET, **settings)
