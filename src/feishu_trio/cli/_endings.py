"""How a command ends: the one place where exceptions become exit codes and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import trio

from feishu_trio import (
    AuthenticationError,
    ConfigError,
    ConnectError,
    InboxError,
    InboxUnreachable,
    RefusedError,
)

__all__ = ["Ending", "Failed", "Interrupted", "ending", "is_of_extra"]

# The extra that installs a module.
_EXTRAS: Final = {
    "typer": "cli",
    "rich": "cli",
    "coredis": "redis",
    "prometheus_client": "metrics",
    "opentelemetry": "otel",
}


class Failed(Exception):
    """The command failed; the message states the reason, and what to do."""


class Interrupted(Exception):
    """The command was stopped by this signal: SIGINT (Ctrl-C), or SIGTERM."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


@attrs.frozen
class Ending:
    """An exit code, and the message for stderr; empty for none."""

    code: int
    message: str = ""


def ending(error: BaseException) -> Ending | None:
    """How a command ends that raised `error`; None for a bug, whose traceback is to be shown."""
    causes = [cause for cause in _causes(error) if not isinstance(cause, trio.Cancelled)]
    # The first one; an exit or an interrupt before any other.
    error = min(causes, key=lambda cause: isinstance(cause, Exception), default=error)
    match error:
        case ModuleNotFoundError(name=str(module)) if is_of_extra(error):
            extra = _EXTRAS[module.split(".")[0]]
            return Ending(2, f"{module} is not installed; say: pip install 'feishu-trio[{extra}]'")
        case Interrupted(signum=signum):
            return Ending(128 + signum)
        case InboxUnreachable():
            return Ending(4, str(error))
        case Exception() if hasattr(error, "format_message"):  # typer's, for a wrong use
            from ._help import misuse  # here, as it needs typer

            return Ending(2, misuse(error))
        case Failed() | InboxError():
            return Ending(1, str(error))
        case ConfigError():
            return Ending(2, str(error))
        case AuthenticationError():
            return Ending(3, f"{error}; the app id, its secret and --domain must belong together")
        case RefusedError():
            return Ending(3, str(error))
        case ConnectError():
            return Ending(4, f"{error}; check the network, the proxy (HTTPS_PROXY) and --domain")
        case OSError():  # such as a full disk or a closed terminal: no bug
            return Ending(1, str(error))
        case SystemExit(code=int(code)):
            return Ending(code)
    return None


def is_of_extra(error: ModuleNotFoundError) -> bool:
    """Whether what is missing comes with one of this package's extras."""
    return (error.name or "").split(".")[0] in _EXTRAS


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions in a group of groups; `error` itself if it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    else:
        yield error
