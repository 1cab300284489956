"""`feishu-trio inbox`: look into an inbox, and mend what is in it, while its bot runs or not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feishu_trio import (
    ConfigError,
    InboxCounts,
    InboxDetails,
    InboxFile,
    InboxState,
    InboxSummary,
)

from ._endings import Failed
from ._text import printable, shortened

__all__ = ["inbox"]

_PAGE: Final = 500
_COLUMN: Final = 60  # characters of an error or a key in a table
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

inbox = typer.Typer(
    no_args_is_help=True, help="Look into an inbox, and mend what is in it, while its bot runs or not."
)

Inbox = Annotated[
    str, typer.Option("--inbox", metavar="URL", help="`sqlite:PATH`, the path of the inbox's file.")
]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Event ids, or numbers as `list` shows them.")
]


@inbox.command("list")
def list_(
    inbox: Inbox,
    state: Annotated[
        InboxState, typer.Option(help="Where the events stand.", case_sensitive=False)
    ] = InboxState.DEAD,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="So many at the most.")] = 100,
    after: Annotated[
        int, typer.Option(min=0, max=(1 << 63) - 1, metavar="NUMBER", help="Those behind this one.")
    ] = 0,
) -> None:
    """List events: to read on a terminal, one JSON object a line when piped.

    On a terminal each is shown with when it is due, or was settled, or else stored.
    """
    events = list(_events(_open(inbox), state, limit, after))
    if not sys.stdout.isatty():
        for event in events:
            _print_json(_fields(event))
        return
    console = Console(highlight=False)
    for event in events:
        attempts = f"attempts: {event.attempts}" + (f", crashes: {event.crashes}" if event.crashes else "")
        time = _local(event.due or event.settled or event.stored)
        console.print(
            Text.assemble((f"{event.number:>6}  ", "dim"), _cell(event.id), f"  {attempts}  {time}")
        )
        kind = printable(event.type)
        console.print(
            Padding(Text(f"{kind}: {printable(event.error)}" if event.error else kind), (0, 0, 0, 8))
        )
    if not events:
        console.print(f"no event is {state}")


@inbox.command()
def show(
    event: Annotated[str, typer.Argument(metavar="ID", help="An event's id, or its number.")], inbox: Inbox
) -> None:
    """Show one event, with its payload and how each handler fared."""
    details = _find(_open(inbox), event)
    if not sys.stdout.isatty():
        _print_json(_fields(details))
        return
    table = Table(box=None, show_header=False)
    for name, value in _fields(details).items():
        if name not in ("payload", "handlers") and value is not None:
            shown = _local(getattr(details, name)) if name in _TIMES else str(value)
            table.add_row(Text(name, "dim"), Text(printable(shown)))
    console = Console()
    console.print(table)
    for handler in details.handlers:
        outcome = "succeeded" if handler.error is None else handler.error
        console.print(Text(printable(f"{handler.name}: {outcome}, {_local(handler.at)}")))
    if details.payload is not None:
        console.print(
            Text(printable(json.dumps(_payload(details.payload), ensure_ascii=False, indent=2), keep="\n"))
        )


@inbox.command()
def requeue(
    inbox: Inbox,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID...]", help="Event ids, or numbers as `list` shows them."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Have dead letters run again, behind all others, with their attempts counted anew."""
    if every == bool(ids):
        raise ConfigError("give the ids of dead letters, or --all")
    file = _open(inbox)
    if ids:
        wanted = [_find(file, each).number for each in ids]
        count = file.requeue(wanted)
        if count < len(wanted):
            raise Failed(f"{count} of {len(wanted)} are requeued: the others are no dead letters")
    else:
        count = 0
        while page := file.list(InboxState.DEAD, _PAGE):
            count += file.requeue([event.number for event in page])
    _say(f"{count} requeued", requeued=count)


@inbox.command()
def purge(
    inbox: Inbox,
    state: Annotated[InboxState, typer.Option(help="done, dead or parked.", case_sensitive=False)],
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Those that have been so for longer: 90, 90s, 30m, 12h, 7d.")
    ] = "7d",
) -> None:
    """Forget events that are done, dead letters or parked. They cannot be had back."""
    count = _open(inbox).purge(state, _seconds(older_than))
    _say(f"{count} purged", purged=count)


@inbox.command()
def stats(inbox: Inbox) -> None:
    """Count events by where they stand."""
    counts = _open(inbox).counts()
    fields = {name: getattr(counts, name) for name in InboxCounts.__struct_fields__}
    if not sys.stdout.isatty():
        _print_json(fields | {"oldest": _iso(counts.oldest)})
        return
    table = Table(box=None, show_header=False)
    for name, value in fields.items():
        table.add_row(Text(name, "dim"), _local(value) if name == "oldest" else str(value))
    Console().print(table)


@inbox.command()
def backup(
    path: Annotated[Path, typer.Argument(help="The new file.", show_default=False)], inbox: Inbox
) -> None:
    """Copy all that is committed into a new file, which is an inbox, too."""
    _open(inbox).backup(path)
    _say(f"copied to {path}", backup=str(path))


def _open(url: str) -> InboxFile:
    scheme, colon, path = url.partition(":")
    if scheme != "sqlite" or not colon or not path:
        raise ConfigError(f"--inbox: {url!r} is not allowed; it must be sqlite:PATH, such as sqlite:bot.db")
    return InboxFile(path)


def _events(file: InboxFile, state: InboxState, limit: int, after: int) -> Iterator[InboxSummary]:
    while limit and (page := file.list(state, min(limit, _PAGE), after)):
        yield from page
        limit, after = limit - len(page), page[-1].number


def _find(file: InboxFile, event: str) -> InboxDetails:
    details = file.show(event)
    if details is None and event.isdecimal():
        details = file.show(int(event))
    if details is None:
        raise Failed(f"there is no event {printable(shortened(event, 100))!r} in it")
    return details


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", age.strip())
    if match is None:
        raise ConfigError(f"--older-than: {age!r} is not allowed; it must be such as 90, 90s, 30m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


# What is written

_TIMES: Final = ("received", "stored", "due", "settled")


def _fields(event: InboxSummary) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    for name in _TIMES:
        fields[name] = _iso(fields[name])
    if isinstance(event, InboxDetails):
        fields["payload"] = None if event.payload is None else _payload(event.payload)
        fields["handlers"] = [
            {"name": each.name, "error": each.error, "at": _iso(each.at)} for each in event.handlers
        ]
    return fields


def _payload(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "backslashreplace")


def _print_json(fields: dict[str, Any]) -> None:
    print(json.dumps(fields, ensure_ascii=False))


def _say(text: str, **fields: Any) -> None:
    if sys.stdout.isatty():
        print(printable(text))
    else:
        _print_json(fields)


def _cell(text: str) -> Text:
    return Text(printable(shortened(text, _COLUMN)))


def _local(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _iso(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )
