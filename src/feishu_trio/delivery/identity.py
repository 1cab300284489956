"""By what an event is known again, and behind what it waits its turn."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from ..events import Event
from ..events.types import IM_MESSAGE_RECEIVE_V1

__all__ = ["EVENT_KEY", "identify"]

EVENT_KEY: Final = "event:"
"""What stands before an event's id in its key."""


class _Sender(msgspec.Struct, frozen=True, gc=False):
    pass


class _Message(msgspec.Struct, gc=False):
    message_id: str = ""
    chat_id: str = ""
    chat_type: str = ""
    message_type: str = ""
    content: str = ""


class _Received(msgspec.Struct, gc=False):
    """Of the body of a message that was received, what its model has for sure."""

    message: _Message
    sender: _Sender = _Sender()
    chat_id: str | None = None


class _AboutOne(msgspec.Struct, gc=False):
    message_id: str | None = None
    chat_id: str | None = None


class _Body(msgspec.Struct, gc=False):
    """What is needed of the body of another `im.message.*` event."""

    message: _AboutOne | None = None
    chat_id: str | None = None


_decode_received = msgspec.json.Decoder(_Received).decode
_decode_body = msgspec.json.Decoder(_Body).decode


def identify(event: Event[Any]) -> tuple[tuple[str, ...], str | None]:
    """The keys that the ledger has for an event, each once, and the chat if it is about a message.

    The keys are its id and, for a message that was received, the message's too (interface, section 4), each with
    its kind before it, so that no id of one kind is a key of the other. An event that came without either has
    none. Messages of one chat are handled in order; other events have no order.

    Raises:
        EventDecodeError: a message was received, it says, but there is none that its handlers could rely on.
    """
    event_id = event.id
    if "\ufffd" in event_id or "?" in event_id:
        # These stand for what could not be read, and many ids read so. The payload is the same each time.
        event_id += f":{hashlib.blake2b(event.payload, digest_size=16).hexdigest()}"
    keys: tuple[str, ...] = (EVENT_KEY + event_id,) if event_id else ()
    event_type = event.type
    if not event_type.startswith("im.message."):
        return keys, None
    is_received = event_type == IM_MESSAGE_RECEIVE_V1
    try:
        body = _decode_received(event.body) if is_received else _decode_body(event.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        if is_received:
            _require_message(event)
        return keys, None  # a body of another shape: the handler finds out when it asks for it
    message = body.message
    if message is None:
        return keys, body.chat_id
    message_id = message.message_id
    if message_id and is_received and not ("\ufffd" in message_id or "?" in message_id):
        keys += (f"message:{message_id}",)
    return keys, message.chat_id or body.chat_id


def _require_message(event: Event[Any]) -> None:
    try:
        msgspec.convert(
            event.raw.get("event"), _Received
        )  # with bytes that are no text it is a message still
    except msgspec.ValidationError:
        _ = event.data  # it does not fit its model either, which says what is missing or wrong
