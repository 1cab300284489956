"""The log on stderr: the package's records as lines, or that of a service, as text or JSON."""

from __future__ import annotations

import enum
import logging
import time
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from feishu_trio.logs import JsonFormatter, set_levels, told

from ._text import printable
from ._values import names, one_of

__all__ = ["Format", "LogFormat", "Verbose", "log_of_service", "log_to_stderr"]


class Format(enum.StrEnum):
    """How the log of a service looks."""

    TEXT = "text"
    JSON = "json"


Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, show_default=False, help="Log more; twice for everything."),
]
LogFormat = Annotated[
    Format,
    typer.Option(
        "--log-format",
        parser=one_of(Format),
        metavar="FORMAT",
        autocompletion=names(Format),
        help="How the log on stderr is written: `text`, in lines, or `json`, one object a line.",
    ),
]

_STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class _Lines(logging.Handler):
    """Writes records as lines; coloured on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = Text(f"{at}  {printable(told(record), keep=chr(10))}", _STYLES.get(record.levelno, "dim"))
        self._console.print(line, soft_wrap=not self._console.is_terminal)


def log_to_stderr(verbose: int, *, quiet: bool = False) -> None:
    """Show what connections, sessions and workers do, where probes are answered, and warnings; with `verbose` 1 also information, with 2 everything.

    `quiet` is for commands that show events themselves: only errors, unless `verbose`.
    """
    package = logging.getLogger("feishu_trio")
    package.addHandler(_Lines())
    package.propagate = False
    set_levels(verbose)
    if quiet and not verbose:
        package.setLevel(logging.ERROR)
        for name in ("connection", "session"):
            package.getChild(name).setLevel(logging.NOTSET)


def log_of_service(verbose: int, log_format: Format) -> None:
    """The same for all loggers, the bot's own among them."""
    handler: logging.Handler = _Lines()
    if log_format is Format.JSON:
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    set_levels(verbose)
