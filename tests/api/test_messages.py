"""Messages: what is sent, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from feishu_trio.errors import ApiError

from .server import odd_api, open_gateway_api


async def test_reply() -> None:
    async with open_gateway_api() as (gateway, api):
        body = await api.reply("om_1", "hi", uuid="once")
        again = await api.reply("om_1", "hi", uuid="once")
        assert body["code"] == 0
        assert body["data"]["message_id"] == again["data"]["message_id"]
        (message,) = gateway.messages
        assert (message.kind, message.to, message.msg_type, message.uuid) == ("reply", "om_1", "text", "once")
        assert message.content == {"text": "hi"}


@pytest.mark.parametrize(
    ("content", "msg_type", "sent"),
    [
        ('a "quoted" text\n', "text", {"text": 'a "quoted" text\n'}),
        ('{"text": "looks like JSON"}', "text", {"text": '{"text": "looks like JSON"}'}),
        ({"text": "as a dict"}, "text", {"text": "as a dict"}),
        ({"elements": []}, "interactive", {"elements": []}),
        ('{"image_key": "img_1"}', "image", {"image_key": "img_1"}),
    ],
)
async def test_content(content: str | dict[str, Any], msg_type: str, sent: object) -> None:
    async with open_gateway_api() as (gateway, api):
        await api.send("oc_a", content, msg_type)
        await api.reply("om_a", content, msg_type)
        assert [(m.msg_type, m.content) for m in gateway.messages] == [(msg_type, sent)] * 2


@pytest.mark.parametrize(
    ("receive_id", "id_type"),
    [
        ("oc_a", "chat_id"),
        ("ou_a", "open_id"),
        ("on_a", "union_id"),
        ("someone@example.com", "email"),
        ("7f3a", "user_id"),
        ("o", "user_id"),
    ],
)
async def test_the_kind_of_a_receiver_is_guessed(receive_id: str, id_type: str) -> None:
    async with open_gateway_api() as (gateway, api):
        await api.send(receive_id, "hello")
        await api.send(receive_id, "hello", receive_id_type="user_id", uuid="u")
        assert [m.receive_id_type for m in gateway.messages] == [id_type, "user_id"]
        assert [m.uuid for m in gateway.messages] == [None, "u"]


async def test_a_message_id_cannot_leave_its_place_in_the_path() -> None:
    paths = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={"code": 0})

    await odd_api(answer).reply("om_/../x?a=b#c", "hi")
    assert paths == [b"/open-apis/im/v1/messages/om_%2F..%2Fx%3Fa%3Db%23c/reply"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.reply(None, "hi"), "message_id: None is not allowed; it must be a message's id"),
        (lambda api: api.reply("", "hi"), "message_id: an empty string is not allowed"),
        (
            lambda api: api.send(7, "hi"),
            r"receive_id: a value of type int \(not shown\) is not allowed; it must be the id of a chat",
        ),
        (lambda api: api.update_card(None, {}), "token: None is not allowed"),
        (
            lambda api: api.send("oc_a", None),
            r"content: None is not allowed; it must be a text, a dict",
        ),
        (lambda api: api.reply("om_a", b"hi"), "content: a value of type bytes"),
        (
            lambda api: api.reply("om_a", {"text": {1}}),
            "content: it cannot be written as JSON: Object of type set",
        ),
    ],
)
async def test_what_is_no_id_and_no_content_is_an_api_error(call: Callable[[Any], Any], words: str) -> None:
    async with open_gateway_api() as (gateway, api):
        with pytest.raises(ApiError, match=words) as caught:
            await call(api)
        assert caught.value.code is None
        assert not gateway.requests
