"""The page about inboxes: its blocks run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from feishu_trio import Event, Inbox, InboxState, MemoryInbox, Router
from feishu_trio.testing import open_gateway
from session.rig import open_session

PAGE = Path(__file__).parents[2] / "docs" / "inbox.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(block: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[block], f"{PAGE.name}, block {block + 1}", "exec"), names)
    return names


async def test_the_bot_that_thinks_is_answered_at_once(
    autojump_clock: MockClock,
) -> None:
    router = run(0)["router"]
    inbox = MemoryInbox()
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        push = await gateway.push("im.message.receive_v1", {"message": {"message_id": "om_1"}})
        assert (await push.settled()).latency < 0.1
        await trio.sleep(61)
        assert (await inbox.counts()).done == 1


async def test_dead_letters_are_told_looked_at_and_requeued(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    router: Router = run(1)["router"]
    look = run(2)["look"]

    @router.on("x.y", name="bad")
    async def bad(event: Event[Any]) -> None:
        raise ValueError("no")

    inbox: Inbox = MemoryInbox(max_attempts=1)
    async with open_gateway(seed=1) as gateway, open_session(gateway, router=router, inbox=inbox):
        push = await gateway.push("x.y")
        await push.settled()
        await trio.sleep(1)
        assert capsys.readouterr().out == f"x.y {push.event_id} was given up: bad: ValueError: no\n"
        await look(inbox)
        assert f"{push.event_id} x.y 1 bad: ValueError: no" in capsys.readouterr().out
        await trio.sleep(1)
        assert len(await inbox.list(InboxState.DEAD)) == 1, "it was tried again"


def test_all_blocks_are_run() -> None:
    assert len(BLOCKS) == 3
