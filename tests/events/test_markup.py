"""What people write looks the same as Markdown: held to by a renderer, markdown-it, as the property."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from feishu_trio.events import decode_event

from .payloads import message

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKUP = st.text(alphabet="*_~`[]()<>!#&;:|=-+.\\/\"' \t\n1ab中，", max_size=40)
SAFE = ["a", "b1", "中文", "snake_case", "https://x.y/_z_", "    ", "\t", "\n", "\n\n", " "]
MARKS = [
    "&amp;",
    "&#35;",
    "<b>",
    "<!--",
    "](",
    "![",
    "1.",
    "- ",
    "# ",
    "**",
    "__",
    "~~",
    "```",
    "---",
    "===",
    "\\",
]
WORDS = st.sampled_from([*SAFE, *MARKS, "> ", "| a | b |", "|---|---|"])
TEXTS = MARKUP | st.lists(WORDS, max_size=12).map("".join)


def text_of(tokens: list[Token]) -> str:
    """What a reader sees of inline tokens that are text, or a bare address; anything else is markup."""
    seen = ""
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            seen += "\n"
        elif token.type in ("text", "text_special"):
            seen += token.content
        else:
            assert token.type in ("link_open", "link_close")
            assert token.info == "auto", token
    return seen


def shown(markdown: str) -> list[str]:
    """The lines that a reader sees, without space around them; nothing but paragraphs may be there."""
    lines: list[str] = []
    for token in RENDERER.parse(markdown):
        assert token.type in ("paragraph_open", "inline", "paragraph_close"), token
        lines += text_of(token.children or []).split("\n")
    return bare(lines)


def bare(lines: list[str]) -> list[str]:
    return [stripped for line in lines if (stripped := line.strip())]


def markdown_of(text: str) -> str:
    return decode_event(message("text", {"text": text})).markdown


@settings(max_examples=500, deadline=None)
@given(TEXTS)
@example("a\n===\nb\n---\n")
@example("| a | b |\n|---|:-:|\n| 1 | 2 |")
@example("    code\n\n\tcode")
@example("[a]: https://x.y\n\n[a]")
@example("a\r# b\r\n# c")
def test_a_text_looks_as_it_was_written(text: str) -> None:
    assert shown(markdown_of(text)) == bare(re.split(r"\r\n?|\n", text))


STYLES = st.lists(st.sampled_from(["bold", "italic", "underline", "lineThrough", "codeInline"]), max_size=2)
PIECES = st.tuples(TEXTS.map(lambda text: text.replace("\n", " ")), st.booleans(), STYLES)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=5))
def test_a_line_of_a_post_looks_as_it_was_written(pieces: list[tuple[str, bool, list[str]]]) -> None:
    link = {"tag": "a", "href": "https://x.y/(z) &amp;"}
    line = [
        (link if linked and text.strip() else {"tag": "text"}) | {"text": text, "style": style}
        for text, linked, style in pieces
    ]
    markdown = decode_event(message("post", {"content": [line]})).markdown
    seen = ""
    for token in RENDERER.parse(markdown):
        assert token.type in ("paragraph_open", "inline", "paragraph_close"), token
        for inline in token.children or []:
            if inline.type == "html_inline":
                assert inline.content in ("<u>", "</u>", "<s>", "</s>")
            else:
                seen += inline.content
            if inline.type == "link_open":
                assert inline.info == "auto" or inline.attrs["href"] == "https://x.y/(z)%20&amp;"
    assert "".join(seen.split()) == "".join("".join(text.split()) for text, *_ in pieces)
