"""Refusals, hangs and prepared responses."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from feishu_trio.testing import open_gateway

from .client import DISCOVERY, connect, discover, post, refusal


async def test_refusals_are_used_up_in_order() -> None:
    async with open_gateway() as gateway:
        gateway.refuse_discovery(1, "busy", times=2)
        gateway.refuse_discovery(status=502, times=1)
        gateway.refuse_discovery(403, "banned")
        body = {"AppID": gateway.app_id, "AppSecret": gateway.app_secret}
        seen = []
        for _ in range(5):
            response = await post(gateway, DISCOVERY, body)
            seen.append((response.status_code, response.json()["code"]))
        assert seen == [(200, 1), (200, 1), (502, 1), (200, 403), (200, 403)]
        gateway.accept()
        assert (await post(gateway, DISCOVERY, body)).json()["code"] == 0


async def test_any_answer_at_all() -> None:
    async with open_gateway() as gateway:
        gateway.respond(DISCOVERY, b"<html>", status=200, headers={"Content-Type": "text/html"}, times=1)
        response = await post(gateway, DISCOVERY)
        assert (response.text, response.headers["content-type"]) == ("<html>", "text/html")
        with pytest.raises(ValueError, match="times is 0"):
            gateway.respond(DISCOVERY, b"", times=0)


async def test_handshake_refusals() -> None:
    async with open_gateway() as gateway:
        gateway.refuse_handshake(403, None, "banned", status=403, times=1)
        gateway.refuse_handshake(None, status=502, times=1)
        url = await discover(gateway)
        first, second = await refusal(gateway, url), await refusal(gateway, url)
        assert (first["status"], first["handshake-status"], first["handshake-msg"]) == (
            "403",
            "403",
            "banned",
        )
        assert "handshake-autherrcode" not in first
        assert second["status"] == "502"
        assert "handshake-status" not in second
        async with connect(gateway, url):
            assert len(gateway.connections) == 1


async def test_hanging(autojump_clock: MockClock) -> None:
    async with open_gateway() as gateway:
        gateway.hang_discovery(times=1)
        gateway.hang_handshake(times=1)
        with pytest.raises(httpx.ReadTimeout):
            await post(gateway, DISCOVERY)
        url = await discover(gateway)
        with trio.move_on_after(60) as waiting:
            async with connect(gateway, url):
                pass
        assert waiting.cancelled_caught
        async with connect(gateway, url):
            pass
