"""What a handler is given: `Event`, the facts of the envelope, and the body once somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeGuard, TypeVar, cast

import msgspec

from .._quiet import QuietStruct
from ._json import UNFIT, read_patiently, unfit, write_patiently
from .answers import Card
from .catalogue import model_for
from .content import Content, Resource, parse_content, plain_text, resources_of
from .port import BotInfo, Choice, EventApi, EventPort, Notes, Sendable, Sent, Streamed
from .subject import Person, body_of, chat_of, doer_of, message_of, thread_of
from .types import IM_MESSAGE_RECEIVE_V1

if TYPE_CHECKING:
    from .im import Mention, Message, MessageReceived

__all__ = ["Event"]

T_co = TypeVar("T_co", covariant=True)

_UNREAD: Any = msgspec.UNSET
_LONGEST_NAME: Final = 100  # characters of a mentioned name: it may stand in a text thousands of times
# It stands for the bot in a text that the bot's mentions are taken out of: a code point that is no character.
_BOT: Final = "\ufdd0"
_SPACES: Final = (" ", "\t", "\u00a0", "\u3000")
_SHOWN: Final = 100  # characters of a type or an id that a message repeats: it may be 100 kB of nonsense
# Parts of a second, and the smallest number read in them: 1973 there is the year 5138 in the next larger.
_UNITS: Final = ((1_000_000, 1e14), (1_000, 1e11))

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_unknown_body = msgspec.json.Decoder(dict[str, Any] | None).decode

_BodyDecoder = Callable[[msgspec.Raw], Any]  # None for null
_body_decoders: dict[str, _BodyDecoder] = {}  # of the types in the catalogue alone, so that it stays small
_EMPTY: Final = msgspec.Raw(b"{}")


class Event(QuietStruct, Generic[T_co], eq=False):
    """One event or callback, as it was delivered: `T_co` is the type of its `data`.

    Made by `decode_event`; the attributes are facts of the envelope, and reading them costs nothing.
    """

    payload: bytes
    """The whole payload, as it came."""
    body: msgspec.Raw
    """The bytes of the body (`event`), not decoded: for a look that costs less than `data`."""
    schema: Literal["1.0", "2.0"]
    """Which of the two envelopes it came in."""
    id: str
    """`event_id` (2.0) or `uuid` (1.0), the same for every delivery of the event; "" if it came without."""
    type: str
    """The event type, such as `im.message.receive_v1`."""
    _created: str | None
    app_id: str | None
    """The app the event is for."""
    tenant_key: str | None
    """The tenant it happened in."""
    message_id: str
    """The frame's `message_id`, one for each delivery; a chat message's id is `data.message.message_id`."""
    trace_id: str
    """The frame's `trace_id`: what Feishu's support asks for."""
    _received: float
    redelivered: bool = False
    """Whether the platform had sent this event before."""
    attempt: int = 1
    """Which attempt this is of an event from an inbox; 1 at first, and for all others."""
    settle: Callable[[bool, Any], None] | None = None
    """What `ack` and `nack` call, with success and result; set by whoever leaves the answer to the user."""
    port: EventPort | None = None
    """What it speaks through; set by the session that handles it."""
    notes: Notes | None = None
    """Where what was said of it is kept, if it comes from an inbox."""
    _identity: tuple[tuple[str, ...], str | None] | None = None
    """What the engine knows it by, and its chat; kept if it may be stored."""
    _memo: dict[Any, Any] | None = None
    _data: Any = _UNREAD
    _raw: Any = _UNREAD

    def __repr__(self) -> str:
        # The payload carries people's data, and the envelope a token: neither belongs in a log.
        return f"<Event {_short(self.type)} id={_short(self.id)}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("type", _short(self.type)), ("id", _short(self.id))]

    @property
    def create_time(self) -> datetime | None:
        """When it happened, in UTC; None if the envelope does not say, or says what is no time.

        The platform writes milliseconds, in callbacks microseconds, and in 1.0 seconds with a fraction.
        """
        return _instant(self._created)

    @property
    def received_at(self) -> datetime:
        """When it was received from Feishu, in UTC: by another process, perhaps."""
        return datetime.fromtimestamp(self._received, UTC)

    @property
    def data(self) -> T_co:
        """The body, decoded on first use: the model of the event's type, a dict where the catalogue has none.

        What the model does not know is left to `raw`, what the body does not have is None, numbers may come
        as strings. A body that is missing or null is an empty one.

        Raises:
            EventDecodeError: the body does not fit the model; the message names the path. `raw` still works.
        """
        if self._data is _UNREAD:
            self._data = self._decode_body()
        return cast("T_co", self._data)

    def _decode_body(self) -> object:
        decode = _body_decoder(self.type)
        try:
            data = decode(self.body)
            return decode(_EMPTY) if data is None else data
        except UNFIT as error:
            raise unfit(f"the body of {self!r}", error, "event") from error

    @property
    def raw(self) -> dict[str, Any]:
        """The whole payload as a dict, decoded on first use; the same dict each time.

        Raises:
            EventDecodeError: it is more than can be held, such as a number of thousands of digits.
        """
        if self._raw is _UNREAD:
            self._raw = self._decode_payload()
        return cast("dict[str, Any]", self._raw)

    def _decode_payload(self) -> dict[str, Any]:
        try:
            return _decode_object(self.payload)
        except UNFIT:
            try:
                return _decode_object(write_patiently(read_patiently(self.payload)))
            except UNFIT as error:
                raise unfit(f"the payload of {self!r}", error, "$") from error

    # What it is about

    @property
    def chat_id(self) -> str:
        """The chat of a message, of what was done to one, of a card, or that was itself changed; "" if none is named.

        An event about a reaction does not name it.
        """
        return chat_of(body_of(self.body))

    @property
    def about(self) -> str:
        """The id of the chat message that this is, or that was reacted to, read, recalled, or clicked on; "" if none.

        A reply to the event is a reply to it.
        """
        return message_of(self.type, body_of(self.body))

    @property
    def sender(self) -> Person:
        """Who wrote the message, clicked, reacted, or did what the event tells of; a `Person` without ids if none is named."""
        return doer_of(body_of(self.body))

    @property
    def thread_key(self) -> str:
        """What `by_thread` has as its key: a message's thread, the message that it answers, or its chat; "" if none."""
        return thread_of(self.type, body_of(self.body))

    # What a message says

    @property
    def content(self) -> Content | None:
        """A message's content, as the class of its type in `events.content`; None if this is no message.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        message = self._message
        return parse_content(message.message_type, message.content) if _says_something(message) else None

    @property
    def text(self) -> str | None:
        """The text of a text, post or interactive message, with `@Name` for a mention; None of all else.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        content = self.content
        return None if content is None else plain_text(content, self._names())

    @property
    def text_to_me(self) -> str:
        """`text` without the mentions of the bot, and without space around them and it; "" where there is no text.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
            RuntimeError: it is not known who the bot is.
        """
        bot, content = self._bot(), self.content
        if content is None:
            return ""
        keys = [each.key for each in self.mentions if each.id is not None and each.id.open_id == bot.open_id]
        names = self._names() | dict.fromkeys([*filter(None, keys), bot.open_id], _BOT)
        return _without(f"@{_BOT}", plain_text(content, names) or "")

    @property
    def markdown(self) -> str:
        """A message of any kind as Markdown, with `@Name` for a mention; "" if this is no message.

        What Markdown would take for markup is escaped. An image is `![image](key)`, a file `[name](key)`, and what
        has no Markdown a text in brackets, such as `[location: West Lake]`.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        from .markdown import markdown_of  # here, as it is not wanted by all, and takes a while to load

        message = self._message
        if not _says_something(message):
            return ""
        return markdown_of(message.message_type, message.content, self._names())

    @property
    def resources(self) -> tuple[Resource, ...]:
        """The images, files, audios, videos and stickers in a message, those in a post too; none if this is none.

        Raises:
            EventDecodeError: the body or the content does not fit; the message names the path.
        """
        content = self.content
        return () if content is None else resources_of(content)

    @property
    def mentions(self) -> tuple[Mention, ...]:
        """Who is mentioned in a message; nobody, if this is none.

        Raises:
            EventDecodeError: the body does not fit; the message names the path.
        """
        message = self._message
        return () if message is None else message.mentions or ()

    def is_mentioned(self, open_id: str) -> bool:
        """Whether a message mentions this person or bot by name; `@all` mentions nobody by name.

        Raises:
            EventDecodeError: the body does not fit; the message names the path.
        """
        return any(mention.id is not None and mention.id.open_id == open_id for mention in self.mentions)

    @property
    def _message(self) -> Message | None:
        return cast("MessageReceived", self.data).message if self.type == IM_MESSAGE_RECEIVE_V1 else None

    def _names(self) -> dict[str, str]:
        """The names of those who are mentioned, by what stands for them in a text."""
        mentions = self.mentions
        names = {each.key: each.name[:_LONGEST_NAME] for each in mentions if each.key and each.name}
        return {"@_all": "all"} | names

    # What it speaks through

    @property
    def api(self) -> EventApi:
        """Feishu's HTTP API, with this app's token: `session.api` of the session that handles the event.

        Raises:
            RuntimeError: no session handles it, as it was made by `decode_event`.
        """
        return self._port().api

    async def reply(
        self,
        content: Sendable,
        msg_type: str | None = None,
        *,
        in_thread: bool | None = None,
        quote: bool = True,
    ) -> Sent:
        """Reply: to the message that the event is of, or into the chat where it happened.

        Said once: what a handler says carries an id made of the event, the handler's name, and how many things it has
        said before, so that Feishu drops what a second run of the handler says again within an hour. From an inbox
        the event also knows what was said, so that a later run does not say it either, and gets the same `Sent`.

        Args:
            content: A text; `Markdown`; a card, as `Card` or a dict; or `Image`, `File` and others of
                `feishu_trio.events.content`, with keys of what was uploaded. A long `Markdown` becomes several messages.
            msg_type: What a str or a dict is, if not a text or a card: "markdown", "image", "post" and so on.
            in_thread: Whether it goes into a thread; None: if the message did.
            quote: Whether it shows what it replies to; what is in a thread always does.

        Raises:
            ApiError: It could not be sent, or there is no chat to send it to; `MessageGone` if the message was recalled.
            InboxError: It was sent, and that could not be noted.
            RuntimeError: No session handles the event.
        """
        return await self._port().reply(self, content, msg_type, in_thread=in_thread, quote=quote)

    def stream(
        self, *, in_thread: bool | None = None, quote: bool = True, interrupted: str = "*(interrupted)*"
    ) -> AbstractAsyncContextManager[Streamed]:
        """Reply with an answer that grows while it is written: `async with event.stream() as answer`.

        It is a card, whose text is markdown, with a new one where that is too long; where the app may not use cards
        that stream, an ordinary message at the end of the block. Left by an exception or cancelled, it ends with
        `interrupted`. With an inbox, the handler's next run goes on with the same card, from an empty text on; a whole
        answer is not written again.

        Args:
            in_thread: As for `reply`.
            quote: As for `reply`.
            interrupted: The markdown that an answer ends with that is not whole.

        Raises:
            ApiError: The answer could not be begun, or not be shown to its end.
            InboxError: What is to be noted could not be.
            RuntimeError: No session handles the event.
        """
        return self._port().stream(self, in_thread=in_thread, quote=quote, interrupted=interrupted)

    async def ask(
        self,
        question: str | Card | Mapping[str, Any],
        choices: Sequence[str] | Mapping[str, str] = (),
        *,
        allowed: str | Collection[str] | None = None,
        timeout: float | None = None,
        in_thread: bool | None = None,
        quote: bool = True,
    ) -> Choice:
        """Ask, and wait for the first click of somebody who is allowed to answer.

        The card then shows what was chosen. Whoever else clicks, or later, is told so. Cancelled, the question is
        closed; with an inbox the handler's next run asks it on, or has its answer at once.

        Args:
            question: Markdown, or a card, as a dict or `Card.raw`, with buttons or other elements to click of its own.
            choices: For markdown: the buttons' texts, or a dict of them by what is returned.
            allowed: Ids of people who may answer; "*" for anyone; None for whoever the event is from.
            timeout: Seconds to wait, more than 0; None for as long as the handler may.
            in_thread: As for `reply`.
            quote: As for `reply`.

        Raises:
            TimeoutError: Nobody answered in time.
            ApiError: It could not be asked, or this is a worker, to which no clicks come.
            ConfigError: There is nothing to click, or nobody is allowed to; or an argument is something else.
            InboxError: What is to be noted could not be.
            RuntimeError: No session handles the event.
        """
        return await self._port().ask(
            self,
            question,
            choices,
            allowed=allowed,
            timeout=timeout,
            in_thread=in_thread,
            quote=quote,
        )

    async def cancel(self, key: Hashable = None) -> int:
        """End what runs or waits behind an order key, as `Session.cancel`: None is the event's chat. How many events.

        The handler that calls this goes on.

        Raises:
            InboxError: What is stored could not be ended.
            RuntimeError: No session handles the event, or it happened in no chat.
        """
        key = self.chat_id if key is None else key
        if key == "":
            raise RuntimeError(f"{self!r} happened in no chat: say behind which key all is to end")
        return await self._port().cancel(key)

    def _bot(self) -> BotInfo:
        bot = self._port().bot
        if bot is None:
            raise RuntimeError(
                f"{self!r} has no text_to_me, as nobody has asked Feishu who the bot is: give the handler "
                "`where=to_me()`, or call `await session.api.bot()` first"
            )
        return bot

    def _port(self) -> EventPort:
        if self.port is None:
            raise RuntimeError(
                f"{self!r} is not handled by a session, so there is nothing to call Feishu with"
            )
        return self.port

    @property
    def memo(self) -> dict[Any, Any]:
        """What those who speak for it keep of this run."""
        if self._memo is None:
            self._memo = {}
        return self._memo

    # Its answer

    def ack(self, result: object = None) -> None:
        """Answer that the event is handled, with `result` as a callback's answer.

        Raises:
            RuntimeError: the answer is not the user's, but follows from what the handlers do.
        """
        self._settle(True, result)

    def nack(self) -> None:
        """Answer that handling failed: the platform delivers the event again, unless it is a callback.

        Raises:
            RuntimeError: the answer is not the user's, but follows from what the handlers do.
        """
        self._settle(False, None)

    def _settle(self, handled: bool, result: object) -> None:
        if self.settle is None:
            raise RuntimeError(
                f"{self!r} is answered when its handlers are done, by what they return or raise; "
                "ack() and nack() are for the events of session.events()"
            )
        self.settle(handled, result)


def _says_something(message: Message | None) -> TypeGuard[Message]:
    return message is not None and bool(message.message_type or message.content)


def _body_decoder(event_type: str) -> _BodyDecoder:
    known = _body_decoders.get(event_type)
    if known is None:
        model = model_for(event_type)
        if model is None:
            return _decode_unknown_body
        # Numbers may come as strings: those of 64 bits always do.
        known = _body_decoders[event_type] = msgspec.json.Decoder(model | None, strict=False).decode
    return known


def _without(mark: str, text: str) -> str:
    """A text without a mark; of the spaces around it one is left, between words."""
    return "\n".join(_line_without(mark, line) if mark in line else line for line in text.split("\n")).strip()


def _line_without(mark: str, line: str) -> str:
    pieces: list[str] = []
    space = ""
    for piece in line.split(mark):
        if piece.startswith(_SPACES):
            space = " "
        bare = piece.strip("".join(_SPACES))
        if bare:
            pieces += (space if pieces else "", bare)
            space = ""
        if piece.endswith(_SPACES):
            space = " "
    return "".join(pieces)


def _instant(written: str | None) -> datetime | None:
    try:
        number = float(written or 0)
        if not number > 0:
            return None
        unit = next((unit for unit, first in _UNITS if number >= first), 1)
        return datetime.fromtimestamp(number / unit, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _short(text: str) -> str:
    escaped = repr(text[:_SHOWN])[1:-1]  # a line of a log stays one line
    return escaped if len(text) <= _SHOWN else f"{escaped}…"
