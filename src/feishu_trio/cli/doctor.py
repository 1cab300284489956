"""`feishu-trio doctor`: what keeps an app from getting its events, and what to do about it."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from typing import Annotated, Final

import attrs
import trio
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feishu_trio import SessionConfig
from feishu_trio.doctor import CHECKS, Fault, Finding, Verdict, examine

from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._session import AppId, AppSecret, Config, Domain, Json, settings
from ._text import printable
from ._values import seconds

__all__ = ["doctor"]

_CODES: Final = {Fault.CONFIGURATION: 2, Fault.REFUSED: 3, Fault.UNREACHABLE: 4, Fault.OTHER: 1}
_MARKS: Final = {
    Verdict.OK: ("✓", "green"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.FAILED: ("✗", "bold red"),
    Verdict.UNKNOWN: ("?", "cyan"),
    Verdict.NOT_TRIED: ("-", "dim"),
}
_INTRODUCTION: Final = "One connection is opened for a moment. Events that come on it are refused, so that Feishu delivers them again."


def doctor(
    timeout: Annotated[
        float, typer.Option(parser=seconds(0.001), metavar="SECONDS", help="For all checks.")
    ] = 30.0,
    as_json: Json = False,
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    verbose: Verbose = 0,
) -> None:
    """Find out what keeps an app from getting its events: readable on a terminal, one JSON object a line when piped.

    One connection is opened for a moment: events that come on it meanwhile are refused (500), and delivered again.

    Exit codes, by the first check that failed: 2 a setting, 3 Feishu refuses, 4 unreachable, 1 anything else.
    """
    log_to_stderr(verbose)
    chosen = settings(config, app_id=app_id, app_secret=app_secret, domain=domain)
    code = trio.run(_doctor, chosen, timeout, as_json or not sys.stdout.isatty())
    if code:
        raise typer.Exit(code)


async def _doctor(config: SessionConfig, timeout: float, as_json: bool) -> int:
    code = 0
    async with interruptible() as interruption:
        view = _Lines() if as_json else _View()
        async with aclosing(examine(config, timeout=timeout)) as findings:
            async for finding in findings:
                view.show(finding)
                if finding.fault is not None:
                    code = code or _CODES[finding.fault]
    interruption.check()
    return code


class _Lines:
    """One JSON object a line, each as soon as it is known."""

    def show(self, finding: Finding) -> None:
        print(json.dumps(attrs.asdict(finding), ensure_ascii=False), flush=True)


class _View:
    """For a terminal: a line for each check, and below it what to do."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, 100)
        self._console.print(_INTRODUCTION, style="dim")
        self._console.print()

    def show(self, finding: Finding) -> None:
        mark, style = _MARKS[finding.verdict]
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=1)
        row.add_column(width=max(map(len, CHECKS)) + 1)
        row.add_column(overflow="fold")
        found = finding.found
        if finding.verdict is Verdict.NOT_TRIED:
            found = f"not tried: {found}"
        dim = "dim" if finding.verdict is Verdict.NOT_TRIED else ""
        row.add_row(Text(mark, style), Text(finding.check, style), Text(printable(found), dim))
        if finding.remedy:
            row.add_row("", "", Text(f"→ {printable(finding.remedy)}", "bold" if finding.fault else ""))
        self._console.print(row)
