"""What an event speaks through: whoever runs its handlers hands it in, so that nothing here knows how calls are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["EventApi", "EventPort"]


class EventApi(Protocol):
    """Calls to Feishu's HTTP API; `feishu_trio.Api` is one, and says more of each."""

    async def request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None
    ) -> dict[str, Any]:
        """Call any method of the API."""

    async def reply(
        self,
        message_id: str,
        content: str | dict[str, Any],
        msg_type: str = "text",
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Reply to a message."""

    async def send(
        self,
        receive_id: str,
        content: str | dict[str, Any],
        msg_type: str = "text",
        receive_id_type: str | None = None,
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Send a message to a chat or a user."""

    async def update_card(self, token: str, card: dict[str, Any]) -> dict[str, Any]:
        """Update the card whose callback carried `token`."""


class EventPort(Protocol):
    """What a session is for the events that it handles."""

    @property
    def api(self) -> EventApi:
        """Feishu's HTTP API, with the app's token."""
