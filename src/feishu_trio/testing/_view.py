"""A chat, and a message, as a person would see it, as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any, Final

import attrs

from . import _card_json
from ._chats import Chat, ChatMessage
from ._media import StoredFile

_AT: Final = re.compile(r"<at\s+id\s*=\s*[\"']?([^\"'>\s]+)[\"']?\s*>.*?</at>", re.DOTALL)


@attrs.frozen
class Shown:
    """A message as a person sees it at a moment."""

    text: str
    """Without who wrote it; a card's texts and `[its buttons]`. Empty once the message is recalled."""
    is_streaming: bool
    """Whether it is a card that streams at the moment."""


def shown(message: ChatMessage, kept: Mapping[str, StoredFile]) -> Shown:
    """A message as it stands."""
    return Shown("" if message.recalled else "\n".join(_lines(message, kept)).rstrip(), message.is_streaming)


def chat_text(chat: Chat, kept: Mapping[str, StoredFile]) -> str:
    """The messages of a chat, oldest first: who, and what. Those of a thread stand below its first, indented."""
    threads: dict[str, list[ChatMessage]] = {}
    for message in chat.messages:
        if message.thread_id is not None:
            threads.setdefault(message.thread_id, []).append(message)
    paragraphs = []
    for message in chat.messages:
        thread = [] if message.thread_id is None else threads[message.thread_id]
        if not thread or thread[0] is message:
            paragraphs.append(_message_text(message, kept))
            paragraphs += [indent(_message_text(each, kept), "  ") for each in thread[1:]]
    return "\n".join(paragraphs)


def _message_text(message: ChatMessage, kept: Mapping[str, StoredFile]) -> str:
    if message.recalled:
        return f"{message.sender.name} recalled a message"
    notes = []
    if message.updated is not None and message.msg_type != "interactive":
        notes.append("(edited)")
    if message.is_streaming:
        notes.append("(streaming)")
    by_emoji: dict[str, list[str]] = {}
    for reaction in message.reactions.values():
        by_emoji.setdefault(reaction.emoji_type, []).append(reaction.member.name)
    notes += [f"({emoji}: {', '.join(names)})" for emoji, names in by_emoji.items()]
    text = f"{message.sender.name}: " + "\n".join(_lines(message, kept))
    return " ".join([text.rstrip(), *notes]) if notes else text


def _lines(message: ChatMessage, kept: Mapping[str, StoredFile]) -> Iterator[str]:
    content = message.content
    if message.card is not None:
        yield from (_at_named(line, message) for line in _card_json.lines(message.card))
        return
    match message.msg_type:
        case "text":
            yield _named(str(content.get("text", "")), message)
        case "post":
            yield from (_named(line, message) for line in _post_lines(content, kept))
        case "image":
            yield "[image]"
        case "file" | "audio" | "media" | "sticker" as kind:
            name = _name_of(content, kept)
            yield f"[{'video' if kind == 'media' else kind}{name and f': {name}'}]"
        case kind:
            yield f"[{kind}]"


def _named(text: str, message: ChatMessage) -> str:
    """A text with names in place of what stands for them; the longest first, for @_user_1 begins @_user_12."""
    for mention in sorted(message.mentions, key=lambda each: -len(each.key)):
        text = text.replace(mention.key, f"@{mention.name.removeprefix('@')}")
    return text


def _at_named(text: str, message: ChatMessage) -> str:
    """A card's text with names in place of its `<at id=…></at>`, as far as the chat has these members."""
    names = {each: member.name for member in message.chat.members for each in member.ids().values() if each}
    return _AT.sub(lambda at: f"@{names.get(at[1], at[1])}", text)


def _post_lines(content: Mapping[str, object], kept: Mapping[str, StoredFile]) -> Iterator[str]:
    post: object = content if "content" in content else next(iter(content.values()), None)
    match post:
        case {"content": list(lines), **rest}:
            if rest.get("title"):
                yield str(rest["title"])
            for line in lines:
                if isinstance(line, list):
                    yield "".join(_element_text(element, kept) for element in line)


def _element_text(element: object, kept: Mapping[str, StoredFile]) -> str:
    match element:
        case {"tag": "img"}:
            return "[image]"
        case {"tag": "media", **media}:
            name = _name_of(media, kept)
            return f"[video{name and f': {name}'}]"
        case {"tag": "at", "user_id": user_id, **rest}:
            key = str(user_id)
            return key if key.startswith("@") else f"@{rest.get('user_name') or key}"
        case {"tag": "emotion", "emoji_type": emoji}:
            return f"[{emoji}]"
        case {"tag": "hr"}:
            return "---"
        case {"text": text}:
            return str(text)
    return ""


def _name_of(content: Mapping[Any, object], kept: Mapping[str, StoredFile]) -> str:
    file = kept.get(str(content.get("file_key")))
    return str(content.get("file_name") or (file.name if file else ""))
