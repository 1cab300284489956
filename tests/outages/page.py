"""The page, and what is seen of each state, to be held against each other."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from .rig import Scene, open_scene
from .states import STATES

PAGE: Final = Path(__file__).parents[2] / "docs" / "when-it-goes-wrong.md"
_AT_A_TIME: Final = 6  # states: they wait most of the time

_BLOCK: Final = re.compile(r"^```\n(.*?)\n```$", re.DOTALL | re.MULTILINE)


async def look_at(headings: Iterable[str]) -> Mapping[str, Scene]:
    """Bring about these states, in the working directory, and see what is to be seen."""
    shutil.copy(Path(__file__).with_name("bot.py"), "bot.py")
    found = dict[str, Scene]()
    limit = trio.CapacityLimiter(_AT_A_TIME)

    async def look(heading: str) -> None:
        async with limit, open_scene() as scene:
            await STATES[heading](scene)
            found[heading] = scene

    async with trio.open_nursery() as nursery:
        for heading in headings:
            nursery.start_soon(look, heading)
    return found


def blocks(page: str) -> dict[str, list[str]]:
    """The blocks of each section that has any."""
    sections = (section.partition("\n") for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:])
    return {heading: found for heading, _, text in sections if (found := _BLOCK.findall(text))}


def with_blocks(page: str, seen: Mapping[str, Scene]) -> str:
    """The page with what was seen in the place of its blocks; those of a section are as many as were seen."""
    for heading, scene in seen.items():
        before, mark, after = page.partition(f"## {heading}\n")
        section, next_mark, rest = after.partition("\n## ")
        section = _BLOCK.sub(partial(_fresh, iter(scene.blocks)), section)
        page = before + mark + section + next_mark + rest
    return page


def _fresh(seen: Iterator[str], _shown: re.Match[str]) -> str:
    return f"```\n{next(seen)}\n```"


def normal(block: str) -> str:
    """With what differs from run to run, and the breaks of lines that it moves, put into one form."""
    for pattern, form in (
        (r"\n {16}(?!→)", " "),
        (r" +", " "),
        (r"\b\d\d:\d\d:\d\d\b", "TIME"),
        (r"\b20\d\d-\d\d-\d\d\b", "DATE"),
        (r"127\.0\.0\.1(:|', )\d+", r"127.0.0.1\1PORT"),
        (r"\bport \d+", "port PORT"),
        (r"\S*/bot\.py", "bot.py"),
        (r"(feishu_events_received_total\{.*\}) \d+\.0", r"\1 N"),
        (r"(?<![\d.])\d+\.\d*[1-9]\d*(e\+09)?(?![\d.])", "N"),
        (r"\b[0-9a-f]{32}\b|\b\d{15,}\b|\bo[uc]_[0-9a-f]+\b", "ID"),
        (r"\b(N|\d+(\.\d)?) m?s\b", "N s"),
    ):
        block = re.sub(pattern, form, block)
    return block
