"""What the content of a message must be, by the type of the message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from . import _card_json
from ._calls import ApiRefusal
from ._chats import Chats, Mention
from ._entities import CardEntity, failed_content
from ._json import decoded_object
from ._media import Media, StoredFile

BAD_MESSAGE: Final = 230001
NOT_THE_OWNER: Final = 230017
TOO_LONG: Final = 230025
WRONG_FILE_TYPE: Final = 230055

MAX_TEXT: Final = 150 * 1024
"""Bytes of a text message's content; of a post's and a card's `_card_json.MAX_SIZE`."""

Content = dict[str, Any]

# The tags of a post's elements, and what each must have.
_POST_ELEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "text": ("text",),
    "a": ("text", "href"),
    "at": ("user_id",),
    "img": ("image_key",),
    "media": ("file_key",),
    "emotion": ("emoji_type",),
    "hr": (),
    "code_block": ("text",),
    "md": ("text",),
}
# Which uploaded files a message of a type takes: those of these types, or (for a file) those of the others.
_UPLOADED_AS: Final[Mapping[str, str]] = {"audio": "opus", "media": "mp4"}

_AT: Final = re.compile(r'<at\s+user_id\s*=\s*"?([^">\s]+)"?\s*>(.*?)</at>', re.DOTALL)


@attrs.frozen
class Checked:
    """Content that Feishu accepts."""

    content: Content
    mentions: tuple[Mention, ...] = ()
    entity: CardEntity | None = None
    """Where it is a card by its card_id."""
    sent: Content = attrs.field(factory=dict)
    """As it was sent: with the mentions themselves, where `content` has the keys that stand for them."""


