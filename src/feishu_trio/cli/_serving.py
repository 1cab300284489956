"""A router by its name, and an inbox by its URL."""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from feishu_trio import ConfigError, Inbox, Router, SQLiteInbox

from ._values import whole

if TYPE_CHECKING:
    from feishu_trio import RedisInbox

__all__ = [
    "URLS",
    "InboxUrl",
    "MetricsHost",
    "MetricsPort",
    "RouterName",
    "inbox_of",
    "redis_inbox",
    "router_of",
    "shown_url",
    "sqlite_path",
    "wrong_url",
]

URLS: Final = "sqlite:PATH, such as sqlite:bot.db, or redis://HOST"

RouterName = Annotated[
    str,
    typer.Argument(
        metavar="MODULE:ROUTER", help="Where the handlers are: `bot:router` is `router` in bot.py."
    ),
]
InboxUrl = Annotated[
    str | None,
    typer.Option(
        "--inbox",
        metavar="URL",
        help="`sqlite:PATH` or `redis://HOST`: where events are stored before they are answered.",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        parser=whole(0, 65535),
        metavar="N",
        show_default=False,
        help="Answer `/metrics`, `/healthz` and `/readyz` at this port; 0 for any, which the log names.",
    ),
]
MetricsHost = Annotated[str, typer.Option("--metrics-host", metavar="ADDRESS", help="The address for that.")]


def router_of(name: str) -> Router:
    """The router that a module has, or a function in it makes.

    Raises:
        ConfigError: There is none.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(
            f"{name!r} names no router; it must be MODULE:ROUTER, such as bot:router for bot.py"
        )
    sys.path.insert(0, os.getcwd())  # as `python -m` has it
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks another
        raise ConfigError(
            f"{name}: there is no module {error.name}; it is looked for in {os.getcwd()} and where Python looks"
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{name}: {module_name} has no {attribute}")
        found = getattr(found, part)
    if not isinstance(found, Router) and callable(found):
        found = found()
    if not isinstance(found, Router):
        raise ConfigError(
            f"{name}: it is a {type(found).__name__}, and must be a Router, or a function that makes one"
        )
    return found


def inbox_of(url: str) -> Inbox:
    """The inbox of a URL.

    Raises:
        ConfigError: It is the URL of none.
    """
    if path := sqlite_path(url):
        return SQLiteInbox(path)
    inbox = redis_inbox(url)
    if inbox is None:
        raise wrong_url(url, URLS)
    return inbox


def redis_inbox(url: str) -> RedisInbox | None:
    """The inbox of a URL such as `redis://HOST`; None for another one.

    Raises:
        ConfigError: Something in it is wrong.
    """
    if url.partition(":")[0] not in ("redis", "rediss", "redis+sentinel", "rediss+sentinel"):
        return None
    from feishu_trio import RedisInbox  # here, as it needs an extra of its own

    try:
        return RedisInbox(url)
    except ConfigError as error:
        raise ConfigError(f"--inbox: {error}") from None


def sqlite_path(url: str) -> str:
    """The path in `sqlite:PATH` or `sqlite://PATH`; empty in another URL."""
    kind, _, path = url.partition(":")
    return path.removeprefix("//") if kind == "sqlite" else ""


def wrong_url(url: str, allowed: str) -> ConfigError:
    """The error for the URL of no inbox."""
    return ConfigError(f"--inbox: {shown_url(url)!r} is not allowed; it must be {allowed}")


def shown_url(url: str) -> str:
    """A URL without the user and the passwords that may stand in it."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(?<=:)(//)?.*@", r"\1***@", url, flags=re.DOTALL))
