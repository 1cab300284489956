"""Proxies, for real: a small CONNECT proxy and a small SOCKS5 proxy on loopback, with and without credentials."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trustme

from feishu_trio import ApiError, ConnectError, Router, SessionConfig, open_feishu_session
from feishu_trio.api import Api
from feishu_trio.connection import http_client
from feishu_trio.connection.dial import open_stream
from feishu_trio.connection.discovery import discover
from feishu_trio.connection.proxies import proxy_for
from feishu_trio.testing import open_gateway
from session.test_tls import serving, trusting

from .proxies import (
    CREDENTIALS,
    PASSWORD,
    Proxy,
    Serve,
    http_proxy,
    open_proxy,
    read_head,
    socks_proxy,
)


@asynccontextmanager
async def open_echo() -> AsyncGenerator[int, None]:
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("scheme", "serve"), [("http", http_proxy), ("socks5", socks_proxy)])
@pytest.mark.parametrize("credentials", [False, True])
async def test_note_19_bytes_go_through_the_proxy(scheme: str, serve: Serve, credentials: bool) -> None:
    async with open_echo() as port, open_proxy(serve, credentials=credentials) as proxy:
        config = SessionConfig(proxy=f"{scheme}://{CREDENTIALS if credentials else ''}{proxy.address}")
        with trio.fail_after(5):
            async with await open_stream("127.0.0.1", port, tls=False, config=config) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some(100) == b"hello"
    assert len(proxy.asked) == 1
    assert str(port) in proxy.asked[0]


@pytest.mark.parametrize(("scheme", "serve"), [("http", http_proxy), ("socks5", socks_proxy)])
async def test_a_proxy_that_refuses_is_named_without_its_credentials(scheme: str, serve: Serve) -> None:
    async with open_proxy(serve, credentials=True) as proxy:
        config = SessionConfig(proxy=f"{scheme}://me:hush-hush@{proxy.address}")
        with trio.fail_after(5), pytest.raises(ConnectError, match="user and password") as caught:
            await open_stream("127.0.0.1", 9, tls=False, config=config)
        assert proxy.address in str(caught.value)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_is_not_there_is_a_connect_error(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = SessionConfig(proxy=f"{scheme}://127.0.0.1:{taken.getsockname()[1]}")
        with trio.fail_after(5), pytest.raises(ConnectError):
            await open_stream("127.0.0.1", 9, tls=False, config=config)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_hangs_up_is_a_connect_error(scheme: str) -> None:
    async def hang_up(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await client.receive_some(4096)

    async with open_proxy(hang_up) as proxy:
        with trio.fail_after(5), pytest.raises(ConnectError):
            await open_stream(
                "a.test", 9, tls=False, config=SessionConfig(proxy=f"{scheme}://{proxy.address}")
            )


GREETED = b"\x05\x00"
BAD_SOCKS: dict[str, list[bytes]] = {
    "closes before the greeting": [],
    "closes after the greeting": [GREETED],
    "half a greeting": [b"\x05"],
    "junk": [b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    "an odd version": [b"\x04\x00"],
    "an unknown method": [b"\x05\x77"],
    "no acceptable method": [b"\x05\xff"],
    "wants a password": [b"\x05\x02"],
    "half a reply": [GREETED, b"\x05\x00\x00"],
    "a reply without its port": [GREETED, b"\x05\x00\x00\x01\x7f\x00\x00\x01"],
    "an unknown code": [GREETED, b"\x05\x63\x00\x01\x00\x00\x00\x00\x00\x00"],
    "a refusal": [GREETED, b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"],
    "an unknown kind of address": [GREETED, b"\x05\x00\x00\x09\x00\x00\x00\x00\x00\x00"],
    "a reply of another version": [GREETED, b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"],
}


def misbehaves(replies: list[bytes]) -> Serve:
    async def serve(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await client.receive_some(4096)
        for n, reply in enumerate(replies, 1):
            await client.send_all(reply)
            if n < len(replies):
                await client.receive_some(4096)

    return serve


@pytest.mark.parametrize("what", BAD_SOCKS)
async def test_a_socks_proxy_that_misbehaves_is_a_connect_error(what: str) -> None:
    async with open_proxy(misbehaves(BAD_SOCKS[what])) as proxy:
        config = SessionConfig(proxy=f"socks5://{proxy.address}")
        with trio.fail_after(5), pytest.raises(ConnectError, match=r"gave no way to a\.test:9"):
            await open_stream("a.test", 9, tls=False, config=config)


@pytest.mark.parametrize("what", BAD_SOCKS)
@pytest.mark.parametrize("asks", ["discovery", "api"])
async def test_a_socks_proxy_that_misbehaves_fails_http_as_any_network_does(what: str, asks: str) -> None:
    async with open_proxy(misbehaves(BAD_SOCKS[what])) as proxy:
        config = SessionConfig(
            app_id="cli_a",
            app_secret="hush-hush",
            domain="https://a.test",
            proxy=f"socks5://{proxy.address}",
            connect_timeout=0.5,
        )
        with trio.fail_after(5):
            async with http_client(config) as http:
                if asks == "discovery":
                    with pytest.raises(ConnectError, match="could not be reached"):
                        await discover(http, config)
                else:
                    with pytest.raises(ApiError):
                        await Api(http, config.domain, "cli_a", "hush-hush", timeout=0.5).send("oc_a", "hi")


async def test_a_session_outlives_the_restart_of_its_socks_proxy() -> None:
    tries = 0

    async def restarts(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        nonlocal tries
        tries += 1
        if tries > 2:
            await socks_proxy(client, proxy, credentials=credentials)

    async with open_gateway() as gateway, open_proxy(restarts) as proxy:
        with trio.fail_after(5):
            async with open_feishu_session(
                gateway.app_id,
                gateway.app_secret,
                domain=gateway.domain,
                proxy=f"socks5://{proxy.address}",
                reconnect_delay=0.01,
            ) as session:
                assert session.is_connected
    assert tries > 3


@pytest.mark.parametrize("credentials", [False, True])
@pytest.mark.parametrize("address", [b"\x01\x7f\x00\x00\x01", b"\x03\x06a.test", b"\x04" + bytes(16)])
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_socks_reply_may_come_in_segments_and_what_follows_it_is_not_lost(
    credentials: bool, address: bytes, in_pieces: bool
) -> None:
    async def serve(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        async def send(data: bytes) -> None:
            for piece in [bytes([byte]) for byte in data] if in_pieces else [data]:
                await client.send_all(piece)
                await trio.sleep(0.002)

        await client.receive_some(4096)
        await send(b"\x05\x02" if credentials else GREETED)
        await client.receive_some(4096)
        if credentials:
            await send(b"\x01\x00")
            await client.receive_some(4096)
        await send(b"\x05\x00\x00" + address + b"\x00\x50hello")

    async with open_proxy(serve, credentials=credentials) as proxy:
        config = SessionConfig(proxy=f"socks5://{CREDENTIALS if credentials else ''}{proxy.address}")
        with trio.fail_after(5):
            async with await open_stream("a.test", 80, tls=False, config=config) as stream:
                received = b""
                while len(received) < 5:
                    received += await stream.receive_some(100)
                assert received == b"hello"


BAD_HTTP = {
    "hangs up": b"",
    "junk": b"\x15\x03\x01\x00\x02\x02\x28",
    "half a response": b"HTTP/1.1 200 OK\r\nVia: ",
    "a refusal": b"HTTP/1.1 503 Busy\r\n\r\n",
    "bytes after the response": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 30_000,
}


@pytest.mark.parametrize("what", BAD_HTTP)
async def test_an_http_proxy_that_misbehaves_is_a_connect_error(what: str) -> None:
    async def serve(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await read_head(client)
        with suppress(trio.BrokenResourceError):
            await client.send_all(BAD_HTTP[what])

    async with open_proxy(serve) as proxy:
        config = SessionConfig(proxy=f"http://{proxy.address}")
        with trio.fail_after(5), pytest.raises(ConnectError, match=r"a\.test:9"):
            await open_stream("a.test", 9, tls=False, config=config)


async def test_an_https_proxy_whose_certificate_is_not_trusted_is_told_with_the_reason() -> None:
    context = serving(trustme.CA(), "127.0.0.1")

    async def serve(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        with suppress(trio.BrokenResourceError):
            await trio.SSLStream(client, context, server_side=True).do_handshake()

    async with open_proxy(serve) as proxy:
        config = SessionConfig(
            proxy=f"https://me:hush-hush@{proxy.address}", ssl_context=trusting(trustme.CA())
        )
        with trio.fail_after(5), pytest.raises(ConnectError, match="certificate verify failed") as caught:
            await open_stream("a.test", 9, tls=False, config=config)
        assert str(caught.value).startswith(f"the proxy https://{proxy.address} gave no way to a.test:9: ")
        assert "hush" not in str(caught.value)


async def test_a_long_password_is_no_odd_error() -> None:
    async def serve(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await client.receive_some(4096)
        await client.send_all(b"\x05\x02")

    async with open_proxy(serve) as proxy:
        config = SessionConfig(proxy=f"socks5://me:{'x' * 256}@{proxy.address}")
        with trio.fail_after(5), pytest.raises(ConnectError, match="longer than"):
            await open_stream("a.test", 9, tls=False, config=config)


async def test_the_socks_password_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_gateway() as gateway, open_proxy(socks_proxy, credentials=True) as proxy:
        with trio.fail_after(5):
            async with open_feishu_session(
                gateway.app_id,
                gateway.app_secret,
                domain=gateway.domain,
                proxy=f"socks5://{CREDENTIALS}{proxy.address}",
            ) as session:
                await session.api.send("oc_a", "hello")
    assert caplog.records
    assert PASSWORD not in caplog.text


async def test_a_proxy_that_hangs_is_given_up_at_the_connect_timeout() -> None:
    async def hang(client: trio.SocketStream, proxy: Proxy, *, credentials: bool) -> None:
        await trio.sleep_forever()

    async with open_gateway() as gateway, open_proxy(hang) as proxy:
        started = trio.current_time()
        with pytest.raises(ConnectError, match=r"no connection within 0\.3 s|could not be reached"):
            async with open_feishu_session(
                gateway.app_id,
                gateway.app_secret,
                domain=gateway.domain,
                proxy=f"http://{proxy.address}",
                connect_timeout=0.3,
                auto_reconnect=False,
            ):
                pytest.fail("it connected")
        assert trio.current_time() - started < 3


async def test_note_19_a_whole_session_goes_through_the_proxy() -> None:
    router = Router()
    handled = trio.Event()

    @router.default
    async def handle(event: object) -> None:
        handled.set()

    async with open_gateway() as gateway, open_proxy(http_proxy) as proxy:
        with trio.fail_after(5):
            async with open_feishu_session(
                gateway.app_id,
                gateway.app_secret,
                router=router,
                domain=gateway.domain,
                proxy=f"http://{proxy.address}",
            ):
                push = await gateway.push("im.message.receive_v1", {"message": {}})
                assert (await push.settled()).code == 200
        assert handled.is_set()
    assert any(asked.startswith("POST http://127.0.0.1") for asked in proxy.asked)
    assert any(asked.startswith("CONNECT 127.0.0.1:") for asked in proxy.asked)


@pytest.mark.parametrize(
    ("environment", "tls", "expected"),
    [
        ({}, True, None),
        ({"HTTPS_PROXY": "http://p:1"}, True, "http://p:1"),
        ({"https_proxy": "p:1"}, True, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, False, None),
        ({"http_proxy": "http://p:1"}, False, "http://p:1"),
        ({"ALL_PROXY": "socks5://p:1"}, True, "socks5://p:1"),
        ({"ALL_PROXY": "socks5://q:1", "HTTPS_PROXY": "http://p:1"}, True, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "feishu.cn"}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "localhost, .feishu.cn"}, True, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "eishu.cn,example.com"}, True, "http://p:1"),
    ],
)
def test_note_19_the_environment_is_honoured_as_httpx_honours_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], tls: bool, expected: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for("msg-frontier.feishu.cn", 443, tls=tls, config=SessionConfig()) == expected
    assert (
        proxy_for("x.feishu.cn", 443, tls=tls, config=SessionConfig(proxy="http://own:1")) == "http://own:1"
    )
