"""An event on its way to a bot: the push, its deliveries, and their answers."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import attrs
import msgspec
import trio

from ..wire import DATA, Frame, encode_frame
from ._frames import Parcel, header_pairs
from ._json import decoded

if TYPE_CHECKING:
    from ._connection import GatewayConnection


@attrs.frozen(eq=False)
class Answer:
    """A client's answer to a delivery."""

    code: int
    """200, or 500 if handling failed."""
    data: object
    """What the handler returned, decoded; None if nothing."""
    frame: Frame = attrs.field(repr=False)
    """As received."""
    at: float
    """When it was received, by trio's clock."""
    latency: float
    """Seconds since the delivery it answers."""
    connection: GatewayConnection
    """The one that carried it, which need not be the one of the delivery."""

    @property
    def raw(self) -> bytes:
        """The frame's bytes."""
        return self.frame.raw

    @property
    def headers(self) -> Mapping[str, str]:
        """The frame's headers; the first value of a repeated one."""
        return self.frame.headers

    @property
    def header_pairs(self) -> list[tuple[str, str]]:
        """The frame's headers in order, repeated ones too."""
        return header_pairs(self.frame.raw)

    @property
    def biz_rt(self) -> int | None:
        """The client's measure of its handler, in milliseconds; None if it sent none."""
        value = self.frame.headers.get("biz_rt")
        return None if value is None else int(value)


@attrs.define(eq=False)
class Delivery:
    """One delivery of an event, or of a callback, to a client."""

    connection: GatewayConnection
    """The one that it was sent on."""
    at: float
    """When, by trio's clock."""
    message_id: str
    """The frames' header `message_id`, a new one for each delivery unless the push names one."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """As sent; of a split message those of its first part, `seq` 0."""
    seq_id: int
    """The frames' `SeqID`."""
    log_id: int
    """The frames' `LogID`."""
    _parcel: Parcel = attrs.field(repr=False)
    answered: bool = False
    """Whether an answer to this delivery was received, with any code."""
    expired: bool = False
    """Whether it failed: answered 500, or not in time."""

    def frames(self) -> list[bytes]:
        """The frames to send, in order."""
        return [
            encode_frame(
                seq_id=self.seq_id,
                log_id=self.log_id,
                service=self.connection.service_id,
                method=DATA,
                headers=self._headers_of(part),
                payload=self._parcel.parts[part],
            )
            + self._parcel.extra
            for part in self._parcel.order
        ]

    def check(self, answer: Frame) -> None:
        """Raise ValueError, with the reason, unless `answer` repeats the frame that made the message whole.

        It may also repeat a part sent again after that.
        """
        sent = (self.seq_id, self.log_id, self.connection.service_id, DATA)
        received = (answer.seq_id, answer.log_id, answer.service, answer.method)
        if received != sent:
            raise ValueError(f"its SeqID, LogID, service and method are {received}; the frame's were {sent}")
        if not self._parcel.answerable:
            raise ValueError("the message never was whole: a part was withheld")
        for part in self._parcel.answerable:
            if answer.headers.items() >= self._headers_of(part).items():
                return
        last = self._headers_of(self._parcel.answerable[0])
        raise ValueError(f"its headers are {answer.headers}; those of the frame, {dict(last)}, must be kept")

    def _headers_of(self, part: int) -> Mapping[str, str]:
        return (
            {**self.headers, "seq": str(part)} if part and "seq" not in self._parcel.headers else self.headers
        )


@attrs.define(eq=False)
class Push:
    """An event, or a callback, pushed to the bot."""

    event_id: str
    """The event's id."""
    event_type: str
    """The event's type."""
    payload: bytes = attrs.field(repr=False)
    """The JSON, whole."""
    is_callback: bool
    """Never delivered again."""
    ladder: Sequence[float]
    """Seconds from each failed attempt to the next."""
    parcel: Parcel = attrs.field(repr=False)
    """How it is put into frames."""
    card_token: str | None = attrs.field(repr=False)
    """Of a card's callback: with it the card can be updated."""
    deliveries: tuple[Delivery, ...] = ()
    """Every delivery so far. An attempt without a live connection makes none."""
    answers: tuple[Answer, ...] = ()
    """Every answer so far, in order of arrival."""
    done: bool = False
    """Whether it is settled: there will be no further delivery."""
    settled_by: Answer | None = None
    """The first 200 or, after the last attempt, the last 500. For a callback the first answer, if in time."""
    tries: int = attrs.field(default=0, repr=False)
    """Attempts to deliver it, those without a live connection included."""
    _wake: trio.Event | None = attrs.field(default=None, init=False, repr=False)

    @property
    def status(self) -> int | None:
        """200 or 500 once an answer settled it; None before that, and if it was lost."""
        return None if self.settled_by is None else self.settled_by.code

    @property
    def lost(self) -> bool:
        """Whether it was settled without an answer (a callback: without one in time)."""
        return self.done and self.settled_by is None

    async def answer(self) -> Answer:
        """Wait for the first answer, whatever it says; `settled` waits for the last.

        Raises `TimeoutError` when it is lost without one. Cancelling this leaves the push as it is.
        """
        await self._until(lambda: bool(self.answers) or self.done)
        return self.answers[0] if self.answers else await self.settled()

    async def settled(self) -> Answer:
        """Wait for the answer that settles it: for an event answered 500 that may last the whole ladder.

        Raises `TimeoutError` when it is lost. Cancelling this leaves the push as it is.
        """
        await self._until(lambda: self.done)
        if self.settled_by is None:
            attempts = f"{len(self.deliveries)} deliveries in {self.tries} attempts"
            raise TimeoutError(f"{self.event_type} {self.event_id} is lost: no answer to {attempts}")
        return self.settled_by

    async def wait_answers(self, n: int = 1) -> tuple[Answer, ...]:
        """Wait until `n` answers were received, settling or not; returns all answers so far."""
        await self._until(lambda: len(self.answers) >= n)
        return self.answers

    async def wait_deliveries(self, n: int = 1) -> tuple[Delivery, ...]:
        """Wait until it was delivered `n` times; returns all deliveries so far."""
        await self._until(lambda: len(self.deliveries) >= n)
        return self.deliveries

    def changed(self) -> None:
        """Wake the tasks that wait for answers or deliveries."""
        if self._wake is not None:
            self._wake.set()
            self._wake = None

    async def _until(self, reached: Callable[[], bool]) -> None:
        await trio.lowlevel.checkpoint()
        while not reached():
            if self._wake is None:
                self._wake = trio.Event()
            await self._wake.wait()


class _AnswerBody(msgspec.Struct):
    code: int
    data: str | None = None


_BODY: Final = msgspec.json.Decoder(_AnswerBody)


def read_answer_body(payload: bytes) -> tuple[int, object]:
    """Code and data of an answer's payload; ValueError, with the reason, if it is malformed."""
    try:
        body = _BODY.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'its payload is {payload[:100]!r}, not {{"code": …, "data": …}}: {error}') from None
    if body.code not in {200, 500}:
        raise ValueError(f"its code is {body.code}; allowed is 200 or 500")
    if not body.data:
        return body.code, None
    try:
        return body.code, decoded(b64decode(body.data, validate=True))
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"its data is {body.data[:100]!r}, not JSON in base64: {error}") from None
