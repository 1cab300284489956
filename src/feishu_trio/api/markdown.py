"""Markdown as Feishu takes it: posts, or cards where there are tables; as many as a long text needs.

    markdown_messages("**Hello**") == [("post", '{"zh_cn":{"content":[[{"tag":"md","text":"**Hello**"}]]}}')]

Sources: the documentation of messages' content (`md` in a post) and of cards' rich text (JSON 2.0), and what Feishu's own
command line and bots make of markdown: posts show headings from the fourth level on, and cards have few tables.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import groupby
from json import dumps
from typing import Any, Final, Literal, NamedTuple

__all__ = ["card_texts", "markdown_messages"]

# Bytes of a content, as it stands in a request. Feishu takes 30 kB, with all that is around it.
_MOST: Final = 29_000
# Feishu's cards have room for 3 to 5 tables, by experience.
_TABLES: Final = 3


class _Block(NamedTuple):
    """A part of a text that should stay in one piece."""

    kind: Literal["text", "code", "table"]
    head: str
    """What opens a code block, or the first two lines of a table."""
    lines: list[str]
    tail: str
    """What closes a code block."""

    @property
    def text(self) -> str:
        return "".join((self.head, *self.lines, self.tail))


def markdown_messages(text: str, most: int = _MOST) -> list[tuple[str, str]]:
    """The messages that a text becomes, each its `msg_type` and its content; none of a blank text.

    A content has `most` bytes at most where it stands in a request, as a string of JSON that holds JSON.
    """
    blocks = list(_adapted(_blocks(text.replace("\r\n", "\n").replace("\r", "\n"))))
    if any(block.kind == "table" for block in blocks):
        element = _bytes_of(_json(_markdown_element(""))) + 1
        parts = _packed(blocks, most - _bytes_of(_card([])), element)
        return [("interactive", _card(part)) for part in parts]
    parts = _packed(blocks, most - _bytes_of(_post([])), 0)
    return [("post", _post(part)) for part in parts]


def card_texts(text: str, most: int = _MOST) -> list[str]:
    """The texts of the cards that a growing text becomes, one element each; none of a blank text.

    As it grows, only the last of them changes, but for a paragraph that moves to the next card as a whole. While a code
    block is open at the end it stays so, as what is shown is to grow, too.
    """
    blocks = [_without_images(block) for block in _blocks(text.replace("\r\n", "\n").replace("\r", "\n"))]
    parts = list(_packed(blocks, most - _bytes_of(_card([])), _bytes_of(_json(_markdown_element(""))) + 1))
    if not parts:
        return []
    last = parts[-1][-1]
    if last.kind == "code" and not text.rstrip().endswith(last.tail.strip()):
        parts[-1][-1] = last._replace(tail="")
    return [_joined(part) for part in parts]


# --- what there is in a text --------------------------------------------------------------------------------

# A fence, behind what may stand before it: indentation, and the marks of quotes and list items.
_FENCE: Final = re.compile(
    r"(?P<before>(?:[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t])*)(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)"
)
_HEADING: Final = re.compile(r" {0,3}(#{1,6})(?=\s)")
_DELIMITER: Final = re.compile(r"\s*:?-+:?\s*")


def _blocks(text: str) -> Iterator[_Block]:
    lines = _lines(text)
    paragraph: list[str] = []
    at = 0
    while at < len(lines):
        end, block = _code(lines, at) or _table(lines, at) or (at + 1, None)
        # A heading stays with what is below it.
        is_next = (
            paragraph
            and _is_blank(paragraph[-1])
            and not _is_blank(lines[at])
            and not _is_headings(paragraph)
        )
        if paragraph and (block or is_next):
            yield _Block("text", "", paragraph, "")
            paragraph = []
        if block:
            yield block
        else:
            paragraph.append(lines[at])
        at = end
    if paragraph:
        yield _Block("text", "", paragraph, "")


def _lines(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _is_blank(line: str) -> bool:
    return not line.strip()


def _is_headings(lines: list[str]) -> bool:
    return all(_is_blank(line) or _HEADING.match(line) for line in lines)


def _code(lines: list[str], at: int) -> tuple[int, _Block] | None:
    """The code block that begins at a line, and where it ends; one that the text does not close is closed."""
    opening = _FENCE.match(lines[at].rstrip("\n"))
    if opening is None:
        return None
    fence, is_quoted = opening["fence"], ">" in opening["before"]
    for end in range(at + 1, len(lines)):
        bare = lines[end].strip(" \t>\n")
        if len(bare) >= len(fence) and set(bare) == {fence[0]}:
            return end + 1, _Block("code", lines[at], lines[at + 1 : end], lines[end])
        if is_quoted and not lines[end].lstrip().startswith(">"):
            break  # the quote's end is the code's, too
    else:
        end = len(lines)
    body = [_ended(line) for line in lines[at + 1 : end]]
    return end, _Block("code", _ended(lines[at]), body, f"{_below(opening['before'])}{fence}\n")


def _table(lines: list[str], at: int) -> tuple[int, _Block] | None:
    """The table that begins at a line, and where it ends."""
    if at + 1 == len(lines) or "|" not in lines[at] or "|" not in lines[at + 1]:
        return None
    delimiters = _cells(lines[at + 1])
    if not all(map(_DELIMITER.fullmatch, delimiters)) or len(_cells(lines[at])) != len(delimiters):
        return None
    end = at + 2
    while end < len(lines) and "|" in lines[end] and not _FENCE.match(lines[end].rstrip("\n")):
        end += 1
    return end, _Block("table", _ended("".join(lines[at : at + 2])), lines[at + 2 : end], "")


def _cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.strip(" \t>\n").removeprefix("|").removesuffix("|"))


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"


def _below(before: str) -> str:
    """What stands before the lines below one that begins with this: no list has another item there."""
    return re.sub(r"[^>\s]", " ", before)


# --- what Feishu shows otherwise ----------------------------------------------------------------------------

_CODE_OR_IMAGE: Final = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|!\[(?P<alt>[^\[\]]*)\]\(\s*<?(?P<at>(?:[^()\s<>]|\([^()\s]*\))*)>?(?:\s[^()]*)?\)"
)


def _adapted(blocks: Iterable[_Block]) -> Iterator[_Block]:
    """Blocks with headings and images that Feishu shows; code is left as it is."""
    blocks = list(blocks)
    levels = [
        len(match[1])
        for block in blocks
        if block.kind == "text"
        for line in block.lines
        if (match := _HEADING.match(line))
    ]
    is_high = min(levels, default=6) < 4
    for block in blocks:
        shown = _without_images(block)
        if is_high and block.kind == "text":
            shown = shown._replace(lines=[_HEADING.sub(_lowered, line) for line in shown.lines])
        yield shown


def _without_images(block: _Block) -> _Block:
    """A block without the images that Feishu does not show; code is left as it is."""
    if block.kind == "code":
        return block
    lines = [_CODE_OR_IMAGE.sub(_shown, line) for line in block.lines]
    return block._replace(head=_CODE_OR_IMAGE.sub(_shown, block.head), lines=lines)


def _lowered(heading: re.Match[str]) -> str:
    """A title has the fourth level, and what is below it the fifth: Feishu shows none above, and few below."""
    return "####" if len(heading[1]) == 1 else "#####"


def _shown(found: re.Match[str]) -> str:
    if found["code"] or found["at"].startswith("img_"):
        return found[0]
    alt, at = found["alt"], found["at"]
    return f"[{alt or at}]({at})" if at.startswith(("http://", "https://")) else alt


# --- what fits into a message -------------------------------------------------------------------------------


def _packed(blocks: Iterable[_Block], most: int, element: int) -> Iterator[list[_Block]]:
    """Blocks of one message each, divided where they must be; an element of a card takes so many bytes of its own."""
    part: list[_Block] = []
    left, tables = most, 0
    for block in _pieces(blocks, most - element):
        is_table = block.kind == "table"
        size = _size(block.text)
        own = element if not part or is_table or part[-1].kind == "table" else 0
        if part and (size + own > left or tables + is_table > _TABLES):
            yield part
            part, left, tables, own = [], most, 0, element
        if not part and not block.text.strip():
            continue  # no message begins with blank lines, and none is of nothing else
        part.append(block)
        left -= size + own
        tables += is_table
    if part:
        yield part


def _pieces(blocks: Iterable[_Block], most: int) -> Iterator[_Block]:
    """Blocks that fit, each of them."""
    for block in blocks:
        if _size(block.text) <= most:
            yield block
            continue
        room = most - _size(block.head) - _size(block.tail) - _size("\n\n")
        if room < most // 2:
            block = _Block("text", "", [*_lines(block.head), *block.lines, block.tail], "")
            room = most
        head, opening = block.head, _FENCE.match(block.head)
        for lines in _groups(block.lines, room):
            if block.kind == "code":
                lines[-1] = _ended(lines[-1])
            yield _Block(block.kind, head, lines, block.tail and _ended(block.tail))
            if opening:
                head = f"{_below(opening['before'])}{head[opening.end('before') :]}"


def _groups(lines: Iterable[str], most: int) -> Iterator[list[str]]:
    """Lines that fit together, and pieces of a line that does not fit alone."""
    group: list[str] = []
    left = most
    for line in lines:
        for piece in _cut(line, most):
            size = _size(piece)
            if group and size > left:
                yield group
                group, left = [], most
            group.append(piece)
            left -= size
    if group:
        yield group


def _cut(line: str, most: int) -> Iterator[str]:
    """A line in pieces that fit: after a space in their second half, or else anywhere."""
    while _size(line) > most:
        start = line[:most]  # a character has one byte, at the least
        end = bisect_right(range(1, len(start) + 1), most, key=lambda count: _size(start[:count]))
        space = line.rfind(" ", end // 2, end)
        end = end if space < 0 else space + 1
        yield line[:end]
        line = line[end:]
    yield line


def _size(text: str) -> int:
    """The bytes of a text where it stands in a request: in a string of JSON that holds JSON."""
    return _bytes_of(dumps(text, ensure_ascii=False)[1:-1])


def _bytes_of(content: str) -> int:
    """The bytes of JSON where it stands in a string of JSON."""
    return len(dumps(content, ensure_ascii=False).encode()) - 2


# --- the messages -------------------------------------------------------------------------------------------


def _post(blocks: list[_Block]) -> str:
    return _json({"zh_cn": {"content": [[{"tag": "md", "text": _joined(blocks)}]]}})


def _card(blocks: list[_Block]) -> str:
    """A card with an element for each table, and one for what stands between two of them."""
    elements = []
    for is_table, group in groupby(blocks, lambda block: block.kind == "table"):
        inside = list(group)
        texts = [_joined([block]) for block in inside] if is_table else [_joined(inside)]
        elements += [_markdown_element(text) for text in texts if text.strip()]
    return _json({"schema": "2.0", "body": {"elements": elements}})


def _markdown_element(text: str) -> dict[str, Any]:
    return {"tag": "markdown", "content": text}


def _joined(blocks: Iterable[_Block]) -> str:
    return "".join(block.text for block in blocks).strip("\n")


def _json(value: object) -> str:
    return dumps(value, ensure_ascii=False, separators=(",", ":"))
