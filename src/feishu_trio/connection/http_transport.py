"""httpx over our own way to a host: the same proxies, the same TLS as for a WebSocket, and nothing left open.

httpcore keeps the pool and speaks HTTP; its network is this module's, through `httpcore.AsyncNetworkBackend`.
Its own loses the TCP stream when TLS over it is cancelled, and reads SOCKS replies as if each came in one piece.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import httpcore
import httpx
import trio

from ..errors import ConnectError
from .proxies import open_through_proxy, speaks_http
from .tcp import connect_tcp
from .tls import TLSStream, secured

__all__ = ["Transport"]

# As httpx has them.
_POOL: dict[str, Any] = {"max_connections": 100, "max_keepalive_connections": 20, "keepalive_expiry": 5.0}


class Transport(httpx.AsyncBaseTransport):
    """Carries requests to one domain, through `proxy` if it is not None."""

    def __init__(self, proxy: str | None, *, tls: bool, ssl_context: ssl.SSLContext) -> None:
        self._pool: httpcore.AsyncConnectionPool
        if proxy is not None and not tls and speaks_http(proxy):
            # Asked for the whole URL: many a proxy gives no tunnel to what is no TLS.
            parts = urlsplit(proxy)
            user, password = unquote(parts.username or ""), unquote(parts.password or "")
            self._pool = httpcore.AsyncHTTPProxy(
                httpcore.URL(
                    scheme=parts.scheme,
                    host=parts.hostname or "",
                    port=parts.port or (443 if parts.scheme == "https" else 80),
                    target="/",
                ),
                proxy_auth=None if parts.username is None else (user.encode(), password.encode()),
                ssl_context=ssl_context,
                proxy_ssl_context=ssl_context if parts.scheme == "https" else None,
                network_backend=_Network(None, ssl_context),
                **_POOL,
            )
        else:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl_context, network_backend=_Network(proxy, ssl_context), **_POOL
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request, as `httpx.AsyncHTTPTransport` does."""
        url = request.url
        assert isinstance(request.stream, httpx.AsyncByteStream)
        with _errors_of_httpx():
            async with _closing(request.stream) as content:
                response = await self._pool.handle_async_request(
                    httpcore.Request(
                        method=request.method,
                        url=httpcore.URL(
                            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                        ),
                        headers=request.headers.raw,
                        content=content,
                        extensions=request.extensions,
                    )
                )
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


class _Network(httpcore.AsyncNetworkBackend):
    """Opens the streams; `proxy` is for those it tunnels through."""

    def __init__(self, proxy: str | None, ssl_context: ssl.SSLContext) -> None:
        self._proxy = proxy
        self._ssl_context = ssl_context

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        stream: trio.abc.Stream
        with _errors_of_httpcore("Connect", timeout):
            if self._proxy is not None:
                stream = await open_through_proxy(self._proxy, host, port, ssl_context=self._ssl_context)
            else:
                stream = await connect_tcp(host, port)
        return _Stream(stream, host, port)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream, host: str, port: int) -> None:
        self._stream = stream
        self._host = host
        self._port = port

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _errors_of_httpcore("Read", timeout):
            return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _errors_of_httpcore("Write", timeout):
            await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        host = server_hostname or self._host
        try:
            with _errors_of_httpcore("Connect", timeout):
                tls = await secured(self._stream, host, self._port, ssl_context)
        except BaseException:
            await trio.aclose_forcefully(self._stream)  # whoever asked for TLS has no other hold of it
            raise
        return _Stream(tls, host, self._port)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for: whether a stream that should be silent has something to read, or has ended."""
        stream = self._stream
        while isinstance(stream, TLSStream):
            stream = stream.transport_stream
        if info == "is_readable" and isinstance(stream, trio.SocketStream):
            return stream.socket.is_readable()
        return None


@asynccontextmanager
async def _closing(stream: httpx.AsyncByteStream) -> AsyncGenerator[AsyncIterator[bytes], None]:
    """The parts of a request's body, which httpcore leaves half used if sending them is cancelled, or fails."""
    parts = aiter(stream)
    try:
        yield parts
    finally:
        if isinstance(parts, AsyncGenerator):
            await parts.aclose()


@contextmanager
def _errors_of_httpcore(doing: str, timeout: float | None) -> Iterator[None]:
    try:
        with trio.fail_after(math.inf if timeout is None else timeout):
            yield
    except trio.TooSlowError as error:
        raise getattr(httpcore, f"{doing}Timeout") from error
    except (ConnectError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise getattr(httpcore, f"{doing}Error")(str(error)) from error


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # httpx has those of httpcore by the same names. Whatever else comes up is this request's failure, no more.
        known = (
            getattr(httpx, type(error).__name__, None)
            if type(error).__module__.startswith("httpcore")
            else None
        )
        raise (known or httpx.TransportError)(str(error) or type(error).__name__) from error
