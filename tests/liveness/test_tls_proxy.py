"""TLS through a proxy's tunnel, from end to end: what most companies' networks ask for."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trustme

from connection.proxies import http_proxy, open_proxy
from feishu_trio import Disconnected, DisconnectReason, Router, SessionState, open_feishu_session
from feishu_trio.testing import Gateway
from session.rig import nothing_left, seen
from session.test_tls import DISCOVERY, endpoint, serving, tls_front, trusting

RECEIVE = "im.message.receive_v1"


@pytest.mark.parametrize("configured", ["setting", "environment"])
async def test_note_19_a_whole_session_with_tls_through_a_connect_proxy(
    feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    authority, router = trustme.CA(), Router()

    @router.on(RECEIVE)
    async def take(event: object) -> None: ...

    async with (
        nothing_left(),
        open_proxy(http_proxy) as proxy,
        tls_front(feishu_gateway, serving(authority, "localhost")) as address,
    ):
        settings: dict[str, Any] = {"proxy": f"http://{proxy.address}"}
        if configured == "environment":
            for name in ("no_proxy", "NO_PROXY", "https_proxy"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("HTTPS_PROXY", settings.pop("proxy"))

        async def give_an_endpoint() -> None:
            url = await endpoint(feishu_gateway, address)
            feishu_gateway.respond(DISCOVERY, {"code": 0, "data": {"URL": url}}, times=1)

        await give_an_endpoint()
        with trio.fail_after(20):
            async with open_feishu_session(
                feishu_gateway.app_id,
                feishu_gateway.app_secret,
                router=router,
                domain=f"https://{address}",
                ssl_context=trusting(authority),
                reconnect_delay=0.05,
                **settings,
            ) as session:
                assert (await (await feishu_gateway.push(RECEIVE, {"message": {}})).settled()).code == 200
                await give_an_endpoint()
                async with session.lifecycle() as lifecycle:
                    await feishu_gateway.drop()
                    ended = (await seen(lifecycle, Disconnected))[-1]
                assert isinstance(ended, Disconnected)
                # TLS knows the end of the stream from one that was cut off
                assert ended.reason in (DisconnectReason.RESET, DisconnectReason.END_OF_FILE)
                await session.wait_state(SessionState.CONNECTED)
                assert (await (await feishu_gateway.push(RECEIVE, {"message": {}})).settled()).code == 200
        # discovery and WebSocket, twice: all of it went through the tunnel
        assert proxy.asked.count(f"CONNECT {address}") == 4, proxy.asked
