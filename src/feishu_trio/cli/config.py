"""`feishu-trio config`: the settings in force, and where each came from."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feishu_trio import Setting, SettingOrigin

from ._log import Verbose, log_to_stderr
from ._session import AppId, AppSecret, Config, Connections, Domain, Json, settings
from ._text import printable

__all__ = ["config"]

_NARROW: Final = 64  # columns; below, a setting has three lines


def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are not the default.")] = False,
    as_json: Json = False,
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    connections: Connections = None,
    verbose: Verbose = 0,
) -> None:
    """Show the settings in force, and where each came from: readable on a terminal, one JSON object a line when piped.

    Options win over the environment, and that over the file. No secret is shown.
    """
    log_to_stderr(verbose)
    chosen = settings(config, app_id=app_id, app_secret=app_secret, domain=domain, connections=connections)
    shown = [each for each in chosen.in_force() if not (changed and each.is_default)]
    if as_json or not sys.stdout.isatty():
        for setting in shown:
            print(json.dumps(_fields(setting), ensure_ascii=False))
        return
    console = Console(highlight=False)
    if not shown:
        console.print("all settings are the default")
    elif console.width < _NARROW:
        for setting in shown:
            console.print(Text(setting.name, _style(setting)))
            told = Text(f"{_value(setting)}\n{_place(setting)}", _style(setting))
            console.print(Padding(told, (0, 0, 0, 2)))
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        table.add_column(overflow="fold")
        for setting in shown:
            table.add_row(setting.name, Text(_value(setting)), Text(_place(setting)), style=_style(setting))
        console.print(table)


def _style(setting: Setting) -> str:
    return "dim" if setting.origin is SettingOrigin.DEFAULT else ""


def _fields(setting: Setting) -> dict[str, object]:
    given = setting.origin is SettingOrigin.GIVEN
    return {
        "setting": setting.name,
        "value": setting.value,
        "is_default": setting.is_default,
        "origin": "option" if given else setting.origin,
        "place": _option(setting) if given else setting.place,
    }


def _value(setting: Setting) -> str:
    value = setting.value
    return printable(json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value))


def _place(setting: Setting) -> str:
    match setting.origin:
        case SettingOrigin.DEFAULT:
            return "default"
        case SettingOrigin.GIVEN:
            return _option(setting)
    return printable(setting.place)


def _option(setting: Setting) -> str:
    return f"--{setting.name.replace('_', '-')}"
