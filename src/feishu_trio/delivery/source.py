"""What the engine knows of those who bring events: deliveries, what becomes of them, and their sources."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from .._quiet import QuietStruct
from ..events.port import Notes

__all__ = ["DONE", "Delivery", "Origin", "Outcome", "Source"]

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class Origin(enum.Enum):
    """On which side of an inbox a delivery stands: this decides which routes it runs."""

    ARRIVED = "arrived"
    """It comes from Feishu. It has dedupe keys and a deadline. All routes run for it, durable ones by being stored."""
    CLAIMED = "claimed"
    """It comes from an inbox, which has seen to dedupe and order: only durable routes run for it."""


ARRIVED, CLAIMED = Origin  # by these names, as looking up an enumeration's member takes ten times as long


class Outcome(QuietStruct, eq=False):
    """What became of a delivery. Treat it as if it were frozen."""

    ok: bool
    """Whether it is done: every handler that counts succeeded; a callback has a result, if it is a fallback."""
    result: bytes | None = None
    """The JSON of the answer to a callback; None for nothing."""
    succeeded: Mapping[str, bytes | None] = _NONE
    """The handlers that shall not run again, by name, with their results' JSON; empty for an arrived delivery that
    is done and has no result."""
    failed: Mapping[str, Exception] = _NONE
    """The handlers that failed, and what they raised."""
    again: bool = False
    """Whether it is to come again."""
    after: float | None = None
    """In so many seconds; None for whatever is usual where it comes from."""
    is_fault: bool = False
    """Whether it is to come again because a handler failed: not by a handler's wish (`Retry`), nor for its
    handlers were not begun, or were cancelled as the engine ended."""
    goes_on: bool = False
    """Whether a handler of it goes on in a thread: it is to come again only once that cannot be any more."""
    is_unrouted: bool = False
    """Whether no route takes it here."""


DONE: Final = Outcome(True)
"""The outcome of what is done and has no result."""


class Delivery(Protocol):
    """One arrival of an event, or one claim of a stored one. It is settled once, or given up."""

    @property
    def payload(self) -> bytes:
        """The event's JSON, in either envelope."""

    @property
    def message_id(self) -> str:
        """The frame's; "" without one."""

    @property
    def trace_id(self) -> str:
        """The frame's; "" without one."""

    @property
    def received_at(self) -> float:
        """When the event was received, in seconds since 1970: by another process, perhaps."""

    @property
    def origin(self) -> Origin:
        """Where it stands."""

    @property
    def since(self) -> float:
        """When it was brought here, in seconds of trio's clock. Waits and latencies are counted from it."""

    @property
    def deadline(self) -> float:
        """When it should be settled, in seconds of trio's clock; infinity for never."""

    @property
    def succeeded(self) -> Mapping[str, bytes | None]:
        """Handlers that succeeded at an earlier delivery, as the source knows; they do not run again."""

    @property
    def attempt(self) -> int:
        """Which attempt this is, 1 at first; of an arrived one always 1."""

    @property
    def notes(self) -> Notes | None:
        """Where its handlers keep what they have said; None for an arrived one."""

    @property
    def is_owned(self) -> bool:
        """Whether it is the source's still: what was claimed may be lost before the source has said so. Asked of claimed
        ones alone, as a handler begins that takes one event.
        """

    async def begin(self, batch: Sequence[Delivery]) -> None:
        """A handler is about to be called with all these, of one source, this one first. Called for claimed ones alone.

        Raises:
            Retry: It cannot be: they are to come again.
        """

    def handler_succeeded(self, name: str, result: bytes | None, *, is_last: bool) -> None:
        """A handler has succeeded, while others may still run; `is_last` if the delivery is settled as done at once.
        Called for claimed deliveries: what an arrived one needs of it, the ledger remembers.
        """

    def settle(self, outcome: Outcome, took: float, written: Callable[[], None] | None = None) -> None:
        """This became of it, `took` seconds after it was brought here.

        `written` is called once whoever waits for an answer has it, as far as that can be known.
        """

    def give_up(self) -> None:
        """It will not be settled: whoever sent it has long stopped waiting."""


class Source(Protocol):
    """Brings deliveries to an engine. The engine runs it, and ends it in this order: stop, wait_settled, close.

    It may connect, open or look for work at once; the engine takes nothing in before its `ready` is set.
    """

    async def run(self) -> None:
        """Bring deliveries until cancelled, or until `close` has done its work.

        Raises:
            FeishuError: It cannot go on. That ends the engine, and what it is part of.
        """

    def stop(self) -> None:
        """Look for no more. What was brought is still settled; what comes by itself is refused by the engine."""

    async def wait_settled(self) -> None:
        """Wait until all that it brought is settled."""

    async def close(self) -> None:
        """Everything is settled: end in good order, and within a bound. Cancelling this ends it at once."""
