"""The page about bots: its blocks run, and do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from feishu_trio import Router
from feishu_trio.testing import Gateway
from session.rig import open_session

PAGE = Path(__file__).parents[2] / "docs" / "bots.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
HEAD = BLOCKS[0].split("@router")[0]


def router_of(block: int) -> Router:
    """The router of one block, with what the blocks before it import and define, but not their handlers."""
    names: dict[str, Any] = {}
    imports = [line for each in BLOCKS for line in each.split("\n") if re.match(r"(from|import) ", line)]
    exec("\n".join(imports) + "\nrouter = Router()\n", names)
    exec(compile(BLOCKS[block].removeprefix(HEAD), f"{PAGE.name}, block {block + 1}", "exec"), names)
    router = names["router"]
    assert isinstance(router, Router)
    return router


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (0, ["A text", "A card"]),
        (2, ["You asked: hello"]),
        (3, ["hello / world"]),
        (4, ["Let me see …"]),
        (7, ["Stopped."]),
    ],
)
async def test_it_answers(autojump_clock: object, gateway: Gateway, block: int, wanted: list[str]) -> None:
    tom = gateway.user("Tom")
    async with open_session(gateway, router=router_of(block)):
        await tom.says("/stop" if block == 7 else "hello")
        await tom.says("world")
        for text in wanted:
            await tom.waits_for(text)


async def test_it_asks(autojump_clock: object, gateway: Gateway) -> None:
    tom = gateway.user("Tom")
    async with open_session(gateway, router=router_of(5)):
        await tom.says("deploy")
        await tom.waits_for("[Yes]")
        await tom.clicks("Yes")
        await tom.waits_for("Deploying")


async def test_it_gives_back_pictures_and_files(autojump_clock: object, gateway: Gateway) -> None:
    tom = gateway.user("Tom")
    async with open_session(gateway, router=router_of(1)):
        await tom.sends_image()
        await tom.waits_for("Bot: [image]")
        await tom.sends_file(b"abc", "a.txt")
        await tom.waits_for("Bot: [file: a.txt]")


async def test_it_asks_with_a_form(autojump_clock: object, gateway: Gateway) -> None:
    tom = gateway.user("Tom")
    async with open_session(gateway, router=router_of(6)):
        await tom.says("leave")
        await tom.waits_for("[Send]")
        await tom.clicks("Send", fill={"reason": "flu"})
        await tom.waits_for("Noted: flu")
        assert "**Send**" in tom.sees()


async def test_no_block_is_left_out() -> None:
    await trio.lowlevel.checkpoint()
    assert len(BLOCKS) == 8
