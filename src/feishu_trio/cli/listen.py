"""`feishu-trio listen`: live events, to read on a terminal or to pipe into another program."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from math import inf
from typing import Annotated, Any

import attrs
import trio
import typer

from feishu_trio import Event, EventDecodeError, Retry, Router, SessionConfig

from ._endings import Failed
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._session import AppId, AppSecret, Config, Connections, Domain, open_session, settings_with_app
from ._text import counted
from ._views import json_line, readable

__all__ = ["listen"]

logger = logging.getLogger("feishu_trio.cli")


def listen(
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type", "-t", metavar="TYPE", help="Show only this event type, or glob ('im.*'); repeatable."
        ),
    ] = None,
    max_events: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Stop after N events.", show_default=False)
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Stop after so long.", show_default=False)
    ] = None,
    app_id: AppId = None,
    app_secret: AppSecret = None,
    domain: Domain = None,
    config: Config = None,
    connections: Connections = None,
    verbose: Verbose = 0,
) -> None:
    """Show live events: readable on a terminal, one JSON object a line when piped.

    Every event that arrives is answered, whether it is shown or not. Feishu gives each event to one of an
    app's connections: while this runs beside a bot, the two share the events between them.
    """
    log_to_stderr(verbose)
    chosen = settings_with_app(
        config, app_id=app_id, app_secret=app_secret, domain=domain, connections=connections
    )
    printer = _Printer(readable() if sys.stdout.isatty() else json_line, max_events or inf)
    router = Router()
    # One pool also for callbacks, which have their own by default: order is kept within a pool.
    router.on(types or "*", order_by=_one_key, pool="default", name="stdout")(printer.show)
    trio.run(_listen, chosen, router, printer, inf if timeout is None else timeout)


def _one_key(event: Event[Any]) -> str:
    return "stdout"  # one key for all events: they are written one at a time, in order of arrival


async def _listen(config: SessionConfig, router: Router, printer: _Printer, timeout: float) -> None:
    # The first signal cancels the inner block, and the session closes in order. The outer block is for a signal
    # before the session is open, and for the second signal.
    async with interruptible() as outer, open_session(config, router):
        async with interruptible() as inner:
            with trio.move_on_after(timeout):
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
    shown: int = 0
    failure: Failed | None = None
    stopped: trio.Event = attrs.field(factory=trio.Event)
    _writing: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def show(self, event: Event[Any]) -> None:
        """Write an event, which answers it; an event that is not written is delivered again by Feishu."""
        if self.stopped.is_set():
            raise Retry(reason="no more is shown")
        try:
            data = self.render(event)
        except EventDecodeError as error:
            logger.warning("an event is answered, but cannot be shown: %s", error)
            return
        try:
            with trio.CancelScope() as self._writing:
                # In a thread, for the reader may be slow, and heartbeats must not wait for it. Not through
                # sys.stdout: an abandoned thread would hold the lock that Python's exit waits for.
                await trio.to_thread.run_sync(_write, data, abandon_on_cancel=True)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):  # the reader closed the pipe
                self.failure = Failed(f"stdout cannot be written to: {error.strerror}")
            self.stop()
            raise Retry(reason="stdout is closed") from error
        if self._writing.cancelled_caught:
            raise Retry(reason="it was not written")
        self.shown += 1
        if self.shown >= self.max_events:
            self.stop()

    def stop(self) -> None:
        """Write nothing more, and abandon the write at work."""
        self.stopped.set()
        self._writing.cancel()


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
