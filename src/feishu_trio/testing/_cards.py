"""The calls for cards: entities that stream, and updates with the token of a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from . import _entities
from ._calls import ApiRefusal, Body, bad_field, call, done
from ._chats import Chats, now_ms
from ._content import ContentChecks
from ._entities import CardEntity
from ._http import Request
from ._json import decoded_object
from ._messages import Message, SentMessages
from ._newest import Newest
from ._push import Answer, Push

CARD_PATH: Final = "/open-apis/interactive/v1/card/update"
ENTITIES: Final = "/open-apis/cardkit/v1/cards"
_ENTITY: Final = f"{ENTITIES}/{{card_id}}"

BAD_CARD: Final = 10002
"""The documentation names no codes for updates by token; this one is the gateway's own."""

CARD_LIFETIME: Final = 1800.0
"""Seconds in which a callback's token can update its card."""
CARD_UPDATES: Final = 2
"""The number of updates that a callback's token allows."""


@attrs.define(eq=False)
class _Token:
    """What the token of a callback allows."""

    message_id: str = ""
    """Of the message whose card was clicked; empty if nobody knows."""
    until: float | None = None
    """When it ends; None before the callback is answered."""
    left: int = CARD_UPDATES
    """Updates."""


@attrs.define(eq=False)
class CardCalls:
    """Everything for cards that is not a message."""

    chats: Chats
    checks: ContentChecks
    sent: SentMessages
    entities: Newest[str, CardEntity]
    """By card_id."""
    _tokens: Newest[str, _Token] = attrs.field(factory=Newest, init=False, repr=False)

    # --- clicks ---

    def clicked(self, push: Push, message_id: object) -> None:
        """Note which card a callback is of: it does not stream until that is answered."""
        message = self.chats.messages.get(str(message_id))
        if message is not None and push.card_token is not None:
            self._tokens[push.card_token] = _Token(message.message_id)
            if message.entity is not None:
                message.entity.interactions.append(lambda: push.done)

    def answered(self, push: Push, answer: Answer, delivered_at: float) -> None:
        """Take a callback's answer: its token may now update the card, and a card in the answer is shown."""
        if push.card_token is None:
            return
        self.allow(push.card_token, delivered_at)
        match answer.data:
            case {"card": {"type": "raw", "data": dict(card)}}:
                if self.checks.flaw_of(card) is None:  # else the person sees an error
                    self._show(push.card_token, card)
            case {"card": {"type": "template", "data": dict()} as card}:
                self._show(push.card_token, card)

    def allow(self, token: str, since: float) -> None:
        """Allow a callback's token, after the callback's answer, to update the card."""
        self._tokens.setdefault(token, _Token()).until = since + CARD_LIFETIME

    def _show(self, token: str, card: dict[str, Any]) -> None:
        """Show a card in the message that was clicked, unless it streams."""
        message = self.chats.messages.get(self._tokens[token].message_id)
        if message is not None and not message.recalled and not message.is_streaming:
            message.show(card)
            message.updated = now_ms()
            self.chats.changed()

    @call("POST", CARD_PATH)
    def update_by_token(self, request: Request) -> Body:
        """Update the card whose callback carried a token: after its answer, within 30 minutes, twice."""
        body = request.json()
        token, card = body.get("token"), body.get("card")
        if not isinstance(token, str) or not isinstance(card, dict):
            raise ApiRefusal(BAD_CARD, "token, a string, and card, an object, are required")
        allowed = self._tokens.get(token)
        now = trio.current_time()
        if allowed is None or allowed.until is None:
            raise ApiRefusal(BAD_CARD, "no callback with this token was answered yet")
        if now > allowed.until:
            raise ApiRefusal(BAD_CARD, "the token is older than 30 minutes")
        if not allowed.left:
            raise ApiRefusal(BAD_CARD, "the token was used twice already")
        self.checks.check_card(card)
        allowed.left -= 1
        self._show(token, card)
        self.sent.add(Message("card", token, "interactive", card, None, "", now))
        return {"code": 0, "msg": "ok"}

    # --- entities ---

    @call("POST", ENTITIES)
    def create(self, request: Request) -> Body:
        """Make a card entity."""
        card = self._card(request.json(), "")
        card_id = str(self.chats.random.randrange(7 * 10**18, 8 * 10**18))
        self.entities[card_id] = CardEntity(card_id, card)
        return done({"card_id": card_id})

    @call("PUT", f"{_ENTITY}/elements/{{element_id}}/content")
    def stream(self, request: Request, card_id: str, element_id: str) -> Body:
        """Show the whole of a text so far."""
        text = request.json().get("content")
        if not isinstance(text, str) or not 1 <= len(text) <= 100_000:
            raise bad_field("content", "content is a string of 1 to 100000 characters", text and type(text))
        entity = self._entity(card_id)
        has_image = self.checks.media.has_image
        return self._operate(entity, request, lambda: entity.stream(element_id, text, has_image))

    @call("PATCH", f"{_ENTITY}/settings")
    def configure(self, request: Request, card_id: str) -> Body:
        """Change a card's settings: whether it streams, above all."""
        settings = _json_object(request.json(), "settings", "settings")
        entity, has_image = self._entity(card_id), self.checks.media.has_image
        return self._operate(entity, request, lambda: entity.configure(settings, has_image))

    @call("PUT", _ENTITY)
    def replace(self, request: Request, card_id: str) -> Body:
        """Show another card in place of the whole of this one."""
        given = request.json().get("card")
        if not isinstance(given, dict):
            raise bad_field("card", "card is required, an object", given)
        entity, card = self._entity(card_id), self._card(given, "card.")
        return self._operate(entity, request, lambda: entity.replace(card))

    def _operate(self, entity: CardEntity, request: Request, change: Callable[[], None]) -> Body:
        body = request.json()
        entity.operate(body.get("sequence"), body.get("uuid"), change)
        self.chats.changed()
        return done()

    def _entity(self, card_id: str) -> CardEntity:
        entity = self.entities.get(card_id)
        if entity is None:
            raise ApiRefusal(_entities.UNKNOWN, f"The card entity does not exist: {card_id}")
        return entity

    def _card(self, given: dict[str, Any], prefix: str) -> dict[str, Any]:
        """The card in `type` and `data`, checked."""
        if given.get("type") != "card_json":
            raise bad_field(f"{prefix}type", "type is required, card_json", given.get("type"))
        card = _json_object(given, "data", f"{prefix}data")
        _entities.check(card, self.checks.media.has_image)
        return card


def _json_object(body: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    text = body.get(name)
    if not isinstance(text, str) or not text:
        raise bad_field(path, f"{path} is required, a string of JSON", text and type(text))
    decoded = decoded_object(text)
    if decoded is None:
        raise ApiRefusal(_entities.BAD_JSON, f"Failed to generate card content: {path} is no JSON object")
    return decoded