@attrs.define(eq=False)
class ContentChecks:
    """Checks content, and refuses what Feishu refuses. A new type of message is a method here, and a row below."""

    chats: Chats
    media: Media
    entities: Mapping[str, CardEntity]

    def check(self, msg_type: object, content: object) -> Checked:
        """The content of a message that a bot sends, decoded and checked."""
        if not isinstance(msg_type, str) or not msg_type:
            raise bad_message("msg_type is required")
        checks = _CHECKS.get(msg_type)
        if checks is None:
            raise bad_message(f"msg_type is {msg_type!r}; it may be {', '.join(_CHECKS)}")
        if not isinstance(content, str):
            raise bad_message("content is required, a string of JSON")
        limit = {"text": MAX_TEXT, "post": _card_json.MAX_SIZE, "interactive": _card_json.MAX_SIZE}
        size, most = len(content.encode("utf-8", "replace")), limit.get(msg_type)
        if most is not None and size > most:
            msg = f"The length of the message content reaches its limit: {size} bytes, of {most}"
            raise ApiRefusal(TOO_LONG, msg)
        decoded = decoded_object(content)
        if decoded is None:
            raise bad_message("content is no JSON object")
        return attrs.evolve(checks(self, decoded), sent=decoded)

    def _text(self, content: Content) -> Checked:
        text = content.get("text")
        if not isinstance(text, str) or not text:
            # For an empty one, the documentation names no code: this is the one for any content that is wrong.
            raise bad_message('content of a text is {"text": "…"}, and not empty')
        mentions: list[Mention] = []

        def named(match: re.Match[str]) -> str:
            mentions.append(self._mention(match[1], match[2], len(mentions) + 1))
            return mentions[-1].key

        return Checked({**content, "text": _AT.sub(named, text)}, tuple(mentions))

    def _mention(self, user_id: str, name: str, number: int) -> Mention:
        if user_id in {"all", "@_all"}:
            return Mention("@_all", name or "all", None)
        member = self.chats.bot if user_id == self.chats.bot.open_id else self.chats.members.get(user_id)
        return Mention(f"@_user_{number}", member.name if member else name or user_id, member)

    def _post(self, content: Content) -> Checked:
        if not content or not all(isinstance(post, dict) for post in content.values()):
            raise bad_message('content of a post is {"zh_cn": {"title": "…", "content": [[…]]}}')
        for locale, post in content.items():
            if not re.fullmatch(r"[a-z]{2}_[a-z]{2}", locale):
                raise bad_message(f"a post's content is by locale, such as zh_cn; it has {locale!r}")
            for element in _post_elements(post, locale):
                self._check_post_element(element)
        return Checked(content)

    def _check_post_element(self, element: Content) -> None:
        tag = element.get("tag")
        needed = _POST_ELEMENTS.get(tag) if isinstance(tag, str) else None
        if needed is None:
            raise bad_message(f"an element's tag is {tag!r}; it may be {', '.join(_POST_ELEMENTS)}")
        for name in needed:
            if not isinstance(element.get(name), str):
                raise bad_message(f"an element of the tag {tag} has {name}, a string")
        if tag == "img":
            self._check_image(element["image_key"])
        elif tag == "media":
            self._check_file(element["file_key"], "media")

    def _image(self, content: Content) -> Checked:
        self._check_image(_key(content, "image_key"))
        return Checked(content)

    def _file(self, content: Content) -> Checked:
        self._check_file(_key(content, "file_key"), "file")
        return Checked(content)

    def _audio(self, content: Content) -> Checked:
        self._check_file(_key(content, "file_key"), "audio")
        return Checked(content)

    def _media(self, content: Content) -> Checked:
        self._check_file(_key(content, "file_key"), "media")
        if "image_key" in content:
            self._check_image(_key(content, "image_key"))
        return Checked(content)

    def _sticker(self, content: Content) -> Checked:
        _key(content, "file_key")
        return Checked(content)

    def _share_chat(self, content: Content) -> Checked:
        _key(content, "chat_id")
        return Checked(content)

    def _share_user(self, content: Content) -> Checked:
        _key(content, "user_id")
        return Checked(content)

    def _interactive(self, content: Content) -> Checked:
        match content:
            case {"type": "card", "data": data}:
                card_id = data.get("card_id") if isinstance(data, dict) else None
                entity = self.entities.get(str(card_id))
                if entity is None or entity.sent:
                    # For one that was sent before, the documentation names no code: this is the one for no card.
                    raise failed_content(_card_json.Flaw(11310, "cardid is invalid"))
                entity.check_life()
                return Checked(content, entity=entity)
            case {"type": "template", "data": {"template_id": str()}}:
                return Checked(content)
            case {"type": str(kind)}:
                raise bad_message(f"type is {kind!r}; it may be card or template, each with its data")
        self.check_card(content)
        return Checked(content)

    def flaw_of(self, card: Content) -> _card_json.Flaw | None:
        """What is wrong with the JSON of a card; None if nothing is."""
        return _card_json.flaw_of(card, self.media.has_image)

    def check_card(self, card: Content) -> None:
        """Refuse the JSON of a card for what it holds."""
        flaw = self.flaw_of(card)
        if flaw is not None:
            raise failed_content(flaw)

    def _check_image(self, key: str) -> None:
        if (file := self.media.kept.get(key)) is None or not file.is_image:
            raise bad_message(f"invalid image_key: no picture of the key {key} was uploaded")
        self._check_owner(file)

    def _check_file(self, key: str, msg_type: str) -> None:
        if (file := self.media.kept.get(key)) is None or file.is_image:
            raise bad_message(f"invalid file_key: no file of the key {key} was uploaded")
        self._check_owner(file)
        wanted = _UPLOADED_AS.get(msg_type)
        if file.kind != wanted if wanted else file.kind in _UPLOADED_AS.values():
            msg = "The type of file upload does not match the type of message being sent"
            raise ApiRefusal(WRONG_FILE_TYPE, f"{msg}: {file.kind}, in a message of the type {msg_type}")

    def _check_owner(self, file: StoredFile) -> None:
        if file.owner is not self.chats.bot:
            raise ApiRefusal(NOT_THE_OWNER, "Bot is NOT the owner of the resource: it is to upload its own")


_CHECKS: Final[Mapping[str, Callable[[ContentChecks, Content], Checked]]] = {
    "text": ContentChecks._text,
    "post": ContentChecks._post,
    "image": ContentChecks._image,
    "file": ContentChecks._file,
    "audio": ContentChecks._audio,
    "media": ContentChecks._media,
    "sticker": ContentChecks._sticker,
    "interactive": ContentChecks._interactive,
    "share_chat": ContentChecks._share_chat,
    "share_user": ContentChecks._share_user,
}


def _post_elements(post: Content, locale: str) -> Iterator[Content]:
    title, lines = post.get("title", ""), post.get("content")
    if not isinstance(title, str) or not isinstance(lines, list):
        raise bad_message(f"{locale} has title, a string, and content, a list of lines")
    for line in lines:
        if not isinstance(line, list):
            raise bad_message(f"{locale}.content is a list of lines, each a list of elements")
        for element in line:
            if not isinstance(element, dict):
                raise bad_message(f"{locale}.content has an element that is no object")
            yield element


def _key(content: Content, name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise bad_message(f"content has {name}, a string")
    return value


def bad_message(why: str) -> ApiRefusal:
    """The refusal of a message, or of what is asked of one, as Feishu words it."""
    return ApiRefusal(BAD_MESSAGE, f"Your request contains an invalid request parameter, ext={why}")
