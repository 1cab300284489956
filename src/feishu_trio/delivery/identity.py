"""By what an event is known again, and behind what it waits its turn."""

from __future__ import annotations

from typing import Any

import msgspec

from ..events import Event

__all__ = ["identify"]


class _Message(msgspec.Struct, gc=False):
    message_id: str | None = None
    chat_id: str | None = None


class _Body(msgspec.Struct, gc=False):
    """What is needed of the body of an `im.message.*` event."""

    message: _Message | None = None
    chat_id: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


def identify(event: Event[Any]) -> tuple[tuple[str, ...], str | None]:
    """The keys that the ledger has for an event, each once, and the chat if it is about a message.

    The keys are its id and, for a message that was received, the message's too (interface, section 4). An event
    that came without either has none. Messages of one chat are handled in order; other events have no order.
    """
    keys: tuple[str, ...] = (event.id,) if event.id else ()
    if not event.type.startswith("im.message."):
        return keys, None
    try:
        body = _decode_body(event.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return keys, None  # a body of another shape: the handler will be told when it asks for it
    message = body.message
    if message is None:
        return keys, body.chat_id
    if message.message_id and event.type == "im.message.receive_v1":
        key = f"message:{message.message_id}"
        if key != event.id:
            keys += (key,)
    return keys, message.chat_id or body.chat_id
