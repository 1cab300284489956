"""What can be said: anything that stands for a message, as the `msg_type` and the content that Feishu takes.

    as_message("hello") == [("text", '{"text":"hello"}')]

Source: "Message content structure" of the platform's documentation of messages to be sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from itertools import chain
from typing import Any, Final

import msgspec

from ..errors import ApiError
from ..events.answers import Card
from ..events.content import (
    Audio,
    File,
    Image,
    Interactive,
    Markdown,
    Media,
    Post,
    PostElement,
    ShareChat,
    ShareUser,
    Sticker,
    Text,
)
from ..events.port import Sendable
from .arguments import as_json, check_id, given, refused

__all__ = ["as_message", "part_uuids"]

_ALLOWED: Final = (
    "a text, a dict, Markdown, a Card, or one of Text, Post, Image, File, Audio, Media, Sticker, ShareChat, ShareUser "
    "and Interactive of feishu_trio.events.content"
)

# The type of a dict is told by one of its fields; the first that it has decides. A video has a cover, a file has none.
_TYPES: Final[Mapping[str, str]] = {
    "text": "text",
    "schema": "interactive",
    "elements": "interactive",
    "i18n_elements": "interactive",
    "header": "interactive",
    "card_link": "interactive",
    "content": "post",
    "zh_cn": "post",
    "en_us": "post",
    "ja_jp": "post",
    "file_key": "file",
    "image_key": "image",
    "chat_id": "share_chat",
    "user_id": "share_user",
}

_UUID_LENGTH: Final = 50


def as_message(content: Sendable, msg_type: str | None = None) -> list[tuple[str, str]]:
    """The messages that a content becomes, each its `msg_type` and its content as a string of JSON.

    It is one, but for long markdown. A str is a text; of `msg_type` "markdown" it is that, and of any other the ready
    JSON of it. A dict is what its fields tell; of a `msg_type` other than "text" it is that.

    Raises:
        ApiError: It is nothing that can be sent.
    """
    if msg_type is not None:
        check_id("msg_type", msg_type, 'one of Feishu\'s types of messages, such as "text", or None')
    match content:
        case Markdown(text):
            return _of_markdown(text)
        case str() if msg_type == "markdown":
            return _of_markdown(content)
        case str() if msg_type in (None, "text"):
            return [_written("text", {"text": content})]
        case str():
            return [_ready(content, msg_type or "")]
        case Card("raw", data) | Interactive(data):
            return [_written("interactive", data)]
        case Card("template", data):
            return [_written("interactive", {"type": "template", "data": data})]
        case Mapping() if msg_type in (None, "text"):
            return [_of_fields(content)]
        case Mapping():
            return [_written(msg_type or "", content)]
        case Text(text):
            return [_written("text", {"text": text})]
        case Post():
            return [_written("post", _post(content))]
        case Image(image_key):
            return [_written("image", {"image_key": image_key})]
        case File(file_key):
            return [_written("file", {"file_key": file_key})]
        case Audio(file_key):
            return [_written("audio", {"file_key": file_key})]
        case Media(file_key, image_key):
            return [_written("media", given({"file_key": file_key, "image_key": image_key}))]
        case Sticker(file_key):
            return [_written("sticker", {"file_key": file_key})]
        case ShareChat(chat_id):
            return [_written("share_chat", {"chat_id": chat_id})]
        case ShareUser(user_id):
            return [_written("share_user", {"user_id": user_id})]
    raise refused("content", content, _ALLOWED)


def part_uuids(uuid: str | None, count: int) -> list[str | None]:
    """The `uuid` of each of so many messages: the one that was given, and a number where there are several.

    What is longer than Feishu takes has a hash in its place.

    Raises:
        ApiError: It is none.
    """
    if uuid is None:
        return [None] * count
    check_id("uuid", uuid, "a text that stands for what is said, or None")
    ends = [""] if count == 1 else [f"-{number}" for number in range(1, count + 1)]
    if len(uuid + ends[-1]) > _UUID_LENGTH:
        uuid = sha256(uuid.encode(errors="surrogatepass")).hexdigest()[:40]
    return [f"{uuid}{end}" for end in ends]


def _of_markdown(text: str) -> list[tuple[str, str]]:
    if not isinstance(text, str):
        raise refused("text", text, "a text in markdown")
    as_json("text", text)
    from .markdown import markdown_messages  # here, so that importing this package stays light

    messages = markdown_messages(text)
    if not messages:
        raise ApiError("text: a blank text is not allowed; give one that shows something")
    return messages


def _of_fields(content: Mapping[str, Any]) -> tuple[str, str]:
    if content.get("type") in ("card", "template") and "data" in content:
        return _written("interactive", content)
    kind = next((kind for field, kind in _TYPES.items() if field in content), None)
    if kind is None:
        names = ", ".join(f"{str(name)[:40]!r}" for name in list(content)[:5]) or "no fields"
        raise ApiError(
            f"content: a dict with {names} is no message that is known; say what it is with msg_type"
        )
    if kind == "file" and "image_key" in content:
        kind = "media"
    if kind == "post" and "content" in content:
        content = {"zh_cn": content}
    return _written(kind, content)


def _written(msg_type: str, content: object) -> tuple[str, str]:
    return msg_type, as_json("content", content)


def _ready(content: str, msg_type: str) -> tuple[str, str]:
    """JSON that somebody else has written."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiError(
            f"content: a str of msg_type {msg_type!r} must be the JSON of an object; or give a dict"
        )
    as_json("content", value)
    return msg_type, content


def _post(post: Post) -> dict[str, Any]:
    for element in chain.from_iterable(post.content):
        if not isinstance(element, PostElement):
            raise refused("content", element, "a Post whose lines are of PostElement")
    lines = [
        [
            given(
                {**msgspec.structs.asdict(element), "style": list(element.style) if element.style else None}
            )
            for element in line
        ]
        for line in post.content
    ]
    return {post.locale or "zh_cn": given({"title": post.title, "content": lines})}
