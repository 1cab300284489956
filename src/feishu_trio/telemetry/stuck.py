"""What is stuck: handlers that have been at work for too long, and the order keys whose events wait behind one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from .limits import one_line

__all__ = ["HeldUp", "StuckHandler", "StuckStats", "by_handler"]


class StuckHandler(msgspec.Struct, frozen=True, kw_only=True):
    """A handler that has been at work for `stuck_after` seconds or more, and still is."""

    handler: str
    """Its name."""
    pool: str
    """The name of the pool that it runs in."""
    event_id: str
    """Of a batch that of its first event; "" of a JSON text message."""
    event_type: str
    """Or the type of JSON text messages that it takes."""
    trace_id: str
    """The frame's; "" without one."""
    key: str
    """The order key that it holds, as a text, or else the chat that its event is of; "" for none."""
    events: int
    """How many events it is at work on: more than one in a batch."""
    since: datetime
    """When it began (UTC)."""
    seconds: float
    """For how long it has been at work; time in `ask` does not count."""
    in_thread: bool
    """Whether it runs in a thread, which nothing can stop."""

    def __str__(self) -> str:
        what = f"event {one_line(self.event_id)} " if self.event_id else "a message "
        if self.events > 1:
            what = f"a batch of {self.events}, of which the first is {what}"
        where = f" of {one_line(self.key)}" if self.key else ""
        return (
            f"handler {self.handler} has been at work for {self.seconds:.0f} s, since {self.since:%Y-%m-%d %H:%M:%S} "
            f"UTC, on {what}({one_line(self.event_type)}){where}, in pool {self.pool}"
            f"{', in a thread' if self.in_thread else ''}"
        )


class HeldUp(msgspec.Struct, frozen=True, kw_only=True):
    """An order key whose events wait behind a handler that runs, one of them for `stuck_after` seconds or more."""

    key: str
    """As a text: the chat's id, if the order is that of chats."""
    handler: str
    """Whose turn it is."""
    event_id: str
    """The event that it is at work on."""
    pool: str
    """The name of the handler's pool."""
    events: int
    """How many wait."""
    seconds: float
    """For how long the first of them has waited; time in which the one before it was in `ask` does not count."""

    def __str__(self) -> str:
        wait = "1 event waits" if self.events == 1 else f"{self.events} events wait"
        return (
            f"{wait} behind handler {self.handler}, which is at work on event {one_line(self.event_id)} of "
            f"{one_line(self.key)}, for up to {self.seconds:.0f} s"
        )


class StuckStats(msgspec.Struct, frozen=True):
    """The runs of one handler that are stuck at the moment."""

    count: int
    """How many there are."""
    oldest: float
    """For how many seconds the first of them has been at work."""


def by_handler(stuck: Iterable[StuckHandler]) -> Mapping[str, StuckStats]:
    """How many are stuck of each handler, and for how long."""
    found: dict[str, StuckStats] = {}
    for each in stuck:
        before = found.get(each.handler, StuckStats(0, 0.0))
        found[each.handler] = StuckStats(before.count + 1, max(before.oldest, each.seconds))
    return MappingProxyType(found)
