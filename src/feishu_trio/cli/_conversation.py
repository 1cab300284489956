"""A view of a conversation: a line for each step, with time, speaker, text and a note."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from rich.box import ROUNDED
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ._text import printable

if TYPE_CHECKING:
    from feishu_trio.testing import Answer

__all__ = ["Conversation", "answer_note", "seconds"]

_MAX_WIDTH: Final = 100  # columns; longer lines are hard to read
_NARROW: Final = 64  # below, a text stands under who says it
_STYLES: Final = {"bot": "green", "gateway": "magenta"}


class Conversation:
    """Shows lines on stdout, each with the time that `stamp` returns."""

    def __init__(self, stamp: Callable[[], str]) -> None:
        self._console = Console(highlight=False)
        self._stamp = stamp

    @property
    def _width(self) -> int:
        return min(self._console.width, _MAX_WIDTH)

    def introduce(self, text: str) -> None:
        """Show an introduction; lines that begin with a space are not broken, so that they can be copied."""
        for line in text.splitlines():
            self._console.print(Text(line), soft_wrap=line.startswith(" "), width=self._width)
        self._console.print()

    def line(self, speaker: str, text: str, note: str = "") -> None:
        """Show one line; `note` is at the right, or on a narrow terminal above `text`, which may be untrusted."""
        shown, style = Text(printable(text, keep="\n")), _STYLES.get(speaker, "bold")
        if self._width < _NARROW:
            head = Text.assemble((self._stamp(), "dim"), "  ", (speaker, style), "  ", (note, "dim"))
            self._console.print(Group(head, Padding(shown, (0, 0, 0, 2))) if text else head)
            return
        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(width=8, justify="right", style="dim")
        row.add_column(width=8, style=style)
        row.add_column(ratio=1, overflow="fold")
        row.add_column(justify="right", no_wrap=True, style="dim")
        row.add_row(self._stamp(), speaker, shown, note)
        self._console.print(row, width=self._width)

    def summary(self, title: str, rows: Iterable[tuple[str, str]]) -> None:
        """Show a table of results."""
        table = Table(
            title=title, title_style="bold", show_header=False, box=ROUNDED, min_width=min(60, self._width)
        )
        for row in rows:
            table.add_row(*row)
        self._console.print()
        self._console.print(table, width=self._width)


def seconds(time: float) -> str:
    """A duration with its unit: 3.1 ms, 1.8 s."""
    return f"{time * 1000:.1f} ms" if time < 0.9995 else f"{time:.1f} s"


def answer_note(answer: Answer) -> str:
    """The code of an answer, unless 200, and its latency."""
    result = "answered" if answer.code == 200 else f"answered {answer.code}"
    return f"{result} in {seconds(answer.latency)}"
