"""What the gateway is told to push: read from files, lines and options."""

from __future__ import annotations

import json
from typing import Any, Final, Self
from uuid import uuid4

import attrs

from feishu_trio import ConfigError

from ._people import Person

__all__ = ["YOU", "Order", "read_order"]

YOU: Final = Person("you", "0a1b2c3d4e")


@attrs.frozen
class Order:
    """An event to push."""

    event_type: str
    body: dict[str, Any]
    schema: str = "2.0"
    event_id: str | None = None
    """None for a new one."""

    @classmethod
    def message(cls, text: str) -> Self:
        """A text message to the bot."""
        return cls("im.message.receive_v1", YOU.says(text, _new_message_id()))

    @classmethod
    def sample(cls, event_type: str) -> Self:
        """An event of a type: a message or a click if it is that, else one with an empty body."""
        match event_type:
            case "im.message.receive_v1":
                return cls.message("Hello, bot! 你好！")
            case "card.action.trigger":
                return cls(event_type, YOU.clicks(decision="approve"))
        return cls(event_type, {})

    def anew(self) -> Order:
        """The same once more, as another event: neither it nor its message is known to the bot."""
        body, message = self.body, self.body.get("message")
        if isinstance(message, dict):
            body = {**body, "message": {**message, "message_id": _new_message_id()}}
        return attrs.evolve(self, event_id=None, body=body)


def read_order(text: str, event_type: str | None = None) -> Order:
    """The event that a JSON text stands for: a whole payload, or with `event_type` its bare body.

    Raises `ConfigError` if it is neither.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this is no JSON: {error}") from None
    match document:
        case {"header": {"event_type": str(known), **header}, "event": dict(body)}:
            event_id = header.get("event_id")
            return Order(event_type or known, body, event_id=event_id if isinstance(event_id, str) else None)
        case {"uuid": str(event_id), "event": {"type": str(known)} as body}:
            return Order(event_type or known, body, "1.0", event_id)
        case dict(body) if event_type is not None:
            return Order(event_type, body)
    raise ConfigError(
        "this is no payload: one has header.event_type and event (2.0), or uuid and event.type (1.0); "
        "the type of a bare body is given with --event"
    )


def _new_message_id() -> str:
    return f"om_{uuid4().hex}"
