"""`feishu-trio gateway`: a local stand-in for Feishu, to try a bot against by hand."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import attrs
import trio
import typer
from trio_util import wait_any

from feishu_trio import ConfigError, EventDecodeError, testing
from feishu_trio.events import decode_event
from feishu_trio.events.content import parse_content, plain_text

from ._endings import Failed, Interrupted
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._orders import YOU, Order, read_order
from ._stage import Stage, told
from ._stdin import stdin_lines
from ._text import shortened
from ._views import gist

if TYPE_CHECKING:
    from feishu_trio.testing import Gateway, Push

__all__ = ["gateway"]

_LONGEST: Final = 300  # characters of what is shown of one event, answer or message


def gateway(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 takes a free one.")] = 0,
    event: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Push an event of this type once a bot is connected.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Push the payload in this JSON file; with --event, it is the body."
        ),
    ] = None,
    every: Annotated[
        float | None, typer.Option(min=0.001, metavar="SECONDS", help="Push that again and again.")
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """A local stand-in for Feishu: a bot connects to it, and you are the people who write to the bot.

    A line on stdin is a message to the bot; one that begins with { is an event's whole payload.
    """
    log_to_stderr(verbose)
    order = _order(event, file)
    if every is not None and order is None:
        raise ConfigError("--every says how often, and nothing says what: give --event or --file")
    trio.run(_gateway, host, port, order, every)


def _order(event: str | None, file: Path | None) -> Order | None:
    if file is None:
        return Order.sample(event) if event else None
    try:
        return read_order(file.read_text("utf-8"), event)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


async def _gateway(host: str, port: int, order: Order | None, every: float | None) -> None:
    async with interruptible() as scope, AsyncExitStack() as stack:
        try:
            gateway = await stack.enter_async_context(testing.open_gateway(host=host, port=port))
        except OSError as error:
            raise Failed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        nursery = await stack.enter_async_context(trio.open_nursery())
        desk = _Desk(gateway, Stage(lambda: time.strftime("%H:%M:%S")), nursery)
        desk.introduce()
        nursery.start_soon(desk.tell_connections)
        nursery.start_soon(desk.tell_messages)
        nursery.start_soon(desk.push_lines)
        if order is not None:
            nursery.start_soon(desk.push_order, order, every)
    if scope.cancelled_caught:
        raise Interrupted


@attrs.define
class _Desk:
    """Where somebody sits who is all of Feishu's people: shows what happens, and pushes what is asked for."""

    gateway: Gateway
    stage: Stage
    nursery: trio.Nursery

    def introduce(self) -> None:
        """Say how a bot gets here."""
        gateway = self.gateway
        self.stage.introduce(
            "A gateway for a bot that is started with\n\n"
            f"  export FEISHU_DOMAIN={gateway.domain}\n"
            f"  export FEISHU_APP_ID={gateway.app_id}\n"
            f"  export FEISHU_APP_SECRET={gateway.app_secret}\n\n"
            "A line here is a message to the bot; JSON is an event's payload. Ctrl-C ends it.",
            wrap=False,
        )

    async def tell_connections(self) -> None:
        """Show who comes and goes, and what they did against the protocol."""
        gateway, told, known = self.gateway, 0, set[str]()
        while True:
            here = {connection.device_id for connection in gateway.connections}
            for violation in gateway.violations[told:]:
                self.stage.line("gateway", f"against the protocol: {violation}")
            told = len(gateway.violations)
            for device_id in known - here:
                self.stage.line("bot", f"disconnected {device_id}", f"{len(here)} connected")
            for device_id in here - known:
                self.stage.line("bot", f"connected {device_id}", f"{len(here)} connected")
            known = here
            await gateway.connected.wait_transition()

    async def tell_messages(self) -> None:
        """Show what bots send through the API."""
        for n in itertools.count(1):
            message = await self.gateway.wait_message(n)
            written = json.dumps(message.content, ensure_ascii=False)
            try:
                shown = plain_text(parse_content(message.msg_type, written), {}) or written
            except EventDecodeError:
                shown = written
            self.stage.line("bot", shortened(shown, _LONGEST), message.kind)

    async def push_lines(self) -> None:
        """Push what comes in on stdin; the gateway goes on when that has ended."""
        async with aclosing(stdin_lines()) as lines:
            async for line in lines:
                try:
                    order = read_order(line) if line.startswith("{") else Order.message(line)
                except ConfigError as error:
                    self.stage.line("gateway", f"nothing is pushed: {error}")
                else:
                    if line:
                        await self._push(order)

    async def push_order(self, order: Order, every: float | None) -> None:
        """Push an event, again and again if so asked."""
        await self._push(order)
        while every is not None:
            await trio.sleep(every)
            order = order.anew()
            await self._push(order)

    async def _push(self, order: Order) -> None:
        await self.gateway.wait_connected()
        push = await self.gateway.push(
            order.event_type, order.body, schema=order.schema, event_id=order.event_id
        )
        event = decode_event(push.payload, message_id="", trace_id="", received_at=trio.current_time())
        what = "" if event.type == "im.message.receive_v1" else f"{event.type} "
        self.stage.line(YOU.name, what + shortened(gist(event), _LONGEST))
        self.nursery.start_soon(self._follow, push)

    async def _follow(self, push: Push) -> None:
        """Show every delivery but the first, and every answer, until the event is settled."""
        delivered, answered = 1, 0
        while True:
            for _ in push.deliveries[delivered:]:
                self.stage.line("gateway", f"delivered {push.event_type} again")
            for answer in push.answers[answered:]:
                data = "" if answer.data is None else json.dumps(answer.data, ensure_ascii=False)
                self.stage.line("bot", shortened(data, _LONGEST), told(answer))
            delivered, answered = max(delivered, len(push.deliveries)), len(push.answers)
            if push.done:
                break
            await wait_any(
                partial(push.wait_deliveries, delivered + 1),
                partial(push.wait_answers, answered + 1),
                partial(_settled, push),
            )
        if push.lost:
            self.stage.line("gateway", f"gave up {push.event_type}: no answer")


async def _settled(push: Push) -> None:
    with suppress(TimeoutError):  # it was lost, which is told by `push.lost`
        await push.answer()
