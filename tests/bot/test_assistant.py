"""The example of an assistant: as a process, and killed in the middle."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

import trio

from cli.commands import environment
from feishu_trio.testing import Gateway

EXAMPLE = Path(__file__).parents[2] / "examples" / "assistant.py"
LINES = "one two three four five six seven eight nine ten"


@asynccontextmanager
async def assistant(gateway: Gateway, folder: Path) -> AsyncGenerator[trio.Process, None]:
    """The example at work, in a folder of its own."""
    async with trio.open_nursery() as nursery:
        command = [sys.executable, str(EXAMPLE)]
        run = partial(
            trio.run_process, command, env=environment(gateway), cwd=folder, check=False, stderr=DEVNULL
        )
        process: trio.Process = await nursery.start(run)
        try:
            with trio.fail_after(20):
                await gateway.wait_connected()
            yield process
        finally:
            process.kill()


async def test_it_answers_asks_and_stops(feishu_gateway: Gateway, tmp_path: Path) -> None:
    tom = feishu_gateway.user("Tom")
    async with assistant(feishu_gateway, tmp_path):
        await tom.says("not for it", chat="Team")
        await tom.says("hello", mentions=feishu_gateway.bot, chat="Team")
        await tom.waits_for("You said: hello", chat="Team", timeout=10)
        await tom.says("delete all")
        await tom.waits_for("[No]", timeout=10)
        await tom.clicks("Yes")
        await tom.waits_for("You said: delete all", timeout=10)
        await tom.says(LINES)
        await tom.waits_for("You said: one two", timeout=10)
        await tom.says("/stop")
        await tom.waits_for("Stopped.", timeout=10)
        seen = await tom.waits_for("interrupted", timeout=10)
    assert f"You said: {LINES}" not in seen
    assert "You said: not" not in tom.sees("Team")


async def test_killed_in_the_middle_it_finishes_in_the_same_card(
    feishu_gateway: Gateway, tmp_path: Path
) -> None:
    tom = feishu_gateway.user("Tom")
    async with assistant(feishu_gateway, tmp_path) as process:
        await tom.says(LINES)
        await tom.waits_for("You said: one two", timeout=10)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await feishu_gateway.wait_connected(0)
    assert f"You said: {LINES}" not in tom.sees()
    async with assistant(feishu_gateway, tmp_path):
        await tom.waits_for(lambda seen: f"You said: {LINES}" in seen and "stream" not in seen, timeout=20)
        await trio.sleep(1)
    assert tom.sees().count("You said") == 1
    assert len(feishu_gateway.messages) == 1
