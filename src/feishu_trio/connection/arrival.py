"""A delivery that came over a connection, and the answer to it: what the engine decides becomes Feishu's bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Final, Protocol

from .._quiet import QuietStruct
from ..delivery import Delivery, Origin, Outcome
from ..wire import FAILED, OK, complete_answer, ok_with
from .outbox import Outgoing

__all__ = ["Answers", "Arrival", "TextArrival"]

_NONE: Final[Mapping[str, bytes | None]] = MappingProxyType({})


class Answers(Protocol):
    """Where answers go: the connection that the event came on."""

    owed: int
    """Answers that are still to be given to what came on it."""

    def post(self, item: Outgoing) -> None:
        """Have an answer written, by this connection or, if it has ended, by another."""


class Arrival(QuietStruct, eq=False):
    """One frame that carries an event, or the last part of one."""

    answers: Answers
    rest: bytes
    """The frame's bytes without the payload: what the answer begins with. The payload is not kept twice."""
    payload: bytes
    message_id: str
    trace_id: str
    received_at: float
    since: float
    deadline: float

    origin: ClassVar[Origin] = Origin.ARRIVED
    succeeded: ClassVar[Mapping[str, bytes | None]] = _NONE
    attempt: ClassVar[int] = 1
    notes: ClassVar[None] = None
    is_owned: ClassVar[bool] = True

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        """Answer: 200 with the result, if there is one, or 500, so that an event comes again."""
        result = outcome.result
        body = ok_with(result) if result is not None else OK if outcome.ok else FAILED
        answers = self.answers
        answers.owed -= 1
        answers.post(Outgoing(complete_answer(self.rest, body, int(took * 1000)), written))

    async def begin(self, batch: Sequence[Delivery]) -> None:
        """Nothing is to be done for it."""

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        """Nothing comes of it before the outcome."""

    def give_up(self) -> None:
        """It will not be answered."""
        self.answers.owed -= 1


class TextArrival(QuietStruct, eq=False):
    """An event that came as a JSON text message: it has no frame, and is not answered."""

    payload: bytes
    received_at: float
    since: float
    deadline: float
    message_id: str = ""
    trace_id: str = ""

    origin: ClassVar[Origin] = Origin.ARRIVED
    succeeded: ClassVar[Mapping[str, bytes | None]] = _NONE
    attempt: ClassVar[int] = 1
    notes: ClassVar[None] = None
    is_owned: ClassVar[bool] = True

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        """Nothing is sent, for this form has no answers."""
        if written is not None:
            written()

    async def begin(self, batch: Sequence[Delivery]) -> None:
        """Nothing is to be done for it."""

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        """Nothing comes of it."""

    def give_up(self) -> None:
        """Nothing waits for it."""
