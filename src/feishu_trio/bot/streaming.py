"""Streamed answers: a card whose text grows, with one writer, and the newest text first."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any, Final

import msgspec
import trio

from ..api import Api
from ..api.markdown import card_texts
from ..errors import ApiError, InboxError, PermissionMissing, first_error
from ..events import Event
from ..events.content import Markdown
from ..events.port import Sent
from ..telemetry.fields import of_event
from ..telemetry.limits import LogLimit
from .replying import reply, say
from .speech import Saying

__all__ = ["StreamedAnswer", "open_stream"]

logger = logging.getLogger("feishu_trio.bot")

_PACE: Final = 0.1  # seconds from one operation to the next: Feishu takes ten a second for a card
_FINISH: Final = 20.0  # seconds for the end of an answer that is whole
_BREAK: Final = 5.0  # seconds for the end of one that is not
_REST: Final = 9  # how many times as long as it took to divide a text nothing is written
_AGAIN: Final = 1.0  # seconds after which what could not be shown is tried again
_TRIES: Final = 3  # of the last operations, which nothing newer replaces
_ELEMENT: Final = "answer"
# Sequence numbers of one run of the handler: those of the next begin higher, whatever the last one came to.
_SEQUENCES: Final = 100_000
# What Feishu says where the card has stopped streaming by itself, after ten minutes.
_CLOSED: Final = (200850, 300309)
# What it says while somebody clicks on the card: it does not take this operation, and will take the next.
_BUSY: Final = 200810
# What it says where a number was too low: another run of the handler goes on with the card, as this one lost its event.
_OUTRUN: Final = (300302, 300311, 300317)
# What it says where there are no such calls, or a card cannot be sent.
_NO_CARDS: Final = (404, 230099)
_BLANK: Final = " "  # in place of an empty text, which Feishu does not take


class _Card(msgspec.Struct):
    """One card of an answer: what is noted of it, and where it stands."""

    card_id: str
    message_id: str | None = None
    shown: str | None = ""
    """None: it is not known, as an earlier run showed it."""
    is_streaming: bool = True
    may_be_sent: bool = False
    uuid: str = msgspec.field(default_factory=lambda: secrets.token_hex(16))
    """Of its message, where no notes are kept: the card of an earlier run is not known then, and what has the uuid that
    this had would show that one for ever."""


class _Noted(msgspec.Struct):
    """What is noted of a streamed answer."""

    cards: list[tuple[str, str | None]] = []
    """Ids of cards and of the messages that show them."""
    runs: int = 0
    """How often the handler has begun it."""
    is_whole: bool = False


class StreamedAnswer:
    """An answer that grows while it is written; made by `Event.stream`.

    What is appended is shown at once or with what comes after it, ten times a second at the most. A text too long for
    one card goes on in the next. Where the app may not use cards, it is an ordinary message at the end.
    """

    def __init__(
        self,
        api: Api,
        event: Event[Any],
        saying: Saying,
        limit: LogLimit,
        *,
        in_thread: bool | None,
        quote: bool,
    ) -> None:
        self._api = api
        self._event = event
        self._saying = saying
        self._limit = limit
        self._place: dict[str, Any] = {"in_thread": in_thread, "quote": quote}
        self._text = ""
        self._cards: list[_Card] = []
        self._noted = _Noted()
        self._sequence = 0
        self._next_at = 0.0
        self._changed = trio.lowlevel.ParkingLot()
        self._is_changed = False
        self._has_cards = True
        self._sent: Sent | None = None
        self._is_over = False

    @property
    def text(self) -> str:
        """All of it, in markdown."""
        return self._text

    @property
    def message_ids(self) -> tuple[str, ...]:
        """The messages that show it so far."""
        if self._sent is not None:
            return self._sent.message_ids
        return tuple(card.message_id for card in self._cards if card.message_id)

    async def append(self, text: str) -> None:
        """Add to the text; whoever calls this does not wait until it is shown.

        Raises:
            TypeError: It is no text.
            RuntimeError: The block of the answer has been left.
        """
        await self.replace(self._text + _checked(text))

    async def replace(self, text: str) -> None:
        """Put a text in the place of all there is; whoever calls this does not wait until it is shown.

        Raises:
            TypeError: It is no text.
            RuntimeError: The block of the answer has been left.
        """
        text = _checked(text)
        if self._is_over:
            raise RuntimeError(
                "the answer has ended: write to it within its block, `async with event.stream() as answer:`"
            )
        self._text = text
        self._is_changed = True
        self._changed.unpark_all()
        await trio.lowlevel.checkpoint()

    # Its life

    def close(self) -> None:
        """From here on nothing can be written to it."""
        self._is_over = True

    async def begin(self) -> None:
        """Show that there is going to be an answer; or go on with the one that the handler began when it ran before."""
        noted = self._saying.noted()
        if noted is not None:
            self._noted = msgspec.convert(noted, _Noted)
        for card_id, message_id in self._noted.cards:
            # Whether it streams, and what it shows, the run before has not said.
            self._cards.append(_Card(card_id, message_id, None, is_streaming=False))
        if self._noted.is_whole:
            return
        self._noted.runs += 1
        self._sequence = self._noted.runs * _SEQUENCES
        with self._without_cards():
            if not self._cards:
                await self._add_card()
            else:
                await self._note()
                await self._show(self._cards[-1])

    async def write(self) -> None:
        """Show what there is, the newest first, until cancelled."""
        while True:
            while not self._is_changed:
                await self._changed.park()
            self._is_changed = False
            try:
                await self._put()
            except (ApiError, InboxError) as error:
                logger.debug(
                    "%r: a streamed answer waits: %s", self._event, error, extra=of_event(self._event)
                )
                self._is_changed = True
                await trio.sleep(_AGAIN)

    async def finish(self) -> None:
        """Show all of it, and end it."""
        if self._noted.is_whole:
            return
        for tries in range(_TRIES, 0, -1):
            try:
                await self._put(is_last=True)
                break
            except ApiError:
                if tries == 1:
                    raise
                await trio.sleep(_AGAIN)
        if not self._has_cards and self._text.strip():
            content = Markdown(_whole(self._text))
            self._sent = await reply(self._api, self._event, self._of_message(), content, None, **self._place)
        self._noted.is_whole = True
        await self._note()

    async def break_off(self, mark: str) -> None:
        """Say that there will be no more of it, unless it goes on when the handler runs again."""
        if self._noted.is_whole or not self._has_cards:
            return
        if not self._text and not any(card.may_be_sent for card in self._cards):
            return  # nobody has seen that it began
        self._text = f"{self._text}\n\n{mark}" if self._text else mark
        await self._put(is_last=True)

    def warn(self, message: str, error: Exception) -> None:
        """Log what went wrong."""
        self._limit.log(logger, logging.WARNING, message, error, extra=of_event(self._event))

    # Inside

    def _of_message(self) -> Saying:
        saying = self._saying
        return Saying(f"{saying.uuid}-m", saying.handler, f"{saying.key} message", saying.notes)

    async def _put(self, *, is_last: bool = False) -> None:
        """Bring the cards to what the text is now."""
        if self._noted.is_whole or not self._has_cards:
            return
        with self._without_cards():
            parts = self._parts(is_last=is_last)
            parts += [""] * (len(self._cards) - len(parts))  # the text was replaced by a shorter one
            for number, part in enumerate(parts):
                if number == len(self._cards):
                    await self._add_card()
                card = self._cards[number]
                if card.shown != part:
                    await self._show(card, part)
                if card.is_streaming and (is_last or number < len(parts) - 1):
                    await self._set_streaming(card, False)

    def _parts(self, *, is_last: bool) -> list[str]:
        """The texts of the cards. The longer it takes to divide the text, the seldomer it is done."""
        began = perf_counter()
        parts = card_texts(_whole(self._text)) or [""]
        if not is_last:
            self._next_at = max(self._next_at, trio.current_time() + _REST * (perf_counter() - began))
        return parts

    async def _add_card(self) -> None:
        """Make one more card, and send it."""
        card = _Card(await self._api.create_card(_card_json()))
        self._cards.append(card)
        await self._note()
        await self._send(card)

    async def _send(self, card: _Card) -> None:
        number = self._cards.index(card)
        content = {"type": "card", "data": {"card_id": card.card_id}}
        uuid = f"{self._saying.uuid}-{number}" if self._saying.notes else card.uuid
        card.may_be_sent = True
        try:
            card.message_id = await say(self._api, self._event, content, "interactive", uuid, **self._place)
        except ApiError as error:
            card.may_be_sent = (error.status or 500) >= 500
            raise
        await self._note()

    async def _show(self, card: _Card, text: str | None = None) -> None:
        """Have a card stream, and show a text; None for what it shows already."""
        if card.message_id is None:
            await self._send(card)
        if not card.is_streaming:
            await self._set_streaming(card, True)
        if text is None:
            return
        try:
            await self._set_text(card, text)
        except ApiError as error:
            if error.code not in _CLOSED:
                raise
            await self._set_streaming(card, True)
            await self._set_text(card, text)
        card.shown = text

    async def _set_text(self, card: _Card, text: str) -> None:
        sequence = await self._turn()
        await self._api.update_card_text(card.card_id, _ELEMENT, text or _BLANK, sequence)

    async def _set_streaming(self, card: _Card, is_streaming: bool) -> None:
        sequence = await self._turn()
        await self._api.set_card_streaming(card.card_id, is_streaming, sequence)
        card.is_streaming = is_streaming

    async def _turn(self) -> int:
        """Wait until one more operation may be done; its number."""
        await trio.sleep_until(self._next_at)
        self._next_at = trio.current_time() + _PACE
        self._sequence += 1
        return self._sequence

    async def _note(self) -> None:
        self._noted.cards = [(card.card_id, card.message_id) for card in self._cards]
        await self._saying.note(self._noted)

    @contextmanager
    def _without_cards(self) -> Iterator[None]:
        """Do without cards where they are not to be had, and write no more to one with which another run goes on."""
        try:
            yield
        except ApiError as error:
            if error.code in _OUTRUN:
                self._noted.is_whole = True
            elif isinstance(error, PermissionMissing) or _is_of_cards(error):
                self._has_cards = False
                self.warn("no card can be streamed, so the answer is a message at its end: %s", error)
            else:
                raise


@asynccontextmanager
async def open_stream(answer: StreamedAnswer, interrupted: str) -> AsyncGenerator[StreamedAnswer, None]:
    """The life of a streamed answer: it begins, is written while the block runs, and ends whatever happens."""
    failure: BaseException | None = None
    is_whole = False
    writing = trio.CancelScope()

    async def write() -> None:
        with writing:
            await answer.write()

    try:
        async with trio.open_nursery() as nursery:
            try:
                await answer.begin()
                nursery.start_soon(write)
                yield answer
                is_whole = True
            except BaseException as error:
                failure = error  # raised below, so that the nursery does not wrap it in a group
            finally:
                answer.close()
                writing.cancel()
    except (
        BaseException
    ) as error:  # it was cancelled, too; or the writer has failed, which cancelled the block
        if failure is None or isinstance(failure, trio.Cancelled):
            other = first_error(error) if isinstance(error, BaseExceptionGroup) else None
            failure = other or failure or error
    if failure is None:
        try:
            with trio.move_on_after(_FINISH) as ending:
                await answer.finish()
        except trio.Cancelled as cancelled:
            failure = cancelled
        else:
            if ending.cancelled_caught:
                raise ApiError(f"the end of a streamed answer was not shown within {_FINISH:g} s")
            return
    with trio.move_on_after(_BREAK, shield=True):
        try:
            await (answer.finish() if is_whole else answer.break_off(interrupted))
        except (ApiError, InboxError) as error:
            answer.warn("a streamed answer broke off, which could not be shown: %s", error)
    raise failure


def _whole(text: str) -> str:
    """A text that can be sent: halves of a character that came one after the other are one."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _checked(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text: a str is wanted, not {type(text).__name__}")
    return text


def _is_of_cards(error: ApiError) -> bool:
    """Whether cards are not to be had at all, or not this one any more: no trying again helps."""
    code = error.code
    if code is None or code == _BUSY:
        return False
    return 200700 <= code < 200900 or 300300 <= code < 300400 or code in _NO_CARDS


def _card_json() -> dict[str, Any]:
    return {
        "schema": "2.0",
        "config": {"streaming_mode": True, "summary": {"content": "…"}},
        "body": {"elements": [{"tag": "markdown", "element_id": _ELEMENT, "content": ""}]},
    }
