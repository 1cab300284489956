"""A message as Markdown, of whatever kind it is: a pure conversion, for models, for logs, and to answer with.

What people write is shown as they wrote it: what Markdown (CommonMark, with `~~struck~~` text and tables) would take
for markup is escaped, and nothing else, so that `snake_case`, `2 * 3` and addresses stay what they are. The end of a
line stays one, as chats show it. What is Markdown already, in posts and in cards, is left alone. What is underlined is
in `<u>`; an image is `![image](key)`, a file `[name](key)`. A kind that Markdown has nothing for is a text in brackets,
such as `[location: West Lake (30.24, 120.14)]`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

from ._json import unfit
from ._markup import Run, escaped, fence, joined, link, style_of, without_block
from .content import (
    CLASSES,
    Audio,
    Content,
    File,
    Image,
    Interactive,
    Media,
    MergeForward,
    Post,
    PostElement,
    ShareChat,
    ShareUser,
    Sticker,
    Text,
    parse_content,
    with_names,
)

__all__ = ["markdown_of"]

_LONGEST: Final = 100  # characters of a type that is not known, and of a name in a system message
_MOST: Final = 20  # places for names in a system message, and names in one


def markdown_of(message_type: str, content: str, names: Mapping[str, str]) -> str:
    """The Markdown of a message's content; of a type that is not known, the type in brackets.

    `names` are those of the people mentioned, by what stands for them in the text: `{"@_user_1": "Tom"}`.

    Raises:
        EventDecodeError: the content of a known type is no JSON object, does not fit, or nests too deeply; the message
            names the path.
    """
    writer = _Writer(names)
    if message_type not in _KNOWN:
        writer.bracket(message_type[:_LONGEST] or "message")
        return writer.text()
    try:
        writer.content(message_type, parse_content(message_type, content))
    except RecursionError as error:
        raise unfit("a message's content", error, "event.message.content") from error
    return writer.text()


class _Writer:
    """Writes Markdown: runs, which make up lines, and blocks, which have lines of their own."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._runs: list[Run] = []  # of the line that is being written
        self._lines: list[str] = []
        self._in_paragraph = False

    def text(self) -> str:
        """All that was written."""
        self._end_runs()
        return "\n".join(self._lines).strip("\n")

    # Lines

    def write(self, text: str, style: Iterable[str] = ()) -> None:
        """Text as somebody wrote it."""
        kept = style_of(style)
        for number, line in enumerate(_LINE_END.split(with_names(text, self._names))):
            if number:
                self.end_line()
            if self._runs and self._runs[-1][1] == kept:
                self._runs[-1][0].append(line)  # one text, as each may be half of what is to be escaped
            elif line:
                self._runs.append(([line], kept))

    def link(self, text: str, target: str, style: Iterable[str] = (), *, mark: str = "") -> None:
        """A link or, with `mark="!"`, an image; a text if it leads nowhere."""
        if target:
            shown = " ".join(with_names(text, self._names).split())
            self._runs.append(([mark + link(shown, target, style_of(style))], None))
        else:
            self.write(text, style)

    def bracket(self, what: str, *facts: str) -> None:
        """What Markdown has nothing for."""
        told = " ".join(", ".join(filter(None, facts)).split())
        self.write(f"[{what}: {told}]" if told else f"[{what}]")

    def end_line(self) -> None:
        """The end of a line, also of an empty one."""
        line = joined(self._runs)
        self._runs = []
        self._lines.append(without_block(line, in_paragraph=self._in_paragraph))
        self._in_paragraph = bool(line.strip())

    def _end_runs(self) -> None:
        if self._runs:
            self.end_line()

    # Blocks

    def block(self, markdown: str) -> None:
        """Markdown in lines of its own."""
        self._end_runs()
        self._lines.append(markdown)
        self._in_paragraph = False

    def title(self, text: str) -> None:
        """A line in bold."""
        if text.strip():
            self._end_runs()
            self.write(" ".join(text.split()), ["bold"])
            self.block("")

    def rule(self) -> None:
        """A line across. Right below a text it would make a heading of it."""
        self._end_runs()
        if self._in_paragraph:
            self.block("")
        self.block("---")

    def code(self, text: str, language: str) -> None:
        """Lines of code."""
        marks = fence(text, 3)
        name = "" if language == "PLAIN_TEXT" else re.sub(r"[^\w+#.-]", "", language).lower()
        self.block("\n".join([marks + name, text.removesuffix("\n"), marks]))

    def markdown(self, text: str) -> None:
        """What is Markdown but for those who are mentioned."""
        self.block(with_names(_AT.sub(self._at, text), self._escaped_names))

    @cached_property
    def _escaped_names(self) -> dict[str, str]:
        return {key: escaped(name) for key, name in self._names.items()}

    @staticmethod
    def _at(match: re.Match[str]) -> str:
        key = _AT_ID.search(match[1])
        return "@" + escaped(match[2].strip() or (key[1] if key else ""))

    # Messages

    def content(self, message_type: str, content: Content) -> None:
        """A message of any known type."""
        match content:
            case Text(text):
                self.write(text)
            case Post(title, lines):
                self.title(title or "")
                for line in lines:
                    self.post_line(line)
            case Image(key):
                self.link("image", key, mark="!")
            case File(key, name):
                self.link(name or "file", key)
            case Audio(key):
                self.link("audio", key)
            case Media(key, file_name=name):
                self.link(name or "video", key)
            case Sticker(key):
                self.link("sticker", key)
            case ShareChat(key):
                self.bracket("chat", key)
            case ShareUser(key):
                self.bracket("contact", key)
            case MergeForward():
                self.bracket("forwarded messages")
            case Interactive(card):
                self.card(card)
                if not self.text():
                    self.bracket("card")
            case dict():
                what, facts = _IN_BRACKETS[message_type]
                self.bracket(what, *facts(content))

    def post_line(self, line: Iterable[PostElement]) -> None:
        """A line of a post; blocks within it have lines of their own."""
        before = len(self._lines)
        for element in line:
            self.element(element)
        if self._runs or len(self._lines) == before:
            self.end_line()

    def element(self, element: PostElement) -> None:
        """A piece of a line."""
        text, style = element.text or "", element.style or ()
        match element:
            case PostElement(tag="a", href=target):
                self.link(text or target or "", target or "", style)
            case PostElement(tag="at", user_id=key, user_name=name):
                self.write("@" + (self._names.get(key or "") or name or key or "").removeprefix("@"), style)
            case PostElement(tag="img", image_key=str(key)):
                self.link("image", key, mark="!")
            case PostElement(tag="media", file_key=str(key)):
                self.link("video", key)
            case PostElement(tag="emotion", emoji_type=str(emoji)):
                self.write(f"[{emoji}]")
            case PostElement(tag="code_block", language=language):
                self.code(text, language or "")
            case PostElement(tag="hr"):
                self.rule()
            case PostElement(tag="md"):
                self.markdown(text)
            case _:
                self.write(text, style)

    # Cards

    def card(self, node: Any) -> None:
        """The texts of a card: in either schema, or simplified to lines of elements."""
        match node:
            case str():
                self._end_runs()
                self.write(node)
                self._end_runs()
            case list():
                for inner in node:
                    if isinstance(inner, list):  # a line
                        self._end_runs()
                        self.card(inner)
                        self._end_runs()
                    else:
                        self.card(inner)
            case {"tag": "lark_md" | "markdown", "content": str(text)}:
                self.markdown(text)
            case {"tag": "button"}:
                self.write(" " if self._runs else "")
                self.link(f"[{_text_in(node.get('text'))}]", _text_in(node.get("url")))
            case {"tag": "img", "img_key": str(key)}:
                self._end_runs()
                self.link(_text_in(node.get("alt")) or "image", key, mark="!")
                self._end_runs()
            case {"tag": "table", "columns": list(columns), "rows": list(rows)}:
                self._row(each.get("display_name") for each in columns if isinstance(each, dict))
                for row in rows:
                    self._row(row.values() if isinstance(row, dict) else ())
            case {"tag": str(tag)} if tag in _ELEMENTS:
                self.element(_element(node))
            case dict():
                self.title(_text_in(node.get("title")))
                for key in _CARD_KEYS:
                    self.card(node.get(key))

    def _row(self, cells: Iterable[object]) -> None:
        self.card(" | ".join(filter(None, map(_text_in, cells))))


