"""What a handler is given: `Event`, the facts of the envelope, and the body once somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, cast

import msgspec

from .._quiet import QuietStruct
from ._json import UNFIT, read_patiently, unfit, write_patiently
from .catalogue import model_for
from .content import Content, parse_content, plain_text
from .port import EventApi, EventPort
from .types import IM_MESSAGE_RECEIVE_V1

if TYPE_CHECKING:
    from .im import Mention, Message, MessageReceived

__all__ = ["Event"]

T_co = TypeVar("T_co", covariant=True)

_UNREAD: Any = msgspec.UNSET
_SHOWN: Final = 100  # characters of a type or an id that a message repeats: it may be 100 kB of nonsense
# Parts of a second, and the smallest number read in them: 1973 there is the year 5138 in the next larger.
_UNITS: Final = ((1_000_000, 1e14), (1_000, 1e11))

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_unknown_body = msgspec.json.Decoder(dict[str, Any] | None).decode

_BodyType = tuple[type[Any], Callable[[msgspec.Raw], Any]]  # a body's class, and its decoder: None for null
_body_types: dict[str, _BodyType] = {}  # of the event types in the catalogue alone, so that it stays small


class Event(QuietStruct, Generic[T_co], eq=False):
    """One event or callback, as it was delivered: `T_co` is the type of its `data`.

    Made by `decode_event`; the attributes are facts of the envelope, and reading them costs nothing.
    """

    payload: bytes
    """The whole payload, as it came."""
    body: msgspec.Raw
    """The bytes of the body (`event`), not decoded: for a look that costs less than `data`."""
    schema: Literal["1.0", "2.0"]
    """Which of the two envelopes it came in."""
    id: str
    """`event_id` (2.0) or `uuid` (1.0), the same for every delivery of the event; "" if it came without."""
    type: str
    """The event type, such as `im.message.receive_v1`."""
    _created: str | None
    app_id: str | None
    """The app the event is for."""
    tenant_key: str | None
    """The tenant it happened in."""
    message_id: str
    """The frame's `message_id`, one for each delivery; a chat message's id is `data.message.message_id`."""
    trace_id: str
    """The frame's `trace_id`: what Feishu's support asks for."""
    _received: float
    redelivered: bool = False
    """Whether the platform had sent this event before."""
    attempt: int = 1
    """Which attempt this is of an event from an inbox; 1 at first, and for all others."""
    settle: Callable[[bool, Any], None] | None = None
    """What `ack` and `nack` call, with success and result; set by whoever leaves the answer to the user."""
    port: EventPort | None = None
    """What it speaks through; set by the session that handles it."""
    _data: Any = _UNREAD
    _raw: Any = _UNREAD

    def __repr__(self) -> str:
        # The payload carries people's data, and the envelope a token: neither belongs in a log.
        return f"<Event {_short(self.type)} id={_short(self.id)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("type", _short(self.type)), ("id", _short(self.id))]

    @property
    def create_time(self) -> datetime | None:
        """When it happened, in UTC; None if the envelope does not say, or says what is no time.

        The platform writes milliseconds, in callbacks microseconds, and in 1.0 seconds with a fraction.
        """
        return _instant(self._created)

    @property
    def received_at(self) -> datetime:
        """When it was received from Feishu, in UTC: by another process, perhaps."""
        return datetime.fromtimestamp(self._received, UTC)

    @property
    def data(self) -> T_co:
        """The body, decoded on first use: the model of the event's type, a dict where the catalogue has none.

        What the model does not know is left to `raw`, what the body does not have is None, numbers may come
        as strings. A body that is missing or null is an empty one.

        Raises:
            EventDecodeError: the body does not fit the model; the message names the path. `raw` still works.
        """
        if self._data is _UNREAD:
            self._data = self._decode_body()
        return cast("T_co", self._data)

    def _decode_body(self) -> object:
        model, decode = _body_type(self.type)
        try:
            data = decode(self.body)
        except UNFIT as error:
            raise unfit(f"the body of {self!r}", error, "event") from error
        return model() if data is None else data

    @property
    def raw(self) -> dict[str, Any]:
        """The whole payload as a dict, decoded on first use; the same dict each time.

        Raises:
            EventDecodeError: it is more than can be held, such as a number of thousands of digits.
        """
        if self._raw is _UNREAD:
            self._raw = self._decode_payload()
        return cast("dict[str, Any]", self._raw)

    def _decode_payload(self) -> dict[str, Any]:
        try:
            return _decode_object(self.payload)
        except UNFIT:
            try:
                return _decode_object(write_patiently(read_patiently(self.payload)))
            except UNFIT as error:
                raise unfit(f"the payload of {self!r}", error, "$") from error

    @property
    def api(self) -> EventApi:
        """Feishu's HTTP API, with this app's token: `session.api` of the session that handles the event.

        Raises:
            RuntimeError: no session handles it, as it was made by `decode_event`.
        """
        if self.port is None:
            raise RuntimeError(
                f"{self!r} is not handled by a session, so there is nothing to call Feishu with"
            )
        return self.port.api

    @property
    def content(self) -> Content | None:
        """A message's content, as the class of its type in `events.content`; None if this is no message.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        message = self._message
        if message is None or message.content is None:
            return None
        return parse_content(message.message_type, message.content)

    @property
    def text(self) -> str | None:
        """The text of a text, post or interactive message, with `@Name` for a mention; None of all else.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        content = self.content
        if content is None:
            return None
        names = {mention.key: mention.name for mention in self.mentions if mention.key and mention.name}
        return plain_text(content, {"@_all": "all"} | names)

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Who is mentioned in a message; nobody, if this is none.

        Raises:
            EventDecodeError: the body does not fit; the message names the path.
        """
        message = self._message
        return () if message is None else message.mentions or ()

    def is_mentioned(self, open_id: str) -> bool:
        """Whether a message mentions this person or bot by name; `@all` mentions nobody by name.

        Raises:
            EventDecodeError: the body does not fit; the message names the path.
        """
        return any(mention.id is not None and mention.id.open_id == open_id for mention in self.mentions)

    @property
    def _message(self) -> Message | None:
        if self.type != IM_MESSAGE_RECEIVE_V1:
            return None
        return cast("MessageReceived", self.data).message

    def ack(self, result: object = None) -> None:
        """Answer that the event is handled, with `result` as a callback's answer.

        Raises:
            RuntimeError: the answer is not the user's, but follows from what the handlers do.
        """
        self._settle(True, result)

    def nack(self) -> None:
        """Answer that handling failed: the platform delivers the event again, unless it is a callback.

        Raises:
            RuntimeError: the answer is not the user's, but follows from what the handlers do.
        """
        self._settle(False, None)

    def _settle(self, handled: bool, result: object) -> None:
        if self.settle is None:
            raise RuntimeError(
                f"{self!r} is answered when its handlers are done, by what they return or raise; "
                "ack() and nack() are for the events of session.events()"
            )
        self.settle(handled, result)


def _body_type(event_type: str) -> _BodyType:
    known = _body_types.get(event_type)
    if known is None:
        model = model_for(event_type)
        if model is None:
            return dict, _decode_unknown_body
        # Numbers may come as strings: those of 64 bits always do.
        known = _body_types[event_type] = model, msgspec.json.Decoder(model | None, strict=False).decode
    return known


def _instant(written: str | None) -> datetime | None:
    try:
        number = float(written or 0)
        if not number > 0:
            return None
        unit = next((unit for unit, first in _UNITS if number >= first), 1)
        return datetime.fromtimestamp(number / unit, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _short(text: str) -> str:
    escaped = repr(text[:_SHOWN])[1:-1]  # a line of a log stays one line
    return escaped if len(text) <= _SHOWN else f"{escaped}…"
