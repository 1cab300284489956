"""Cards: changed after a click, and those that stream.

Sources: the public documentation of `interactive/v1/card/update` and `cardkit/v1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .arguments import as_json, check_id, check_mapping, check_sequence, in_path, refused
from .client import Client, text_in

__all__ = ["Cards"]

_PATH: Final = "/open-apis/cardkit/v1/cards"


class Cards(Client):
    """The part of `Api` that is about cards."""

    async def update_card(self, token: str, card: Mapping[str, Any]) -> dict[str, Any]:
        """Update the card whose callback carried `token`.

        Feishu allows it after that callback was answered, within 30 minutes, and twice at most.

        Raises:
            ApiError: As with `request`.
        """
        check_id("token", token, "that of the card's callback, event.data.token")
        check_mapping("card", card, "a dict: the card's JSON")
        body = {"token": token, "card": card}
        return await self.request("POST", "/open-apis/interactive/v1/card/update", json=body)

    async def create_card(self, card: Mapping[str, Any]) -> str:
        """Make a card of JSON 2.0, whose parts can be changed by its id for 14 days. The id.

        It is sent once: `await api.send(chat, {"type": "card", "data": {"card_id": card_id}})`. One that is to stream
        has `{"config": {"streaming_mode": true}}`, and elements with an `element_id`.

        Raises:
            ApiError: As with `request`.
        """
        check_mapping("card", card, "a dict: the card's JSON")
        body = await self.request("POST", _PATH, json={"type": "card_json", "data": as_json("card", card)})
        return text_in(body, f"POST {_PATH}", "card_id")

    async def update_card_text(self, card_id: str, element_id: str, text: str, sequence: int) -> None:
        """Put a text in the place of an element's: all of it, which shows as being typed where the old one begins it.

        Args:
            card_id: The card's.
            element_id: The element's.
            text: The whole text.
            sequence: From 1 to 2147483647: larger with each operation on the card, whatever it is.

        Raises:
            ApiError: As with `request`.
        """
        element = in_path("element_id", element_id, "the element_id of one of the card's elements")
        if not isinstance(text, str):
            raise refused("text", text, "a text")
        path = f"{_card(card_id)}/elements/{element}/content"
        check_sequence(sequence)
        await self.request("PUT", path, json={"content": text, "sequence": sequence})

    async def set_card_streaming(self, card_id: str, streaming: bool, sequence: int) -> None:
        """Begin or end a card's streaming: while it streams, an answer to a click cannot change it.

        Feishu ends it by itself after 10 minutes. `sequence` is that of `update_card_text`.

        Raises:
            ApiError: As with `request`.
        """
        path = f"{_card(card_id)}/settings"
        check_sequence(sequence)
        settings = as_json("settings", {"config": {"streaming_mode": bool(streaming)}})
        await self.request("PATCH", path, json={"settings": settings, "sequence": sequence})


def _card(card_id: str) -> str:
    return f"{_PATH}/{in_path('card_id', card_id, 'what create_card() has returned')}"
