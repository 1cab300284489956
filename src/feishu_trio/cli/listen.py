"""`feishu-trio listen`: live events, for a person on a terminal or for the next program in a pipe."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from math import inf
from typing import Annotated, Any

import trio
import typer

from feishu_trio import Event, EventDecodeError, Router, SessionConfig

from ._endings import Failed, Interrupted
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._session import AppId, AppSecret, Config, Connections, Domain, open_session, settings
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
    chosen = settings(config, app_id=app_id, app_secret=app_secret, domain=domain, connections=connections)
    trio.run(_listen, chosen, _chooser(types), max_events or inf, inf if timeout is None else timeout)


def _chooser(types: list[str] | None) -> Callable[[str], bool]:
    """Which types to show. What a pattern takes is the router's to say, and so is a hint at a slip of the pen."""
    if not types:
        return lambda event_type: True
    router = Router()
    router.on(types)(lambda event: None)
    return router.is_registered


async def _listen(
    config: SessionConfig, is_chosen: Callable[[str], bool], max_events: float, timeout: float
) -> None:
    render = readable() if sys.stdout.isatty() else json_line
    # The first signal ends the inner block, and the session is left in order. The outer one is for signals
    # while there is no session yet, and for the second.
    async with interruptible() as outer, open_session(config) as session, session.events() as events:
        async with interruptible() as inner:
            shown = 0
            with trio.move_on_after(timeout):
                async for event in events:
                    if is_chosen(event.type):
                        if not await _show(event, render):
                            break
                        shown += 1
                        if shown >= max_events:
                            break
        logger.info("%d events were shown", shown)
    if outer.cancelled_caught or inner.cancelled_caught:
        raise Interrupted


async def _show(event: Event[Any], render: Callable[[Event[Any]], bytes]) -> bool:
    """Write an event to stdout and answer it; False if nobody reads any more, and the event goes back."""
    try:
        # In a thread, for whoever reads may be slow, and heartbeats must not wait for that. Not through
        # sys.stdout: the thread may be left behind, with the lock that Python's exit would wait for.
        await trio.to_thread.run_sync(_write, render(event), abandon_on_cancel=True)
    except EventDecodeError as error:
        logger.warning("an event is answered, but cannot be shown: %s", error)
    except BrokenPipeError:
        event.nack()
        return False
    except OSError as error:
        raise Failed(f"stdout cannot be written to: {error.strerror}") from error
    except trio.Cancelled:
        event.nack()
        raise
    event.ack()
    return True


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
