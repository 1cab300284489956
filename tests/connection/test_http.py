"""HTTP over our own way to a host: what fails is told as httpx tells it, and nothing is left open."""

from __future__ import annotations

import gc
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trustme

from feishu_trio import ConfigError, ConnectError, SessionConfig, open_feishu_session
from feishu_trio.connection import http_client
from feishu_trio.connection.dial import open_stream
from feishu_trio.connection.discovery import discover
from feishu_trio.connection.tls import default_ssl_context
from session.test_tls import serving, trusting

from .proxies import Proxy, http_proxy, open_proxy, read_head, socks_proxy


@pytest.fixture
def no_collection() -> Iterator[None]:
    """What is closed only when the garbage is collected was left open."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Server:
    """Counts who has come, and who is still there."""

    def __init__(self) -> None:
        self.port = 0
        self.came = 0
        self.there = 0

    async def wait_left(self) -> None:
        with trio.fail_after(2):
            while self.there:  # noqa: ASYNC110 - nobody is told by a socket that stays
                await trio.sleep(0.005)


Serve = Callable[[trio.SocketStream], Awaitable[object]]


async def silent(stream: trio.SocketStream) -> None:
    async for _ in stream:
        pass


@asynccontextmanager
async def serve(handle: Serve = silent) -> AsyncGenerator[Server, None]:
    server = Server()

    async def count(stream: trio.SocketStream) -> None:
        server.came += 1
        server.there += 1
        try:
            async with stream:
                await handle(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            server.there -= 1

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        server.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, count, [listener])
        yield server
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", [None, "http", "socks5"])
@pytest.mark.usefixtures("no_collection")
async def test_discovery_cancelled_within_tls_closes_its_socket(scheme: str | None) -> None:
    async with (
        serve() as server,
        open_proxy(http_proxy if scheme == "http" else socks_proxy) as proxy,
    ):
        config = SessionConfig(
            app_id="cli_a",
            app_secret="secret",
            domain=f"https://127.0.0.1:{server.port}",
            proxy=scheme and f"{scheme}://{proxy.address}",
        )
        async with http_client(config) as http:
            for n in range(10):
                with trio.move_on_after(0.01 + n * 0.004) as scope:
                    await discover(http, config)
                assert scope.cancelled_caught
            assert server.came > 5
            await server.wait_left()


@pytest.mark.usefixtures("no_collection")
async def test_discovery_that_times_out_within_tls_closes_its_socket() -> None:
    async with serve() as server:
        with pytest.raises(ConnectError, match="no connection within"):
            async with open_feishu_session(
                "cli_a",
                "secret",
                domain=f"https://127.0.0.1:{server.port}",
                connect_timeout=0.1,
                reconnect_delay=0,
                max_reconnect_attempts=2,
            ):
                pytest.fail("it connected")
        assert server.came == 3
        await server.wait_left()


@pytest.mark.usefixtures("no_collection")
async def test_sessions_cancelled_at_any_moment_leave_no_socket(authority: trustme.CA) -> None:
    context = serving(authority, "localhost")

    async def tls(stream: trio.SocketStream) -> None:
        async for _ in trio.SSLStream(stream, context, server_side=True, https_compatible=True):
            pass

    async with serve(tls) as server:
        for n in range(30):
            with trio.move_on_after(n * 0.001):
                async with open_feishu_session(
                    "cli_a",
                    "secret",
                    domain=f"https://localhost:{server.port}",
                    ssl_context=trusting(authority),
                ):
                    pytest.fail("it connected")
        await server.wait_left()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("over", ["http", "https"])
async def test_an_https_proxy_is_spoken_to_over_tls(authority: trustme.CA, over: str) -> None:
    context = serving(authority, "localhost")

    async def page(stream: trio.abc.Stream) -> None:
        await read_head(stream)  # type: ignore[arg-type]
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")

    async def serve_page(stream: trio.SocketStream) -> None:
        await page(tls_of(stream, context) if over == "https" else stream)

    async def tls_proxy(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await http_proxy(tls_of(client, context), proxy, credentials=credentials)  # type: ignore[arg-type]

    async with serve(serve_page) as server, open_proxy(tls_proxy, credentials=True) as proxy:
        at = f"localhost:{proxy.address.partition(':')[2]}"
        config = SessionConfig(
            domain=f"{over}://localhost:{server.port}",
            proxy=f"https://someone:pass%3Aword%401@{at}",
            ssl_context=trusting(authority),
        )
        with trio.fail_after(5):
            async with http_client(config) as http:
                assert (await http.get(config.domain + "/x")).text == "hi"
            async with await open_stream(
                "localhost", server.port, tls=over == "https", config=config
            ) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await stream.receive_some(12)).startswith(b"HTTP/1.1 200")
    first = f"GET http://localhost:{server.port}/x" if over == "http" else f"CONNECT localhost:{server.port}"
    assert proxy.asked == [first, f"CONNECT localhost:{server.port}"]


def tls_of(stream: trio.SocketStream, context: ssl.SSLContext) -> trio.abc.Stream:
    return trio.SSLStream(stream, context, server_side=True, https_compatible=True)


async def test_a_connection_is_used_again_until_the_server_has_closed_it() -> None:
    async def two_pages(stream: trio.SocketStream) -> None:
        for _ in range(2):
            await read_head(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async with serve(two_pages) as server:
        config = SessionConfig(domain=f"http://127.0.0.1:{server.port}")
        async with http_client(config) as http:
            for _ in range(6):
                assert (await http.get(config.domain)).text == "hi"
                await trio.sleep(0.01)
        assert server.came == 3
        await server.wait_left()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", httpx.RemoteProtocolError),
        (b"junk\r\n\r\n", httpx.RemoteProtocolError),
        (None, httpx.ReadTimeout),
    ],
)
async def test_what_fails_is_told_as_httpx_tells_it(answer: bytes | None, error: type[Exception]) -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await read_head(stream)
        if answer is None:
            await trio.sleep_forever()
        else:
            await stream.send_all(answer)

    async with serve(handle) as server:
        settings: dict[str, Any] = {"connect_timeout": 0.1}
        config = SessionConfig(domain=f"http://127.0.0.1:{server.port}", **settings)
        async with http_client(config) as http:
            with pytest.raises(error):
                await http.get(config.domain)


async def test_where_no_authorities_can_be_read_nobody_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    default_ssl_context.cache_clear()
    async with serve() as server:
        config = SessionConfig(app_id="cli_a", app_secret="secret", domain=f"https://127.0.0.1:{server.port}")
        with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: '/nowhere.pem'"):
            await open_stream("127.0.0.1", server.port, tls=True, config=config)
        with pytest.raises(ConfigError, match=r"^SSL_CERT_FILE: '/nowhere.pem'"):
            async with open_feishu_session(config=config):
                pytest.fail("it connected")
        assert server.came == 0
