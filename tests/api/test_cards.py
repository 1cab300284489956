"""Cards: what is changed, and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio.errors import ApiError

from .server import open_api, open_gateway_api


async def test_update_card() -> None:
    async with open_gateway_api() as (gateway, api):
        gateway._api.cards.allow("c-token", trio.current_time())
        await api.update_card("c-token", {"elements": []})
        (message,) = gateway.messages
        assert (message.kind, message.to, message.content) == ("card", "c-token", {"elements": []})
        with pytest.raises(ApiError) as caught:
            await api.update_card("c-never-answered", {})
        assert caught.value.code not in (None, 0)
        assert "c-never-answered" not in str(caught.value)


CARD = {"schema": "2.0", "config": {"streaming_mode": True}, "body": {"elements": []}}
CARDS = "/open-apis/cardkit/v1/cards"


async def test_a_card_is_made_typed_into_and_ended() -> None:
    async with open_api() as scene:
        scene.server.on(f"POST {CARDS}", {"data": {"card_id": "c_1"}})
        scene.server.on(f"PUT {CARDS}/c_1/elements/e_1/content", {})
        scene.server.on(f"PATCH {CARDS}/c_1/settings", {})
        card_id = await scene.api.create_card(CARD)
        await scene.api.update_card_text(card_id, "e_1", "你好", 1)
        await scene.api.set_card_streaming(card_id, False, 2)
        made, typed, ended = (json.loads(request.body) for request in scene.server.requests[1:])
    assert made["type"] == "card_json"
    assert json.loads(made["data"]) == CARD
    assert typed == {"content": "你好", "sequence": 1}
    assert ended["sequence"] == 2
    assert json.loads(ended["settings"]) == {"config": {"streaming_mode": False}}


async def test_operations_of_a_card_are_ten_a_second(autojump_clock: MockClock) -> None:
    async with open_api() as scene:
        name = f"PUT {CARDS}/c_1/elements/e_1/content"
        scene.server.on(name, {})
        for sequence in range(1, 13):
            await scene.api.update_card_text("c_1", "e_1", "x", sequence)
        assert scene.server.at(name) == pytest.approx([0] * 10 + [1] * 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda api: api.update_card("c-token", None), "card: None is not allowed; it must be a dict"),
        (lambda api: api.create_card("{}"), "card: a value of type str"),
        (lambda api: api.create_card({"a": {1}}), "card: it cannot be written as JSON: Object of type set"),
        (
            lambda api: api.update_card_text(None, "e_1", "x", 1),
            "card_id: None is not allowed; it must be what",
        ),
        (lambda api: api.update_card_text("c_1", "", "x", 1), "element_id: an empty string is not allowed"),
        (lambda api: api.update_card_text("c_1", "e_1", None, 1), "text: None is not allowed"),
        (
            lambda api: api.update_card_text("c_1", "e_1", "x", 0),
            "sequence: 0 is not allowed; it must be a whole",
        ),
        (lambda api: api.update_card_text("c_1", "e_1", "x", True), "sequence: True is not allowed"),
        (lambda api: api.set_card_streaming("c_1", True, 2**31), "sequence: 2147483648 is not allowed"),
    ],
)
async def test_what_is_no_card_is_an_api_error(call: Callable[[Any], Any], words: str) -> None:
    async with open_api() as scene:
        with pytest.raises(ApiError, match=words):
            await call(scene.api)
        assert not scene.server.requests


async def test_a_card_without_an_id_is_an_api_error() -> None:
    async with open_api() as scene:
        scene.server.on(f"POST {CARDS}", {"data": {"card_id": 5}})
        with pytest.raises(ApiError, match="answered without card_id"):
            await scene.api.create_card(CARD)
