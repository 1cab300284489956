"""What the gateway keeps of what clients send: the newest."""

from __future__ import annotations

import json

import pytest

from feishu_trio.testing import _newest

from .calls import MESSAGES, TOKEN, open_caller

CARDS = "/open-apis/cardkit/v1/cards"


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_newest, "KEPT", 3)


async def test_the_oldest_messages_are_forgotten() -> None:
    async with open_caller() as call:
        ids = [await call.sent({"text": "hi"}) for _ in range(4)]
        codes = [await call.code("GET", f"{MESSAGES}/{message_id}") for message_id in ids]
        assert codes == [99992354, 0, 0, 0]


async def test_the_oldest_uuids_are_forgotten() -> None:
    async with open_caller() as call:
        ids = [await call.sent({"text": "hi"}, uuid=str(number)) for number in range(4)]
        assert await call.sent({"text": "hi"}, uuid="3") == ids[3]
        assert await call.sent({"text": "hi"}, uuid="0") != ids[0]


async def test_the_oldest_cards_are_forgotten() -> None:
    async with open_caller() as call:
        body = {"type": "card_json", "data": json.dumps({"schema": "2.0", "body": {"elements": []}})}
        ids = [(await call("POST", CARDS, body))["data"]["card_id"] for _ in range(4)]
        change = {"settings": "{}", "sequence": 1}
        codes = [await call.code("PATCH", f"{CARDS}/{card_id}/settings", change) for card_id in ids]
        assert codes == [200740, 0, 0, 0]


async def test_the_oldest_tokens_are_forgotten() -> None:
    async with open_caller() as call:
        for number in range(3):
            assert await call.code("GET", "/open-apis/bot/v3/info") == 0, number
            body = {"app_id": call.gateway.app_id, "app_secret": call.gateway.app_secret}
            assert await call.code("POST", TOKEN, body) == 0
        assert await call.code("GET", "/open-apis/bot/v3/info") == 99991663


async def test_the_oldest_clicks_are_forgotten() -> None:
    async with open_caller() as call:
        tokens = [f"c-{number}" for number in range(4)]
        for token in tokens:
            message_id = await call.sent({"elements": []}, "interactive")
            body = {"token": token, "context": {"open_message_id": message_id}}
            await call.gateway.push("card.action.trigger", body)
        assert list(call.gateway._api.cards._tokens) == tokens[1:]
