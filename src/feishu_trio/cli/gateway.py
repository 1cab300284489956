"""`feishu-trio gateway`: a local stand-in for Feishu, to try a bot against by hand."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import attrs
import trio
import typer
from trio_util import AsyncValue, wait_any

from feishu_trio import ConfigError, EventDecodeError, testing
from feishu_trio.events import decode_event
from feishu_trio.events.content import parse_content, plain_text

from ._conversation import Conversation, answer_note
from ._endings import Failed
from ._interrupt import interruptible
from ._keyboard import Prompt, can_prompt, keys_at_once
from ._log import Verbose, log_to_stderr
from ._push_requests import YOU, PushRequest, read_push_request
from ._screen import is_live, open_screen
from ._stdin import stdin_lines
from ._text import counted, shortened
from ._values import event_types, seconds, whole
from ._views import summary

if TYPE_CHECKING:
    from feishu_trio.testing import Answer, Clicked, Gateway, Message, Push

__all__ = ["gateway"]

_MAX_LENGTH: Final = 300  # characters shown of one event or answer
_MAX_TEXT: Final = 5000  # of one message, which is there to be read
_EVERY: Final = 1.0  # seconds from one line of an answer that grows to the next
_QUIET: Final = 0.2  # seconds in which the bot gets the answer to its last call
_REPLIES: Final = 1.0  # seconds for which replies are waited for, once all is answered


def gateway(
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(parser=whole(0, 65535), metavar="N", help="0 is any free one.")] = 0,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            autocompletion=event_types,
            help="Push an event of this type once a bot is connected.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Push the payload in this JSON file; with --event, it is the body."
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(parser=seconds(0.001), metavar="SECONDS", help="Push that again and again."),
    ] = None,
    send: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Send this message to the bot once it is connected; repeatable."),
    ] = None,
    once: Annotated[
        bool,
        typer.Option(
            "--once", help="End when all of that is answered: with 0 if each was answered 200, else with 1."
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=seconds(0), metavar="SECONDS", help="Stop after so long; with --once that is a failure."
        ),
    ] = None,
    verbose: Verbose = 0,
) -> None:
    """A local stand-in for Feishu: a bot connects to it, and you are the user who writes to the bot.

    A line that you type, or of a pipe, is a message to the bot, [Yes] a click on the button Yes of the newest card that
    has it; a line that begins with { is an event's whole payload. With --once no lines are read.
    """
    log_to_stderr(verbose)
    request = _push_request(event, file)
    if every is not None and request is None:
        raise ConfigError("--every needs an event to repeat: give --event or --file")
    if once and not (send or request):
        raise ConfigError("--once needs something to push: give --send, --event or --file")
    if once and every is not None:
        raise ConfigError("--once and --every do not go together: give one of them")
    trio.run(_gateway, host, port, _Orders(tuple(send or ()), request, every, once), timeout)


def _push_request(event: str | None, file: Path | None) -> PushRequest | None:
    if file is None:
        return PushRequest.sample(event) if event else None
    try:
        return read_push_request(file.read_text("utf-8"), event)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None


@attrs.frozen
class _Orders:
    """What is pushed by itself."""

    texts: tuple[str, ...]
    request: PushRequest | None
    every: float | None
    once: bool


async def _gateway(host: str, port: int, orders: _Orders, timeout: float | None) -> None:
    async with interruptible() as interruption, AsyncExitStack() as stack:
        try:
            gateway = await stack.enter_async_context(testing.open_gateway(host=host, port=port))
        except OSError as error:
            raise ConfigError(
                f"--port: {port} at {host} cannot be listened on ({error.strerror or error}); choose another, or 0 for any "
                "that is free"
            ) from error
        lines = stdin_lines()
        if not orders.once and is_live() and can_prompt():
            prompt = Prompt("you> ")
            resume = stack.enter_context(keys_at_once())
            screen = await stack.enter_async_context(open_screen(prompt.line, resume=resume))
            lines = prompt.lines(screen.wake)
        nursery = await stack.enter_async_context(trio.open_nursery())
        if timeout is not None:
            nursery.cancel_scope.deadline = trio.current_time() + timeout
        console = _Console(gateway, Conversation(lambda: time.strftime("%H:%M:%S")), nursery, orders.once)
        console.introduce()
        nursery.start_soon(console.show_connections)
        nursery.start_soon(console.show_messages)
        if orders.once:
            await console.push_once(orders.texts, orders.request)
            nursery.cancel_scope.cancel()
        else:
            nursery.start_soon(console.push_lines, lines)
            nursery.start_soon(console.push_texts, orders.texts)
            if orders.request is not None:
                nursery.start_soon(console.push_request, orders.request, orders.every)
    interruption.check()
    if orders.once:
        console.check(len(orders.texts) + (orders.request is not None))


def _as_json(answer: Answer) -> str:
    return "" if answer.data is None else json.dumps(answer.data, ensure_ascii=False)


@attrs.define
class _Console:
    """Shows what happens at the gateway, and pushes the events that are requested."""

    gateway: Gateway
    conversation: Conversation
    nursery: trio.Nursery
    once: bool
    """Only the first answer to each event counts."""
    _pushes: list[Push] = attrs.field(factory=list)
    _messages: int = 0
    """How many messages of bots were shown."""
    _growing: AsyncValue[int] = attrs.field(factory=lambda: AsyncValue(0))
    """How many of them grow at the moment."""

    def introduce(self) -> None:
        """Show how a bot connects to the gateway."""
        gateway = self.gateway
        use = (
            "It ends once all that is pushed is answered."
            if self.once
            else "A line here is a message to the bot, [Yes] a click on the button Yes; JSON is an event's payload. "
            "Ctrl-C ends it."
        )
        self.conversation.introduce(
            "A gateway for a bot that is started with\n\n"
            f"  export FEISHU_DOMAIN={gateway.domain}\n"
            f"  export FEISHU_APP_ID={gateway.app_id}\n"
            f"  export FEISHU_APP_SECRET={gateway.app_secret}\n\n"
            f"{use}"
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
        while True:
            await self.gateway.wait_message(self._messages + 1)
            self._show_messages()

    def _show_messages(self) -> None:
        for message in self.gateway.messages[self._messages :]:
            self._messages += 1
            match message.content:
                case {"type": "card", "data": {"card_id": _}}:
                    self._growing.value += 1
                    self.nursery.start_soon(self._follow_card, message)
                case _:
                    self._show_text(self._text_of(message), message.kind)

    def _show_text(self, text: str, note: str) -> None:
        self.conversation.line("bot", shortened(text, _MAX_TEXT), note)

    def _text_of(self, message: Message) -> str:
        """A message as a person sees it; where nobody can, as it was sent."""
        if message.message_id and (text := self.gateway.shown(message).text):
            return text
        written = json.dumps(message.content, ensure_ascii=False)
        try:
            return plain_text(parse_content(message.msg_type, written), {}) or written
        except EventDecodeError:
            return written

    async def _follow_card(self, message: Message) -> None:
        """Show what is added to an answer that streams, once in a while, and all of it when it is whole."""
        with suppress(LookupError):  # so many have come since that the gateway has forgotten it
            while True:
                try:
                    await self._show_growth(message)
                finally:
                    self._growing.value -= 1
                # The next run of the handler may go on in it.
                await self.gateway.wait_shown(message, lambda shown: shown.is_streaming)
                self._growing.value += 1

    async def _show_growth(self, message: Message) -> None:
        before = ""
        while (now := self.gateway.shown(message)).is_streaming:
            goes_on = now.text.startswith(before)
            if added := now.text.removeprefix(before).strip() if goes_on else now.text:
                self._show_text(f"… {added}" if before and goes_on else added, "streams")
            before = now.text
            with trio.move_on_after(_EVERY):
                await self.gateway.wait_shown(message, lambda shown: not shown.is_streaming)
        self._show_text(now.text, message.kind)

    async def push_lines(self, lines: AsyncGenerator[str, None]) -> None:
        """Push lines; the gateway stays open after the last one, unless that is Ctrl-D, which ends it as Ctrl-C does."""
        async with aclosing(lines):
            async for line in lines:
                if line.startswith("{"):
                    await self._push_payload(line)
                elif line.startswith("[") and line.endswith("]"):
                    await self._connected()
                    self.conversation.line(YOU.name, line)
                    self.nursery.start_soon(self._click, line[1:-1])  # it waits for the bot's answer
                elif line:
                    await self.push_texts([line])
        if can_prompt():
            signal.raise_signal(signal.SIGINT)

    async def push_texts(self, texts: Sequence[str]) -> None:
        """Push messages."""
        for text in texts:
            await self._connected()
            self._show((await self._you.says(text)).push)

    async def push_once(self, texts: Sequence[str], request: PushRequest | None) -> None:
        """Push messages and an event, and wait for an answer to each, and for replies to the messages."""
        await self.push_texts(texts)
        if request is not None:
            await self._push(request)
        async with trio.open_nursery() as nursery:
            for push in self._pushes:
                nursery.start_soon(self._follow, push)
        # A bot may reply after its answer, or never.
        with trio.move_on_after(_REPLIES):
            await self.gateway.wait_message(len(texts))
        await trio.sleep(_QUIET)
        self._show_messages()
        await self._growing.wait_value(0)

    def check(self, count: int) -> None:
        """Raise `Failed` unless so many were pushed, and the first answer to each is 200."""
        codes = [push.answers[0].code for push in self._pushes if push.answers]
        if not self._pushes:
            raise Failed("no bot has connected; give it longer with --timeout, or see why it does not")
        if (missing := count - len(codes)) > 0:
            raise Failed(f"the bot did not answer {missing} of {counted(count, 'event')}")
        if wrong := [str(code) for code in codes if code != 200]:
            raise Failed(
                f"the bot answered {', '.join(wrong)} to {len(wrong)} of {counted(count, 'event')}; its log says why"
            )

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
            self._track(clicked.push, lambda answer: self._result_of(clicked, answer))
            if clicked.flaw is not None:
                self.conversation.line("gateway", f"Feishu would show an error: {clicked.flaw}")

    def _result_of(self, clicked: Clicked, answer: Answer) -> str:
        """What a person sees of the answer to a click: a toast, and the card, unless that streams."""
        if clicked.flaw is not None:
            return _as_json(answer)
        toast = f"toast: {clicked.toast}" if clicked.toast else ""
        now = self.gateway.shown(clicked.message_id)
        card = now.text if clicked.card is not None and not now.is_streaming else ""
        return "\n".join(filter(None, (toast, card)))

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
        self._track(push, _as_json)

    def _track(self, push: Push, result_of: Callable[[Answer], str]) -> None:
        if self.once:
            self._pushes.append(push)
        else:
            self.nursery.start_soon(self._follow, push, result_of)

    async def _follow(self, push: Push, result_of: Callable[[Answer], str] = _as_json) -> None:
        """Show every delivery but the first, and every answer, until the event is settled."""
        delivered, answered = 1, 0
        while True:
            for _ in push.deliveries[delivered:]:
                self.conversation.line("gateway", f"delivered {push.event_type} again")
            for answer in push.answers[answered:]:
                self.conversation.line("bot", shortened(result_of(answer), _MAX_LENGTH), answer_note(answer))
            delivered, answered = max(delivered, len(push.deliveries)), len(push.answers)
            if push.done or (self.once and push.answers):
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
