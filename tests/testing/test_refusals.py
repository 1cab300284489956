"""Refusals, hangs and prepared responses."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import MockClock

from feishu_trio.testing import open_gateway

from .calls import caller_of, open_caller
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


SEND = "/open-apis/im/v1/messages?receive_id_type=chat_id"
HI = {"receive_id": "oc_1", "msg_type": "text", "content": '{"text":"hi"}'}


async def test_refused_calls() -> None:
    async with open_caller() as call:
        gateway = call.gateway
        gateway.refuse_calls("POST */messages", reset=3, times=1)
        gateway.refuse_calls("*/messages", 99991400, status=400, times=1)
        gateway.refuse_calls("*/messages", 99991403, times=1)
        gateway.refuse_calls("*/messages", 230020, "slower", times=1)
        gateway.refuse_calls("*/messages", 1, status=502, times=1)
        seen = []
        for _ in range(6):
            response = await call.response("POST", SEND, HI)
            reset = response.headers.get("x-ogw-ratelimit-reset")
            seen.append((response.status_code, response.json()["code"], reset))
        assert seen == [
            (429, 99991400, "3"),
            (400, 99991400, None),
            (403, 99991403, None),
            (400, 230020, None),
            (502, 1, None),
            (200, 0, None),
        ]
        assert len(gateway.messages) == 1


async def test_a_pattern_is_for_its_calls_alone() -> None:
    async with open_caller() as call:
        call.gateway.refuse_calls("DELETE /open-apis/im/v1/messages/*")
        call.gateway.refuse_calls("/open-apis/im/v1/messages/*/reply", 230020)
        message_id = await call.sent({"text": "a"})
        assert (await call.reply(message_id))["code"] == 230020
        assert await call.code("GET", f"/open-apis/im/v1/messages/{message_id}") == 0
        assert await call.code("DELETE", f"/open-apis/im/v1/messages/{message_id}") == 99991400
        call.gateway.accept()
        assert await call.code("DELETE", f"/open-apis/im/v1/messages/{message_id}") == 0


@pytest.mark.parametrize("pattern", ["reply", "POST reply", "im/v1/*", ""])
async def test_a_pattern_that_fits_no_path_is_an_error(pattern: str) -> None:
    async with open_gateway() as gateway:
        with pytest.raises(ValueError, match="begins with a slash, or a pattern such as"):
            gateway.refuse_calls(pattern)


async def test_permissions_that_are_missing() -> None:
    async with open_caller() as call:
        call.gateway.refuse_calls("*", 99991672, scopes=["im:message", "im:message:send"])
        async with caller_of(call.gateway), connect(call.gateway):
            pass  # neither a token nor a connection is a call that needs a permission
        answer = await call("POST", SEND, HI)
        assert "Access denied" in answer["msg"]
        subjects = [each["subject"] for each in answer["error"]["permission_violations"]]
        assert subjects == ["im:message", "im:message:send"]
        assert answer["error"]["helps"][0]["url"].endswith("/auth?q=im:message,im:message:send")


async def test_answers_that_never_come(autojump_clock: MockClock) -> None:
    async with open_caller() as call:
        call.gateway.hang_calls("*/messages", times=1)
        call.gateway.hang_calls("*/messages", handled=True, times=1)
        for kept in (0, 1):
            with pytest.raises(httpx.ReadTimeout):
                await call.response("POST", SEND, HI)
            assert len(call.gateway.messages) == kept
        assert await call.code("POST", SEND, HI) == 0


async def test_answers_that_are_cut() -> None:
    async with open_caller() as call:
        gateway = call.gateway
        gateway.cut_calls("*/messages", times=2)
        with pytest.raises(httpx.RemoteProtocolError):
            await call.response("POST", SEND, HI)
        headers = dict(call.http.headers)
        async with httpx.AsyncClient(base_url=gateway.domain, headers=headers, trust_env=False) as http:
            with trio.fail_after(5), pytest.raises(httpx.RemoteProtocolError, match="received"):
                await http.post(SEND, json=HI)  # over a socket: a part of the answer did come
            assert (await http.post(SEND, json=HI)).json()["code"] == 0
        assert len(gateway.messages) == 3
