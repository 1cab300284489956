"""What commands write: untrusted text made safe for a terminal, and numbers of things."""

from __future__ import annotations

import shutil
import textwrap
from typing import Final

__all__ = ["counted", "printable", "shortened", "wrapped"]

# No-break and ideographic space, and the joiner of the parts of an emoji.
_HARMLESS: Final = "\u00a0\u3000\u200d"


def printable(text: str, *, keep: str = "") -> str:
    """`text` with escapes for every character that moves the cursor, or colours, hides or reverses text."""
    if text.isprintable():
        return text
    return "".join(
        mark if mark.isprintable() or mark in _HARMLESS or mark in keep else repr(mark)[1:-1] for mark in text
    )


def shortened(text: str, length: int) -> str:
    """`text`, cut to `length` characters, the last of which then is an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def counted(count: int, noun: str) -> str:
    """So many of them: `1 event`, `2 events`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def wrapped(text: str) -> str:
    """`text` in lines as wide as the terminal, broken between words."""
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
