"""`feishu-trio listen`: live events, to read on a terminal or to pipe into another program."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from math import inf
from pathlib import Path
from typing import Annotated, Any

import attrs
import trio
import typer

from feishu_trio import Event, EventDecodeError, Retry, Router, SessionConfig

from ._endings import Failed
from ._filters import Filter, filter_of
from ._folder import Folder
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._screen import Screen, is_live, open_screen, write_all
from ._session import AppId, AppSecret, Config, Connections, Domain, Json, open_session, settings_with_app
from ._status import Status
from ._text import counted
from ._values import event_types, seconds, whole
from ._views import compact_json_line, json_line, readable, readable_in_one_line

__all__ = ["listen"]

logger = logging.getLogger("feishu_trio.cli")


def listen(
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            metavar="TYPE",
            autocompletion=event_types,
            help="Show only this event type, or glob ('im.*'); repeatable.",
        ),
    ] = None,
    max_events: Annotated[
        int | None, typer.Option(parser=whole(1), metavar="N", help="Stop after N events.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=seconds(0), metavar="SECONDS", help="Stop after so long, connecting included."),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            "-f",
            metavar="EXPR",
            help="Show only events with PATH=VALUE, PATH!=VALUE or PATH~GLOB; all of them, if repeated. "
            "PATH leads into the JSON, or is a field of --compact: event.message.chat_id=oc_1, 'text~*deploy*'.",
        ),
    ] = None,
    as_compact: Annotated[
        bool,
        typer.Option(
            "--compact", help="Only id, type, time, chat, sender and text; a line each on a terminal."
        ),
    ] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write each event that is shown to a file of its own in DIR."),
    ] = None,
    as_json: Json = False,
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    connections: Connections = None,
    verbose: Verbose = 0,
) -> None:
    """Show live events: readable on a terminal, one JSON object a line when piped.

    Every event that arrives is answered, whether it is shown or not. Exit codes: 0 after --max-events or --timeout, 4
    if no connection is up within --timeout (0 is too short for any) or 8 s. Feishu gives each event to one of an
    app's connections: while this runs beside a bot, the two share the events between them.
    """
    log_to_stderr(verbose)
    chosen = settings_with_app(
        config, app_id=app_id, app_secret=app_secret, domain=domain, connections=connections
    )
    in_json: Callable[[Event[Any]], bytes] = compact_json_line if as_compact else json_line
    if as_json or not sys.stdout.isatty():
        render = in_json
    else:
        render = readable_in_one_line() if as_compact else readable()
    printer = _Printer(
        render,
        max_events or inf,
        [filter_of(each) for each in filters or ()],
        None if output_dir is None else Folder(output_dir),
        in_json,
    )
    router = Router()
    # One pool also for callbacks, which have their own by default: order is kept within a pool.
    router.on(types or "*", order_by=_one_key, pool="default", name="stdout")(printer.show)
    trio.run(_listen, chosen, router, printer, inf if timeout is None else timeout)


def _one_key(event: Event[Any]) -> str:
    return "stdout"  # one key for all events: they are written one at a time, in order of arrival


async def _listen(config: SessionConfig, router: Router, printer: _Printer, timeout: float) -> None:
    deadline = trio.current_time() + timeout
    # The first signal cancels the inner block, and the session closes in order. The outer block is for a signal
    # before the session is open, and for the second signal.
    async with interruptible() as outer, AsyncExitStack() as stack:
        status = Status(lambda: printer.shown)
        if is_live():
            printer.screen = await stack.enter_async_context(open_screen(status.line))
        status.session = await stack.enter_async_context(open_session(config, router, within=timeout))
        async with interruptible() as inner:
            with trio.move_on_at(deadline):
                await printer.stopped.wait()
        printer.stop()
    logger.info("%s shown", counted(printer.shown, "event"))
    if printer.failure is not None:
        raise printer.failure
    outer.check()
    inner.check()


@attrs.define
class _Printer:
    """Writes events to stdout, until it is stopped or the reader closes the pipe."""

    render: Callable[[Event[Any]], bytes]
    max_events: float
    filters: list[Filter]
    folder: Folder | None
    render_file: Callable[[Event[Any]], bytes]
    screen: Screen | None = None
    """Where they scroll; None where they are written as they are."""
    shown: int = 0
    failure: Failed | None = None
    stopped: trio.Event = attrs.field(factory=trio.Event)
    _writing: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def show(self, event: Event[Any]) -> None:
        """Write an event, which answers it; an event that is not written is delivered again by Feishu."""
        if self.stopped.is_set():
            raise Retry(reason="no more is shown")
        try:
            if not all(keeps(event) for keeps in self.filters):
                return
            data = self.render(event)
            file = b"" if self.folder is None else self.render_file(event)
        except EventDecodeError as error:
            logger.warning("an event is answered, but cannot be shown: %s", error)
            return
        try:
            with trio.CancelScope() as self._writing:
                await self._write(event, data, file)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # the reader closed the pipe
                self.failure = Failed(f"{error.filename or 'stdout'} cannot be written to: {error.strerror}")
            self.stop()
            raise Retry(reason="stdout is closed") from error
        if self._writing.cancelled_caught:
            raise Retry(reason="it was not written")
        self.shown += 1
        if self.shown >= self.max_events:
            self.stop()

    async def _write(self, event: Event[Any], data: bytes, file: bytes) -> None:
        # In threads, for the reader, or the disk, may be slow, and heartbeats must not wait for it.
        if self.folder is not None:
            await trio.to_thread.run_sync(self.folder.save, event, file, abandon_on_cancel=True)
        if self.screen is None:
            await trio.to_thread.run_sync(write_all, data, abandon_on_cancel=True)
        else:
            await self.screen.put(data.decode())

    def stop(self) -> None:
        """Write nothing more, and abandon the write at work."""
        self.stopped.set()
        self._writing.cancel()