_LINE_END: Final = re.compile(r"\r\n?|\n")
_AT: Final = re.compile(r"<at\b([^<>]*)>([^<]*)</at>")
_AT_ID: Final = re.compile(r"""id\s*=\s*["']?([^"'\s]+)""")
# Where the texts of a card are, beside its titles, in the order in which they are read.
_CARD_KEYS: Final = (
    "header",
    "subtitle",
    "text",
    "content",
    "body",
    "elements",
    "columns",
    "fields",
    "actions",
    "extra",
)
# What the lines of a simplified card have in common with those of a post.
_ELEMENTS: Final = frozenset({"text", "a", "at", "img", "media", "emotion", "code_block", "hr", "md"})
_TEXTS: Final = tuple(name for name in PostElement.__struct_fields__ if name != "style")


def _element(node: dict[str, Any]) -> PostElement:
    texts = {name: node[name] for name in _TEXTS if isinstance(node.get(name), str)}
    style = node.get("style")
    return PostElement(
        **texts,
        style=tuple(each for each in style if isinstance(each, str)) if isinstance(style, list) else None,
    )


def _text_in(value: object) -> str:
    """The text, or the number, that something is or holds."""
    match value:
        case str(text) | {"content": str(text)} | {"text": str(text)}:
            return text
        case int() | float() if not isinstance(value, bool):
            return str(value)
    return ""


