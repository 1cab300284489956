"""`feishu-trio config`, and that every command lays option over environment over file."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from feishu_trio import SessionConfig

from .commands import environment, run
from .terminals import shown

FILE = """
[feishu]
app_id = "cli_of_the_file"
app_secret = "s3cr3t-of-the-file"
domain = "http://127.0.0.1:1"
proxy = "http://me:s3cr3t@proxy.example:3128"
connections = 2
concurrency = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "bot.toml"
    path.write_text(FILE)
    return str(path)


async def test_a_pipe_gets_each_setting_and_where_it_came_from(file: str) -> None:
    env = environment(FEISHU_CONNECTIONS="4", FEISHU_CONCURRENCY="5")
    done = await run("config", "--config", file, "--connections", "6", env=env)
    assert (done.code, done.err) == (0, "")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["setting"] for line in lines] == [a.name for a in attrs.fields(SessionConfig) if a.init]
    found = {line["setting"]: (line["value"], line["origin"], line["place"]) for line in lines}
    assert found["app_id"] == ("cli_of_the_file", "file", f"{file}: feishu:app_id")
    assert found["connections"] == (6, "option", "--connections")
    assert found["concurrency"] == (5, "environment", "FEISHU_CONCURRENCY")
    assert found["queue_capacity"] == (1000, "default", "")
    assert "s3cr3t" not in done.out


async def test_only_those_that_differ(file: str) -> None:
    done = await run("config", "--config", f"{file}:feishu", "--changed", "--json")
    names = [json.loads(line)["setting"] for line in done.out.splitlines()]
    assert names == ["app_id", "app_secret", "domain", "concurrency", "connections", "proxy"]


async def test_a_terminal_gets_a_table_within_its_width(file: str) -> None:
    domain = f"https://{'long.' * 30}example"
    _, found = await shown(
        "config", "--changed", "--config", file, "--domain", domain, env=environment(TERM="dumb")
    )
    words = [line.split() for line in found.splitlines()]
    assert ["app_secret", "***"] in [line[:2] for line in words]
    assert "s3cr3t" not in found


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["config", "--connections", "51"], "connections: 51 is not allowed"),
        (["config"], "FEISHU_CONCURRENCY: concurrency: 'many' is not allowed"),
        (["listen", "--timeout", "0"], "FEISHU_CONCURRENCY: concurrency: 'many' is not allowed"),
        (["run", "bot:router"], "FEISHU_CONCURRENCY: concurrency: 'many' is not allowed"),
        (
            ["worker", "bot:router", "--inbox", "sqlite:bot.db"],
            "FEISHU_CONCURRENCY: concurrency: 'many' is not allowed",
        ),
    ],
)
async def test_a_wrong_value_is_2_whichever_the_command(file: str, command: list[str], words: str) -> None:
    env = environment(FEISHU_CONCURRENCY="many") if "51" not in command else environment()
    done = await run(*command, "--config", file, env=env)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err
