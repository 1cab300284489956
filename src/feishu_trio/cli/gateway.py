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

from ._conversation import Conversation, answer_note
from ._endings import Failed
from ._interrupt import interruptible
from ._log import Verbose, log_to_stderr
from ._push_requests import YOU, PushRequest, read_push_request
from ._stdin import stdin_lines
from ._text import shortened
from ._views import summary

if TYPE_CHECKING:
    from feishu_trio.testing import Gateway, Push

__all__ = ["gateway"]

_MAX_LENGTH: Final = 300  # characters shown of one event, answer or message


def gateway(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="N", help="0 is any free one.")] = 0,
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
    """A local stand-in for Feishu: a bot connects to it, and you are the user who writes to the bot.

    A line on stdin is a message to the bot, [Yes] a click on the button Yes of the newest card that has it; a line
    that begins with { is an event's whole payload.
    """
    log_to_stderr(verbose)
    request = _push_request(event, file)
    if every is not None and request is None:
        raise ConfigError("--every needs an event to repeat: give --event or --file")
    trio.run(_gateway, host, port, request, every)


def _push_request(event: str | None, file: Path | None) -> PushRequest | None:
    if file is None:
        return PushRequest.sample(event) if event else None
    try:
        return read_push_request(file.read_text("utf-8"), event)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


async def _gateway(host: str, port: int, request: PushRequest | None, every: float | None) -> None:
    async with interruptible() as interruption, AsyncExitStack() as stack:
        try:
            gateway = await stack.enter_async_context(testing.open_gateway(host=host, port=port))
        except OSError as error:
            raise Failed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        nursery = await stack.enter_async_context(trio.open_nursery())
        console = _Console(gateway, Conversation(lambda: time.strftime("%H:%M:%S")), nursery)
        console.introduce()
        nursery.start_soon(console.show_connections)
        nursery.start_soon(console.show_messages)
        nursery.start_soon(console.push_lines)
        if request is not None:
            nursery.start_soon(console.push_request, request, every)
    interruption.check()


@attrs.define
class _Console:
    """Shows what happens at the gateway, and pushes the events that are requested."""

    gateway: Gateway
    conversation: Conversation
    nursery: trio.Nursery

    def introduce(self) -> None:
        """Show how a bot connects to the gateway."""
        gateway = self.gateway
        self.conversation.introduce(
            "A gateway for a bot that is started with\n\n"
            f"  export FEISHU_DOMAIN={gateway.domain}\n"
            f"  export FEISHU_APP_ID={gateway.app_id}\n"
            f"  export FEISHU_APP_SECRET={gateway.app_secret}\n\n"
            "A line here is a message to the bot, [Yes] a click on the button Yes; JSON is an event's payload. "
            "Ctrl-C ends it.",
            wrap=False,
        )

    async def show_connections(self) -> None:
        """Show connects, disconnects and protocol violations."""
        gateway, violations, known = self.gateway, 0, set[str]()
        while True:
            live = {connection.device_id for connection in gateway.connections}
            for violation in gateway.violations[violations:]:
                self.conversation.line("gateway", f"against the protocol: {violation}")
            violations = len(gateway.violations)
            for device_id in known - live:
                self.conversation.line("bot", f"disconnected {device_id}", f"{len(live)} connected")
            for device_id in live - known:
                self.conversation.line("bot", f"connected {device_id}", f"{len(live)} connected")
            known = live
            await gateway.connected.wait_transition()

    async def show_messages(self) -> None:
        """Show what bots send through the API."""
        for n in itertools.count(1):
            message = await self.gateway.wait_message(n)
            written = json.dumps(message.content, ensure_ascii=False)
            try:
                shown = plain_text(parse_content(message.msg_type, written), {}) or written
            except EventDecodeError:
                shown = written
            self.conversation.line("bot", shortened(shown, _MAX_LENGTH), message.kind)

    async def push_lines(self) -> None:
        """Push the lines of stdin; the gateway stays open after the last one."""
        async with aclosing(stdin_lines()) as lines:
            async for line in lines:
                if line.startswith("{"):
                    await self._push_payload(line)
                elif line.startswith("[") and line.endswith("]"):
                    await self._connected()
                    self.nursery.start_soon(self._click, line[1:-1])  # it waits for the bot's answer
                elif line:
                    await self._connected()
                    self._show((await self._you.says(line)).push)

    @property
    def _you(self) -> testing.User:
        return self.gateway.user(YOU.name)

    async def _push_payload(self, line: str) -> None:
        try:
            request = read_push_request(line)
        except ConfigError as error:
            self.conversation.line("gateway", f"nothing is pushed: {error}")
        else:
            await self._push(request)

    async def _click(self, button: str) -> None:
        try:
            clicked = await self._you.clicks(button)
        except (LookupError, TimeoutError) as error:
            self.conversation.line("gateway", f"nothing comes of the click: {error}")
        else:
            self._show(clicked.push)
            if clicked.flaw is not None:
                self.conversation.line("gateway", f"Feishu would show an error: {clicked.flaw}")

    async def _connected(self) -> None:
        if not self.gateway.connections:
            self.conversation.line("gateway", "no bot is connected yet; once one is, it gets this")
        await self.gateway.wait_connected()

    async def push_request(self, request: PushRequest, every: float | None) -> None:
        """Push an event, and every so many seconds a new one like it."""
        await self._push(request)
        while every is not None:
            await trio.sleep(every)
            request = request.as_new_event()
            await self._push(request)

    async def _push(self, request: PushRequest) -> None:
        await self._connected()
        push = await self.gateway.push(
            request.event_type, request.body, schema=request.schema, event_id=request.event_id
        )
        self._show(push)

    def _show(self, push: Push) -> None:
        """Show an event, and what comes of it."""
        event = decode_event(push.payload)
        prefix = "" if event.type == "im.message.receive_v1" else f"{event.type} "
        self.conversation.line(YOU.name, prefix + shortened(summary(event), _MAX_LENGTH))
        self.nursery.start_soon(self._follow, push)

    async def _follow(self, push: Push) -> None:
        """Show every delivery but the first, and every answer, until the event is settled."""
        delivered, answered = 1, 0
        while True:
            for _ in push.deliveries[delivered:]:
                self.conversation.line("gateway", f"delivered {push.event_type} again")
            for answer in push.answers[answered:]:
                data = "" if answer.data is None else json.dumps(answer.data, ensure_ascii=False)
                self.conversation.line("bot", shortened(data, _MAX_LENGTH), answer_note(answer))
            delivered, answered = max(delivered, len(push.deliveries)), len(push.answers)
            if push.done:
                break
            await wait_any(
                partial(push.wait_deliveries, delivered + 1),
                partial(push.wait_answers, answered + 1),
                partial(_settled, push),
            )
        if push.lost:
            self.conversation.line("gateway", f"gave up {push.event_type}: no answer")


async def _settled(push: Push) -> None:
    with suppress(TimeoutError):  # it was lost, which `push.lost` shows
        await push.settled()
