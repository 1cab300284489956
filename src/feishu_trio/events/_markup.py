"""Text as Markdown that shows it as it is (CommonMark, with struck text and tables), and what marks do to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["Run", "Style", "escaped", "fence", "joined", "link", "style_of", "without_block"]

Style = frozenset[str]
Run = tuple[list[str], Style | None]
"""Pieces of text of one style, or Markdown, which has None."""

_MARKS: Final = {"italic": "*", "bold": "**"}
_STRUCK: Final = "lineThrough"
_UNDERLINED: Final = "underline"
_CODE: Final = "codeInline"
_MARKUP: Final = re.compile(
    r"""
      \\(?=[!-/:-@\[-`{-~]|https?:|\Z) # before what it would escape
    | `
    | (?<!\s)\* | \*(?!\s)             # but for one with spaces around it
    | (?<![^\W_])_ | _(?![^\W_])       # but for one within a word
    | ~(?=~|\Z) | (?<=\S)~             # of two, and one that may close a struck text
    | \](?=[(:])                       # of a link, and of what a link refers to
    | <(?=[A-Za-z/!?])                 # of a tag
    | &(?=\#?\w{1,31};)                # of an entity
    """,
    re.VERBOSE,
)
_IN_TEXT: Final = re.compile(rf"https?://[!-;=?-~]+|{_MARKUP.pattern}", re.VERBOSE)
_IN_LABEL: Final = re.compile(rf"[\[\]]|{_MARKUP.pattern}", re.VERBOSE)
# What a line begins with that is more than a line: a heading, an item of a list, a quotation.
_BLOCK: Final = re.compile(r"(?:#{1,6}|[-+*]|\d{1,9}(?P<item>[.)]))(?!\S)|>")
# All that is in a rule, in what makes a heading of the line above, and below the head of a table.
_RULE: Final = frozenset("-=|: \t")
_NO_SPACE: Final = "\u00a0"


def style_of(names: Iterable[str]) -> Style:
    """The style with these names, as far as Markdown can show it: code is neither bold nor italic."""
    style = frozenset(names)
    return style & ({_CODE, _STRUCK, _UNDERLINED} if _CODE in style else {*_MARKS, _STRUCK, _UNDERLINED})


def escaped(text: str, pattern: re.Pattern[str] = _IN_TEXT) -> str:
    """A text within a line, with a backslash before what Markdown would take for markup."""
    return pattern.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    found: str = match[0]
    if len(found) == 1:
        return f"\\{found}"
    return f"<{found}>" if _MARKUP.search(found) else found  # an address, which is not to change


def joined(runs: Sequence[Run]) -> str:
    """A line of runs."""
    texts = ["".join(pieces) for pieces, _ in runs]
    written: list[str] = []
    for before, text, after, (_, style) in zip(["", *texts], texts, [*texts[1:], ""], runs, strict=False):
        if style is not None:
            written.append(_styled(text, style, _IN_TEXT, before[-1:], after[:1]))
            continue
        if text.startswith("[") and written and written[-1].endswith("!"):
            written[-1] = written[-1][:-1] + r"\!"  # that would be an image
        written.append(text)
    return "".join(written)


def _styled(text: str, style: Style, pattern: re.Pattern[str], before: str = "", after: str = "") -> str:
    """Text between its marks. Markdown takes none next to a space, nor between a letter and punctuation."""
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    is_outside = style <= _MARKS.keys() or style == {_STRUCK}  # its marks, and no tags or backticks
    if is_outside and start == 0 and before.isalnum():
        start = next((place for place, each in enumerate(text) if each.isalnum()), end)
    if is_outside and end == len(text) and after.isalnum():
        end = next((place for place in range(end, start, -1) if text[place - 1].isalnum()), start)
    if not style or start >= end:
        return escaped(text, pattern)
    return (
        escaped(text[:start], pattern)
        + _marked(text[start:end], style, pattern)
        + escaped(text[end:], pattern)
    )


def _marked(text: str, style: Style, pattern: re.Pattern[str]) -> str:
    if _CODE in style:
        marked = _code(text)
    else:
        marked = escaped(text, pattern)
        for name, mark in _MARKS.items():
            if name in style:
                marked = f"{mark}{marked}{mark}"
    if _STRUCK in style and style <= {_STRUCK, _UNDERLINED}:
        marked = "~~" + re.sub("^~", r"\\~", marked) + "~~"
    elif _STRUCK in style:
        marked = f"<s>{marked}</s>"  # only a tag may stand between a letter and another mark
    return f"<u>{marked}</u>" if _UNDERLINED in style else marked


def _code(text: str) -> str:
    marks = fence(text, 1)
    return f"{marks} {text} {marks}" if "`" in (text[0], text[-1]) else f"{marks}{text}{marks}"


def fence(text: str, least: int) -> str:
    """Backticks, at least so many, and more than there are in the text one after the other."""
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


def link(text: str, target: str, style: Style) -> str:
    """A link; its text is one line."""
    target = re.sub(r"&(?=#?\w{1,31};)", "&amp;", target)
    if re.search(r"[\s()<>\\\x00-\x1f\x7f]", target):
        target = "<" + re.sub(r"[<>\\\x00-\x1f\x7f]", _percent, target) + ">"
    return f"[{_styled(text, style, _IN_LABEL)}]({target})"


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def without_block(line: str, *, in_paragraph: bool) -> str:
    """A line of Markdown that is nothing but a line; `in_paragraph` if the one above it is no blank one, nor a block."""
    bare = line.lstrip(" \t")
    indent = line[: len(line) - len(bare)]
    if not in_paragraph and ("\t" in indent or len(indent) > 3):  # that would be code
        indent = _NO_SPACE * len(indent.expandtabs(4))
    at = len(bare)
    block = _BLOCK.match(bare)
    if block:
        at = max(block.start("item"), 0)
    elif bare[:1] in _RULE and _RULE.issuperset(bare):
        at = next((place for place, each in enumerate(bare) if each in "-="), at)
    return indent + (f"{bare[:at]}\\{bare[at:]}" if at < len(bare) else bare)
