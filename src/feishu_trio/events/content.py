"""The content of chat messages: JSON in a string, of a shape that the message's type decides.

`Event.content`, `Event.text`, `Event.markdown` and `Event.resources` are the way in. Source: "Message content structure"
of the platform's documentation of received messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, cast

import msgspec

from ._json import UNFIT, unfit

__all__ = [
    "CLASSES",
    "Audio",
    "Content",
    "File",
    "Image",
    "Interactive",
    "Markdown",
    "Media",
    "MergeForward",
    "Post",
    "PostElement",
    "Resource",
    "ResourceKind",
    "ShareChat",
    "ShareUser",
    "Sticker",
    "Text",
    "parse_content",
    "plain_text",
    "resources_of",
    "with_names",
]


class Text(msgspec.Struct, frozen=True):
    """A `text` message."""

    text: str
    """What was written; of one that was received, mentions stand in it as `@_user_1`, and `@_all` for everybody."""


class Markdown(msgspec.Struct, frozen=True):
    """A text in markdown, to be sent as a message.

    It is sent as a post or, if it has a table, as a card. One that is too long for a message, by Feishu's count of
    bytes, or has more than three tables, becomes several: divided between blocks, else between lines, else between
    characters. A code block that is divided is closed, and opened again with its language; a table has its head again.

    Headings, lists, quotes, code, links, emphasis and mentions are Feishu's to show. Images are shown by their
    `image_key`, `![a chart](img_…)`; those that are elsewhere become links.
    """

    text: str


class PostElement(msgspec.Struct, frozen=True):
    """A piece of a line of a `post` message: its `tag` tells which of the others it has; the rest are None."""

    tag: str
    """What it is: text, a, at, img, media, emotion, hr, code_block or md; of another, what fits is kept."""
    text: str | None = None
    """Of a text, a link, code or markdown."""
    href: str | None = None
    """Where a link (`a`) leads."""
    user_id: str | None = None
    """Of an `at`: what stands for the one who is mentioned, such as `@_user_1`."""
    user_name: str | None = None
    """Of an `at`: the name."""
    image_key: str | None = None
    """Of an `img`: the key of the image."""
    file_key: str | None = None
    """Of a `media`: the key of the video."""
    emoji_type: str | None = None
    """Of an `emotion`: its name, such as SMILE."""
    language: str | None = None
    """Of a `code_block`: the language of the code."""
    style: tuple[str, ...] | None = None
    """How it is set: bold, italic, underline, lineThrough, codeInline."""


class Post(msgspec.Struct, frozen=True):
    """A `post` (rich text) message: a title, and lines of elements."""

    title: str | None = None
    """Its title; None if the content has none."""
    content: tuple[tuple[PostElement, ...], ...] = ()
    """Its lines, each the elements in it."""
    locale: str | None = None
    """The one that was read, the first, if the content came wrapped by locale; None if it did not."""


class Image(msgspec.Struct, frozen=True):
    """An `image` message."""

    image_key: str
    """Its key: to download it by, or to send it by if the app uploaded it."""


class File(msgspec.Struct, frozen=True):
    """A `file` message."""

    file_key: str
    """Its key: to download it by, or to send it by if the app uploaded it."""
    file_name: str | None = None
    """Its name; None if the message has none."""


class Audio(msgspec.Struct, frozen=True):
    """An `audio` message."""

    file_key: str
    """Its key: to download it by, or to send it by if the app uploaded it."""
    duration: int | None = None
    """How long it is, in milliseconds; None if the message does not say."""


class Media(msgspec.Struct, frozen=True):
    """A `media` (video) message."""

    file_key: str
    """Its key: to download it by, or to send it by if the app uploaded it."""
    image_key: str | None = None
    """The key of its cover; None if the message has none."""
    file_name: str | None = None
    """Its name; None if the message has none."""
    duration: int | None = None
    """How long it is, in milliseconds; None if the message does not say."""


class Sticker(msgspec.Struct, frozen=True):
    """A `sticker` message."""

    file_key: str
    """The key to send it again by: it cannot be downloaded."""


class ShareChat(msgspec.Struct, frozen=True):
    """A `share_chat` message: a chat's card."""

    chat_id: str
    """The chat's id."""


