"""Replies: to the message that an event is of, or into the chat where it happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..api import Api
from ..api.content import as_message, part_uuids
from ..errors import ApiError
from ..events import Event
from ..events.port import Sendable, Sent
from .speech import Saying

__all__ = ["reply", "say"]

# Of these, a person is meant though there is no chat in them.
_PERSONAL: Final = frozenset({"application.bot.menu_v6", "im.chat.access_event.bot_p2p_chat_entered_v1"})


async def reply(
    api: Api,
    event: Event[Any],
    saying: Saying,
    content: Sendable,
    msg_type: str | None,
    *,
    in_thread: bool | None,
    quote: bool,
) -> Sent:
    """Say something, unless the handler has said it when it ran before."""
    noted = saying.noted() or {}
    ids: list[str] = noted.get("ids", [])
    if noted.get("left") != 0:
        messages = as_message(content, msg_type)
        parts = [*zip(messages, part_uuids(saying.uuid, len(messages)), strict=True)]
        for number, ((kind, written), uuid) in enumerate(parts[len(ids) :], len(ids) + 1):
            fields = msgspec.json.decode(written)
            ids.append(await say(api, event, fields, kind, uuid, in_thread=in_thread, quote=quote))
            await saying.note({"ids": ids, "left": len(parts) - number})
    return Sent(tuple(ids))


async def say(
    api: Api,
    event: Event[Any],
    content: Mapping[str, Any],
    kind: str,
    uuid: str | None,
    *,
    in_thread: bool | None,
    quote: bool,
) -> str:
    """Send one message to where an event happened; its id.

    Raises:
        ApiError: There is nowhere to send it, or it could not be sent.
    """
    is_in_thread = bool(_thread(event)) if in_thread is None else in_thread
    if event.about and (quote or is_in_thread):
        body = await api.reply(
            event.about, content, kind, uuid, in_thread=is_in_thread, chat=event.chat_id or None
        )
    elif event.chat_id:
        body = await api.send(event.chat_id, content, kind, "chat_id", uuid)
    elif event.type in _PERSONAL and event.sender.open_id:
        body = await api.send(event.sender.open_id, content, kind, "open_id", uuid)
    else:
        raise ApiError(
            f"{event!r} happened in no chat, so there is nothing to reply to; "
            "say where it is to go: await event.api.send(receive_id, …)",
        )
    data = body.get("data")
    message_id = data.get("message_id") if isinstance(data, dict) else None
    if not isinstance(message_id, str):
        raise ApiError("a message was sent, and the answer does not have its message_id")
    return message_id


def _thread(event: Event[Any]) -> str | None:
    thread: str | None = event.data.message.thread_id if event.type == "im.message.receive_v1" else None
    return thread
