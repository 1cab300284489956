"""TLS, for real: certificates are checked, on discovery and on the WebSocket."""

from __future__ import annotations

import functools
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trio
import trio.testing
import trustme

from feishu_trio import ConnectError, Disconnected, DisconnectReason, Router, open_feishu_session
from feishu_trio.testing import Gateway

from .rig import seen

DISCOVERY = "/callback/ws/endpoint"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def endpoint(gateway: Gateway, address: str) -> str:
    """A URL of the gateway, its ticket good for one connection, as a server at this address would give it."""
    async with httpx.AsyncClient(transport=gateway.transport) as http:
        wish = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret}
        url = (await http.post(gateway.domain + DISCOVERY, json=wish)).json()["data"]["URL"]
    return str(urlsplit(url)._replace(scheme="wss", netloc=address).geturl())


@asynccontextmanager
async def tls_front(gateway: Gateway, context: ssl.SSLContext) -> AsyncGenerator[str, None]:
    """The gateway behind TLS; yields `localhost:port`."""
    async with trio.open_nursery() as nursery:
        serve = functools.partial(
            trio.serve_ssl_over_tcp,
            gateway.serve_stream,
            0,
            context,
            host="127.0.0.1",
            https_compatible=True,
        )
        (listener,) = await nursery.start(serve)
        port = listener.transport_listener.socket.getsockname()[1]
        try:
            yield f"localhost:{port}"
        finally:
            nursery.cancel_scope.cancel()


async def test_the_right_certificate_is_trusted(feishu_gateway: Gateway, authority: trustme.CA) -> None:
    router = Router()

    @router.on("im.message.receive_v1")
    async def take(event: Any) -> None: ...

    async with tls_front(feishu_gateway, serving(authority, "localhost")) as address:
        url = await endpoint(feishu_gateway, address)
        feishu_gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": url}}, times=1)
        async with open_feishu_session(
            feishu_gateway.app_id,
            feishu_gateway.app_secret,
            router=router,
            domain=f"https://{address}",
            ssl_context=trusting(authority),
        ):
            (connection,) = feishu_gateway.connections
            for n in range(20):
                push = await feishu_gateway.push(
                    "im.message.receive_v1", {"message": {"message_id": f"om_{n}", "content": "x" * 5000}}
                )
                assert (await push.settled()).code == 200
        await connection.wait_closed()
        assert connection.close_code == 1000
    assert not feishu_gateway.violations


@pytest.mark.parametrize("trust", ["the usual authorities", "another authority"])
@pytest.mark.parametrize("where", ["discovery", "socket"])
async def test_an_authority_nobody_knows_is_not_trusted(
    feishu_gateway: Gateway, authority: trustme.CA, trust: str, where: str
) -> None:
    context = trusting(trustme.CA()) if trust == "another authority" else None
    await refused(feishu_gateway, serving(authority, "localhost"), context, where, "(?i)certificate")


@pytest.mark.parametrize("where", ["discovery", "socket"])
async def test_a_certificate_for_another_name_is_not_trusted(
    feishu_gateway: Gateway, authority: trustme.CA, where: str
) -> None:
    context = serving(authority, "elsewhere.example")
    await refused(feishu_gateway, context, trusting(authority), where, "(?i)hostname mismatch")


async def refused(
    gateway: Gateway, server: ssl.SSLContext, client: ssl.SSLContext | None, where: str, why: str
) -> None:
    error: ConnectError
    async with tls_front(gateway, server) as address:
        url = await endpoint(gateway, address)
        gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": url}}, times=1)
        with pytest.raises(ConnectError) as info:
            async with open_feishu_session(
                gateway.app_id,
                gateway.app_secret,
                domain=f"https://{address}" if where == "discovery" else gateway.domain,
                ssl_context=client,
                auto_reconnect=False,
            ):
                raise AssertionError("the block must not be entered")
        error = info.value
    assert not gateway.connections
    with pytest.raises(ConnectError, match=why):
        raise error


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x15\x03\x01\x00\x02\x02\x28"]
)
async def test_a_server_that_speaks_no_tls(feishu_gateway: Gateway, answer: bytes) -> None:
    async def plain(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    error: ConnectError
    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio.serve_tcp, plain, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        port = listener.socket.getsockname()[1]
        url = await endpoint(feishu_gateway, f"127.0.0.1:{port}")
        feishu_gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": url}}, times=1)
        with pytest.raises(ConnectError) as info:
            async with open_feishu_session(
                feishu_gateway.app_id,
                feishu_gateway.app_secret,
                domain=feishu_gateway.domain,
                auto_reconnect=False,
            ):
                raise AssertionError("the block must not be entered")
        error = info.value
        nursery.cancel_scope.cancel()
    assert "TLS with" in str(error)
    assert "ticket" not in str(error)


async def test_bytes_that_are_no_tls_end_the_connection_as_a_tls_error(
    feishu_gateway: Gateway, authority: trustme.CA, autojump_clock: trio.testing.MockClock
) -> None:
    raw: list[trio.abc.Stream] = []
    context = serving(authority, "tls.example")
    async with trio.open_nursery() as nursery:

        async def dial(host: str, port: int) -> trio.abc.Stream:
            assert (host, port) == ("tls.example", 443)
            client, server = trio.testing.memory_stream_pair()
            raw.append(server)
            secured = trio.SSLStream(server, context, server_side=True, https_compatible=True)
            nursery.start_soon(feishu_gateway.serve_stream, secured)
            return client

        for _ in range(2):
            url = await endpoint(feishu_gateway, "tls.example")
            feishu_gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": url}}, times=1)
        # answers set in advance come first, so the URLs are handed out one after the other
        async with (
            open_feishu_session(
                feishu_gateway.app_id,
                feishu_gateway.app_secret,
                domain=feishu_gateway.domain,
                http_transport=feishu_gateway.transport,
                dial=dial,
                ssl_context=trusting(authority),
            ) as session,
            session.lifecycle() as lifecycle,
        ):
            await trio.testing.wait_all_tasks_blocked()
            await raw[0].send_all(b"\x17\x03\x03\x00\x10" + b"garbage garbage!")
            ended = (await seen(lifecycle, Disconnected))[-1]
            assert isinstance(ended, Disconnected)
            assert ended.reason is DisconnectReason.TLS_ERROR
        nursery.cancel_scope.cancel()
