"""Completion, as the shells ask for it."""

from __future__ import annotations

import re
import shutil

import pytest
import trio

from .commands import environment, run


async def complete(shell: str, line: str) -> set[str]:
    """What a shell is told for a line that is being typed."""
    words = line.split(" ")
    env = environment(
        _FEISHU_TRIO_COMPLETE=f"complete_{shell}",
        COMP_WORDS=line,
        COMP_CWORD=str(len(words) - 1),
        _TYPER_COMPLETE_ARGS=line,
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    done = await run(env=env)
    assert (done.code, done.err) == (0, "")
    return set(re.findall(r'^(?:_arguments.*\(\()?"?([^\s"]+)', done.out, re.MULTILINE))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("feishu-trio li", {"listen"}),
        ("feishu-trio inbox p", {"purge"}),
        ("feishu-trio listen --type im.message.rec", {"im.message.recalled_v1", "im.message.receive_v1"}),
        ("feishu-trio gateway --event card", {"card.action.trigger"}),
        ("feishu-trio inbox list --state r", {"ready", "running"}),
        ("feishu-trio inbox purge --state d", {"dead", "done"}),
        ("feishu-trio listen --out", {"--output-dir"}),
        ("feishu-trio worker --log-format j", {"json"}),
    ],
)
async def test_a_shell_is_told_what_may_come(line: str, words: set[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert await complete(shell, line) == words


async def test_the_script_of_each_shell() -> None:
    for shell, word in (
        ("bash", "complete -o"),
        ("zsh", "#compdef feishu-trio"),
        ("fish", "complete --command"),
    ):
        done = await run(env=environment(_FEISHU_TRIO_COMPLETE=f"source_{shell}"))
        assert (done.code, done.err) == (0, "")
        assert word in done.out
        if shutil.which(shell):  # and it is one that the shell can read
            checked = await trio.run_process([shell, "-n"], stdin=done.out.encode(), check=False)
            assert checked.returncode == 0
