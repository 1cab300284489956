"""The page about running a bot, and the first bot of the README: its programs run."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

import pytest

from feishu_trio.testing import Gateway

from .commands import environment, running

ROOT = Path(__file__).parents[2]
PAGE, README = ROOT / "docs" / "running.md", ROOT / "README.md"


def blocks(page: Path) -> list[str]:
    """The programs of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("page", "which"), [(PAGE, signal.SIGTERM), (README, signal.SIGINT)], ids=["running", "readme"]
)
async def test_the_first_bot(
    feishu_gateway: Gateway, tmp_path: Path, page: Path, which: signal.Signals
) -> None:
    bot = tmp_path / "bot.py"
    code = blocks(page)[0].replace("cli_...", feishu_gateway.app_id)
    bot.write_text(code.replace('"secret"', f'"{feishu_gateway.app_secret}"'), encoding="utf-8")
    async with running(env=environment(feishu_gateway), command=[sys.executable, str(bot)]) as program:
        await feishu_gateway.wait_connected()
        tom = feishu_gateway.user("Tom")
        await tom.says("hello")
        await tom.waits_for("Bot: hello")
        program.process.send_signal(which)
        done = await program.done()
    assert done.code == 0
    assert "Traceback" not in done.err


def test_the_worker() -> None:
    names: dict[str, object] = {}
    exec(compile(blocks(PAGE)[1], PAGE.name, "exec"), names)
    assert callable(names["work"])
