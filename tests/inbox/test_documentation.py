"""The page about inboxes: its blocks run."""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from feishu_trio import (
    Event,
    Inbox,
    InboxFile,
    InboxRules,
    InboxState,
    MemoryInbox,
    RedisInbox,
    Router,
    by_chat,
)
from feishu_trio.testing import Gateway, open_gateway
from session.rig import come_true, open_session

from .test_contract import entry, serving

PAGE = Path(__file__).parents[2] / "docs" / "inbox.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(block: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[block], f"{PAGE.name}, block {block + 1}", "exec"), names)
    return names


def test_the_table_of_what_an_inbox_is_told() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    defaults = {field.name: field.default for field in attrs.fields(InboxRules)}
    told = [*defaults, "lease", "durability", "prefix"]
    assert {*told[-3:]} < {*inspect.signature(RedisInbox).parameters}
    assert list(rows)[: len(told)] == told
    for name in ("max_attempts", "retry_delay", "max_retry_delay"):
        assert float(rows[name]) == defaults[name]
    assert rows["order_by"] == f"`{by_chat.__name__}`"


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
    look = run(4)["look"]

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


async def test_a_bot_that_is_told_to_end_has_not_crashed(feishu_gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
import trio
{BLOCKS[3]}

@router.on("x.y")
async def think(event):
    print("begun", flush=True)
    await trio.sleep_forever()

main()
"""
    env = {
        "FEISHU_DOMAIN": feishu_gateway.domain,
        "FEISHU_APP_ID": feishu_gateway.app_id,
        "FEISHU_APP_SECRET": feishu_gateway.app_secret,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    program = program.replace('SQLiteInbox("bot.db")', 'SQLiteInbox("bot.db"), shutdown_timeout=0.1')
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            start = partial(
                trio.run_process,
                [sys.executable, "-c", program],
                env=env,
                cwd=tmp_path,
                stdout=subprocess.PIPE,
            )
            bot: trio.Process = await nursery.start(start)
            assert await feishu_gateway.connected.wait_value(1) == 1
            push = await feishu_gateway.push("x.y")
            assert (await push.settled()).code == 200
            file = InboxFile(tmp_path / "bot.db")
            await come_true(lambda: file.counts().running == 1)
            bot.send_signal(signal.SIGTERM)
    (event,) = file.list(InboxState.READY)
    assert (event.attempts, event.crashes) == (0, 0)


def test_the_block_about_workers() -> None:
    assert callable(run(2)["work"])


async def test_what_looks_into_an_inbox_visits_one_in_redis(
    redis_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    visited = RedisInbox(redis_url, prefix=prefix)
    async with serving(RedisInbox(redis_url, prefix=prefix, max_attempts=1)) as inbox:
        await inbox.store([entry("a")])
        inbox.die((await inbox.claim(1))[0], "no")
    monkeypatch.setattr("feishu_trio.RedisInbox", lambda url: visited, raising=False)
    await run(5)["visit"](run(4)["look"])
    assert "a x.y 1 no" in capsys.readouterr().out


def test_all_blocks_are_run() -> None:
    assert len(BLOCKS) == 6
