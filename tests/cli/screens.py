"""What docs/commands.md shows of a terminal, to be held against what a terminal shows."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")

SCREENS = {
    line: text
    for block in PAGE.split("```")[1::2]
    for line, text in re.findall(r"^\$ feishu-trio ?(.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
}


def normal(text: str) -> str:
    """With what differs from run to run, and the spaces that it moves, put into one form."""
    for pattern, name in (
        (r"20\d\d-\d\d-\d\d", "DATE"),
        (r"\d\d:\d\d:\d\d", "TIME"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\b[0-9a-f]{32}\b|\b\d{15,}\b", "ID"),
        (r"\b(o[uc])_[0-9a-f]{10}…", r"\1_ID…"),
        (r"\d+\.\d+ m?s\b", "N s"),
        (r"\d+\.\d/s", "N/s"),
        (r"last \d+ s", "last N s"),
        (r" +", " "),
        (r" +$", ""),
    ):
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text.strip()


def assert_shown(line: str, seen: str) -> None:
    """That a terminal shows what the page shows for this command; a line with an ellipsis alone is any lines."""
    shown = f"{normal(SCREENS[line])}\n".split("\n …\n")
    pattern = r"\n(?:.*\n)*".join(map(re.escape, shown))
    assert re.fullmatch(pattern, f"{normal(seen)}\n"), f"{line}:\n{normal(seen)}"
