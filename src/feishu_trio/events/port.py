"""What an event speaks through: whoever runs its handlers hands it in, so that nothing here knows how calls are made."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, overload

__all__ = ["BotIdentity", "EventApi", "EventPort"]

_Kind = Literal["image", "file", "audio", "video", "sticker"]
_Path = str | os.PathLike[str]
_Source = bytes | bytearray | memoryview | _Path
_DOWNLOAD_SIZE = 100 << 20


class EventApi(Protocol):
    """Calls to Feishu's HTTP API; `feishu_trio.Api` is one, and says more of each."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | bytearray | memoryview | None = None,
        files: Mapping[str, str | bytes | os.PathLike[str] | tuple[str, bytes]] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """Call any method of the API."""

    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        max_size: int = _DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Call any method whose answer is a file, and get it part by part."""

    async def save(
        self,
        path: str,
        to: _Path,
        *,
        params: Mapping[str, Any] | None = None,
        max_size: int = _DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path:
        """Write the file that a GET of any path gives to a path here."""

    def pages(
        self, path: str, *, params: Mapping[str, Any] | None = None, items: str = "items"
    ) -> AsyncIterator[Any]:
        """All items of a list that comes in pages."""

    async def bot(self) -> BotIdentity:
        """Who the app's bot is."""

    async def reply(
        self,
        message_id: str,
        content: Any,
        msg_type: str = "text",
        uuid: str | None = None,
        *,
        in_thread: bool = False,
        chat: str | None = None,
    ) -> dict[str, Any]:
        """Reply to a message."""

    async def reply_markdown(
        self,
        message_id: str,
        text: str,
        *,
        uuid: str | None = None,
        in_thread: bool = False,
        chat: str | None = None,
    ) -> list[dict[str, Any]]:
        """Reply to a message in markdown."""

    async def send(
        self,
        receive_id: str,
        content: Any,
        msg_type: str = "text",
        receive_id_type: str | None = None,
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Send a message to a chat or a user."""

    async def send_markdown(
        self, receive_id: str, text: str, *, receive_id_type: str | None = None, uuid: str | None = None
    ) -> list[dict[str, Any]]:
        """Send markdown to a chat or a user."""

    async def edit(self, message_id: str, content: Any, msg_type: str = "text") -> dict[str, Any]:
        """Change a message of the bot's own."""

    async def recall(self, message_id: str) -> None:
        """Take back a message."""

    async def fetch(self, message_id: str) -> dict[str, Any]:
        """A message as Feishu has it."""

    async def react(self, message_id: str, emoji_type: str) -> str:
        """React to a message."""

    async def unreact(self, message_id: str, reaction_id: str) -> None:
        """Take back a reaction of the bot's own."""

    def typing(self, about: Any) -> AbstractAsyncContextManager[None]:
        """Mark a message as being answered, for as long as a block runs."""

    async def upload_image(self, image: _Source, *, timeout: float | None = None) -> str:
        """Upload an image."""

    async def upload_file(
        self,
        file: _Source,
        *,
        name: str | None = None,
        file_type: str | None = None,
        duration: int | None = None,
        timeout: float | None = None,
    ) -> str:
        """Upload a file, an audio or a video."""

    @overload
    async def download(
        self,
        message_id: str,
        key: str,
        to: None = None,
        *,
        kind: _Kind | None = None,
        max_size: int = _DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> bytes: ...

    @overload
    async def download(
        self,
        message_id: str,
        key: str,
        to: _Path,
        *,
        kind: _Kind | None = None,
        max_size: int = _DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path: ...

    def open_download(
        self,
        message_id: str,
        key: str,
        *,
        kind: _Kind | None = None,
        max_size: int = _DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Download an image or a file of a message part by part."""

    async def update_card(self, token: str, card: Mapping[str, Any]) -> dict[str, Any]:
        """Update the card whose callback carried `token`."""

    async def create_card(self, card: Mapping[str, Any]) -> str:
        """Make a card whose parts can be changed by its id."""

    async def update_card_text(self, card_id: str, element_id: str, text: str, sequence: int) -> None:
        """Put a text in the place of an element's."""

    async def set_card_streaming(self, card_id: str, streaming: bool, sequence: int) -> None:
        """Begin or end a card's streaming."""


class BotIdentity(Protocol):
    """Who the bot is."""

    @property
    def open_id(self) -> str:
        """The id by which messages mention it."""

    @property
    def name(self) -> str:
        """The name that people see."""


class EventPort(Protocol):
    """What a session is for the events that it handles."""

    @property
    def api(self) -> EventApi:
        """Feishu's HTTP API, with the app's token."""
