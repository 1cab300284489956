"""A router by its name, and an inbox by its URL."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import unquote

import attrs
import typer

from feishu_trio import ConfigError, Inbox, InboxRules, Router, SQLiteInbox, by_chat, by_sender, by_thread
from feishu_trio.prepare import loading

from ._endings import Failed, is_of_extra
from ._values import whole

if TYPE_CHECKING:
    from feishu_trio import RedisInbox

__all__ = [
    "INBOX_VARIABLE",
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

INBOX_VARIABLE: Final = "FEISHU_INBOX"
"""Where the URL of an inbox may stand, too: whoever may see what runs on a machine sees the passwords in its arguments."""

URLS: Final = "sqlite:PATH, such as sqlite:bot.db, or redis://HOST"

_ORDERS: Final = {"by_chat": by_chat, "by_thread": by_thread, "by_sender": by_sender, "none": None}


def _order(text: str) -> object:
    if text not in _ORDERS:
        raise ConfigError(f"order_by: {text!r} is not allowed; it must be one of {', '.join(_ORDERS)}")
    return _ORDERS[text]


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text  # for the inbox to refuse


# What may stand behind the `?` of an inbox's URL, and how it is read; the inbox checks it.
_RULES: Final[dict[str, Callable[[str], object]]] = {
    rule.name: cast(Any, rule.validator).read for rule in attrs.fields(InboxRules)
} | {"order_by": _order}
_OF_REDIS: Final[dict[str, Callable[[str], object]]] = {"lease": _number, "durability": str}
_OF_SERVERS: Final = ("prefix", "sentinel_user", "sentinel_password")  # `RedisInbox` reads these in the URL

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
        envvar=INBOX_VARIABLE,
        metavar="URL",
        help="`sqlite:PATH` or `redis://HOST`: where events are stored before they are answered; else FEISHU_INBOX. Options "
        "stand behind it: `?max_attempts=3&window=600`.",
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
        Failed: The module, or the function, raised; the message has the traceback of what is the user's.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ConfigError(
            f"{name!r} names no router; it must be MODULE:ROUTER, such as bot:router for bot.py"
        )
    meant = module_name.removesuffix(".py").lstrip("./").replace("/", ".")
    hint = f"; did you mean {meant}:{attribute}?" if meant != module_name else ""
    if module_name.startswith(".") or "/" in module_name:
        raise ConfigError(f"{name!r} names no router; it must be MODULE:ROUTER, and no path{hint}")
    sys.path.insert(0, os.getcwd())  # as `python -m` has it
    with _loading(name):
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise  # the module is there, and lacks another
            raise ConfigError(
                f"there is no module {error.name}; it is looked for in {os.getcwd()} and where Python looks{hint}"
            ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{name}: {module_name} has no {attribute}{_routers_of(found, module_name)}")
        found = getattr(found, part)
    if found is Router:
        raise ConfigError(
            f"{name}: it is the class itself, and must be a Router that has the handlers; did you mean {module_name}:router?"
        )
    if not isinstance(found, Router) and callable(found):
        with _loading(name):
            found = found()
    if not isinstance(found, Router):
        raise ConfigError(
            f"{name}: it is a {type(found).__name__}, and must be a Router, or a function that makes one"
        )
    return found


def _routers_of(found: object, module_name: str) -> str:
    """The routers that a module has, as the end of an error; empty if it has none."""
    if not isinstance(found, ModuleType):
        return ""
    names = [f"{module_name}:{name}" for name, value in vars(found).items() if isinstance(value, Router)]
    return f"; did you mean {' or '.join(names)}?" if names else ""


# Frames that are no part of the user's program.
_NOT_THEIRS: Final = ("<", f"{Path(__file__).parents[1]}{os.sep}", importlib.__file__)


@contextmanager
def _loading(name: str) -> Iterator[None]:
    """Has an error of the user's module say where in it that is, and nothing of what led there."""
    token = loading.set(True)
    try:
        yield
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and is_of_extra(error):
            raise
        shown = traceback.TracebackException.from_exception(error)
        theirs = [frame for frame in shown.stack if not frame.filename.startswith(_NOT_THEIRS)]
        if isinstance(error, ConfigError):
            place = f"{theirs[-1].filename}, line {theirs[-1].lineno}: " if theirs else ""
            raise ConfigError(f"{name}: {place}{error}") from None
        rest = itertools.dropwhile(lambda frame: frame not in theirs, shown.stack)
        shown.stack = traceback.StackSummary.from_list(
            [frame for frame in rest if not frame.filename.startswith("<frozen importlib")]
        )
        raise Failed(f"{name} cannot be loaded\n{''.join(shown.format()).rstrip()}") from None
    finally:
        loading.reset(token)


def inbox_of(url: str) -> Inbox:
    """The inbox of a URL.

    Raises:
        ConfigError: It is the URL of none.
    """
    if path := sqlite_path(url):
        with _at_inbox(url):
            return SQLiteInbox(path, **_read(url, _RULES)[1])
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

    with _at_inbox(url):
        url, options = _read(url, _RULES | _OF_REDIS, _OF_SERVERS)
        return RedisInbox(url, **options)


def sqlite_path(url: str) -> str:
    """The path in `sqlite:PATH` or `sqlite://PATH`, without options; empty in another URL."""
    kind, _, path = url.partition("?")[0].partition(":")
    return path.removeprefix("//") if kind == "sqlite" else ""


@contextmanager
def _at_inbox(url: str) -> Iterator[None]:
    place = _place_of(url)
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def _place_of(url: str) -> str:
    """Where the URL of an inbox stands: in the environment, or else behind the option."""
    return INBOX_VARIABLE if os.environ.get(INBOX_VARIABLE) == url else "--inbox"


def _read(
    url: str, known: Mapping[str, Callable[[str], object]], others: tuple[str, ...] = ()
) -> tuple[str, dict[str, Any]]:
    """A URL without the options behind it, but for the `others`, and these by name.

    Raises:
        ConfigError: There is no such option.
    """
    place, _, query = url.partition("?")
    if not query or (others and "@" in query):  # the mark is in a password: the URL is refused as a whole
        return url, {}
    left: list[str] = []
    options: dict[str, Any] = {}
    for each in query.split("&"):
        name, _, text = each.partition("=")
        if name in options or any(before.startswith(f"{name}=") for before in left):
            raise ConfigError(f"option: {name} stands twice in the URL; give it once")
        if name in others:
            left.append(each)
        elif name in known:
            options[name] = known[name](unquote(text))
        else:
            may_be_secret = any("password=" in before for before in left)
            shown = "one that is not shown, as it may be part of a password," if may_be_secret else repr(name)
            raise ConfigError(
                f"option: {shown} is not allowed; it must be one of {', '.join((*known, *others))}"
            )
    return "?".join(filter(None, (place, "&".join(left)))), options


def wrong_url(url: str, allowed: str) -> ConfigError:
    """The error for the URL of no inbox."""
    return ConfigError(f"{_place_of(url)}: {shown_url(url)!r} is not allowed; it must be {allowed}")


def shown_url(url: str) -> str:
    """A URL without the user and the passwords that may stand in it."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(?<=:)(//)?.*@", r"\1***@", url, flags=re.DOTALL))
