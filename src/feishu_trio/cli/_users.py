"""Users who write to a bot through the local gateway: the bodies of their events."""

from __future__ import annotations

import json
import time
from typing import Any

import attrs

__all__ = ["User"]


@attrs.frozen
class User:
    """A user who has a chat with the bot."""

    name: str
    handle: str
    """The part after the prefix in the user's ids."""

    @property
    def open_id(self) -> str:
        """The user's id for this app."""
        return f"ou_{self.handle}"

    @property
    def chat_id(self) -> str:
        """The id of the user's chat with the bot."""
        return f"oc_{self.handle}"

    def message(self, text: str, message_id: str) -> dict[str, Any]:
        """The body of `im.message.receive_v1`: the user writes `text`."""
        now = str(int(time.time() * 1000))
        return {
            "sender": {"sender_id": {"open_id": self.open_id}, "sender_type": "user"},
            "message": {
                "message_id": message_id,
                "create_time": now,
                "chat_id": self.chat_id,
                "chat_type": "p2p",
                "message_type": "text",
                "content": json.dumps({"text": text}, ensure_ascii=False),
            },
        }

    def click(self, **value: str) -> dict[str, Any]:
        """The body of `card.action.trigger`: the user clicks a button that has this value."""
        return {
            "operator": {"open_id": self.open_id},
            "action": {"tag": "button", "value": value},
            "host": "im_message",
            "context": {"open_chat_id": self.chat_id},
        }
