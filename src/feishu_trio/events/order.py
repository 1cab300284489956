"""What events are kept in order by: functions from an event to a key; those of one key run one after the other."""

from __future__ import annotations

from typing import Any

import msgspec

from .event import Event

__all__ = ["by_chat", "by_sender", "by_thread"]


class _Id(msgspec.Struct, gc=False):
    open_id: str | None = None
    union_id: str | None = None
    user_id: str | None = None


class _Sender(msgspec.Struct, gc=False):
    sender_id: _Id | None = None


class _Message(msgspec.Struct, gc=False):
    chat_id: str | None = None


class _Body(msgspec.Struct, gc=False):
    message: _Message | None = None
    sender: _Sender | None = None
    chat_id: str | None = None


_decode = msgspec.json.Decoder(_Body).decode
_NOTHING = _Body()


def _body(event: Event[Any]) -> _Body:
    """What is needed of a message event's body; nothing of any other."""
    if not event.type.startswith("im.message."):
        return _NOTHING
    try:
        return _decode(event.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NOTHING  # a body of another shape: the handler finds out when it asks for it


def by_chat(event: Event[Any]) -> str | None:
    """The chat of a message event; None, which is no order, for other events."""
    body = _body(event)
    return (body.message.chat_id if body.message else None) or body.chat_id


def by_thread(event: Event[Any]) -> str | None:
    """The thread of a message, or else the message that it answers; its chat for one that stands alone."""
    return event.thread_key or None


def by_sender(event: Event[Any]) -> str | None:
    """Who sent a message, within its chat; the chat if that is not known."""
    chat = by_chat(event)
    sender = _body(event).sender
    who = sender.sender_id if sender else None
    name = who and (who.open_id or who.union_id or who.user_id)
    return f"{chat} {name}" if name else chat
