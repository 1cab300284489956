"""The page about running a bot: its programs run."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path

from feishu_trio.testing import Gateway

from .commands import environment, running

PAGE = Path(__file__).parents[2] / "docs" / "running.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


async def test_the_first_bot(feishu_gateway: Gateway, tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text(BLOCKS[0], encoding="utf-8")
    async with running(env=environment(feishu_gateway), command=[sys.executable, str(bot)]) as program:
        await feishu_gateway.wait_connected()
        tom = feishu_gateway.user("Tom")
        await tom.says("hello")
        await tom.waits_for("Bot: hello")
        program.process.send_signal(signal.SIGTERM)
        assert (await program.done()).code == 0


def test_the_worker() -> None:
    names: dict[str, object] = {}
    exec(compile(BLOCKS[1], PAGE.name, "exec"), names)
    assert callable(names["work"])
