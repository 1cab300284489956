"""`feishu-trio inbox`: look into an inbox, and mend what is in it, while its bot runs or not."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import AsyncGenerator
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
    InboxError,
    InboxFile,
    InboxState,
    InboxSummary,
)

from ._endings import Failed
from ._help import Command, Group
from ._serving import INBOX_VARIABLE, shown_url, sqlite_path, wrong_url
from ._text import counted, printable, shortened, wrapped
from ._values import names, one_of, whole
from ._visit import File, Visited, visit

__all__ = ["inbox"]

_LISTED: Final = 5000  # events that are listed at a time: a server may look through all there are each time
_PAGE: Final = 500  # events that are changed at a time
_COLUMN: Final = 60  # characters of an error or a key in a table
_SETTLED: Final = (InboxState.DONE, InboxState.DEAD, InboxState.PARKED)
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

inbox = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look into an inbox, and mend what is in it, while its bot runs or not.",
)

Inbox = Annotated[
    str,
    typer.Option(
        "--inbox",
        envvar=INBOX_VARIABLE,
        metavar="URL",
        help="`sqlite:PATH` or `redis://HOST`: where the events are; else FEISHU_INBOX. `redis://HOST?prefix=PREFIX` for another prefix than "
        "`feishu`.",
    ),
]


@inbox.command("list", cls=Command)
def list_(
    inbox: Inbox,
    state: Annotated[
        InboxState,
        typer.Option(
            parser=one_of(InboxState),
            metavar="STATE",
            autocompletion=names(InboxState),
            help=f"Where the events stand: {', '.join(InboxState)}.",
        ),
    ] = InboxState.DEAD,
    limit: Annotated[int, typer.Option(parser=whole(1), metavar="N", help="So many at the most.")] = 100,
    after: Annotated[
        int, typer.Option(parser=whole(0, (1 << 63) - 1), metavar="NUMBER", help="Those behind this one.")
    ] = 0,
) -> None:
    """List events: to read on a terminal, one JSON object a line when piped.

    On a terminal each is shown with when it is due, or was settled, or else stored.
    """
    visit(inbox, _list, state, limit, after)


async def _list(inbox: Visited, state: InboxState, limit: int, after: int) -> None:
    events = [event async for event in _events(inbox, state, limit, after)]
    if not sys.stdout.isatty():
        for event in events:
            _print_json(_fields(event))
        return
    console = Console(highlight=False)
    for event in events:
        at = _local(event.due or event.settled or event.stored)
        attempts = f"attempts: {event.attempts}"
        console.print(Text.assemble((f"{event.number:>6}  ", "dim"), _cell(event.id), f"  {attempts}  {at}"))
        kind = printable(event.type) + (f", crashes: {event.crashes}" if event.crashes else "")
        if event.error and _has_failed(event):
            kind = f"{kind}: {printable(event.error)}"
        console.print(Padding(Text(kind), (0, 0, 0, 8)))
    if not events:
        console.print(f"no event is {state}" + (f" behind number {after}" if after else ""))
    elif await inbox.list(state, 1, events[-1].number):
        console.print(f"there are more: --after {events[-1].number} shows the next")
    if state is InboxState.RUNNING:
        _tell_of_running(console, inbox, (await inbox.counts()).running)


@inbox.command(cls=Command)
def show(
    event: Annotated[str, typer.Argument(metavar="ID", help="An event's id, or its number.")], inbox: Inbox
) -> None:
    """Show one event, with its payload and how each handler fared."""
    visit(inbox, _show, event, inbox)


async def _show(inbox: Visited, event: str, url: str) -> None:
    details = await _find(inbox, event)
    if details is None:
        raise Failed(_not_there(event, url))
    if not sys.stdout.isatty():
        _print_json(_fields(details))
        return
    table = Table(box=None, show_header=False)
    for name, value in _fields(details).items():
        if name not in ("payload", "handlers") and value is not None:
            shown = _local(getattr(details, name)) if name in _TIMES else str(value)
            label = "earlier error" if name == "error" and not _has_failed(details) else name
            table.add_row(Text(label, "dim"), Text(printable(shown)))
    console = Console(highlight=False)
    console.print(table)
    if details.state is InboxState.RUNNING:
        _tell_of_running(console, inbox, 1)
    if details.payload is None:
        console.print("its payload, and how each handler fared, are not kept once it is done")
        return
    console.print(Text("handlers, as each ended last", "dim"))
    for handler in details.handlers:
        outcome = "succeeded" if handler.error is None else handler.error
        before = ", before it was requeued" if handler.at < details.stored else ""
        line = printable(f"{handler.name}: {outcome}, {_local(handler.at)}{before}")
        console.print(Padding(Text(line), (0, 0, 0, 2)))
    if not details.handlers:
        console.print("  none has ended yet")
    console.print(Text("payload", "dim"))
    payload = json.dumps(_payload(details.payload), ensure_ascii=False, indent=2)
    console.print(Text(printable(payload, keep="\n")))


@inbox.command(cls=Command)
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
        both = ", not both" if every else ""
        raise ConfigError(f"give the ids of dead letters, or --all{both}")
    visit(inbox, _requeue, inbox, ids)


async def _requeue(inbox: Visited, url: str, ids: list[str] | None) -> None:
    refused: list[str] = []
    if ids:
        dead: list[int] = []
        for event in ids:
            details = await _find(inbox, event)
            if details is None:
                refused.append(_not_there(event, url))
            elif details.state is not InboxState.DEAD:
                refused.append(f"{_quoted(event)} is not requeued: it is {details.state}, and no dead letter")
            elif details.number not in dead:
                dead.append(details.number)
    else:  # those of now: a bot may make new ones of them as fast as they are requeued
        dead = [event.number async for event in _events(inbox, InboxState.DEAD, sys.maxsize, 0)]
    count = 0
    for at in range(0, len(dead), _PAGE):
        count += await inbox.requeue(dead[at : at + _PAGE])
    _say(f"{count} requeued", requeued=count)
    if ids and count < len(dead):
        refused.append(f"somebody else has requeued or purged {len(dead) - count} of them meanwhile")
    if refused:
        raise Failed("\n".join(refused))


@inbox.command(cls=Command)
def purge(
    inbox: Inbox,
    state: Annotated[
        InboxState,
        typer.Option(
            parser=one_of(_SETTLED),
            metavar="STATE",
            autocompletion=names(_SETTLED),
            help="Which events: done, dead or parked.",
        ),
    ],
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Those that have been so for longer: 90, 90s, 30m, 12h, 7d.")
    ] = "7d",
) -> None:
    """Forget events that are done, dead letters or parked. They cannot be had back.

    A done event that Feishu delivers again after it was purged is handled again: it may do so for some seven hours.
    """
    visit(inbox, _purge, state, older_than, _seconds(older_than))


async def _purge(inbox: Visited, state: InboxState, older_than: str, seconds: float) -> None:
    count = await inbox.purge(state, seconds)
    why = await _why_none(inbox, state, older_than) if not count and sys.stdout.isatty() else ""
    _say(f"{count} purged{why}", purged=count)


@inbox.command(cls=Command)
def stats(inbox: Inbox) -> None:
    """Count events by where they stand.

    oldest is when the oldest of those that are still to be handled was stored.
    """
    visit(inbox, _stats)


async def _stats(inbox: Visited) -> None:
    counts = await inbox.counts()
    fields = {name: getattr(counts, name) for name in InboxCounts.__struct_fields__}
    if not sys.stdout.isatty():
        _print_json(fields | {"oldest": _iso(counts.oldest)})
        return
    table = Table(box=None, show_header=False)
    for name, value in fields.items():
        table.add_row(Text(name, "dim"), _local(value) if name == "oldest" else str(value))
    console = Console(highlight=False)
    console.print(table)
    _tell_of_running(console, inbox, counts.running)


@inbox.command(cls=Command)
def backup(path: Annotated[Path, typer.Argument(metavar="PATH", help="The new file.")], inbox: Inbox) -> None:
    """Copy all that is committed into a new file, which is an inbox, too. Of an inbox in a file alone."""
    file = sqlite_path(inbox)
    if not file:
        allowed = "sqlite:PATH, such as sqlite:bot.db: a server makes its backups itself"
        raise wrong_url(inbox, allowed)
    InboxFile(file).backup(path)
    _say(f"copied to {path}", backup=str(path))


async def _events(
    inbox: Visited, state: InboxState, limit: int, after: int
) -> AsyncGenerator[InboxSummary, None]:
    while limit and (page := await inbox.list(state, min(limit, _LISTED), after)):
        for event in page:
            yield event
        limit, after = limit - len(page), page[-1].number


async def _find(inbox: Visited, event: str) -> InboxDetails | None:
    details = await inbox.show(event)
    if details is None and event.isdecimal() and len(event) < 20:
        details = await inbox.show(int(event))
    return details


def _seconds(age: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", age.strip())
    if match is None:
        raise ConfigError(f"--older-than: {age!r} is not allowed; it must be such as 90, 90s, 30m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2]]


async def _why_none(inbox: Visited, state: InboxState, older_than: str) -> str:
    """Why nothing was purged."""
    settled = [event.settled or 0.0 async for event in _events(inbox, state, sys.maxsize, 0)]
    if not settled:
        return f": no event is {state}"
    events, age = counted(len(settled), f"{state} event"), _age(time.time() - min(settled))
    return f": of {events} the oldest has been so for {age}; --older-than is {older_than}"


def _age(seconds: float) -> str:
    """A time as `--older-than` takes it, in the largest unit of which it has one, rounded down."""
    for unit, length in reversed(_UNITS.items()):
        if seconds >= length:
            return f"{seconds // length:.0f}{unit}"
    return "0s"


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
        print(wrapped(printable(text)))
    else:
        _print_json(fields)


def _has_failed(event: InboxSummary) -> bool:
    """Whether its error is what it waits, or is dead, for; else it is one of a run before."""
    return event.state in (InboxState.WAITING, InboxState.DEAD)


def _tell_of_running(console: Console, inbox: Visited, count: int) -> None:
    """Tell of so many events that are `running` in a file that nobody has open."""
    try:
        if not count or not isinstance(inbox, File) or inbox.is_open():
            return
    except InboxError:  # whoever may only read the file cannot find out
        return
    were, run = ("was", "it runs") if count == 1 else ("were", "they run")
    console.print(f"{counted(count, 'event')} {were} running when the bot ended: {run} again when it starts")


def _not_there(event: str, url: str) -> str:
    return f"there is no event {_quoted(event)} in {printable(shown_url(url))}"


def _quoted(event: str) -> str:
    return repr(printable(shortened(event, 100)))


def _cell(text: str) -> Text:
    return Text(printable(shortened(text, _COLUMN)))


def _local(seconds: float | None) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def _iso(seconds: float | None) -> str | None:
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )
