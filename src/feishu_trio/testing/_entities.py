"""Card entities, which are made first and sent by their id: how they stream, and in which order they change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import attrs
import trio

from . import _card_json
from ._calls import ApiRefusal, bad_field
from ._card_json import Card
from ._json import as_json
from ._limits import Limit, too_often

LIFETIME: Final = 14 * 86400.0
"""Seconds in which an entity can be sent and changed."""
STREAMING_TIME: Final = 600.0
"""Seconds after which streaming ends by itself."""
OPERATIONS: Final = 10
"""On one card, in a second."""

UNKNOWN: Final = 200740
EXPIRED: Final = 200750
SAME_UUID: Final = 200770
IN_INTERACTION: Final = 200810
STREAM_TIMED_OUT: Final = 200850
TOO_LARGE: Final = 200860
BAD_JSON: Final = 200220
NOT_SHARED: Final = 300302
NOT_V2: Final = 300303
EMPTY: Final = 300307
NOT_STREAMING: Final = 300309
NOT_TEXT: Final = 300310
NO_ELEMENT: Final = 300313
BAD_SEQUENCE: Final = 300317
BAD_CONTENT: Final = 230099

_TEXTS: Final = frozenset({"markdown", "plain_text", "lark_md"})
_MAX_INT32: Final = 2**31 - 1


@attrs.define(eq=False)
class CardEntity:
    """A card that has an id of its own."""

    card_id: str
    card: Card
    """As it stands."""
    created_at: float = attrs.field(factory=trio.current_time)
    """By trio's clock."""
    sequence: int = 0
    """Of the last operation."""
    sent: bool = False
    interactions: list[Callable[[], bool]] = attrs.field(factory=list, repr=False)
    """Of clicks on it: whether each is over."""
    _uuids: set[str] = attrs.field(factory=set, init=False, repr=False)
    _limit: Limit = attrs.field(factory=lambda: Limit(OPERATIONS), init=False, repr=False)
    _streams_until: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._note_streaming()

    @property
    def is_streaming(self) -> bool:
        """Whether its texts can be streamed now."""
        return self._streams_until is not None and trio.current_time() < self._streams_until

    def check_life(self) -> None:
        """Refuse whatever is done with it 14 days after it was made."""
        if trio.current_time() >= self.created_at + LIFETIME:
            raise ApiRefusal(EXPIRED, "The card entity has expired: it is older than 14 days")

    def operate(self, sequence: object, uuid: object, change: Callable[[], None]) -> None:
        """Do one operation, or refuse it: as too often, repeated, out of order, or during a click.

        What is refused, by `change` too, takes up neither its sequence nor its uuid.
        """
        self.check_life()
        if type(sequence) is not int or not 1 <= sequence <= _MAX_INT32:
            raise bad_field("sequence", "sequence is required, an integer from 1 to 2147483647", sequence)
        if uuid is not None and not (isinstance(uuid, str) and 1 <= len(uuid) <= 64):
            raise bad_field("uuid", "uuid is a string of 1 to 64 characters", uuid)
        if self._limit.wait():
            raise too_often(self._limit, f"{OPERATIONS} operations a second for one card")
        if uuid in self._uuids:
            raise ApiRefusal(SAME_UUID, f"UUID conflict: {uuid} was used for this card before")
        if sequence <= self.sequence:
            msg = "The sequence number for operating on the card did not increment"
            raise ApiRefusal(BAD_SEQUENCE, f"{msg}: it is {sequence}, the last was {self.sequence}")
        self.interactions = [is_over for is_over in self.interactions if not is_over()]
        if self.interactions:
            raise ApiRefusal(IN_INTERACTION, "The card is in an ongoing interaction and cannot be updated")
        change()
        self._limit.take()
        self.sequence = sequence
        if uuid is not None:
            self._uuids.add(uuid)

    def stream(self, element_id: str, text: str, has_image: Callable[[str], bool]) -> None:
        """Show the whole of a text so far."""
        if not self.is_streaming:
            if self._streams_until is not None:
                raise ApiRefusal(STREAM_TIMED_OUT, "Card streaming timeout: it ended after 10 minutes")
            raise ApiRefusal(NOT_STREAMING, "Card streaming closed: set streaming_mode to true first")
        card: Card = json.loads(json.dumps(self.card))
        named = (each for each in _card_json.elements(card) if each.get("element_id") == element_id)
        element = next(named, None)
        if element is None:
            raise ApiRefusal(NO_ELEMENT, f"ErrMsg: not find elementID : {element_id}")
        target = element if element["tag"] in _TEXTS else element.get("text")
        if not isinstance(target, dict) or target.get("tag") not in _TEXTS:
            raise ApiRefusal(NOT_TEXT, f"Only update text: {element_id} is a {element['tag']}")
        target["content"] = text
        check(card, has_image)
        self.card = card

    def configure(self, settings: Card, has_image: Callable[[str], bool]) -> None:
        """Change the card's `config` and `card_link`."""
        config = settings.get("config", {})
        if not isinstance(config, dict):
            raise bad_field("settings", "settings.config is an object", config)
        card = {**self.card, "config": {**_config_of(self.card), **config}}
        if "card_link" in settings:
            card["card_link"] = settings["card_link"]
        check(card, has_image)
        self.card = card
        if "streaming_mode" in config:
            self._note_streaming()

    def replace(self, card: Card) -> None:
        """Show another card."""
        self.card = card
        self._note_streaming()

    def _note_streaming(self) -> None:
        streaming = _config_of(self.card).get("streaming_mode") is True
        self._streams_until = trio.current_time() + STREAMING_TIME if streaming else None


def check(card: Card, has_image: Callable[[str], bool]) -> None:
    """Refuse a card that cannot be an entity."""
    if not card:
        raise ApiRefusal(EMPTY, "The card DSL is empty")
    if not _card_json.is_v2(card):
        raise ApiRefusal(NOT_V2, "Only schema 2.0 is supported")
    if len(as_json(card).encode()) > _card_json.MAX_SIZE:
        raise ApiRefusal(TOO_LARGE, "Card content exceeds limit: 30 kB")
    flaw = _card_json.flaw_of(card, has_image)
    if flaw is not None:
        raise ApiRefusal(flaw.entity_code, flaw.msg) if flaw.entity_code else failed_content(flaw)
    if _config_of(card).get("update_multi") is False:
        raise ApiRefusal(NOT_SHARED, "update_multi property is false")


def _config_of(card: Card) -> Card:
    config: Card = card.get("config") or {}
    return config


def failed_content(flaw: _card_json.Flaw) -> ApiRefusal:
    """The refusal of a message, or of a stream, for what its card holds."""
    return ApiRefusal(
        BAD_CONTENT, f"Failed to create card content, ext=ErrCode: {flaw.code}; ErrMsg: {flaw.msg};"
    )
