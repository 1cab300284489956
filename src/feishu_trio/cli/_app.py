"""The table of commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from ._help import Command, Group
from .config import config
from .demo import demo
from .doctor import doctor
from .gateway import gateway
from .inbox import inbox
from .listen import listen
from .run import run
from .worker import worker

__all__ = ["app"]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"feishu-trio {version('feishu-trio')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Feishu (Lark) events over the long connection."""


for _command in (demo, listen, gateway, run, worker, doctor, config):
    app.command(cls=Command)(_command)
app.add_typer(inbox, name="inbox")
