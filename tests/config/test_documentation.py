"""`docs/configuration.md` is held together with the settings; what it shows is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from feishu_trio.config import SessionConfig, dotnet
from feishu_trio.config.rules import rules_of

from .refusals import write

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """The rows of the table below a heading, but for the table's own head."""
    below = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in below.splitlines() if line.startswith("|")][2:]


def names(options: list[str]) -> str:
    return ", ".join(f"`{option}`" for option in options)


def row(a: attrs.Attribute[Any]) -> str:
    default = getattr(SessionConfig(), a.name)
    shown = dict(default) if isinstance(default, Mapping) else default
    options = [option for option, (setting, _) in dotnet.OPTIONS.items() if setting == a.name]
    options += [option for option, (setting, _) in dotnet.SWITCHES.items() if setting == a.name]
    text = f"`{a.name}` | `{shown}` | {a.metadata['about']} | {rules_of(SessionConfig)[a.name].described}"
    return f"| {text} | {names(options)} |"


def test_the_table_of_settings_is_that_of_session_config() -> None:
    assert rows("All settings") == [row(a) for a in attrs.fields(SessionConfig) if a.init]


def test_the_table_of_switches_is_what_is_read() -> None:
    expected = [f"| `{name}` | `{setting}={off!r}` |" for name, (setting, off) in dotnet.SWITCHES.items()]
    assert rows("Switches of the .NET client") == expected


def test_the_table_of_options_without_effect_is_what_is_logged() -> None:
    reasons: dict[str, list[str]] = {}
    for option, why in dotnet.NO_EFFECT.items():
        reasons.setdefault(why, []).append(option)
    expected = [f"| {names(options)} | {why} |" for why, options in reasons.items()]
    assert rows("Options without effect") == expected


def test_what_the_page_shows_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, appsettings = re.findall(r"^```(?:toml|json)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    write(tmp_path / "bot.toml", toml)
    write(tmp_path / "appsettings.json", appsettings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEISHU_CONNECTIONS", "3")
    monkeypatch.setenv("Feishu__WebSocket__HeartbeatIntervalMs", "15000")
    shown: dict[str, Any] = {}
    exec(code, shown)
    configs = [value for value in shown.values() if isinstance(value, SessionConfig)]
    assert len(configs) == 4
    assert {config.connections for config in configs} == {1, 2, 3}
    assert {config.heartbeat_interval for config in configs} == {15, 20, 25}
