"""What goes into an inbox and what comes out of it, as plain data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from .._quiet import QuietStruct
from ..config import wrong
from ..telemetry.limits import one_line

__all__ = [
    "Cancelled",
    "Claim",
    "Counts",
    "Details",
    "Entry",
    "HandlerState",
    "State",
    "Stored",
    "Summary",
    "forgettable",
    "known_state",
]

_NONE: Final[Mapping[Any, Any]] = MappingProxyType({})


class State(enum.StrEnum):
    """Where a stored event stands."""

    READY = "ready"
    """It may be claimed."""
    BLOCKED = "blocked"
    """An earlier event of its order key is ready or runs."""
    RUNNING = "running"
    """It has been claimed."""
    WAITING = "waiting"
    """A handler failed: it waits for its next attempt."""
    DONE = "done"
    """Every handler succeeded; it is remembered for the window."""
    DEAD = "dead"
    """It is not tried again: a dead letter."""
    PARKED = "parked"
    """No route of this process takes it."""


_FORGETTABLE: Final = (State.DONE, State.DEAD, State.PARKED)


def known_state(state: State | str) -> State:
    """A state that somebody named.

    Raises:
        ConfigError: There is none of this name.
    """
    return _one_of(state, tuple(State))


def forgettable(state: State | str) -> State:
    """A state whose events may be forgotten.

    Raises:
        ConfigError: This is none.
    """
    return _one_of(state, _FORGETTABLE)


def _one_of(state: State | str, allowed: tuple[State, ...]) -> State:
    if state not in allowed:
        raise wrong("state", str(state), "one of " + ", ".join(allowed))
    return State(state)


class Entry(QuietStruct, gc=False, kw_only=True):
    """An event that is to be stored."""

    keys: tuple[str, ...]
    """By each of which it is known again."""
    id: str
    type: str
    lane: str | None
    """Its order key; None for none."""
    payload: bytes
    message_id: str = ""
    """The frame's."""
    trace_id: str = ""
    received: float = 0.0
    """Seconds since 1970."""


class Claim(QuietStruct, gc=False):
    """An event that was claimed: whoever holds this runs it, and settles it."""

    number: int
    token: int
    """Of this claim of the event alone: what a later one has outdated is refused."""
    id: str
    type: str
    lane: str | None
    payload: bytes
    message_id: str
    trace_id: str
    received: float
    stored: float
    attempt: int
    """1 at first."""
    crashes: int
    """How often a process died while it ran."""
    succeeded: Mapping[str, bytes | None] = _NONE
    """Handlers that need not run again, with the JSON of their results."""
    notes: Mapping[tuple[str, str], bytes] = _NONE
    """What handlers noted, by handler and key."""
    has_parts: bool = False
    """Whether anything is kept of its handlers."""
    is_gathered: bool = False
    """Whether it has not begun yet, but waits for others: if the process dies, that is no crash of its."""


class Cancelled(QuietStruct):
    """What was ended behind an order key."""

    count: int
    """How many events."""
    running: list[int]
    """The numbers of those that ran: whoever claimed them is to end them."""
    known: int
    """How many of them are of the keys that were given."""


class Stored(QuietStruct, gc=False):
    """What became of one entry of a group."""

    number: int
    is_new: bool
    """False if it was known by one of its keys."""


class Counts(msgspec.Struct, frozen=True):
    """How many events stand where."""

    ready: int = 0
    """Those that may be claimed."""
    blocked: int = 0
    """Those behind an earlier event of their order key."""
    running: int = 0
    """Those that have been claimed."""
    waiting: int = 0
    """Those that wait for their next attempt."""
    done: int = 0
    """Those that are done, and still remembered."""
    dead: int = 0
    """Dead letters."""
    parked: int = 0
    """Those that no route took."""
    oldest: float | None = None
    """When the oldest of those that are not done, dead or parked was stored; seconds since 1970."""


class Summary(QuietStruct, kw_only=True):
    """One stored event, without its payload. Times are in seconds since 1970."""

    number: int
    """Its number in the inbox, in order of storing; one that is requeued gets a new one."""
    id: str
    """The event's id."""
    type: str
    """The event's type."""
    state: State
    """Where it stands."""
    lane: str | None
    """Its order key; None for none."""
    attempts: int
    """Attempts since it was stored or requeued, one that runs included; a run that was cut off is none."""
    crashes: int
    """How often a process died while it ran."""
    received: float
    """When it arrived."""
    stored: float
    """When it was stored, or requeued."""
    due: float | None
    """When it is tried again; None unless it waits for that."""
    settled: float | None
    """When it was done (or came again since), dead or parked; None before that."""
    error: str | None
    """What the last failure was."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}: {one_line(self.type)} {one_line(self.id)} is {self.state}, attempts={self.attempts}>"


class HandlerState(QuietStruct, kw_only=True):
    """How a handler fared with a stored event."""

    name: str
    """The handler's."""
    error: str | None
    """What it raised last; None if it succeeded."""
    at: float
    """When; seconds since 1970."""


class Details(Summary, kw_only=True):
    """One stored event, with all there is of it. Times are in seconds since 1970."""

    message_id: str
    """The frame's."""
    trace_id: str
    """The frame's; empty without one."""
    payload: bytes | None
    """None once it is done."""
    handlers: tuple[HandlerState, ...]
    """Those that have succeeded, or failed, so far; none once it is done."""
