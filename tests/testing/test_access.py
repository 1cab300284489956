"""How clients reach a gateway, and when it refuses them."""

from __future__ import annotations

import ssl

import httpx
import pytest
import trio
import trustme
from trio_websocket import open_websocket_url

from feishu_trio.testing import open_gateway

from .client import DISCOVERY, Client, connect, discover, post, raw_stream


async def test_everything_over_real_sockets() -> None:
    async with open_gateway() as gateway, httpx.AsyncClient() as http:
        body = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret}
        response = await http.post(gateway.domain + DISCOVERY, json=body)
        async with open_websocket_url(response.json()["data"]["URL"]) as ws:
            client = Client(ws)
            with trio.fail_after(5):
                await gateway.wait_connected()
                push = await gateway.push("x", {"text": "y" * 1_000_000})
                await client.answer(await client.receive())
                assert (await push.settled()).code == 200
                await client.ping()
                assert (await client.receive()).headers == {"type": "pong"}
        with trio.fail_after(5):
            await gateway.connected.wait_value(0)


async def test_everything_over_tls() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(trusting)
    async with (
        open_gateway(ssl_context=serving) as gateway,
        httpx.AsyncClient(verify=trusting, trust_env=False) as http,
    ):
        assert gateway.domain.startswith("https://127.0.0.1:")
        body = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret}
        url = (await http.post(gateway.domain + DISCOVERY, json=body)).json()["data"]["URL"]
        assert url.startswith("wss://")
        with trio.fail_after(5):
            async with open_websocket_url(url, ssl_context=trusting) as ws:
                client = Client(ws)
                await gateway.wait_connected()
                push = await gateway.push("x", {"text": "y" * 1_000_000})
                await client.answer(await client.receive())
                assert (await push.settled()).code == 200
            await gateway.connected.wait_value(0)
            # Whoever speaks no TLS is turned away, and nobody else suffers.
            async with await raw_stream(gateway.domain) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
                while await stream.receive_some():
                    pass
            assert (await http.post(gateway.domain + DISCOVERY, json=body)).json()["code"] == 0


async def test_a_restart_on_the_same_port() -> None:
    async with open_gateway() as gateway, connect(gateway):
        domain = gateway.domain
        await gateway.stop_listening()
        await gateway.stop_listening()
        with pytest.raises(OSError, match="attempts to connect"):
            await raw_stream(domain)
        with pytest.raises(ConnectionRefusedError):
            await gateway.dial("x", 1)
        with pytest.raises(httpx.ConnectError):
            await post(gateway, DISCOVERY)
        assert len(gateway.connections) == 1  # connected clients stay
        await gateway.start_listening()
        await gateway.start_listening()
        assert gateway.domain == domain
        await (await raw_stream(domain)).aclose()
        await discover(gateway)


async def test_a_closed_gateway_accepts_no_client() -> None:
    async with open_gateway() as gateway:
        pass
    with pytest.raises(ConnectionRefusedError):
        await gateway.dial("x", 1)
    with pytest.raises(httpx.ConnectError):
        await post(gateway, DISCOVERY)
