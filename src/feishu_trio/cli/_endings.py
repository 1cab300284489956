"""How a command ends: the one place where exceptions become exit codes and a line for a person."""

from __future__ import annotations

from typing import Final

import attrs

from feishu_trio.errors import AuthenticationError, ConfigError, ConnectError, RefusedError, first_error

__all__ = ["Ending", "Failed", "Interrupted", "ending"]

# Which extra brings a module that is not there.
_EXTRAS: Final = {"typer": "cli", "rich": "cli", "h11": "gateway", "wsproto": "gateway"}


class Failed(Exception):
    """The command did not do what it is for; the message says why, and what to do."""


class Interrupted(Exception):
    """Somebody asked the command to stop: Ctrl-C, or SIGTERM."""


@attrs.frozen
class Ending:
    """An exit code, and what to say on stderr; empty for nothing."""

    code: int
    message: str = ""


def ending(error: BaseException) -> Ending | None:
    """How a command ends that raised `error`; None for what is no user's doing, and deserves its traceback."""
    if isinstance(error, BaseExceptionGroup):
        error = first_error(error) or error
    match error:
        case ModuleNotFoundError(name=str(module)) if module.split(".")[0] in _EXTRAS:
            extra = _EXTRAS[module.split(".")[0]]
            return Ending(2, f"{module} is not installed; say: pip install 'feishu-trio[{extra}]'")
        case Interrupted():
            return Ending(130)
        case Failed():
            return Ending(1, str(error))
        case ConfigError():
            return Ending(2, str(error))
        case AuthenticationError():
            return Ending(3, f"{error}; the app id, its secret and --domain must belong together")
        case RefusedError():
            return Ending(3, str(error))
        case ConnectError():
            return Ending(4, f"{error}; check the network, the proxy (HTTPS_PROXY) and --domain")
        case OSError():  # a disk that is full, a terminal that is gone: the world's doing
            return Ending(1, str(error))
        case SystemExit(code=int(code)):
            return Ending(code)
    return None
