"""The page about commands: it has them all, and what it shows is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from feishu_trio import Event, Router, SQLiteInbox, open_feishu_session
from feishu_trio.cli._app import app
from feishu_trio.doctor import CHECKS
from feishu_trio.testing import Gateway
from session.rig import come_true, open_real_session

from .commands import environment, run
from .screens import PAGE, SCREENS, assert_shown
from .terminals import on_terminal


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


# What it shows


async def assert_command_shown(line: str, code: int, **env: Any) -> None:
    async with on_terminal(*shlex.split(line), env=environment(**env)) as terminal:
        assert await terminal.ends() == code
    assert_shown(line, terminal.sees())


async def test_its_screens_of_commands_that_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.toml").write_text("[feishu]\nheartbeat_interval = 20\n")
    app_settings: dict[str, Any] = {"FEISHU_APP_ID": "cli_a1b2c3d4e5f60718", "FEISHU_APP_SECRET": "s3cr3t"}
    await assert_command_shown("", 2)
    await assert_command_shown("listen --max-events 0", 2)
    await assert_command_shown("config --changed --config bot.toml --connections 2", 0, **app_settings)
    done = await run("config", "--json", env=environment(**app_settings))
    assert done.out.splitlines()[0] == SCREENS["config --json | head -1"].strip()


async def test_its_screens_of_an_inbox(
    feishu_gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    router = Router()

    @router.on("contact.user.created_v3", name="welcome")
    async def fail(event: Event[object]) -> None:
        raise ValueError("there is no such team")

    inbox = SQLiteInbox("bot.db", max_attempts=1)
    async with open_real_session(feishu_gateway, router=router, inbox=inbox) as session:
        await feishu_gateway.push("contact.user.created_v3", {})
        await come_true(lambda: session.stats().dead == 1)
    await assert_command_shown("inbox list --inbox sqlite:bot.db", 0)
    await assert_command_shown("inbox requeue --all --inbox sqlite:bot.db", 0)


async def test_its_screens_of_commands_that_run(
    feishu_gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bot.py").write_text("from feishu_trio import Router\nrouter = Router()\n")
    env = environment(feishu_gateway, NO_COLOR="")
    line = "run bot:router --inbox sqlite:bot.db"
    async with on_terminal(*shlex.split(line), env=env) as terminal:
        await terminal.waits_for("connected")
    assert_shown(line, terminal.sees())
    line, tom = "listen --type 'im.*'", feishu_gateway.user("Tom")
    async with on_terminal(*shlex.split(line), env=env) as terminal:
        await terminal.waits_for("connected |")
        await tom.says("hello")
        await tom.says("你好", chat="Team")
        await terminal.waits_for(lambda _: "| 2 events |" in terminal.last() and "p99" in terminal.last())
    assert_shown(line, terminal.sees())


async def test_its_screen_of_the_gateway() -> None:
    line, router = "gateway --port 9000", Router()

    @router.on("im.message.receive_v1")
    async def echo(event: Event[object]) -> None:
        await event.reply(event.text or "")

    async with on_terminal("gateway", env=environment(NO_COLOR="")) as terminal:
        await terminal.waits_for("you>")
        found = re.findall(r"export FEISHU_(\w+)=(\S+)", terminal.written.decode())
        settings: dict[str, Any] = {name.lower(): value for name, value in found}
        async with open_feishu_session(**settings, router=router):
            await terminal.waits_for("1 connected")
            await terminal.types("hello\rhow are")
            await terminal.waits_for(lambda seen: "answered" in seen and "how are" in seen)
            assert_shown(line, terminal.sees())
