"""The content of chat messages: JSON in a string, of a shape that the message's type decides.

`Event.content` and `Event.text` are the way in. Source: "Message content structure" of the platform's
documentation of received messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from attrs import frozen

from ._json import UNFIT, unfit

__all__ = [
    "Audio",
    "Content",
    "File",
    "Image",
    "Interactive",
    "Media",
    "MergeForward",
    "Post",
    "PostElement",
    "ShareChat",
    "ShareUser",
    "Sticker",
    "Text",
    "parse_content",
    "plain_text",
]


@frozen
class Text:
    """A `text` message; mentions stand in it as `@_user_1`, and `@_all` for everybody."""

    text: str


@frozen
class PostElement:
    """A piece of a line of a `post` message: its `tag` tells which of the others it has.

    The tags are text, a, at, img, media, emotion, hr, code_block and md; of another, what fits is kept.
    """

    tag: str
    text: str | None = None
    href: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    image_key: str | None = None
    file_key: str | None = None
    emoji_type: str | None = None
    language: str | None = None
    style: tuple[str, ...] | None = None


@frozen
class Post:
    """A `post` (rich text) message: a title, and lines of elements.

    `locale` is the one that was read, where the content came wrapped by locale: the first of them.
    """

    title: str | None = None
    content: tuple[tuple[PostElement, ...], ...] = ()
    locale: str | None = None


@frozen
class Image:
    """An `image` message."""

    image_key: str


@frozen
class File:
    """A `file` message."""

    file_key: str
    file_name: str | None = None


@frozen
class Audio:
    """An `audio` message; `duration` is in milliseconds."""

    file_key: str
    duration: int | None = None


@frozen
class Media:
    """A `media` (video) message; `duration` is in milliseconds, `image_key` is its cover."""

    file_key: str
    image_key: str | None = None
    file_name: str | None = None
    duration: int | None = None


@frozen
class Sticker:
    """A `sticker` message."""

    file_key: str


@frozen
class ShareChat:
    """A `share_chat` message: a chat's card."""

    chat_id: str


@frozen
class ShareUser:
    """A `share_user` message: a person's card; `user_id` is an open_id."""

    user_id: str


@frozen
class MergeForward:
    """A `merge_forward` message: its content is a fixed text, no JSON; the messages have to be fetched."""

    text: str


@frozen
class Interactive:
    """An `interactive` message: `card` is the card's JSON, in whichever of its versions."""

    card: dict[str, Any]


Content = (
    Text
    | Post
    | Image
    | File
    | Audio
    | Media
    | Sticker
    | ShareChat
    | ShareUser
    | MergeForward
    | Interactive
    | dict[str, Any]
)
"""What `Event.content` may be; a dict where the message is of a type that has no class here."""

_CLASSES: Final[Mapping[str, type[Any]]] = {
    "text": Text,
    "image": Image,
    "file": File,
    "audio": Audio,
    "media": Media,
    "sticker": Sticker,
    "share_chat": ShareChat,
    "share_user": ShareUser,
}


def parse_content(message_type: str | None, content: str) -> Content:
    """A message's content as the class of its type, or as a dict if there is none.

    Raises:
        EventDecodeError: the content is no JSON object, or does not fit; the message names the path.
    """
    if message_type == "merge_forward":
        return MergeForward(content)
    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
        if message_type == "post":
            return _post(fields)
        known = _CLASSES.get(message_type or "")
        if known is not None:
            return cast("Content", msgspec.convert(fields, known, strict=False))
    except UNFIT as error:
        raise unfit("a message's content", error, "event.message.content") from error
    return Interactive(fields) if message_type == "interactive" else fields


def _post(fields: dict[str, Any]) -> Post:
    locale = None
    if "content" not in fields:
        wrapped = (key for key, inner in fields.items() if isinstance(inner, dict) and "content" in inner)
        locale = next(wrapped, None)
    plain = fields if locale is None else fields[locale]
    return msgspec.convert({**plain, "locale": locale}, Post, strict=False)


def plain_text(content: Content, names: Mapping[str, str]) -> str | None:
    """The text that a person would read in a message, or None if it is of a kind without text.

    `names` are those of the people mentioned, by what stands for them in the text: `{"@_user_1": "Tom"}`.

    Raises:
        EventDecodeError: a card nests too deeply.
    """
    match content:
        case Text(text):
            return _with_names(text, names)
        case Post(title, lines):
            read = ["".join(_element_text(element, names) for element in line) for line in lines]
            return "\n".join([title, *read] if title else read)
        case Interactive(card):
            try:
                return _with_names("\n".join(_card_lines(card)), names)
            except RecursionError as error:
                raise unfit("a card", error, "event.message.content") from error
    return None


def _with_names(text: str, names: Mapping[str, str]) -> str:
    longest = max(map(len, names), default=0)

    def named(match: re.Match[str]) -> str:
        # The longest first, for @_user_1 begins @_user_12, and may have more text right behind it.
        word: str = match[0]
        for end in range(min(len(word), longest), 1, -1):
            name = names.get(word[:end])
            if name is not None:
                return f"@{name}{word[end:]}"
        return word

    # Word by word, all in one pass: a name may look like a placeholder, and there may be thousands of them.
    return re.sub(r"@[^@\s]+", named, text)


def _element_text(element: PostElement, names: Mapping[str, str]) -> str:
    match element:
        case PostElement(tag="at"):
            key = element.user_id or ""
            return "@" + (names.get(key) or element.user_name or key).removeprefix("@")
        case PostElement(tag="emotion", emoji_type=str(emoji)):
            return f"[{emoji}]"
    return _with_names(element.text or "", names)


# Where the texts of a card are, in the order in which they are read.
_CARD_KEYS: Final = (
    "header",
    "title",
    "subtitle",
    "text",
    "content",
    "body",
    "elements",
    "columns",
    "fields",
    "actions",
)


def _card_lines(node: object) -> Iterator[str]:
    """The texts of a card, a line each: in either schema, or simplified to lines of elements."""
    match node:
        case str() if node:
            yield node
        case {"tag": "at", "user_name": str(name)} if name:
            yield f"@{name}"
        case {"tag": "at", "user_id": str(key)} if key:
            yield f"@{key.removeprefix('@')}"
        case dict():
            for key in _CARD_KEYS:
                yield from _card_lines(node.get(key))
        case list():
            for inner in node:
                if isinstance(inner, list):
                    yield "".join(_card_lines(inner))
                else:
                    yield from _card_lines(inner)
