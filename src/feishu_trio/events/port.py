"""What an event speaks through: whoever runs its handlers hands it in, so that nothing here knows how calls are made."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias, overload

import msgspec

from .answers import Card
from .content import (
    Audio,
    File,
    Image,
    Interactive,
    Markdown,
    Media,
    Post,
    ResourceKind,
    ShareChat,
    ShareUser,
    Sticker,
    Text,
)
from .subject import Person

__all__ = [
    "DOWNLOAD_SIZE",
    "BotInfo",
    "Choice",
    "EventApi",
    "EventPort",
    "Form",
    "Notes",
    "Sendable",
    "Sent",
    "Source",
    "Streamed",
]

Sendable: TypeAlias = (
    str
    | Markdown
    | Card
    | Text
    | Post
    | Image
    | File
    | Audio
    | Media
    | Sticker
    | ShareChat
    | ShareUser
    | Interactive
    | Mapping[str, Any]
)
"""What a message can be made of."""

Form: TypeAlias = Mapping[str, str | bytes | os.PathLike[str] | tuple[str, bytes]]
"""A form's fields: a str is a text; bytes, a name with bytes, or a path are a file."""

Source: TypeAlias = bytes | bytearray | memoryview | str | os.PathLike[str]
"""What is uploaded: bytes, or the path of a file."""

DOWNLOAD_SIZE: Final = 100 << 20
"""Bytes that a download may have, unless more or less is allowed: what Feishu gives."""


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
        files: Form | None = None,
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
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Call any method whose answer is a file, and get it part by part."""

    async def save(
        self,
        path: str,
        to: str | os.PathLike[str],
        *,
        params: Mapping[str, Any] | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path:
        """Write the file that a GET of any path gives to a path here."""

    def pages(
        self, path: str, *, params: Mapping[str, Any] | None = None, items: str = "items"
    ) -> AsyncIterator[Any]:
        """All items of a list that comes in pages."""

    async def bot(self) -> BotInfo:
        """Who the app's bot is."""

    async def reply(
        self,
        message_id: str,
        content: Sendable,
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
        content: Sendable,
        msg_type: str = "text",
        receive_id_type: str | None = None,
        uuid: str | None = None,
    ) -> dict[str, Any]:
        """Send a message to a chat or a user."""

    async def send_markdown(
        self, receive_id: str, text: str, *, receive_id_type: str | None = None, uuid: str | None = None
    ) -> list[dict[str, Any]]:
        """Send markdown to a chat or a user."""

    async def edit(self, message_id: str, content: Sendable, msg_type: str = "text") -> dict[str, Any]:
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

    async def upload_image(self, image: Source, *, timeout: float | None = None) -> str:
        """Upload an image."""

    async def upload_file(
        self,
        file: Source,
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
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> bytes: ...

    @overload
    async def download(
        self,
        message_id: str,
        key: str,
        to: str | os.PathLike[str],
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
        timeout: float | None = None,
    ) -> Path: ...

    def open_download(
        self,
        message_id: str,
        key: str,
        *,
        kind: ResourceKind | None = None,
        max_size: int = DOWNLOAD_SIZE,
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


class BotInfo(msgspec.Struct, frozen=True):
    """Who the app's bot is, for those who see it in a chat."""

    name: str
    """The name that people see."""
    open_id: str
    """The id by which messages mention it."""


class Notes(Protocol):
    """Small values that are kept with a stored event until it is done, by handler and key."""

    @property
    def is_over(self) -> bool:
        """Whether the event has been cancelled, so that no handler runs for it again."""

    def noted(self, handler: str, key: str) -> bytes | None:
        """What was noted by an earlier run of a handler, or by this one; None if nothing."""

    async def note(self, handler: str, key: str, value: bytes) -> None:
        """Keep a value; returns when that is sure.

        Raises:
            InboxError: It could not be kept.
        """


class Sent(msgspec.Struct, frozen=True):
    """What `Event.reply` has sent: mostly one message, of a long text several."""

    message_ids: tuple[str, ...]
    """The messages' ids, in order; at least one."""

    @property
    def message_id(self) -> str:
        """The id of the first."""
        return self.message_ids[0]


class Choice(str):
    """The answer to a question: the text of what was chosen; of a card of your own, its value as JSON text."""

    by: Person
    """Who answered."""
    value: Mapping[str, Any]
    """The value of what was clicked, as the card has it."""
    form: Mapping[str, Any]
    """What was filled in, if the card has a form."""

    __slots__ = ("by", "form", "value")

    def __new__(cls, text: str, *, by: Person, value: Mapping[str, Any], form: Mapping[str, Any]) -> Choice:
        """A text with what belongs to it."""
        choice = super().__new__(cls, text)
        choice.by, choice.value, choice.form = by, value, form
        return choice


class Streamed(Protocol):
    """An answer that grows while it is written."""

    @property
    def text(self) -> str:
        """All of it, in markdown."""

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The messages that show it so far."""

    async def append(self, text: str) -> None:
        """Add to the text; whoever calls this does not wait until it is shown.

        Raises:
            TypeError: It is no text.
        """

    async def replace(self, text: str) -> None:
        """Put a text in the place of all there is; whoever calls this does not wait until it is shown.

        Raises:
            TypeError: It is no text.
        """


class EventPort(Protocol):
    """What a session is for the events that it handles."""

    @property
    def api(self) -> EventApi:
        """Feishu's HTTP API, with the app's token."""

    @property
    def bot(self) -> BotInfo | None:
        """Who the bot is; None as long as that is not known."""

    @property
    def handler(self) -> str | None:
        """The name of the handler, or loop over events, that asks; None if it is neither."""

    async def reply(
        self, event: Any, content: Sendable, msg_type: str | None, *, in_thread: bool | None, quote: bool
    ) -> Sent:
        """See `Event.reply`."""

    def stream(
        self, event: Any, *, in_thread: bool | None, quote: bool, interrupted: str
    ) -> AbstractAsyncContextManager[Streamed]:
        """See `Event.stream`."""

    async def ask(
        self,
        event: Any,
        question: str | Card | Mapping[str, Any],
        choices: Sequence[str] | Mapping[str, str],
        *,
        allowed: str | Collection[str] | None,
        timeout: float | None,
        in_thread: bool | None,
        quote: bool,
    ) -> Choice:
        """See `Event.ask`."""

    async def cancel(self, key: Hashable) -> int:
        """See `Session.cancel`."""

    def turned_away(self, event: Any, reason: str) -> None:
        """A filter did not let it through."""
