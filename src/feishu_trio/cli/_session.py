"""The options of commands that connect to Feishu, and the session that they open."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import Annotated, Any, Final

import trio
import typer

from feishu_trio import ConfigError, ConnectError, Router, Session, SessionConfig, open_feishu_session

from ._values import whole

__all__ = [
    "AppId",
    "AppSecret",
    "Config",
    "Connections",
    "Domain",
    "Json",
    "open_session",
    "settings",
    "settings_with_app",
]

# Seconds until the command reports that it cannot connect.
_OPEN_TIMEOUT: Final = 8.0

_PANEL: Final = "Connection"

AppId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="The app's id, cli_…; else FEISHU_APP_ID.", rich_help_panel=_PANEL),
]
AppSecret = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET",
        help="The app's secret; better given in the environment, as FEISHU_APP_SECRET.",
        rich_help_panel=_PANEL,
    ),
]
Domain = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Else FEISHU_DOMAIN, else https://open.feishu.cn; https://open.larksuite.com for Lark.",
        rich_help_panel=_PANEL,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE:SECTION",
        help="Settings from a .toml or .json file, or a section of it; the environment and options win.",
        rich_help_panel=_PANEL,
    ),
]
Connections = Annotated[
    int | None,
    typer.Option(
        parser=whole(1, 50), metavar="N", help="Connections to open, 1 to 50.", rich_help_panel=_PANEL
    ),
]


Json = Annotated[bool, typer.Option("--json", help="JSON, also on a terminal.")]


def settings(config: str | None, **given: str | int | None) -> SessionConfig:
    """The settings in force: those `given`, over those of the environment, over those of the file.

    Raises `ConfigError`.
    """
    base = None
    if config is not None:
        # Sections contain colons, and so do paths on Windows.
        match = re.fullmatch(r"(.+?\.(?:toml|json))(?::(.+))?", config, re.IGNORECASE)
        base = SessionConfig.from_file(*(match.groups() if match else (config,)))
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    merged = SessionConfig.from_env(base=base)
    for name, value in chosen.items():
        try:
            merged = merged.evolve(**{name: value})
        except ConfigError as error:
            raise ConfigError(f"--{name.replace('_', '-')}: {error}") from None
    return merged


def settings_with_app(config: str | None, **given: str | int | None) -> SessionConfig:
    """The settings in force, with the app's credentials.

    Raises `ConfigError`, also where there are none.
    """
    chosen = settings(config, **given)
    if not chosen.app_id:
        raise ConfigError("there is no app id: give --app-id, or set FEISHU_APP_ID")
    if not chosen.app_secret and chosen.client_assertion is None:
        raise ConfigError("there is no app secret: set FEISHU_APP_SECRET, or give --app-secret")
    return chosen


@asynccontextmanager
async def open_session(
    config: SessionConfig, router: Router, *, within: float = inf
) -> AsyncGenerator[Session, None]:
    """Open a session within eight seconds, or so many, or raise `ConnectError`; once open, it reconnects as configured."""
    within = min(within, _OPEN_TIMEOUT)
    with trio.CancelScope(deadline=trio.current_time() + within) as opening:
        async with open_feishu_session(config=config, router=router) as session:
            opening.deadline = inf
            yield session
    if opening.cancelled_caught:
        raise ConnectError(f"{config.domain}: no connection within {within:g} s")
