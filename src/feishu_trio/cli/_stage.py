"""Where a conversation is shown: who, what, and how it went, a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from rich.box import ROUNDED
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ._text import printable

if TYPE_CHECKING:
    from feishu_trio.testing import Answer

__all__ = ["Stage", "seconds", "told"]

_WIDEST: Final = 100  # columns; beyond that the eye loses the line
_STYLES: Final = {"bot": "green", "gateway": "magenta"}


class Stage:
    """Shows lines, each with a stamp of when."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self.console = Console(highlight=False)
        self.console.width = min(self.console.width, _WIDEST)
        self._stamp = stamp

    def introduce(self, text: str, *, wrap: bool = True) -> None:
        """Say what this is; with `wrap` off, lines stay as they are, to be copied."""
        self.console.print(Text(text), soft_wrap=not wrap)
        self.console.print()

    def line(self, who: str, text: str, note: str = "") -> None:
        """Show what `who` says or does; `note` stands at the right. Text may come from anybody."""
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(width=8, justify="right", style="dim")
        row.add_column(width=8, style=_STYLES.get(who, "bold"))
        row.add_column(ratio=1, overflow="fold")
        row.add_column(justify="right", no_wrap=True, style="dim")
        row.add_row(self._stamp(), who, Text(printable(text, keep="\n")), note)
        self.console.print(row)

    def summary(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        """Show what all of it came to, in numbers."""
        table = Table(title=title, title_style="bold", show_header=False, box=ROUNDED, min_width=60)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(table)


def seconds(time: float) -> str:
    """A length of time as people read it: 3.1 ms, 1.8 s."""
    return f"{time * 1000:.1f} ms" if time < 0.9995 else f"{time:.1f} s"


def told(answer: Answer) -> str:
    """How an answer went, and how long it took."""
    how = "answered" if answer.code == 200 else f"answered {answer.code}"
    return f"{how} in {seconds(answer.latency)}"
