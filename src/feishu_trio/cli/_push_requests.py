"""Requests to push an event: from files, lines and options."""

from __future__ import annotations

import json
from typing import Any, Final, Self
from uuid import uuid4

import attrs

from feishu_trio import ConfigError

from ._users import User

__all__ = ["YOU", "PushRequest", "read_push_request"]

YOU: Final = User("you", "0a1b2c3d4e")


@attrs.frozen
class PushRequest:
    """An event to push."""

    event_type: str
    body: dict[str, Any]
    schema: str = "2.0"
    event_id: str | None = None
    """None for a new one."""

    @classmethod
    def message(cls, text: str) -> Self:
        """Push a text message to the bot."""
        return cls("im.message.receive_v1", YOU.message(text, _new_message_id()))

    @classmethod
    def sample(cls, event_type: str) -> Self:
        """Push an event of this type: a text message, a click on a card, or an event with an empty body."""
        match event_type:
            case "im.message.receive_v1":
                return cls.message("Hello, bot! 你好！")
            case "card.action.trigger":
                return cls(event_type, YOU.click(decision="approve"))
        return cls(event_type, {})

    def as_new_event(self) -> PushRequest:
        """The same type and body with a new event id and, in a message, a new message id."""
        body, message = self.body, self.body.get("message")
        if isinstance(message, dict):
            body = {**body, "message": {**message, "message_id": _new_message_id()}}
        return attrs.evolve(self, event_id=None, body=body)


def read_push_request(text: str, event_type: str | None = None) -> PushRequest:
    """Read a request from JSON: a whole payload, or with `event_type` a bare body.

    Raises `ConfigError` for anything else.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this is no JSON: {error}") from None
    match document:
        case {"header": {"event_type": str(known), **header}, "event": dict(body)}:
            event_id = header.get("event_id")
            return PushRequest(
                event_type or known, body, event_id=event_id if isinstance(event_id, str) else None
            )
        case {"uuid": str(event_id), "event": {"type": str(known)} as body}:
            return PushRequest(event_type or known, body, "1.0", event_id)
        case dict(body) if event_type is not None:
            return PushRequest(event_type, body)
    raise ConfigError(
        "this is no payload: one has header.event_type and event (2.0), or uuid and event.type (1.0); "
        "the type of a bare body is given with --event"
    )


def _new_message_id() -> str:
    return f"om_{uuid4().hex}"
