"""What an event is about: its chat, its message, its thread, and who did it, told by the shape of its body.

Of 198 types nearly all that have a chat or a person have them in one of a few places. What is not there, or is no
string, is empty, and never an error: whoever wants to know asks for `Event.data`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from ._json import UNFIT

__all__ = ["Person", "body_of", "chat_of", "doer_of", "message_of", "thread_of"]


class Person(msgspec.Struct, frozen=True):
    """Who did what an event tells of: a person, or a bot. Nobody has no ids, and the `open_id` ""."""

    open_id: str = ""
    """The id for this app; "" if the event does not say."""
    user_id: str | None = None
    """The id in the tenant; only apps that may read it are told."""
    union_id: str | None = None
    """The id for all apps of this app's developer."""
    tenant_key: str | None = None
    """The tenant that they belong to."""
    is_bot: bool = False
    """Whether it was an app, and no person."""


Body = Mapping[str, Any]

_NOTHING: Final[Body] = MappingProxyType({})
_BOTS: Final = frozenset({"app", "bot"})  # what a `sender_type` or `operator_type` calls an app

# Where the one who did it stands: an object that has the ids, or holds them in one of these.
_DOERS: Final = {
    "sender": ("sender_id",),  # im.message.receive_v1
    "operator": ("operator_id", "id"),  # callbacks; application.bot.menu_v6; vc.meeting.*
    "reader": ("reader_id",),  # im.message.message_read_v1
    "operator_id": (),  # im.chat.*, drive.file.*, application.*
    "operator_user_id": (),  # hire.*
    "sender_id": (),  # helpdesk.ticket_message.created_v1
    "user_id": (),  # im.message.reaction.*, moments.*, acs.*
}

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def body_of(body: bytes | msgspec.Raw) -> Body:
    """An event's body; nothing if it is no object."""
    try:
        return _decode(body)
    except UNFIT:
        return _NOTHING


def chat_of(body: Body) -> str:
    """The chat."""
    return _first(
        _object(body, "message").get("chat_id"),
        body.get("chat_id"),
        _object(body, "context").get("open_chat_id"),
        body.get("open_chat_id"),  # of 1.0
    )


def message_of(event_type: str, body: Body) -> str:
    """The chat message that it is, or that something was done to."""
    # Other domains call other things a message.
    of_chats = event_type.startswith("im.message.")
    read = body.get("message_id_list") if of_chats else None
    return _first(
        _object(body, "message").get("message_id"),
        _object(body, "context").get("open_message_id"),
        body.get("open_message_id"),  # of 1.0
        body.get("message_id") if of_chats else None,
        read[0] if isinstance(read, list) and len(read) == 1 else None,
    )


def thread_of(event_type: str, body: Body) -> str:
    """The thread of a chat message, or else the message that it answers; its chat if it stands alone."""
    if not event_type.startswith("im.message."):
        return ""
    message = _object(body, "message")
    return _first(message.get("thread_id"), message.get("root_id")) or chat_of(body)


def doer_of(body: Body) -> Person:
    """Who did it; nobody, if that is not told, or they are several."""
    for name, holders in _DOERS.items():
        doer = body.get(name)
        if isinstance(doer, dict):
            ids = next((inner for each in holders if isinstance(inner := doer.get(each), dict)), doer)
            return _person(ids, doer, body)
    return _person(
        body, body, body
    )  # auth.user_access_token.revoked_v4, 1.0; a reaction of an app has no ids


def _person(ids: Body, doer: Body, body: Body) -> Person:
    is_bot = _first(doer.get("sender_type"), body.get("operator_type")) in _BOTS
    open_id, user_id, union_id = (_first(ids.get(name)) for name in ("open_id", "user_id", "union_id"))
    if not (open_id or user_id or union_id):
        return Person(is_bot=is_bot)
    tenant = _first(doer.get("tenant_key"), body.get("operator_tenant_key"))
    return Person(open_id, user_id or None, union_id or None, tenant or None, is_bot)


def _object(body: Body, name: str) -> Body:
    value = body.get(name)
    return value if isinstance(value, dict) else _NOTHING


def _first(*values: object) -> str:
    """The first that is a string, and not empty."""
    return next((value for value in values if isinstance(value, str) and value), "")
