"""The package's log records on stderr, a line each."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from ._text import printable

__all__ = ["Verbose", "log_to_stderr"]

Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, show_default=False, help="Log more; twice for everything."),
]

_STYLES: Final = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}


class _Lines(logging.Handler):
    """Writes records as lines; coloured on a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = Text(
            f"{at}  {printable(self.format(record), keep=chr(10))}", _STYLES.get(record.levelno, "dim")
        )
        self._console.print(line, soft_wrap=True)


def log_to_stderr(verbose: int, *, quiet: bool = False) -> None:
    """Show connects, disconnects, where probes are answered, and warnings; with `verbose` 1 also information, with 2 everything.

    `quiet` is for commands that show events themselves: only errors, unless `verbose`.
    """
    package = logging.getLogger("feishu_trio")
    package.addHandler(_Lines())
    package.propagate = False
    if verbose:
        package.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    elif quiet:
        package.setLevel(logging.ERROR)
    else:
        package.setLevel(logging.WARNING)
        for name in ("connection", "probes"):
            package.getChild(name).setLevel(logging.INFO)