# Types that Markdown has nothing for: the facts about each.

_Fields = Mapping[str, Any]


def _location(content: _Fields) -> Iterator[str]:
    place = ", ".join(filter(None, (_text_in(content.get(name)) for name in ("latitude", "longitude"))))
    yield _text_in(content.get("name")) + (f" ({place})" if place else "")


def _calendar(content: _Fields) -> Iterator[str]:
    yield _text_in(content.get("summary"))
    yield " to ".join(filter(None, (_time(content.get(name)) for name in ("start_time", "end_time"))))


def _todo(content: _Fields) -> Iterator[str]:
    summary = content.get("summary")
    if isinstance(summary, dict):
        lines = summary.get("content")
        yield _text_in(summary.get("title"))
        for line in lines if isinstance(lines, list) else ():
            yield "".join(map(_text_in, line)) if isinstance(line, list) else ""
    else:
        yield _text_in(summary)
    due = _time(content.get("due_time"))
    yield f"due {due}" if due else ""


def _vote(content: _Fields) -> Iterator[str]:
    yield _text_in(content.get("topic"))
    options = content.get("options")
    yield " / ".join(filter(None, map(_text_in, options))) if isinstance(options, list) else ""


def _system(content: _Fields) -> Iterator[str]:
    def named(match: re.Match[str]) -> str:
        value = content.get(match[1])
        values = value[:_MOST] if isinstance(value, list) else [value]
        return ", ".join(filter(None, (_text_in(each)[:_LONGEST] for each in values)))

    yield re.sub(r"\{(\w+)\}", named, _text_in(content.get("template")), count=_MOST)


def _video_chat(content: _Fields) -> Iterator[str]:
    yield _text_in(content.get("topic"))
    yield _time(content.get("start_time"))


def _folder(content: _Fields) -> Iterator[str]:
    yield _text_in(content.get("file_name"))


def _hongbao(content: _Fields) -> Iterator[str]:
    yield ""


def _time(value: object) -> str:
    """A time in milliseconds since 1970; "" for what is none."""
    try:
        return f"{datetime.fromtimestamp(float(_text_in(value)) / 1000, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return ""


_IN_BRACKETS: Final[Mapping[str, tuple[str, Callable[[_Fields], Iterable[str]]]]] = {
    "location": ("location", _location),
    "calendar": ("calendar event", _calendar),
    "general_calendar": ("calendar event", _calendar),
    "share_calendar_event": ("calendar event", _calendar),
    "todo": ("task", _todo),
    "vote": ("vote", _vote),
    "hongbao": ("red packet", _hongbao),
    "system": ("system message", _system),
    "video_chat": ("video call", _video_chat),
    "folder": ("folder", _folder),
}
_KNOWN: Final = frozenset({"post", "interactive", "merge_forward", *CLASSES, *_IN_BRACKETS})
