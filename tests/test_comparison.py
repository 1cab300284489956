"""docs/comparison.md: its lines are counted, and the bots of both libraries that the gateway can serve do what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trio
from benchmarks.bots.lines import BOTS, LIBRARIES, lines, lines_of
from benchmarks.bots.trials import LIBRARIES as RUN_HERE
from benchmarks.bots.trials import trial

PAGE = (Path(__file__).parents[1] / "docs" / "comparison.md").read_text(encoding="utf-8")

libraries = pytest.mark.parametrize("library", RUN_HERE)


def test_lines_are_those_of_the_programs() -> None:
    rows = re.findall(r"^\| \[?(\w+)\b.*?lines \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert {bot.lower(): tuple(map(int, counts)) for bot, *counts in rows} == {
        bot: tuple(lines(library, bot) for library in LIBRARIES) for bot in BOTS
    }


def test_what_counts_as_a_line() -> None:
    source = '"""A text\n\nof three lines."""\n\nimport a\nfrom b import (\n    c,\n)\n\nx = [\n    # why\n    c,\n]  # here\n'
    assert lines_of(source) == 3


@libraries
async def test_echo(library: str) -> None:
    async with trial(library, "echo") as bot:
        await bot.tom.says("hello")
        await bot.tom.waits_for("Bot: **You said:** hello", timeout=10)
        assert not bot.gateway.refused


@libraries
async def test_answer(library: str) -> None:
    async with trial(library, "answer") as bot:
        await bot.tom.says("not to you", chat="Team")
        await bot.tom.says("one two", mentions=bot.gateway.bot, chat="Team")
        await bot.tom.waits_for("(streaming)", chat="Team", timeout=10)
        seen = await bot.tom.waits_for(
            lambda seen: "You asked: one two" in seen and "(streaming)" not in seen, chat="Team", timeout=10
        )
        assert "You asked: not" not in seen
        assert not bot.gateway.refused


@libraries
async def test_approve(library: str) -> None:
    async with trial(library, "approve") as bot:
        said = await bot.tom.says("deploy", mentions=bot.gateway.bot, chat="Team")
        await bot.tom.waits_for("[Yes]", chat="Team", timeout=10)
        await bot.gateway.user("Ann").clicks("Yes", chat="Team")
        await trio.sleep(0.5)
        assert "Deploying" not in bot.tom.sees("Team")
        await bot.tom.clicks("Yes", chat="Team")
        await bot.tom.waits_for("Deploying", chat="Team", timeout=10)
        assert "[Yes]" not in bot.tom.sees("Team")
        assert (await said.push.settled()).code == 200
        assert not bot.gateway.refused


@libraries
async def test_gather(library: str) -> None:
    async with trial(library, "gather") as bot:
        for text in ("one", "two", "three"):
            await bot.tom.says(text)
            await trio.sleep(0.1)
        await bot.tom.waits_for("Bot: You said: one / two / three", timeout=10)
        assert len(bot.gateway.messages) == 1