class ShareUser(msgspec.Struct, frozen=True):
    """A `share_user` message: a person's card."""

    user_id: str
    """The person's open_id."""


class MergeForward(msgspec.Struct, frozen=True):
    """A `merge_forward` message: the messages in it have to be fetched."""

    text: str
    """Feishu's fixed text, which is no JSON."""


class Interactive(msgspec.Struct, frozen=True):
    """An `interactive` message."""

    card: dict[str, Any]
    """The card's JSON, in whichever of its versions."""


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


ResourceKind = Literal["image", "file", "audio", "video", "sticker"]


class Resource(msgspec.Struct, frozen=True):
    """A file in a message, to be downloaded by the message's id and `key`. Stickers cannot be, but be sent again."""

    kind: ResourceKind
    """What it is; a `media` message has a "video", and so has such an element of a post."""
    key: str
    """Its `image_key` or `file_key`."""
    name: str | None = None
    """The file's name, where the message has it."""


CLASSES: Final[Mapping[str, type[Any]]] = {
    "text": Text,
    "image": Image,
    "file": File,
    "audio": Audio,
    "media": Media,
    "video": Media,
    "sticker": Sticker,
    "share_chat": ShareChat,
    "share_user": ShareUser,
}
"""The types of messages whose content is an object of a fixed shape, and its class."""


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
        known = CLASSES.get(message_type or "")
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
            return with_names(text, names)
        case Post(title, lines):
            read = ["".join(_element_text(element, names) for element in line) for line in lines]
            return "\n".join([title, *read] if title else read)
        case Interactive(card):
            texts: list[str] = []
            try:
                _add_card_lines(card, texts)
            except RecursionError as error:
                raise unfit("a card", error, "event.message.content") from error
            return with_names("\n".join(texts), names)
    return None


def resources_of(content: Content) -> tuple[Resource, ...]:
    """The files in a message, those in a post's lines too; none of a card, as Feishu does not hand them out."""
    match content:
        case Image(key):
            found = [Resource("image", key)]
        case File(key, name):
            found = [Resource("file", key, name)]
        case Audio(key):
            found = [Resource("audio", key)]
        case Media(key, file_name=name):
            found = [Resource("video", key, name)]
        case Sticker(key):
            found = [Resource("sticker", key)]
        case Post(content=lines):
            found = [each for line in lines for element in line for each in _resources_in(element)]
        case _:
            found = []
    return tuple(each for each in found if each.key)


def _resources_in(element: PostElement) -> Iterator[Resource]:
    match element:
        case PostElement(tag="img", image_key=str(key)):
            yield Resource("image", key)
        case PostElement(tag="media", file_key=str(key)):
            yield Resource("video", key)


# Characters of what stands for a name in a text. Feishu's are `@_user_1` and the like.
_LONGEST_KEY: Final = 64


def with_names(text: str, names: Mapping[str, str]) -> str:
    """A text with the names of those who are mentioned in place of what stands for them, such as `@_user_1`."""

    def named(match: re.Match[str]) -> str:
        # The longest first, for @_user_1 begins @_user_12, and may have more text right behind it.
        word: str = match[0]
        for end in range(min(len(word), _LONGEST_KEY), 1, -1):
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
    return with_names(element.text or "", names)


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


def _add_card_lines(node: object, lines: list[str]) -> None:
    """Add the texts of a card, a line each: in either schema, or simplified to lines of elements."""
    match node:
        case str() if node:
            lines.append(node)
        case {"tag": "at", "user_name": str(name)} if name:
            lines.append(f"@{name}")
        case {"tag": "at", "user_id": str(key)} if key:
            lines.append(f"@{key.removeprefix('@')}")
        case dict():
            for key in _CARD_KEYS:
                _add_card_lines(node.get(key), lines)
        case list():
            for inner in node:
                if isinstance(inner, list):
                    line: list[str] = []
                    _add_card_lines(inner, line)
                    lines.append("".join(line))
                else:
                    _add_card_lines(inner, lines)
