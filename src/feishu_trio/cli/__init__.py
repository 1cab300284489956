"""The command line, `feishu-trio`. Nothing imports it; typer and rich come with the extra `cli`.

The command line is a user of the package: its modules import public names from `feishu_trio`, `feishu_trio.events`,
`feishu_trio.doctor`, `feishu_trio.logs` and `feishu_trio.testing` by absolute imports, and each other by relative ones.
The one exception is `feishu_trio.prepare.loading`, by which `run` knows that a command imports the module it is called in.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import NoReturn

from feishu_trio.logs import JsonFormatter

from ._endings import Ending, ending
from ._interrupt import end_at_signals
from ._text import wrapped

__all__ = ["main"]

logger = logging.getLogger("feishu_trio.cli")


def main() -> None:
    """Run the command that `sys.argv` names; always ends in SystemExit.

    Exit codes: 0 done, 1 failed, 2 usage, 3 refused by Feishu, 4 unreachable, 130 after SIGINT, 143 after SIGTERM; of
    `run` and `worker` 0 after a signal, 130 or 143 after a second one.
    """
    end_at_signals()
    if sys.stdout is None:
        sys.exit("feishu-trio: stdout is closed")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a name that stdout cannot encode must not end a command
    try:
        from ._app import app

        sys.exit(app(prog_name="feishu-trio", standalone_mode=False) or 0)
    except (Exception, BaseExceptionGroup) as error:
        end = ending(error)
        if any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers):
            _log_end(end, error)
        if end is None:
            raise
        if end.message:
            message = f"feishu-trio: {end.message}"
            print(wrapped(message) if sys.stderr.isatty() else message, file=sys.stderr)
        sys.exit(end.code)


def _log_end(end: Ending | None, error: BaseException) -> NoReturn:
    """End a command whose stderr holds JSON alone."""
    if end is None:
        logger.critical("ended by a defect", exc_info=error)
    elif end.message:
        logger.error("%s", end.message)
    sys.exit(1 if end is None else end.code)
