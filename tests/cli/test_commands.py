"""The page about commands: it has them all, and what it shows is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from feishu_trio.cli._app import app
from feishu_trio.doctor import CHECKS
from feishu_trio.testing import Gateway

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_it_has_all_commands() -> None:
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback]
    groups = [str(group.name) for group in app.registered_groups]
    assert set(re.findall(r"^\| \[`(\w+)`\]\(#", PAGE, re.MULTILINE)) == {*commands, *groups}
    sections = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE)).split()
    assert {*commands, *groups} == set(sections) - {"and"}


def test_it_has_all_checks_of_the_doctor() -> None:
    doctor = section("doctor")
    assert tuple(re.findall(r"^\| `(\w+)` \|", doctor, re.MULTILINE)) == CHECKS
    assert tuple(re.findall(r"^[✓!✗?-] (\w+)  ", doctor, re.MULTILINE)) == CHECKS
    assert max(map(len, doctor.split("```")[1].splitlines())) <= 80


async def test_its_program(feishu_gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, "commands.md", "exec"), names)
    monkeypatch.setenv("FEISHU_DOMAIN", feishu_gateway.domain)
    monkeypatch.setenv("FEISHU_APP_ID", feishu_gateway.app_id)
    monkeypatch.setenv("FEISHU_APP_SECRET", feishu_gateway.app_secret)
    assert await names["failures"]() == []
    feishu_gateway.refuse_handshake(403)
    (failure,) = await names["failures"]()
    assert failure.startswith("handshake: Feishu refused the connection with code 403")
